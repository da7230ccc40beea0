package worker

import (
	"bytes"
	"context"
	"slices"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/rules"
)

// What the broker removes after an ack stays in its files until the last message of the same file is done, which an older
// event that waits can put off for days. So a message that held a lasting secret is overwritten before it is acknowledged.
//
// The broker rewrites a whole file for that, 3 ms to 20 ms of its time for each message, so it is done for commands, which
// bring a credential each, and for whatever has a password in it, by one goroutine of each worker, beside the lanes. The
// tokens of logins are short-lived and of one use; those of feeds stay as long as the broker's files do.

// eraseQueue bounds the events that wait to be erased; beyond it the batch that has another one erases it itself.
const eraseQueue = 256

// secretive reports whether the stored message holds a secret that must not stay in the broker's files.
func (e *event) secretive() bool {
	if record.BranchCommands.Holds(e.subject) {
		return true
	}
	if e.request.Asked.Principal.Kind != "" { // it was read
		bare := func(s providers.Secret) bool { return s != "" && !rules.Sealed(s) }
		return bare(e.request.Asked.Password) || bare(e.request.Asked.PasswordHash)
	}
	return mentionsPassword(e.body) || mentionsPassword(e.env.Payload)
}

// mentionsPassword finds the member even where the body cannot be read. SCIM compares names without case.
func mentionsPassword(body []byte) bool {
	return bytes.Contains(body, []byte("assword")) || bytes.Contains(body, []byte("PASSWORD"))
}

// eraseAside hands over an event that everyone has been told of. It stays leased until it is done with.
func (w *Worker) eraseAside(ctx context.Context, e *event) {
	e.erasing = true
	select {
	case w.erasing <- e:
	default:
		w.erase(ctx, e)
	}
}

// erase overwrites the stored message of an event and then ends its delivery. When it cannot be overwritten it is
// acknowledged nevertheless: keeping it would have the event processed again and again, and the secret stay as well.
func (w *Worker) erase(ctx context.Context, e *event) {
	if err := w.cfg.Broker.Remove(ctx, e.origin.Sequence); err != nil {
		if ctx.Err() != nil {
			return // it goes back to the broker, and is erased when it comes again
		}
		w.log.Warn("message with a secret not overwritten; it stays in the broker's files until they are removed", "stream_seq", e.origin.Sequence, "error", err)
	}
	if e.terms() {
		w.checkDisposed(e, e.delivery.Term(e.termReason()))
	} else {
		w.checkDisposed(e, e.delivery.Ack())
	}
	w.leases.drop([]*event{e}, w.now())
}

// termReason is what the broker is told of a delivery that ended in a dead letter.
func (e *event) termReason() string {
	r := e.rejection()
	return string(r.Code) + " " + r.Reason
}

// checkDisposed logs that the broker could not be told.
func (w *Worker) checkDisposed(e *event, err error) {
	if err != nil {
		w.log.Warn("disposition not told; the event will be delivered again", "stream_seq", e.origin.Sequence, "error", err)
	}
}

// eraseAll erases what is handed over until the queue is closed.
func (w *Worker) eraseAll(ctx context.Context) {
	for e := range w.erasing {
		if ctx.Err() == nil {
			w.erase(ctx, e)
		}
	}
}

// notErasing returns the events that are done with once their batch is.
func notErasing(events []*event) []*event {
	return slices.DeleteFunc(slices.Clone(events), func(e *event) bool { return e.erasing })
}
