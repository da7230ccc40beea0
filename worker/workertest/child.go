package workertest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/stream"
)

// childEnv holds the orders of a test binary that is started as a worker.
const childEnv = "IDPSYNC_TEST_WORKER"

// orders are what a worker in a process of its own needs to know.
type orders struct {
	Name    string
	Broker  string
	URL     string // of the database
	Path    string
	Key     string // file
	Slots   string
	AckWait time.Duration
	Killer  string // id of the event that ends the process while it is verified, as kill -9 does
}

// Child runs a worker if this process was started to be one, and reports whether it was. Call it first in TestMain.
func Child() bool {
	text := os.Getenv(childEnv)
	if text == "" {
		return false
	}
	var o orders
	err := json.Unmarshal([]byte(text), &o)
	if err == nil {
		err = o.run(context.Background())
	}
	fmt.Fprintln(os.Stderr, "worker process:", err)
	return true
}

func (o orders) run(ctx context.Context) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("worker", o.Name)
	h := &hooks{died: make(chan struct{})}
	h.set(At(BeforeVerify, func(_ context.Context, c Call) error {
		if c.Envelope.EventID == o.Killer {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	}))
	made, err := assemble.New(ctx, assemble.Options{
		Store: store.Options{URL: o.URL, Path: o.Path}, SealKey: o.Key, HTTP: &http.Client{Timeout: 10 * time.Second}, Who: "workertest",
		Broker: &stream.Options{URL: o.Broker, Name: o.Name, Log: log},
		Worker: worker.Config{
			Name: o.Name, Version: "test", Batch: 100, Now: time.Now, Rand: rand.Reader, Log: log, Slots: o.Slots, AckWait: o.AckWait,
		},
		Around: h.around(),
	})
	if err != nil {
		return err
	}
	defer made.Close()
	return made.Worker.Run(ctx)
}

// Slots is the folder in which the processes of this host leave their evidence.
func (d *Deployment) Slots() string { return filepath.Join(d.folder, "crumbs") }

// RunUntilKilled runs a worker in a process of its own until the event called killer has ended it.
func (d *Deployment) RunUntilKilled(name, killer string, ackWait time.Duration) {
	d.T.Helper()
	o := orders{
		Name: name, Broker: d.BrokerURL(), URL: d.database.URL, Path: d.database.Path, Key: d.keyFile, Slots: d.Slots(), AckWait: ackWait, Killer: killer,
	}
	cmd := exec.CommandContext(d.Ctx, os.Args[0]) //nolint:gosec // this very binary
	cmd.Env = append(os.Environ(), childEnv+"="+string(Payload(o)))
	cmd.Stdout, cmd.Stderr = d.T.Output(), d.T.Output()
	err := cmd.Run()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if d.Ctx.Err() != nil || !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		d.T.Fatalf("%s was not ended by the event: %v", name, err)
	}
}
