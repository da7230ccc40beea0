// Package bench measures how fast a worker drains waiting logins, and how long a login takes beside a source that hangs. The
// worker is this program in a process of its own; the issuers are in this one.
package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/directory/manifest"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

// audience is what the tokens of a benchmark are for.
const audience = "idpsync"

// Options say what is measured, and with which broker and database. Those are written to.
type Options struct {
	Conn        *stream.Conn
	DatabaseURL string
	Worker      []string // arguments of this program that start a worker; --http-listen is added

	Events  int  // logins in a round
	Repeat  bool // log everybody in a second time too
	Latency bool // measure instead how long logins take, quiet and while another source's issuer hangs

	Out, Err io.Writer // figures, and what workers complain of
	Now      func() time.Time
	Rand     io.Reader
}

// A benchmark is one run of it.
type benchmark struct {
	Options
	issuer *issuer.Issuer
	tenant string
}

// Run measures and prints.
func Run(ctx context.Context, o Options) error {
	b := &benchmark{Options: o}
	return b.run(ctx)
}

func (b *benchmark) run(ctx context.Context) (err error) {
	if _, err := stream.Migrate(ctx, b.Conn, stream.Topology{}); err != nil {
		return err
	}
	st, err := store.Open(ctx, store.Options{URL: b.DatabaseURL})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if _, err := st.Migrate(ctx); err != nil {
		return err
	}
	if b.issuer, err = issuer.New(issuer.Options{Now: b.Now, Rand: b.Rand, Lifetime: time.Hour}); err != nil {
		return err
	}
	stop, err := kit.ServeIssuer(b.issuer, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if b.Latency {
		return b.latency(ctx, st)
	}
	if err := b.declare(ctx, st, ""); err != nil {
		return err
	}
	tokens, err := b.sign(ctx, "user", b.Events)
	if err != nil {
		return err
	}
	rounds := []string{"create"}
	if b.Repeat {
		rounds = append(rounds, "repeat")
	}
	for _, round := range rounds {
		if err := b.round(ctx, round, tokens); err != nil {
			return err
		}
	}
	return nil
}

// declare adds a tenant of this run's own to the directory, with further sources (lines of YAML).
func (b *benchmark) declare(ctx context.Context, st *store.Store, further string) error {
	id, err := uuid.NewRandomFromReader(b.Rand)
	if err != nil {
		return err
	}
	b.tenant = id.String()
	text := fmt.Sprintf(`tenants:
  - id: %s
    name: bench-%s
    roles: [{name: user}]
    sources:
      - {name: okta, kind: oidc, issuer: %q, audiences: [idpsync], domains: [corp.example], default_roles: [user], grants: [user]}
%s`, b.tenant, b.tenant[:8], b.issuer.URL(), further)
	declared, err := manifest.Parse("bench.yaml", []byte(text), manifest.Options{Kinds: assemble.Kinds()})
	if err != nil {
		return err
	}
	have, err := st.Directory(ctx)
	if err != nil {
		return err
	}
	want := have
	want.Tenants = append(want.Tenants, declared.Directory.Tenants...)
	want.Roles = append(want.Roles, declared.Directory.Roles...)
	want.Sources = append(want.Sources, declared.Directory.Sources...)
	_, err = st.ApplyDirectory(ctx, have.Revision, manifest.Complete(have, want), "bench", b.Now())
	return err
}

// sign makes the logins beforehand, so that signing is no part of the measurement.
func (b *benchmark) sign(ctx context.Context, name string, n int) ([][]byte, error) {
	bodies := make([][]byte, n)
	errs := make([]error, runtime.GOMAXPROCS(0))
	var signers sync.WaitGroup
	for first := range errs {
		signers.Go(func() {
			for i := first; i < n && ctx.Err() == nil; i += len(errs) {
				subject := fmt.Sprintf("%s%07d", name, i)
				claims := b.issuer.Claims(subject, audience)
				claims["email"], claims["email_verified"], claims["name"] = subject+"@corp.example", true, fmt.Sprintf("User Number %d", i)
				if bodies[i], errs[first] = kit.Login(b.issuer.Sign(claims)); errs[first] != nil {
					return
				}
			}
		})
	}
	signers.Wait()
	return bodies, errors.Join(append(errs, ctx.Err())...)
}

func (b *benchmark) round(ctx context.Context, name string, bodies [][]byte) error {
	out := make([]record.Outgoing, len(bodies))
	for i, body := range bodies {
		out[i] = b.event("okta", fmt.Sprintf("%s-%d", name, i), body)
	}
	for _, err := range stream.Publisher(b.Conn).Publish(ctx, out) {
		if err != nil {
			return err
		}
	}
	before, err := b.results(ctx)
	if err != nil {
		return err
	}
	child, started, err := b.startWorker(ctx, kit.Off)
	if err != nil {
		return err
	}
	defer child.stop()
	var last stream.StreamState
	for last.LastSeq < before.LastSeq+uint64(len(bodies)) {
		if err := clock.Pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
		if last, err = b.results(ctx); err != nil {
			return err
		}
	}
	cpu := child.stop()
	outcomes := map[string]int{}
	for m, err := range stream.Results(ctx, b.Conn, stream.Filter{Tenant: b.tenant, After: before.LastSeq}) {
		if err != nil {
			return err
		}
		r, err := record.ReadResult(m)
		if err != nil {
			return err
		}
		outcomes[string(r.Outcome)]++
	}
	fmt.Fprintf(b.Out, "idpsync n=%d mode=%s: %.0f events/s outcomes=%v worker_cpu_us_per_event=%.0f\n",
		len(bodies), name, float64(len(bodies))/last.Last.Sub(started).Seconds(), outcomes, float64(cpu.Microseconds())/float64(len(bodies)))
	return nil
}

// results is the state of the stream of results. Asking for it costs the broker less than reading what it holds.
func (b *benchmark) results(ctx context.Context) (stream.StreamState, error) {
	state, err := stream.ReadState(ctx, b.Conn)
	if err != nil {
		return stream.StreamState{}, err
	}
	for _, s := range state.Streams {
		if s.Name == stream.StreamResults {
			return s, nil
		}
	}
	return stream.StreamState{}, kit.Fail(kit.ExitFailure, "run idpsync migrate", "there is no stream of results")
}

// A benchWorker is a worker process.
type benchWorker struct {
	cmd  *exec.Cmd
	once sync.Once
	done chan struct{}
	cpu  time.Duration
}

// startWorker starts this program's run with the HTTP API on an address, and returns when it was ready.
func (b *benchmark) startWorker(ctx context.Context, api string) (*benchWorker, time.Time, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, time.Time{}, err
	}
	args := append(slices.Clone(b.Worker), "--http-listen", api)
	cmd := exec.CommandContext(ctx, self, args...) //nolint:gosec // this very program
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	logs, err := cmd.StderrPipe()
	if err != nil {
		return nil, time.Time{}, err
	}
	if err := cmd.Start(); err != nil {
		return nil, time.Time{}, err
	}
	w := &benchWorker{cmd: cmd, done: make(chan struct{})}
	ready := make(chan time.Time, 1)
	go func() {
		defer close(w.done)
		defer close(ready)
		lines := bufio.NewScanner(logs)
		for lines.Scan() {
			if strings.Contains(lines.Text(), "worker ready") {
				ready <- time.Now()
			} else if strings.Contains(lines.Text(), "level=ERROR") || strings.Contains(lines.Text(), "level=WARN") || strings.HasPrefix(lines.Text(), "idpsync:") {
				fmt.Fprintln(b.Err, lines.Text())
			}
		}
		_, _ = io.Copy(io.Discard, logs) // the worker blocks once the pipe is full
	}()
	select {
	case started, ok := <-ready:
		if ok {
			return w, started, nil
		}
		err = kit.Fail(kit.ExitFailure, "run idpsync run by hand with the same settings", "the worker ended before it was ready")
	case <-ctx.Done():
		err = ctx.Err()
	}
	w.stop()
	return nil, time.Time{}, err
}

// stop drains the worker and returns the CPU time that it used.
func (w *benchWorker) stop() time.Duration {
	w.once.Do(func() {
		_ = w.cmd.Process.Signal(syscall.SIGTERM)
		<-w.done
		_ = w.cmd.Wait()
		if s := w.cmd.ProcessState; s != nil {
			w.cpu = s.UserTime() + s.SystemTime()
		}
	})
	return w.cpu
}
