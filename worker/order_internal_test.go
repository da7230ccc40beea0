package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/oidc"
	sealing "github.com/idpsync/idpsync/providers/seal"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
	"github.com/idpsync/idpsync/worker/directory"
	"github.com/idpsync/idpsync/worker/gate"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/rules"
)

const senderTenant = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0"

// An event is held against what the store has for it before anything is decided.
func TestAnEventIsHeldAgainstWhatIsThere(t *testing.T) {
	t.Parallel()
	other := [32]byte{1}
	row := func(hash []byte) *store.Event {
		return &store.Event{TenantID: senderTenant, Source: "okta", EventID: "e1", PayloadHash: hash, Outcome: "created", Status: 201, Origin: "IDPSYNC_EVENTS/1/1"}
	}
	for name, c := range map[string]struct {
		found func(*event) store.Found
		want  string
	}{
		"the same payload":              {func(e *event) store.Found { return store.Found{Event: row(e.hash[:])} }, "repeat"},
		"another payload":               {func(*event) store.Found { return store.Found{Event: row(other[:])} }, "event_id_conflict "},
		"another payload, same message": {func(*event) store.Found { return store.Found{Brought: row(other[:])} }, "event_id_conflict "},
		"a row without a hash":          {func(*event) store.Found { return store.Found{Event: row(nil)} }, "event_id_conflict "},
		"its own use of the token":      {func(*event) store.Found { return store.Found{Used: &store.UsedID{EventID: "e1"}, Revision: 2} }, "stale"},
		"another's use of the token":    {func(*event) store.Found { return store.Found{Used: &store.UsedID{EventID: "e2"}, Revision: 1} }, "unauthenticated assertion_replayed"},
		"a newer directory":             {func(*event) store.Found { return store.Found{Revision: 2} }, "stale"},
	} {
		e := &event{revision: 1, message: message{hash: [32]byte{7}}}
		e.env = providers.Envelope{Tenant: senderTenant, Source: "okta", EventID: "e1", Shape: providers.ShapeLogin}
		w := &Worker{now: func() time.Time { return time.Unix(1, 0) }}
		p := w.newPlan([]*event{e})
		decided, err := p.decide(t.Context(), e, c.found(e))
		if err != nil {
			t.Fatalf("%s: deciding failed: %v", name, err)
		}
		got := ""
		switch v := decided.(type) {
		case rejected:
			got = string(v.Code) + " " + v.Reason
		case repeat:
			got = "repeat"
		case nil:
			if len(p.stale) > 0 {
				got = "stale"
			}
		}
		if got != c.want {
			t.Errorf("%s: the event ends as %q, wanted %q", name, got, c.want)
		}
	}
}

// What one event of a batch uses, the next ones of the batch may not.
func TestATokenIsUsedOnceWithinABatch(t *testing.T) {
	t.Parallel()
	login := func(id string) *event {
		e := &event{}
		e.env = providers.Envelope{Tenant: senderTenant, Source: "okta", EventID: id, Shape: providers.ShapeLogin}
		e.request.Asked = providers.CreateUser{UsedID: &providers.UsedID{ID: "jti", Until: time.Unix(9, 0)}}
		e.request.Tenant = &rules.Tenant{ID: senderTenant}
		return e
	}
	first, second := login("e1"), login("e2")
	p := (&Worker{now: func() time.Time { return time.Unix(1, 0) }}).newPlan([]*event{first, second})
	p.record(first, &record.Answer{Outcome: record.OutcomeCreated}, nil)
	decided, err := p.decide(t.Context(), second, p.batch.Over(lookupOf(second), store.Found{}))
	if v, ok := decided.(rejected); err != nil || !ok || v.Reason != "assertion_replayed" {
		t.Errorf("the second event with the token ends as %v with the error %v, wanted it refused as assertion_replayed", decided, err)
	}
	if got := p.write.UsedIDs; len(got) != 1 || got[0].ID != "jti" || got[0].EventID != "e1" || got[0].TenantID != senderTenant || got[0].Source != "okta" {
		t.Errorf("the uses that are kept are %+v, wanted that of the first event", got)
	}
}

