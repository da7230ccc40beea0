package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/record"
)

const (
	// reopenWait is the pause between attempts to bind a consumer that has gone, or to pull when the broker refuses;
	// without a connection it is only looked whether there is one.
	reopenWait             = time.Second
	reopenWaitDisconnected = 50 * time.Millisecond
	// bindTimeout bounds the questions that binding takes.
	bindTimeout = 5 * time.Second
	// quiet is how long no message has come when pulls may be ended. The broker loses a message that it was about to send
	// to a pull that ends, until AckWait: so a lane that drains ends its pulls between messages, if it can within endWait.
	quiet   = 25 * time.Millisecond
	endWait = time.Second
	// spareStatus is the room for what the broker says beside messages.
	spareStatus = 128
)

// Consumer binds one of the durable consumers: [LaneLogins], [LaneFeeds] or [LaneReplays]. It prefetches at most 2 x batch
// messages, batch being at most [MaxBatch], and no more than a bounded number of bytes. The durable must exist; its absence
// is an error of class [ErrNotMigrated].
//
// When the broker restarts, moves the consumer or loses it for a while, Next goes on waiting and the messages that were
// prefetched stay available; what was lost on the way comes again after [AckWait].
func Consumer(ctx context.Context, c *Conn, lane string, batch int) (worker.Consumer, error) {
	row, ok := laneOf(lane)
	if !ok {
		return nil, &Error{Op: "consume " + lane, Class: ErrOptions, Hint: "lanes are " + record.LaneLogins + ", " + record.LaneFeeds + " and " + record.LaneReplays}
	}
	if batch < 1 || batch > MaxBatch {
		return nil, &Error{
			Op: "consume " + lane, Class: ErrOptions, Err: fmt.Errorf("a batch of %d", batch),
			Hint: fmt.Sprintf("choose 1 to %d", MaxBatch),
		}
	}
	l := &consumer{
		conn: c, lane: lane, stream: row.stream, batch: batch, log: c.log.With("lane", lane),
		// Room for the pulls of this connection and of the one before it.
		in:    make(chan *nats.Msg, 4*batch+spareStatus),
		pulls: map[*nats.Subscription]*pull{}, changed: make(chan struct{}, 1), draining: make(chan struct{}),
	}
	if err := l.bind(ctx); err != nil {
		return nil, err
	}
	l.leave = c.listen(listener{disconnected: l.change, connected: l.change})
	l.refill(time.Now())
	return l, nil
}

// A consumer is one lane. Next and Drain may be called at the same time.
//
// It has two pulls at the broker, so that the next messages are on their way while the first are handed out. Pulls
// outlive a lost connection: the broker may still answer them, on the old connection or the new one.
type consumer struct {
	conn    *Conn
	lane    string
	stream  string
	batch   int
	log     *slog.Logger
	in      chan *nats.Msg // what the broker sends to any of the pulls
	changed chan struct{}  // the connection was lost or is back
	leave   func()         // ends the listening to that

	// Only Next uses these, and Consumer before it.
	pulls    map[*nats.Subscription]*pull
	bytes    int       // that one pull asks for at most
	bound    bool      // the durable was there when it was last looked for
	epoch    uint64    // of the connection, then
	created  time.Time // of the stream
	notUntil time.Time // the next attempt to bind or to pull
	ending   time.Time // when the end of the pulls may wait no longer; zero while there is no need to end

	draining chan struct{} // closed by Drain
	stop     sync.Once
}

