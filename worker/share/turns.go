package share

import (
	"context"
	"sync"
	"time"
)

const (
	// turnBytes is how much of its items a tenant takes into a batch before the next tenant has its turn.
	turnBytes = 32 << 10
	// MaxBatchBytes ends a batch before it is full, when its items are large: they take several times their size on their
	// way through the database driver, and whoever comes next waits for less.
	MaxBatchBytes = 4 << 20
)

// An Item is something that takes its turn: an event.
type Item interface {
	comparable
	Owner() (tenant, source string)
	Size() int // in bytes, of all that it costs
}

// Turns are the items that wait for one of the loops of a lane. Tenants take turns by deficit round robin (Shreedhar and
// Varghese, 1995), with bytes as the measure, and so do the sources of a tenant, item by item: who sends more waits
// longer, and nobody else does. No tenant has more batches in hand than a limit, so that a loop stays free for the others.
// It is safe for concurrent use.
type Turns[E Item] struct {
	limit int // batches in hand that may hold items of one tenant

	mu      sync.Mutex
	changed *sync.Cond
	tenants map[string]*part[E]
	ring    []*part[E] // with items waiting, the next one first
	waiting int
	batches int // taken so far
	closed  bool
}

// A part is what one tenant has in a lane.
type part[E Item] struct {
	tenant  string
	sources map[string]*line[E]
	ring    []*line[E] // with items waiting, the next one first
	waiting int
	credit  int // bytes that it may still take in this turn; below zero after a large item
	batch   int // the last batch that has items of it
	inHand  int // batches
}

// A line is the items of one source, in order.
type line[E Item] struct {
	source string
	items  []E
}

// NewTurns returns turns of which one tenant has at most limit batches in hand.
func NewTurns[E Item](limit int) *Turns[E] {
	t := &Turns[E]{limit: limit, tenants: map[string]*part[E]{}}
	t.changed = sync.NewCond(&t.mu)
	return t
}

// Add has an item wait for its turn, and reports whether it does: after Close none is added.
func (t *Turns[E]) Add(e E) bool {
	tenant, source := e.Owner()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	s := t.tenants[tenant]
	if s == nil {
		s = &part[E]{tenant: tenant, sources: map[string]*line[E]{}}
		t.tenants[tenant] = s
	}
	if s.waiting == 0 {
		t.ring = append(t.ring, s)
	}
	s.add(source, e)
	t.waiting++
	t.changed.Signal()
	return true
}

// Take returns the next batch, of at most n items, when there is one: at once, or when the batch is full or the linger is
// over. It returns nothing when the turns are closed and empty, or ctx ends. The batch is in hand until Done.
func (t *Turns[E]) Take(ctx context.Context, n int, linger time.Duration) []E {
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

// linger waits until n items wait, or the time is up.
func (t *Turns[E]) linger(ctx context.Context, n int, d time.Duration) {
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

// ready reports whether a tenant that may have a turn has items waiting.
func (t *Turns[E]) ready() bool {
	for _, s := range t.ring {
		if s.inHand < t.limit {
			return true
		}
	}
	return false
}

func (t *Turns[E]) fill(n int) []E {
	t.batches++
	batch := make([]E, 0, min(n, t.waiting))
	bytes := 0
	for passed := 0; len(batch) < n && bytes < MaxBatchBytes && passed < len(t.ring); {
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
		for s.waiting > 0 && s.credit > 0 && len(batch) < n && bytes < MaxBatchBytes {
			e := s.next()
			t.waiting--
			s.credit -= e.Size()
			bytes += e.Size()
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

// Done ends what Take began.
func (t *Turns[E]) Done(batch []E) {
	t.mu.Lock()
	defer t.mu.Unlock()
	seen := map[string]bool{}
	for _, e := range batch {
		tenant, _ := e.Owner()
		s := t.tenants[tenant]
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

// Close has Take return what waits, and then nothing. Nothing more is added.
func (t *Turns[E]) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.changed.Broadcast()
}

func (t *Turns[E]) wake() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changed.Broadcast()
}

func (s *part[E]) add(source string, e E) {
	l := s.sources[source]
	if l == nil {
		l = &line[E]{source: source}
		s.sources[source] = l
		s.ring = append(s.ring, l)
	}
	l.items = append(l.items, e)
	s.waiting++
}

// next takes the next item, in turn from each source.
func (s *part[E]) next() E {
	l := s.ring[0]
	s.ring = s.ring[1:]
	e := l.items[0]
	var none E
	l.items[0] = none
	if l.items = l.items[1:]; len(l.items) > 0 {
		s.ring = append(s.ring, l)
	} else {
		delete(s.sources, l.source)
	}
	s.waiting--
	return e
}
