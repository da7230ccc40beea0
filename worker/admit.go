package worker

import (
	"context"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/directory"
	"github.com/idpsync/idpsync/worker/record"
)

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
