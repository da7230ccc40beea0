package policy_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/policy"
	"github.com/idpsync/idpsync/worker/record"
)

// link is a login that would get the account of an administrator who is a viewer in Sales.
func link() record.AuthorizationRequest {
	req := login()
	req.Existing, req.Linking, req.Roles = true, true, nil
	req.UserRoles = []record.RequestedRole{{Tenant: tenantA, ID: adminID, Name: "admin"}}
	req.UserOrganizations = []record.RequestedOrganization{inOrganization(tenantA, sales, "viewer")}
	return req
}

func TestALinkNeedsBothActions(t *testing.T) {
	user := func(r *record.AuthorizationRequest) { r.UserRoles[0].ID, r.UserRoles[0].Name = userID, "user" }
	for _, c := range []struct {
		name, policy string
		change       func(*record.AuthorizationRequest)
		verdict      policy.Verdict
		by           []string
		notices      []string
	}{
		{
			"NothingForbidsIt", "", nil, policy.VerdictAllow,
			[]string{"builtin.create-user", "builtin.link-user"},
			nil,
		},
		{
			"ForbiddenForAdministrators", `@id("no-admins") @notice("Administrators are linked by hand.")
			forbid (principal, action == Action::"LinkUser", resource) when { context.user_roles.contains("admin") };`, nil, policy.VerdictDeny,
			[]string{"builtin.create-user", "no-admins"},
			[]string{"Administrators are linked by hand."},
		},
		{
			"ForbiddenForAdministratorsAllowsOthers", `@id("no-admins")
			forbid (principal, action == Action::"LinkUser", resource) when { context.user_roles.contains("admin") };`, user, policy.VerdictAllow,
			[]string{"builtin.create-user", "builtin.link-user"},
			nil,
		},
		{
			"ForbiddenForMembersOfAnOrganization", `@id("no-sales")
			forbid (principal, action == Action::"LinkUser", resource)
			when { context.user_organizations.contains(Organization::"` + sales + `") && context.user_organization_roles == ["viewer"] };`, nil, policy.VerdictDeny,
			[]string{"builtin.create-user", "no-sales"},
			nil,
		},
		{
			"ForbiddenByCreateUser", `@id("no-users") @notice("Not now.") forbid (principal, action == Action::"CreateUser", resource) when { context.existing };`, nil, policy.VerdictDeny,
			[]string{"no-users"},
			[]string{"Not now."},
		},
		{
			"ForbiddenByCreateUserForAdministrators", `@id("no-admins") forbid (principal, action == Action::"CreateUser", resource) when { context.user_roles.contains("admin") };`, nil, policy.VerdictDeny,
			[]string{"no-admins"},
			nil,
		},
		{
			"AForbidOfGrantRoleIsAboutNewRoles", `@id("no-grants") forbid (principal, action == Action::"GrantRole", resource);`, nil, policy.VerdictAllow,
			[]string{"builtin.create-user", "builtin.link-user"},
			nil,
		},
		{
			"NoticesOfBoth", `@id("hello") @notice("Hello.") permit (principal, action == Action::"CreateUser", resource);
			@id("again") @notice("Welcome back.") permit (principal, action == Action::"LinkUser", resource);`, nil, policy.VerdictAllow,
			[]string{"again", "builtin.create-user", "builtin.link-user", "hello"},
			[]string{"Hello.", "Welcome back."},
		},
		{
			"AnErrorDenies", `@id("sum") forbid (principal, action == Action::"LinkUser", resource) when { 9223372036854775807 + 1 > 0 };`, nil, policy.VerdictError,
			[]string{"sum"},
			nil,
		},
		{
			"AnErrorOfAPermitDenies", `@id("sum") permit (principal, action == Action::"LinkUser", resource) when { 9223372036854775807 + 1 > 0 };`, nil, policy.VerdictError,
			[]string{"sum"},
			nil,
		},
		{
			"OnlyALoginLinks", "", func(r *record.AuthorizationRequest) {
				r.Principal.Kind, r.Principal.ID, r.SourceKind, r.Source = providers.PrincipalCredential, "k1", providers.KindCommand, providers.AdminSource
			}, policy.VerdictDeny,
			[]string{"builtin.create-user"},
			nil,
		},
		{
			"ALinkSaysThatTheUserIsThere", `@id("there") forbid (principal, action == Action::"CreateUser", resource) when { !context.existing };`,
			func(r *record.AuthorizationRequest) { r.Existing = false }, policy.VerdictAllow,
			[]string{"builtin.create-user", "builtin.link-user"},
			nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := link()
			if c.change != nil {
				c.change(&req)
			}
			d := compile(t, c.policy).Authorize(t.Context(), req)
			if got := policy.VerdictOf(d); got != c.verdict {
				t.Fatalf("verdict %s by %q, want %s; errors: %q", got, d.Policies, c.verdict, d.Errors)
			}
			if !slices.Equal(d.Policies, c.by) {
				t.Errorf("determining policies %q, want %q", d.Policies, c.by)
			}
			if !slices.Equal(d.Notices, c.notices) {
				t.Errorf("notices %q, want %q", d.Notices, c.notices)
			}
		})
	}
}

