package worker

import (
	"context"
	"errors"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/directory"
	"github.com/idpsync/idpsync/worker/gate"
	"github.com/idpsync/idpsync/worker/outage"
	"github.com/idpsync/idpsync/worker/poison"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/retention"
)

// A Message is one delivery of one event from a durable consumer.
//
// Exactly one of these four ends a delivery: Ack, AckSync, NakWithDelay or Term.
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

// A Broker is what the worker asks of the broker beside its lanes. It is safe for concurrent use.
type Broker interface {
	// DeadLetter returns an entry of IDPSYNC_DEADLETTERS, or ErrNoMessage.
	DeadLetter(ctx context.Context, sequence uint64) (record.Stored, error)
	// OldestDeadLetter returns when the oldest entry of IDPSYNC_DEADLETTERS was stored; when it is empty, when the last one was.
	OldestDeadLetter(ctx context.Context) (time.Time, error)
	// OldestPending returns when the oldest event, or order to replay, that is stored was stored; when there is none, the broker's time.
	OldestPending(ctx context.Context) (time.Time, error)
	// Stranded returns at most limit events that are stored and will never be delivered, with when their stream was made.
	Stranded(ctx context.Context, limit int) ([]record.Stored, time.Time, error)
	// Waiting returns how many events the stream holds for a lane, by tenant, whether they were delivered or not. Those of no
	// tenant stand under "".
	Waiting(ctx context.Context, lane string) (map[string]int, error)
	// Remove deletes an event from its stream; that it is gone already is no error.
	Remove(ctx context.Context, sequence uint64) error
	// Original returns the message of a stream of another JetStream domain. That there is no such message or stream, any more, is
	// ErrNoMessage; any other error says nothing about it.
	Original(ctx context.Context, domain, stream string, sequence uint64) (record.Stored, error)
	retention.Broker
}

// Store is what the worker needs of the store; *store.Store is one.
type Store interface {
	Batch(ctx context.Context, fn func(context.Context, *store.Tx) error) error
	DryRun(ctx context.Context, fn func(context.Context, *store.Tx) error) error
	Park(ctx context.Context, rows []store.Parked) error
	Repark(ctx context.Context, rows []store.Parked) error
	ClaimParked(ctx context.Context, worker string, limit int, lease time.Duration) ([]store.Parked, error)
	DeleteParked(ctx context.Context, ids []int64) error
	ParkLetters(ctx context.Context, letters []store.Parked) error
	ClaimLetters(ctx context.Context, n int, now time.Time, lease time.Duration) ([]store.Parked, error)
	ReleaseLetters(ctx context.Context, letters []store.Parked) error
	CountLetters(ctx context.Context, quota store.LetterQuota, letters []store.Letter) ([]bool, error)
	Refusals(ctx context.Context, attempts []string) (map[string]store.Refusal, error)
	UncountLetters(ctx context.Context, ids []string) error
	UncountLettersBefore(ctx context.Context, t time.Time, n int) (int, error)
	ClaimCounted(ctx context.Context, n int, before, now time.Time, lease time.Duration) ([]store.Counted, error)
	DeleteCounted(ctx context.Context, summary string) error
	IsParked(ctx context.Context, key, former string, stored time.Time) (bool, error)
	Owe(ctx context.Context, results []store.Outbox) error
	ClaimOutbox(ctx context.Context, worker string, age time.Duration, limit int, lease time.Duration) ([]store.Outbox, error)
	DeleteOutbox(ctx context.Context, ids []string) error
	Find(ctx context.Context, lookups []store.Lookup) ([]store.Found, error)
	Avatar(ctx context.Context, tenant, userID string, revision int64) (string, error)
	poison.Store
	outage.Store
	retention.Store
	DeadLetterState
}

// Metrics counts what the worker does. Implementations are safe for concurrent use.
type Metrics interface {
	Stage(name string, events int, took time.Duration) // prepare, commit, deliver
	Outcome(source, door, outcome, code string)
	Parked(events int)
	Counted(events int)  // refused events beyond their quota of dead letters
	gate.Metrics         // of the streams "results" and "deadletters"
	Paused(paused bool)  // the database is away
	Sourced(time string) // an event that another stream stored first: by which time it is judged, see sourced.go
	TrustExpires(ends []directory.TrustEnd)
	ClockSkew(of string, ahead time.Duration) // this host's clock is ahead of the database's, or the broker's
}

// DeadLetterState is what the store says of a dead letter.
type DeadLetterState interface {
	DeadLetter(ctx context.Context, sequence uint64) (store.DeadLetter, error)
	UpsertDeadLetters(ctx context.Context, rows []store.DeadLetter) error
	Audit(ctx context.Context, e store.AuditEntry) error
}

// noMetrics counts nothing.
type noMetrics struct{}

func (noMetrics) Stage(string, int, time.Duration)           {}
func (noMetrics) Outcome(source, door, outcome, code string) {}
func (noMetrics) Counted(int)                                {}
func (noMetrics) Parked(int)                                 {}
func (noMetrics) Kept(string, int)                           {}
func (noMetrics) Refusing(string, bool)                      {}
func (noMetrics) Paused(bool)                                {}
func (noMetrics) Sourced(string)                             {}
func (noMetrics) ClockSkew(string, time.Duration)            {}
func (noMetrics) TrustExpires([]directory.TrustEnd)          {}
