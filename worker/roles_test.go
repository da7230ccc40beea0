package worker_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// droppingDirectory is the default one with a source that leaves out the roles it may not grant.
var droppingDirectory = strings.Replace(workertest.Directory, "        unknown_roles: reject\n", "        on_denied_role: drop\n", 1)

func TestRoleClaimHasFourStates(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	s := newScene(t, d)
	for name, c := range map[string]struct {
		claim any // nil is absent
		roles []string
	}{
		"absent: the source's default":      {nil, []string{"user"}},
		"empty: none":                       {[]string{}, []string{}},
		"one string: that":                  {"admin", []string{"admin"}},
		"a list: those":                     {[]string{"user", "admin"}, []string{"admin", "user"}},
		"a list with a repeat: each once":   {[]string{"user", "user"}, []string{"user"}},
		"a list without the default: those": {[]string{"admin"}, []string{"admin"}},
	} {
		subject := "p" + strings.Map(onlyLetters, name)
		r := s.login(acme, "okta", d.Person(subject).With(workertest.Claims{"groups": c.claim}))
		s.want(r, 201, record.OutcomeCreated)
		if got := texts(r.Body["roles"]); !slices.Equal(got, c.roles) {
			t.Errorf("%s: the user has the roles %v, want %v", name, got, c.roles)
		}
		if u := d.User(acme, subject+"@acme.example"); !slices.Equal(u.Roles, c.roles) && len(u.Roles)+len(c.roles) > 0 {
			t.Errorf("%s: the store has the roles %v, want %v", name, u.Roles, c.roles)
		}
	}
	many := make([]string, 201)
	for i := range many {
		many[i] = fmt.Sprintf("g%d", i)
	}
	for name, claims := range map[string]workertest.Claims{
		"commas in a string":      {"groups": "user,admin"},
		"a number":                {"groups": 7},
		"an object":               {"groups": map[string]any{"user": true}},
		"a list with a number":    {"groups": []any{"user", 7}},
		"a list with an empty":    {"groups": []any{"user", ""}},
		"too many":                {"groups": many},
		"left out for its length": {"_claim_names": map[string]any{"groups": "src1"}, "_claim_sources": map[string]any{"src1": map[string]any{"endpoint": "https://graph.example"}}},
		"said to be elsewhere":    {"hasgroups": true},
	} {
		r := s.login(acme, "okta", d.Person("p"+strings.Map(onlyLetters, name)).With(claims))
		s.want(r, 400, record.OutcomeRejected)
		if fields := fieldsOf(r); r.Code != record.CodeInvalidInput || len(fields) != 1 || !strings.HasPrefix(fields[0], "roles") {
			t.Errorf("%s: the login gets %s, want a fault of roles alone", name, r.Data)
		}
	}
}

func onlyLetters(r rune) rune {
	if r < 'a' || r > 'z' {
		return -1
	}
	return r
}

func texts(v any) []string {
	list, _ := v.([]any)
	out := make([]string, len(list))
	for i := range list {
		out[i], _ = list[i].(string)
	}
	return out
}

func TestDefaultRolesOfTheTenantApplyWhereTheSourceHasNone(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	s := newScene(t, d)
	if r := s.login(acme, "ping", d.PersonAt(d.Second, "ada")); !slices.Equal(texts(r.Body["roles"]), []string{"user"}) {
		t.Errorf("a source without default roles gives %s, want the role user of the tenant", r.Data)
	}
	if r := s.login(globex, "okta", d.Person("ada")); len(texts(r.Body["roles"])) != 0 || r.Status != 201 {
		t.Errorf("a tenant without default roles gives %s, want 201 without roles", r.Data)
	}
	if r := s.feed(acme, "workday", tenantUser("hired", "oidc")); !slices.Equal(texts(r.Body["roles"]), []string{"user"}) {
		t.Errorf("a feed without default roles gives %s, want the role user of the tenant", r.Data)
	}
	d.Apply(strings.Replace(workertest.Directory, "default_roles: [user]\n    roles", "default_roles: [auditor]\n    roles", 1))
	n := 0
	d.Eventually("for the change to reach the worker", func() bool {
		n++
		r := s.login(acme, "ping", d.PersonAt(d.Second, fmt.Sprintf("later%d", n)))
		return r.Status == 201 && len(texts(r.Body["roles"])) == 0 // which this source may not grant
	})
}

