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
	sealing "github.com/idpsync/idpsync/providers/seal"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

// A told is what a worker told the broker, in its order. It stands for the broker's two sides, streams and deliveries.
type told struct {
	did  []string
	lose string // begins the subjects of messages that are not stored
}

func (o *told) Publish(_ context.Context, msgs []Outgoing) []error {
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
func (d delivery) Ack() error                       { return d.did("ack") }
func (d delivery) AckSync(context.Context) error    { return d.did("ack") }
func (d delivery) Term(string) error                { return d.did("term") }
func (d delivery) NakWithDelay(time.Duration) error { return d.did("nak") }

func newVault(t *testing.T) *sealing.Key {
	t.Helper()
	k, _, err := sealing.Generate(rand.Reader)
	if err != nil {
		t.Fatalf("make a seal key: %v", err)
	}
	return k
}

func TestWhatIsNotStoredIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rejected bool
		lose     string
		want     []string
	}{
		"an effect":                        {false, "", []string{"result", "ack"}},
		"an effect whose result is lost":   {false, "idpsync.result.", []string{"result lost", "nak"}},
		"a rejection":                      {true, "", []string{"deadletter", "result", "term"}},
		"a rejection, dead letter lost":    {true, "idpsync.deadletter.", []string{"deadletter lost", "nak"}},
		"a rejection whose result is lost": {true, "idpsync.result.", []string{"deadletter", "result lost", "nak"}},
	} {
		o := &told{lose: c.lose}
		w := &Worker{
			cfg: Config{Name: "w", Vault: newVault(t)}, publisher: o, metrics: noMetrics{}, log: slog.New(slog.DiscardHandler),
			now: func() time.Time { return storetest.Time },
		}
		e := &event{message: delivery{told: o}, subject: "idpsync.login." + ruleTenant + ".okta", origin: origin{stream: "IDPSYNC_EVENTS", created: storetest.Time, sequence: 1}}
		e.env = providers.Envelope{Tenant: ruleTenant, Source: "okta", EventID: "e1", Shape: providers.ShapeLogin, Door: providers.DoorStream, StoredAt: storetest.Time}
		if c.rejected {
			e.rejection = reject(CodeUnauthenticated, "signature", "The signature does not hold.")
		} else {
			e.answer = &Answer{Outcome: OutcomeCreated, Status: 201}
		}
		w.deliver(t.Context(), []*event{e})
		if !slices.Equal(o.did, c.want) {
			t.Errorf("%s: the broker was told %q, wanted %q in this order", name, o.did, c.want)
		}
		if wantTold := c.lose == ""; e.told != wantTold {
			t.Errorf("%s: everybody was told: %v, wanted %v", name, e.told, wantTold)
		}
	}
}

// letter makes a dead letter of a login that came with credentials.
func letter(t *testing.T, v Vault) Stored {
	t.Helper()
	w := &Worker{cfg: Config{Name: "w", Vault: v}, now: func() time.Time { return storetest.Time }}
	e := &event{
		subject: "idpsync.login." + ruleTenant + ".okta", origin: origin{stream: "IDPSYNC_EVENTS", created: storetest.Time, sequence: 1},
		header: providers.Header{"Authorization": {"Bearer token"}, "X-Api-Key": {"key"}, "Cookie": {"crumb"}, "X-Trace": {"7"}}, raw: []byte(`{"id_token":"a"}`),
		rejection: reject(CodeUnauthenticated, "signature", "No."),
	}
	e.env = providers.Envelope{Tenant: ruleTenant, Source: "okta", EventID: "e1", StoredAt: storetest.Time}
	out, err := w.deadLetter(e)
	if err != nil {
		t.Fatalf("make a dead letter: %v", err)
	}
	return Stored{Subject: out.Subject, Header: out.Header, Data: out.Data}
}

