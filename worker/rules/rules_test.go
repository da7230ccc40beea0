package rules

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

const ruleTenant = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0"

// A ruled is a first login that meets all rules at once: it proves boss@acme.example, whom the directory names as owner, and
// there is a user with that address who waits for it. Each case of a test spoils one thing.
type ruled struct {
	tenant  Tenant
	source  providers.Source
	request providers.CreateUser
	draft   Draft
	user    store.User
	found   store.Found
}

func newRuled() *ruled {
	address := Email{Given: "Boss@acme.example", Key: "boss@acme.example", Domain: "acme.example"}
	r := &ruled{
		tenant: Tenant{ID: ruleTenant, Owner: "Boss@acme.example", OwnerKey: address.Key, RolesByID: map[string]store.Role{}},
		source: providers.Source{
			Tenant: ruleTenant, Name: "okta", Kind: providers.KindOIDC, Issuer: "https://okta.example", Domains: []string{"acme.example"}, Grants: []string{"user"},
		},
		request: providers.CreateUser{
			Shape: providers.ShapeLogin, AuthProvider: "oidc", Identity: &providers.Identity{Issuer: "https://okta.example", Subject: "boss"},
			EmailVerified: true,
		},
		draft: Draft{Email: address, EmailVerified: true, EmailReserved: true},
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
		"address not proved":         {func(r *ruled) { r.draft.EmailVerified = false }, other},
		"address not of the source":  {func(r *ruled) { r.draft.EmailReserved = false }, other},
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
		"linked, address not proved":        {func(r *ruled) { r.linked(); r.draft.EmailVerified = false }, other},
		"linked, address not of the source": {func(r *ruled) { r.linked(); r.draft.EmailReserved = false }, other},
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
		r.tenant.RolesByID["r1"] = store.Role{ID: "r1", Name: role}
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
		"address not proved":              {func(r *ruled) { r.draft.EmailVerified = false }, false},
		"address not of the source":       {func(r *ruled) { r.draft.EmailReserved = false }, false},
		"tenant names no owner":           {func(r *ruled) { r.tenant.Owner, r.tenant.OwnerKey = "", "" }, false},
		"neither owner nor address":       {func(r *ruled) { r.tenant.OwnerKey, r.draft.Email.Key = "", "" }, false},
		"another address":                 {func(r *ruled) { r.draft.Email.Key = "eve@acme.example" }, false},
		"a mailbox that only folds to it": {func(r *ruled) { r.draft.Email.Given = "Bo\u017f\u017f@acme.example" }, false},
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
		want   record.Outcome
	}{
		"the address is the user's":             {func(*ruled) {}, record.OutcomeUpdated},
		"the user has another address":          {func(r *ruled) { r.user.EmailKey = "eve@acme.example" }, record.OutcomeExists},
		"the user's mailbox only folds to it":   {func(r *ruled) { r.user.Email = "Bo\u017f\u017f@acme.example" }, record.OutcomeExists},
		"the address belongs to somebody else":  {func(r *ruled) { r.found.ByEmail = &store.User{ID: "u2"} }, record.OutcomeExists},
		"the address is kept for the same user": {func(r *ruled) { r.found.ByEmail = &r.user }, record.OutcomeUpdated},
	} {
		r := newRuled()
		r.found.ByIdentity, r.found.Identity = &r.user, store.FoundIdentity{Kind: "oidc", Source: "okta"}
		c.change(r)
		got, refusal := resolve(&r.tenant, &r.source, &r.request, &r.draft, r.found)
		if refusal != nil || got.Outcome != c.want || got.Owner != (c.want == record.OutcomeUpdated) {
			t.Errorf("%s: the login ends as %q, owner %v, refusal %v; wanted %q", name, got.Outcome, got.Owner, refusal, c.want)
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
		if got := anchors(&r.source, c.is, c.issuer); got != c.want {
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
		if len(faults) > 0 || d.EmailVerified != c.verified || d.EmailReserved != c.reserved {
			t.Errorf("%s: the address is proved: %v, and its user's alone: %v, with faults %v; wanted %v and %v", name, d.EmailVerified, d.EmailReserved, faults, c.verified, c.reserved)
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
			if (refusal != nil) != wanted || got.Unnamed != c.unname || login && refusal != nil && refusal.Reason != c.reason {
				t.Errorf("%s, login %v: the refusal is %v and the user goes without the name: %v; wanted a refusal: %v, and %v", name, login, refusal, got.Unnamed, wanted, c.unname)
			}
		}
	}
}

func TestAFirstLoginNeedsAProvedAddress(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*ruled)
		want   record.Code
	}{
		"proved":               {func(*ruled) {}, ""},
		"not proved":           {func(r *ruled) { r.draft.EmailVerified = false }, record.CodeUnverifiedEmail},
		"not proved, accepted": {func(r *ruled) { r.draft.EmailVerified, r.source.UnverifiedEmail = false, providers.AcceptUnverified }, ""},
		"claims at fault":      {func(r *ruled) { r.draft.Refusal = record.Reject(record.CodeInvalidRoles, "", "No.") }, record.CodeInvalidRoles},
	} {
		r := newRuled()
		c.change(r)
		_, refusal := resolve(&r.tenant, &r.source, &r.request, &r.draft, store.Found{})
		var got record.Code
		if refusal != nil {
			got = refusal.Code
		}
		if got != c.want {
			t.Errorf("%s: the login is refused as %q, wanted %q", name, got, c.want)
		}
	}
}

