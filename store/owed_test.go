package store_test

import (
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

// Dead letters that are parked are claimed apart from events that wait, and never by who asks for events.
func TestParkedDeadLettersAreClaimedApartFromEvents(t *testing.T) {
	t.Parallel()
	eachClocked(t, func(t *testing.T, s *store.Store, c *clock) {
		ctx := t.Context()
		letter := func(n int) store.Parked {
			p := parked(n)
			p.Key, p.Delay = "dl/"+p.Key, 0
			p.FirstFailed, p.NotBefore = storetest.Time, storetest.Time.Add(time.Duration(n)*time.Second)
			return p
		}
		claim := func(n int, after time.Duration) []store.Parked {
			t.Helper()
			got, err := s.ClaimLetters(ctx, n, storetest.Time.Add(after), time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		other := letter(1)
		other.Payload = []byte("another")
		for _, letters := range [][]store.Parked{{letter(2), letter(1)}, {other}, nil} {
			equal(t, "error of ParkLetters", s.ParkLetters(ctx, letters), nil)
		}
		equal(t, "error of Park", s.Park(ctx, []store.Parked{parked(1)}), nil)
		c.set(time.Second)
		events, err := s.ClaimParked(ctx, "a", 10, time.Minute)
		equal(t, "error of ClaimParked", err, nil)
		equal(t, "claimed events", keys(events), []string{"stream/1"})

		equal(t, "before they are due", claim(10, 0), []store.Parked(nil))
		got := claim(1, time.Hour)
		want := letter(1)
		want.ID, want.Reason, want.NotBefore = got[0].ID, store.ParkedLetter, storetest.Time.Add(time.Hour+time.Minute)
		equal(t, "the first one", got, []store.Parked{want})
		equal(t, "the others", keys(claim(10, time.Hour)), []string{"dl/stream/2"})
		equal(t, "while they are claimed", claim(10, time.Hour), []store.Parked(nil))
		equal(t, "when the lease has ended", len(claim(10, time.Hour+time.Minute)), 2)

		got[0].NotBefore, got[0].Attempts = storetest.Time, 7
		equal(t, "error of ReleaseLetters", s.ReleaseLetters(ctx, got), nil)
		equal(t, "error of releasing none", s.ReleaseLetters(ctx, nil), nil)
		again := claim(10, time.Hour)
		equal(t, "released", keys(again), []string{"dl/stream/1"})
		equal(t, "attempts of the released one", again[0].Attempts, 7)
		equal(t, "error of deleting", s.DeleteParked(ctx, []int64{again[0].ID}), nil)
		equal(t, "after it was deleted", keys(claim(10, 5*time.Hour)), []string{"dl/stream/2"})
	})
}

// A result that its stream refused is owed once, however often its event is processed.
func TestARefusedResultIsOwedOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s, ctx := open(), t.Context()
		first := store.Outbox{ID: "r1", Subject: "s", Headers: []byte("{}"), Body: []byte("first"), At: storetest.Time}
		second := first
		second.Body = []byte("second")
		for _, rows := range [][]store.Outbox{{first}, {second}, nil} {
			equal(t, "error of Owe", s.Owe(ctx, rows), nil)
		}
		got, err := s.ClaimOutbox(ctx, "a", time.Minute, 10, time.Minute)
		equal(t, "error of ClaimOutbox", err, nil)
		equal(t, "owed results", got, []store.Outbox{first})
	})
}
