package outage

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/clock"
)

// DatabaseTimeout bounds each call of a worker to its database, and on its server each statement and each pause in a
// transaction. It is shorter than the default patience: what a worker leaves unfinished there is rolled back before others get
// its events.
const DatabaseTimeout = 10 * time.Second

// How the database is watched.
const (
	watchInterval = time.Second
	watchTimeout  = 5 * time.Second // of one look
)

// A Store is what is watched.
type Store interface {
	Ready(ctx context.Context) error    // reaches the database and finds that it takes writes
	TryWrite(ctx context.Context) error // writes, and leaves nothing
}

// Options are what a [Watch] is made of.
type Options struct {
	Store    Store
	Patience time.Duration   // how long an outage may last until it is overdue
	Changed  func(open bool) // is told when the database goes away, and when it is back
	Log      *slog.Logger
}

// A Watch looks at the database all the time, and is told by others when a call found it away. It is safe for concurrent use.
type Watch struct {
	*Breaker
	store Store
	log   *slog.Logger
	said  clock.Sparing
	given atomic.Int64
}

// New returns a watch of a database that is there.
func New(o Options) *Watch {
	return &Watch{Breaker: NewBreaker(o.Patience, o.Changed), store: o.Store, log: o.Log}
}

// Run notices that the database is away, and that it is back, until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	for range clock.Ticks(ctx, watchInterval) {
		w.look(ctx)
	}
}

func (w *Watch) look(ctx context.Context) {
	look, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	began := time.Now()
	if !w.Open() {
		if err := w.store.Ready(look); err != nil && ctx.Err() == nil {
			w.Away(began, err)
		}
		return
	}
	if err := w.store.TryWrite(look); err != nil {
		if ctx.Err() == nil {
			w.say("database still away", err)
		}
		return
	}
	if lasted, was := w.Reset(); was {
		w.log.Info("database back; pulling goes on", "after", lasted.Round(time.Millisecond), "given_back", w.given.Swap(0))
	}
}

// Away notes that a call that began at since found the database away.
func (w *Watch) Away(since time.Time, err error) {
	if w.Trip(since) {
		w.say("database away; pulling stops until it is back", err)
	}
}

// GaveBack notes that so many messages went back to the broker in this outage.
func (w *Watch) GaveBack(messages int) { w.given.Add(int64(messages)) }

// say logs an outage once in a while.
func (w *Watch) say(text string, err error) {
	others, due := w.said.Due(time.Now())
	if !due {
		return
	}
	what, hint := store.Explain(err)
	w.log.Error(text, "error", err, "what", what, "hint", hint, "others_since", others)
}

// UntilOverdue returns a context that ends with ctx, or once the database has been away for too long. The caller calls stop.
func (w *Watch) UntilOverdue(ctx context.Context) (bounded context.Context, stop func()) {
	bounded, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	overdue := w.Overdue()
	watch.Go(func() {
		select {
		case <-overdue:
			cancel()
		case <-bounded.Done():
		}
	})
	return bounded, func() { cancel(); watch.Wait() }
}
