package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/share"
)

// A lane is one durable consumer with the loops that process what it delivers. Feeds have a lane apart from logins and commands, so
// that a bulk feed cannot starve logins. What comes by the front doors, and parked events that are due, take their turns in
// the lane of their kind.
type lane struct {
	w        *Worker
	name     string
	batch    int
	linger   time.Duration // how long an unfilled batch waits for more; zero takes what is there
	loops    int
	turns    *share.Turns[*event]
	crowd    *crowd
	suspects chan *event // to be processed alone
	excess   chan *event // to be parked
	log      *slog.Logger
}

// Bounds of the events of a lane that wait to be processed alone, and to be parked.
const (
	suspectQueue = 64
	excessQueue  = 256
)

func newLane(w *Worker, name string, linger time.Duration) *lane {
	return &lane{
		w: w, name: name, batch: w.cfg.Batch, linger: linger, loops: w.cfg.Loops, turns: share.NewTurns[*event](w.cfg.Loops), crowd: newCrowd(),
		suspects: make(chan *event, suspectQueue), excess: make(chan *event, excessQueue), log: w.log.With("lane", name),
	}
}

// laneFor returns the lane of an event that no consumer delivered.
func (w *Worker) laneFor(e *event) *lane {
	if e.env.Shape == providers.ShapeFeed {
		return w.feeds
	}
	return w.logins
}

// process takes what waits through the pipeline until the lane is closed and empty. One loop more than a tenant may have
// batches in hand stays free for the others.
func (l *lane) process(hard context.Context) {
	var beside, loops sync.WaitGroup
	beside.Go(func() {
		for e := range l.suspects {
			l.w.processAlone(hard, e)
		}
	})
	beside.Go(func() {
		for e := range l.excess {
			batch := gather(e, l.excess)
			for _, e := range batch {
				l.w.leases.add(e, l.w.now())
			}
			l.w.finish(hard, batch)
		}
	})
	for range l.loops + 1 {
		loops.Go(func() {
			for {
				batch := l.turns.Take(hard, l.batch, l.linger)
				if len(batch) == 0 {
					return
				}
				if together := l.screen(hard, batch); len(together) > 0 {
					l.w.process(hard, together)
				}
				l.turns.Done(batch)
			}
		})
	}
	loops.Wait()
	close(l.suspects)
	close(l.excess)
	beside.Wait()
}

// gather adds to an event what its queue holds now.
func gather(first *event, queue <-chan *event) []*event {
	batch := []*event{first}
	for bytes := len(first.body); bytes < share.MaxBatchBytes; {
		select {
		case e, ok := <-queue:
			if !ok {
				return batch
			}
			batch, bytes = append(batch, e), bytes+len(e.body)
		default:
			return batch
		}
	}
	return batch
}

// screen takes the events out of a batch that have to be processed alone, and hands them to the goroutine that does so.
func (l *lane) screen(hard context.Context, batch []*event) []*event {
	together, alone, _ := l.w.screen(hard, batch)
	for _, e := range alone {
		select {
		case l.suspects <- e:
		default:
			e.wait(inFlight, nil)
			together = append(together, e)
		}
	}
	return together
}

// feed moves messages from the consumer to the loops until ctx ends, and then what was prefetched. While the database is
// away it pulls nothing.
func (l *lane) feed(ctx, hard context.Context) {
	for try := 0; ctx.Err() == nil; {
		if err := l.w.database.Wait(ctx); err != nil {
			return
		}
		consumer, err := l.w.cfg.Open(ctx, l.name)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			l.log.Warn("consumer not opened; trying again", "error", err)
			if clock.Pause(ctx, clock.Backoff(try, 0)) != nil {
				return
			}
			try++
			continue
		}
		try = 0
		l.feedFrom(ctx, hard, consumer)
	}
}

// feedFrom hands over all that the consumer delivers until it is drained: because ctx ended, or the breaker opened.
func (l *lane) feedFrom(ctx, hard context.Context, consumer Consumer) {
	tripped := l.w.database.Tripped()
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-ctx.Done():
		case <-tripped:
		case <-done:
		}
		consumer.Drain()
	})
	defer l.leave(hard, consumer)
	defer watch.Wait()
	defer close(done)
	for {
		m, err := consumer.Next(hard)
		if err != nil {
			if !errors.Is(err, ErrConsumerClosed) && hard.Err() == nil {
				l.log.Warn("consumer failed; it is opened again", "error", err)
			}
			return
		}
		if !l.sendBack(ctx, hard, tripped, m) {
			l.enter(l.open(m))
		}
	}
}

// open makes a message an event of the lane.
func (l *lane) open(m Message) *event {
	e := openMessage(m)
	e.lane, e.due = l.name, l.w.now()
	return e
}

// enter has an event wait for its turn, and reports whether the lane still takes events.
func (l *lane) enter(e *event) bool {
	e.lane = l.name
	l.w.leases.add(e, l.w.now())
	if l.turns.Add(e) {
		return true
	}
	l.w.leases.drop([]*event{e}, l.w.now())
	return false
}

// leaveTimeout bounds how long a drained consumer may take to hand out what it has.
const leaveTimeout = time.Second

// leave takes over what the consumer holds when time is up: it goes back to the broker with the rest, instead of
// waiting there for the end of its lease.
func (l *lane) leave(hard context.Context, consumer Consumer) {
	if hard.Err() == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(hard), leaveTimeout)
	defer cancel()
	consumer.Drain()
	for {
		m, err := consumer.Next(ctx)
		if err != nil {
			return
		}
		l.w.leases.add(l.open(m), l.w.now())
	}
}
