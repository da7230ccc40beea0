package workertest

import (
	"context"
	"sync"
	"time"

	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/assemble"
)

// quickNak is the longest that the broker is asked to wait, unless [Process.NakDelay] is set: how long a worker asks for is a
// matter of its own tests.
const quickNak = 20 * time.Millisecond

// A Delivery is one message in the hands of a process, and what the broker was told of it.
type Delivery struct {
	Lane      string
	Stream    string
	Sequence  uint64
	Delivered uint64
	Told      []string // ack, nak, term; what a hook kept from the broker is not among them
}

// deliveries are all that a process was handed.
type deliveries struct {
	mu   sync.Mutex
	all  []*message
	open []worker.Consumer // not drained to their end yet
}

func (d *deliveries) add(m *message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, m)
}

// recording keeps what the lanes of the process hand out.
func (p *Process) recording(open assemble.Open) assemble.Open {
	return func(ctx context.Context, lane string) (worker.Consumer, error) {
		c, err := open(ctx, lane)
		if err != nil {
			return nil, err
		}
		p.deliveries.mu.Lock()
		defer p.deliveries.mu.Unlock()
		p.deliveries.open = append(p.deliveries.open, c)
		return &consumer{c, lane, p}, nil
	}
}

// A consumer is a lane of a process.
type consumer struct {
	worker.Consumer
	lane string
	p    *Process
}

// Next implements worker.Consumer. A dead process gets nothing any more; what its client had prefetched stays with the
// broker's lease until [Process.Kill] ends that.
func (c *consumer) Next(ctx context.Context) (worker.Message, error) {
	next, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-c.p.hooks.died:
			cancel()
		case <-stop:
		}
	}()
	m, err := c.Consumer.Next(next)
	if err != nil {
		if ctx.Err() == nil && next.Err() != nil {
			return nil, worker.ErrConsumerClosed
		}
		return nil, err
	}
	w := &message{Message: m, lane: c.lane, nakDelay: c.p.NakDelay}
	c.p.deliveries.add(w)
	return w, nil
}

// A message is one delivery, which remembers what the broker was told of it.
type message struct {
	worker.Message
	lane     string
	nakDelay time.Duration

	mu   sync.Mutex
	told []string
}

func (m *message) tell(method string, err error) error {
	if err == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.told = append(m.told, method)
	}
	return err
}

func (m *message) Ack() error                        { return m.tell("ack", m.Message.Ack()) }
func (m *message) AckSync(ctx context.Context) error { return m.tell("ack", m.Message.AckSync(ctx)) }

func (m *message) Term(reason string) error { return m.tell("term", m.Message.Term(reason)) }

// NakWithDelay implements worker.Message. Tests have no time to wait for as long as workers ask.
func (m *message) NakWithDelay(delay time.Duration) error {
	return m.tell("nak", m.Message.NakWithDelay(min(delay, m.nakDelay)))
}

func (m *message) delivery() Delivery {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Delivery{Lane: m.lane, Stream: m.Stream(), Sequence: m.Sequence(), Delivered: m.Delivered(), Told: append([]string(nil), m.told...)}
}