func TestAUserWhoWaitsIsTakenByTheRulesToo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*ruled)
		want   record.Outcome
	}{
		"all holds":                  {func(*ruled) {}, record.OutcomeLinked},
		"of another mailbox":         {func(r *ruled) { r.user.Email = "Bo\u017f\u017f@acme.example" }, record.OutcomeCreated},
		"role not of the source":     {func(r *ruled) { r.user.Roles = []string{"admin"} }, record.OutcomeCreated},
		"of sources of another kind": {func(r *ruled) { r.user.AuthProvider = "saml" }, record.OutcomeCreated},
	} {
		r := newRuled()
		c.change(r)
		got, refusal := resolve(&r.tenant, &r.source, &r.request, &r.draft, store.Found{Waiting: &r.user})
		if refusal != nil || got.Outcome != c.want {
			t.Errorf("%s: the login ends as %q, refusal %v; wanted %q", name, got.Outcome, refusal, c.want)
		}
	}
}

func TestRolesNeedAGrant(t *testing.T) {
	t.Parallel()
	role := func(name string) store.Role { return store.Role{TenantID: ruleTenant, ID: "role-" + name, Name: name} }
	tenant := &Tenant{
		ID: ruleTenant, DefaultRoles: []string{"user", "admin"},
		RolesByName:   map[string]store.Role{"user": role("user"), "admin": role("admin")},
		RolesByID:     map[string]store.Role{"role-user": role("user"), "role-admin": role("admin")},
		Organizations: map[string]store.Organization{"sales": {TenantID: ruleTenant, ID: "sales"}},
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
		code    record.Code
		want    []string // roles that are granted
	}{
		"granted":                        {roles("user"), false, "", []string{"user"}},
		"not granted":                    {roles("user", "admin"), false, record.CodeInvalidRoles, nil},
		"not declared, yet among grants": {roles("ghost"), false, record.CodeInvalidRoles, nil},
		"not granted, dropped":           {roles("user", "admin", "ghost"), true, "", []string{"user"}},
		"defaults":                       {providers.CreateUser{}, false, "", []string{"user"}},
		"in an organization":             {in("SALES", "role-user"), false, "", []string{"sales/user"}},
		"in one, not granted":            {in("sales", "role-admin"), false, record.CodeInvalidOrganizations, nil},
		"in one of another tenant":       {in("hangar", "role-user"), false, record.CodeInvalidOrganizations, nil},
		"in one, not declared":           {in("sales", "role-ghost"), false, record.CodeInvalidOrganizations, nil},
		"in one, not granted, dropping":  {in("sales", "role-admin"), true, record.CodeInvalidOrganizations, nil},
	} {
		src := &providers.Source{Name: "okta"}
		if c.drop {
			src.OnDeniedRole = providers.DeniedRoleDrop
		}
		c.request.Principal.Grants = []string{"user", "ghost", ""} // "" is the name of the role that is not there
		var d Draft
		var got record.Code
		if refusal := checkRoles(tenant, src, &c.request, &d); refusal != nil {
			got = refusal.Code
		}
		var granted []string
		for _, r := range d.Roles {
			granted = append(granted, r.Name)
		}
		for _, o := range d.Organizations {
			granted = append(granted, o.Organization.ID+"/"+o.Role.Name)
		}
		if got != c.code || got == "" && !slices.Equal(granted, c.want) {
			t.Errorf("%s: refused as %q with the roles %q granted, wanted %q and %q", name, got, granted, c.code, c.want)
		}
	}
}

