package worker_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/linktest"
	"github.com/idpsync/idpsync/worker/outage"
	"github.com/idpsync/idpsync/worker/workertest"
)

// cutOff returns a worker that reaches the database over the link.
func cutOff(t *testing.T, d *workertest.Deployment, configure ...func(*worker.Config)) (*linktest.Link, *workertest.Process) {
	t.Helper()
	l, o := storetest.Through(t, d.Database())
	o.Timeout = outage.DatabaseTimeout
	return l, d.ProcessWith(o, configure...)
}

// loginsFrom publishes logins with ids and persons of their own.
func loginsFrom(d *workertest.Deployment, name string, n int) {
	for i := range n {
		id := fmt.Sprintf("%s%d", name, i)
		d.LogIn(id, d.Person(id))
	}
}

// oneEach wants one user, and one result with status 201, for each of n logins, and no dead letter.
func oneEach(t *testing.T, d *workertest.Deployment, n int) {
	t.Helper()
	d.Settle()
	results := map[string]int{}
	for _, r := range d.AllResults() {
		if results[r.EventID]++; r.Status != 201 || results[r.EventID] > 1 {
			t.Errorf("login %s has result %d with status %d, want one with 201", r.EventID, results[r.EventID], r.Status)
		}
	}
	if users := len(d.Users(acme)); users != n || len(results) != n {
		t.Errorf("there are %d users and results of %d logins, want %d each", users, len(results), n)
	}
	if letters := d.AllLetters(); len(letters) != 0 {
		t.Errorf("there are %d dead letters, want none; the first is %+v", len(letters), letters[0])
	}
	if markers := d.Counts().InFlight; markers != 0 {
		t.Errorf("there are %d in-flight markers, want none: nobody died", markers)
	}
}

// holdUntilClosed has the workers verify nothing until the channel is closed, so that they hold what they pull.
func holdUntilClosed(workers ...*workertest.Process) chan struct{} {
	held := make(chan struct{})
	for _, p := range workers {
		p.On(fault.At(fault.BeforeVerify, func(ctx context.Context, _ fault.Call) error {
			select {
			case <-held:
			case <-ctx.Done():
			}
			return nil
		}))
	}
	return held
}

// The ways in which a worker loses its database.
var cuts = map[string]func(*linktest.Link){
	"refused": (*linktest.Link).Cut,
	"frozen":  (*linktest.Link).Freeze,
}

// A worker that is cut off gives back what it holds, to one that is not, and goes on by itself when it can.
func TestWorkerThatIsCutOffHandsOver(t *testing.T) {
	t.Parallel()
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const held, late = 40, 20
			d := workertest.New(t, workertest.Options{Kind: store.Postgres})
			link, a := cutOff(t, d)
			a.Run()
			loginsFrom(d, "warm", 1)
			d.Await("warm0") // keys are known and connections made
			isCut := holdUntilClosed(a)
			loginsFrom(d, "held", held)
			a.AwaitDeliveries(1 + held)
			cut(link)
			close(isCut)
			a.AwaitPaused(true)
			if !a.DatabaseAway() {
				t.Error("a worker that is paused does not say that its database is away")
			}
			b := d.Start()
			d.Results.Await(1+held, "while one worker is cut off", func(workertest.Record) bool { return true })
			for _, one := range a.Deliveries()[1:] {
				if !slices.Equal(one.Told, []string{"nak"}) {
					t.Errorf("the worker that is cut off told %v of message %d, want one nak", one.Told, one.Sequence)
				}
			}
			if err := b.Stop(); err != nil {
				t.Errorf("stopping the healthy worker: %v", err)
			}
			loginsFrom(d, "late", late) // they wait for the first one
			link.Restore()
			a.AwaitPaused(false)
			oneEach(t, d, 1+held+late)
		})
	}
}

