package worker

import "github.com/idpsync/idpsync/worker/record"

// Hashing happens between preparing and committing, on goroutines of its own: a batch of logins never waits for a
// password, and no more than a few hashes hold their memory at a time. Events with a password to hash leave their batch,
// and each is committed and delivered by itself.

// divert hands the events that have a password to hash to the hashing goroutines and returns the others. When these have
// more than they can take, a caller is told that the worker is busy, and a stored command waits.
func (w *Worker) divert(events []*event) []*event {
	var rest []*event
	for i, e := range events {
		// An order waits for its events, below the lanes; and one that is processed alone must not stand in a queue, where
		// its marker would point at it for what others do.
		if e.replay != nil || e.alone {
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
			e.reject(record.Reject(record.CodeBusy, "hashing_busy", "The worker has more passwords to hash than it can take; try again later."))
		} else {
			e.wait("hashing_busy", nil)
		}
		rest = append(rest, e)
	}
	if rest == nil {
		return events
	}
	return rest
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
