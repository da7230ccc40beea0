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
	asideTurns    = 2        // batches of events that come back that are processed at a time
)

// An aside holds the events that wait until keys have been read, so that no batch waits for an issuer and nobody else's
// turn is touched. They come back when the read has ended, whatever its outcome.
type aside struct {
	group sync.WaitGroup // one goroutine for each read that is waited for
	turns chan struct{}

	mu      sync.Mutex
	waiting map[<-chan struct{}][]*event
	count   int
	bytes   int
}

func newAside() *aside {
	return &aside{turns: make(chan struct{}, asideTurns), waiting: map[<-chan struct{}][]*event{}}
}

// setAside takes the events out of a batch that wait for keys to be read, and returns the others. An event of an order stays
// with its order, and one that is processed alone must not wait where its breadcrumb would point at it: they are tried
// again.
func (w *Worker) setAside(ctx context.Context, events []*event) []*event {
	if !slices.ContainsFunc(events, func(e *event) bool { return e.wait != nil && e.wait.ready != nil }) {
		return events
	}
	rest := make([]*event, 0, len(events))
	for _, e := range events {
		if e.wait == nil || e.wait.ready == nil || e.replay != nil || e.crumbs || e.asides >= maxAsides || !w.hold(ctx, e) {
			rest = append(rest, e)
		}
	}
	return rest
}

// hold sets one event aside, and reports whether there was room.
func (w *Worker) hold(ctx context.Context, e *event) bool {
	a := w.aside
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.count >= maxAside || a.bytes+len(e.raw) > maxAsideBytes {
		return false
	}
	a.count++
	a.bytes += len(e.raw)
	e.asides++
	ready := e.wait.ready
	if a.waiting[ready] == nil {
		a.group.Go(func() { w.bringBack(ctx, ready) })
	}
	a.waiting[ready] = append(a.waiting[ready], e)
	return true
}

// bringBack waits for a read, then processes the events that it was for. Those that are held when ctx ends go back to
// where they came from.
func (w *Worker) bringBack(ctx context.Context, ready <-chan struct{}) {
	select {
	case <-ready:
	case <-ctx.Done():
	}
	a := w.aside
	a.mu.Lock()
	events := a.waiting[ready]
	delete(a.waiting, ready)
	a.count -= len(events)
	a.bytes -= bytesOf(events)
	a.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	a.turns <- struct{}{}
	defer func() { <-a.turns }()
	for batch := range slices.Chunk(events, w.cfg.Batch) {
		for _, e := range batch {
			e.resume()
		}
		w.process(ctx, batch)
	}
}

// resume makes an event that waited undecided again.
func (e *event) resume() {
	e.wait = nil
	e.request = rules.Request{}
	if e.env.Trace.Enabled() {
		e.env.Trace = &providers.Trace{}
	}
}

// settleTimeout bounds how long a forecast waits for keys to be read.
const settleTimeout = 15 * time.Second

// prepareSettled prepares events outside of the lanes, and waits for keys that have to be read first.
func (w *Worker) prepareSettled(ctx context.Context, events []*event) {
	bounded, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	w.prepareAll(ctx, events)
	for range maxAsides {
		var again []*event
		for _, e := range events {
			if e.wait == nil || e.wait.ready == nil {
				continue
			}
			select {
			case <-e.wait.ready:
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
