package stream_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/idpsync/idpsync/worker/leaftest"
	"github.com/idpsync/idpsync/worker/stream"
)

// The test binary doubles as a broker process that tests can kill.
const (
	childDataDir = "IDPSYNC_TEST_BROKER_DATA_DIR"
	childListen  = "IDPSYNC_TEST_BROKER_LISTEN"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDataDir); dir != "" {
		s, err := stream.Embedded(context.Background(), stream.EmbeddedOptions{DataDir: dir, Listen: os.Getenv(childListen)})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Fprintln(os.Stdout, s.URL())
		select {}
	}
	if dir := os.Getenv(childFullDisk); dir != "" {
		os.Exit(fullDisk(dir))
	}
	goleak.VerifyTestMain(m, leaftest.Lasting()...)
}

const (
	tenantA = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	tenantB = "6f1c0c5e-0000-4000-8000-000000000001"
)

// log returns a logger to the test's own output.
func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// A logBuffer collects log output of several goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// broker starts an embedded broker that ends with the test.
func broker(t testing.TB) *stream.Server {
	t.Helper()
	s, err := stream.Embedded(t.Context(), stream.EmbeddedOptions{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

// dial connects over loopback and closes the connection with the test.
func dial(t testing.TB, o stream.Options) *stream.Conn {
	t.Helper()
	if o.Log == nil {
		o.Log = testLog(t)
	}
	c, err := stream.Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// migrated returns a connection to a broker that has all streams, with small limits.
func migrated(t testing.TB) *stream.Conn {
	t.Helper()
	c := dial(t, broker(t).Credentials().Options())
	migrate(t, c)
	return c
}

func migrate(t testing.TB, c *stream.Conn) {
	t.Helper()
	if _, err := stream.Migrate(t.Context(), c, small); err != nil {
		t.Fatal(err)
	}
}

var small = stream.Topology{EventsBytes: 1 << 30, ResultsBytes: 1 << 30, DeadLetters: 1 << 30}

// A process is a broker that can be killed and started again on its data directory and port.
type process struct {
	t      testing.TB
	dir    string
	listen string
	cmd    *exec.Cmd
}

func startProcess(t testing.TB) *process {
	p := &process{t: t, dir: t.TempDir(), listen: "127.0.0.1:0"}
	p.start()
	p.listen = strings.TrimPrefix(p.credentials().URL, "nats://")
	t.Cleanup(p.kill)
	return p
}

func (p *process) start() {
	p.t.Helper()
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), childDataDir+"="+p.dir, childListen+"="+p.listen)
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	if _, err := fmt.Fscanln(out, new(string)); err != nil {
		p.t.Fatal("broker process did not start:", err)
	}
}

// kill is kill -9.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p.cmd = nil
}

func (p *process) credentials() stream.Credentials {
	p.t.Helper()
	c, err := stream.ReadCredentials(p.dir)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// within returns a context that ends a test that hangs.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
