package worker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/workertest"
)

// wrong has a worker's host run ahead of all other clocks, or behind them.
func wrong(d *workertest.Deployment, ahead time.Duration) func(*worker.Config) {
	return func(c *worker.Config) { c.Now = func() time.Time { return d.Clock.Now().Add(ahead) } }
}

// Two workers' clocks differ by two hours, and an issuer is away. The logins that are parked meanwhile wait as long as others
// would, and each is in the hands of one worker at a time.
func TestClocksThatDifferCostNoParkedLogin(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		d.Second.SetDown(true)
		slow, fast := d.Process(wrong(d, -time.Hour)), d.Process(wrong(d, time.Hour))

		var mu sync.Mutex
		looks := 0 // of the fast worker at what is parked
		looked := make(chan struct{})
		held := map[string]bool{} // by the slow worker
		slow.On(fault.At(fault.BeforeVerify, func(ctx context.Context, c fault.Call) error {
			mu.Lock()
			defer mu.Unlock()
			held[c.Envelope.EventID] = true
			for until := looks + 3; looks < until; {
				next := looked
				mu.Unlock()
				select {
				case <-next:
				case <-ctx.Done():
				}
				mu.Lock()
				if ctx.Err() != nil {
					break
				}
			}
			delete(held, c.Envelope.EventID)
			return nil
		}))
		fast.On(func(_ context.Context, c fault.Call) error {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case c.Point == fault.AfterStore && c.Method == "ClaimParked":
				looks++
				close(looked)
				looked = make(chan struct{})
			case c.Point == fault.BeforeVerify && held[c.Envelope.EventID]:
				t.Errorf("the fast worker works on %s: got it from the slow worker, want it left there", c.Envelope.EventID)
			}
			return nil
		})
		slow.Run()
		fast.Run()

		const logins = 20
		for i := range logins {
			subject := fmt.Sprintf("p%d", i)
			d.Publish(workertest.LoginSubject(acme, "ping"), subject, d.LoginAt(d.Second, d.PersonAt(d.Second, subject)))
		}
		d.Eventually("for the logins to be parked", func() bool { return d.Counts().Parked+int64(len(d.Letters.All())) == logins })
		d.Drained()
		asked := d.Second.Requests().Discovery
		advanced := 0
		advance := func() { // but no lease ends by it, also of an event that was claimed and is not verified yet
			mu.Lock()
			defer mu.Unlock()
			if len(held) == 0 && advanced < looks {
				advanced = looks
				d.Clock.Advance(3 * time.Second)
			}
		}
		d.Eventually("for both workers to ask the issuer again, in vain", func() bool {
			advance()
			return d.Second.Requests().Discovery >= asked+4
		})
		if letters := d.Letters.All(); len(letters) != 0 {
			t.Fatalf("there are %d dead letters while the issuer is away, want none; the first is %+v", len(letters), letters[0])
		}
		d.Second.SetDown(false)
		d.Eventually("for the logins to come back", func() bool {
			advance()
			return d.Counts().Parked == 0
		})
		results := d.AllResults()
		if len(results) != logins || len(d.AllLetters()) != 0 {
			t.Errorf("there are %d results and %d dead letters, want %d and none", len(results), len(d.AllLetters()), logins)
		}
		for _, r := range results {
			if r.Status != 201 {
				t.Errorf("%s ends with status %d and %s, want 201", r.EventID, r.Status, r.Data)
			}
		}
	})
}

// A host's clock that is eight days ahead makes no event too old, and dates nothing.
func TestAWrongClockOfAHostDecidesNothing(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		const ahead = 8 * 24 * time.Hour
		p := d.Start(wrong(d, ahead))
		d.LogIn("e1", d.Person("ada"))
		if r := d.Await("e1"); r.Status != 201 {
			t.Errorf("the login ends with status %d and %s, want 201", r.Status, r.Data)
		}
		now, err := d.Store.Now(d.Ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range d.Users(acme) {
			if off := u.CreatedAt.Sub(now).Abs(); off > time.Hour {
				t.Errorf("the user was created %v away from the database's time, want about then", off)
			}
		}
		for _, of := range []string{clock.Database, clock.Broker} {
			if skew := p.ClockSkew(of); (skew - ahead).Abs() > time.Hour {
				t.Errorf("the skew against the %s is %v, want about %v", of, skew, ahead)
			}
		}
	})
}
