package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// A lane is one durable consumer with the loops that process what it delivers. Feeds have a lane apart from logins and commands, so
// that a bulk feed cannot starve logins.
type lane struct {
	w      *Worker
	name   string
	batch  int
	linger time.Duration // how long an unfilled batch waits for more; zero takes what is there
	loops  int
	queue  chan *event
	again  chan *event   // events that were delivered before; they never share a batch with fresh ones
	extra  <-chan *event // submissions of the front doors; nil for none
	log    *slog.Logger
}

// run pulls and processes until ctx ends, then finishes what was prefetched. Work ends at once when hard does.
func (l *lane) run(ctx, hard context.Context) {
	var loops sync.WaitGroup
	for range l.loops {
		loops.Go(func() { l.loop(hard) })
	}
	loops.Go(func() { l.redelivered(hard) })
	l.feed(ctx, hard)
	close(l.queue)
	close(l.again)
	loops.Wait()
}

// feed moves messages from the consumer to the loops. While the database is away it holds what was prefetched and
// pulls nothing.
func (l *lane) feed(ctx, hard context.Context) {
	for try := 0; ctx.Err() == nil; {
		if err := l.w.breaker.wait(ctx); err != nil {
			return
		}
		consumer, err := l.w.cfg.Open(ctx, l.name)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			l.log.Warn("consumer not opened; trying again", "error", err)
			if pause(ctx, backoff(try, 0)) != nil {
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
	tripped := l.w.breaker.tripped()
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

	var held []*event
	for {
		l.w.leases.room(hard, tripped)
		m, err := consumer.Next(hard)
		if err != nil {
			if !errors.Is(err, ErrConsumerClosed) && hard.Err() == nil {
				l.log.Warn("consumer failed; it is opened again", "error", err)
			}
			break
		}
		e := openMessage(m)
		e.due = l.w.now()
		l.w.leases.add(e, e.due)
		if len(held) > 0 {
			held = append(held, e)
			continue
		}
		select {
		case l.queueOf(e) <- e:
		case <-tripped:
			held = append(held, e)
		case <-hard.Done():
			return
		}
	}
	if len(held) > 0 {
		l.log.Info("holding prefetched events until the database is back", "count", len(held))
	}
	for _, e := range held {
		select {
		case l.queueOf(e) <- e:
		case <-hard.Done():
			return
		}
	}
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
		l.w.leases.add(openMessage(m), l.w.now())
	}
}

func (l *lane) queueOf(e *event) chan<- *event {
	if e.delivery.Delivered() > 1 {
		return l.again
	}
	return l.queue
}

// redelivered processes events that were delivered before, until their queue is closed.
func (l *lane) redelivered(hard context.Context) {
	for e := range l.again {
		l.w.processAgain(hard, fill([]*event{e}, l.again, l.batch))
	}
}

// maxBatchBytes ends a batch before it is full, when its events are large: a batch of the largest avatars would take
// gigabytes on its way through the database driver.
const maxBatchBytes = 16 << 20

// fill adds to a batch what a queue holds now.
func fill(batch []*event, queue <-chan *event, size int) []*event {
	for n := bytesOf(batch); len(batch) < size && n < maxBatchBytes; n += len(batch[len(batch)-1].body) {
		select {
		case e, ok := <-queue:
			if !ok {
				return batch
			}
			batch = append(batch, e)
		default:
			return batch
		}
	}
	return batch
}

// loop processes batches until the queue is closed.
func (l *lane) loop(hard context.Context) {
	for {
		var e *event
		var ok bool
		select {
		case e, ok = <-l.queue:
			if !ok {
				return
			}
		case e = <-l.extra:
		}
		l.w.process(hard, l.collect(e))
	}
}

// collect fills a batch: with what is there, and with what comes within the linger.
func (l *lane) collect(first *event) []*event {
	batch := append(make([]*event, 0, l.batch), first)
	var late <-chan time.Time
	if l.linger > 0 {
		timer := time.NewTimer(l.linger)
		defer timer.Stop()
		late = timer.C
	}
	for bytes := len(first.body); len(batch) < l.batch && bytes < maxBatchBytes; bytes += len(batch[len(batch)-1].body) {
		select {
		case e, ok := <-l.queue:
			if !ok {
				return batch
			}
			batch = append(batch, e)
			continue
		case e := <-l.extra:
			batch = append(batch, e)
			continue
		default:
		}
		if late == nil {
			return batch
		}
		select {
		case e, ok := <-l.queue:
			if !ok {
				return batch
			}
			batch = append(batch, e)
		case <-late:
			return batch
		}
	}
	return batch
}
