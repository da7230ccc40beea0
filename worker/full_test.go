package worker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/proof"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
	"github.com/idpsync/idpsync/worker/workertest"
)

// A stream of dead letters that takes few, and one that takes all.
var (
	tiny  = stream.Topology{EventsBytes: 1 << 28, ResultsBytes: 1 << 28, DeadLetters: 32 << 10}
	roomy = stream.Topology{EventsBytes: 1 << 28, ResultsBytes: 1 << 28, DeadLetters: 1 << 28}
)

// badLogins sends logins that are refused, each under an id of its own.
func badLogins(d *workertest.Deployment, tenant string, from, to int) {
	for i := from; i < to; i++ {
		d.Publish(workertest.LoginSubject(tenant, "okta"), fmt.Sprintf("bad%d", i), []byte(`{"id_token":"a.b.c"}`))
	}
}

// awaitAnswers waits until n bad logins are answered.
func awaitAnswers(d *workertest.Deployment, n int) {
	d.T.Helper()
	d.Results.Await(n, "of bad logins", func(r workertest.Record) bool { return strings.HasPrefix(r.EventID, "bad") })
}

// awaitOwed waits until nothing is owed any more: time goes by for whoever waits before the next attempt.
func awaitOwed(d *workertest.Deployment) {
	d.T.Helper()
	d.Eventually("for what is owed to be published", func() bool {
		d.Clock.Advance(time.Second)
		c := d.Counts()
		return c.Parked == 0 && c.Outbox == 0
	})
}

// wantEachOnce wants one dead letter and one result of each of n bad logins, and an account that balances.
func wantEachOnce(d *workertest.Deployment, n int) {
	d.T.Helper()
	ids := func(all []workertest.Record) map[string]int {
		m := map[string]int{}
		for _, r := range all {
			if strings.HasPrefix(r.EventID, "bad") {
				m[r.Header.Get("Nats-Msg-Id")]++
			}
		}
		return m
	}
	for name, all := range map[string]map[string]int{"dead letters": ids(d.AllLetters()), "results": ids(d.AllResults())} {
		if len(all) != n {
			d.T.Errorf("%d bad logins have %d %s, want one each", n, len(all), name)
		}
		for id, times := range all {
			if times != 1 {
				d.T.Errorf("%s: there are %d of %s, want one", name, times, id)
			}
		}
	}
	if a := account(d); !a.Holds() || a.Events.DeadLetters != uint64(n) {
		d.T.Errorf("the account has %d dead letters, unaccounted %v and duplicated %v, want %d, none and none", a.Events.DeadLetters, a.Unaccounted, a.Duplicated, n)
	}
}

func account(d *workertest.Deployment) *proof.Account {
	d.T.Helper()
	a, err := proof.Confirmed(d.Ctx, proof.Options{Store: d.Store, Broker: proof.Streams(d.Conn), Sealer: d.Key})
	if err != nil {
		d.T.Fatal(err)
	}
	return a
}

func TestAFullStreamOfDeadLettersStopsNobody(t *testing.T) {
	workertest.Each(t, workertest.Options{Topology: tiny}, func(t *testing.T, d *workertest.Deployment) {
		const bad, good = 150, 20
		p := d.Start()
		badLogins(d, acme, 0, bad)
		awaitAnswers(d, bad)
		for i := range good {
			d.Publish(workertest.LoginSubject(globex, "okta"), fmt.Sprintf("good%d", i), d.Login(d.Person(fmt.Sprintf("p%d", i))))
		}
		d.Results.Await(good, "of the other tenant", func(r workertest.Record) bool { return r.Status == 201 })
		d.Drained()
		stored := len(d.Letters.All())
		a := account(d)
		if !a.Holds() || a.LettersOwed == 0 || a.Events.Parked != uint64(a.LettersOwed) || a.LettersOwed+a.DeadLetters != bad {
			t.Errorf("the account has %d dead letters, %d owed and %d parked events, unaccounted %v; want %d letters in all, and those parked that the stream refused",
				a.DeadLetters, a.LettersOwed, a.Events.Parked, a.Unaccounted, bad)
		}
		for _, one := range p.Deliveries() {
			if one.Delivered != 1 || len(one.Told) != 1 || one.Told[0] == "nak" {
				t.Errorf("event %d was delivered %d times and the broker told %v, want once, and ack or term", one.Sequence, one.Delivered, one.Told)
			}
		}
		if lines := p.Complaints(); len(lines) != 1 || !strings.Contains(lines[0], "dead letters are refused") {
			t.Errorf("the log complains %d times, first of %q, want one line about refused dead letters", len(lines), lines[:min(len(lines), 3)])
		}
		row, err := d.Store.ClaimLetters(d.Ctx, 1, d.Clock.Now(), 0)
		if err != nil || len(row) != 1 || row[0].Reason != store.ParkedLetter || strings.Contains(string(row[0].Headers)+string(row[0].Payload), "a.b.c") || strings.Contains(string(row[0].Headers), "Idpsync") {
			t.Errorf("the parked rows are %+v with the error %v, want a sealed one with the reason deadletter_refused", row, err)
		}
		if err := d.Store.ReleaseLetters(d.Ctx, row); err != nil {
			t.Fatal(err)
		}

		d.Migrate(roomy)
		awaitOwed(d)
		if n := len(d.AllLetters()); stored == 0 || stored >= n {
			t.Errorf("the stream held %d dead letters when it was full and %d now, want some and more", stored, n)
		}
		wantEachOnce(d, bad)
	})
}

