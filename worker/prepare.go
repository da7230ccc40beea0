package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/directory"
	"github.com/idpsync/idpsync/worker/poison"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/rules"
)

// prepareAll takes every undecided event through verification, validation and role checks, on as many goroutines as
// there are processors to use. A goroutine that an event ends is replaced.
func (w *Worker) prepareAll(ctx context.Context, events []*event) {
	var next atomic.Int64
	var wg sync.WaitGroup
	var work func()
	work = func() {
		slot := w.guard.Slot()
		defer slot.Release()
		ended := true
		defer func() {
			if ended {
				wg.Go(work)
			}
		}()
		for i := int(next.Add(1)) - 1; i < len(events); i = int(next.Add(1)) - 1 {
			w.prepareIn(ctx, slot, events[i])
			runtime.Gosched() // a batch is long; whoever has a single event to process should not wait for a time slice
		}
		ended = false
	}
	for range max(1, min(w.cfg.Parallel, (len(events)+7)/8)) {
		wg.Go(work)
	}
	wg.Wait()
}

// prepareIn prepares an event while its origin stands in a slot.
func (w *Worker) prepareIn(ctx context.Context, slot poison.Slot, e *event) {
	slot.Set(e.origin)
	defer slot.Clear()
	w.prepare(ctx, e)
}

