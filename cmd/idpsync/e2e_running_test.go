package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
)

// A tap is output that is waited for.
type tap struct {
	mu    sync.Mutex
	b     bytes.Buffer
	grown chan struct{}
}

func newTap() *tap { return &tap{grown: make(chan struct{})} }

func (o *tap) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.grown)
	o.grown = make(chan struct{})
	return o.b.Write(p)
}

func (o *tap) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// await waits until the output holds a match and returns its groups.
func (o *tap) await(t testing.TB, ctx context.Context, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for {
		o.mu.Lock()
		match, grown := re.FindStringSubmatch(o.b.String()), o.grown
		o.mu.Unlock()
		if match != nil {
			return match
		}
		select {
		case <-grown:
		case <-ctx.Done():
			t.Fatalf("%s was not printed:\n%s", pattern, o)
		}
	}
}

// A running is one idpsync run, in this process or in one of its own.
type running struct {
	s        *site
	stdout   *tap
	stderr   *tap
	http     string
	admin    string
	process  *exec.Cmd // nil in this process
	cancel   context.CancelFunc
	finished chan int // exit code
	stopped  bool
}

// worker starts idpsync run in this process and waits until it is ready.
func (s *site) worker(args ...string) *running {
	s.t.Helper()
	r := s.started(args...)
	r.ready()
	return r
}

// started starts idpsync run in this process.
func (s *site) started(args ...string) *running {
	s.t.Helper()
	r, args := s.prepare(args)
	ctx, cancel := context.WithCancel(s.ctx)
	r.cancel = cancel
	environ := s.environment()
	if s.cluster {
		environ = append(environ, "IDPSYNC_DATA_DIR="+s.workerFolder())
	}
	go func() { r.finished <- run(ctx, args, environ, strings.NewReader(""), r.stdout, r.stderr) }()
	return r
}

// child starts idpsync run in a process of its own and waits until it is ready.
func (s *site) child(args ...string) *running {
	s.t.Helper()
	r, args := s.prepare(args)
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	environ := s.environment(mainEnv+"=1", "PATH="+os.Getenv("PATH"))
	if s.cluster {
		environ = append(environ, "IDPSYNC_DATA_DIR="+s.workerFolder())
	}
	r.process = exec.Command(self, args...)
	r.process.Env, r.process.Stdout, r.process.Stderr = environ, r.stdout, r.stderr
	if err := r.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	r.cancel = func() { _ = r.process.Process.Signal(os.Interrupt) } // one that has ended needs none
	go func() {
		_ = r.process.Wait() // the code tells
		r.finished <- r.process.ProcessState.ExitCode()
	}()
	r.ready()
	return r
}

// workerFolder makes a data directory for one of several workers.
func (s *site) workerFolder() string {
	s.t.Helper()
	dir, err := os.MkdirTemp(s.folder, "worker")
	if err != nil {
		s.t.Fatal(err)
	}
	return dir
}

func (s *site) prepare(args []string) (*running, []string) {
	r := &running{s: s, stdout: newTap(), stderr: newTap(), finished: make(chan int, 1)}
	s.t.Cleanup(func() {
		if !r.stopped {
			r.stop()
		}
	})
	begin := []string{"run", "--log-level", "debug", "--log-format", "json"}
	for _, listener := range []string{"--http-listen", "--admin-listen", "--nats-listen"} {
		if !slices.Contains(args, listener) {
			begin = append(begin, listener, "127.0.0.1:0")
		}
	}
	return r, append(begin, args...)
}

func (r *running) ready() {
	r.s.t.Helper()
	r.stderr.await(r.s.t, r.s.ctx, `"msg":"worker ready"|idpsync: `)
	if !strings.Contains(r.stderr.String(), "worker ready") {
		r.s.t.Fatalf("the worker does not start:\n%s", r.stderr)
	}
	r.http = "http://" + r.stderr.await(r.s.t, r.s.ctx, `"msg":"HTTP API listens","address":"([^"]+)"`)[1]
	r.admin = "http://" + r.stderr.await(r.s.t, r.s.ctx, `"msg":"admin listens","address":"([^"]+)"`)[1]
}

// stop asks the worker to drain, and fails the test unless it does so with exit code 0.
func (r *running) stop() {
	r.s.t.Helper()
	r.stopped = true
	r.cancel()
	if code := <-r.finished; code != kit.ExitOK {
		r.s.t.Errorf("the worker ended with exit code %d:\n%s", code, r.stderr)
	}
}

// kill ends a child as kill -9 does.
func (r *running) kill() {
	r.s.t.Helper()
	r.stopped = true
	if err := r.process.Process.Kill(); err != nil {
		r.s.t.Fatal(err)
	}
	<-r.finished
}
