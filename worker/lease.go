package worker

import (
	"context"
	"sync"
	"time"

	"github.com/idpsync/idpsync/worker/clock"
)

// Bounds of what a worker holds of one lane, in bytes of memory.
const (
	maxLaneBytes   = 32 << 20
	maxTenantBytes = maxLaneBytes / 2 // one tenant's part of it
)

// leases are the events that this worker holds, from their arrival until everyone was told of their end: those that wait
// for their turn, are processed, were set aside, or are being hashed or erased. Deliveries that are held for long are kept
// alive, so that a slow or absent database does not make the broker deliver them to somebody else and count it against
// them. It is safe for concurrent use.
type leases struct {
	tenantEvents int // that one tenant may have in a lane

	mu     sync.Mutex
	held   map[*event]time.Time // when the broker last heard of it
	lanes  map[string]int       // bytes by lane
	loads  map[loadKey]*load
	parked int
	freed  chan struct{} // closed, and replaced, when some are dropped
}

type loadKey struct{ lane, tenant string }

// A load is what is held of one tenant in one lane, and how fast it is worked off.
type load struct {
	events, bytes int

	rate  float64   // events a second; 0 while it is not known
	ended int       // since the rate was last computed
	since time.Time // then
}

func newLeases(tenantEvents int) *leases {
	return &leases{
		tenantEvents: tenantEvents, held: map[*event]time.Time{}, lanes: map[string]int{}, loads: map[loadKey]*load{},
		freed: make(chan struct{}),
	}
}

// sizeOf is the memory that an event takes.
func sizeOf(e *event) int { return len(e.body) + eventBytes }

// room reports whether a lane has room for an event of a tenant, or, when it has none, who has too much: the tenant, or all
// together. Freed is closed when there may be room.
func (l *leases) room(lane, tenant string) (ok, tenantFull bool, freed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.loads[loadKey{lane, tenant}]; t != nil {
		tenantFull = t.events >= l.tenantEvents || t.bytes >= maxTenantBytes
	}
	return !tenantFull && l.lanes[lane] < maxLaneBytes, tenantFull, l.freed
}

// load returns how many events of a tenant a lane holds, and how many of them end in a second.
func (l *leases) load(lane, tenant string) (events int, rate float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.loads[loadKey{lane, tenant}]
	if t == nil {
		return 0, 0
	}
	return t.events, t.rate
}

func (l *leases) add(e *event, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := loadKey{e.lane, e.env.Tenant}
	t := l.loads[key]
	if t == nil {
		t = &load{since: now}
		l.loads[key] = t
	}
	l.held[e] = now
	t.events++
	t.bytes += sizeOf(e)
	l.lanes[e.lane] += sizeOf(e)
	if e.parked != nil {
		l.parked++
	}
}

// drop forgets events that are done with.
func (l *leases) drop(events []*event, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		if _, ok := l.held[e]; !ok {
			continue
		}
		delete(l.held, e)
		key := loadKey{e.lane, e.env.Tenant}
		t := l.loads[key]
		t.events--
		t.bytes -= sizeOf(e)
		t.end(now)
		if t.events == 0 {
			delete(l.loads, key)
		}
		l.lanes[e.lane] -= sizeOf(e)
		if e.parked != nil {
			l.parked--
		}
	}
	close(l.freed)
	l.freed = make(chan struct{})
}

// rateInterval is how often a rate is computed.
const rateInterval = 250 * time.Millisecond

func (t *load) end(now time.Time) {
	t.ended++
	took := now.Sub(t.since)
	if took < rateInterval {
		return
	}
	rate := float64(t.ended) / took.Seconds()
	if t.rate > 0 {
		rate = (t.rate + rate) / 2
	}
	t.rate, t.ended, t.since = rate, 0, now
}

// claims returns how many parked events are held, and what is closed when that may have changed.
func (l *leases) claims() (int, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.parked, l.freed
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
