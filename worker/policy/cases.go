package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

// A Verdict is a decision in one word.
type Verdict string

// The verdicts.
const (
	VerdictAllow   Verdict = "allow"   // the user, and every role that was asked for
	VerdictPartial Verdict = "partial" // the user, but not every role; the source's on_denied_role decides
	VerdictDeny    Verdict = "deny"    // not the user
	VerdictError   Verdict = "error"   // a policy could not be evaluated, so nothing
)

// VerdictOf returns the verdict of a decision.
func VerdictOf(d record.Decision) Verdict {
	switch {
	case d.PolicyError:
		return VerdictError
	case !d.Allow:
		return VerdictDeny
	case len(d.Denied) > 0:
		return VerdictPartial
	default:
		return VerdictAllow
	}
}

// A Case is a request and what the policies are to say to it. What is nil in Policies, Notices and Denied is not compared.
type Case struct {
	Name     string
	Line     int
	Request  record.AuthorizationRequest
	Decision Verdict
	Policies []string // all that had a part in the decision, those of denied roles too
	Notices  []string // likewise
	Denied   []string // names of the denied roles
}

// A Result is what became of one case.
type Result struct {
	Name        string   `json:"name"`
	Line        int      `json:"line"`
	OK          bool     `json:"ok"`
	Decision    Verdict  `json:"decision"`
	Policies    []string `json:"policies"`
	Notices     []string `json:"notices"`
	Denied      []string `json:"denied"`
	Errors      []string `json:"errors,omitempty"`
	Differences []string `json:"differences,omitempty"` // expected against found, a line each
}

// A Report is what became of all cases.
type Report struct {
	Passed  int      `json:"passed"`
	Failed  int      `json:"failed"`
	Results []Result `json:"results"`
}

// RunCases decides each case by the set and compares.
func RunCases(set *Set, cases []Case) Report {
	r := Report{Results: make([]Result, 0, len(cases))}
	for _, c := range cases {
		result := c.run(set)
		if result.OK {
			r.Passed++
		} else {
			r.Failed++
		}
		r.Results = append(r.Results, result)
	}
	return r
}

func (c Case) run(set *Set) Result {
	d := set.decide(c.Request)
	policies, notices, denied := d.Policies, d.Notices, []string{}
	for _, g := range d.Denied {
		policies = append(policies, g.Policies...)
		notices = append(notices, g.Notices...)
		denied = append(denied, g.Role)
	}
	r := Result{
		Name: c.Name, Line: c.Line, Decision: VerdictOf(d), Errors: d.Errors,
		Policies: sorted(policies), Notices: sorted(notices), Denied: sorted(denied),
	}
	if c.Decision != r.Decision {
		r.Differences = append(r.Differences, fmt.Sprintf("decision: expected %s, found %s", c.Decision, r.Decision))
	}
	for _, list := range []struct {
		name       string
		want, have []string
	}{{"policies", c.Policies, r.Policies}, {"notices", c.Notices, r.Notices}, {"denied", c.Denied, r.Denied}} {
		if list.want != nil && !slices.Equal(sorted(list.want), list.have) {
			r.Differences = append(r.Differences, fmt.Sprintf("%s: expected %q, found %q", list.name, sorted(list.want), list.have))
		}
	}
	r.OK = len(r.Differences) == 0
	return r
}