// A row that another version wrote has no scope; its sender is told by what was kept of the request.
func TestWhoseARowOfTheLedgerIs(t *testing.T) {
	t.Parallel()
	brought, scoped, unscoped := &store.Event{EventID: "brought"}, &store.Event{EventID: "scoped"}, &store.Event{EventID: "unscoped", PayloadHash: make([]byte, 32)}
	foreign := &store.Event{EventID: "foreign", PayloadHash: []byte("another")}
	asked := func(credential string) *store.Event {
		p := providers.Principal{Kind: providers.PrincipalCredential, Name: credential}
		return &store.Event{EventID: credential, ResultHeaders: record.Marshal(record.Decided{Request: &record.AuthorizationRequest{Principal: p}})}
	}
	own, others := asked("hr"), asked("payroll")
	for name, c := range map[string]struct {
		found store.Found
		want  *store.Event
	}{
		"nothing":                                 {store.Found{}, nil},
		"of the scope":                            {store.Found{Event: scoped}, scoped},
		"of the message":                          {store.Found{Event: scoped, Brought: brought}, brought},
		"without scope, same payload":             {store.Found{Unscoped: unscoped}, unscoped},
		"without scope, another payload":          {store.Found{Unscoped: foreign}, nil},
		"without scope, beside one of the scope":  {store.Found{Unscoped: unscoped, Event: scoped}, scoped},
		"without scope, of another, same message": {store.Found{Unscoped: foreign, Brought: brought}, brought},
		"without scope, of the sender":            {store.Found{Unscoped: own}, own},
		"without scope, of another sender":        {store.Found{Unscoped: others}, nil},
	} {
		e := &event{}
		e.request.Asked.Principal = providers.Principal{Kind: providers.PrincipalCredential, Name: "hr"}
		if got := e.earlier(&c.found); got != c.want {
			t.Errorf("%s: the event had the row %v before, wanted %v", name, got, c.want)
		}
	}
}

func TestTheScopeOfAnEventIdIsItsSenders(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]struct {
		shape     providers.Shape
		principal providers.Principal
	}{
		"credential/hr":  {providers.ShapeTenant, providers.Principal{Kind: providers.PrincipalCredential, ID: "c1", Name: "hr"}},
		"token/okta/ann": {providers.ShapeTenant, providers.Principal{Kind: providers.PrincipalSource, ID: "okta", Name: "ann"}},
		"":               {providers.ShapeLogin, providers.Principal{Kind: providers.PrincipalSource, ID: "okta", Name: "okta"}},
	} {
		if got := scopeOf(c.shape, &c.principal); got != want {
			t.Errorf("%s: the scope of %+v is %q, wanted %q", c.shape, c.principal, got, want)
		}
	}
}

// A told is what a worker told the broker, in its order. It stands for the broker's two sides, streams and deliveries.
type told struct {
	did  []string
	lose string // begins the subjects of messages that are not stored
	away bool   // the database cannot be reached
	gone bool   // from before the verdict is kept
}

func (o *told) Publish(_ context.Context, msgs []record.Outgoing) []error {
	errs := make([]error, len(msgs))
	for i, m := range msgs {
		what := strings.Split(m.Subject, ".")[1]
		if o.lose != "" && strings.HasPrefix(m.Subject, o.lose) {
			errs[i] = errors.New("no space left")
			what += " lost"
		}
		o.did = append(o.did, what)
	}
	return errs
}

// A keeper is a store that notes what it keeps of what a stream refused; nothing else is asked of it.
type keeper struct {
	Store
	told *told
}

func (k keeper) ParkLetters(context.Context, []store.Parked) error { return k.did("deadletter kept") }

func (k keeper) CountLetters(_ context.Context, _ store.LetterQuota, letters []store.Letter) ([]bool, error) {
	if k.told.gone {
		return nil, errors.New("connection refused")
	}
	return slices.Repeat([]bool{true}, len(letters)), nil
}

func (k keeper) Owe(context.Context, []store.Outbox) error { return k.did("result kept") }

func (k keeper) did(what string) error {
	if k.told.away {
		k.told.did = append(k.told.did, "database away")
		return errors.New("connection refused")
	}
	k.told.did = append(k.told.did, what)
	return nil
}

// A delivery is a message of a consumer; what is not overridden is not asked of it.
type delivery struct {
	Message
	told      *told
	delivered uint64
}

func (d delivery) Sequence() uint64 { return 1 }

func (d delivery) Delivered() uint64 { return max(d.delivered, 1) }

func (d delivery) did(what string) error {
	d.told.did = append(d.told.did, what)
	return nil
}

func (d delivery) Ack() error { return d.did("ack") }

func (d delivery) AckSync(context.Context) error { return d.did("ack") }

func (d delivery) Term(string) error { return d.did("term") }

func (d delivery) NakWithDelay(time.Duration) error { return d.did("nak") }

func newVault(t *testing.T) *sealing.Key {
	t.Helper()
	k, _, err := sealing.Generate(rand.Reader)
	if err != nil {
		t.Fatalf("make a seal key: %v", err)
	}
	return k
}

func TestWhatIsNeitherStoredNorKeptIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	const results, letters = "idpsync.result.", "idpsync.deadletter."
	for name, c := range map[string]struct {
		rejected bool
		lose     string
		away     bool
		gone     bool
		want     []string
	}{
		"an effect":                                {false, "", false, false, []string{"result", "ack"}},
		"an effect whose result is refused":        {false, results, false, false, []string{"result lost", "result kept", "ack"}},
		"an effect whose result is not kept":       {false, results, true, false, []string{"result lost", "database away", "nak"}},
		"a rejection":                              {true, "", false, false, []string{"deadletter", "result", "term"}},
		"a rejection whose verdict is not kept":    {true, "", true, true, []string{"nak"}},
		"a rejection whose dead letter is refused": {true, letters, false, false, []string{"deadletter lost", "deadletter kept", "result", "ack"}},
		"a rejection whose letter is not kept":     {true, letters, true, false, []string{"deadletter lost", "database away", "nak"}},
		"a rejection whose result is refused":      {true, results, false, false, []string{"deadletter", "result lost", "result kept", "term"}},
	} {
		o := &told{lose: c.lose, away: c.away, gone: c.gone}
		now := func() time.Time { return storetest.Time }
		w := &Worker{
			cfg: Config{Name: "w", Sealer: newVault(t), BrokerNow: now}, store: keeper{told: o}, metrics: noMetrics{}, log: slog.New(slog.DiscardHandler), now: now,
			directories: directory.NewCache(nil, nil, providers.Environment{}, nil),
			letters:     gate.New(gate.Options{Publisher: o, Now: now, Log: slog.New(slog.DiscardHandler), Metrics: noMetrics{}}),
			results:     gate.New(gate.Options{Publisher: o, Now: now, Log: slog.New(slog.DiscardHandler), Metrics: noMetrics{}}),
		}
		e := storedEvent("idpsync.login."+senderTenant+".okta", stored(1), storetest.Time)
		e.delivery = delivery{told: o}
		e.env.Tenant, e.env.Source, e.env.EventID, e.env.Shape = senderTenant, "okta", "e1", providers.ShapeLogin
		if c.rejected {
			e.reject(record.Reject(record.CodeUnauthenticated, "signature", "The signature does not hold."))
		} else {
			e.verdict = effect{&record.Answer{Outcome: record.OutcomeCreated, Status: 201}}
		}
		w.deliver(t.Context(), []*event{e})
		if !slices.Equal(o.did, c.want) {
			t.Errorf("%s: the broker was told %q, wanted %q in this order", name, o.did, c.want)
		}
		if wantTold := !c.away; e.told != wantTold {
			t.Errorf("%s: everybody was told: %v, wanted %v", name, e.told, wantTold)
		}
	}
}

// letter makes a dead letter of a login that came with credentials.
func letter(t *testing.T, v record.Sealer) record.Stored {
	t.Helper()
	w := &Worker{cfg: Config{Name: "w", Sealer: v}, now: func() time.Time { return storetest.Time }}
	e := storedEvent("idpsync.login."+senderTenant+".okta", stored(1), storetest.Time)
	e.header, e.body = providers.Header{"Authorization": {"Bearer token"}}, []byte(`{"id_token":"a"}`)
	e.env.Tenant, e.env.Source, e.env.EventID = senderTenant, "okta", "e1"
	out, err := w.deadLetter(e, record.Reject(record.CodeUnauthenticated, "signature", "No."))
	if err != nil {
		t.Fatalf("make a dead letter: %v", err)
	}
	return record.Stored{Subject: out.Subject, Header: out.Header, Data: out.Data}
}

func TestAForgedDeadLetterIsToldFromOneOfAnotherKey(t *testing.T) {
	t.Parallel()
	v, lost := newVault(t), newVault(t)
	w := &Worker{cfg: Config{Sealer: v}}
	forged := letter(t, v)
	forged.Header[record.DeadLetterEventID] = []string{"e2"}
	for name, c := range map[string]struct {
		letter record.Stored
		want   bool
	}{
		"genuine": {letter(t, v), false}, "forged": {forged, true}, "of a key that was lost": {letter(t, lost), false}, "without anything": {record.Stored{}, false},
	} {
		if got := w.forged(c.letter); got != c.want {
			t.Errorf("%s: the dead letter is taken for forged: %v, wanted %v", name, got, c.want)
		}
	}
}

