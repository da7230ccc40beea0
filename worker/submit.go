package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/directory"
	"github.com/idpsync/idpsync/worker/record"
)

// A Submission is one command that a front door received.
type Submission struct {
	Subject    string // as on the broker, idpsync.rpc.…; the HTTP door makes it from the path and the credential's tenant
	Door       providers.Door
	Header     providers.Header
	Payload    []byte
	ReceivedAt time.Time
	EventID    string // Idempotency-Key, when the headers name no event; "" makes a new one
}

// Submit takes one command through the same pipeline as the events of the streams and waits for its answer. While the
// database is known to be away, the answer is unavailable at once. When ctx ends before, or the worker stops, it is busy
// or unavailable; the command may still take effect, and sending it again under the same event id gives the true answer.
func (w *Worker) Submit(ctx context.Context, s Submission) (record.Answer, providers.Header) {
	reply := make(chan record.Answer, 1)
	e, refusal := w.submitted(s, reply, func(e *event) { e.open(s.Header, s.Payload) })
	if refusal != nil {
		return w.refused(e, refusal)
	}
	l := w.laneFor(e)
	if ok, _, _ := w.leases.loads.Room(l.name, e.env.Tenant); !ok {
		return w.refused(e, record.Reject(record.CodeBusy, "", "The worker has more to do than it can take; try again later."))
	}
	if !l.enter(e) {
		return w.refused(e, record.Reject(record.CodeUnavailable, "stopping", "The worker is stopping; try again."))
	}
	select {
	case a := <-reply:
		return a, a.Headers(e.env.Tenant, e.env.Source, e.env.EventID)
	case <-ctx.Done():
		return w.refused(e, record.Reject(record.CodeUnavailable, "timeout", "The answer took too long; send the request again under the same event id."))
	case <-w.stopped:
		select {
		case a := <-reply:
			return a, a.Headers(e.env.Tenant, e.env.Source, e.env.EventID)
		default:
			return w.refused(e, record.Reject(record.CodeUnavailable, "stopping", "The worker is stopping; send the request again under the same event id."))
		}
	}
}

// submitted makes the event of a submission, which open opens. A refusal means that nothing can be done for any submission now.
func (w *Worker) submitted(s Submission, reply chan<- record.Answer, open func(*event)) (*event, *record.Rejection) {
	e := &event{message: message{subject: s.Subject, transport: transport{reply: reply}}}
	faulty := checkEventID(s.EventID)
	if faulty != nil { // it is repeated nowhere
		s.EventID = ""
	}
	e.env = providers.Envelope{Door: s.Door, StoredAt: s.ReceivedAt, EventID: s.EventID}
	if e.env.EventID == "" {
		id, err := uuid.NewV7FromReader(w.cfg.Rand)
		if err != nil {
			return e, record.Reject(record.CodeInternal, "random", fmt.Sprintf("No event id could be made: %v.", err))
		}
		e.env.EventID = id.String()
	}
	open(e)
	if faulty != nil {
		e.reject(record.Reject(record.CodeMalformed, "event_id", faulty.Error()))
	}
	if w.database.Open() {
		return e, record.Reject(record.CodeUnavailable, "database", unreachable)
	}
	return e, nil
}

func (w *Worker) refused(e *event, r *record.Rejection) (record.Answer, providers.Header) {
	a := record.Rejected(r, w.now())
	a.CameIn = e.cameIn()
	return *a, a.Headers(e.env.Tenant, e.env.Source, e.env.EventID)
}

// Admit judges a submission by its headers alone, before its payload is there, so that nobody who proves no credential has
// a front door read anything of theirs. It makes the checks that the pipeline makes first, by the same code, and returns true
// when they pass; else the answer is the one that Submit would give. What passes is judged again when it is submitted.
//
// Where a token needs keys that have to be read, Admit waits for them, until ctx ends.
func (w *Worker) Admit(ctx context.Context, s Submission) (record.Answer, providers.Header, bool) {
	reply := make(chan record.Answer, 1) // the event is that of a caller, whom Admit's caller answers
	e, refusal := w.submitted(s, reply, func(e *event) { e.openHeaders(s.Header) })
	if refusal != nil {
		a, h := w.refused(e, refusal)
		return a, h, false
	}
	e.due = w.now()
	if !e.decided() {
		w.admit(ctx, e)
	}
	if !e.decided() {
		return record.Answer{}, nil, true
	}
	a := e.answered(w.now())
	if r := e.rejection(); r != nil {
		w.logRejection(e, r)
		w.metrics.Outcome(e.env.Source, string(e.env.Door), string(a.Outcome), string(e.code()))
	}
	return *a, a.Headers(e.env.Tenant, e.env.Source, e.env.EventID), false
}

// admit leaves an event undecided whose sender is proved.
func (w *Worker) admit(ctx context.Context, e *event) {
	for range maxAsides {
		w.judge(ctx, e, w.proveSender)
		ready := e.ready()
		if ready == nil {
			return
		}
		select {
		case <-ready:
			e.resume()
		case <-ctx.Done():
			return
		}
	}
	w.judge(ctx, e, w.proveSender)
}

// proveSender returns nil for an event whose sender is proved. Only the tokens of sources depend on the directory; for those it
// makes no difference whether it has the tenant, so that the time that a refusal takes does not tell either.
func (w *Worker) proveSender(ctx context.Context, _ *directory.Directory, e *event) verdict {
	err := w.directories.ProveSender(ctx, e.env)
	if err == nil {
		return nil
	}
	v := refusalOf(err)
	if r, ok := v.(rejected); ok && providers.HoldsJWT(e.env.Header) {
		r.Directory = true
	}
	return v
}