// ReadCases reads a file of cases, YAML or JSON:
//
//	request: {tenant: 2489e9ad-…, kind: oidc, source: okta, grants: [user]}   # what all cases have in common
//	cases:
//	  - name: a login with a verified address
//	    request: {email: ann@acme.example, email_verified: true, roles: [{name: user}]}
//	    expect: {decision: allow, notices: []}
//
// Unknown keys are faults, and all faults are told at once ([strictyaml.Faults]).
func ReadCases(file string, data []byte) ([]Case, error) {
	doc := strictyaml.Parse(file, data)
	root := doc.Root().Mapping()
	if !root.Present() {
		root.Fail("write cases: [{name: …, request: {…}, expect: {…}}]", "there are no cases")
	}
	base := record.AuthorizationRequest{Door: providers.DoorStream}
	if v := root.Get("request"); v.Present() {
		base = readRequest(v.Mapping(), base)
	}
	var cases []Case
	names := map[string]bool{}
	list := root.Require("cases", "write cases: [{name: …, request: {…}, expect: {…}}]")
	for _, item := range list.List() {
		m := item.Mapping()
		c := Case{}
		c.Line, _ = item.Position()
		name := m.Require("name", "say in a few words what the case shows")
		if c.Name = name.Text(); c.Name != "" && names[c.Name] {
			name.Fail("give each case a name of its own", "two cases are called %q", c.Name)
		}
		names[c.Name] = true
		c.Request = readRequest(m.Get("request").Mapping(), base)
		if c.Request.Tenant == "" {
			m.Fail("give it in the request of the case or of the file", "tenant is missing")
		}
		if c.Request.Principal.ID == "" {
			m.Fail("give source, credential or kind: command in the request", "there is no principal")
		}
		if !c.Request.Linking && len(c.Request.UserRoles)+len(c.Request.UserOrganizations) > 0 {
			m.Fail("add linking: true to the request", "user_roles and user_organizations are those of a user to be linked, and nothing is linked")
		}
		c.expect(m.Require("expect", "write expect: {decision: allow}"))
		m.Close()
		cases = append(cases, c)
	}
	if list.Present() && len(cases) == 0 {
		list.Fail("write at least one", "there are no cases")
	}
	root.Close()
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return cases, nil
}

func (c *Case) expect(v strictyaml.Value) {
	m := v.Mapping()
	decision := m.Require("decision", "allow, partial, deny or error")
	c.Decision = Verdict(decision.Text())
	oneOf(decision, string(VerdictAllow), string(VerdictPartial), string(VerdictDeny), string(VerdictError))
	c.Policies = texts(m.Get("policies"))
	c.Notices = texts(m.Get("notices"))
	c.Denied = texts(m.Get("denied"))
	m.Close()
}

// texts returns the items of a list of texts: nil when it is absent, and not nil when it is empty.
func texts(v strictyaml.Value) []string {
	if !v.Present() {
		return nil
	}
	out := []string{}
	for _, item := range v.List() {
		out = append(out, item.Text())
	}
	return out
}

func oneOf(v strictyaml.Value, words ...string) {
	if s := v.Text(); s != "" && !slices.Contains(words, s) {
		v.Fail(strictyaml.DidYouMean(s, words), "unknown word %q", s)
	}
}

