package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/record"
)

const (
	// maxInFlight bounds what all publishers of a connection have sent without an answer.
	maxInFlight = 4000
	// ackSilence is how long nothing may be acknowledged before the rest of a batch is given up. Every acknowledgement
	// starts it anew, so a slow disk does not fail a large batch.
	ackSilence = 10 * time.Second
	// A subject that no stream answers for is tried again, as a stream that elects a leader looks the same.
	noStreamTries = 3
	noStreamWait  = 250 * time.Millisecond
)

// Publisher returns the publisher of the connection. It does not retry what the broker refused or lost; a caller who
// publishes the same ids again stores nothing twice. Its errors are of the classes [ErrStreamFull], [ErrNoStream],
// [ErrPermission], [ErrTooLarge], [ErrTimeout] and [ErrDisconnected], or ctx's own.
func Publisher(c *Conn) worker.Publisher { return c.pub }

// PublishEvent stores one message and returns its stream sequence. Events have no ID for the broker: another publisher could
// suppress them by it. That the broker takes the message for a duplicate, and so stores nothing, is an error of class
// [ErrDuplicate].
func PublishEvent(ctx context.Context, c *Conn, m record.Outgoing) (seq uint64, err error) {
	b := c.pub.send(ctx, []record.Outgoing{m}, true)
	if b.errs[0] != nil {
		return 0, b.errs[0]
	}
	if b.acks[0].Duplicate {
		return 0, &Error{Op: "publish " + m.Subject, Class: ErrDuplicate, Hint: hints[ErrDuplicate]}
	}
	return b.acks[0].Sequence, nil
}

// A publisher sends batches and matches the acknowledgements by reply subjects of its own: <prefix><batch>.<index>.
type publisher struct {
	conn   *Conn
	prefix string
	slots  chan struct{} // one for each message in flight

	mu      sync.Mutex
	sub     *nats.Subscription
	batches map[uint64]*batch
	next    uint64
}

func newPublisher(c *Conn) *publisher {
	p := &publisher{
		conn:    c,
		prefix:  c.nc.NewInbox() + ".",
		slots:   make(chan struct{}, maxInFlight),
		batches: map[uint64]*batch{},
	}
	c.listen(listener{
		disconnected: func() { p.failAll(nil, nats.ErrDisconnected) },
		denied:       func(subject string, err error) { p.failAll(&subject, err) },
	})
	return p
}

// A batch is one call of Publish.
type batch struct {
	id       uint64
	subjects []string
	sizes    []int         // of the bodies
	keep     bool          // keep the acknowledgements
	slots    chan struct{} // the publisher's
	progress chan struct{} // signalled, with room for one, at each answer

	mu     sync.Mutex
	state  []messageState
	errs   []error
	acks   []jetstream.PubAck // when keep
	left   int                // how many are in flight
	failed bool               // some error is set
}

// messageState is where one message of a batch is. Only in flight it holds a slot.
type messageState uint8

const (
	waiting  messageState = iota // to be sent, or to be sent again
	inFlight                     // sent, not answered
	answered                     // stored, or its error is set
)

// settle records the answer to message i. It does nothing when that is not in flight.
func (b *batch) settle(i int, ack jetstream.PubAck, err error, next messageState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i < 0 || i >= len(b.state) || b.state[i] != inFlight {
		return
	}
	b.state[i] = next
	b.left--
	<-b.slots
	switch {
	case err != nil:
		b.errs[i], b.failed = err, true
	case b.keep:
		b.acks[i] = ack
	}
	select {
	case b.progress <- struct{}{}:
	default:
	}
}

// fail ends every message that has no answer, and gives their slots back.
func (b *batch) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, s := range b.state {
		if s == answered {
			continue
		}
		if s == inFlight {
			b.left--
			<-b.slots
		}
		b.state[i] = answered
		b.errs[i], b.failed = wrap("publish "+b.subjects[i], err), true
	}
}

// Publish implements worker.Publisher.
func (p *publisher) Publish(ctx context.Context, msgs []record.Outgoing) []error {
	if len(msgs) == 0 {
		return nil
	}
	b := p.send(ctx, msgs, false)
	if !b.failed {
		return nil
	}
	return b.errs
}

// send returns the finished batch, on which nothing works any more.
func (p *publisher) send(ctx context.Context, msgs []record.Outgoing, keep bool) *batch {
	b := &batch{
		subjects: make([]string, len(msgs)), sizes: make([]int, len(msgs)), keep: keep, slots: p.slots, progress: make(chan struct{}, 1),
		state: make([]messageState, len(msgs)), errs: make([]error, len(msgs)),
	}
	if keep {
		b.acks = make([]jetstream.PubAck, len(msgs))
	}
	for i := range msgs {
		b.subjects[i], b.sizes[i] = msgs[i].Subject, len(msgs[i].Data)
	}
	if err := p.register(b); err != nil {
		b.fail(err)
		return b
	}
	defer func() {
		p.forget(b)
		p.conn.troubles.published(b)
	}()
	for try := 1; ; try++ {
		again, err := p.round(ctx, b, msgs)
		switch {
		case err != nil:
			b.fail(err)
			return b
		case !again:
			return b
		case try == noStreamTries:
			b.fail(jetstream.ErrNoStreamResponse)
			return b
		case clock.Pause(ctx, noStreamWait) != nil:
			b.fail(ctx.Err())
			return b
		}
	}
}

