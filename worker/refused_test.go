package worker_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
	"github.com/idpsync/idpsync/worker/workertest"
)

// storesLetter reports whether the dead letter of an attempt was just stored.
func storesLetter(c fault.Call, attempt string) bool {
	return c.Point == fault.AfterPublish && isLetter(c) && strings.HasSuffix(c.Outgoing[0].ID, attempt)
}

// A worker dies once it has refused a login, before the result is stored, and then the directory would let the login in. The
// verdict stands: another worker finishes it.
func TestAVerdictIsFinishedAsItWasBegun(t *testing.T) {
	for name, c := range map[string]struct {
		dies   func(c fault.Call) bool
		before func(c fault.Call) error // what else goes wrong in the worker that dies
		owed   bool                     // the dead letter was refused by its stream
		replay bool                     // it is a replay that is refused
		await  func(d *workertest.Deployment)
	}{
		"once the verdict is kept": {
			dies: func(c fault.Call) bool { return c.Point == fault.AfterStore && c.Method == "CountLetters" },
		},
		"once the dead letter is stored": {
			dies: func(c fault.Call) bool { return storesLetter(c, "/0") },
		},
		"before the broker is told": {
			dies: func(c fault.Call) bool { return c.Point == fault.BeforeTell && c.Method == "term" },
		},
		"once the dead letter is owed": {
			dies: func(c fault.Call) bool { return c.Point == fault.AfterStore && c.Method == "ParkLetters" },
			before: func(c fault.Call) error {
				if c.Point == fault.BeforePublish && isLetter(c) {
					return stream.ErrStreamFull
				}
				return nil
			},
			owed: true,
		},
		"once a parked event has waited for too long": {
			dies: func(c fault.Call) bool { return storesLetter(c, "/0") },
			before: func(c fault.Call) error {
				if c.Point == fault.BeforeVerify {
					return &providers.Error{Class: providers.ErrUnavailable, Reason: "issuer_unavailable", Message: "The issuer is away.", Away: true}
				}
				return nil
			},
			await: func(d *workertest.Deployment) {
				d.Eventually("for the login to be refused", func() bool {
					d.Clock.Advance(time.Minute)
					return len(d.Letters.All()) > 0
				})
			},
		},
		"once the dead letter of a replay is stored": {
			dies:   func(c fault.Call) bool { return storesLetter(c, "/1") },
			replay: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
				p := d.Process(workertest.Mortal)
				p.On(func(_ context.Context, call fault.Call) error {
					if c.dies(call) {
						return p.Die()
					}
					if c.before != nil {
						return c.before(call)
					}
					return nil
				})
				p.Run()
				d.LogIn("e1", astronaut(d, "ada"))
				attempts := 1
				if c.replay {
					attempts = 2
					d.Replay("too early", d.AwaitLetter("e1").Sequence)
				}
				if c.await != nil {
					c.await(d)
				}
				p.AwaitDeath()

				d.Apply(repaired)
				d.Start()
				if c.await != nil { // the claim of the dead worker ends
					d.Eventually("for the parked login", func() bool { d.Clock.Advance(time.Minute); return len(d.Results.All()) > 0 })
				}
				rejected := d.Results.Await(attempts, "of e1, rejected", func(r workertest.Record) bool { return r.Status != 201 })
				d.Settle()
				if c.owed {
					awaitOwed(d)
				}
				letters := map[string]bool{}
				for _, l := range d.LettersOf("e1") {
					letters[l.Header.Get("Nats-Msg-Id")] = true
				}
				if users := d.Users(acme); len(letters) != attempts || len(users) != 0 || len(d.ResultsOf("e1")) != len(rejected) {
					t.Errorf("the login has the dead letters %v, %d results, and there are %d users; want %d, as many, and none", letters, len(d.ResultsOf("e1")), len(users), attempts)
				}
				last := rejected[len(rejected)-1]
				letter := d.LettersOf("e1")[attempts-1]
				if code, id := last.Header.Get(record.HeaderDeadLetter), letter.Header.Get("Nats-Msg-Id"); code != id || last.Code != letter.Code {
					t.Errorf("the result names the dead letter %q and code %s, want %q and %s", code, last.Code, id, letter.Code)
				}
				if a := account(d); !a.Holds() {
					t.Errorf("the account has unaccounted %v and duplicated %v, want none", a.Unaccounted, a.Duplicated)
				}

				d.Replay("repaired", letter.Sequence)
				d.Results.Await(1, "created", func(r workertest.Record) bool { return r.Status == 201 })
				if a := account(d); !a.Holds() {
					t.Errorf("after the replay the account has unaccounted %v and duplicated %v, want none", a.Unaccounted, a.Duplicated)
				}
			})
		})
	}
}

// An event that was counted stays counted, and so has no effect either.
func TestACountedVerdictIsFinishedAsItWasBegun(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		p := d.Process(workertest.Mortal, quota(1))
		p.Run()
		d.LogIn("e0", astronaut(d, "ada"))
		d.AwaitLetter("e0")
		d.Settle()
		p.On(func(_ context.Context, c fault.Call) error {
			if c.Point == fault.BeforePublish && !isLetter(c) {
				return p.Die()
			}
			return nil
		})
		const more = 3
		for i := range more {
			d.LogIn(fmt.Sprintf("e%d", 1+i), astronaut(d, "ada"))
		}
		p.AwaitDeath()
		d.Apply(repaired)
		d.Start(func(c *worker.Config) { c.LetterQuota = 100 })
		d.Results.Await(2, "rejected", func(r workertest.Record) bool { return r.Status != 201 && r.Status != 200 })
		d.Settle()
		a := account(d)
		if counted := len(d.Results.Where(func(r workertest.Record) bool { return r.Header.Get(record.HeaderDeadLetter) == record.CountedLetter })); !a.Holds() || counted == 0 || a.Events.Counted != uint64(counted) {
			t.Errorf("the account has %d counted events, unaccounted %v and duplicated %v, and %d results speak of one; want as many, and none", a.Events.Counted, a.Unaccounted, a.Duplicated, counted)
		}
	})
}
