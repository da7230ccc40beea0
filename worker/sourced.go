package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/original"
	"github.com/idpsync/idpsync/worker/record"
)

// A stream that sources another one stamps what it copies with a time of its own. So an event that came from a leaf node whose
// link was down has a stored time that is long after its first one. The first time is read from the stream that was sourced,
// for domains that are trusted: whoever runs one can give any time.
//
// It counts wherever the stored time counts in judging: it becomes that of the envelope. Which event it is, is said by the
// stored message of our own stream, its origin, with the time at which it arrived there.

// By which time an event is judged that another stream stored first.
const (
	byFirst      = "first"      // at which it was stored first; by all others, at which it arrived
	byUntrusted  = "untrusted"  // its domain is not trusted, or not for its tenant
	byGone       = "gone"       // the first message is gone
	byAltered    = "altered"    // the message that is there is another one
	byChained    = "chained"    // the first message was itself copied from another stream
	byLater      = "later"      // the first time would be after the arrival: the two clocks differ
	byUnreadable = "unreadable" // where it was copied from cannot be read
)

// atArrival says, for operators, why an event is judged at its arrival.
var atArrival = map[string]string{
	byUntrusted:  "The event came from another stream that is not trusted to say when it stored it, so that it was judged at its arrival: name the JetStream domain, with this tenant, in trusted_domains, then replay. ",
	byGone:       "The event came from a stream that does not have it any more, so that it was judged at its arrival: have that stream keep its messages for longer (deploy/RUNBOOK.md). ",
	byAltered:    "The event says that it came from a stream that has another message there, so that it was judged at its arrival: find out who published it. ",
	byChained:    "The event came from a stream that has it from another one, so that it was judged at its arrival: source the first stream. ",
	byLater:      "The event came from another stream whose clock is ahead of the broker's, so that it was judged at its arrival. ",
	byUnreadable: "The event came from another stream, and where is not to be read, so that it was judged at its arrival: have all brokers run nats-server 2.10 or later. ",
}

// reasonOriginal is why an event waits whose first time cannot be read now.
const reasonOriginal = "first_time_unavailable"

// settleTime finds out by which time the event is judged. It returns a verdict for one that has to wait for that.
func (w *Worker) settleTime(ctx context.Context, e *event) verdict {
	if e.judgedBy != "" || !e.origin.Stored() || e.env.Door != providers.DoorStream || !record.Sourced(e.header) {
		return nil
	}
	source, ok := record.ParseSource(e.header)
	if !ok {
		w.judgeAt(e, e.arrived(), byUnreadable)
		return nil
	}
	d := w.originals.Domain(source.Domain)
	if d == nil || !w.cfg.TrustedDomains.Trusts(d.Name(), e.env.Tenant) {
		w.judgeAt(e, e.arrived(), byUntrusted) // also one whose domain was trusted when it was parked or refused
		return nil
	}
	if e.knowsFirst() {
		w.judgeAt(e, e.env.StoredAt, byFirst)
		e.copyOf = source.UsedBy(d.Name(), e.env.StoredAt)
		return nil
	}
	if e.original == nil {
		e.original = d.Ask(ctx, source, w.reads)
	}
	o := e.original
	if e.replay != nil { // it stays with its order, which keeps nobody else from a turn
		select {
		case <-o.Ready:
		case <-ctx.Done():
		}
	}
	select {
	case <-o.Ready:
	default:
		return &deferred{reason: reasonOriginal, cause: errNotRead, ready: o.Ready, away: true}
	}
	e.original = nil
	if o.Err != nil && !errors.Is(o.Err, record.ErrNoMessage) {
		return &deferred{reason: reasonOriginal, cause: o.Err, after: o.After, away: true}
	}
	at, by := e.firstTime(source, o)
	w.judgeAt(e, at, by)
	if by == byFirst {
		e.copyOf = source.UsedBy(d.Name(), at)
	}
	return nil
}

var errNotRead = errors.New("the first time of the event is being read")

// arrived is when our own stream stored the event.
func (e *event) arrived() time.Time {
	if e.origin.At.IsZero() { // a record of an earlier version
		return e.env.StoredAt
	}
	return e.origin.At
}

// knowsFirst reports whether the event brought its first time along, from the store or in a dead letter. Both may keep
// microseconds only.
func (e *event) knowsFirst() bool {
	return e.env.StoredAt.Before(e.arrived().Truncate(time.Microsecond))
}

// firstTime is the time by which the event is judged, by what was read, and why.
func (e *event) firstTime(source record.Source, o *original.Reading) (time.Time, string) {
	switch {
	case o.Err != nil:
		return e.arrived(), byGone
	case !source.CopiedFrom(o.Stored, e.header, e.body):
		return e.arrived(), byAltered
	case record.Sourced(o.Stored.Header):
		return e.arrived(), byChained
	case o.Stored.StoredAt.After(e.arrived()):
		return e.arrived(), byLater
	}
	return o.Stored.StoredAt, byFirst
}

// judgeAt has the event be judged by a time.
func (w *Worker) judgeAt(e *event, at time.Time, by string) {
	e.env.StoredAt, e.judgedBy = at, by
	w.metrics.Sourced(by)
	e.note(stepReceive, "first_time", by == byFirst, "judged by "+at.UTC().Format(time.RFC3339Nano)+" ("+by+"), arrived "+e.arrived().UTC().Format(time.RFC3339Nano))
	if by == byFirst || by == byLater {
		return
	}
	if others, due := w.atArrival.Due(w.now()); due {
		w.log.Warn("an event of another stream is judged at its arrival", "tenant", e.env.Tenant, "source", e.env.Source, "stream_seq", e.origin.Sequence, "why", by, "others", others)
	}
}

// timely are the reasons of refusals that another time might not have given.
var timely = []string{"expired", "session_expired", "issued_at", "not_yet_valid", "token_life", "key_not_seen", "retired_key", providers.ReasonCredentialExpired, reasonTooOld}

// tellTime adds to a refusal that another time might not have given, why the event was judged at its arrival.
func (e *event) tellTime() {
	hint := atArrival[e.judgedBy]
	if r := e.rejection(); r != nil && hint != "" && slices.Contains(timely, r.Reason) {
		r.Hint = hint + r.Hint
		r.Details["first_time"] = e.judgedBy
	}
}

// useOnce lets the message that the event was copied from have one effect: whoever may publish to our stream could claim that
// his copy of it came from there, and have it judged by the same time.
func (e *event) useOnce(maxAge time.Duration) {
	if e.copyOf != "" && e.request.Asked.UsedID == nil {
		e.request.Asked.UsedID = &providers.UsedID{ID: e.copyOf, Until: e.env.StoredAt.Add(maxAge)}
	}
}
