package worker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
)

const ruleTenant = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0"

// A ruled is a first login that meets all rules at once: it proves boss@acme.example, whom the directory names as owner, and
// there is a user with that address who waits for it. Each case of a test spoils one thing.
type ruled struct {
	tenant  Tenant
	source  Source
	request providers.CreateUser
	draft   draft
	user    store.User
	found   store.Found
}

func newRuled() *ruled {
	address := Email{Given: "Boss@acme.example", Key: "boss@acme.example", Domain: "acme.example"}
	r := &ruled{
		tenant: Tenant{ID: ruleTenant, Owner: "Boss@acme.example", OwnerKey: address.Key, rolesByID: map[string]store.Role{}},
		source: Source{Source: providers.Source{
			Tenant: ruleTenant, Name: "okta", Kind: providers.KindOIDC, Issuer: "https://okta.example", Domains: []string{"acme.example"}, Grants: []string{"user"},
		}},
		request: providers.CreateUser{
			Shape: providers.ShapeLogin, AuthProvider: "oidc", Identity: &providers.Identity{Issuer: "https://okta.example", Subject: "boss"},
			EmailVerified: true,
		},
		draft: draft{email: address, emailVerified: true, emailReserved: true},
		user:  store.User{ID: "u1", TenantID: ruleTenant, Email: address.Given, EmailKey: address.Key, AuthProvider: "oidc", Roles: []string{"user"}},
	}
	return r
}

// linked makes the user one who has logged in by another source, and has the source link by address.
func (r *ruled) linked() {
	r.source.LinkByEmail, r.user.HasIdentity, r.user.EmailVerified = "verified", 1, true
}

func TestWhomALoginMayTake(t *testing.T) {
	t.Parallel()
	const foreign, other = "different_identity", "different_source"
	for name, c := range map[string]struct {
		change func(*ruled)
		want   string // the reason of the refusal
	}{
		"waits for this kind":        {func(*ruled) {}, ""},
		"waits for any kind":         {func(r *ruled) { r.user.AuthProvider = "local" }, ""},
		"waits for another kind":     {func(r *ruled) { r.user.AuthProvider = "saml" }, other},
		"has a password":             {func(r *ruled) { r.user.AuthProvider, r.user.PasswordHash = "local", "hash" }, other},
		"has an identity":            {func(r *ruled) { r.user.HasIdentity = 1 }, foreign},
		"of another mailbox":         {func(r *ruled) { r.user.Email = "Bo\u017f\u017f@acme.example" }, other},
		"address not proved":         {func(r *ruled) { r.draft.emailVerified = false }, other},
		"address not of the source":  {func(r *ruled) { r.draft.emailReserved = false }, other},
		"role not of the source":     {func(r *ruled) { r.user.Roles = append(r.user.Roles, "admin") }, other},
		"with a withdrawn role":      {func(r *ruled) { r.user.Withdrawn = true }, other},
		"role in an organization":    {func(r *ruled) { r.inOrganization("user") }, ""},
		"its role not of the source": {func(r *ruled) { r.inOrganization("admin") }, other},
		"its role not declared":      {func(r *ruled) { r.inOrganization("") }, other},

		"linked":                            {(*ruled).linked, ""},
		"linked, source does not link":      {func(r *ruled) { r.linked(); r.source.LinkByEmail = "" }, foreign},
		"linked, user's address not proved": {func(r *ruled) { r.linked(); r.user.EmailVerified = false }, foreign},
		"linked, user owns the tenant":      {func(r *ruled) { r.linked(); r.user.IsOwner = true }, foreign},
		"linked, of another mailbox":        {func(r *ruled) { r.linked(); r.user.Email = "Bo\u017f\u017f@acme.example" }, other},
		"linked, address not proved":        {func(r *ruled) { r.linked(); r.draft.emailVerified = false }, other},
		"linked, address not of the source": {func(r *ruled) { r.linked(); r.draft.emailReserved = false }, other},
		"linked, role not of the source":    {func(r *ruled) { r.linked(); r.user.Roles = []string{"admin"} }, other},
	} {
		r := newRuled()
		c.change(r)
		got := ""
		if refusal := takes(&r.tenant, &r.source, &r.request, &r.draft, &r.user); refusal != nil {
			got = refusal.Reason
		}
		if got != c.want {
			t.Errorf("%s: the login is refused the user for %q, wanted %q", name, got, c.want)
		}
	}
}

