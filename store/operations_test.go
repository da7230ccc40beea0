package store_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

func parked(n int) store.Parked {
	return store.Parked{
		Key: fmt.Sprintf("stream/%d", n), Tenant: storetest.Acme, Source: storetest.SourceLogins, Subject: "idpsync.login.x.okta",
		Headers: []byte(`{"Nats-Msg-Id":["1"]}`), Payload: []byte("{ \"id_token\":\"\xff\"}"), EventID: fmt.Sprint("e", n),
		StoredAt: storetest.Time.Add(-time.Hour), Sequence: uint64(n), Attempts: 1,
		Reason: "issuer_unreachable", Delay: time.Duration(n) * time.Second,
	}
}

// A clock stands in for that of a database.
type clock struct{ now atomic.Pointer[time.Time] }

// openClocked opens a store by whose clock it is storetest.Time until the clock is set.
func openClocked(t *testing.T, kind string) (*store.Store, *clock) {
	t.Helper()
	var c clock
	c.set(0)
	o := storetest.Migrated(t, kind)
	o.Clock = func(time.Time) time.Time { return *c.now.Load() }
	return storetest.OpenOptions(t, o), &c
}

// set sets the clock to so long after storetest.Time.
func (c *clock) set(after time.Duration) {
	now := storetest.Time.Add(after)
	c.now.Store(&now)
}

// eachClocked runs test on every kind of database.
func eachClocked(t *testing.T, test func(t *testing.T, s *store.Store, c *clock)) {
	t.Helper()
	for _, kind := range storetest.Kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s, c := openClocked(t, kind)
			test(t, s, c)
		})
	}
}

func keys(events []store.Parked) []string {
	var keys []string
	for _, p := range events {
		keys = append(keys, p.Key)
	}
	return keys
}