func TestAMessageOfAnotherTenantIsRefused(t *testing.T) {
	t.Parallel()
	const other = "3489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	event1 := map[string][]string{"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"x"}, "ce-type": {"y"}}
	ce := func(name, value string) providers.Header {
		h := providers.Header{name: {value}}
		for n, v := range event1 {
			h[n] = v
		}
		return h
	}
	for name, c := range map[string]struct {
		header providers.Header
		want   record.Code
	}{
		"none named":                         {providers.Header{}, ""},
		"its tenant in the header":           {providers.Header{"X-Tenant-ID": {strings.ToUpper(senderTenant)}}, ""},
		"another one in the header":          {providers.Header{"X-Tenant-ID": {other}}, record.CodeTenantMismatch},
		"its tenant in the attribute":        {ce("ce-xtenantid", senderTenant), ""},
		"another one in the attribute":       {ce("ce-xtenantid", other), record.CodeTenantMismatch},
		"another one in any case of letters": {providers.Header{"x-tenant-id": {other}}, record.CodeTenantMismatch},
	} {
		e := &event{message: message{subject: "idpsync.login." + senderTenant + ".okta"}}
		e.open(c.header, []byte(`{}`))
		if got := e.code(); got != c.want {
			t.Errorf("%s: the message is refused as %q, wanted %q", name, got, c.want)
		}
	}
}

// An accepting provider takes every event.
type accepting struct{ providers.Provider }

func (accepting) Verify(context.Context, providers.Envelope) (providers.CreateUser, error) {
	return providers.CreateUser{Identity: &providers.Identity{}}, nil
}

// snapshot is a directory whose one source has the configuration.
func snapshot(t *testing.T, config string) *directory.Directory {
	t.Helper()
	s := storetest.Open(t, store.SQLite)
	d := storetest.Directory()
	d.Sources = []store.Source{{TenantID: storetest.Acme, Name: storetest.SourceLogins, Kind: string(providers.KindOIDC), Config: []byte(config)}}
	if _, err := s.ApplyDirectory(t.Context(), 0, d, "test", storetest.Time); err != nil {
		t.Fatalf("apply the directory: %v", err)
	}
	kind := oidc.Kind()
	kind.New = func(providers.Source, providers.Environment) (providers.Provider, error) { return accepting{}, nil }
	env := providers.Environment{Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	cache := directory.NewCache(s, providers.Kinds{kind}, env, nil)
	if err := cache.Reload(t.Context()); err != nil {
		t.Fatalf("load the directory: %v", err)
	}
	return cache.Current()
}

func TestAnEventOlderThanItsSourceAllowsIsNotProcessed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		age, most time.Duration
		change    func(*event)
		refused   bool
	}{
		"young":                    {time.Hour, time.Hour, func(*event) {}, false},
		"old":                      {time.Hour + 1, time.Hour, func(*event) {}, true},
		"old, by the default":      {providers.DefaultMaxEventAge + 1, 0, func(*event) {}, true},
		"young, by the default":    {providers.DefaultMaxEventAge, 0, func(*event) {}, false},
		"old, and replayed":        {2 * time.Hour, time.Hour, func(e *event) { e.env.Replayed = true }, false},
		"old, and tried before":    {2 * time.Hour, time.Hour, func(e *event) { e.parked = &store.Parked{Attempts: 1} }, false},
		"old, and never tried yet": {2 * time.Hour, time.Hour, func(e *event) { e.parked = &store.Parked{} }, true},
	} {
		dir := snapshot(t, `{"issuer":"https://okta.example","max_event_age":`+strconv.FormatInt(int64(c.most), 10)+`}`)
		e := &event{}
		e.env = providers.Envelope{Tenant: storetest.Acme, Source: storetest.SourceLogins, Shape: providers.ShapeLogin, StoredAt: storetest.Time}
		e.address.Action = record.ActionCreate
		c.change(e)
		w := &Worker{now: func() time.Time { return storetest.Time.Add(c.age) }}
		e.verdict = w.verify(t.Context(), dir, e)
		r := e.rejection()
		if got := r != nil && r.Reason == "event_too_old"; got != c.refused {
			t.Errorf("%s: the event is refused for its age: %v, wanted %v", name, got, c.refused)
		}
	}
}

// A shelf is a broker that holds one dead letter under every sequence.
type shelf struct {
	Broker
	letter record.Stored
}

func (s shelf) DeadLetter(context.Context, uint64) (record.Stored, error) { return s.letter, nil }