func (r *ruled) inOrganization(role string) {
	if role != "" {
		r.tenant.rolesByID["r1"] = store.Role{ID: "r1", Name: role}
	}
	r.user.Organizations = []store.UserOrganization{{OrganizationID: "o1", RoleID: "R1"}}
}

func TestWhoBecomesTheOwner(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*ruled)
		want   bool
	}{
		"all holds":                       {func(*ruled) {}, true},
		"address not proved":              {func(r *ruled) { r.draft.emailVerified = false }, false},
		"address not of the source":       {func(r *ruled) { r.draft.emailReserved = false }, false},
		"tenant names no owner":           {func(r *ruled) { r.tenant.Owner, r.tenant.OwnerKey = "", "" }, false},
		"neither owner nor address":       {func(r *ruled) { r.tenant.OwnerKey, r.draft.email.Key = "", "" }, false},
		"another address":                 {func(r *ruled) { r.draft.email.Key = "eve@acme.example" }, false},
		"a mailbox that only folds to it": {func(r *ruled) { r.draft.email.Given = "Bo\u017f\u017f@acme.example" }, false},
		"there is an owner":               {func(r *ruled) { r.found.OwnerID = "u0" }, false},
	} {
		r := newRuled()
		c.change(r)
		if got := becomesOwner(&r.tenant, &r.draft, r.found); got != c.want {
			t.Errorf("%s: the login makes an owner: %v, wanted %v", name, got, c.want)
		}
	}
}

// A user who logs in again becomes the owner by the address that is the user's own.
func TestWhoBecomesTheOwnerLater(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*ruled)
		want   Outcome
	}{
		"the address is the user's":             {func(*ruled) {}, OutcomeUpdated},
		"the user has another address":          {func(r *ruled) { r.user.EmailKey = "eve@acme.example" }, OutcomeExists},
		"the user's mailbox only folds to it":   {func(r *ruled) { r.user.Email = "Bo\u017f\u017f@acme.example" }, OutcomeExists},
		"the address belongs to somebody else":  {func(r *ruled) { r.found.ByEmail = &store.User{ID: "u2"} }, OutcomeExists},
		"the address is kept for the same user": {func(r *ruled) { r.found.ByEmail = &r.user }, OutcomeUpdated},
	} {
		r := newRuled()
		r.found.ByIdentity, r.found.Identity = &r.user, store.FoundIdentity{Kind: "oidc", Source: "okta"}
		c.change(r)
		got, refusal := resolve(&r.tenant, &r.source, &r.request, &r.draft, r.found)
		if refusal != nil || got.outcome != c.want || got.owner != (c.want == OutcomeUpdated) {
			t.Errorf("%s: the login ends as %q, owner %v, refusal %v; wanted %q", name, got.outcome, got.owner, refusal, c.want)
		}
	}
}

func TestAnIdentityBelongsToItsAnchor(t *testing.T) {
	t.Parallel()
	const issuer = "https://okta.example"
	for name, c := range map[string]struct {
		is     store.FoundIdentity
		issuer string // of the login
		source string // issuer of the source
		want   bool
	}{
		"kind and issuer":                      {store.FoundIdentity{Kind: "oidc", Source: "okta"}, issuer, issuer, true},
		"made by another source of the kind":   {store.FoundIdentity{Kind: "oidc", Source: "former"}, issuer, issuer, true},
		"another kind":                         {store.FoundIdentity{Kind: "saml", Source: "okta"}, issuer, issuer, false},
		"no kind, made by the source":          {store.FoundIdentity{Source: "okta"}, issuer, issuer, true},
		"no kind, made by another source":      {store.FoundIdentity{Source: "former"}, issuer, issuer, false},
		"another issuer than the source's":     {store.FoundIdentity{Kind: "oidc", Source: "okta"}, "https://evil.example", issuer, false},
		"neither login nor source name one":    {store.FoundIdentity{Kind: "oidc", Source: "okta"}, "", "", false},
		"a source that names no issuer as yet": {store.FoundIdentity{Kind: "oidc", Source: "okta"}, issuer, "", false},
	} {
		r := newRuled()
		r.source.Issuer = c.source
		if got := r.source.anchors(c.is, c.issuer); got != c.want {
			t.Errorf("%s: the identity belongs to the source: %v, wanted %v", name, got, c.want)
		}
		r.request.Identity.Issuer = c.issuer
		r.found.ByIdentity, r.found.Identity = &r.user, c.is
		_, refusal := resolve(&r.tenant, &r.source, &r.request, &r.draft, r.found)
		if refused := refusal != nil && refusal.Reason == "different_source"; refused == c.want {
			t.Errorf("%s: the login is refused the identity: %v, wanted %v", name, refused, !c.want)
		}
	}
}

