package store_test

import (
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

func TestVerdictsAreKeptUntilNobodyAsks(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s, ctx := open(), t.Context()
		refused := func(n int, verdict string) store.Letter {
			l := quotaLetter(n, "")
			l.Origin, l.Verdict, l.Judged = l.Attempt[:len(l.Attempt)-2], []byte(verdict), l.At
			return l
		}
		count := func(letters ...store.Letter) []bool {
			t.Helper()
			keep, err := s.CountLetters(ctx, store.LetterQuota{Letters: 1, Bytes: 1 << 20}, letters)
			if err != nil {
				t.Fatalf("count letters: got the error %v, wanted none", err)
			}
			return keep
		}
		replay := refused(2, "replay")
		replay.Exempt = true
		equal(t, "letters to write of three, one of a replay", count(refused(0, "first"), refused(1, "second"), replay), []bool{true, false, true})
		equal(t, "letters to write of other verdicts on the same", count(refused(1, "third"), refused(0, "third")), []bool{false, true})
		equal(t, "letters to write within the quota, that of a replay uncounted", count(refused(3, "fourth")), []bool{false})

		// Its letter was dealt with, or its summary written; the verdict stays.
		equal(t, "error of taking one off", s.UncountLetters(ctx, []string{"dl/stream/000/0"}), nil)
		if _, err := s.ClaimCounted(ctx, 1, storetest.Time, storetest.Time, time.Minute); err != nil {
			t.Fatal(err)
		}
		equal(t, "error of forgetting a summary", s.DeleteCounted(ctx, "stream/001/0"), nil)
		equal(t, "letters to write of two that were dealt with", count(refused(0, "fifth"), refused(1, "fifth")), []bool{true, false})
		equal(t, "letters to write within the quota, which has room", count(refused(4, "sixth")), []bool{true})

		found, err := s.Refusals(ctx, []string{"stream/000/0", "stream/001/0", "stream/002/0", "stream/002/1", "stream/009/0"})
		equal(t, "error of asking", err, nil)
		equal(t, "verdicts", found, map[string]store.Refusal{
			"stream/000/0": {Verdict: []byte("first")}, "stream/001/0": {Verdict: []byte("second"), Counted: true}, "stream/002/0": {Verdict: []byte("replay")},
		})
		found, err = s.Refusals(ctx, nil)
		equal(t, "error of asking for none", err, nil)
		equal(t, "verdicts of none", len(found), 0)

		// Those from before the time go, but for that of a parked event.
		if err := s.Park(ctx, []store.Parked{{Key: "stream/001", Tenant: "acme", Source: "okta", EventID: "e1", StoredAt: storetest.Time}}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []int64{2, 0} {
			n, err := s.Prune(ctx, store.PruneRefused, storetest.Time.Add(3*time.Second), 10)
			equal(t, "error of pruning", err, nil)
			equal(t, "pruned verdicts", n, want)
		}
		found, _ = s.Refusals(ctx, []string{"stream/000/0", "stream/001/0", "stream/002/0", "stream/003/0"})
		equal(t, "verdicts that are left", len(found), 2)
	})
}
