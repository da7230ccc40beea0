package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

func TestRetentionIsSetAndAudited(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		get := func() store.Retention {
			t.Helper()
			r, err := s.Retention(t.Context())
			if err != nil {
				t.Fatalf("read what is kept for how long: %v", err)
			}
			return r
		}
		equal(t, "what is kept at first", get(), store.Retention{Ledger: store.DefaultLedgerAge, Audit: store.DefaultAuditAge})
		want := store.Retention{Ledger: 400 * 24 * time.Hour, Audit: 30 * 24 * time.Hour}
		for range 2 {
			equal(t, "error of SetRetention", s.SetRetention(t.Context(), want, "ops", storetest.Time), nil)
		}
		equal(t, "what is kept then", get(), want)
		entries, err := s.AuditEntries(t.Context(), store.AuditFilter{Action: "retention.set"})
		if err != nil || len(entries) != 1 || entries[0].Who != "ops" {
			t.Errorf("the audit has %+v and the error %v, wanted one entry of ops", entries, err)
		}
		for _, short := range []store.Retention{{Ledger: store.MinLedgerAge - 1, Audit: want.Audit}, {Ledger: want.Ledger, Audit: store.MinAuditAge - 1}} {
			if err := s.SetRetention(t.Context(), short, "ops", storetest.Time); !errors.Is(err, store.ErrConstraint) {
				t.Errorf("%+v gives the error %v, wanted a constraint that is broken", short, err)
			}
		}
		for _, from := range []time.Time{storetest.Time, storetest.Time.Add(time.Hour), storetest.Time} {
			equal(t, "error of BeginHistory", s.BeginHistory(t.Context(), from), nil)
		}
		want.HistoryFrom = storetest.Time.Add(time.Hour)
		equal(t, "what is kept, with a history that never moves back", get(), want)
		equal(t, "the beginning of the history that a look-up finds", find(t, s, lookupOf(neighbours()[0]))[0].HistoryFrom, want.HistoryFrom)
	})
}

func TestOneWorkerPrunesAtATime(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		claim := func(worker string, lease time.Duration) bool {
			t.Helper()
			got, err := s.ClaimPruning(t.Context(), worker, lease)
			if err != nil {
				t.Fatalf("claim the pruning for %s: %v", worker, err)
			}
			return got
		}
		equal(t, "the first claims", claim("a", 0), true)
		equal(t, "the next claims after the end of a lease", claim("b", time.Hour), true)
		equal(t, "another claims within a lease", claim("a", time.Hour), false)
	})
}

func TestOldRowsArePrunedAFewAtATime(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		old, limit := storetest.Time, storetest.Time.Add(time.Hour)
		var w store.Write
		var letters []store.DeadLetter
		for i := range 5 {
			when := old.Add(time.Duration(i) * time.Minute)
			if i >= 3 {
				when = limit.Add(time.Duration(i) * time.Minute)
			}
			name := fmt.Sprint(i)
			row := storetest.Event(storetest.User(storetest.Acme, 1), name)
			row.At, row.StoredAt = when, when
			w.Events = append(w.Events, row)
			w.Repeats = append(w.Repeats, store.Repeat{Origin: name, TenantID: storetest.Acme, Source: "s", EventID: name, At: when})
			w.Outbox = append(w.Outbox, store.Outbox{ID: name, Subject: "s", At: when})
			w.UsedIDs = append(w.UsedIDs, store.UsedID{TenantID: storetest.Acme, Source: "s", ID: name, EventID: name, Until: when})
			letters = append(letters, store.DeadLetter{Sequence: uint64(i + 1), State: store.DeadLetterReplayed, CreatedAt: when, UpdatedAt: when})
			if err := s.Audit(t.Context(), store.AuditEntry{At: when, Who: name, Action: "test"}); err != nil {
				t.Fatalf("write to the audit: %v", err)
			}
		}
		late := storetest.Event(storetest.User(storetest.Acme, 1), "by a clock that is slow")
		late.At, late.StoredAt = old, limit.Add(time.Minute)
		w.Events = append(w.Events, late)
		mustWrite(t, s, w)
		if err := s.UpsertDeadLetters(t.Context(), letters); err != nil {
			t.Fatalf("write dead letters: %v", err)
		}
		for _, p := range []store.Prunable{store.PruneEvents, store.PruneRepeats, store.PruneOutbox, store.PruneUsedIDs, store.PruneDeadLetters, store.PruneAudit} {
			for _, want := range []int64{2, 1, 0} {
				n, err := s.Prune(t.Context(), p, limit, 2)
				if err != nil || n != want {
					t.Errorf("pruning two rows of %s deletes %d with the error %v, wanted %d", p, n, err, want)
				}
			}
		}
		for _, p := range []store.Prunable{store.PruneKeys, store.PruneAvatars} {
			if n, err := s.Prune(t.Context(), p, limit, 2); n != 0 || err != nil {
				t.Errorf("pruning rows of %s, of which there are none, deletes %d with the error %v", p, n, err)
			}
		}
		events, err := s.Events(t.Context(), store.EventFilter{})
		if err != nil || len(events) != 3 {
			t.Errorf("%d rows of the ledger are left with the error %v, wanted 3", len(events), err)
		}
		left, err := s.AuditEntries(t.Context(), store.AuditFilter{})
		if err != nil || len(left) != 2 || left[1].Who != "3" {
			t.Errorf("the audit has %+v with the error %v, wanted the entries 3 and 4", left, err)
		}
	})
}

