package worker

import (
	"context"
	"errors"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
)

// A Message is one delivery of one event from a durable consumer.
//
// Exactly one of the four dispositions is told to the broker per delivery: Ack, AckSync, NakWithDelay or Term.
// InProgress may be called any number of times before it. Methods are safe for use from one goroutine at a time.
type Message interface {
	Subject() string
	Header() providers.Header
	Data() []byte

	Stream() string           // name of the stream
	StreamCreated() time.Time // when the stream was created; a recreated one counts its sequences from 1 again
	Sequence() uint64         // stream sequence
	StoredAt() time.Time      // JetStream's own timestamp
	Delivered() uint64        // NumDelivered: 1 for the first delivery

	Ack() error                        // does not wait for the broker
	AckSync(ctx context.Context) error // waits until the broker has it, and so, by order, every earlier Ack of this connection
	NakWithDelay(delay time.Duration) error
	InProgress() error // restarts AckWait
	Term(reason string) error
}

// ErrConsumerClosed is returned by [Consumer.Next] once a drained consumer has handed out what it had prefetched.
var ErrConsumerClosed = errors.New("consumer closed")

// A Consumer is one lane: a durable pull consumer with back-pressure.
type Consumer interface {
	// Next waits for a message. It survives reconnects and restarts of the broker; it returns ctx's error, or
	// ErrConsumerClosed after Drain. Only one goroutine calls it.
	Next(ctx context.Context) (Message, error)
	// Drain stops pulling. Next goes on handing out what was prefetched, then returns ErrConsumerClosed.
	Drain()
}

// A Publisher stores messages in streams. It is safe for concurrent use.
type Publisher interface {
	// Publish sends all messages and waits for every PubAck. The answer holds one error per message, in order; nil means
	// that the broker has stored it, now or earlier under the same id. A nil slice means that all were stored.
	Publish(ctx context.Context, msgs []record.Outgoing) []error
}

// An Authorizer asks the policies. It is safe for concurrent use and does no I/O.
type Authorizer interface {
	// Authorize decides one request. It never fails open: an evaluation error is a denial with PolicyError set.
	Authorize(ctx context.Context, req record.AuthorizationRequest) record.Decision
}