func TestForWhichDomainsASourceSpeaks(t *testing.T) {
	t.Parallel()
	proof := func(r *ruled) { r.request.EmailVerified = true }
	for name, c := range map[string]struct {
		kind               providers.Kind
		domains            []string
		change             func(*ruled)
		verified, reserved bool
	}{
		"its domain":                   {providers.KindOIDC, []string{"acme.example"}, proof, true, true},
		"another domain":               {providers.KindOIDC, []string{"other.example"}, proof, false, false},
		"a domain above it":            {providers.KindOIDC, []string{"example"}, proof, false, false},
		"a domain beneath it":          {providers.KindOIDC, []string{"x.acme.example"}, proof, false, false},
		"its domain, without proof":    {providers.KindOIDC, []string{"acme.example"}, func(r *ruled) { r.request.EmailVerified = false }, false, false},
		"no domains":                   {providers.KindOIDC, nil, proof, true, false},
		"no domains, SAML":             {providers.KindSAML, nil, proof, false, false},
		"its domain, SAML":             {providers.KindSAML, []string{"acme.example"}, proof, true, true},
		"no domains, feed":             {providers.KindFeed, nil, proof, false, false},
		"its domain, feed":             {providers.KindFeed, []string{"acme.example"}, proof, true, true},
		"its domain, feed, no proof":   {providers.KindFeed, []string{"acme.example"}, func(r *ruled) { r.request.EmailVerified = false }, false, false},
		"a command, which proves none": {providers.KindCommand, nil, func(r *ruled) { r.request.EmailVerified = false }, false, true},
	} {
		r := newRuled()
		r.source.Kind, r.source.Domains = c.kind, c.domains
		r.request.Email, r.request.Name = "boss@acme.example", "Boss"
		c.change(r)
		d, faults := validate(&r.source, &r.request)
		if len(faults) > 0 || d.emailVerified != c.verified || d.emailReserved != c.reserved {
			t.Errorf("%s: the address is proved: %v, and its user's alone: %v, with faults %v; wanted %v and %v", name, d.emailVerified, d.emailReserved, faults, c.verified, c.reserved)
		}
	}
}

func TestMailboxesThatAreOne(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		a, b string // local parts
		want bool
	}{
		"the same":                  {"kim", "kim", true},
		"another case":              {"Kim", "kIM", true},
		"another one":               {"kim", "tim", false},
		"longer":                    {"kim", "kims", false},
		"the Kelvin sign for K":     {"kim", "\u212aim", false},
		"the long s for s":          {"sam", "\u017fam", false},
		"the sharp s for two s":     {"strasse", "stra\u00dfe", false},
		"composed and not composed": {"zo\u00eb", "zoe\u0308", true},
		"the case of both":          {"ZO\u00cb", "zoe\u0308", true},
		"without the accent":        {"zo\u00eb", "zoe", false},
	} {
		for _, pair := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			if got := sameMailbox(pair[0]+"@acme.example", pair[1]+"@acme.example"); got != c.want {
				t.Errorf("%s: %q and %q are one mailbox: %v, wanted %v", name, pair[0], pair[1], got, c.want)
			}
		}
	}
}

func TestNamesThatDisguiseAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		email, identityName string
		proved              bool
		want                string // field and code of the fault
	}{
		"plain":                                  {"ada@acme.example", "ada", true, ""},
		"mixed scripts before the @":             {"\u0430da@acme.example", "", true, "email mixed_scripts"},
		"mixed scripts in the domain":            {"ada@xn--acm-rdd.example", "", true, "email mixed_scripts"},
		"a letter that stands for another":       {"\uff41da@acme.example", "", true, "email mixed_scripts"},
		"mixed scripts in the name":              {"ada@acme.example", "\u0430da", true, "identity_name mixed_scripts"},
		"the own address, proved":                {"ada@acme.example", "Ada@acme.example", true, ""},
		"the own address, not proved":            {"ada@acme.example", "ada@acme.example", false, "identity_name not_own_address"},
		"another's address":                      {"ada@acme.example", "eve@acme.example", true, "identity_name not_own_address"},
		"a name of nothing that can be seen":     {"ada@acme.example", "\u200d", true, "identity_name invalid"},
		"a name with an invisible character":     {"ada@acme.example", "a\u200bda", true, "identity_name invalid"},
		"a name that is written right to left":   {"ada@acme.example", "\u202eada", true, "identity_name invalid"},
		"a full-width at sign of another's name": {"ada@acme.example", "eve\uff20acme.example", true, "identity_name not_own_address"},
	} {
		r := newRuled()
		r.request.Email, r.request.IdentityName, r.request.Name, r.request.EmailVerified = c.email, c.identityName, "Ada", c.proved
		_, faults := validate(&r.source, &r.request)
		var got []string
		for _, f := range faults {
			got = append(got, f.Field+" "+f.Code)
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%s: the faults are %q, wanted %q", name, got, c.want)
		}
	}
}

func TestANameThatLooksLikeAnothersIsNotGiven(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		found  store.Found
		asked  string // identity name
		reason string // of the refusal
		unname bool
	}{
		"nobody has it":                  {store.Found{}, "ada", "", false},
		"somebody has it":                {store.Found{ByIdentityName: &store.User{ID: "u2"}}, "ada", "different_identity", false},
		"somebody's looks like it":       {store.Found{BySkeleton: &store.User{ID: "u2"}}, "ada", "different_identity", false},
		"somebody has it, derived":       {store.Found{ByIdentityName: &store.User{ID: "u2"}}, "", "", true},
		"somebody's looks alike,derived": {store.Found{BySkeleton: &store.User{ID: "u2"}}, "", "", true},
	} {
		for _, login := range []bool{true, false} {
			r := newRuled()
			r.request.IdentityName = c.asked
			wanted := c.reason != ""
			if !login {
				r.request.Identity, r.request.Shape = nil, providers.ShapeFeed
			}
			got, refusal := resolve(&r.tenant, &r.source, &r.request, &r.draft, c.found)
			if (refusal != nil) != wanted || got.unnamed != c.unname || login && refusal != nil && refusal.Reason != c.reason {
				t.Errorf("%s, login %v: the refusal is %v and the user goes without the name: %v; wanted a refusal: %v, and %v", name, login, refusal, got.unnamed, wanted, c.unname)
			}
		}
	}
}

func TestAFirstLoginNeedsAProvedAddress(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*ruled)
		want   Code
	}{
		"proved":               {func(*ruled) {}, ""},
		"not proved":           {func(r *ruled) { r.draft.emailVerified = false }, CodeUnverifiedEmail},
		"not proved, accepted": {func(r *ruled) { r.draft.emailVerified, r.source.UnverifiedEmail = false, providers.AcceptUnverified }, ""},
		"claims at fault":      {func(r *ruled) { r.draft.refusal = reject(CodeInvalidRoles, "", "No.") }, CodeInvalidRoles},
	} {
		r := newRuled()
		c.change(r)
		_, refusal := resolve(&r.tenant, &r.source, &r.request, &r.draft, store.Found{})
		var got Code
		if refusal != nil {
			got = refusal.Code
		}
		if got != c.want {
			t.Errorf("%s: the login is refused as %q, wanted %q", name, got, c.want)
		}
	}
}