func TestParkedEventsComeBackWhenTheyAreDue(t *testing.T) {
	t.Parallel()
	eachClocked(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		claim := func(worker string, after time.Duration) []store.Parked {
			t.Helper()
			c.set(after)
			got, err := s.ClaimParked(ctx, worker, 10, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		again := parked(1)
		again.Reason, again.Attempts = "another", 9
		for _, events := range [][]store.Parked{{parked(3), parked(1), parked(2)}, {again}, nil} {
			if err := s.Park(ctx, events); err != nil {
				t.Fatal(err)
			}
		}
		equal(t, "before they are due", claim("a", 0), []store.Parked(nil))
		got := claim("a", 2*time.Second)
		equal(t, "due", keys(got), []string{"stream/1", "stream/2"})
		want := parked(1)
		want.ID, want.Delay, want.FirstFailed = got[0].ID, 0, storetest.Time
		want.NotBefore, want.Waited = storetest.Time.Add(time.Second), 2*time.Second
		equal(t, "parked", got[0], want)
		equal(t, "claimed by another", keys(claim("b", 3*time.Second)), []string{"stream/3"})
		equal(t, "while the lease lasts", claim("b", 30*time.Second), []store.Parked(nil))
		equal(t, "when it has ended", keys(claim("b", 2*time.Second+time.Minute)), []string{"stream/1", "stream/2"})

		later := got[0]
		later.Delay, later.Attempts, later.Reason = time.Hour, 2, "still_unreachable"
		equal(t, "error of Repark", s.Repark(ctx, []store.Parked{later}), nil)
		equal(t, "error of deleting", s.DeleteParked(ctx, []int64{got[1].ID, 999}), nil)
		equal(t, "error of deleting nothing", s.DeleteParked(ctx, nil), nil)
		const due = 2*time.Second + time.Minute + time.Hour
		equal(t, "reparked", claim("a", due-time.Second)[0].Key, "stream/3")
		last := claim("a", due)
		later.Delay, later.NotBefore, later.Waited = 0, storetest.Time.Add(due), later.Waited+time.Hour
		equal(t, "reparked", last, []store.Parked{later})
		equal(t, "error of deleting the last one", s.DeleteParked(ctx, []int64{last[0].ID}), nil)
		equal(t, "after it was deleted", keys(claim("a", 3*time.Hour)), []string{"stream/3"})
	})
}

// What an event may wait is used up by waiting, and not by a clock that is set.
func TestWaitsSurviveAClockThatIsSet(t *testing.T) {
	t.Parallel()
	eachClocked(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		claim := func(after time.Duration) store.Parked {
			t.Helper()
			c.set(after)
			got, err := s.ClaimParked(ctx, "a", 10, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 1 {
				t.Fatalf("events that are due when the clock says %v after it was parked: got %d, wanted 1", after, len(got))
			}
			return got[0]
		}
		again := func(p store.Parked, delay time.Duration) {
			t.Helper()
			if p.Delay = delay; s.Repark(ctx, []store.Parked{p}) != nil {
				t.Fatal("the event could not be parked again")
			}
		}
		p := parked(10)
		if err := s.Park(ctx, []store.Parked{p}); err != nil {
			t.Fatal(err)
		}
		p = claim(12 * time.Second)
		equal(t, "wait as the clock runs", p.Waited, 12*time.Second)
		again(p, 10*time.Second)
		p = claim(100 * 24 * time.Hour)
		equal(t, "wait when the clock has been set forward", p.Waited, 12*time.Second+10*time.Second+time.Minute)
		again(p, 10*time.Second)
		waited := p.Waited
		p = claim(time.Hour)
		equal(t, "wait when it has been set back", p.Waited, waited)
		again(p, 10*time.Second)
		p = claim(time.Hour + 10*time.Second)
		equal(t, "wait as it runs again", p.Waited, waited+10*time.Second)
	})
}

func TestClaimsOfSeveralWorkersAreDisjoint(t *testing.T) {
	t.Parallel()
	eachClocked(t, func(t *testing.T, s *store.Store, c *clock) {
		const n, workers = 60, 4
		var events []store.Parked
		w := store.Write{}
		for i := range n {
			events = append(events, parked(i))
			w.Outbox = append(w.Outbox, store.Outbox{ID: fmt.Sprintf("r%03d", i), Subject: "s", Body: []byte("{}"), At: storetest.Time})
		}
		if err := s.Park(t.Context(), events); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, s, w)
		c.set(time.Hour)
		var mu sync.Mutex
		var got []string
		var wg sync.WaitGroup
		for i := range workers {
			wg.Go(func() {
				for range n / workers / 5 {
					events, err := s.ClaimParked(t.Context(), fmt.Sprint("w", i), 5, time.Minute)
					results, err2 := s.ClaimOutbox(t.Context(), fmt.Sprint("w", i), time.Second, 5, time.Minute)
					if err := errors.Join(err, err2); err != nil {
						t.Errorf("worker %d claims: got the error %v, wanted none", i, err)
						return
					}
					mu.Lock()
					got = append(got, keys(events)...)
					for _, r := range results {
						got = append(got, r.ID)
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		slices.Sort(got)
		if len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Errorf("keys of the rows that were claimed: got %q, wanted none twice", got)
		}
		if len(got) != 2*n {
			t.Errorf("rows that were claimed: got %d, wanted %d", len(got), 2*n)
		}
	})
}

func TestTheOutboxKeepsResultsUntilTheyAreDeleted(t *testing.T) {
	t.Parallel()
	eachClocked(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		first := store.Outbox{ID: "r1", Subject: "idpsync.result.a", Headers: []byte(`{"Idpsync-Status":["201"]}`), Body: []byte("{ }\n"), At: storetest.Time}
		second := store.Outbox{ID: "r0", Subject: "idpsync.result.b", Body: []byte{0, 255}, At: storetest.Time.Add(time.Second)}
		mustWrite(t, s, store.Write{Outbox: []store.Outbox{second, first}})
		claim := func(after time.Duration) []store.Outbox {
			t.Helper()
			c.set(after)
			got, err := s.ClaimOutbox(ctx, "a", 10*time.Second, 10, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		equal(t, "young ones are left to their worker", claim(9*time.Second), []store.Outbox(nil))
		equal(t, "oldest first", claim(time.Hour), []store.Outbox{first, second})
		equal(t, "while claimed", claim(time.Hour), []store.Outbox(nil))
		counts, err := s.Counts(ctx)
		equal(t, "error of Counts", err, nil)
		equal(t, "counts", counts, store.Counts{Outbox: 2, OldestOutbox: storetest.Time})
		equal(t, "error of deleting", s.DeleteOutbox(ctx, []string{"r1", "none"}), nil)
		equal(t, "after the lease", claim(2*time.Hour), []store.Outbox{second})
	})
}

func TestInFlightMarkersOutliveTheirWorker(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s, ctx := open(), t.Context()
		later := storetest.Time.Add(time.Second)
		a := store.InFlight{Event: "IDPSYNC_EVENTS/1/7", Run: "r1", Worker: "a", Alone: true, Tenant: storetest.Acme, Source: "okta", EventID: "e", At: storetest.Time}
		second, other := a, a
		second.Run, second.Alone = "r2", false
		other.Event = "IDPSYNC_EVENTS/1/8"
		equal(t, "error of MarkInFlight", s.MarkInFlight(ctx, []store.InFlight{other, second, a}), nil)
		equal(t, "error of MarkInFlight of none", s.MarkInFlight(ctx, nil), nil)
		died := store.InFlight{Event: a.Event, Run: a.Run, Died: true, At: later}
		equal(t, "error of MarkInFlight of one that is there", s.MarkInFlight(ctx, []store.InFlight{died}), nil)
		a.Died, a.At = true, later
		got, err := s.InFlight(ctx)
		equal(t, "error of InFlight", err, nil)
		equal(t, "all in-flight markers", got, []store.InFlight{a, second, other})
		got, err = s.InFlight(ctx, a.Event, "another")
		equal(t, "error of InFlight", err, nil)
		equal(t, "in-flight markers of one event", got, []store.InFlight{a, second})

		equal(t, "error of KeepInFlight", s.KeepInFlight(ctx, "r2", later), nil)
		second.At = later
		n, err := s.PruneInFlight(ctx, later)
		equal(t, "error of PruneInFlight", err, nil)
		equal(t, "markers that were pruned", n, int64(1))
		equal(t, "error of ClearInFlight of a run", s.ClearInFlight(ctx, []string{a.Event}, "r1"), nil)
		got, err = s.InFlight(ctx)
		equal(t, "error of InFlight", err, nil)
		equal(t, "in-flight markers that are left", got, []store.InFlight{second})
		equal(t, "error of ClearInFlight of all runs", s.ClearInFlight(ctx, []string{"another", a.Event}, ""), nil)
		got, err = s.InFlight(ctx)
		equal(t, "error of InFlight", err, nil)
		equal(t, "in-flight markers at the end", len(got), 0)
	})
}

func TestDeadLettersKeepTheirState(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s, ctx := open(), t.Context()
		row := func(sequence uint64) store.DeadLetter {
			return store.DeadLetter{
				Sequence: sequence, Tenant: storetest.Acme, Source: "okta", EventID: "e", Code: "unauthenticated", Reason: "signature", Fingerprint: "f1",
				State: store.DeadLetterOpen, CreatedAt: storetest.Time, UpdatedAt: storetest.Time,
			}
		}
		equal(t, "error of UpsertDeadLetters of new ones", s.UpsertDeadLetters(ctx, []store.DeadLetter{row(3), row(1), row(2)}), nil)
		equal(t, "error of UpsertDeadLetters of none", s.UpsertDeadLetters(ctx, nil), nil)
		done := row(2)
		done.State, done.Who, done.Why, done.Campaign, done.Parent, done.Attempts = store.DeadLetterReplayed, "ann", "key fixed", "c1", 1, 2
		done.Outcome, done.UpdatedAt, done.CreatedAt = "created", storetest.Time.Add(time.Hour), storetest.Time.Add(time.Hour)
		equal(t, "error of UpsertDeadLetters", s.UpsertDeadLetters(ctx, []store.DeadLetter{done}), nil)
		late := row(2)
		late.State, late.Campaign = store.DeadLetterDiscarded, "c2"
		equal(t, "error of discarding what was replayed", s.UpsertDeadLetters(ctx, []store.DeadLetter{late}), nil)
		done.CreatedAt = storetest.Time
		got, err := s.DeadLetter(ctx, 2)
		equal(t, "error of DeadLetter", err, nil)
		equal(t, "the dead letter that was replayed", got, done)
		_, err = s.DeadLetter(ctx, 9)
		equal(t, "a dead letter that is not there is not found", errors.Is(err, store.ErrNotFound), true)
		for name, c := range map[string]struct {
			f    store.DeadLetterFilter
			want []store.DeadLetter
		}{
			"all":       {store.DeadLetterFilter{}, []store.DeadLetter{row(1), done, row(3)}},
			"open":      {store.DeadLetterFilter{State: store.DeadLetterOpen, Tenant: storetest.Acme, Source: "okta", Code: "unauthenticated", Fingerprint: "f1"}, []store.DeadLetter{row(1), row(3)}},
			"campaign":  {store.DeadLetterFilter{Campaign: "c1"}, []store.DeadLetter{done}},
			"page":      {store.DeadLetterFilter{Limit: 1, After: 1}, []store.DeadLetter{done}},
			"none such": {store.DeadLetterFilter{Code: "malformed"}, []store.DeadLetter{}},
		} {
			got, err := s.DeadLetters(ctx, c.f)
			equal(t, name+" error", err, nil)
			equal(t, "dead letters by "+name, got, c.want)
		}
	})
}

func TestTheAuditIsReadLatestFirst(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s, ctx := open(), t.Context()
		for i := range 3 {
			e := store.AuditEntry{At: storetest.Time.Add(time.Duration(i) * time.Hour), Tenant: storetest.Acme, Who: fmt.Sprint("who", i), Action: "dlq.replay", Object: "7", Detail: []byte(`{"n": 1}`)}
			if err := s.Audit(ctx, e); err != nil {
				t.Fatal(err)
			}
		}
		all, err := s.AuditEntries(ctx, store.AuditFilter{})
		equal(t, "error of AuditEntries", err, nil)
		if len(all) != 3 || all[0].Who != "who2" || !all[0].At.Equal(storetest.Time.Add(2*time.Hour)) || string(all[0].Detail) != `{"n": 1}` {
			t.Fatalf("the audit: got %+v, wanted 3 entries, the first by who2 two hours later with the detail as it was written", all)
		}
		page, err := s.AuditEntries(ctx, store.AuditFilter{Before: all[0].ID, Limit: 1, Tenant: storetest.Acme, Action: "dlq.replay"})
		equal(t, "error of AuditEntries", err, nil)
		equal(t, "a page of the audit", page, all[1:2])
		some, err := s.AuditEntries(ctx, store.AuditFilter{Since: storetest.Time.Add(time.Hour), Who: "who1"})
		equal(t, "error of AuditEntries", err, nil)
		equal(t, "the audit since a time", some, all[1:2])
	})
}