func TestADeadLetterIsSignedAsAWhole(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	whole := letter(t, v)
	for name, values := range whole.Header {
		if text := strings.Join(values, " "); strings.Contains(text, "Bearer") || text == "key" || text == "crumb" {
			t.Errorf("the credential in the header %s lies open: %s; wanted it sealed", name, text)
		}
	}
	o, err := Unseal(v, whole.Header, whole.Data)
	if err != nil || string(o.Data) != `{"id_token":"a"}` || o.Header.Get("Authorization") != "Bearer token" || o.Header.Get("X-Trace") != "7" {
		t.Fatalf("the dead letter opens as %+v: %v; wanted the event as it was", o, err)
	}
	refused := func(what string, header providers.Header, data []byte) {
		t.Helper()
		if _, err := Unseal(v, header, data); !errors.Is(err, ErrRecord) || !strings.Contains(err.Error(), "signature") {
			t.Errorf("%s: the dead letter opens with the error %v, wanted the signature not to hold", what, err)
		}
	}
	changed := func(name string, values ...string) providers.Header {
		h := providers.Header{}
		for n, v := range whole.Header {
			h[n] = v
		}
		if delete(h, name); values != nil {
			h[name] = values
		}
		return h
	}
	for name, values := range whole.Header {
		refused("header "+name+" changed", changed(name, values[0]+"0"), whole.Data)
		if name != deadLetterSignature { // of which the first value counts
			refused("header "+name+" doubled", changed(name, values[0], values[0]), whole.Data)
			refused("header "+name+" away", changed(name), whole.Data)
		}
	}
	refused("a header more", changed(DeadLetterOriginalPrefix+"X-Api-Key", "mine"), whole.Data)
	other, err := v.Seal([]byte("other"))
	if err != nil {
		t.Fatal(err)
	}
	refused("another body, sealed for the deployment", whole.Header, other)
	refused("a body that is cut", whole.Header, whole.Data[:len(whole.Data)-1])
	refused("no signature", changed(deadLetterSignature), whole.Data)
}

func TestAForgedDeadLetterIsToldFromOneOfAnotherKey(t *testing.T) {
	t.Parallel()
	v, lost := newVault(t), newVault(t)
	w := &Worker{cfg: Config{Vault: v}}
	forged := letter(t, v)
	forged.Header[DeadLetterEventID] = []string{"e2"}
	for name, c := range map[string]struct {
		letter Stored
		want   bool
	}{
		"genuine": {letter(t, v), false}, "forged": {forged, true}, "of a key that was lost": {letter(t, lost), false}, "without anything": {Stored{}, false},
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
		want   Code
	}{
		"none named":                         {providers.Header{}, ""},
		"its tenant in the header":           {providers.Header{"X-Tenant-ID": {strings.ToUpper(ruleTenant)}}, ""},
		"another one in the header":          {providers.Header{"X-Tenant-ID": {other}}, CodeTenantMismatch},
		"its tenant in the attribute":        {ce("ce-xtenantid", ruleTenant), ""},
		"another one in the attribute":       {ce("ce-xtenantid", other), CodeTenantMismatch},
		"another one in any case of letters": {providers.Header{"x-tenant-id": {other}}, CodeTenantMismatch},
	} {
		e := &event{subject: "idpsync.login." + ruleTenant + ".okta"}
		e.open(c.header, []byte(`{}`))
		var got Code
		if e.rejection != nil {
			got = e.rejection.Code
		}
		if got != c.want {
			t.Errorf("%s: the message is refused as %q, wanted %q", name, got, c.want)
		}
	}
}

// An accepting provider takes every event.
type accepting struct{ providers.Provider }

func (accepting) Verify(context.Context, providers.Envelope) (providers.CreateUser, error) {
	return providers.CreateUser{Identity: &providers.Identity{}}, nil
}

