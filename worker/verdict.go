package worker

import (
	"time"

	"github.com/idpsync/idpsync/worker/record"
)

// A verdict is what was decided of an event: [effect], [repeat], [rejected] or [deferred], and nothing else.
type verdict interface{ isVerdict() }

type (
	// effect: the event had its effect, which is durable.
	effect struct{ answer *record.Answer }
	// repeat: the event had its effect before, and gets the answer that it had then.
	repeat struct{ answer *record.Answer }
	// rejected: nothing was written, and nothing will be until somebody changes something.
	rejected struct{ *record.Rejection }
	// deferred: the event cannot be decided yet.
	deferred struct {
		reason string
		after  time.Duration // not worth trying before; zero leaves it to the back-off
		cause  error
		ready  <-chan struct{} // closed when what the event needs has been read; nil: nothing is being read
		away   bool            // an issuer is at fault: the event leaves its consumer, so that it keeps no other from its turn
	}
)

func (effect) isVerdict()    {}
func (repeat) isVerdict()    {}
func (rejected) isVerdict()  {}
func (*deferred) isVerdict() {}

// reject decides that the event is refused.
func (e *event) reject(r *record.Rejection) { e.verdict = rejected{r} }

// wait decides that the event has to wait.
func (e *event) wait(reason string, cause error) { e.verdict = &deferred{reason: reason, cause: cause} }

// decided reports whether nothing is left to be done but to tell.
func (e *event) decided() bool { return e.verdict != nil }

// rejection returns why the event was refused, or nil.
func (e *event) rejection() *record.Rejection {
	if v, ok := e.verdict.(rejected); ok {
		return v.Rejection
	}
	return nil
}

// waiting returns what the event waits for, or nil.
func (e *event) waiting() *deferred {
	v, _ := e.verdict.(*deferred)
	return v
}

// repeated reports whether the event had its effect before.
func (e *event) repeated() bool {
	_, ok := e.verdict.(repeat)
	return ok
}

// code is the error code of the event's rejection, or "".
func (e *event) code() record.Code {
	if r := e.rejection(); r != nil {
		return r.Code
	}
	return ""
}

// deadLettered reports whether the event becomes a dead letter.
func (e *event) deadLettered() bool {
	r := e.rejection()
	return r != nil && r.DeadLetter && !e.counted
}

// A disposition is what the transport of an event is told when its batch is done.
type disposition int

const (
	left   disposition = iota // nothing: the event comes again by itself, or a caller has the answer
	acked                     // the broker may forget the message
	termed                    // the broker may forget the message, whose dead letter is stored
	nakked                    // the broker delivers the message again after a while
	erased                    // the stored message is overwritten first, then acked or termed
	unpark                    // the store may forget the event
)

// disposition is the table from verdict and transport to what is told, once results and dead letters are stored, or kept in
// the database because their streams refuse them. Failed says that they could not be: then the event comes again, and is
// found done.
//
//	             effect, repeat   rejected             deferred                    failed
//	consumer     acked            termed, or acked     nakked; when parked acked   nakked
//	             or erased        or erased            or erased
//	parked       unpark           unpark               left (its row has changed)  left
//	front door   left             left                 left                        left
//	order        left             left                 left                        left
//
// A rejection without a dead letter is acked, and so is one whose dead letter is parked.
func (e *event) disposition(failed bool) disposition {
	waits := e.waiting() != nil
	switch {
	case e.parked != nil && !failed && !waits:
		return unpark
	case e.delivery == nil:
		return left
	case failed, waits && e.staysWithBroker():
		return nakked
	case e.secretive(): // also when it is parked
		return erased
	case e.terms():
		return termed
	}
	return acked
}

// terms reports whether the broker is told that the event ended in a dead letter.
func (e *event) terms() bool { return e.deadLettered() && !e.owed }

// Short waits stay with the broker; see [Worker.park].
const (
	maxNakDelay = 5 * time.Second
	maxNaks     = 3
)

// staysWithBroker reports whether the broker can keep the event for its short wait.
func (e *event) staysWithBroker() bool {
	v := e.waiting()
	return e.delivery != nil && !v.away && v.after <= maxNakDelay && e.delivery.Delivered() <= maxNaks
}
