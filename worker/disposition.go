package worker

import "time"

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
