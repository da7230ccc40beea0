package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers/saml/idp"
	"github.com/idpsync/idpsync/worker/record"
)

const (
	forbidRivals = `@id("no-rivals")
@notice("People of a rival are not let in.")
forbid (principal, action == Action::"CreateUser", resource)
when { context.email_domain == "rival.example" };

@id("no-rivals-either")
@notice("Ask the legal department.")
forbid (principal, action == Action::"CreateUser", resource)
when { context.email_domain like "*.example" && !(context.email_domain like "acme.*") };
`
	// The schema cannot know that the sum is too great.
	forbidBeyondNumbers = `@id("beyond-numbers")
forbid (principal, action == Action::"CreateUser", resource)
when { 9223372036854775807 + context.age.toMilliseconds() + 1 > 0 && context.email_domain == "beyond.example" };
`
)

// TestOneRequestIsForbiddenAlikeEverywhere sends the same forbidden user by every source and door.
func TestOneRequestIsForbiddenAlikeEverywhere(t *testing.T) {
	t.Parallel()
	s := embeddedSite(t)
	s.write("policies/rivals.cedar", forbidRivals)
	s.apply()
	r := s.worker()
	conn := s.nats()
	header := map[string]string{"Authorization": "Bearer " + s.credential("acme", "user,viewer"), "X-Tenant-ID": acme}

	answers := map[string]reply{"oidc": s.login(t, conn, acme, "oidc", "carl", map[string]any{"email": "carl@rival.example"})}
	xml, err := s.idp.Respond(idp.Request{
		EntityID: "https://sp.acme.example/saml", ACSURL: "https://sp.acme.example/saml/acs", NameID: "carl", Mode: idp.SignBoth,
		Attributes: []idp.Attribute{{Name: "mail", Values: []string{"carl@rival.example"}}, {Name: "displayName", Values: []string{"Carl"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]string{"saml_response": base64.StdEncoding.EncodeToString(xml)}) // nobody asked for it
	if err != nil {
		t.Fatal(err)
	}
	answers["saml"] = s.event(t, conn, "idpsync.login."+acme+".adfs", "saml", body)
	for _, door := range s.callers(r) {
		answers[door.name] = door.send(t, acme, "/v1/users", door.name, header, `{"email": "carl@rival.example", "name": "Carl", "auth_provider": "oidc"}`)
		answers[door.name+" organization"] = door.send(t, acme, "/users", door.name+"-organization", header, strings.ReplaceAll(memberBody, "grace.DOOR@acme.example", "carl@rival.example"))
	}
	want := answers["oidc"]
	fault := want.fault(t)
	if want.status != 403 || fault.Code != record.CodeForbidden || !slices.Equal(fault.Notices, []string{"Ask the legal department.", "People of a rival are not let in."}) {
		t.Fatalf("a login of a rival is answered by %d %s, want 403, forbidden and both notices", want.status, want.body)
	}
	for way, got := range answers {
		if got.status != want.status || string(got.body) != string(want.body) {
			t.Errorf("%s: the answer is %d %s, want that of oidc, %d %s", way, got.status, got.body, want.status, want.body)
		}
		if p := got.header.Get(record.HeaderPolicies); p != "no-rivals,no-rivals-either" {
			t.Errorf("%s: the policies that decided are %q, want both that forbid rivals", way, p)
		}
	}
	if users := s.users("acme"); len(users) != 0 {
		t.Errorf("there are %d users, want none", len(users))
	}
}

// TestAPolicyThatErrsDenies covers both nets: what the schema finds is refused at apply, and what it cannot find denies.
func TestAPolicyThatErrsDenies(t *testing.T) {
	t.Parallel()
	s := embeddedSite(t)
	s.write("policies/rivals.cedar", forbidRivals)
	s.apply()
	http := s.overHTTP(s.worker())
	header := map[string]string{"Authorization": "Bearer " + s.credential("acme", "user"), "X-Tenant-ID": acme}
	n := 0
	send := func(domain string) reply {
		t.Helper()
		n++
		return http.send(t, acme, "/v1/users", "", header, fmt.Sprintf(`{"email": "user%d@%s", "name": "Somebody", "auth_provider": "oidc"}`, n, domain))
	}
	standing := func() {
		t.Helper()
		if got := send("acme.example"); got.status != 201 {
			t.Errorf("before the policy the answer is %d %s, want 201", got.status, got.body)
		}
		if got := send("rival.example"); got.status != 403 || len(got.fault(t).Notices) != 2 {
			t.Errorf("before the policy a rival is answered by %d %s, want 403 and two notices", got.status, got.body)
		}
	}
	standing()
	for what, c := range map[string]struct{ text, says string }{
		"does not parse":              {"forbid (principal, action, resource)\nwhen { context.email_domain == };", "broken.cedar:2:"},
		"reads an unknown attribute":  {`forbid (principal, action == Action::"CreateUser", resource) when { context.shoe_size > 50 };`, "broken.cedar:1:"},
		"reads what may be absent":    {`forbid (principal, action == Action::"CreateUser", resource) when { context.issuer == "x" };`, "broken.cedar:1:"},
		"would replace a built-in":    {`@id("builtin.no-owner") permit (principal, action, resource);`, "builtin.no-owner"},
		"compares a number to a text": {`forbid (principal, action == Action::"CreateUser", resource) when { context.source > 1 };`, "broken.cedar:1:"},
	} {
		s.write("policies/broken.cedar", c.text)
		p := s.do("", "apply", "-f", s.path("directory.yaml"), "--yes")
		if p.code != kit.ExitUsage || !strings.Contains(p.stderr, c.says) || !strings.Contains(p.stderr, "hint: ") || p.stdout != "" {
			t.Errorf("applying a policy that %s ends with exit %d, want %d, %q and a hint\n%s%s", what, p.code, kit.ExitUsage, c.says, p.stdout, p.stderr)
		}
		standing()
	}

	s.write("policies/broken.cedar", forbidBeyondNumbers)
	s.apply()
	s.eventually("the policy to be in force", func() bool { return send("acme.example").status == 403 })
	got := send("acme.example")
	if fault := got.fault(t); fault.Code != record.CodeForbidden || fault.Details["reason"] != "policy_error" {
		t.Errorf("a policy that errs gives %d %s, want 403, forbidden and policy_error", got.status, got.body)
	}
	if strings.Contains(string(got.body), "overflow") {
		t.Errorf("the sender is told what failed: %s", got.body)
	}
}

// TestANewPolicyReachesEveryWorker applies a forbid while two workers run.
func TestANewPolicyReachesEveryWorker(t *testing.T) {
	t.Parallel()
	s := clusterSite(t)
	doors := []caller{s.overHTTP(s.worker()), s.overHTTP(s.worker())}
	header := map[string]string{"Authorization": "Bearer " + s.credential("acme", "user"), "X-Tenant-ID": acme}
	n := 0
	send := func(door caller) reply {
		t.Helper()
		n++
		return door.send(t, acme, "/v1/users", "", header, fmt.Sprintf(`{"email": "user%d@rival.example", "name": "Somebody", "auth_provider": "oidc"}`, n))
	}
	for _, door := range doors {
		if got := send(door); got.status != 201 {
			t.Fatalf("before the policy the answer is %d %s, want 201", got.status, got.body)
		}
	}
	s.write("policies/rivals.cedar", forbidRivals)
	s.apply()
	applied := time.Now()
	for i, door := range doors {
		s.eventually("the policy to be in force", func() bool { return send(door).status == 403 })
		t.Logf("worker %d: in force after %v", i, time.Since(applied))
		if got := send(door); !slices.Contains(got.fault(t).Notices, "People of a rival are not let in.") {
			t.Errorf("worker %d answers %d %s, want the notice of the new policy", i, got.status, got.body)
		}
	}
}