// readRequest reads a request over what it has from the file's own one.
func readRequest(m *strictyaml.Mapping, r record.AuthorizationRequest) record.AuthorizationRequest {
	text := func(key string, set func(string)) {
		if v := m.Get(key); v.Present() {
			set(v.Text())
		}
	}
	flag := func(key string, to *bool) {
		if v := m.Get(key); v.Present() {
			*to = v.Bool()
		}
	}
	text("tenant", func(s string) { r.Tenant, r.PrincipalTenant = strings.ToLower(s), strings.ToLower(s) })
	text("tenant_name", func(s string) { r.TenantName = s })
	if kind := m.Get("kind"); kind.Present() {
		oneOf(kind, "oidc", "saml", "feed", "command")
		setKind(&r, providers.Kind(kind.Text()))
	}
	text("source", func(s string) {
		r.Source = s
		r.Principal.Kind, r.Principal.ID, r.Principal.Name = providers.PrincipalSource, s, s
	})
	text("credential", func(s string) {
		r.Principal.Kind, r.Principal.ID, r.Principal.Name = providers.PrincipalCredential, s, s
	})
	text("principal_name", func(s string) { r.Principal.Name = s })
	text("principal_tenant", func(s string) { r.PrincipalTenant = strings.ToLower(s) })
	if v := m.Get("grants"); v.Present() {
		r.Principal.Grants = texts(v)
	}
	text("issuer", func(s string) { r.Issuer = s })
	if v := m.Get("door"); v.Present() {
		oneOf(v, "stream", "rpc", "http")
		r.Door = providers.Door(v.Text())
	}
	if v := m.Get("shape"); v.Present() {
		oneOf(v, "login", "tenant", "organization", "feed")
		r.Shape = providers.Shape(v.Text())
	}
	if v := m.Get("auth_provider"); v.Present() {
		oneOf(v, "local", "oidc", "saml")
		r.AuthProvider = v.Text()
	}
	text("email", func(s string) { r.EmailDomain = strings.ToLower(s[strings.LastIndexByte(s, '@')+1:]) })
	text("email_domain", func(s string) { r.EmailDomain = s })
	flag("email_verified", &r.EmailVerified)
	if v := m.Get("linking"); v.Present() {
		r.Linking = v.Bool()
		r.Existing = r.Existing || r.Linking
	}
	flag("existing", &r.Existing)
	flag("owner", &r.Owner)
	flag("replayed", &r.Replayed)
	if v := m.Get("age"); v.Present() {
		r.Age = v.Duration()
	}
	r.Roles = readRoles(m.Get("roles"), r.Roles, r.Tenant)
	r.Organizations = readOrganizations(m.Get("organizations"), r.Organizations, r.Tenant)
	r.UserRoles = readRoles(m.Get("user_roles"), r.UserRoles, r.Tenant)
	r.UserOrganizations = readOrganizations(m.Get("user_organizations"), r.UserOrganizations, r.Tenant)
	if v := m.Get("attributes"); v.Present() {
		attributes := v.Mapping()
		r.Attributes = map[string]any{}
		for _, name := range attributes.Names() {
			r.Attributes[name] = texts(attributes.Get(name))
		}
	}
	m.Close()
	return r
}

// setKind sets what follows from the kind of a source, before anything that is said outright.
func setKind(r *record.AuthorizationRequest, kind providers.Kind) {
	r.SourceKind = kind
	switch kind {
	case providers.KindOIDC, providers.KindSAML:
		r.Shape, r.AuthProvider = providers.ShapeLogin, string(kind)
	case providers.KindFeed:
		r.Shape, r.AuthProvider = providers.ShapeFeed, string(providers.KindOIDC)
	case providers.KindCommand:
		r.Shape, r.AuthProvider, r.Source = providers.ShapeTenant, "local", providers.AdminSource
		r.Principal.Kind, r.Principal.ID = providers.PrincipalCredential, "credential"
	}
}

// readRoles reads a list of roles. An absent one leaves those that are there.
func readRoles(v strictyaml.Value, roles []record.RequestedRole, tenant string) []record.RequestedRole {
	if !v.Present() {
		return roles
	}
	roles = nil
	for _, item := range v.List() {
		role := item.Mapping()
		roles = append(roles, record.RequestedRole{
			Tenant: tenantOf(role, tenant), ID: strings.ToLower(role.Get("id").Text()), Name: role.Require("name", "the role's name").Text(),
		})
		role.Close()
	}
	return roles
}

// readOrganizations reads a list of roles in organizations, likewise.
func readOrganizations(v strictyaml.Value, organizations []record.RequestedOrganization, tenant string) []record.RequestedOrganization {
	if !v.Present() {
		return organizations
	}
	organizations = nil
	for _, item := range v.List() {
		o := item.Mapping()
		organizations = append(organizations, record.RequestedOrganization{
			Tenant:           tenantOf(o, tenant),
			OrganizationID:   strings.ToLower(o.Require("id", "the organization's id").Text()),
			OrganizationName: o.Get("name").Text(),
			RoleID:           strings.ToLower(o.Get("role_id").Text()),
			RoleName:         o.Require("role", "the role's name").Text(),
		})
		o.Close()
	}
	return organizations
}

func tenantOf(m *strictyaml.Mapping, otherwise string) string {
	if v := m.Get("tenant"); v.Present() {
		return strings.ToLower(v.Text())
	}
	return otherwise
}