func TestRolesNeedAGrant(t *testing.T) {
	t.Parallel()
	role := func(name string) store.Role { return store.Role{TenantID: ruleTenant, ID: "role-" + name, Name: name} }
	tenant := &Tenant{
		ID: ruleTenant, DefaultRoles: []string{"user", "admin"},
		rolesByName:   map[string]store.Role{"user": role("user"), "admin": role("admin")},
		rolesByID:     map[string]store.Role{"role-user": role("user"), "role-admin": role("admin")},
		organizations: map[string]store.Organization{"sales": {TenantID: ruleTenant, ID: "sales"}},
	}
	roles := func(names ...string) providers.CreateUser {
		return providers.CreateUser{Roles: providers.Claim[string]{Present: true, Values: names}}
	}
	in := func(organization, role string) providers.CreateUser {
		r := roles()
		r.Organizations = providers.Claim[providers.OrganizationRole]{Present: true, Values: []providers.OrganizationRole{{OrganizationID: organization, RoleID: role}}}
		return r
	}
	for name, c := range map[string]struct {
		request providers.CreateUser
		drop    bool
		code    Code
		want    []string // roles that are granted
	}{
		"granted":                        {roles("user"), false, "", []string{"user"}},
		"not granted":                    {roles("user", "admin"), false, CodeInvalidRoles, nil},
		"not declared, yet among grants": {roles("ghost"), false, CodeInvalidRoles, nil},
		"not granted, dropped":           {roles("user", "admin", "ghost"), true, "", []string{"user"}},
		"defaults":                       {providers.CreateUser{}, false, "", []string{"user"}},
		"in an organization":             {in("SALES", "role-user"), false, "", []string{"sales/user"}},
		"in one, not granted":            {in("sales", "role-admin"), false, CodeInvalidOrganizations, nil},
		"in one of another tenant":       {in("hangar", "role-user"), false, CodeInvalidOrganizations, nil},
		"in one, not declared":           {in("sales", "role-ghost"), false, CodeInvalidOrganizations, nil},
		"in one, not granted, dropping":  {in("sales", "role-admin"), true, CodeInvalidOrganizations, nil},
	} {
		src := &Source{Source: providers.Source{Name: "okta"}}
		if c.drop {
			src.OnDeniedRole = "drop"
		}
		c.request.Principal.Grants = []string{"user", "ghost", ""} // "" is the name of the role that is not there
		var d draft
		var got Code
		if refusal := checkRoles(tenant, src, &c.request, &d); refusal != nil {
			got = refusal.Code
		}
		var granted []string
		for _, r := range d.roles {
			granted = append(granted, r.Name)
		}
		for _, o := range d.organizations {
			granted = append(granted, o.organization.ID+"/"+o.role.Name)
		}
		if got != c.code || got == "" && !slices.Equal(granted, c.want) {
			t.Errorf("%s: refused as %q with the roles %q granted, wanted %q and %q", name, got, granted, c.code, c.want)
		}
	}
}