func TestAnOrderBringsBackItsTenantsOpenDeadLettersAlone(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	forged := letter(t, v)
	forged.Data = forged.Data[1:]
	for name, c := range map[string]struct {
		letter record.Stored
		tenant string
		state  string
		want   int
	}{
		"open":             {letter(t, v), senderTenant, "", 1},
		"replayed":         {letter(t, v), senderTenant, store.DeadLetterReplayed, 0},
		"discarded":        {letter(t, v), senderTenant, store.DeadLetterDiscarded, 0},
		"another tenant's": {letter(t, v), storetest.Globex, "", 0},
		"of no tenant":     {letter(t, v), "", "", 0},
		"forged":           {forged, senderTenant, "", 0},
	} {
		s := storetest.Open(t, store.SQLite)
		if c.state != "" {
			row := store.DeadLetter{Sequence: 1, Tenant: senderTenant, Source: "okta", EventID: "e1", State: c.state, CreatedAt: storetest.Time, UpdatedAt: storetest.Time}
			if err := s.UpsertDeadLetters(t.Context(), []store.DeadLetter{row}); err != nil {
				t.Fatalf("%s: note the state of the dead letter: %v", name, err)
			}
		}
		w := &Worker{cfg: Config{Sealer: v, Broker: shelf{letter: c.letter}}, store: s, log: slog.New(slog.DiscardHandler), now: func() time.Time { return storetest.Time }}
		for _, action := range []string{record.OrderReplay, record.OrderDiscard} {
			if events, _ := w.gather(t.Context(), c.tenant, record.Order{Action: action, Sequences: []uint64{1}}, record.Operator{Said: "ann"}); len(events) != c.want {
				t.Errorf("%s: an order to %s takes up %d dead letters, wanted %d", name, action, len(events), c.want)
			}
		}
	}
}

// ledger is a store with one row, of the event e1 that the message with sequence 1 brought.
func ledger(t *testing.T) *store.Store {
	t.Helper()
	s := storetest.Open(t, store.SQLite)
	storetest.Seed(t, s)
	u := storetest.User(storetest.Acme, 1)
	row := storetest.Event(u, "e1")
	row.Source, row.Origin = storetest.SourceLogins, stored(1).String()
	err := s.Batch(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		return tx.Write(ctx, store.Write{Users: []store.User{u}, Events: []store.Event{row}})
	})
	if err != nil {
		t.Fatalf("write the row of the first message: %v", err)
	}
	return s
}

func stored(sequence uint64) record.Origin {
	return record.Origin{Stream: "IDPSYNC_EVENTS", Created: storetest.Time, Sequence: sequence}
}

// redelivered is the event e1 as it comes in a message that was delivered before.
func redelivered(sequence uint64) *event {
	e := &event{message: message{origin: stored(sequence), transport: transport{delivery: delivery{delivered: 2}}}}
	e.env = providers.Envelope{Tenant: storetest.Acme, Source: storetest.SourceLogins, EventID: "e1", Shape: providers.ShapeLogin, StoredAt: storetest.Time}
	return e
}

func TestARefusedMessageRecallsItsOwnEffectAlone(t *testing.T) {
	t.Parallel()
	s := ledger(t)
	for _, sequence := range []uint64{1, 2} {
		refused, waits := redelivered(sequence), redelivered(sequence)
		refused.reject(record.Reject(record.CodeUnauthenticated, "revoked", "No."))
		waits.wait("issuer", nil)
		w := &Worker{store: s}
		if err := w.recall(t.Context(), []*event{refused, waits}); err != nil {
			t.Fatalf("look for earlier effects: %v", err)
		}
		for name, e := range map[string]*event{"refused": refused, "waiting": waits} {
			if got, want := e.repeated(), sequence == 1; got != want {
				t.Errorf("the %s message %d gets the answer of message 1: %v, wanted %v", name, sequence, got, want)
			}
		}
	}
}

func TestAFormerIdIsKeptForItsOwnMessageAlone(t *testing.T) {
	t.Parallel()
	s := ledger(t)
	for _, c := range []struct {
		sequence uint64
		at       time.Time
		want     string
	}{{1, storetest.Time, "e1"}, {2, storetest.Time, "new"}, {1, storetest.Time.Add(time.Second), "new"}} {
		e := redelivered(c.sequence)
		e.message.env.EventID, e.message.former = "new", "e1"
		e.message.env.StoredAt, e.message.origin.At = c.at, c.at
		if err := (&Worker{store: s}).keepFormerIDs(t.Context(), formerlyNamed([]*event{e})); err != nil {
			t.Fatalf("look for former ids: %v", err)
		}
		if e.env.EventID != c.want {
			t.Errorf("message %d of %v is the event %q, wanted %q", c.sequence, c.at, e.env.EventID, c.want)
		}
	}
}