// bind looks for the durable, and for what may have changed when the stream was made again.
func (l *consumer) bind(ctx context.Context) error {
	op := "consume " + l.stream + "/" + l.lane
	ctx, cancel := context.WithTimeout(ctx, bindTimeout)
	defer cancel()
	epoch := l.conn.breaks.Load()
	s, err := l.conn.js.Stream(ctx, l.stream)
	if err != nil {
		return wrap(op, err)
	}
	cons, err := l.conn.js.Consumer(ctx, l.stream, l.lane)
	if err != nil {
		return wrap(op, err)
	}
	if limit := cons.CachedInfo().Config.MaxRequestBatch; limit > 0 && 2*l.batch > limit {
		// The broker would answer such pulls with nothing but time-outs.
		return &Error{Op: op, Class: ErrNotMigrated, Err: fmt.Errorf("max_batch is %d, %d are needed", limit, 2*l.batch), Hint: hints[ErrNotMigrated]}
	}
	info := s.CachedInfo()
	l.bound, l.epoch, l.created = true, epoch, info.Created
	l.bytes = pullBytes(int(info.Config.MaxMsgSize), int(l.conn.nc.MaxPayload()))
	return nil
}

// Next implements worker.Consumer.
func (l *consumer) Next(ctx context.Context) (worker.Message, error) {
	for {
		select {
		case raw := <-l.in:
			if m := l.take(raw); m != nil {
				return m, nil
			}
			continue
		default:
		}
		if l.conn.nc.IsClosed() {
			return nil, l.closed(nats.ErrConnectionClosed)
		}
		now := time.Now()
		var wait time.Duration
		if l.isDraining() {
			if len(l.pulls) == 0 && len(l.in) == 0 {
				return nil, l.closed(nil)
			}
			wait = l.end(now)
		} else {
			l.refill(now)
			wait = l.look(ctx, now)
		}
		raw, err := l.wait(ctx, wait)
		if err != nil {
			return nil, err
		}
		if raw != nil {
			if m := l.take(raw); m != nil {
				return m, nil
			}
		}
	}
}

// wait returns what the broker sends next, or nothing after the given time and when there is something else to do.
func (l *consumer) wait(ctx context.Context, d time.Duration) (*nats.Msg, error) {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	draining := l.draining
	if l.isDraining() {
		draining = nil
	}
	select {
	case raw := <-l.in:
		return raw, nil
	case <-draining:
	case <-l.changed:
	case <-l.conn.closed:
	case <-timer.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return nil, nil
}

// refill asks for more messages when those on their way are fewer than a batch.
func (l *consumer) refill(now time.Time) {
	if !l.bound || !l.conn.Connected() || l.epoch != l.conn.breaks.Load() || now.Before(l.notUntil) {
		return
	}
	coming, all := 0, 0
	for _, p := range l.pulls {
		all += p.left
		if p.epoch == l.epoch {
			coming += p.left
		}
	}
	for coming <= l.batch && all+l.batch+len(l.in) <= cap(l.in)-spareStatus {
		p, err := l.pull(now)
		if err != nil {
			l.notUntil = now.Add(reopenWait)
			l.log.Warn("pull not sent; trying again", "error", wrap("pull", err))
			return
		}
		l.pulls[p.sub] = p
		coming, all = coming+p.left, all+p.left
	}
}

// look sees to the pulls that the broker no longer speaks of and to a durable that has gone, and returns when to look
// again.
func (l *consumer) look(ctx context.Context, now time.Time) time.Duration {
	connected := l.conn.Connected()
	if !connected {
		return reopenWaitDisconnected
	}
	if l.epoch != l.conn.breaks.Load() {
		l.bound = false
	}
	silent := false
	for _, p := range l.pulls {
		switch {
		case p.epoch+1 < l.conn.breaks.Load(), !now.Before(p.ends):
			l.retire(p)
		case p.epoch == l.epoch && now.Sub(p.heard) >= pullSilence:
			silent = true
			l.retire(p)
		}
	}
	if silent {
		l.log.Warn("no heartbeat from the broker", "connection", l.conn.Status())
		l.bound = false
	}
	if !l.bound && !now.Before(l.notUntil) {
		err := l.bind(ctx)
		switch {
		case err == nil:
			l.notUntil = time.Time{}
			return 0 // there may be pulls to send
		case ctx.Err() != nil:
		case silent && errors.Is(err, ErrTimeout):
			// Neither heartbeats nor answers: the connection is open for this side alone, or its server is of no use.
			l.conn.reconnect("the broker sends neither heartbeats nor answers")
		case l.conn.Connected():
			l.log.Error("consumer cannot be bound; trying again", "error", err.Error())
		}
		l.notUntil = now.Add(reopenWait)
	}
	next := now.Add(pullSilence)
	for _, p := range l.pulls {
		next = earliest(next, p.ends, p.heard.Add(pullSilence))
	}
	if l.notUntil.After(now) {
		next = earliest(next, l.notUntil)
	}
	return next.Sub(now)
}

// take hands out a message, or returns nil for what the broker says beside them.
func (l *consumer) take(raw *nats.Msg) worker.Message {
	p := l.pulls[raw.Sub]
	now := time.Now()
	if s, ok := statusOf(raw); ok {
		if p != nil {
			p.heard = now
			l.obey(p, s, now)
		}
		return nil
	}
	created := l.created
	if p != nil {
		p.heard, p.got, created = now, now, p.created
		if p.left--; p.left == 0 {
			l.retire(p)
		}
	}
	m, err := newMessage(raw, created)
	if err != nil {
		l.log.Error("message from the broker without metadata", "subject", raw.Subject, "error", err.Error())
		return nil
	}
	return m
}

// obey acts on what the broker says of a pull.
func (l *consumer) obey(p *pull, s status, now time.Time) {
	if s.heartbeat() {
		return
	}
	l.retire(p)
	switch {
	case s.ended():
	case s.gone():
		l.bound, l.notUntil = false, now
		l.log.Warn("consumer lost; binding it again", "status", s.code, "description", s.text)
	default:
		l.notUntil = now.Add(reopenWait)
		l.log.Warn("pull refused; trying again", "status", s.code, "description", s.text)
	}
}

// retire forgets a pull from which nothing more is expected.
func (l *consumer) retire(p *pull) {
	delete(l.pulls, p.sub)
	if err := p.sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, nats.ErrBadSubscription) {
		l.log.Debug("pull not unsubscribed", "error", err)
	}
}

