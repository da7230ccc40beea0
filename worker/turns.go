package worker

import (
	"context"
	"sync"
	"time"
)

const (
	// turnBytes is how much of its events a tenant takes into a batch before the next tenant has its turn.
	turnBytes = 32 << 10
	// eventBytes is what an event costs beside its body, in memory and in turns.
	eventBytes = 2 << 10
	// maxBatchBytes ends a batch before it is full, when its events are large: they take several times their size on their
	// way through the database driver, and whoever comes next waits for less.
	maxBatchBytes = 4 << 20
)

// turns are the events of a lane that wait for one of its loops. Tenants take turns by deficit round robin (Shreedhar and
// Varghese, 1995), with bytes as the measure, and so do the sources of a tenant, event by event: who sends more waits
// longer, and nobody else does. No tenant has more batches in hand than a limit, so that a loop stays free for the others.
// It is safe for concurrent use.
type turns struct {
	limit int // batches in hand that may hold events of one tenant

	mu      sync.Mutex
	changed *sync.Cond
	tenants map[string]*share
	ring    []*share // with events waiting, the next one first
	waiting int
	batches int // taken so far
	closed  bool
}

// A share is what one tenant has in a lane.
type share struct {
	tenant  string
	sources map[string]*line
	ring    []*line // with events waiting, the next one first
	waiting int
	credit  int // bytes that it may still take in this turn; below zero after a large event
	batch   int // the last batch that has events of it
	inHand  int // batches
}

// A line is the events of one source, in order.
type line struct {
	source string
	events []*event
}

func newTurns(limit int) *turns {
	t := &turns{limit: limit, tenants: map[string]*share{}}
	t.changed = sync.NewCond(&t.mu)
	return t
}

// add has an event wait for its turn, and reports whether the lane still takes events.
func (t *turns) add(e *event) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	s := t.tenants[e.env.Tenant]
	if s == nil {
		s = &share{tenant: e.env.Tenant, sources: map[string]*line{}}
		t.tenants[e.env.Tenant] = s
	}
	if s.waiting == 0 {
		t.ring = append(t.ring, s)
	}
	s.add(e)
	t.waiting++
	t.changed.Signal()
	return true
}

// take returns the next batch, of at most n events, when there is one: at once, or when the batch is full or the linger is
// over. It returns nothing when the lane is closed and empty, or ctx ends. The batch is in hand until done.
func (t *turns) take(ctx context.Context, n int, linger time.Duration) []*event {
	defer context.AfterFunc(ctx, t.wake)()
	t.mu.Lock()
	defer t.mu.Unlock()
	for ctx.Err() == nil {
		if !t.ready() {
			if t.closed && t.waiting == 0 {
				return nil
			}
			t.changed.Wait()
			continue
		}
		if linger > 0 && t.waiting < n && !t.closed {
			t.linger(ctx, n, linger)
		}
		if batch := t.fill(n); len(batch) > 0 {
			if t.ready() {
				t.changed.Signal()
			}
			return batch
		}
	}
	return nil
}

// linger waits until n events wait, or the time is up.
func (t *turns) linger(ctx context.Context, n int, d time.Duration) {
	over := false
	timer := time.AfterFunc(d, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		over = true
		t.changed.Broadcast()
	})
	defer timer.Stop()
	for !over && t.waiting < n && !t.closed && ctx.Err() == nil {
		t.changed.Wait()
	}
}

// ready reports whether a tenant that may have a turn has events waiting.
func (t *turns) ready() bool {
	for _, s := range t.ring {
		if s.inHand < t.limit {
			return true
		}
	}
	return false
}

func (t *turns) fill(n int) []*event {
	t.batches++
	batch := make([]*event, 0, min(n, t.waiting))
	bytes := 0
	for passed := 0; len(batch) < n && bytes < maxBatchBytes && passed < len(t.ring); {
		s := t.ring[0]
		if s.inHand >= t.limit && s.batch != t.batches {
			t.ring = append(t.ring[1:], s)
			passed++
			continue
		}
		passed = 0
		if s.batch != t.batches {
			s.batch = t.batches
			s.inHand++
		}
		if s.credit <= 0 {
			s.credit += turnBytes
		}
		for s.waiting > 0 && s.credit > 0 && len(batch) < n && bytes < maxBatchBytes {
			e := s.next()
			t.waiting--
			s.credit -= len(e.body) + eventBytes
			bytes += len(e.body)
			batch = append(batch, e)
		}
		switch {
		case s.waiting == 0:
			s.credit = 0
			t.ring = t.ring[1:]
		case s.credit <= 0:
			t.ring = append(t.ring[1:], s)
		}
	}
	return batch
}

// done ends what take began.
func (t *turns) done(batch []*event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	seen := map[string]bool{}
	for _, e := range batch {
		s := t.tenants[e.env.Tenant]
		if s == nil || seen[s.tenant] {
			continue
		}
		seen[s.tenant] = true
		if s.inHand--; s.inHand == 0 && s.waiting == 0 {
			delete(t.tenants, s.tenant)
		}
	}
	t.changed.Broadcast()
}

// close has take return what waits, and then nothing. Nothing more is added.
func (t *turns) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.changed.Broadcast()
}

func (t *turns) wake() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changed.Broadcast()
}

func (s *share) add(e *event) {
	l := s.sources[e.env.Source]
	if l == nil {
		l = &line{source: e.env.Source}
		s.sources[e.env.Source] = l
		s.ring = append(s.ring, l)
	}
	l.events = append(l.events, e)
	s.waiting++
}

// next takes the next event, in turn from each source.
func (s *share) next() *event {
	l := s.ring[0]
	s.ring = s.ring[1:]
	e := l.events[0]
	l.events[0] = nil
	if l.events = l.events[1:]; len(l.events) > 0 {
		s.ring = append(s.ring, l)
	} else {
		delete(s.sources, l.source)
	}
	s.waiting--
	return e
}