func TestASourceSendsEventsOfItsKindAlone(t *testing.T) {
	t.Parallel()
	shapes := []providers.Shape{providers.ShapeLogin, providers.ShapeFeed, providers.ShapeTenant, providers.ShapeOrganization}
	for kind, may := range map[providers.Kind][]providers.Shape{
		providers.KindOIDC: {providers.ShapeLogin}, providers.KindSAML: {providers.ShapeLogin}, providers.KindFeed: {providers.ShapeFeed},
		providers.KindCommand: {providers.ShapeTenant, providers.ShapeOrganization},
	} {
		for _, shape := range shapes {
			src := &Source{Source: providers.Source{Tenant: ruleTenant, Name: "s", Kind: kind}, Provider: accepting{}}
			dir := &Directory{tenants: map[string]*Tenant{ruleTenant: {ID: ruleTenant, sources: map[string]*Source{"s": src}}}}
			e := &event{}
			e.env = providers.Envelope{Tenant: ruleTenant, Source: "s", Shape: shape, StoredAt: storetest.Time}
			w := &Worker{now: func() time.Time { return storetest.Time }}
			w.verify(t.Context(), dir, e)
			got, want := e.rejection == nil || e.rejection.Code != CodeUnknownSource, slices.Contains(may, shape)
			if got != want {
				t.Errorf("a %s source sends a %s: %v, wanted %v", kind, shape, got, want)
			}
		}
	}
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
		src := &Source{Source: providers.Source{Tenant: ruleTenant, Name: "s", Kind: providers.KindOIDC, MaxEventAge: c.most}, Provider: accepting{}}
		dir := &Directory{tenants: map[string]*Tenant{ruleTenant: {ID: ruleTenant, sources: map[string]*Source{"s": src}}}}
		e := &event{}
		e.env = providers.Envelope{Tenant: ruleTenant, Source: "s", Shape: providers.ShapeLogin, StoredAt: storetest.Time}
		c.change(e)
		w := &Worker{now: func() time.Time { return storetest.Time.Add(c.age) }}
		w.verify(t.Context(), dir, e)
		if got := e.rejection != nil && e.rejection.Reason == "event_too_old"; got != c.refused {
			t.Errorf("%s: the event is refused for its age: %v, wanted %v", name, got, c.refused)
		}
	}
}

// A shelf is a broker that holds one dead letter under every sequence.
type shelf struct {
	Broker
	letter Stored
}

func (s shelf) DeadLetter(context.Context, uint64) (Stored, error) { return s.letter, nil }

func TestAnOrderBringsBackItsTenantsOpenDeadLettersAlone(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	forged := letter(t, v)
	forged.Data = forged.Data[1:]
	for name, c := range map[string]struct {
		letter Stored
		tenant string
		state  string
		want   int
	}{
		"open":             {letter(t, v), ruleTenant, "", 1},
		"replayed":         {letter(t, v), ruleTenant, store.DeadLetterReplayed, 0},
		"discarded":        {letter(t, v), ruleTenant, store.DeadLetterDiscarded, 0},
		"another tenant's": {letter(t, v), storetest.Globex, "", 0},
		"of no tenant":     {letter(t, v), "", "", 0},
		"forged":           {forged, ruleTenant, "", 0},
	} {
		s := storetest.Open(t, store.SQLite)
		if c.state != "" {
			row := store.DeadLetter{Sequence: 1, Tenant: ruleTenant, Source: "okta", EventID: "e1", State: c.state, CreatedAt: storetest.Time, UpdatedAt: storetest.Time}
			if err := s.UpsertDeadLetters(t.Context(), []store.DeadLetter{row}); err != nil {
				t.Fatalf("%s: note the state of the dead letter: %v", name, err)
			}
		}
		w := &Worker{cfg: Config{Vault: v, Broker: shelf{letter: c.letter}}, store: s, log: slog.New(slog.DiscardHandler), now: func() time.Time { return storetest.Time }}
		for _, action := range []string{OrderReplay, OrderDiscard} {
			if events, _ := w.gather(t.Context(), c.tenant, Order{Action: action, Sequences: []uint64{1}}, Operator{Said: "ann"}); len(events) != c.want {
				t.Errorf("%s: an order to %s takes up %d dead letters, wanted %d", name, action, len(events), c.want)
			}
		}
	}
}

func TestACredentialIsBelievedForAsLongAsTheStoreIsFollowed(t *testing.T) {
	t.Parallel()
	s := storetest.Open(t, store.SQLite)
	storetest.Seed(t, s)
	row := store.Credential{ID: "aaaaaaaaaaaaaaaa", Tenant: storetest.Acme, Name: "hr", SecretHash: make([]byte, 32), CreatedAt: storetest.Time}
	if err := s.CreateCredential(t.Context(), row, "test"); err != nil {
		t.Fatalf("make a credential: %v", err)
	}
	now := storetest.Time
	follow := func() *Credentials {
		c := NewCredentials(s, func() time.Time { return now }, slog.New(slog.DiscardHandler))
		c.refresh(t.Context())
		return c
	}
	looks, looksNoMore := follow(), follow()
	revoked := func(c *Credentials, want bool, when string) {
		t.Helper()
		got, err := c.Credential(t.Context(), row.ID)
		if err != nil || got.RevokedAt.IsZero() == want {
			t.Errorf("%s the credential is known as revoked: %v, wanted %v: %v", when, !got.RevokedAt.IsZero(), want, err)
		}
	}
	revoked(looks, false, "at first")
	revoked(looksNoMore, false, "at first")
	if err := s.RevokeCredential(t.Context(), row.ID, "test", storetest.Time); err != nil {
		t.Fatalf("revoke it: %v", err)
	}
	revoked(looks, false, "until the store is looked at again,")
	looks.refresh(t.Context())
	revoked(looks, true, "after a look")
	now = now.Add(credentialsStale)
	revoked(looksNoMore, true, "after too long without a look")
}

