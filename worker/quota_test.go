package worker_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

func isSummary(r workertest.Record) bool { return r.Header.Get(record.DeadLetterCounted) != "" }

// quota configures a worker that keeps so many dead letters of a source.
func quota(n int) func(*worker.Config) { return func(c *worker.Config) { c.LetterQuota = n } }

// awaitSummaries waits until summaries list so many events.
func awaitSummaries(d *workertest.Deployment, events int) (summaries []workertest.Record) {
	d.T.Helper()
	d.Eventually(fmt.Sprintf("for %d events in summaries", events), func() bool {
		d.Clock.Advance(time.Minute)
		n := 0
		for _, r := range d.Letters.Where(isSummary) {
			attempts, err := record.ReadSummary(r.Stored)
			if err != nil {
				d.T.Fatalf("summary %d cannot be read: %v", r.Sequence, err)
			}
			n += len(attempts)
		}
		return n >= events
	})
	return d.Letters.Where(isSummary)
}

func TestBeyondTheQuotaEventsThatProvedNothingAreCounted(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		const most, bad = 10, 60
		d.Start(quota(most))
		badLogins(d, acme, 0, bad)
		awaitAnswers(d, bad)
		for i := range 15 { // sources that nobody declared share one quota
			d.Publish(workertest.LoginSubject(acme, fmt.Sprintf("invented%d", i)), fmt.Sprintf("invented%d", i), []byte(`{}`))
			d.Publish(workertest.LoginSubject(fmt.Sprintf("9999e9ad-2ee2-8e00-8ec9-32d5f69181%02x", i), "okta"), fmt.Sprintf("nobody%d", i), []byte(`{}`))
		}
		for i := range 4 {
			d.LogIn(fmt.Sprintf("person%d", i), astronaut(d, fmt.Sprintf("p%d", i)))
			d.LogIn(fmt.Sprintf("again%d", i), astronaut(d, "ada"))
			d.Publish(workertest.LoginSubject(globex, "okta"), fmt.Sprintf("globex%d", i), []byte(`{"id_token":"a.b.c"}`))
		}
		d.Results.Await(bad+30+12, "of all", func(workertest.Record) bool { return true })
		letters := map[string]int{}
		for _, r := range d.AllLetters() {
			letters[strings.TrimRight(r.EventID, "0123456789")]++
		}
		for name, want := range map[string]int{"bad": most, "invented": most, "nobody": most, "person": 4, "again": 1, "globex": 4} {
			if letters[name] != want {
				t.Errorf("%d events %s have dead letters, want %d", letters[name], name, want)
			}
		}
		const counted = bad - most + 2*(15-most) + 3
		if a := account(d); !a.Holds() || a.Events.Counted != counted || a.Summaries != 0 {
			t.Errorf("the account has %d counted events, %d summaries, and unaccounted %v, want %d, none and none", a.Events.Counted, a.Summaries, a.Unaccounted, counted)
		}
		for _, r := range awaitSummaries(d, counted) {
			if r.Reason != record.ReasonOverQuota || !strings.Contains(r.Header.Get(record.DeadLetterDetail), "were refused and answered") {
				t.Errorf("a summary has the header %v, want reason over_quota and words for people", r.Header)
			}
			if _, err := record.Unseal(d.Key, r.Header, r.Data); err == nil || !strings.Contains(err.Error(), record.ErrSummary.Error()) {
				t.Errorf("a summary unseals with the error %v, want %v", err, record.ErrSummary)
			}
		}
		if a := account(d); !a.Holds() || a.Events.Counted != counted || a.Summaries < 4 {
			t.Errorf("the account has %d counted events, %d summaries, and unaccounted %v, want %d, four at least and none", a.Events.Counted, a.Summaries, a.Unaccounted, counted)
		}

		var sequences []uint64
		for _, r := range d.Letters.Where(func(r workertest.Record) bool { return strings.HasPrefix(r.EventID, "bad") }) {
			sequences = append(sequences, r.Sequence)
		}
		for _, r := range d.Letters.Where(func(r workertest.Record) bool {
			return strings.HasPrefix(r.EventID, "again") || strings.HasPrefix(r.EventID, "person")
		}) {
			sequences = append(sequences, r.Sequence)
		}
		d.Order(acme, record.Order{Action: record.OrderDiscard, Sequences: sequences, Who: "op@acme.example"})
		d.Settle()
		badLogins(d, acme, bad, bad+most+3)
		awaitAnswers(d, bad+most+3)
		if n := len(d.AllLetters()); n < most {
			t.Errorf("there are %d dead letters in all", n)
		}
		if n := len(d.Letters.Where(func(r workertest.Record) bool { return strings.HasPrefix(r.EventID, "bad") })); n != 2*most {
			t.Errorf("%d bad logins have dead letters once those before were discarded, want %d", n, 2*most)
		}
	})
}

func TestAWorkerThatDiesOverASummaryLosesAndDoublesNothing(t *testing.T) {
	const most, bad = 5, 40
	for name, dies := range map[string]func(c fault.Call) bool{
		"once they are counted": func(c fault.Call) bool { return c.Point == fault.AfterStore && c.Method == "CountLetters" },
		"once they are claimed": func(c fault.Call) bool { return c.Point == fault.AfterStore && c.Method == "ClaimCounted" },
		"once it is written": func(c fault.Call) bool {
			return c.Point == fault.AfterPublish && strings.HasPrefix(c.Outgoing[0].ID, "dl/summary/")
		},
		"before they are forgotten": func(c fault.Call) bool { return c.Point == fault.BeforeStore && c.Method == "DeleteCounted" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := workertest.New(t, workertest.Options{})
			p := d.Process(workertest.Mortal, quota(most))
			badLogins(d, acme, 0, bad)
			p.On(func(_ context.Context, c fault.Call) error {
				if dies(c) && (c.Method == "CountLetters" || len(d.Results.All()) >= bad) {
					return p.Die()
				}
				return nil
			})
			p.Run()
			d.Eventually("for the worker's death", func() bool {
				if len(d.Results.All()) >= bad {
					d.Clock.Advance(time.Minute)
				}
				select {
				case <-p.Died():
					return true
				default:
					return false
				}
			})
			p.AwaitDeath()
			d.Start(quota(most))
			awaitAnswers(d, bad)
			awaitSummaries(d, bad-most)
			seen := map[string]int{}
			for _, r := range d.AllLetters() {
				seen[r.Header.Get("Nats-Msg-Id")]++
			}
			if len(seen) != most+1 {
				t.Errorf("there are the dead letters %v, want %d and one summary", seen, most)
			}
			if a := account(d); !a.Holds() || a.Events.Counted != bad-most || a.Events.DeadLetters != most {
				t.Errorf("the account has %d counted events and %d dead letters, unaccounted %v and duplicated %v, want %d, %d, none and none",
					a.Events.Counted, a.Events.DeadLetters, a.Unaccounted, a.Duplicated, bad-most, most)
			}
		})
	}
}