func TestRolesThatCannotBeGrantedAreListedTogetherAndAlike(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	s := newScene(t, d)
	r := s.login(acme, "okta", d.Person("ada").With(workertest.Claims{"groups": []string{"user", "nope", "auditor", "captain", "viewer", "pilot"}}))
	s.want(r, 422, record.OutcomeRejected)
	if got := texts(detail(r, "roles")); r.Code != record.CodeInvalidRoles || !slices.Equal(got, []string{"auditor", "captain", "nope", "pilot", "viewer"}) {
		t.Errorf("the login gets %s, want invalid_roles with every role that can't be granted", r.Data)
	}
	answer := func(role string) string {
		r := s.login(acme, "okta", d.Person("ada").With(workertest.Claims{"groups": []string{role}}))
		if letter := d.AwaitLetter(r.EventID); letter.Code != record.CodeInvalidRoles {
			t.Errorf("the dead letter of the role %s has the header %v, want code invalid_roles", role, letter.Header)
		}
		return strings.ReplaceAll(string(r.Data), role, "ROLE")
	}
	unknown := answer("nope")
	for _, role := range []string{"auditor", "captain", "viewer"} {
		if got := answer(role); got != unknown {
			t.Errorf("%s can be told from an unknown role: %s, %s", role, got, unknown)
		}
	}
	if n := len(d.Users(acme)); n != 0 {
		t.Errorf("there are %d users, want none", n)
	}
}

func TestRolesOfAUserStayAsTheyWereAtALaterLogin(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	s := newScene(t, d)
	s.login(acme, "okta", d.Person("ada").With(workertest.Claims{"groups": "admin"}))
	r := s.login(acme, "okta", d.Person("ada").With(workertest.Claims{"groups": "user"}))
	s.want(r, 200, record.OutcomeExists)
	if got := texts(r.Body["roles"]); !slices.Equal(got, []string{"admin"}) {
		t.Errorf("after a login with the role user the roles are %v, want admin as before", got)
	}
}

func TestSourceThatDropsDeniedRolesGrantsTheRest(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{Directory: droppingDirectory})
	s := newScene(t, d)
	r := s.login(acme, "okta", d.Person("ada").With(workertest.Claims{"groups": []string{"nope", "user", "auditor"}}))
	s.want(r, 201, record.OutcomeCreated)
	if got := texts(r.Body["roles"]); !slices.Equal(got, []string{"user"}) {
		t.Errorf("the user has the roles %v, want the one that can be granted, user", got)
	}
	if got := r.Header.Get(record.HeaderDroppedRoles); got != `["auditor","nope"]` {
		t.Errorf("the result lists the dropped roles %s, want auditor and nope", got)
	}
}