func TestDeniedRolesAreNotGranted(t *testing.T) {
	t.Parallel()
	g := Grants{
		Roles:         []store.Role{{Name: "user"}, {Name: "admin"}},
		Organizations: []OrganizationGrant{{Organization: store.Organization{ID: "sales"}, Role: store.Role{Name: "user"}}, {Organization: store.Organization{ID: "support"}, Role: store.Role{Name: "user"}}},
	}
	for name, c := range map[string]struct {
		denied []record.DeniedGrant
		want   string // roles that stay
	}{
		"a role":                            {[]record.DeniedGrant{{Role: "admin"}}, "user user@sales user@support"},
		"a role in an organization":         {[]record.DeniedGrant{{Role: "user", OrganizationID: "sales"}}, "user admin user@support"},
		"a role of the tenant's, not there": {[]record.DeniedGrant{{Role: "user"}}, "admin user@sales user@support"},
	} {
		left := g.without(c.denied)
		var got []string
		for _, r := range left.Roles {
			got = append(got, r.Name)
		}
		for _, o := range left.Organizations {
			got = append(got, o.Role.Name+"@"+o.Organization.ID)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s is denied: %q stay, wanted %s", name, got, c.want)
		}
	}
}

func TestWhatThePoliciesAreAskedAndWhatBecomesOfTheirAnswer(t *testing.T) {
	t.Parallel()
	role := store.Role{TenantID: ruleTenant, ID: "r1", Name: "user"}
	allow := record.Decision{Allow: true}
	some := record.Decision{Allow: true, Denied: []record.DeniedGrant{{Role: "user"}}}
	for name, c := range map[string]struct {
		decision record.Decision
		outcome  record.Outcome
		drop     bool
		refused  string // reason
		granted  int
		linking  bool
	}{
		"created":                        {allow, record.OutcomeCreated, false, "", 1, false},
		"linked":                         {allow, record.OutcomeLinked, false, "", 0, true},
		"denied":                         {record.Decision{}, record.OutcomeCreated, false, "policy", 0, false},
		"denied, a source that drops":    {record.Decision{}, record.OutcomeCreated, true, "policy", 0, false},
		"in error":                       {record.Decision{PolicyError: true}, record.OutcomeCreated, true, "policy_error", 0, false},
		"in error, allowed nevertheless": {record.Decision{Allow: true, PolicyError: true}, record.OutcomeCreated, true, "policy_error", 0, false},
		"a role denied":                  {some, record.OutcomeCreated, false, "policy", 0, false},
		"a role denied, a source drops":  {some, record.OutcomeCreated, true, "", 0, false},
		"a link denied":                  {record.Decision{}, record.OutcomeLinked, false, "policy", 0, true},
	} {
		r := newRuled()
		r.tenant.RolesByName = map[string]store.Role{"user": role}
		if c.drop {
			r.source.OnDeniedRole = providers.DeniedRoleDrop
		}
		r.draft.Roles = []store.Role{role}
		request := Request{Action: record.ActionCreate, Tenant: &r.tenant, Source: &r.source, Event: &providers.Envelope{}, Asked: r.request, Draft: r.draft}
		res := Resolution{Outcome: c.outcome}
		if c.outcome == record.OutcomeLinked {
			res.User = &r.user
		}
		q := request.Authorization(res, 0)
		g, refusal := request.Permit(res, c.decision)
		got := ""
		if refusal != nil {
			got = refusal.Reason
		}
		if got != c.refused || len(g.Roles) != c.granted {
			t.Errorf("%s: refused for %q with %d roles granted, wanted %q and %d", name, got, len(g.Roles), c.refused, c.granted)
		}
		if q.Linking != c.linking || q.Existing != c.linking || (len(q.UserRoles) > 0) != c.linking || (len(q.Roles) > 0) == c.linking {
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
		var d Draft
		if got := (Passwords{Weak: c.accepts}).check(&providers.Envelope{}, &request, &d); len(got) != c.want {
			t.Errorf("a bcrypt hash of cost %d, weak ones taken: %v: the faults are %v, wanted %d", c.cost, c.accepts, got, c.want)
		}
	}
}

// Marks and isolates of direction are part of names that people write from right to left; overrides and embeddings turn
// letters round. A name that differs from another by a mark alone looks the same, and is no identity name of its own.
func TestMarksOfDirection(t *testing.T) {
	for name, ok := range map[string]bool{
		"\u05d3\u05e0\u05d4\u200f": true, "\u061c\u0645\u062d\u0645\u062f": true, "Ada\u200e": true, "\u2068\u05d9\u05d5\u05e1\u05d9\u2069 Levi": true,
		"\u2067\u2066Ada\u2069\u2069": true, "\u2068Ada": false, "Ada\u2069": false, "\u2069Ada\u2068": false,
		"A\u202eB": false, "\u202aAda\u202c": false, "\u202dAda\u202c": false, "\u200f": false, "\u2068\u2069": false, "\u200b": false, "\ufeffAnna": false, "A\u2060da": false,
	} {
		src := &providers.Source{Kind: providers.KindCommand, Name: providers.AdminSource}
		req := &providers.CreateUser{Shape: providers.ShapeTenant, AuthProvider: "oidc", Email: "a@acme.example", Name: name}
		if _, faults := validate(src, req); (len(faults) == 0) != ok {
			t.Errorf("the name %q has the faults %v, want that it is accepted: %v", name, faults, ok)
		}
	}
	for _, mark := range []string{"\u200e", "\u200f", "\u061c", "\u2068", "\u2069"} {
		if NameSkeleton("ada"+mark) != NameSkeleton("ada") {
			t.Errorf("ada with %q has another skeleton than ada, want the same, as it looks the same", mark)
		}
		src := &providers.Source{Kind: providers.KindCommand, Name: providers.AdminSource}
		req := &providers.CreateUser{Shape: providers.ShapeTenant, AuthProvider: "oidc", Email: "a@acme.example", Name: "Ada", IdentityName: "ada" + mark}
		if _, faults := validate(src, req); len(faults) == 0 {
			t.Errorf("the identity name ada with %q is accepted, want a fault: it is a key", mark)
		}
		if _, err := ParseEmail("ada" + mark + "@acme.example"); err == nil {
			t.Errorf("an address with %q is accepted, want a fault", mark)
		}
	}
	given, family := splitName("\u2068Yossi Levi\u2069")
	if given != "Yossi" || family != "Levi" {
		t.Errorf("a name within an isolate is split into %q and %q, want whole texts", given, family)
	}
}
