package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/rules"
)

// A Preview is an event to be looked at without processing it.
type Preview struct {
	Subject  string
	Header   providers.Header
	Data     []byte
	StoredAt time.Time
	EventID  string         // when the headers name none
	Door     providers.Door // by which it would come; "" is what the subject says
	Letter   *record.Stored // a dead letter in place of all the above
	Explain  bool           // keep every check
}

// A Forecast is what would become of an event if it were processed now.
type Forecast struct {
	Tenant   string            `json:"tenant"`
	Source   string            `json:"source"`
	Kind     providers.Kind    `json:"kind,omitempty"`
	Shape    providers.Shape   `json:"shape"`
	EventID  string            `json:"event_id"`
	Subject  string            `json:"subject"`
	StoredAt time.Time         `json:"stored_at"`
	Replayed bool              `json:"replayed,omitempty"`
	Checks   []providers.Check `json:"checks,omitempty"`
	Request  *SeenRequest      `json:"request,omitempty"` // nil when the event was not verified

	Outcome  record.Outcome `json:"outcome"` // "" when it would wait
	Status   int            `json:"status,omitempty"`
	Code     record.Code    `json:"code,omitempty"`
	Reason   string         `json:"reason,omitempty"`
	Hint     string         `json:"hint,omitempty"`
	Waits    string         `json:"waits,omitempty"`  // why it would wait
	Repeat   bool           `json:"repeat,omitempty"` // it had its effect already
	Policies []string       `json:"policies,omitempty"`
	Notices  []string       `json:"notices,omitempty"`
	Body     []byte         `json:"-"` // of the answer
}

// A SeenRequest is what an event asks for, once it is verified, without its secrets.
type SeenRequest struct {
	Principal     providers.Principal          `json:"principal"`
	AuthProvider  string                       `json:"auth_provider"`
	Issuer        string                       `json:"issuer,omitempty"`
	Subject       string                       `json:"subject,omitempty"`
	Email         string                       `json:"email,omitempty"`
	EmailVerified bool                         `json:"email_verified"`
	Name          string                       `json:"name,omitempty"`
	IdentityName  string                       `json:"identity_name,omitempty"`
	Roles         []string                     `json:"roles"` // null: no role claim
	Organizations []providers.OrganizationRole `json:"organizations,omitempty"`
	Password      bool                         `json:"password,omitempty"` // there is one, or a hash of one
	Avatar        bool                         `json:"avatar,omitempty"`
}

func seen(r *providers.CreateUser) *SeenRequest {
	if r.Principal.Kind == "" {
		return nil
	}
	s := &SeenRequest{
		Principal: r.Principal, AuthProvider: r.AuthProvider, Email: r.Email, EmailVerified: r.EmailVerified, Name: rules.First(r.Name, r.DisplayName),
		IdentityName: r.IdentityName, Organizations: r.Organizations.Values, Password: r.Password != "" || r.PasswordHash != "", Avatar: r.Avatar != "",
	}
	if r.Identity != nil {
		s.Issuer, s.Subject = r.Identity.Issuer, r.Identity.Subject
	}
	if r.Roles.Present {
		s.Roles = append([]string{}, r.Roles.Values...)
	}
	return s
}

// Forecast takes events through the very pipeline, in one transaction that is rolled back, and says for each what would
// become of it. Nothing is written, published or acknowledged. Errors are those of the store, and of class [ErrRecord]
// for a dead letter that is none.
func (w *Worker) Forecast(ctx context.Context, previews []Preview) ([]Forecast, error) {
	events := make([]*event, len(previews))
	for i, p := range previews {
		e, err := w.preview(p)
		if err != nil {
			return nil, err
		}
		events[i] = e
	}
	w.prepareSettled(ctx, events)
	for _, e := range events {
		e.hashPassword()
	}
	if err := w.dryRun(ctx, events); err != nil {
		return nil, err
	}
	forecasts := make([]Forecast, len(events))
	for i, e := range events {
		forecasts[i] = forecastOf(e, w.now())
	}
	return forecasts, nil
}

func (w *Worker) preview(p Preview) (*event, error) {
	var e *event
	if p.Letter != nil {
		var err error
		if e, err = w.openDeadLetter(*p.Letter); err != nil {
			return nil, err
		}
	} else {
		e = &event{message: message{subject: p.Subject}}
		e.env = providers.Envelope{Door: p.Door, StoredAt: p.StoredAt, EventID: p.EventID}
		e.open(p.Header, p.Data)
		if e.env.Door == "" {
			e.env.Door = e.address.Door
		}
	}
	if p.Explain {
		e.env.Trace = &providers.Trace{}
	}
	return e, nil
}

// dryRun decides events as commit does, chunk by chunk in one transaction, and rolls it back. When a row is refused, the
// chunks are tried one by one, then halved.
func (w *Worker) dryRun(ctx context.Context, events []*event) error {
	if err := w.recall(ctx, events); err != nil {
		return err
	}
	open := undecided(events)
	for len(open) > 0 {
		var plans []*plan
		err := w.store.DryRun(ctx, func(ctx context.Context, tx *store.Tx) error {
			plans = plans[:0]
			for at := 0; at < len(open); at += w.cfg.Batch {
				p := w.newPlan(open[at:min(at+w.cfg.Batch, len(open))])
				if err := p.run(ctx, tx); err != nil {
					return err
				}
				plans = append(plans, p)
			}
			return nil
		})
		switch {
		case err == nil:
			open = nil
			for _, p := range plans {
				p.settle()
				w.renew(ctx, p.stale)
				open = append(append(open, p.deferred...), undecided(p.stale)...)
			}
		case ctx.Err() != nil || errors.Is(err, store.ErrUnavailable):
			return err
		case len(open) == 1:
			open[0].reject(notStored(err))
			return nil
		default:
			half := len(open) / 2
			if err := w.dryRun(ctx, open[:half]); err != nil {
				return err
			}
			open = open[half:]
		}
	}
	return nil
}

// tellRefusal notes the check that failed where the step that made it keeps no trace.
func (e *event) tellRefusal() {
	r := e.rejection()
	if r == nil || slices.ContainsFunc(e.env.Trace.Checks(), func(c providers.Check) bool { return !c.OK }) {
		return
	}
	step := stepWrite
	switch r.Code {
	case record.CodeUnknownTenant, record.CodeUnknownSource, record.CodeMalformed, record.CodeTenantMismatch:
		step = stepReceive
	case record.CodeEventIDConflict:
		step = stepLedger
	case record.CodeUnauthenticated:
		step = stepVerify
	}
	name := r.Reason
	if name == "" {
		name = string(r.Code)
	}
	e.note(step, name, false, r.Message)
}

func forecastOf(e *event, now time.Time) Forecast {
	e.tellRefusal()
	f := Forecast{
		Tenant: e.env.Tenant, Source: e.env.Source, Shape: e.env.Shape, EventID: e.env.EventID, Subject: e.subject,
		StoredAt: e.env.StoredAt, Replayed: e.env.Replayed, Checks: e.env.Trace.Checks(), Request: seen(&e.request.Asked),
	}
	if e.request.Source != nil {
		f.Kind = e.request.Source.Kind
	}
	if v := e.waiting(); v != nil {
		f.Waits = v.reason
		return f
	}
	if r := e.rejection(); r != nil {
		f.Code, f.Reason, f.Hint = r.Code, r.Reason, r.Hint
	}
	a := e.answered(now)
	f.Outcome, f.Status, f.Body, f.Policies, f.Notices, f.Repeat = a.Outcome, a.Status, a.Body, a.Policies, a.Notices, e.repeated()
	return f
}
