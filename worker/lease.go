package worker

import (
	"context"
	"sync"
	"time"

	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/share"
)

// leases are the events that this worker holds, from their arrival until everyone was told of their end: those that wait
// for their turn, are processed, were set aside, or are being hashed or erased. Deliveries that are held for long are kept
// alive, so that a slow or absent database does not make the broker deliver them to somebody else and count it against
// them. It is safe for concurrent use.
type leases struct {
	loads *share.Loads

	mu     sync.Mutex
	held   map[*event]time.Time // when the broker last heard of it
	parked int
}

// newLeases returns empty leases, of which one tenant may have so many events in a lane.
func newLeases(tenantEvents int) *leases {
	return &leases{loads: share.NewLoads(tenantEvents), held: map[*event]time.Time{}}
}

func (l *leases) add(e *event, now time.Time) {
	l.loads.Add(e.lane, e.env.Tenant, e.Size(), now)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[e] = now
	if e.parked != nil {
		l.parked++
	}
}

// drop forgets events that are done with.
func (l *leases) drop(events []*event, now time.Time) {
	for _, e := range events {
		if l.forget(e) {
			l.loads.Drop(e.lane, e.env.Tenant, e.Size(), now)
		}
	}
	l.loads.Free()
}

// forget reports whether the event was held.
func (l *leases) forget(e *event) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, held := l.held[e]
	if held && e.parked != nil {
		l.parked--
	}
	delete(l.held, e)
	return held
}

// claims returns how many parked events are held.
func (l *leases) claims() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.parked
}

// deliveries returns the events that the broker gets back if they are not finished.
func (l *leases) deliveries() []*event {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]*event, 0, len(l.held))
	for e := range l.held {
		if e.delivery != nil {
			out = append(out, e)
		}
	}
	return out
}

// stale returns the deliveries of which the broker has heard nothing since before, and notes that it will now.
func (l *leases) stale(before, now time.Time) []*event {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*event
	for e, t := range l.held {
		if e.delivery != nil && (t.Before(before) || t.After(now)) { // or the clock was set back
			l.held[e] = now
			out = append(out, e)
		}
	}
	return out
}

// keepAlive tells the broker of long-held messages until ctx ends.
func (w *Worker) keepAlive(ctx context.Context) {
	third := w.cfg.AckWait / 3
	for range clock.Ticks(ctx, third/2) {
		now := w.now()
		for _, e := range w.leases.stale(now.Add(-third), now) {
			if err := e.delivery.InProgress(); err != nil {
				w.log.Debug("message not kept alive", "stream_seq", e.origin.Sequence, "error", err)
			}
		}
	}
}
