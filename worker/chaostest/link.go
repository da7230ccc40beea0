package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/linktest"
)

// Links are all ways from one worker to one service.
type links []*linktest.Link

// url is what a worker is told.
func (ks links) url() string {
	urls := make([]string, len(ks))
	for i, k := range ks {
		urls[i] = "nats://" + k.Addr()
	}
	return strings.Join(urls, ",")
}

func (ks links) each(do func(*linktest.Link)) {
	for _, k := range ks {
		do(k)
	}
}

// slow delays everything that passes for a while.
func (ks links) slow(ctx context.Context, delay, length time.Duration) {
	ks.each(func(k *linktest.Link) { k.Delay(delay) })
	pause(ctx, length)
	ks.each(func(k *linktest.Link) { k.Delay(0) })
}

// hold lets nothing pass for a while; the connections stay.
func (ks links) hold(ctx context.Context, length time.Duration) {
	ks.each((*linktest.Link).Freeze)
	pause(ctx, length)
	ks.each((*linktest.Link).Thaw)
}

// sever cuts all connections and refuses new ones for a while.
func (ks links) sever(ctx context.Context, length time.Duration) {
	ks.each((*linktest.Link).Cut)
	pause(ctx, length)
	ks.each((*linktest.Link).Splice)
}

// swallow makes the connections that there are half open, and returns how many there are.
func (ks links) swallow() int {
	n := 0
	ks.each(func(k *linktest.Link) { n += k.Swallow() })
	return n
}

// dialed returns when the nth connection after a time was made, and whether it was.
func (ks links) dialed(n int, after time.Time) (time.Time, bool) {
	var made []time.Time
	ks.each(func(k *linktest.Link) {
		for _, at := range k.Dials() {
			if at.After(after) {
				made = append(made, at)
			}
		}
	})
	if n < 1 || len(made) < n {
		return time.Time{}, false
	}
	slices.SortFunc(made, time.Time.Compare)
	return made[n-1], true
}

func (ks links) close() error {
	var errs []error
	ks.each(func(k *linktest.Link) { errs = append(errs, k.Close()) })
	return errors.Join(errs...)
}

// pause waits, or returns early when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	_ = clock.Pause(ctx, d) // whoever goes on looks at ctx
}
