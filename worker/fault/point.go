// Package fault lists the places on the way of an event at which something can go wrong, and puts hooks there.
//
// A [Hook] decides at each [Point] whether the step fails, hangs, or ends the process: worker/workertest takes hooks from
// tests, and [FromEnvironment] ends the process at a [Crash] that worker/chaostest has named. All of it goes around the parts
// of a worker from outside, through worker/assemble; the pipeline does not know of it, and the product does not hold it.
package fault

import (
	"context"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/record"
)

// A Point is a place on the way of an event at which something can go wrong.
type Point string

// The points, in the order in which an event comes to them. An error of a hook after a step loses the answer of the step,
// which has had its effect.
const (
	BeforeFactory  Point = "before factory"  // the provider of a source is about to be made
	BeforeDelivery Point = "before delivery" // a lane is about to be opened, or asked for its next message
	AfterDelivery  Point = "after delivery"  // the message is in hand, and nothing of it is read
	BeforeDrain    Point = "before drain"    // a lane is about to hand out what it has and to end; an error is ignored
	BeforeVerify   Point = "before verify"   // the provider is about to be asked
	BeforeStore    Point = "before store"    // a method of the store is about to be called
	InTransaction  Point = "in transaction"  // all of a batch is written, and nothing is committed
	AfterStore     Point = "after store"     // a method of the store has succeeded
	BeforePublish  Point = "before publish"  // nothing of the results or dead letters is stored by the broker
	AfterPublish   Point = "after publish"   // the broker has them
	BeforeTell     Point = "before tell"     // the broker is about to be told of a message: ack, nak, term, in progress
	AfterTell      Point = "after tell"      // it was told
	BeforeBroker   Point = "before broker"   // dead letters, stranded events or originals are about to be read, or an event to be removed
)

// A Call is what a process is about to do, or has done, at a point.
type Call struct {
	Point     Point
	Method    string            // of the store or the broker; ack, nak, term or in progress of a message; the lane of a delivery
	Outgoing  []record.Outgoing // of a publish
	Publisher worker.Publisher  // before a publish: for a hook that stores a part of it
	Message   worker.Message    // that the broker is told about
	Waits     bool              // the ack is one that waits for the broker, as the last one of a batch does
	Delay     time.Duration     // of a nak
	Source    providers.Source  // of a factory
	Envelope  providers.Envelope
	Tx        *store.Tx
}

// A Hook decides what happens: an error fails the step. It may block, panic, or end the process.
type Hook func(ctx context.Context, c Call) error

// At returns a hook for one point, and all others pass.
func At(p Point, hook Hook) Hook {
	return func(ctx context.Context, c Call) error {
		if c.Point != p {
			return nil
		}
		return hook(ctx, c)
	}
}
