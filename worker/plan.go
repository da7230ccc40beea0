package worker

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/rules"
)

// A plan is what one run of a transaction decides for its events. It changes no event until settle, as a transaction
// that loses a race is run again from the start.
type plan struct {
	w        *Worker
	events   []*event
	at       time.Time
	avatar   findPicture // in the transaction
	verdicts []verdict   // nil for those that are deferred or stale
	deferred []*event    // to be decided in the next transaction, when this one's rows are there
	stale    []*event    // verified by a directory that is no longer in force
	write    store.Write
	batch    *rules.Overlay
}

func (w *Worker) newPlan(events []*event) *plan {
	return &plan{
		w: w, events: events, at: w.now().UTC().Truncate(time.Microsecond),
		verdicts: make([]verdict, len(events)), batch: rules.NewOverlay(),
	}
}

func (p *plan) run(ctx context.Context, tx *store.Tx) error {
	p.avatar = tx.Avatar
	lookups := make([]store.Lookup, len(p.events))
	for i, e := range p.events {
		lookups[i] = lookupOf(e)
	}
	found, err := find(ctx, tx, lookups)
	if err != nil {
		return fmt.Errorf("find: %w", err)
	}
	for i, e := range p.events {
		v, err := p.decide(ctx, e, p.batch.Over(lookups[i], found[i]))
		if err != nil {
			return err
		}
		p.verdicts[i] = v
	}
	if err := tx.Write(ctx, p.write); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// find looks up what there is. Keys and rows are read by statements of their own, and in between another worker may have
// given the user this very identity: whose address seems to belong to another one is looked up again.
func find(ctx context.Context, tx *store.Tx, lookups []store.Lookup) ([]store.Found, error) {
	found, err := tx.Find(ctx, lookups)
	if err != nil {
		return nil, err
	}
	var again []store.Lookup
	var at []int
	for i, f := range found {
		if u := cmp.Or(f.ByEmail, f.Waiting); lookups[i].Subject != "" && f.Event == nil && f.ByIdentity == nil && u != nil && u.HasIdentity > 0 {
			again, at = append(again, lookups[i]), append(at, i)
		}
	}
	if len(again) == 0 {
		return found, nil
	}
	newer, err := tx.Find(ctx, again)
	if err != nil {
		return nil, err
	}
	for n, i := range at {
		found[i] = newer[n]
	}
	return found, nil
}

func lookupOf(e *event) store.Lookup {
	l := store.Lookup{
		Tenant: e.env.Tenant, Source: e.env.Source, EventID: e.env.EventID, Scope: e.scope(),
		EmailKey: e.request.Draft.Email.Key, IdentityNameKey: e.request.Draft.IdentityKey, NameSkeleton: e.request.Draft.NameSkeleton,
		Owner: e.request.Tenant.OwnerKey != "" && e.request.Tenant.OwnerKey == e.request.Draft.Email.Key,
	}
	if e.cameBefore() {
		l.Origin = e.storedAs()
	}
	if id := e.request.Asked.Identity; id != nil {
		l.Issuer, l.Subject = id.Issuer, id.Subject
		if e.request.Draft.EmailReserved {
			l.WaitingEmailKey = e.request.Draft.Email.Key
		}
	} else {
		l.OwnEmailKey = e.request.Draft.Email.Key
	}
	if u := e.request.Asked.UsedID; u != nil {
		l.UsedID = u.ID
	}
	return l
}

// settle hands the decisions to the events, once they are durable.
func (p *plan) settle() {
	for i, e := range p.events {
		e.verdict = p.verdicts[i]
	}
}

// decide decides one event by what was found. It returns nil for one that is decided later: in the next transaction, or by
// the newest directory.
func (p *plan) decide(ctx context.Context, e *event, found store.Found) (verdict, error) {
	if row := e.earlier(&found); row != nil {
		return p.decideAgain(ctx, e, row)
	}
	if u := found.Used; u != nil && u.EventID != e.env.EventID {
		return rejected{record.Reject(record.CodeUnauthenticated, "assertion_replayed", "The token or assertion was used by another event before.")}, nil
	}
	if e.env.StoredAt.Before(found.HistoryFrom) && !e.env.Replayed {
		return rejected{beforeHistory()}, nil
	}
	if found.Revision != e.revision {
		p.stale = append(p.stale, e)
		return nil, nil
	}
	if e.request.Asked.Identity != nil && found.ByIdentity == nil && p.batch.Waits(e.env.Tenant, e.request.Draft.Email.Key) {
		p.deferred = append(p.deferred, e) // how many wait with this address is told by the database alone
		return nil, nil
	}
	res, refusal := e.request.Resolve(found)
	e.traceIdentity(found, res, refusal)
	if refusal != nil {
		return rejected{refusal}, nil
	}
	if (res.Outcome == record.OutcomeLinked || res.Outcome == record.OutcomeUpdated) && p.batch.Touches(res.User.ID) { // a user is written once in a transaction
		p.deferred = append(p.deferred, e)
		return nil, nil
	}
	asked, decision := p.w.authorize(ctx, e, res)
	e.traceDecision(decision, res.Outcome == record.OutcomeLinked)
	grants, refusal := e.request.Permit(res, decision)
	if refusal != nil {
		return rejected{refusal}, nil
	}
	user, effects, err := p.effects(e, res, grants)
	if err != nil {
		return nil, err
	}
	if e.env.Trace.Enabled() {
		e.note(stepWrite, string(res.Outcome), true, writes(&e.request, effects))
	}
	answer := p.w.answer(e, res, grants, user)
	answer.At, answer.Origin = e.decidedAt(p.at), e.storedAs()
	answer.Policies, answer.Notices, answer.Request = decision.Policies, grants.Notices(decision), &asked
	p.record(e, answer, user)
	return effect{answer}, nil
}

// beforeHistory is the rejection of an event from before the ledger begins: it may have had its effect, and what was known of
// that is deleted. An operator who replays it has decided that.
func beforeHistory() *record.Rejection {
	r := record.Reject(record.CodeUnauthenticated, "before_history", "The event was stored before the time that the ledger reaches back to.")
	r.Hint = "Nothing tells any more whether it had its effect. Look for its user; then replay or discard it."
	return r
}

// decideAgain decides an event that the ledger has.
func (p *plan) decideAgain(ctx context.Context, e *event, row *store.Event) (verdict, error) {
	if !slices.Equal(row.PayloadHash, e.hash[:]) {
		r := record.Reject(record.CodeEventIDConflict, "", "Another event with this id and another content was processed before.")
		r.Hint = "The sender used one event id twice; have it send the event again under an id of its own, and discard this one."
		return rejected{r}, nil
	}
	find := p.avatar
	if avatar, ok := p.batch.Picture(row.Key()); ok { // its user may not be stored yet
		find = func(context.Context, string, string, int64) (string, error) { return avatar, nil }
	}
	again, err := e.answerAgain(ctx, find, row)
	if err != nil {
		return nil, err
	}
	p.repeat(e, row)
	return repeat{again}, nil
}

// answer is the answer to an event that had an effect.
func (w *Worker) answer(e *event, res rules.Resolution, g rules.Grants, user *store.User) *record.Answer {
	shape := e.request.ResponseShape()
	a := &record.Answer{
		Outcome: res.Outcome, Status: res.Outcome.Status(), UserID: user.ID, Attempt: e.attempt, Scope: e.scope(), Credential: e.credential(),
	}
	if res.Outcome == record.OutcomeExists {
		if a.SetUnchanged(shape, user, w.cfg.ResultSize); e.wantsPicture(a) {
			a.SetPicture(user.Avatar)
		}
	} else {
		a.Body = record.UserBody(shape, user, g.Asked())
	}
	a.Dropped = g.Dropped
	if shape == providers.ShapeOrganization {
		a.ContentLocation = user.IdentityName
	}
	return a
}

// authorize asks the policies, with all that is known of the request.
func (w *Worker) authorize(ctx context.Context, e *event, res rules.Resolution) (record.AuthorizationRequest, record.Decision) {
	asked := e.request.Authorization(res, w.age(e))
	d := w.authorizer.Authorize(ctx, asked)
	if d.PolicyError {
		w.log.Error("a policy could not be evaluated; the request is denied", "tenant", e.env.Tenant, "source", e.env.Source,
			"event_id", e.env.EventID, "policies", d.Policies, "errors", d.Errors)
	}
	return asked, d
}

// effects adds what the request changes to what the transaction writes, and to what the rest of the batch sees.
func (p *plan) effects(e *event, res rules.Resolution, g rules.Grants) (*store.User, []rules.Effect, error) {
	var id string
	if res.Outcome == record.OutcomeCreated {
		var err error
		if e.recovered != nil && e.recovered.UserID != "" { // also of an event that found a user who is not there yet
			id = e.recovered.UserID
		} else if id, err = p.w.newUserID(); err != nil {
			return nil, nil, err
		}
	}
	user, effects := e.request.Effects(res, g, id, e.decidedAt(p.at))
	for _, effect := range effects {
		effect.AddTo(&p.write)
	}
	if len(effects) > 0 {
		p.batch.AddUser(user, &e.request)
	}
	return user, effects, nil
}

// record adds the ledger row of an answer about a user, and for an event that nobody will deliver again the outbox row.
func (p *plan) record(e *event, a *record.Answer, user *store.User) {
	row := store.Event{
		TenantID: e.env.Tenant, Source: e.env.Source, EventID: e.env.EventID, Scope: a.Scope, Credential: a.Credential, PayloadHash: e.hash[:],
		Outcome: string(a.Outcome), Status: a.Status, UserID: a.UserID, Result: a.Kept(), ResultHeaders: record.Marshal(a.Decided),
		Attempt: a.Attempt, Policies: a.Policies, Door: string(e.env.Door), Origin: e.storedAs(), StoredAt: e.env.StoredAt, At: a.At,
	}
	p.write.Events = append(p.write.Events, row)
	picture := ""
	if a.Picture != nil {
		picture = user.Avatar
	}
	p.batch.AddEvent(&row, picture)
	if u := e.request.Asked.UsedID; u != nil {
		used := store.UsedID{TenantID: e.env.Tenant, Source: e.env.Source, ID: u.ID, EventID: e.env.EventID, Until: u.Until}
		p.write.UsedIDs = append(p.write.UsedIDs, used)
		p.batch.AddUsed(&used)
	}
	if e.reply != nil || e.recovered != nil {
		out := a.Result(e.env.Tenant, e.env.Source, e.env.EventID)
		p.write.Outbox = append(p.write.Outbox, store.Outbox{ID: out.ID, Subject: out.Subject, Headers: record.Marshal(out.Header), Body: out.Data, At: p.at})
	}
}

// repeat notes a message that brings an event which another message has brought before, as it leaves no other trace.
func (p *plan) repeat(e *event, row *store.Event) {
	if as := e.storedAs(); as != "" && as != row.Origin && e.replay == nil {
		p.write.Repeats = append(p.write.Repeats, store.Repeat{Origin: as, TenantID: row.TenantID, Source: row.Source, EventID: row.EventID, Scope: row.Scope, At: p.at})
	}
}

// newUserID makes a version 7 UUID, whose order in time keeps index inserts cheap.
func (w *Worker) newUserID() (string, error) {
	id, err := uuid.NewV7FromReader(w.cfg.Rand)
	if err != nil {
		return "", fmt.Errorf("make a user id: %w", err)
	}
	return id.String(), nil
}