// longAgo is when the rows were processed that are pruned beside others.
var longAgo = storetest.Time.AddDate(-1, 0, 0)

// oldEvents fills the ledger with old rows, as many as count says.
func oldEvents(t testing.TB, s *store.Store, count int) {
	t.Helper()
	const batch = 1000
	for start := 0; start < count; start += batch {
		var w store.Write
		for i := range min(batch, count-start) {
			row := storetest.Event(storetest.User(storetest.Acme, 1), fmt.Sprintf("old-%d", start+i))
			row.At, row.StoredAt = longAgo, longAgo
			w.Events = append(w.Events, row)
		}
		if err := write(t.Context(), s, w); err != nil {
			t.Fatalf("write old rows: %v", err)
		}
	}
}

// pruneEvents deletes old rows as a worker does, and returns how many those were.
func pruneEvents(ctx context.Context, s *store.Store) (int64, error) {
	var all int64
	for {
		began := time.Now()
		n, err := s.Prune(ctx, store.PruneEvents, longAgo.Add(time.Hour), 500)
		if all += n; err != nil || n == 0 {
			return all, err
		}
		timer := time.NewTimer(2 * time.Since(began))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return all, ctx.Err()
		}
	}
}

func TestBatchesAreWrittenWhileOldRowsArePruned(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		const old = 10_000
		oldEvents(t, s, old)
		done := make(chan struct{})
		var pruned int64
		var failed error
		var wg sync.WaitGroup
		wg.Go(func() {
			defer close(done)
			pruned, failed = pruneEvents(t.Context(), s)
		})
		written := 0
		for pruning := true; pruning; {
			if err := create(t.Context(), s, storetest.Creates(written*10, 10)); err != nil {
				t.Fatalf("write a batch: %v", err)
			}
			written++
			select {
			case <-done:
				pruning = false
			default:
			}
		}
		wg.Wait()
		if failed != nil || pruned != old {
			t.Errorf("%d rows were pruned with the error %v, wanted %d", pruned, failed, old)
		}
		if written < 3 {
			t.Errorf("%d batches were written meanwhile, wanted some", written)
		}
	})
}

// BenchmarkLoginsBesidePruning measures how long a small batch takes while 100,000 old rows are deleted.
func BenchmarkLoginsBesidePruning(b *testing.B) {
	for _, kind := range storetest.Kinds() {
		for _, pruning := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/pruning=%t", kind, pruning), func(b *testing.B) {
				s := storetest.Open(b, kind)
				storetest.Seed(b, s)
				ctx, cancel := context.WithCancel(b.Context())
				defer cancel()
				var wg sync.WaitGroup
				defer wg.Wait()
				defer cancel()
				if pruning {
					oldEvents(b, s, 100_000)
					wg.Go(func() {
						began := time.Now()
						n, err := pruneEvents(ctx, s)
						b.Logf("%d rows deleted in %v, error %v", n, time.Since(began), err)
					})
				}
				var worst time.Duration
				b.ResetTimer()
				for i := range b.N {
					began := time.Now()
					if err := create(b.Context(), s, storetest.Creates(i*10, 10)); err != nil {
						b.Fatal(err)
					}
					worst = max(worst, time.Since(began))
				}
				b.ReportMetric(float64(worst.Microseconds())/1000, "worst-ms")
			})
		}
	}
}
