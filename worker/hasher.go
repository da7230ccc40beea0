package worker

import (
	"context"

	"github.com/idpsync/idpsync/worker/record"
)

// Hashing happens between preparing and committing, on goroutines of its own: a batch of logins never waits for a
// password, and no more than a few hashes hold their memory at a time. Events with a password to hash leave their batch,
// and each is committed and delivered by itself.

// divert hands the events that have a password to hash to the hashing goroutines and returns the others. When these have
// more than they can take, a caller is told that the worker is busy, and a stored command waits.
func (w *Worker) divert(events []*event) []*event {
	var rest []*event
	for i, e := range events {
		// An order waits for its events, below the lanes; and one that is processed alone must not stand in a queue, where
		// its breadcrumb would accuse it of what others do.
		if e.replay != nil || e.crumbs {
			e.hashPassword()
		}
		if e.decided() || e.request.Draft.Password == "" {
			if rest != nil {
				rest = append(rest, e)
			}
			continue
		}
		if rest == nil {
			rest = append(make([]*event, 0, len(events)), events[:i]...)
		}
		select {
		case w.hashing <- e:
			continue
		default:
		}
		if e.reply != nil {
			e.rejection = record.Reject(record.CodeBusy, "hashing_busy", "The worker has more passwords to hash than it can take; try again later.")
		} else {
			e.wait = &wait{reason: "hashing_busy"}
		}
		rest = append(rest, e)
	}
	if rest == nil {
		return events
	}
	return rest
}

// hash works on diverted events until stop is closed and none is left. Work ends at once when hard does.
func (w *Worker) hash(hard context.Context, stop <-chan struct{}) {
	for hard.Err() == nil {
		select {
		case e := <-w.hashing:
			w.hashOne(hard, e)
			continue
		case <-hard.Done():
			return
		case <-stop:
		}
		select {
		case e := <-w.hashing:
			w.hashOne(hard, e)
		default:
			return
		}
	}
}

func (w *Worker) hashOne(ctx context.Context, e *event) {
	e.hashPassword()
	w.finish(ctx, []*event{e})
}

// hashPassword replaces the password of an event by its hash, if it has one.
func (e *event) hashPassword() {
	if e.decided() {
		return
	}
	if hash, ok := e.request.HashPassword(); ok {
		e.hash = hash
	}
}
