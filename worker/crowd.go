package worker

import (
	"context"
	"time"

	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/share"
)

// The broker hands a work queue out in order. What a tenant sends beyond its share would keep all that is stored behind it from
// being delivered, so it is sent back for a while when others wait. When nobody else does, it stays where it is, and is pulled
// as fast as it is worked off: each message that is sent back costs the broker far more than one that waits.

const (
	// othersTimeout is how long a tenant that sent something is expected to send more.
	othersTimeout = 10 * time.Second
	// othersInterval lies between questions to the broker whether others wait.
	othersInterval = 250 * time.Millisecond
	// askTimeout bounds such a question.
	askTimeout = 2 * time.Second
)

// A crowd is what a lane knows of tenants that send more than their share, and of those that send beside them. The goroutine
// that feeds the lane uses it alone.
type crowd struct {
	overflow *share.Overflow
	said     clock.Sparing // of the log of what is sent back

	recent [2]sighting // of the last two tenants
	asked  time.Time   // the broker, whether others wait
}

// A sighting is when something of a tenant was last delivered, or found waiting.
type sighting struct {
	tenant string
	at     time.Time
}

func newCrowd() *crowd { return &crowd{overflow: share.NewOverflow()} }

// see notes a message of a tenant.
func (c *crowd) see(tenant string, now time.Time) {
	if c.recent[0].tenant != tenant {
		c.recent[1] = c.recent[0]
	}
	c.recent[0] = sighting{tenant, now}
}

// beside reports whether another tenant was seen of late.
func (c *crowd) beside(tenant string, now time.Time) bool {
	for _, s := range c.recent {
		if s.tenant != tenant && !s.at.IsZero() && now.Sub(s.at) < othersTimeout {
			return true
		}
	}
	return false
}

// othersWait reports whether other tenants than one send events to the lane. Where the broker cannot tell, they may.
func (l *lane) othersWait(ctx context.Context, tenant string, now time.Time) bool {
	if l.w.directories.Current().Tenants() < 2 {
		return false
	}
	if l.crowd.beside(tenant, now) {
		return true
	}
	if now.Sub(l.crowd.asked) < othersInterval {
		return false
	}
	l.crowd.asked = now
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	stored, err := l.w.cfg.Broker.Waiting(ctx, l.name)
	if err != nil {
		l.log.Debug("who waits in the lane not read", "error", err)
		return true
	}
	for other, n := range stored {
		if held, _ := l.w.leases.loads.Of(l.name, other); other != tenant && n > held {
			l.crowd.see(other, now)
			return true
		}
	}
	return false
}

// sendBack sends a message back to the broker for a while, when its tenant has too much in the lane and others wait behind it.
// One that was sent back too often is parked, and where that is no help, it waits for room instead. It reports whether the
// message need not be entered.
func (l *lane) sendBack(ctx, hard context.Context, tripped <-chan struct{}, m Message) bool {
	address, _ := record.ParseSubject(m.Subject()) // those of no tenant share one turn
	l.crowd.see(address.Tenant, l.w.now())
	for {
		ok, full, freed := l.w.leases.loads.Room(l.name, address.Tenant)
		if ok {
			return false
		}
		var excess chan *event
		var e *event
		if now := l.w.now(); full && l.othersWait(hard, address.Tenant, now) {
			held, rate := l.w.leases.loads.Of(l.name, address.Tenant)
			delay, ok := l.crowd.overflow.Put(address.Tenant, held, rate, m.Delivered(), now)
			if ctx.Err() != nil { // another worker has room
				delay, ok = 0, true
			}
			if others, due := l.crowd.said.Due(now); ok && due {
				l.log.Warn("tenant sends more than its share; what is too much goes back to the broker until it is its turn",
					"tenant", address.Tenant, "source", address.Source, "held", held, "sent_back_since", others)
			}
			if ok {
				if err := m.NakWithDelay(delay); err != nil {
					l.log.Debug("message not sent back; the broker delivers it again after AckWait", "stream_seq", m.Sequence(), "error", err)
				}
				return true
			}
			excess, e = l.excess, l.open(m)
			e.verdict = &deferred{reason: "crowded", away: true}
		}
		select {
		case excess <- e:
			return true
		case <-freed:
		case <-time.After(othersInterval): // others may wait by now
		case <-tripped: // what was prefetched is held until the database is back
			return false
		case <-hard.Done():
			return false
		}
	}
}
