package worker

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func testEvents(n int) []*event {
	out := make([]*event, n)
	for i := range out {
		out[i] = &event{}
		out[i].env.EventID = fmt.Sprint(i)
	}
	return out
}

func TestBatchWithoutLingerTakesWhatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lane{batch: 4, queue: make(chan *event, 10), extra: make(chan *event)}
		all := testEvents(7)
		for _, e := range all[1:3] {
			l.queue <- e
		}
		start := time.Now()
		if got := l.collect(all[0]); len(got) != 3 || time.Since(start) != 0 {
			t.Errorf("there were %d events after %v, want 3 at once", len(got), time.Since(start))
		}
		for _, e := range all[1:] {
			l.queue <- e
		}
		if got := l.collect(all[0]); len(got) != 4 {
			t.Errorf("the batch has %d events, want 4 at most and at once", len(got))
		}
	})
}

func TestBatchWithLingerWaitsUntilItIsFullOrTimeIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const linger = 5 * time.Millisecond
		l := &lane{batch: 3, linger: linger, queue: make(chan *event, 10)}
		all := testEvents(4)
		send := func(e *event, after time.Duration) {
			go func() {
				<-time.After(after)
				l.queue <- e
			}()
		}
		start := time.Now()
		send(all[1], time.Millisecond)
		send(all[2], 2*time.Millisecond)
		if got := l.collect(all[0]); len(got) != 3 || time.Since(start) != 2*time.Millisecond {
			t.Errorf("a full batch has %d events after %v, want 3 after 2ms", len(got), time.Since(start))
		}
		start = time.Now()
		send(all[1], time.Millisecond)
		send(all[2], linger+time.Millisecond)
		if got := l.collect(all[0]); len(got) != 2 || time.Since(start) != linger {
			t.Errorf("a late batch has %d events after %v, want 2 after %v", len(got), time.Since(start), linger)
		}
		<-time.After(2 * time.Millisecond)
		synctest.Wait() // the late one is in the queue
		start = time.Now()
		close(l.queue)
		if got := l.collect(all[0]); len(got) != 2 || time.Since(start) != 0 {
			t.Errorf("the batch of a closed lane has %d events after %v, want 2 at once", len(got), time.Since(start))
		}
	})
}

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
