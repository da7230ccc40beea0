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