// A worker is killed at each step of what is owed; another one goes on.
func TestAWorkerThatDiesOverARefusedDeadLetterLosesAndDoublesNothing(t *testing.T) {
	const bad = 60
	letters := func(c fault.Call) bool { return isLetter(c) }
	for name, c := range map[string]struct {
		dies  func(c fault.Call) bool
		space bool // it dies when there is space again
	}{
		"before it is parked": {func(c fault.Call) bool { return c.Point == fault.BeforeStore && c.Method == "ParkLetters" }, false},
		"once it is parked":   {func(c fault.Call) bool { return c.Point == fault.AfterStore && c.Method == "ParkLetters" }, false},
		"once the result is stored": {func(c fault.Call) bool {
			return c.Point == fault.AfterPublish && !letters(c)
		}, false},
		"once it is claimed": {func(c fault.Call) bool { return c.Point == fault.AfterStore && c.Method == "ClaimLetters" }, true},
		"once it is written": {func(c fault.Call) bool { return c.Point == fault.AfterPublish && letters(c) }, true},
		"before it is unparked": {func(c fault.Call) bool {
			return c.Point == fault.BeforeStore && c.Method == "DeleteParked"
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := workertest.New(t, workertest.Options{Topology: tiny})
			p := d.Process(workertest.Mortal, func(c *worker.Config) { c.Batch = 25 })
			die := func(_ context.Context, call fault.Call) error {
				if c.dies(call) {
					return p.Die()
				}
				return nil
			}
			if !c.space {
				p.On(die)
			}
			p.Run()
			badLogins(d, acme, 0, bad)
			if c.space {
				awaitAnswers(d, bad)
				d.Drained()
				p.On(die)
				d.Migrate(roomy)
				d.Clock.Advance(time.Minute)
			}
			p.AwaitDeath()
			d.Start()
			awaitAnswers(d, bad)
			d.Drained()
			d.Migrate(roomy)
			awaitOwed(d)
			wantEachOnce(d, bad)
		})
	}
}

// The stream of results takes nothing: what has an effect is acknowledged, and its result is owed.
func TestAStreamOfResultsThatRefusesStopsNobody(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		p := d.Process()
		p.On(func(_ context.Context, c fault.Call) error {
			if c.Point == fault.BeforePublish && !isLetter(c) {
				return stream.ErrStreamFull
			}
			return nil
		})
		p.Run()
		const good, bad = 30, 10
		for i := range good {
			d.LogIn(fmt.Sprintf("e%d", i), d.Person(fmt.Sprintf("p%d", i)))
		}
		badLogins(d, acme, 0, bad)
		d.Drained()
		if c := d.Counts(); c.Outbox != good+bad || c.Users != good {
			t.Errorf("there are %d results in the outbox and %d users, want %d and %d", c.Outbox, c.Users, good+bad, good)
		}
		if a := account(d); !a.Holds() || a.Ledger.Owed != good {
			t.Errorf("the account has unaccounted %v and owes %d results of effects, want none and %d", a.Unaccounted, a.Ledger.Owed, good)
		}
		for _, one := range p.Deliveries() {
			if one.Delivered != 1 || slices.Contains(one.Told, "nak") {
				t.Errorf("event %d was delivered %d times and the broker told %v, want once and no nak", one.Sequence, one.Delivered, one.Told)
			}
		}
		p.On(nil)
		awaitOwed(d)
		if n := len(d.Results.Await(good, "of effects", func(r workertest.Record) bool { return r.Outcome == record.OutcomeCreated })); n != good {
			t.Errorf("%d effects have results, want %d", n, good)
		}
		wantEachOnce(d, bad)
		if lines := p.Complaints(); len(lines) != 1 {
			t.Errorf("the log complains of %q, want one line about refused results", lines)
		}
	})
}
