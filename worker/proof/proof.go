// Package proof proves that no event was lost and none had two effects, by what broker and database hold and not by what
// any worker says.
//
// Every message that IDPSYNC_EVENTS ever stored must wait there still, be parked, have a row in the ledger with exactly one
// result, have a rejected result, with its dead letter (stored or parked) if the result names one, or a summary, or have brought an event that another
// message had brought. What is none of these is unaccounted for. What had two effects, or two results that differ, is
// duplicated. The ledger is kept for a time only: of events from before it begins nothing is asked, nor of those from before an operator
// accepted a gap, or whose stream is not there any more.
//
// Workers may run meanwhile. What is not done yet is read before what is: an event that is done when the first list is read
// has left all of its traces when the last one is. Reading takes time nevertheless, and an event under way may look like one
// that is lost, which is why [Confirmed] looks twice.
package proof

import (
	"context"
	"iter"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

// Options are what a proof is made from.
type Options struct {
	Store    Store
	Broker   Broker
	Sealer   record.Sealer                               // tells genuine dead letters from others; nil: their form alone does
	Since    time.Time                                   // only events stored since; zero: all
	Expected []store.EventKey                            // what was published, without scopes; nil: there is no list
	Progress func(label string) (add func(), end func()) // begins to show how far the reading of one list is; may be nil
}

// Store is the part of the database that a proof reads.
type Store interface {
	ParkedAfter(ctx context.Context, id int64, n int) ([]store.Waiting, error)
	CountedAfter(ctx context.Context, attempt string, n int) ([]store.Counted, error)
	OutboxAfter(ctx context.Context, id string, n int) ([]string, error)
	RepeatsAfter(ctx context.Context, since time.Time, origin string, n int) ([]store.Repeat, error)
	Events(ctx context.Context, f store.EventFilter) ([]store.Event, error)
	Event(ctx context.Context, key store.EventKey) (store.Event, error)
	Retention(ctx context.Context) (store.Retention, error)
	Marks(ctx context.Context) ([]store.Mark, error)
}

// Broker is the part of the broker that a proof reads. Foreign is called for each message that no worker wrote; such
// messages are passed over.
type Broker interface {
	Holding(ctx context.Context, name string) (stream.Holding, error)
	Stranded(ctx context.Context) ([]uint64, error)
	Results(ctx context.Context, since time.Time, foreign func()) iter.Seq2[record.Stored, error]
	DeadLetters(ctx context.Context, since time.Time, foreign func()) iter.Seq2[record.Stored, error]
}

// Streams reads the streams of a connection.
func Streams(c *stream.Conn) Broker { return streams{c} }

type streams struct{ conn *stream.Conn }

func (s streams) Holding(ctx context.Context, name string) (stream.Holding, error) {
	return stream.ReadHolding(ctx, s.conn, name)
}

func (s streams) Stranded(ctx context.Context) ([]uint64, error) {
	return stream.StrandedSequences(ctx, s.conn)
}

func (s streams) Results(ctx context.Context, since time.Time, foreign func()) iter.Seq2[record.Stored, error] {
	return stream.Results(ctx, s.conn, stream.Filter{Since: since, Foreign: func(record.Stored) { foreign() }})
}

func (s streams) DeadLetters(ctx context.Context, since time.Time, foreign func()) iter.Seq2[record.Stored, error] {
	return stream.DeadLetters(ctx, s.conn, stream.Filter{Since: since, Foreign: func(record.Stored) { foreign() }})
}

// secondLook lets what is under way arrive before it is looked at again.
const secondLook = 2 * time.Second

// Confirmed takes an account. When something does not add up it takes another one a little later, and keeps the findings
// that both have.
func Confirmed(ctx context.Context, o Options) (*Account, error) {
	first, err := Take(ctx, o)
	if err != nil || first.Holds() {
		return first, err
	}
	timer := time.NewTimer(secondLook)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	second, err := Take(ctx, o)
	if err != nil {
		return nil, err
	}
	second.confirm(first)
	return second, nil
}
