package share

import (
	"sync"
	"time"
)

// Loads are what a worker holds of each lane and tenant, in items and bytes of memory, with a bound for each. It is safe for
// concurrent use.
type Loads struct {
	maxItems int // of one tenant in a lane

	mu    sync.Mutex
	lanes map[string]int // bytes by lane
	loads map[loadKey]*load
	rates map[string]float64 // of the last load of each lane that had one
	freed chan struct{}      // closed, and replaced, when there may be room
}

// Bounds of what a worker holds of one lane, in bytes of memory.
const (
	maxLaneBytes   = 32 << 20
	maxTenantBytes = maxLaneBytes / 2 // one tenant's part of it
)

type loadKey struct{ lane, tenant string }

// A load is what is held of one tenant in one lane, and how fast it is worked off.
type load struct {
	items, bytes int

	rate  float64   // items a second; 0 while it is not known
	ended int       // since the rate was last computed
	since time.Time // then
}

// NewLoads returns empty loads, of which one tenant may have so many items in a lane.
func NewLoads(maxItems int) *Loads {
	return &Loads{maxItems: maxItems, lanes: map[string]int{}, loads: map[loadKey]*load{}, rates: map[string]float64{}, freed: make(chan struct{})}
}

// Room reports whether a lane has room for an item of a tenant, or, when it has none, who has too much: the tenant, or all
// together. Freed is closed when there may be room.
func (l *Loads) Room(lane, tenant string) (ok, tenantFull bool, freed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.loads[loadKey{lane, tenant}]; t != nil {
		tenantFull = t.items >= l.maxItems || t.bytes >= maxTenantBytes
	}
	return !tenantFull && l.lanes[lane] < maxLaneBytes, tenantFull, l.freed
}

// Of returns how many items of a tenant a lane holds, and how many of them end in a second. While that is not known it is as
// for the tenant before; 0 for the first one.
func (l *Loads) Of(lane, tenant string) (items int, rate float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.loads[loadKey{lane, tenant}]
	if t == nil {
		return 0, l.rates[lane]
	}
	if t.rate == 0 {
		return t.items, l.rates[lane]
	}
	return t.items, t.rate
}

// Add notes an item that a lane holds from now on.
func (l *Loads) Add(lane, tenant string, size int, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := loadKey{lane, tenant}
	t := l.loads[key]
	if t == nil {
		t = &load{since: now}
		l.loads[key] = t
	}
	t.items++
	t.bytes += size
	l.lanes[lane] += size
}

// Drop takes off an item that Add noted. Who waits for room learns it by Free.
func (l *Loads) Drop(lane, tenant string, size int, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := loadKey{lane, tenant}
	t := l.loads[key]
	t.items--
	t.bytes -= size
	if t.end(now) {
		l.rates[lane] = t.rate
	}
	if t.items == 0 {
		delete(l.loads, key)
	}
	l.lanes[lane] -= size
}

// Freed returns what is closed when there may be more room.
func (l *Loads) Freed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.freed
}

// Free tells all who wait that there may be room.
func (l *Loads) Free() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.freed)
	l.freed = make(chan struct{})
}

// rateInterval is how often a rate is computed.
const rateInterval = 250 * time.Millisecond

// end counts an item that ended, and reports whether the rate is a new one.
func (t *load) end(now time.Time) bool {
	t.ended++
	took := now.Sub(t.since)
	if took < rateInterval {
		return false
	}
	rate := float64(t.ended) / took.Seconds()
	if t.rate > 0 {
		rate = (t.rate + rate) / 2
	}
	t.rate, t.ended, t.since = rate, 0, now
	return true
}
