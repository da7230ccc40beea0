// Package outage knows whether a worker's database is away, and when that has lasted for too long.
package outage

import (
	"context"
	"sync"
	"time"
)

// pullsEnd is the least time from when an outage is known until it is overdue: what is given back while pulls are open comes
// through them again.
const pullsEnd = 2 * time.Second

// A Breaker stops the lanes from pulling while the database cannot serve, and says when that has lasted for too long. It is safe
// for concurrent use.
type Breaker struct {
	patience time.Duration   // how long an outage may last until it is overdue
	changed  func(open bool) // is told of each change, one at a time

	mu     sync.Mutex
	opened chan struct{} // closed while open
	closed chan struct{} // closed while closed
	late   chan struct{} // closed while open and overdue
	isOpen bool
	isLate bool
	since  time.Time // when the outage began, or the last one ended
	timer  *time.Timer
}

// NewBreaker returns a closed breaker.
func NewBreaker(patience time.Duration, changed func(open bool)) *Breaker {
	b := &Breaker{patience: patience, changed: changed, opened: make(chan struct{}), closed: make(chan struct{}), late: make(chan struct{})}
	close(b.closed)
	return b
}

// Trip opens the breaker, for an outage that was met by a call that began at since, and reports whether it was closed.
func (b *Breaker) Trip(since time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isOpen {
		return false
	}
	if since.Before(b.since) { // that is told of an outage that is over
		since = time.Now()
	}
	b.isOpen, b.since = true, since
	close(b.opened)
	b.closed = make(chan struct{})
	left := max(time.Until(since.Add(b.patience)), min(b.patience, pullsEnd))
	b.timer = time.AfterFunc(left, func() { b.lapse(since) })
	b.changed(true)
	return true
}

// lapse makes the outage that began at since overdue, unless it is over.
func (b *Breaker) lapse(since time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isOpen && !b.isLate && b.since.Equal(since) {
		b.isLate = true
		close(b.late)
	}
}

// Reset closes the breaker. It returns how long it was open, and whether it was.
func (b *Breaker) Reset() (time.Duration, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.isOpen {
		return 0, false
	}
	b.timer.Stop()
	lasted := time.Since(b.since)
	b.isOpen, b.since = false, time.Now()
	close(b.closed)
	b.opened = make(chan struct{})
	if b.isLate {
		b.isLate, b.late = false, make(chan struct{})
	}
	b.changed(false)
	return lasted, true
}

// Open reports whether the database is away.
func (b *Breaker) Open() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.isOpen
}

// Tripped returns a channel that is closed once the breaker is open.
func (b *Breaker) Tripped() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opened
}

// Overdue returns a channel that is closed once an outage has lasted for too long.
func (b *Breaker) Overdue() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.late
}

// IsOverdue reports whether the breaker is open and the outage has lasted for too long.
func (b *Breaker) IsOverdue() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.isLate
}

// Wait blocks until the breaker is closed or ctx ends.
func (b *Breaker) Wait(ctx context.Context) error {
	b.mu.Lock()
	closed := b.closed
	b.mu.Unlock()
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
