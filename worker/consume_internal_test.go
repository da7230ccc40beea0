package worker

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/idpsync/idpsync/store"
)

func TestBreakerHoldsWhoeverWaitsUntilItIsReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []bool
		b := newBreaker(time.Minute, func(open bool) { told = append(told, open) })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if err := b.wait(ctx); err != nil || b.open() {
			t.Errorf("a new breaker is open: %v", err)
		}
		tripped := b.tripped()
		if !b.trip(time.Now()) || b.trip(time.Now()) || !b.open() {
			t.Error("a breaker that is tripped twice does not say that it was closed, then that it was open")
		}
		<-tripped
		passed := make(chan error, 2)
		go func() { passed <- b.wait(ctx) }()
		impatient, giveUp := context.WithTimeout(ctx, time.Second)
		defer giveUp()
		go func() { passed <- b.wait(impatient) }()
		if err := <-passed; err == nil {
			t.Error("somebody passed an open breaker")
		}
		synctest.Wait()
		select {
		case err := <-passed:
			t.Errorf("somebody passed an open breaker: %v", err)
		default:
		}
		if lasted, was := b.reset(); lasted != time.Second || !was {
			t.Errorf("a breaker that is reset after 1s says that it was open: %v, for %v", was, lasted)
		}
		if _, was := b.reset(); was || b.open() {
			t.Error("a breaker that was reset says that it was open")
		}
		if err := <-passed; err != nil {
			t.Error(err)
		}
		select {
		case <-b.tripped():
			t.Error("a breaker that was reset is still tripped")
		default:
		}
		if !slices.Equal(told, []bool{true, false}) {
			t.Errorf("the changes told are %v, want open and then closed", told)
		}
	})
}

func TestBreakerSaysWhenAnOutageIsOverdue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(time.Minute, func(bool) {})
		start := time.Now()
		<-time.After(50 * time.Second)
		overdue := b.overdue()
		b.trip(start) // by a call that took 50 s
		if b.isOverdue() {
			t.Error("an outage of 50s is overdue, want that after 1m")
		}
		<-overdue
		if lasted := time.Since(start); lasted != time.Minute || !b.isOverdue() {
			t.Errorf("an outage is overdue after %v, want 1m", lasted)
		}
		b.reset()
		select {
		case <-b.overdue():
			t.Error("an outage that is over is overdue")
		default:
		}
		<-time.After(time.Second)
		b.trip(start) // by a call of the outage that is over
		<-time.After(time.Minute - time.Second)
		synctest.Wait()
		if b.isOverdue() {
			t.Error("an outage of 59s is overdue, want that after 1m: it was counted from before the one that is over")
		}
		b.reset()
		<-time.After(time.Hour)
		synctest.Wait()
		if b.isOverdue() {
			t.Error("an outage that ended after 59s is overdue")
		}
	})
}

func TestDelaysGrowAreSpreadAndStayBounded(t *testing.T) {
	for attempts, ceiling := range map[int]time.Duration{
		-1: time.Second, 0: time.Second, 1: 2 * time.Second, 3: 8 * time.Second, 5: 32 * time.Second, 6: time.Minute, 25: time.Minute, 1 << 40: time.Minute,
	} {
		var least, most time.Duration = time.Hour, 0
		for range 200 {
			d := backoff(attempts, 0)
			least, most = min(least, d), max(most, d)
		}
		if least < 250*time.Millisecond || most >= ceiling+250*time.Millisecond || most-least < ceiling/2 {
			t.Errorf("after attempt %d the pause is %v to %v, want 250ms to %v, and spread over half of it", attempts, least, most, ceiling+250*time.Millisecond)
		}
		if d := backoff(attempts, time.Hour); d < time.Hour || d >= time.Hour+ceiling {
			t.Errorf("after attempt %d the pause of at least an hour is %v, want less than %v more", attempts, d, ceiling)
		}
	}
}

func TestPauseEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if err := pause(ctx, time.Second); err != nil || time.Since(start) != time.Second {
			t.Errorf("a pause of a second ends with %v after %v, want no error after 1s", err, time.Since(start))
		}
		if err := pause(ctx, time.Hour); err == nil || time.Since(start) != time.Minute {
			t.Errorf("a pause whose context ends ends with %v after %v, want an error after 1m", err, time.Since(start))
		}
	})
}

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
