package policy_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/command"
	"github.com/idpsync/idpsync/providers/feed"
	"github.com/idpsync/idpsync/providers/oidc"
	"github.com/idpsync/idpsync/providers/saml"
	"github.com/idpsync/idpsync/worker/policy"
)

// kinds are those that cases may name.
func kinds() providers.Kinds {
	return providers.Kinds{oidc.Kind(), saml.Kind(), feed.Kind(), command.Kind()}
}

const deploy = "../../deploy/policies"

func TestShippedSchemaIsTheEmbeddedOne(t *testing.T) {
	shipped, err := os.ReadFile(filepath.Join(deploy, "idpsync.cedarschema"))
	if err != nil {
		t.Fatal(err)
	}
	if string(shipped) != policy.Schema() {
		t.Error("deploy/policies/idpsync.cedarschema differs from worker/policy/idpsync.cedarschema; copy it over")
	}
}

func TestShippedExamples(t *testing.T) {
	files, err := policy.Load(os.DirFS(deploy), "examples")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("there are no example policies")
	}
	set, err := policy.Compile(files)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(deploy, "examples/cases.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	cases, err := policy.ReadCases(kinds(), "cases.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	report := policy.RunCases(set, cases)
	for _, r := range report.Results {
		if !r.OK {
			t.Errorf("cases.yaml:%d: %s fails, want it to pass: %q %q", r.Line, r.Name, r.Differences, r.Errors)
		}
	}
	// Each example policy decides one of the cases, so none of them is there for show.
	decided := map[string]bool{}
	for _, r := range report.Results {
		for _, id := range r.Policies {
			decided[id] = true
		}
	}
	for _, p := range set.Policies() {
		if !p.Builtin && !decided[p.ID] {
			t.Errorf("no case shows what %s does", p.ID)
		}
	}
}

func TestCasesSayWhatDiffers(t *testing.T) {
	cases, err := policy.ReadCases(kinds(), "c.yaml", []byte(`
request: {tenant: `+tenantA+`, kind: saml, source: adfs, grants: [user]}
cases:
  - name: expects too much
    request: {roles: [{name: admin}]}
    expect: {decision: allow, policies: [builtin.create-user], notices: [], denied: []}
  - name: is right
    request: {roles: [{name: user}]}
    expect: {decision: allow}
  - name: asks for ownership
    request: {owner: true}
    expect: {decision: deny}
  - name: asks for ownership with a verified address
    request: {owner: true, email_verified: true}
    expect: {decision: allow}
  - name: links an administrator
    request: {linking: true, user_roles: [{name: admin}], user_organizations: [{id: `+sales+`, role: viewer}]}
    expect: {decision: allow, policies: [builtin.create-user, builtin.link-user]}
  - name: comes from another tenant
    request: {principal_tenant: `+tenantB+`}
    expect: {decision: deny, policies: [builtin.own-tenant]}
`))
	if err != nil {
		t.Fatal(err)
	}
	report := policy.RunCases(compile(t), cases)
	if report.Passed != 5 || report.Failed != 1 {
		t.Fatalf("the report is %+v, want 5 passed and 1 failed", report)
	}
	r := report.Results[0]
	want := []string{
		"decision: expected allow, found partial",
		`policies: expected ["builtin.create-user"], found ["builtin.create-user" "builtin.granted-roles"]`,
		`notices: expected [], found ["The role is not among the grants of the sender."]`,
		`denied: expected [], found ["admin"]`,
	}
	if r.OK || r.Line != 4 || !slices.Equal(r.Differences, want) {
		t.Errorf("the first result is %+v, want a failure of line 4 with the differences %q", r, want)
	}
}

// A file of cases that is written carelessly proves nothing, so it is refused.
func TestCasesAreReadStrictly(t *testing.T) {
	head := "request: {tenant: " + tenantA + ", kind: oidc, source: okta}\n"
	for _, c := range []struct{ name, text, says string }{
		{"Nothing", "", "there are no cases"},
		{"NoList", head, "cases is missing"},
		{"NoCases", head + "cases: []", "there are no cases"},
		{"UnknownKey", head + "cases: [{name: a, request: {emial: x}, expect: {decision: allow}}]", `unknown key "emial" (did you mean "email"?)`},
		{"UnknownKeyOfAFile", head + "case: []\ncases: [{name: a, expect: {decision: allow}}]", `unknown key "case"`},
		{"UnknownKeyOfARole", head + "cases: [{name: a, request: {roles: [{nam: x}]}, expect: {decision: allow}}]", `unknown key "nam"`},
		{"UnknownDecision", head + "cases: [{name: a, expect: {decision: alow}}]", `unknown word "alow" (did you mean "allow"?)`},
		{"UnknownDoor", head + "cases: [{name: a, request: {door: htpp}, expect: {decision: allow}}]", `unknown word "htpp"`},
		{"NoDecision", head + "cases: [{name: a, expect: {notices: []}}]", "decision is missing"},
		{"NoExpectation", head + "cases: [{name: a}]", "expect is missing"},
		{"NoName", head + "cases: [{expect: {decision: allow}}]", "name is missing"},
		{"SameName", head + "cases: [{name: a, expect: {decision: allow}}, {name: a, expect: {decision: deny}}]", "two cases are called"},
		{"NoTenant", "cases: [{name: a, request: {kind: oidc, source: okta}, expect: {decision: allow}}]", "tenant is missing"},
		{"NoPrincipal", "cases: [{name: a, request: {tenant: " + tenantA + ", kind: oidc}, expect: {decision: allow}}]", "there is no principal"},
		{"NumberForText", head + "cases: [{name: a, request: {grants: [1]}, expect: {decision: allow}}]", "must be text"},
		{"TextForFlag", head + `cases: [{name: a, request: {replayed: "true"}, expect: {decision: allow}}]`, "true or false"},
		{"BadAge", head + "cases: [{name: a, request: {age: 3 days}, expect: {decision: allow}}]", "not a duration"},
		{"RolesOfAUserWhoIsNotLinked", head + "cases: [{name: a, request: {user_roles: [{name: admin}]}, expect: {decision: allow}}]", "nothing is linked"},
		{"UnknownKeyOfAUsersRole", head + "cases: [{name: a, request: {linking: true, user_organizations: [{id: x, roel: y}]}, expect: {decision: allow}}]", `unknown key "roel"`},
		{"DuplicateKey", head + "cases: [{name: a, name: b, expect: {decision: allow}}]", "duplicate key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cases, err := policy.ReadCases(kinds(), "c.yaml", []byte(c.text))
			if err == nil || cases != nil || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "c.yaml:") {
				t.Errorf("reading gives %+v and the error %v, want %q with its place", cases, err, c.says)
			}
		})
	}
}

func TestCasesMayBeJSON(t *testing.T) {
	cases, err := policy.ReadCases(kinds(), "c.json", []byte(`{
  "request": {"tenant": "`+strings.ToUpper(tenantA)+`", "kind": "command", "grants": ["user"]},
  "cases": [{"name": "a", "request": {"roles": [{"name": "user"}], "attributes": {"acr": ["x"]}}, "expect": {"decision": "allow"}}]
}`))
	if err != nil {
		t.Fatal(err)
	}
	if report := policy.RunCases(compile(t), cases); report.Failed != 0 {
		t.Errorf("the report is %+v, want no failure", report)
	}
}
