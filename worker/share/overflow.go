package share

import (
	"sync"
	"time"
)

// What a tenant sends beyond its share goes back to the broker until it is that tenant's turn, so that the events behind it
// are delivered: the broker hands a work queue out in order, and would have them wait for all of a flood.
const (
	// maxOverflow bounds the messages of a lane that one worker has sent back. They count as unacknowledged at the broker.
	maxOverflow = 32 << 10
	// maxSentBack is how often one message is delivered to be sent back: each time counts towards MaxDeliver.
	maxSentBack = 5

	minSentBack = 200 * time.Millisecond
	maxSentFor  = 30 * time.Second
	// sentBackGrid is what the times of return are rounded up to. The broker goes through all that is unacknowledged each
	// time that one of them comes.
	sentBackGrid = 100 * time.Millisecond
	// firstRate is what is assumed of a lane before a rate is known, in events a second: what comes back too early is sent back
	// once more, by the true rate, but what comes back too late leaves the lane idle until then.
	firstRate = 2000
)

// An Overflow knows the messages that a lane sent back to the broker. It is safe for concurrent use.
type Overflow struct {
	mu    sync.Mutex
	due   map[string][]time.Time // when the messages of a tenant come again
	total int
}

// NewOverflow returns one of which nothing was sent back.
func NewOverflow() *Overflow { return &Overflow{due: map[string][]time.Time{}} }

// Put notes that a message of a tenant is sent back, and returns for how long: until the events before it, those that are
// held and those that were sent back earlier, are likely to have ended. It reports whether there was room.
func (o *Overflow) Put(tenant string, held int, rate float64, deliveries uint64, now time.Time) (time.Duration, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.forget(now)
	if o.total >= maxOverflow || deliveries > maxSentBack {
		return 0, false
	}
	if rate <= 0 {
		rate = firstRate
	}
	ahead := float64(held)/2 + float64(len(o.due[tenant])) // half: it should be here before the last one is done
	wait := time.Duration(ahead / rate * float64(time.Second))
	wait = max(wait, minSentBack<<(deliveries-1))
	wait = min(wait, maxSentFor)
	at := now.Add(wait).Truncate(sentBackGrid).Add(sentBackGrid)
	o.due[tenant] = append(o.due[tenant], at)
	o.total++
	return at.Sub(now), true
}

// forget drops those that have come again.
func (o *Overflow) forget(now time.Time) {
	for tenant, due := range o.due {
		n := 0
		for n < len(due) && !due[n].After(now) {
			n++
		}
		o.total -= n
		if o.due[tenant] = due[n:]; n == len(due) {
			delete(o.due, tenant)
		}
	}
}
