package worker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/rules"
)

// Bounds of what is set aside in memory; what is beyond is parked in the store.
const (
	maxAside      = 4096     // events, far below what the consumers may have unacknowledged
	maxAsideBytes = 16 << 20 // of their bodies
	maxAsides     = 8        // times that one event is set aside
)

// An aside holds the events that wait until keys have been read, so that no batch waits for an issuer and nobody else's
// turn is touched. They come back when the read has ended, whatever its outcome.
type aside struct {
	begin func(ready <-chan struct{}) // is called once for each read that events begin to wait for; set by Run

	mu      sync.Mutex
	waiting map[<-chan struct{}][]*event
	count   int
	bytes   int
}

func newAside() *aside {
	return &aside{waiting: map[<-chan struct{}][]*event{}}
}

// setAside takes the events out of a batch that wait for keys to be read, and returns the others. An event of an order stays
// with its order, and one that is processed alone must not wait where its marker would point at it: they are tried
// again.
func (w *Worker) setAside(events []*event) []*event {
	if !slices.ContainsFunc(events, func(e *event) bool { return e.ready() != nil }) {
		return events
	}
	rest := make([]*event, 0, len(events))
	for _, e := range events {
		if e.ready() == nil || e.replay != nil || e.alone || e.asides >= maxAsides || !w.aside.hold(e) {
			rest = append(rest, e)
		}
	}
	return rest
}

// ready returns what is closed once the event can be tried again, or nil.
func (e *event) ready() <-chan struct{} {
	if v := e.waiting(); v != nil {
		return v.ready
	}
	return nil
}

// hold sets one event aside, and reports whether there was room.
func (a *aside) hold(e *event) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.count >= maxAside || a.bytes+len(e.body) > maxAsideBytes {
		return false
	}
	ready := e.ready()
	if a.waiting[ready] == nil {
		a.begin(ready)
	}
	a.count++
	a.bytes += len(e.body)
	e.asides++
	a.waiting[ready] = append(a.waiting[ready], e)
	return true
}

// take returns the events that waited for a read.
func (a *aside) take(ready <-chan struct{}) []*event {
	a.mu.Lock()
	defer a.mu.Unlock()
	events := a.waiting[ready]
	delete(a.waiting, ready)
	a.count -= len(events)
	a.bytes -= bytesOf(events)
	return events
}

// bytesOf is the size of events.
func bytesOf(events []*event) int {
	n := 0
	for _, e := range events {
		n += len(e.body)
	}
	return n
}

// resume makes an event that waited undecided again.
func (e *event) resume() {
	e.verdict = nil
	e.request = rules.Request{}
	if e.env.Trace.Enabled() {
		e.env.Trace = &providers.Trace{}
	}
}

// settleTimeout bounds how long a forecast, or an event that is processed alone, waits for keys to be read.
const settleTimeout = 15 * time.Second

// prepareSettled prepares events outside of the lanes, and waits for keys that have to be read first.
func (w *Worker) prepareSettled(ctx context.Context, events []*event) {
	bounded, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	w.prepareAll(ctx, events)
	for range maxAsides {
		var again []*event
		for _, e := range events {
			if e.ready() == nil {
				continue
			}
			select {
			case <-e.ready():
				e.resume()
				again = append(again, e)
			case <-bounded.Done():
				return
			}
		}
		if len(again) == 0 {
			return
		}
		w.prepareAll(ctx, again)
	}
}
