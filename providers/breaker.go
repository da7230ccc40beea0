package providers

import (
	"sync"
	"time"
)

// How long a breaker stays open after a question that was not answered: twice as long each time, up to the most.
const (
	breakerLeast = 10 * time.Second
	breakerMost  = time.Minute
)

// Breakers hold a breaker for each issuer, so that all sources that have one issuer know when it is away. The zero value is
// ready, and safe for concurrent use.
type Breakers struct {
	mu  sync.Mutex
	all map[string]*Breaker
}

// Of returns the breaker before the issuer at an address.
func (b *Breakers) Of(address string) *Breaker {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.all[address]
	if one == nil {
		if b.all == nil {
			b.all = make(map[string]*Breaker)
		}
		one = &Breaker{}
		b.all[address] = one
	}
	return one
}

// A Breaker keeps an issuer that does not answer from being asked again and again. It is safe for concurrent use.
type Breaker struct {
	mu       sync.Mutex
	failures int       // in a row
	until    time.Time // it is open
	probing  bool      // one question is under way to find out whether the issuer is back
	cause    error     // of the last failure
}

// Allow reports whether the issuer may be asked now; the answer must be told to Done, or that there is none to Abandon. While it may not, cause is why, and
// wait how long it lasts at least.
func (b *Breaker) Allow(now time.Time) (ok bool, wait time.Duration, cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.failures == 0:
		return true, 0, nil
	case b.wait(now) > 0:
		return false, b.wait(now), b.cause
	case b.probing:
		return false, time.Second, b.cause
	}
	b.probing = true
	return true, 0, nil
}

// Open returns why the issuer is held to be away, and how long it is not asked; nil when it answered.
func (b *Breaker) Open(now time.Time) (wait time.Duration, cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.wait(now), b.cause
}

// wait is how long the breaker stays open. A time that lies farther ahead than any breaker is open is from before the clock
// was set back.
func (b *Breaker) wait(now time.Time) time.Duration {
	if wait := b.until.Sub(now); wait > 0 && wait <= breakerMost {
		return wait
	}
	return 0
}

// Done tells what became of a question: nil when it was answered.
func (b *Breaker) Done(now time.Time, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing, b.cause = false, err
	if err == nil {
		b.failures, b.until = 0, time.Time{}
		return
	}
	b.failures++
	open := breakerMost
	if b.failures < 4 {
		open = min(breakerMost, breakerLeast<<(b.failures-1))
	}
	b.until = now.Add(open)
}

// Abandon tells that a question was given up, for reasons that say nothing of the issuer.
func (b *Breaker) Abandon() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
}
