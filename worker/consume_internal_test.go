package worker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/idpsync/idpsync/store"
)

// A worker whose hands are full of parked events waits until some are done with, whatever its batch size.
func TestParkedEventsAreClaimedInLots(t *testing.T) {
	for _, tt := range []struct{ batch, held, want int }{
		{500, 0, 100}, {500, 50, 50}, {500, 51, 0}, {500, 100, 0}, {10, 0, 10}, {10, 5, 5}, {10, 6, 0}, {10, 10, 0}, {1, 0, 1}, {1, 1, 0},
	} {
		w := &Worker{cfg: Config{Batch: tt.batch}}
		if got := w.claimable(tt.held); got != tt.want {
			t.Errorf("with batches of %d and %d parked events in hand %d more are claimed, want %d", tt.batch, tt.held, got, tt.want)
		}
	}
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