func TestAForbidOfLinksLeavesOtherLoginsAlone(t *testing.T) {
	set := compile(t, `@id("no-links") forbid (principal, action == Action::"LinkUser", resource);`)
	created, known := login(), login()
	known.Existing, known.Roles = true, nil
	for name, req := range map[string]record.AuthorizationRequest{"a new user": created, "a known user": known} {
		if d := set.Authorize(t.Context(), req); policy.VerdictOf(d) != policy.VerdictAllow || slices.Contains(d.Policies, "no-links") {
			t.Errorf("a login of %s: %s by %q, want allow without no-links", name, policy.VerdictOf(d), d.Policies)
		}
	}
	if d := set.Authorize(t.Context(), link()); policy.VerdictOf(d) != policy.VerdictDeny {
		t.Errorf("a login that links: %s by %q, want deny", policy.VerdictOf(d), d.Policies)
	}
}

// What the ledger keeps of a link is enough to ask other policies about it later.
func TestALinkIsAskedAgainFromTheLedger(t *testing.T) {
	set := compile(t, `@id("no-admins") forbid (principal, action == Action::"LinkUser", resource) when { context.user_roles.contains("admin") };`)
	keep := func(req record.AuthorizationRequest) []byte {
		text, err := json.Marshal(map[string]any{"request": req})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	old := `{"request":{"tenant":"` + tenantA + `","principal_tenant":"` + tenantA + `","principal":{"Kind":"Source","ID":"okta"},"kind":"oidc","source":"okta",
		"door":"stream","shape":"login","auth_provider":"oidc","email_domain":"acme.example","email_verified":true,"existing":true}}`
	for _, c := range []struct {
		name    string
		headers []byte
		verdict policy.Verdict
	}{
		{"a link", keep(link()), policy.VerdictDeny},
		{"a login", keep(login()), policy.VerdictAllow},
		{"a row of before there were links", []byte(old), policy.VerdictAllow},
	} {
		req, ok := record.RecordedRequest(&store.Event{ResultHeaders: c.headers})
		if !ok {
			t.Errorf("%s: the ledger's row has no request", c.name)
			continue
		}
		if d := set.Authorize(t.Context(), req); policy.VerdictOf(d) != c.verdict {
			t.Errorf("%s: %s by %q, want %s; errors: %q", c.name, policy.VerdictOf(d), d.Policies, c.verdict, d.Errors)
		}
	}
	kept, _ := record.RecordedRequest(&store.Event{ResultHeaders: keep(link())})
	if want := link(); !reflect.DeepEqual(kept.UserRoles, want.UserRoles) || !reflect.DeepEqual(kept.UserOrganizations, want.UserOrganizations) || !kept.Linking {
		t.Error("the roles of the linked user do not come back from the ledger as they were kept")
	}
}

// An error that no schema can foresee, in a policy of links alone.
func TestErrorOfALinkDenies(t *testing.T) {
	set := compile(t, `@id("sum") forbid (principal, action == Action::"LinkUser", resource) when { 9223372036854775807 + 1 > 0 };`)
	if d := set.Authorize(t.Context(), link()); policy.VerdictOf(d) != policy.VerdictError || d.Allow {
		t.Errorf("a link whose policy fails: got %+v, want a denial for the error", d)
	}
	if d := set.Authorize(t.Context(), login()); policy.VerdictOf(d) != policy.VerdictAllow {
		t.Errorf("a login that links nobody: got %+v, want it allowed", d)
	}
}