// ledger is a store with one row, of the event e1 that the message with sequence 1 brought.
func ledger(t *testing.T) *store.Store {
	t.Helper()
	s := storetest.Open(t, store.SQLite)
	storetest.Seed(t, s)
	u := storetest.User(storetest.Acme, 1)
	row := storetest.Event(u, "e1")
	row.Source, row.Origin = storetest.SourceLogins, stored(1).key()
	err := s.Batch(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		return tx.Write(ctx, store.Write{Users: []store.User{u}, Events: []store.Event{row}})
	})
	if err != nil {
		t.Fatalf("write the row of the first message: %v", err)
	}
	return s
}

func stored(sequence uint64) origin {
	return origin{stream: "IDPSYNC_EVENTS", created: storetest.Time, sequence: sequence}
}

// redelivered is the event e1 as it comes in a message that was delivered before.
func redelivered(sequence uint64) *event {
	e := &event{message: delivery{delivered: 2}, origin: stored(sequence)}
	e.env = providers.Envelope{Tenant: storetest.Acme, Source: storetest.SourceLogins, EventID: "e1", Shape: providers.ShapeLogin}
	return e
}

func TestARefusedMessageRecallsItsOwnEffectAlone(t *testing.T) {
	t.Parallel()
	s := ledger(t)
	for _, sequence := range []uint64{1, 2} {
		refused, waits := redelivered(sequence), redelivered(sequence)
		refused.rejection = reject(CodeUnauthenticated, "revoked", "No.")
		waits.wait = &wait{reason: "issuer"}
		w := &Worker{store: s}
		if err := w.recall(t.Context(), []*event{refused, waits}); err != nil {
			t.Fatalf("look for earlier effects: %v", err)
		}
		for name, e := range map[string]*event{"refused": refused, "waiting": waits} {
			if got, want := e.answer != nil, sequence == 1; got != want || got != (e.rejection == nil && e.wait == nil) {
				t.Errorf("the %s message %d gets the answer of message 1: %v, wanted %v", name, sequence, got, want)
			}
		}
	}
}

func TestAFormerIdIsKeptForItsOwnMessageAlone(t *testing.T) {
	t.Parallel()
	s := ledger(t)
	for sequence, want := range map[uint64]string{1: "e1", 2: "new"} {
		e := redelivered(sequence)
		e.env.EventID, e.former = "new", "e1"
		if err := (&Worker{store: s}).keepFormerIDs(t.Context(), formerlyNamed([]*event{e})); err != nil {
			t.Fatalf("look for former ids: %v", err)
		}
		if e.env.EventID != want {
			t.Errorf("message %d is the event %q, wanted %q", sequence, e.env.EventID, want)
		}
	}
}

func TestWhoGaveAnOrder(t *testing.T) {
	t.Parallel()
	const order = `{"action":"replay","sequences":[1],"campaign":"c","who":"bob","why":"w"}`
	for vouches, want := range map[bool]Operator{true: {Vouched: "alice", Said: "bob"}, false: {Said: "bob"}} {
		_, tenant, by, err := readOrder(ReplaySubject(ruleTenant, "alice"), []byte(order), vouches)
		if err != nil || by != want || tenant != ruleTenant {
			t.Errorf("where the broker vouches: %v, the order is that of %+v for tenant %s: %v; wanted %+v", vouches, by, tenant, err, want)
		}
	}
}

// An asked authorizer keeps what it was asked, and answers with its decision.
type asked struct {
	decision Decision
	request  AuthorizationRequest
}

func (a *asked) Authorize(_ context.Context, r AuthorizationRequest) Decision {
	a.request = r
	return a.decision
}