// An event is held against what the store has for it before anything is decided.
func TestAnEventIsHeldAgainstWhatIsThere(t *testing.T) {
	t.Parallel()
	other := [32]byte{1}
	row := func(hash []byte) *store.Event {
		return &store.Event{TenantID: ruleTenant, Source: "okta", EventID: "e1", PayloadHash: hash, Outcome: "created", Status: 201, Origin: "IDPSYNC_EVENTS/1/1"}
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
		e := &event{tenant: &Tenant{ID: ruleTenant}, revision: 1, hash: [32]byte{7}}
		e.env = providers.Envelope{Tenant: ruleTenant, Source: "okta", EventID: "e1", Shape: providers.ShapeLogin}
		w := &Worker{now: func() time.Time { return time.Unix(1, 0) }}
		p := w.newPlan([]*event{e})
		if err := p.decide(t.Context(), 0, e, c.found(e)); err != nil {
			t.Fatalf("%s: deciding failed: %v", name, err)
		}
		got := ""
		switch {
		case p.refusals[0] != nil:
			got = string(p.refusals[0].Code) + " " + p.refusals[0].Reason
		case p.answers[0] != nil && p.answers[0].again:
			got = "repeat"
		case len(p.stale) > 0:
			got = "stale"
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
		e.env = providers.Envelope{Tenant: ruleTenant, Source: "okta", EventID: id, Shape: providers.ShapeLogin}
		e.request = providers.CreateUser{UsedID: &providers.UsedID{ID: "jti", Until: time.Unix(9, 0)}}
		e.tenant = &Tenant{ID: ruleTenant}
		return e
	}
	first, second := login("e1"), login("e2")
	p := (&Worker{now: func() time.Time { return time.Unix(1, 0) }}).newPlan([]*event{first, second})
	p.record(first, &Answer{Outcome: OutcomeCreated})
	if err := p.decide(t.Context(), 1, second, p.batch.over(lookupOf(second), store.Found{})); err != nil {
		t.Fatal(err)
	}
	if r := p.refusals[1]; r == nil || r.Reason != "assertion_replayed" {
		t.Errorf("the second event with the token is refused as %v, wanted assertion_replayed", r)
	}
	if got := p.write.UsedIDs; len(got) != 1 || got[0].ID != "jti" || got[0].EventID != "e1" || got[0].TenantID != ruleTenant || got[0].Source != "okta" {
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
		return &store.Event{EventID: credential, ResultHeaders: marshal(answerHeaders{Request: &AuthorizationRequest{Principal: p}})}
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
		e.request.Principal = providers.Principal{Kind: providers.PrincipalCredential, Name: "hr"}
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

// A verifierOf vouches for every token.
type verifierOf struct {
	providers.Provider
	providers.TokenVerifier
}

func TestTokensAreHandedToTheSourceOfTheirIssuer(t *testing.T) {
	t.Parallel()
	source := func(name, issuer string, commands bool, kind providers.Kind) *Source {
		return &Source{Source: providers.Source{Name: name, Issuer: issuer, Commands: commands, Kind: kind}, Provider: verifierOf{}}
	}
	tenant := &Tenant{sources: map[string]*Source{
		"b":         source("b", "https://one.example", true, providers.KindOIDC),
		"a":         source("a", "https://one.example", true, providers.KindOIDC),
		"no":        source("no", "https://one.example", false, providers.KindOIDC),
		"saml":      source("saml", "https://one.example", true, providers.KindSAML),
		"elsewhere": source("elsewhere", "https://two.example", true, providers.KindOIDC),
	}}
	for issuer, want := range map[string]string{"https://one.example": "[a b]", "https://two.example": "[elsewhere]", "https://three.example": "[]", "": "[]"} {
		names := []string{}
		for _, s := range tenant.tokenSources(issuer) {
			names = append(names, s.Name)
		}
		if got := fmt.Sprint(names); got != want {
			t.Errorf("a token of issuer %q is handed to %s, wanted %s", issuer, got, want)
		}
	}
	if got := (*Tenant)(nil).tokenSources("https://one.example"); got != nil {
		t.Errorf("a token for a tenant that is not there is handed to %v, wanted nobody", got)
	}
}

func TestDeniedRolesAreNotGranted(t *testing.T) {
	t.Parallel()
	g := grants{
		roles:         []store.Role{{Name: "user"}, {Name: "admin"}},
		organizations: []organizationGrant{{organization: store.Organization{ID: "sales"}, role: store.Role{Name: "user"}}, {organization: store.Organization{ID: "support"}, role: store.Role{Name: "user"}}},
	}
	for name, c := range map[string]struct {
		denied []DeniedGrant
		want   string // roles that stay
	}{
		"a role":                            {[]DeniedGrant{{Role: "admin"}}, "user user@sales user@support"},
		"a role in an organization":         {[]DeniedGrant{{Role: "user", OrganizationID: "sales"}}, "user admin user@support"},
		"a role of the tenant's, not there": {[]DeniedGrant{{Role: "user"}}, "admin user@sales user@support"},
	} {
		left := g.without(c.denied)
		var got []string
		for _, r := range left.roles {
			got = append(got, r.Name)
		}
		for _, o := range left.organizations {
			got = append(got, o.role.Name+"@"+o.organization.ID)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s is denied: %q stay, wanted %s", name, got, c.want)
		}
	}
}