// round sends what waits and returns when all of it is answered, and whether some of it must be sent again.
func (p *publisher) round(ctx context.Context, b *batch, msgs []record.Outgoing) (again bool, err error) {
	silence := time.NewTimer(ackSilence)
	defer silence.Stop()
	silent := fmt.Errorf("%w: no acknowledgement for %s", nats.ErrTimeout, ackSilence)
	for i := range msgs {
		b.mu.Lock()
		skip := b.state[i] != waiting
		b.mu.Unlock()
		if skip {
			continue
		}
		select {
		case p.slots <- struct{}{}:
		default:
			silence.Reset(ackSilence)
			select {
			case p.slots <- struct{}{}:
			case <-silence.C:
				return false, silent
			case <-ctx.Done():
				return false, ctx.Err()
			}
		}
		p.sendOne(b, i, &msgs[i])
	}
	silence.Reset(ackSilence)
	for {
		b.mu.Lock()
		left := b.left
		b.mu.Unlock()
		if left == 0 {
			b.mu.Lock()
			defer b.mu.Unlock()
			return slices.Contains(b.state, waiting), nil
		}
		select {
		case <-b.progress:
			silence.Reset(ackSilence)
		case <-silence.C:
			return false, silent
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// sendOne sends message i, for which a slot is held.
func (p *publisher) sendOne(b *batch, i int, m *record.Outgoing) {
	b.mu.Lock()
	b.state[i] = inFlight
	b.left++
	b.mu.Unlock()

	out := nats.Msg{Subject: m.Subject, Data: m.Data}
	out.Reply = p.prefix + strconv.FormatUint(b.id, 36) + "." + strconv.FormatUint(uint64(i), 36) //nolint:gosec // an index
	out.Header = make(nats.Header, len(m.Header)+1)
	for k, v := range m.Header {
		out.Header[k] = v
	}
	if m.ID != "" {
		out.Header[jetstream.MsgIDHeader] = []string{m.ID}
	}
	if err := p.conn.nc.PublishMsg(&out); err != nil {
		b.settle(i, jetstream.PubAck{}, wrap("publish "+m.Subject, err), answered)
	}
}

func (p *publisher) register(b *batch) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sub == nil || !p.sub.IsValid() {
		sub, err := p.conn.nc.Subscribe(p.prefix+"*.*", p.answer)
		if err != nil {
			return err
		}
		// Answers are small and counted by slots; they must never be dropped as those of a slow consumer.
		if err := sub.SetPendingLimits(-1, -1); err != nil {
			return err
		}
		p.sub = sub
	}
	b.id = p.next
	p.next++
	p.batches[b.id] = b
	return nil
}

func (p *publisher) forget(b *batch) {
	p.mu.Lock()
	delete(p.batches, b.id)
	p.mu.Unlock()
}

// answer handles one acknowledgement. Those of batches that were given up find nobody and are dropped.
func (p *publisher) answer(m *nats.Msg) {
	id, index, ok := bytes.Cut([]byte(m.Subject[len(p.prefix):]), []byte("."))
	if !ok {
		return
	}
	n, err := strconv.ParseUint(string(id), 36, 64)
	if err != nil {
		return
	}
	i, err := strconv.ParseUint(string(index), 36, 31)
	if err != nil {
		return
	}
	p.mu.Lock()
	b := p.batches[n]
	p.mu.Unlock()
	if b == nil {
		return
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		b.settle(int(i), jetstream.PubAck{}, nil, waiting)
		return
	}
	if !b.keep && stored(m.Data) {
		b.settle(int(i), jetstream.PubAck{}, nil, answered)
		return
	}
	var ack struct {
		jetstream.PubAck
		Error *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(m.Data, &ack); {
	case err != nil || ack.Error == nil && ack.Stream == "":
		b.settle(int(i), jetstream.PubAck{}, wrap("publish "+b.subject(i), jetstream.ErrInvalidJSAck), answered)
	case ack.Error != nil:
		b.settle(int(i), jetstream.PubAck{}, wrap("publish "+b.subject(i), ack.Error), answered)
	default:
		b.settle(int(i), ack.PubAck, nil, answered)
	}
}

func (b *batch) subject(i uint64) string {
	if i < uint64(len(b.subjects)) {
		return b.subjects[i]
	}
	return ""
}

// stored reports whether an answer is the plain acknowledgement that the server writes nearly always. Any other form is
// parsed.
func stored(data []byte) bool {
	return bytes.HasPrefix(data, []byte(`{"stream":"`)) && !bytes.Contains(data, []byte(`"error"`))
}

// failAll ends messages that have no answer: all of them, or those to one subject.
func (p *publisher) failAll(subject *string, err error) {
	p.mu.Lock()
	all := make([]*batch, 0, len(p.batches))
	for _, b := range p.batches {
		all = append(all, b)
	}
	p.mu.Unlock()
	for _, b := range all {
		for i, s := range b.subjects {
			if subject == nil || *subject == s {
				b.settle(i, jetstream.PubAck{}, wrap("publish "+s, err), answered)
			}
		}
	}
}

var _ worker.Publisher = (*publisher)(nil)
