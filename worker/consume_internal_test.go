package worker

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/outage"
)

// lots are parked events that are claimed in lots, by the given times.
type lots struct {
	Store
	left   int
	claims []time.Time
}

func (l *lots) ClaimParked(_ context.Context, _ string, _ int, portion func([]store.ParkedSource) []int, _ time.Duration) ([]store.Parked, error) {
	l.claims = append(l.claims, time.Now())
	n := portion([]store.ParkedSource{{Tenant: "t", Source: "s", Due: l.left}})[0]
	l.left -= n
	return make([]store.Parked, n), nil // unreadable, and so done with at once
}

// As long as there may be more, parked events are claimed when those before are done with; else once in an interval.
func TestParkedEventsAreClaimedInLots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		parked := &lots{left: 11}
		w := &Worker{
			cfg: Config{Batch: 8, RelayInterval: time.Second, Sealer: newVault(t)}, leases: newLeases(10), store: parked, now: time.Now, log: slog.New(slog.DiscardHandler),
			database: outage.New(outage.Options{Patience: time.Minute, Changed: func(bool) {}, Log: slog.New(slog.DiscardHandler)}),
		}
		began, done := time.Now(), make(chan struct{})
		go func() {
			defer close(done)
			w.relay(ctx)
		}()
		<-time.After(2500 * time.Millisecond)
		cancel()
		<-done
		var at []time.Duration
		for _, claim := range parked.claims {
			at = append(at, claim.Sub(began))
		}
		if want := []time.Duration{time.Second, time.Second, time.Second, time.Second, 2 * time.Second}; !slices.Equal(at, want) {
			t.Errorf("eleven parked events, four at a time, are claimed after %v, want after %v", at, want)
		}
	})
}

// While there is no room for parked events, the loop that claims them rests.
func TestTheRelayRestsWhileItsHandsAreFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &Worker{cfg: Config{Batch: 2, RelayInterval: time.Second}, leases: newLeases(10)}
		for range 2 {
			e := &event{}
			e.parked = &store.Parked{}
			w.leases.add(e, time.Now())
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.relay(ctx)
		}()
		<-time.After(3 * time.Second) // time stands still beside a loop that does not rest
		cancel()
		<-done
	})
}
