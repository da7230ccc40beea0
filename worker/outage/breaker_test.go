package outage_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/idpsync/idpsync/worker/outage"
)

func TestBreakerHoldsWhoeverWaitsUntilItIsReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []bool
		b := outage.NewBreaker(time.Minute, func(open bool) { told = append(told, open) })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if err := b.Wait(ctx); err != nil || b.Open() {
			t.Errorf("a new breaker is open: %v", err)
		}
		tripped := b.Tripped()
		if !b.Trip(time.Now()) || b.Trip(time.Now()) || !b.Open() {
			t.Error("a breaker that is tripped twice does not say that it was closed, then that it was open")
		}
		<-tripped
		passed := make(chan error, 2)
		go func() { passed <- b.Wait(ctx) }()
		impatient, giveUp := context.WithTimeout(ctx, time.Second)
		defer giveUp()
		go func() { passed <- b.Wait(impatient) }()
		if err := <-passed; err == nil {
			t.Error("somebody passed an open breaker")
		}
		synctest.Wait()
		select {
		case err := <-passed:
			t.Errorf("somebody passed an open breaker: %v", err)
		default:
		}
		if lasted, was := b.Reset(); lasted != time.Second || !was {
			t.Errorf("a breaker that is reset after 1s says that it was open: %v, for %v", was, lasted)
		}
		if _, was := b.Reset(); was || b.Open() {
			t.Error("a breaker that was reset says that it was open")
		}
		if err := <-passed; err != nil {
			t.Error(err)
		}
		select {
		case <-b.Tripped():
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
		b := outage.NewBreaker(time.Minute, func(bool) {})
		start := time.Now()
		<-time.After(50 * time.Second)
		overdue := b.Overdue()
		b.Trip(start) // by a call that took 50 s
		if b.IsOverdue() {
			t.Error("an outage of 50s is overdue, want that after 1m")
		}
		<-overdue
		if lasted := time.Since(start); lasted != time.Minute || !b.IsOverdue() {
			t.Errorf("an outage is overdue after %v, want 1m", lasted)
		}
		b.Reset()
		select {
		case <-b.Overdue():
			t.Error("an outage that is over is overdue")
		default:
		}
		<-time.After(time.Second)
		b.Trip(start) // by a call of the outage that is over
		<-time.After(time.Minute - time.Second)
		synctest.Wait()
		if b.IsOverdue() {
			t.Error("an outage of 59s is overdue, want that after 1m: it was counted from before the one that is over")
		}
		b.Reset()
		<-time.After(time.Hour)
		synctest.Wait()
		if b.IsOverdue() {
			t.Error("an outage that ended after 59s is overdue")
		}
	})
}
