package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/record"
)

const (
	pullExpiry    = 30 * time.Second
	pullHeartbeat = 5 * time.Second
	// reopenWait is the pause between attempts to bind a consumer again that has gone; without a connection it is only
	// looked whether there is one.
	reopenWait             = time.Second
	reopenWaitDisconnected = 50 * time.Millisecond
	// emptyWait is how long an iterator that pulls no more may be silent before it counts as empty; disconnected, nothing
	// can come but what it holds.
	emptyWait             = 500 * time.Millisecond
	emptyWaitDisconnected = 50 * time.Millisecond
)

// Consumer binds one of the durable consumers: [LaneLogins], [LaneFeeds] or [LaneReplays]. It prefetches 2 x batch
// messages, batch being at most [MaxBatch]. The durable must exist; its absence is an error of class [ErrNotMigrated].
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
		conn: c, lane: lane, stream: row.stream, batch: batch,
		log: c.log.With("lane", lane), draining: make(chan struct{}),
	}
	if err := l.open(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// A consumer is one lane. Next and Drain may be called at the same time.
type consumer struct {
	conn   *Conn
	lane   string
	stream string
	batch  int
	log    *slog.Logger

	// Only Next uses these, and Consumer before it.
	breaks   uint64    // of the connection, when the durable was bound
	retired  bool      // the iterator is drained, to be replaced
	created  time.Time // of the stream
	silences int       // missing heartbeats in a row

	mu       sync.Mutex
	messages jetstream.MessagesContext
	drained  bool
	draining chan struct{} // closed by Drain
}

// open binds the durable and begins to pull.
func (l *consumer) open(ctx context.Context) error {
	op := "consume " + l.stream + "/" + l.lane
	breaks := l.conn.breaks.Load()
	s, err := l.conn.js.Stream(ctx, l.stream)
	if err != nil {
		return wrap(op, err)
	}
	cons, err := l.conn.js.Consumer(ctx, l.stream, l.lane)
	if err != nil {
		return wrap(op, err)
	}
	prefetch := 2 * l.batch
	if limit := cons.CachedInfo().Config.MaxRequestBatch; limit > 0 && prefetch > limit {
		// The broker would answer such pulls with nothing but time-outs.
		return &Error{Op: op, Class: ErrNotMigrated, Err: fmt.Errorf("max_batch is %d, %d are needed", limit, prefetch), Hint: hints[ErrNotMigrated]}
	}
	m, err := cons.Messages(
		jetstream.PullMaxMessages(prefetch),
		jetstream.PullExpiry(pullExpiry),
		jetstream.PullHeartbeat(pullHeartbeat),
		jetstream.WithMessagesErrOnMissingHeartbeat(true),
	)
	if err != nil {
		return wrap(op, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages, l.breaks, l.retired = m, breaks, false
	l.created = s.CachedInfo().Created // it may be another stream of the same name
	if l.drained {
		m.Drain()
	}
	return nil
}

// Next implements worker.Consumer.
func (l *consumer) Next(ctx context.Context) (worker.Message, error) {
	for {
		l.mu.Lock()
		m, drained := l.messages, l.drained
		l.mu.Unlock()
		if m == nil {
			if drained {
				return nil, worker.ErrConsumerClosed
			}
			if err := l.reopen(ctx); err != nil {
				return nil, err
			}
			continue
		}
		if !l.retired && l.conn.breaks.Load() != l.breaks {
			// The iterator would pull for its whole buffer again, although that may still be full, and what does not
			// fit would be dropped until AckWait. So it is emptied and then replaced.
			m.Drain()
			l.retired = true
		}
		raw, err := l.take(ctx, m, drained)
		switch {
		case err == nil:
			l.silences = 0
			msg, err := l.message(raw)
			if err != nil {
				l.log.Error("message from the broker without metadata", "subject", raw.Subject(), "error", err.Error())
				continue
			}
			return msg, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, errEmpty):
			l.forget(m)
		case errors.Is(err, jetstream.ErrNoHeartbeat):
			// The library pulls anew at the next call. If the durable itself has gone, nobody says so.
			l.silences++
			l.log.Warn("no heartbeat from the broker", "connection", l.conn.Status())
			if l.silences > 1 && l.conn.Connected() && l.gone(ctx) {
				l.forget(m)
			}
		case errors.Is(err, jetstream.ErrMsgIteratorClosed):
			if l.conn.nc.IsClosed() {
				return nil, fmt.Errorf("%w: %w", worker.ErrConsumerClosed, nats.ErrConnectionClosed)
			}
			l.forget(m)
		default: // consumer deleted, or a pull that the broker refuses
			l.log.Warn("consumer lost; binding it again", "error", err.Error())
			l.forget(m)
		}
	}
}

var errEmpty = errors.New("iterator empty")

// take returns the next message of the iterator. One that was drained is given up as errEmpty when it stays silent: the
// library closes it only after a round trip, for which it waits many seconds when there is no connection.
func (l *consumer) take(ctx context.Context, m jetstream.MessagesContext, drained bool) (jetstream.Msg, error) {
	connected := l.conn.Connected()
	if !l.retired && (!drained || connected) {
		return m.Next(jetstream.NextContext(ctx))
	}
	wait := emptyWait
	if !connected {
		wait = emptyWaitDisconnected
	}
	short, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	raw, err := m.Next(jetstream.NextContext(short))
	if err != nil && short.Err() != nil && ctx.Err() == nil {
		return nil, errEmpty
	}
	return raw, err
}

// gone reports whether the durable or its stream is missing.
func (l *consumer) gone(ctx context.Context) bool {
	_, err := l.conn.js.Consumer(ctx, l.stream, l.lane)
	return errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound)
}

// forget ends an iterator that is of no use any more.
func (l *consumer) forget(m jetstream.MessagesContext) {
	m.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.messages == m {
		l.messages = nil
	}
}

// reopen binds the durable again, as soon as it can be.
func (l *consumer) reopen(ctx context.Context) error {
	for {
		err := l.open(ctx)
		if err == nil {
			l.silences = 0
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if l.conn.nc.IsClosed() {
			return fmt.Errorf("%w: %w", worker.ErrConsumerClosed, nats.ErrConnectionClosed)
		}
		wait := reopenWaitDisconnected
		if l.conn.Connected() {
			wait = reopenWait
			l.log.Error("consumer cannot be bound; trying again", "error", err.Error())
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-l.draining:
			t.Stop()
			return nil
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

// Drain implements worker.Consumer.
func (l *consumer) Drain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.drained {
		return
	}
	l.drained = true
	close(l.draining)
	if l.messages != nil {
		l.messages.Drain()
	}
}

func (l *consumer) message(raw jetstream.Msg) (*message, error) {
	meta, err := raw.Metadata()
	if err != nil {
		return nil, err
	}
	return &message{
		Msg: raw, stream: meta.Stream, created: l.created, sequence: meta.Sequence.Stream,
		storedAt: meta.Timestamp, delivered: meta.NumDelivered,
	}, nil
}

// A message is one delivery.
type message struct {
	jetstream.Msg
	stream    string
	created   time.Time
	sequence  uint64
	storedAt  time.Time
	delivered uint64
}

func (m *message) Header() providers.Header { return providers.Header(m.Headers()) }
func (m *message) Stream() string           { return m.stream }
func (m *message) StreamCreated() time.Time { return m.created }
func (m *message) Sequence() uint64         { return m.sequence }
func (m *message) StoredAt() time.Time      { return m.storedAt }
func (m *message) Delivered() uint64        { return m.delivered }

func (m *message) Ack() error                        { return wrap("ack", m.Msg.Ack()) }
func (m *message) AckSync(ctx context.Context) error { return wrap("ack", m.DoubleAck(ctx)) }
func (m *message) NakWithDelay(delay time.Duration) error {
	return wrap("nak", m.Msg.NakWithDelay(delay))
}
func (m *message) InProgress() error { return wrap("keep in progress", m.Msg.InProgress()) }

// Term implements worker.Message. The reason appears in the broker's advisory; line breaks would end it early.
func (m *message) Term(reason string) error { return wrap("term", m.TermWithReason(oneLine(reason))) }

var (
	_ worker.Consumer = (*consumer)(nil)
	_ worker.Message  = (*message)(nil)
)
