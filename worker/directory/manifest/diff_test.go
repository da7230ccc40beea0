package manifest_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/directory/manifest"
)

const (
	acme = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	beta = "9b000000-0000-4000-8000-000000000002"
	gone = "ff000000-0000-4000-8000-000000000003"
)

// before and after are two directories with every kind of difference between them.
func before() store.Directory {
	return store.Directory{
		Revision: 7,
		Tenants:  []store.Tenant{{ID: acme, Name: "acme", Owner: "a@acme.example", OwnerKey: "a@acme.example", DefaultRoles: []string{"user"}}, {ID: gone, Name: "zeta"}},
		Roles: []store.Role{
			{ID: "r1", TenantID: acme, Name: "user", Scope: store.ScopeTenant},
			{ID: "r2", TenantID: acme, Name: "admin", Scope: store.ScopeTenant},
			{ID: "r3", TenantID: acme, Name: "viewer", Scope: store.ScopeOrganization},
			{ID: "r9", TenantID: gone, Name: "user", Scope: store.ScopeTenant},
		},
		Organizations: []store.Organization{{ID: "o1", TenantID: acme, Name: "Sales"}, {ID: "o2", TenantID: acme, Name: "Legal"}},
		Sources: []store.Source{
			{TenantID: acme, Name: "adfs", Kind: "saml", Config: []byte(`{"metadata":"<old/>","idp_initiated":true}`)},
			{TenantID: acme, Name: "okta", Kind: "oidc", Config: []byte(`{"issuer":"https://a.example","audiences":["x"],"mapping":{"email":"claims.email","name":"claims.n"},"max_event_age":172800000000000}`)},
			{TenantID: acme, Name: "same", Kind: "feed", Config: []byte(`{"format":"user"}`)},
		},
		Policies: []store.Policy{{Name: "a.cedar", Text: "one\ntwo\nthree\n"}, {Name: "b.cedar", Text: "x\n"}, {Name: "c.cedar", Text: "stays\n"}},
	}
}

func after() store.Directory {
	return store.Directory{
		Tenants: []store.Tenant{{ID: acme, Name: "Acme", DefaultRoles: []string{"user", "staff"}}, {ID: beta, Name: "beta", Owner: "b@beta.example"}},
		Roles: []store.Role{
			{TenantID: acme, Name: "user", Scope: store.ScopeTenant},
			{TenantID: acme, Name: "staff", Scope: store.ScopeTenant},
			{ID: "r3", TenantID: acme, Name: "reader", Scope: store.ScopeOrganization},
			{TenantID: acme, Name: "user", Scope: store.ScopeOrganization},
			{TenantID: beta, Name: "user", Scope: store.ScopeTenant},
		},
		Organizations: []store.Organization{{ID: "o1", TenantID: acme, Name: "Sales EMEA"}, {ID: "o3", TenantID: acme, Name: "IT"}},
		Sources: []store.Source{
			{TenantID: acme, Name: "adfs", Kind: "saml", Config: []byte(`{"metadata":"<new/>"}`)},
			{TenantID: acme, Name: "okta", Kind: "oidc", Config: []byte(`{"issuer":"https://a.example","audiences":["x","y"],"mapping":{"email":"claims.mail","roles":"claims.groups"},"max_event_age":5400000000000}`)},
			{TenantID: acme, Name: "same", Kind: "feed", Config: []byte(`{"format":"user"}`)},
			{TenantID: beta, Name: "hr", Kind: "feed", Config: []byte(`{"format":"scim","grants":["user"]}`)},
		},
		Policies: []store.Policy{{Name: "a.cedar", Text: "one\n2\nthree\n"}, {Name: "c.cedar", Text: "stays\n"}, {Name: "d.cedar", Text: "new\x1b[2J\n"}},
	}
}

func TestDiff(t *testing.T) {
	have := before()
	changes := manifest.Diff(kinds(), have, manifest.Complete(have, after()))
	var plain, coloured strings.Builder
	if err := changes.Render(&plain, false); err != nil {
		t.Fatal(err)
	}
	if err := changes.Render(&coloured, true); err != nil {
		t.Fatal(err)
	}
	out, err := json.MarshalIndent(changes, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/diff.golden", plain.String())
	golden(t, "testdata/diff.json.golden", string(out)+"\n")
	if strings.Contains(plain.String(), "\x1b") {
		t.Error("an escape sequence without colours")
	}
	bare := strings.NewReplacer("\x1b[31m", "", "\x1b[32m", "", "\x1b[33m", "", "\x1b[0m", "").Replace(coloured.String())
	if bare != plain.String() || bare == coloured.String() {
		t.Errorf("colours change the text, want the plain one: %q", coloured.String())
	}
}

func TestDiffOfEqualsIsEmpty(t *testing.T) {
	have := before()
	want := before()
	want.Revision = 0
	for i := range want.Roles {
		want.Roles[i].ID = "" // the file names no ids
	}
	changes := manifest.Diff(kinds(), have, manifest.Complete(have, want))
	if len(changes) > 0 {
		t.Errorf("equal directories have the changes %+v, want none", changes)
	}
	var b strings.Builder
	if err := changes.Render(&b, false); err != nil || b.String() != "" {
		t.Errorf("no changes are shown as %q with the error %v, want nothing", b.String(), err)
	}
}

// A role that is renamed by its id, while another takes the old name, keeps its id; the other gets one of its own.
func TestCompleteLeavesTakenIDs(t *testing.T) {
	have := store.Directory{Roles: []store.Role{{ID: "r1", TenantID: acme, Name: "user", Scope: store.ScopeTenant}}}
	want := manifest.Complete(have, store.Directory{Roles: []store.Role{
		{ID: "r1", TenantID: acme, Name: "member", Scope: store.ScopeTenant},
		{TenantID: acme, Name: "user", Scope: store.ScopeTenant},
	}})
	if want.Roles[0].ID != "r1" || want.Roles[1].ID != "" {
		t.Errorf("the roles are %+v, want the id r1 with its first role alone", want.Roles)
	}
	changes := manifest.Diff(kinds(), have, want)
	if len(changes) != 2 || changes.Count(manifest.Change) != 1 || changes.Count(manifest.Add) != 1 {
		t.Errorf("the changes are %+v, want one changed and one added", changes)
	}
}

func TestCompleteChangesNoneOfItsArguments(t *testing.T) {
	have, want := before(), after()
	manifest.Complete(have, want)
	if want.Roles[0].ID != "" {
		t.Error("the declared directory was changed")
	}
}
