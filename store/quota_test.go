package store_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

func quotaLetter(n int, identity string) store.Letter {
	attempt := fmt.Sprintf("stream/%03d/0", n)
	return store.Letter{ID: "dl/" + attempt, Attempt: attempt, Tenant: "acme", Source: "okta", Identity: identity, Code: "malformed", Reason: "json", Bytes: 100, At: storetest.Time.Add(time.Duration(n) * time.Second)}
}

func quotaLetters(from, to int) (letters []store.Letter) {
	for n := from; n < to; n++ {
		letters = append(letters, quotaLetter(n, ""))
	}
	return letters
}

func TestDeadLettersCountOnTheQuotaOfTheirSource(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s, ctx := open(), t.Context()
		count := func(q store.LetterQuota, letters ...store.Letter) []bool {
			t.Helper()
			keep, err := s.CountLetters(ctx, q, letters)
			if err != nil {
				t.Fatal(err)
			}
			return keep
		}
		five := store.LetterQuota{Letters: 5, Bytes: 1 << 20}
		equal(t, "of none", len(count(five)), 0)
		equal(t, "of three", count(five, quotaLetters(0, 3)...), []bool{true, true, true})
		equal(t, "again, with three more", count(five, quotaLetters(0, 6)...), []bool{true, true, true, true, true, false})
		equal(t, "one that was counted, though there is room", count(store.LetterQuota{Letters: 99, Bytes: 1 << 20}, quotaLetter(5, "")), []bool{false})
		other := quotaLetter(10, "")
		other.Source = ""
		equal(t, "of another source", count(five, other), []bool{true})
		equal(t, "of people who proved who they are, the second twice", count(five, quotaLetter(20, "ann"), quotaLetter(21, "bob"), quotaLetter(22, "bob")), []bool{true, true, false})
		equal(t, "of one of them again", count(five, quotaLetter(23, "ann")), []bool{false})
		equal(t, "beyond the bytes", count(store.LetterQuota{Letters: 99, Bytes: 750}, quotaLetter(30, "")), []bool{false})

		equal(t, "error of taking two off, one of them twice", s.UncountLetters(ctx, []string{"dl/stream/000/0", "dl/stream/020/0", "dl/stream/000/0", "dl/none"}), nil)
		equal(t, "error of taking none off", s.UncountLetters(ctx, nil), nil)
		equal(t, "of two more", count(store.LetterQuota{Letters: 6, Bytes: 1 << 20}, quotaLetters(31, 33)...), []bool{true, false})
		n, err := s.UncountLettersBefore(ctx, storetest.Time.Add(4*time.Second), 2)
		equal(t, "error of taking two old ones off", err, nil)
		equal(t, "old ones", n, 2)
		n, _ = s.UncountLettersBefore(ctx, storetest.Time.Add(4*time.Second), 2)
		equal(t, "the last old one", n, 1)
		equal(t, "of three more", count(five, quotaLetters(33, 36)...), []bool{true, true, false})
	})
}

func TestQuotasAreExactWithSeveralWorkers(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		const workers, each, quota = 4, 50, 70
		var kept [workers]int
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for batch := range slices.Chunk(quotaLetters(w*each, (w+1)*each), 10) {
					keep, err := s.CountLetters(t.Context(), store.LetterQuota{Letters: quota, Bytes: 1 << 20}, batch)
					if err != nil {
						t.Errorf("worker %d counts: got the error %v, wanted none", w, err)
					}
					for _, k := range keep {
						if k {
							kept[w]++
						}
					}
				}
			})
		}
		wg.Wait()
		if n := kept[0] + kept[1] + kept[2] + kept[3]; n != quota {
			t.Errorf("of %d dead letters %d are written, want %d, which is the quota", workers*each, n, quota)
		}
		all, err := s.CountedAfter(t.Context(), "", 1000)
		if err != nil || len(all) != workers*each-quota {
			t.Errorf("there are %d counted events with the error %v, want %d", len(all), err, workers*each-quota)
		}
	})
}

func TestCountedEventsAreListedInOneSummary(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s, ctx := open(), t.Context()
		if _, err := s.CountLetters(ctx, store.LetterQuota{}, quotaLetters(0, 5)); err != nil {
			t.Fatal(err)
		}
		now := storetest.Time.Add(time.Hour)
		claim := func(n int, before, now time.Time) []string {
			t.Helper()
			got, err := s.ClaimCounted(ctx, n, before, now, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			var attempts []string
			for _, c := range got {
				attempts = append(attempts, c.Attempt+" in "+c.Summary)
			}
			slices.Sort(attempts)
			return attempts
		}
		equal(t, "too few, and not old enough", claim(6, storetest.Time, now), []string(nil))
		first := []string{"stream/000/0 in stream/000/0", "stream/001/0 in stream/000/0", "stream/002/0 in stream/000/0"}
		equal(t, "enough", claim(3, storetest.Time, now), first)
		equal(t, "too few once more", claim(3, storetest.Time, now), []string(nil))
		equal(t, "old enough", claim(3, storetest.Time.Add(time.Minute), now), []string{"stream/003/0 in stream/003/0", "stream/004/0 in stream/003/0"})
		equal(t, "while they are claimed", claim(3, now, now), []string(nil))
		equal(t, "when the lease has ended", claim(3, storetest.Time, now.Add(time.Minute)), first)
		equal(t, "error of deleting", s.DeleteCounted(ctx, "stream/000/0"), nil)
		equal(t, "error of deleting nothing", s.DeleteCounted(ctx, ""), nil)
		left, err := s.CountedAfter(ctx, "stream/003/0", 10)
		equal(t, "error of listing", err, nil)
		want := store.Counted{Attempt: "stream/004/0", Tenant: "acme", Source: "okta", Code: "malformed", Reason: "json", At: storetest.Time.Add(4 * time.Second), Summary: "stream/003/0"}
		equal(t, "the one left behind the other", left, []store.Counted{want})
	})
}
