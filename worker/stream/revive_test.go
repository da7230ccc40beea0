//go:build linux || darwin || freebsd

package stream_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

const childFullDisk = "IDPSYNC_TEST_FULL_DISK"

// TestEmbeddedBrokerGoesOnOnceTheDiskHasSpace fills the disk under an embedded broker, in a process of its own: no file of it
// may become larger than a limit, which any system can refuse a write by.
func TestEmbeddedBrokerGoesOnOnceTheDiskHasSpace(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(within(t, 2*time.Minute), self)
	cmd.Env = append(os.Environ(), childFullDisk+"="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "all is well") {
		t.Fatalf("the process with the full disk ends with %v, want that all is well:\n%s", err, out)
	}
}

// fullDisk is that process. It returns its exit code, and prints why it is not 0.
func fullDisk(dir string) int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := fillAndRevive(ctx, dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintln(os.Stdout, "all is well")
	return 0
}

func fillAndRevive(ctx context.Context, dir string) error {
	signal.Ignore(syscall.SIGXFSZ) // the write fails instead
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	s, err := stream.Embedded(ctx, stream.EmbeddedOptions{DataDir: dir, Listen: "127.0.0.1:0", Log: log})
	if err != nil {
		return err
	}
	defer s.Shutdown()
	url := s.URL()
	c, err := stream.Connect(ctx, stream.Options{InProcess: s, Log: log})
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := stream.Migrate(ctx, c, small); err != nil {
		return err
	}
	if f := s.Health(); len(f) > 0 {
		return fmt.Errorf("before anything went wrong the broker finds %v, want nothing", f)
	}
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		return err
	}
	full := before
	full.Cur = 512 << 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &full); err != nil {
		return err
	}
	stored, body := 0, []byte(strings.Repeat("x", 16<<10))
	send := func(wait time.Duration) error {
		short, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		_, err := stream.PublishEvent(short, c, record.Outgoing{Subject: "idpsync.feed." + tenantA + ".hr", Data: body})
		return err
	}
	for len(s.Health()) == 0 {
		if ctx.Err() != nil {
			return fmt.Errorf("after %d messages the broker finds nothing wrong, want that its disk is full", stored)
		}
		if send(time.Second) == nil {
			stored++
		}
	}
	if revived, err := s.Revive(ctx); err == nil || revived {
		return fmt.Errorf("on a full disk the broker was started again: %v, %v, want an error", revived, err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		return err
	}
	if len(s.Health()) == 0 || send(time.Second) == nil {
		return errors.New("space alone mends the broker, want it to need a start: then this is needless")
	}
	if revived, err := s.Revive(ctx); err != nil || !revived {
		return fmt.Errorf("with space again the broker was started again: %v, %v, want it to be", revived, err)
	}
	if f := s.Health(); len(f) > 0 || s.URL() != url {
		return fmt.Errorf("the broker that was started again finds %v at %s, want nothing, at %s", f, s.URL(), url)
	}
	if s.Down() {
		return errors.New("the broker that was started again counts as down, want it not to")
	}
	for ctx.Err() == nil && send(time.Second) != nil { // the connection finds it
	}
	state, err := stream.ReadState(ctx, c)
	if err != nil {
		return err
	}
	for _, one := range state.Streams {
		if one.Name == stream.StreamEvents && one.Messages < uint64(stored)+1 { //nolint:gosec // a count
			return fmt.Errorf("%d messages are there, want the %d that were acknowledged and one more", one.Messages, stored)
		}
	}
	return nil
}
