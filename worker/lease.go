package worker

import (
	"context"
	"sync"
	"time"
)

// leases are the messages that this worker holds. Those held for long are kept alive, so that a slow or absent database
// does not make the broker deliver them to somebody else and count it against them.
type leases struct {
	mu    sync.Mutex
	held  map[*event]time.Time // when the broker last heard of it
	bytes int                  // of their bodies
	freed chan struct{}        // closed, and replaced, when some are dropped
}

// maxHeldBytes bounds the bodies of the messages that a worker holds, but for what was prefetched: counting messages
// alone would let large ones fill the memory.
const maxHeldBytes = 48 << 20

func newLeases() *leases { return &leases{held: map[*event]time.Time{}, freed: make(chan struct{})} }

// room waits until there is room for another message, or one of the channels is closed.
func (l *leases) room(hard context.Context, tripped <-chan struct{}) {
	for {
		l.mu.Lock()
		free, freed := l.bytes < maxHeldBytes, l.freed
		l.mu.Unlock()
		if free {
			return
		}
		select {
		case <-freed:
		case <-tripped:
			return
		case <-hard.Done():
			return
		}
	}
}

func (l *leases) add(e *event, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[e] = now
	l.bytes += len(e.body)
}

func (l *leases) drop(events []*event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		if _, ok := l.held[e]; ok {
			delete(l.held, e)
			l.bytes -= len(e.body)
		}
	}
	close(l.freed)
	l.freed = make(chan struct{})
}

func (l *leases) all() []*event {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]*event, 0, len(l.held))
	for e := range l.held {
		out = append(out, e)
	}
	return out
}

// stale returns the events of which the broker has heard nothing since before, and notes that it will now.
func (l *leases) stale(before, now time.Time) []*event {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*event
	for e, t := range l.held {
		if t.Before(before) {
			l.held[e] = now
			out = append(out, e)
		}
	}
	return out
}

// keepAlive tells the broker of long-held messages until ctx ends.
func (w *Worker) keepAlive(ctx context.Context) {
	third := w.cfg.AckWait / 3
	tick := time.NewTicker(third / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := w.now()
		for _, e := range w.leases.stale(now.Add(-third), now) {
			if err := e.delivery.InProgress(); err != nil {
				w.log.Debug("message not kept alive", "stream_seq", e.origin.Sequence, "error", err)
			}
		}
	}
}
