package worker_test

import (
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// An event that the ledger may have forgotten has no second effect, unless an operator wants it.
func TestEventsFromBeforeTheHistoryAreRefused(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		d.Start()
		d.LogIn("e1", d.Person("ada"))
		if r := d.Await("e1"); r.Status != 201 {
			t.Fatalf("the login ends with %d %s, want 201", r.Status, r.Data)
		}
		if err := d.Store.BeginHistory(d.Ctx, time.Now().Add(time.Hour)); err != nil {
			t.Fatalf("begin the history: %v", err)
		}
		d.LogIn("e2", d.Person("bob"))
		wantRejected(t, d, "e2", record.CodeUnauthenticated, "before_history")
		letter := d.AwaitLetter("e2")
		d.Replay("again", letter.Sequence)
		both := d.Results.Await(2, "of e2", func(r workertest.Record) bool { return r.EventID == "e2" })
		if both[1].Status != 201 {
			t.Errorf("the replay ends with %d %s, want 201", both[1].Status, both[1].Data)
		}
		login := d.Login(d.Person("ada"))
		d.Publish(okta, "e3", login)
		wantRejected(t, d, "e3", record.CodeUnauthenticated, "before_history")
		if n := len(d.Users(acme)); n != 2 {
			t.Errorf("there are %d users, want 2", n)
		}
	})
}

// The ledger is kept for as long as dead letters are, whatever its own retention says.
func TestWorkersDeleteOldRows(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		if err := d.Store.SetRetention(d.Ctx, store.Retention{Ledger: store.MinLedgerAge, Audit: store.MinAuditAge}, "test", time.Now()); err != nil {
			t.Fatalf("set what is kept for how long: %v", err)
		}
		first := d.Start()
		days := map[string]int{"e1": 0, "e89": 89, "e92": 92, "e93": 93}
		for id := range days {
			d.LogIn(id, d.Person(id))
			if r := d.Await(id); r.Status != 201 {
				t.Fatalf("the login ends with %d %s, want 201", r.Status, r.Data)
			}
		}
		if err := first.Stop(); err != nil {
			t.Fatalf("the worker does not stop: %v", err)
		}
		db := storetest.Database(t, d.Database())
		for id, age := range days {
			old := any(time.Now().AddDate(0, 0, -age))
			query := `update events set at = $1, stored_at = $1 where event_id = $2`
			if d.Database().URL == "" {
				old = time.Now().AddDate(0, 0, -age).UnixMicro()
			}
			if _, err := db.ExecContext(d.Ctx, query, old, id); err != nil {
				t.Fatalf("make the row of %s old: %v", id, err)
			}
		}
		d.Start(func(c *worker.Config) { c.PruneInterval = 50 * time.Millisecond })
		d.Eventually("for old rows to be deleted", func() bool { return d.Counts().Events == 2 })
		for _, id := range []string{"e1", "e89"} {
			ledgerRow(t, d, id)
		}
		r, err := d.Store.Retention(d.Ctx)
		if want := time.Now().AddDate(0, 0, -90); err != nil || r.HistoryFrom.After(want) || r.HistoryFrom.Before(want.Add(-2*time.Hour)) {
			t.Errorf("the history begins at %v with the error %v, want at %v or a little earlier", r.HistoryFrom, err, want)
		}
	})
}