func TestWhatThePoliciesAreAskedAndWhatBecomesOfTheirAnswer(t *testing.T) {
	t.Parallel()
	role := store.Role{TenantID: ruleTenant, ID: "r1", Name: "user"}
	allow := Decision{Allow: true}
	some := Decision{Allow: true, Denied: []DeniedGrant{{Role: "user"}}}
	for name, c := range map[string]struct {
		decision Decision
		outcome  Outcome
		drop     bool
		refused  string // reason
		granted  int
		linking  bool
	}{
		"created":                       {allow, OutcomeCreated, false, "", 1, false},
		"linked":                        {allow, OutcomeLinked, false, "", 0, true},
		"denied":                        {Decision{}, OutcomeCreated, false, "policy", 0, false},
		"denied, a source that drops":   {Decision{}, OutcomeCreated, true, "policy", 0, false},
		"in error":                      {Decision{PolicyError: true}, OutcomeCreated, true, "policy_error", 0, false},
		"a role denied":                 {some, OutcomeCreated, false, "policy", 0, false},
		"a role denied, a source drops": {some, OutcomeCreated, true, "", 0, false},
		"a link denied":                 {Decision{}, OutcomeLinked, false, "policy", 0, true},
	} {
		r := newRuled()
		r.tenant.rolesByName = map[string]store.Role{"user": role}
		if c.drop {
			r.source.OnDeniedRole = "drop"
		}
		r.draft.roles = []store.Role{role}
		e := &event{tenant: &r.tenant, source: &r.source, request: r.request, user: r.draft}
		res := resolution{outcome: c.outcome}
		if c.outcome == OutcomeLinked {
			res.user = &r.user
		}
		policies := &asked{decision: c.decision}
		w := &Worker{authorizer: policies, log: slog.New(slog.DiscardHandler)}
		g, _, refusal := w.authorize(t.Context(), e, res, storetest.Time)
		got := ""
		if refusal != nil {
			got = refusal.Reason
		}
		if got != c.refused || len(g.roles) != c.granted {
			t.Errorf("%s: refused for %q with %d roles granted, wanted %q and %d", name, got, len(g.roles), c.refused, c.granted)
		}
		if q := policies.request; q.Linking != c.linking || q.Existing != c.linking || (len(q.UserRoles) > 0) != c.linking || (len(q.Roles) > 0) == c.linking {
			t.Errorf("%s: the policies hear of a link: %v, of a user who exists: %v, of %d roles of the user and %d to grant; wanted a link: %v",
				name, q.Linking, q.Existing, len(q.UserRoles), len(q.Roles), c.linking)
		}
	}
}

func TestWeakHashesAreRefused(t *testing.T) {
	t.Parallel()
	const crypt = "$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE"
	for _, c := range []struct {
		cost    int
		accepts bool // the deployment takes weak hashes
		want    int  // faults
	}{{10, false, 0}, {9, false, 1}, {9, true, 0}, {3, true, 1}} {
		request := providers.CreateUser{
			Shape: providers.ShapeTenant, AuthProvider: "local", PasswordHash: providers.Secret("$2b$" + strings.Repeat("0", 2-len(strconv.Itoa(c.cost))) + strconv.Itoa(c.cost) + crypt),
		}
		var d draft
		if got := (&Worker{cfg: Config{WeakHashes: c.accepts}}).checkPassword(&providers.Envelope{}, &request, &d); len(got) != c.want {
			t.Errorf("a bcrypt hash of cost %d, weak ones taken: %v: the faults are %v, wanted %d", c.cost, c.accepts, got, c.want)
		}
	}
}

func TestAUserWhoWaitsIsTakenByTheRulesToo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*ruled)
		want   Outcome
	}{
		"all holds":                  {func(*ruled) {}, OutcomeLinked},
		"of another mailbox":         {func(r *ruled) { r.user.Email = "Bo\u017f\u017f@acme.example" }, OutcomeCreated},
		"role not of the source":     {func(r *ruled) { r.user.Roles = []string{"admin"} }, OutcomeCreated},
		"of sources of another kind": {func(r *ruled) { r.user.AuthProvider = "saml" }, OutcomeCreated},
	} {
		r := newRuled()
		c.change(r)
		got, refusal := resolve(&r.tenant, &r.source, &r.request, &r.draft, store.Found{Waiting: &r.user})
		if refusal != nil || got.outcome != c.want {
			t.Errorf("%s: the login ends as %q, refusal %v; wanted %q", name, got.outcome, refusal, c.want)
		}
	}
}