func TestOrganizationsThatCannotBeGrantedAreListedTogetherAndAlike(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	s := newScene(t, d)
	const nowhere = "0a000000-0000-4000-8000-00000000dead"
	body := with(organizationUser("ada"), map[string]any{"organizations": []map[string]string{
		{"organizationId": workertest.Sales, "roleId": workertest.Viewer},
		{"organizationId": nowhere, "roleId": workertest.Viewer},
		{"organizationId": workertest.Hangar, "roleId": workertest.Viewer},
		{"organizationId": strings.ToUpper(workertest.Support), "roleId": nowhere},
		{"organizationId": workertest.Sales, "roleId": workertest.Pilot},
	}})
	r := s.feed(acme, "workday", body)
	s.want(r, 422, record.OutcomeRejected)
	list, _ := detail(r, "organizations").([]any)
	var fields []string
	for _, o := range list {
		entry, _ := o.(map[string]any)
		fields = append(fields, fmt.Sprint(entry["field"]))
		if len(entry) != 3 {
			t.Errorf("an entry tells more than what was asked: %v", entry)
		}
	}
	if r.Code != record.CodeInvalidOrganizations || !slices.Equal(fields, []string{"organizations[1]", "organizations[2]", "organizations[3]", "organizations[4]"}) {
		t.Errorf("the event gets %s, want invalid_organizations with the four that can't be granted", r.Data)
	}
	body["organizations"] = []map[string]string{
		{"organizationId": strings.ToUpper(workertest.Sales), "roleId": strings.ToUpper(workertest.Viewer)},
		{"organizationId": workertest.Sales, "roleId": workertest.Viewer},
		{"organizationId": workertest.Support, "roleId": workertest.Viewer},
	}
	s.want(s.feed(acme, "workday", body), 201, record.OutcomeCreated)
	if u := d.User(acme, "ada@acme.example"); len(u.Organizations) != 2 || len(u.Roles) != 1 {
		t.Errorf("the user has the organizations %+v and roles %v, want two and one", u.Organizations, u.Roles)
	}
}

// Every real token has groups that are no roles. A source of logins that says nothing of them leaves them out and says so;
// one that rejects them, a command and a feed do not.
func TestUnknownRolesOfALoginAreLeftOutUnlessItsSourceRejectsThem(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{Directory: strings.Replace(workertest.Directory, "        unknown_roles: reject\n", "", 1)})
	s := newScene(t, d)
	r := s.login(acme, "okta", d.Person("ada").With(workertest.Claims{"groups": []string{"VPN users", "user", "auditor", "captain"}}))
	s.want(r, 201, record.OutcomeCreated)
	if got := texts(r.Body["roles"]); !slices.Equal(got, []string{"user"}) {
		t.Errorf("the user has the roles %v, want the one that the tenant has and the source may grant, user", got)
	}
	if got := r.Header.Get(record.HeaderDroppedRoles); got != `["VPN users","auditor","captain"]` {
		t.Errorf("the result lists the roles left out as %s, want three of them", got)
	}
	if got := r.Header.Get(record.HeaderNotices); !strings.Contains(got, "left out") || !strings.Contains(got, "VPN users, auditor, captain") {
		t.Errorf("the notices are %s, want one that names what was left out", got)
	}
	r = s.login(acme, "okta", d.Person("ada").With(workertest.Claims{"groups": []string{"another"}}))
	s.want(r, 200, record.OutcomeExists)
	if got := r.Header.Get(record.HeaderDroppedRoles) + r.Header.Get(record.HeaderNotices); got != "" {
		t.Errorf("a later login, whose groups have no effect, says of them %s, want nothing", got)
	}
	r = s.login(acme, "okta", d.Person("eve").With(workertest.Claims{"groups": []string{"user,admin"}}))
	if s.want(r, 400, record.OutcomeRejected); !strings.Contains(string(r.Data), "commas") {
		t.Errorf("several roles in one string give %s, want a fault that says so", r.Data)
	}
	r = s.login(acme, "okta", d.Person("bob").With(workertest.Claims{"groups": []string{"CN=Admins,DC=acme,DC=example"}}))
	if s.want(r, 201, record.OutcomeCreated); len(texts(r.Body["roles"])) != 0 {
		t.Errorf("a group of a directory gives %s, want 201 with no role, as it is none", r.Data)
	}
	s.want(s.login(acme, "ping", d.PersonAt(d.Second, "eva").With(workertest.Claims{"groups": []string{"user", "VPN users"}})), 422, record.OutcomeRejected)
	s.want(s.feed(acme, "workday", with(tenantUser("hired", "oidc"), map[string]any{"roles": []string{"user", "VPN users"}})), 422, record.OutcomeRejected)
}
