package worker

import (
	"context"
	"sync"
)

// A breaker stops the lanes from pulling while the database cannot serve. It is safe for concurrent use.
type breaker struct {
	mu     sync.Mutex
	opened chan struct{} // closed while open
	closed chan struct{} // closed while closed
	isOpen bool
}

func newBreaker() *breaker {
	b := &breaker{opened: make(chan struct{}), closed: make(chan struct{})}
	close(b.closed)
	return b
}

// trip opens the breaker and reports whether it was closed.
func (b *breaker) trip() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isOpen {
		return false
	}
	b.isOpen = true
	close(b.opened)
	b.closed = make(chan struct{})
	return true
}

// reset closes the breaker and reports whether it was open.
func (b *breaker) reset() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.isOpen {
		return false
	}
	b.isOpen = false
	close(b.closed)
	b.opened = make(chan struct{})
	return true
}

func (b *breaker) open() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.isOpen
}

// tripped returns a channel that is closed once the breaker is open.
func (b *breaker) tripped() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opened
}

// wait blocks until the breaker is closed or ctx ends.
func (b *breaker) wait(ctx context.Context) error {
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