// end ends the pulls of a lane that drains as soon as no message is on its way, and returns when to look again.
func (l *consumer) end(now time.Time) time.Duration {
	if len(l.pulls) == 0 {
		return 0
	}
	if l.ending.IsZero() {
		l.ending = now.Add(endWait)
	}
	connected := l.conn.Connected()
	if connected && now.Before(l.ending) {
		last := time.Time{}
		for _, p := range l.pulls {
			if p.got.After(last) {
				last = p.got
			}
		}
		if rest := quiet - now.Sub(last); rest > 0 {
			return rest
		}
	}
	for _, p := range l.pulls {
		if connected {
			_ = p.sub.Drain() // it fails without a connection, and then there is nothing to drain
		} else {
			_ = p.sub.Unsubscribe()
		}
	}
	if connected {
		// What the broker had sent comes before its answer.
		_ = l.conn.nc.FlushTimeout(endWait)
	}
	clear(l.pulls)
	return 0
}

// Drain implements worker.Consumer.
func (l *consumer) Drain() { l.stop.Do(func() { close(l.draining) }) }

func (l *consumer) isDraining() bool {
	select {
	case <-l.draining:
		return true
	default:
		return false
	}
}

// change wakes Next.
func (l *consumer) change() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// closed ends the lane.
func (l *consumer) closed(cause error) error {
	l.leave()
	for _, p := range l.pulls {
		l.retire(p)
	}
	if cause != nil {
		return fmt.Errorf("%w: %w", worker.ErrConsumerClosed, cause)
	}
	return worker.ErrConsumerClosed
}

func earliest(times ...time.Time) time.Time {
	first := times[0]
	for _, t := range times[1:] {
		if t.Before(first) {
			first = t
		}
	}
	return first
}

var _ worker.Consumer = (*consumer)(nil)