// A batch is written and about to be committed, or its commit is not answered, when the worker loses its database.
func TestWorkerThatIsCutOffInACommitHandsOver(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(*linktest.Link){
		"refused":    (*linktest.Link).Cut,
		"frozen":     (*linktest.Link).Freeze,
		"unanswered": (*linktest.Link).FreezeAnswers,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const n = 30
			d := workertest.New(t, workertest.Options{Kind: store.Postgres})
			link, a := cutOff(t, d)
			var once sync.Once
			in := make(chan struct{})
			a.On(fault.At(fault.InTransaction, func(context.Context, fault.Call) error {
				once.Do(func() { cut(link); close(in) })
				return nil
			}))
			loginsFrom(d, "held", n)
			a.Run()
			select {
			case <-in:
			case <-d.Ctx.Done():
				t.Fatal("no batch came to its commit")
			}
			d.Start()
			d.Results.Await(n, "while one worker is cut off", func(workertest.Record) bool { return true })
			link.Restore()
			a.AwaitPaused(false)
			oneEach(t, d, n)
		})
	}
}

// Events do not circle while no worker reaches its database: each costs a delivery for each worker at most.
func TestEventsWaitAtTheBrokerWhileAllWorkersAreCutOff(t *testing.T) {
	t.Parallel()
	const n = 50
	d := workertest.New(t, workertest.Options{Kind: store.Postgres})
	short := func(c *worker.Config) { c.Patience = 3 * time.Second } // long enough for pulls to end
	var links []*linktest.Link
	var workers []*workertest.Process
	for range 2 {
		l, p := cutOff(t, d, short)
		links, workers = append(links, l), append(workers, p.Run())
	}
	loginsFrom(d, "warm", 1)
	d.Await("warm0")
	isCut := holdUntilClosed(workers...)
	loginsFrom(d, "e", n)
	deliveries := func() []workertest.Delivery { return append(workers[0].Deliveries(), workers[1].Deliveries()...) }
	d.Eventually("for the workers to have all events", func() bool { return len(deliveries()) == 1+n })
	for _, l := range links {
		l.Cut()
	}
	close(isCut)
	d.Eventually("for everything to be given back, and nobody to ask for more", func() bool {
		told := !slices.ContainsFunc(deliveries(), func(one workertest.Delivery) bool { return len(one.Told) == 0 })
		return told && d.State().Lanes[0].Waiting == 0
	})
	for _, p := range workers {
		p.AwaitPaused(true)
	}
	for _, l := range links {
		l.Restore()
	}
	oneEach(t, d, 1+n)
	for _, p := range workers {
		for _, one := range p.Deliveries() {
			if one.Delivered > 3 {
				t.Errorf("message %d was delivered %d times, want 3 at most: once by each worker that gave it back", one.Sequence, one.Delivered)
			}
		}
	}
}

// A database that became read-only is away: a worker waits for it, says so without flooding its log, and goes on by itself.
func TestReadOnlyDatabaseIsAway(t *testing.T) {
	t.Parallel()
	const n = 100
	d := workertest.New(t, workertest.Options{Kind: store.Postgres})
	admin := storetest.Database(t, d.Database())
	set := func(value string) {
		t.Helper()
		for _, query := range []string{ // what is set holds for new sessions
			`do $$ begin execute format('alter database %I set default_transaction_read_only = ` + value + `', current_database()); end $$`,
			`select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`,
		} {
			if _, err := admin.ExecContext(d.Ctx, `begin; set transaction read write; `+query+`; commit`); err != nil {
				t.Fatal(err)
			}
		}
	}
	var written bytes.Buffer
	p := d.Process(func(c *worker.Config) {
		c.Log = slog.New(slog.NewTextHandler(&written, &slog.HandlerOptions{Level: slog.LevelWarn}))
	})
	var tries atomic.Int64
	p.On(fault.At(fault.BeforeStore, func(_ context.Context, c fault.Call) error {
		if c.Method == "TryWrite" {
			tries.Add(1)
		}
		return nil
	}))
	p.Run()
	loginsFrom(d, "warm", 1)
	d.Await("warm0")
	set("on")
	loginsFrom(d, "e", n)
	p.AwaitPaused(true)
	d.Eventually("for five looks at the database", func() bool { return tries.Load() >= 5 })
	if results := len(d.Results.All()); results != 1 {
		t.Errorf("there are %d results, want the one from before: nothing can be written", results)
	}
	set("off")
	p.AwaitPaused(false)
	oneEach(t, d, 1+n)
	if err := p.Stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(written.String()), "\n")
	if errs := strings.Count(written.String(), "level=ERROR"); errs != 1 || len(lines) > 12 {
		t.Errorf("there are %d lines of errors, and %d of errors and warnings; want 1, and 12 at most:\n%s", errs, len(lines), written.String())
	}
}
