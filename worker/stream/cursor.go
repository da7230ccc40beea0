package stream

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/record"
)

// A start is where in a stream a reader begins.
type start struct {
	after uint64    // behind this sequence; 0 leaves it to the others
	since time.Time // stored at or after
	fresh bool      // with the next message
}

func (s start) policy() (policy jetstream.DeliverPolicy, seq uint64, at *time.Time) {
	switch {
	case s.after > 0:
		return jetstream.DeliverByStartSequencePolicy, s.after + 1, nil
	case !s.since.IsZero():
		return jetstream.DeliverByStartTimePolicy, 0, &s.since
	case s.fresh:
		return jetstream.DeliverNewPolicy, 0, nil
	}
	return jetstream.DeliverAllPolicy, 0, nil
}

// A cursor hands out the messages of a stream on one subject in order. Unless the connection has names for consumers, it is
// the client library's ordered consumer, of a random name, which begins anew by itself after a gap.
type cursor struct {
	messages jetstream.MessagesContext
	pending  uint64 // when it was opened
	close    func()

	// Only of a named consumer, which cannot begin anew by itself.
	named    bool
	conn     *Conn
	breaks   uint64 // of the connection, when it was opened
	consumed uint64 // consumer sequence of the last message
	seen     uint64 // stream sequence behind which it goes on
}

const (
	// readerIdle is how long a named consumer outlives a reader that did not end it.
	readerIdle = 30 * time.Second
	// readerLook is how often a reader that waits looks whether its connection was lost.
	readerLook = time.Second
	// readerEnd bounds the removal of a named consumer.
	readerEnd = 2 * time.Second
)

// open begins to read. It needs no information on the stream, which would list the subjects of all tenants.
func (c *Conn) open(ctx context.Context, stream, subject string, s start) (*cursor, error) {
	policy, seq, at := s.policy()
	if len(c.consumers) == 0 {
		cons, err := c.js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{subject}, DeliverPolicy: policy, OptStartSeq: seq, OptStartTime: at,
		})
		if err != nil {
			return nil, err
		}
		r := &cursor{pending: cons.CachedInfo().NumPending}
		if r.messages, err = cons.Messages(); err != nil {
			return nil, err
		}
		r.close = r.messages.Stop
		return r, nil
	}
	breaks := c.breaks.Load()
	for _, name := range c.consumers {
		cons, err := c.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
			Name: name, FilterSubject: subject, DeliverPolicy: policy, OptStartSeq: seq, OptStartTime: at,
			AckPolicy: jetstream.AckNonePolicy, InactiveThreshold: readerIdle, MemoryStorage: true, Replicas: 1,
			// No other reader asks for the very same consumer, or the broker would let both share its messages.
			Metadata: map[string]string{"reader": c.nc.NewInbox()},
		})
		var api *jetstream.APIError
		if errors.Is(err, jetstream.ErrConsumerExists) || errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeConsumerExists {
			continue
		}
		if err != nil {
			return nil, err
		}
		i := cons.CachedInfo()
		r := &cursor{named: true, conn: c, breaks: breaks, pending: i.NumPending, seen: i.Delivered.Stream}
		remove := func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readerEnd)
			defer cancel()
			if err := c.js.DeleteConsumer(ctx, stream, name); err != nil {
				c.log.Debug("consumer of a reader not removed; it ends by itself", "consumer", name, "error", err)
			}
		}
		if r.messages, err = cons.Messages(); err != nil {
			remove()
			return nil, err
		}
		r.close = func() {
			r.messages.Stop()
			remove()
		}
		return r, nil
	}
	return nil, &Error{Op: "read " + stream, Class: ErrReaders, Hint: hints[ErrReaders]}
}

// errLost says that a cursor may have lost messages and has to be opened again behind what it saw.
var errLost = errors.New("reader lost its place")

// next waits for a message.
func (r *cursor) next(ctx context.Context) (jetstream.Msg, *jetstream.MsgMetadata, error) {
	for {
		look, cancel := ctx, context.CancelFunc(func() {})
		if r.named {
			look, cancel = context.WithTimeout(ctx, readerLook)
		}
		m, err := r.messages.Next(jetstream.NextContext(look))
		waited := look.Err() != nil
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		case err == nil:
			meta, err := m.Metadata()
			if err != nil {
				return nil, nil, err
			}
			if r.named && meta.Sequence.Consumer != r.consumed+1 {
				return nil, nil, errLost
			}
			r.consumed, r.seen = meta.Sequence.Consumer, meta.Sequence.Stream
			return m, meta, nil
		case r.named && r.conn.breaks.Load() != r.breaks:
			return nil, nil, errLost
		case r.named && waited:
		case errors.Is(err, jetstream.ErrNoHeartbeat), errors.Is(err, nats.ErrTimeout):
			if r.named {
				return nil, nil, errLost
			}
			// An ordered consumer begins anew by itself, behind what it has given.
		default:
			return nil, nil, err
		}
	}
}

// read iterates over a limits stream with a consumer that keeps no state at the broker which would outlive it. Messages that
// are not ours are passed over; nil takes all.
func read(ctx context.Context, c *Conn, name, subject string, f Filter, follow bool, ours func(record.Stored) bool) iter.Seq2[record.Stored, error] {
	op := "read " + name
	return func(yield func(record.Stored, error) bool) {
		r, err := c.open(ctx, name, subject, start{after: f.After, since: f.Since, fresh: follow})
		if err != nil {
			yield(record.Stored{}, wrap(op, err))
			return
		}
		defer func() { r.close() }()
		left := r.pending // of those that were there when it began
		for n := 0; follow || left > 0; {
			m, meta, err := r.next(ctx)
			if errors.Is(err, errLost) {
				r.close()
				again, err := c.reopen(ctx, name, subject, start{after: r.seen, fresh: follow})
				if err != nil {
					r.close = func() {}
					if !follow || ctx.Err() == nil {
						yield(record.Stored{}, wrap(op, err))
					}
					return
				}
				r, left = again, min(left, again.pending)
				continue
			}
			if err != nil {
				if !follow || ctx.Err() == nil {
					yield(record.Stored{}, wrap(op, err))
				}
				return
			}
			left--
			stored := record.Stored{
				Stream: name, Sequence: meta.Sequence.Stream, Subject: m.Subject(),
				Header: providers.Header(m.Headers()), Data: m.Data(), StoredAt: meta.Timestamp,
			}
			switch {
			case meta.Timestamp.Before(f.Since):
			case ours != nil && !ours(stored):
				if f.Foreign != nil {
					f.Foreign(stored)
				}
			default:
				if n++; !yield(stored, nil) || n == f.Limit {
					return
				}
			}
			if !follow && meta.NumPending == 0 {
				return
			}
		}
	}
}

// reopen opens a named consumer again, once the connection is back.
func (c *Conn) reopen(ctx context.Context, stream, subject string, s start) (*cursor, error) {
	for {
		r, err := c.open(ctx, stream, subject, s)
		if err == nil || ctx.Err() != nil || !Transient(wrap("read "+stream, err)) {
			return r, err
		}
		if clock.Pause(ctx, reopenWait) != nil {
			return nil, ctx.Err()
		}
	}
}