// prepare does all that needs neither the user's rows nor a policy. A panic or runtime.Goexit on the way is contained: it
// is the event's fault until somebody shows otherwise, and the other events go on.
func (w *Worker) prepare(ctx context.Context, e *event) {
	if e.decided() {
		return
	}
	ended := true
	defer func() {
		if p := recover(); ended {
			w.log.Error("panic while verifying an event", "subject", e.subject, "event_id", e.env.EventID, "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			r := record.Reject(record.CodeInternal, "panic", "The event made its verification fail in an unforeseen way.")
			r.Hint = "Report the stack from the worker's log; the event can be replayed after an upgrade."
			e.reject(r)
		}
	}()
	w.judge(ctx, e, w.verify)
	ended = false
}

// judge verifies an event by the directory in memory, and by a newer one before it is refused for what that one lacks.
func (w *Worker) judge(ctx context.Context, e *event, verify func(context.Context, *directory.Directory, *event) verdict) {
	if v := w.settleTime(ctx, e); v != nil {
		e.verdict = v
		return
	}
	defer e.tellTime()
	dir := w.directories.Current()
	e.verdict = verify(ctx, dir, e)
	if !e.lacksDirectory() {
		return
	}
	if w.database.Open() { // nobody could tell
		e.verdict = &deferred{reason: "directory_unavailable", cause: store.ErrUnavailable}
		return
	}
	// The directory may have been changed after it was read here and before the event came.
	fresh, err := w.directories.Fresh(ctx, e.asOf())
	switch {
	case err != nil:
		e.verdict = &deferred{reason: "directory_unavailable", cause: err}
	case fresh != dir:
		e.verdict = verify(ctx, fresh, e)
	}
}

// lacksDirectory reports whether the event is refused, or would be if its user were not there, for what the directory lacks.
func (e *event) lacksDirectory() bool {
	r := e.request.Draft.Refusal
	if v, ok := e.verdict.(rejected); ok {
		r = v.Rejection
	}
	return r != nil && r.Directory
}

// verify takes an event through verification, validation and role checks by the given directory. It returns nil for one that
// is to be decided.
func (w *Worker) verify(ctx context.Context, dir *directory.Directory, e *event) verdict {
	e.revision = dir.Revision
	e.request = rules.Request{}
	tenant := dir.Tenant(e.env.Tenant)
	if tenant == nil {
		return w.refuseUnknownTenant(ctx, e.env)
	}
	src := tenant.Source(e.env.Source)
	if src == nil || !src.Carries(e.env.Shape) {
		return fromDirectory(record.CodeUnknownSource, "There is no such source in this tenant for events of this kind.",
			"Declare the source with idpsync apply, then replay.")
	}
	e.request = rules.Request{Action: e.address.Action, Tenant: &tenant.Tenant, Source: &src.Source, Event: &e.env}
	e.env.Trace.Add(providers.Check{Step: stepReceive, Name: "source", OK: true, Detail: string(src.Kind) + " source " + src.Name + " of tenant " + tenant.Name})
	if src.Err != nil {
		return &deferred{reason: "source_misconfigured", cause: src.Err}
	}
	if w.age(e) > src.MaxAge() && !e.env.Replayed && (e.parked == nil || e.parked.Attempts == 0) {
		r := record.Reject(record.CodeUnauthenticated, reasonTooOld, "The event waited longer than its source allows before it was first processed.")
		r.Hint = "Raise max_event_age of the source if events may wait that long; a replay is not bounded by it."
		return rejected{r}
	}
	req, err := src.Provider.Verify(ctx, e.env)
	if err != nil {
		return refusalOf(err)
	}
	e.request.Asked = req
	e.useOnce(src.MaxAge())
	if r := e.checkScope(); r != nil {
		return rejected{r}
	}
	faults, refusal := e.request.Check(w.passwords())
	e.traceRequest(faults, refusal)
	if req.Identity == nil && refusal != nil {
		return rejected{refusal}
	}
	return nil
}

// reasonTooOld is why an event is refused that waited longer than its source allows.
const reasonTooOld = "event_too_old"

// age is how long ago the event came, by the clock that stamped it: what the broker stored is as old as the broker says, and
// what a front door received goes by the time that all workers share.
func (w *Worker) age(e *event) time.Duration {
	now := w.now
	if e.env.Door == providers.DoorStream {
		now = w.cfg.BrokerNow
	}
	return max(0, now().Sub(e.env.StoredAt))
}

// passwords is how this worker takes passwords.
func (w *Worker) passwords() rules.Passwords {
	return rules.Passwords{Unseal: w.cfg.Unseal, Durable: w.cfg.DurablePasswords, Weak: w.cfg.WeakHashes}
}

// refuseUnknownTenant rejects an event of a tenant that the directory does not have. Only who proves a right to know learns
// that: a command is verified as if the tenant were there, so that an outsider finds no difference. Logins and feeds
// come through the broker alone, whose permissions name the tenant.
func (w *Worker) refuseUnknownTenant(ctx context.Context, env providers.Envelope) verdict {
	err := w.directories.VerifyUnknownTenant(ctx, env)
	if err == nil {
		return fromDirectory(record.CodeUnknownTenant, "There is no such tenant.", "Declare the tenant with idpsync apply, then replay.")
	}
	v := refusalOf(err)
	if r, ok := v.(rejected); ok {
		r.Directory = true
	}
	return v
}

// fromDirectory is a rejection that another directory might not make.
func fromDirectory(code record.Code, message, hint string) verdict {
	r := record.Reject(code, "", message)
	r.Hint, r.Directory = hint, true
	return rejected{r}
}

// refusalOf turns a provider's error into a rejection, or a wait.
func refusalOf(err error) verdict {
	var pe *providers.Error
	if errors.As(err, &pe) && errors.Is(pe.Class, providers.ErrUnavailable) {
		return &deferred{reason: pe.Reason, after: pe.RetryAfter, cause: err, ready: pe.Ready, away: pe.Away}
	}
	if pe == nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return &deferred{reason: "interrupted", cause: err}
	}
	return rejected{record.RejectionOf(err)}
}

// maxRenewals bounds how often an event is verified again because the directory keeps changing.
const maxRenewals = 3

// renew verifies events again by the directory in force. A login that was let in by the one before could bring back an
// identity that apply has just moved or ended.
func (w *Worker) renew(ctx context.Context, events []*event) {
	if len(events) == 0 {
		return
	}
	err := w.directories.Reload(ctx)
	for _, e := range events {
		e.renewed++
		switch {
		case err != nil:
			e.wait("directory_unavailable", err)
		case e.renewed > maxRenewals:
			e.wait("directory_changed", nil)
		}
	}
	w.prepareAll(ctx, events)
	for _, e := range events {
		e.hashPassword()
	}
}
