package policy_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/policy"
	"github.com/idpsync/idpsync/worker/record"
)

const (
	tenantA  = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	tenantB  = "11111111-2222-4333-8444-555555555555"
	userID   = "6f1c0c5e-0000-4000-8000-00000000000a"
	adminID  = "6f1c0c5e-0000-4000-8000-00000000000b"
	viewerID = "6f1c0c5e-0000-4000-8000-000000000001"
	sales    = "0a000000-0000-4000-8000-000000000001"
	finance  = "0a000000-0000-4000-8000-000000000002"
)

// login is a request that the built-in policies allow.
func login() record.AuthorizationRequest {
	return record.AuthorizationRequest{
		Tenant: tenantA, TenantName: "acme", PrincipalTenant: tenantA,
		Principal: providers.Principal{
			Kind: providers.PrincipalSource, ID: "okta", Name: "okta", Grants: []string{"user", "admin", "viewer"},
		},
		SourceKind: providers.KindOIDC, Source: "okta", Issuer: "https://acme.okta.example",
		Door: providers.DoorStream, Shape: providers.ShapeLogin, AuthProvider: "oidc",
		EmailDomain: "acme.example", EmailVerified: true,
		Roles:      []record.RequestedRole{{Tenant: tenantA, ID: userID, Name: "user"}},
		Attributes: map[string]any{"groups": []any{"staff", "sales"}, "acr": "urn:mfa", "amr": []any{"pwd", "otp"}},
		Age:        3 * time.Second,
	}
}

func inOrganization(tenant, id, role string) record.RequestedOrganization {
	return record.RequestedOrganization{Tenant: tenant, OrganizationID: id, OrganizationName: "Org", RoleID: viewerID, RoleName: role}
}

func compile(t testing.TB, texts ...string) *policy.Set {
	t.Helper()
	var files []policy.File
	for i, text := range texts {
		files = append(files, policy.File{Name: string(rune('a'+i)) + ".cedar", Text: text})
	}
	set, err := policy.Compile(files)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestBuiltinPolicies(t *testing.T) {
	permissive := `@id("everything") permit (principal, action, resource);`
	for _, c := range []struct {
		name    string
		change  func(*record.AuthorizationRequest)
		verdict policy.Verdict
		by      []string // determining, or of the first denied role
		denied  []string
	}{
		{"AllowsAGrantedRole", func(*record.AuthorizationRequest) {}, policy.VerdictAllow, []string{"builtin.create-user", "builtin.grant-role"}, nil},
		{"AllowsNoRole", func(r *record.AuthorizationRequest) { r.Roles = nil }, policy.VerdictAllow, []string{"builtin.create-user"}, nil},
		{"AllowsACredential", func(r *record.AuthorizationRequest) {
			r.Principal.Kind, r.Principal.ID, r.SourceKind, r.Source = providers.PrincipalCredential, "k1", providers.KindCommand, providers.AdminSource
			r.Issuer, r.Shape, r.AuthProvider = "", providers.ShapeTenant, "local"
		}, policy.VerdictAllow, []string{"builtin.create-user", "builtin.grant-role"}, nil},
		{"AllowsARoleInAnOrganization", func(r *record.AuthorizationRequest) {
			r.Organizations = append(r.Organizations, inOrganization(tenantA, sales, "viewer"))
		}, policy.VerdictAllow, []string{"builtin.create-user", "builtin.grant-role"}, nil},
		{"DeniesARoleThatWasNotGranted", func(r *record.AuthorizationRequest) {
			r.Roles = append(r.Roles, record.RequestedRole{Tenant: tenantA, ID: adminID, Name: "billing"})
		}, policy.VerdictPartial, []string{"builtin.granted-roles"}, []string{"billing"}},
		{"ComparesRoleNamesExactly", func(r *record.AuthorizationRequest) { r.Roles[0].Name = "User" }, policy.VerdictPartial, []string{"builtin.granted-roles"}, []string{"User"}},
		{"DeniesARoleInAnOrganizationThatWasNotGranted", func(r *record.AuthorizationRequest) {
			r.Organizations = append(r.Organizations, inOrganization(tenantA, sales, "auditor"))
		}, policy.VerdictPartial, []string{"builtin.granted-roles"}, []string{"auditor"}},
		{"DeniesAnotherTenantsRole", func(r *record.AuthorizationRequest) { r.Roles[0].Tenant = tenantB }, policy.VerdictPartial, []string{"builtin.own-tenant"}, []string{"user"}},
		{"DeniesARoleOfNoTenant", func(r *record.AuthorizationRequest) { r.Roles[0].Tenant = "" }, policy.VerdictPartial, []string{"builtin.own-tenant"}, []string{"user"}},
		{"DeniesAnotherTenantsOrganization", func(r *record.AuthorizationRequest) {
			r.Organizations = append(r.Organizations, inOrganization(tenantB, finance, "viewer"))
		}, policy.VerdictPartial, []string{"builtin.own-tenant"}, []string{"viewer"}},
		{"DeniesAnotherTenantsPrincipal", func(r *record.AuthorizationRequest) { r.PrincipalTenant = tenantB }, policy.VerdictDeny, []string{"builtin.own-tenant"}, nil},
		{"DeniesAPrincipalOfNoTenant", func(r *record.AuthorizationRequest) { r.PrincipalTenant = "" }, policy.VerdictDeny, []string{"builtin.own-tenant"}, nil},
		{"AllowsOwnershipToALogin", func(r *record.AuthorizationRequest) { r.Owner = true }, policy.VerdictAllow, []string{"builtin.create-user", "builtin.grant-role"}, nil},
		{"AllowsOwnershipToASAMLLogin", func(r *record.AuthorizationRequest) {
			r.Owner, r.SourceKind, r.AuthProvider = true, providers.KindSAML, "saml"
		}, policy.VerdictAllow, []string{"builtin.create-user", "builtin.grant-role"}, nil},
		{"AllowsOwnershipToALoginThatLinks", func(r *record.AuthorizationRequest) {
			r.Owner, r.Existing, r.Linking, r.Roles = true, true, true, nil
		}, policy.VerdictAllow, []string{"builtin.create-user", "builtin.link-user"}, nil},
		{"DeniesOwnershipToAnAddressThatIsNotVerified", func(r *record.AuthorizationRequest) { r.Owner, r.EmailVerified = true, false }, policy.VerdictDeny, []string{"builtin.no-owner"}, nil},
		{"DeniesOwnershipToAFeed", func(r *record.AuthorizationRequest) {
			r.Owner, r.SourceKind, r.Source, r.Issuer, r.Shape = true, providers.KindFeed, "workday", "", providers.ShapeFeed
		}, policy.VerdictDeny, []string{"builtin.no-owner"}, nil},
		{"DeniesOwnershipToACommand", func(r *record.AuthorizationRequest) {
			r.Owner, r.Principal.Kind, r.Principal.ID = true, providers.PrincipalCredential, "k1"
			r.SourceKind, r.Source, r.Issuer, r.Shape, r.AuthProvider = providers.KindCommand, providers.AdminSource, "", providers.ShapeTenant, "local"
		}, policy.VerdictDeny, []string{"builtin.no-owner"}, nil},
		{"DeniesOwnershipToACommandOfASource", func(r *record.AuthorizationRequest) {
			r.Owner, r.SourceKind, r.Shape = true, providers.KindCommand, providers.ShapeTenant
		}, policy.VerdictDeny, []string{"builtin.no-owner"}, nil},
		{"AllowsALink", func(r *record.AuthorizationRequest) { r.Existing, r.Linking, r.Roles = true, true, nil }, policy.VerdictAllow, []string{"builtin.create-user", "builtin.link-user"}, nil},
		{"DeniesALinkByAnotherTenantsPrincipal", func(r *record.AuthorizationRequest) {
			r.Existing, r.Linking, r.PrincipalTenant = true, true, tenantB
		}, policy.VerdictDeny, []string{"builtin.own-tenant"}, nil},
		{"KnowsNoOtherDoor", func(r *record.AuthorizationRequest) { r.Door = "window" }, policy.VerdictError, []string{}, nil},
		{"KnowsNoOtherKind", func(r *record.AuthorizationRequest) { r.SourceKind = "ldap" }, policy.VerdictError, []string{}, nil},
		{"KnowsNoOtherPrincipal", func(r *record.AuthorizationRequest) { r.Principal.Kind = "Tenant" }, policy.VerdictError, []string{}, nil},
		{"NeedsAPrincipal", func(r *record.AuthorizationRequest) { r.Principal.ID = "" }, policy.VerdictError, []string{}, nil},
		{"NeedsATenant", func(r *record.AuthorizationRequest) { r.Tenant, r.PrincipalTenant = "", "" }, policy.VerdictError, []string{}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, set := range []*policy.Set{compile(t), compile(t, permissive)} { // a permit of the operator's widens nothing
				req := login()
				c.change(&req)
				d := set.Authorize(t.Context(), req)
				if got := policy.VerdictOf(d); got != c.verdict {
					t.Fatalf("verdict %s, want %s: %+v", got, c.verdict, d)
				}
				by, notices := d.Policies, d.Notices
				var denied []string
				for _, g := range d.Denied {
					denied = append(denied, g.Role)
					by, notices = g.Policies, g.Notices
				}
				if by = slices.DeleteFunc(slices.Clone(by), func(id string) bool { return id == "everything" }); !slices.Equal(by, c.by) {
					t.Errorf("policies %q, want %q", by, c.by)
				}
				if !slices.Equal(denied, c.denied) {
					t.Errorf("denied %q, want %q", denied, c.denied)
				}
				if refused := c.verdict == policy.VerdictDeny || c.verdict == policy.VerdictPartial; refused != (len(notices) > 0) {
					t.Errorf("the verdict %s has the notices %q, want some: %v", c.verdict, notices, refused)
				}
				if c.verdict == policy.VerdictError && len(d.Errors) == 0 {
					t.Error("no word about what failed")
				}
			}
		})
	}
}

// The schema finds these mistakes before they are in force; should one pass, it must not let anything through.
func TestErrorsDeny(t *testing.T) {
	for _, c := range []struct{ name, text, says string }{
		{"MissingContextAttribute", `@id("bad") forbid (principal, action == Action::"CreateUser", resource) when { context.shoe_size > 50 };`, "shoe_size"},
		{"AbsentOptionalAttribute", `@id("bad") forbid (principal, action == Action::"CreateUser", resource) when { context.issuer == "x" };`, "issuer"},
		{"MissingEntityAttribute", `@id("bad") forbid (principal, action == Action::"CreateUser", resource) when { principal.shoe_size > 50 };`, "shoe_size"},
		{"WrongType", `@id("bad") forbid (principal, action == Action::"CreateUser", resource) when { context.source + 1 > 2 };`, "type error"},
		{"UnknownEntity", `@id("bad") forbid (principal, action == Action::"CreateUser", resource) when { Tenant::"nowhere".name == "x" };`, "nowhere"},
		{"ErrorInAPermit", `@id("bad") permit (principal, action == Action::"CreateUser", resource) when { context.shoe_size > 50 };`, "shoe_size"},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, err := policy.CompileUnchecked([]policy.File{{Name: "bad.cedar", Text: c.text}})
			if err != nil {
				t.Fatal(err)
			}
			req := login()
			req.Issuer = ""
			if allowed, err := set.LibraryAllows(req); err != nil || !allowed {
				t.Fatalf("the library used to skip the policy and allow: %v %v", allowed, err)
			}
			d := set.Authorize(t.Context(), req)
			if d.Allow || !d.PolicyError {
				t.Fatalf("the decision is %+v, want a denial by an error", d)
			}
			if !slices.Equal(d.Policies, []string{"bad"}) || len(d.Errors) != 1 || !strings.Contains(d.Errors[0], c.says) {
				t.Errorf("the policies are %q and the errors %q, want bad and one that says %q", d.Policies, d.Errors, c.says)
			}
		})
	}
}

// An error that no schema can foresee.
func TestOverflowDenies(t *testing.T) {
	set := compile(t, `@id("sum") forbid (principal, action, resource) when { context.replayed && 9223372036854775807 + 1 > 0 };`)
	req := login()
	if d := set.Authorize(t.Context(), req); policy.VerdictOf(d) != policy.VerdictAllow {
		t.Fatalf("without an overflow the decision is %+v, want allow", d)
	}
	req.Replayed = true
	if d := set.Authorize(t.Context(), req); policy.VerdictOf(d) != policy.VerdictError || !slices.Equal(d.Policies, []string{"sum"}) {
		t.Fatalf("with an overflow the decision is %+v, want an error of the policy sum", d)
	}
}

// Whatever way a policy names its actions, it is asked about these and no others.
func TestActionScopes(t *testing.T) {
	for scope, want := range map[string]policy.Verdict{
		`action == Action::"CreateUser"`:                        policy.VerdictDeny,
		`action in Action::"CreateUser"`:                        policy.VerdictDeny,
		`action in [Action::"CreateUser"]`:                      policy.VerdictDeny,
		`action in [Action::"GrantRole", Action::"CreateUser"]`: policy.VerdictDeny,
		`action`:                          policy.VerdictDeny,
		`action == Action::"LinkUser"`:    policy.VerdictAllow, // it is no link
		`action == Action::"GrantRole"`:   policy.VerdictPartial,
		`action in Action::"GrantRole"`:   policy.VerdictPartial,
		`action in [Action::"GrantRole"]`: policy.VerdictPartial,
	} {
		set := compile(t, `forbid (principal, `+scope+`, resource);`)
		if got := policy.VerdictOf(set.Authorize(t.Context(), login())); got != want {
			t.Errorf("the scope %s gives the verdict %s, want %s", scope, got, want)
		}
	}
}

// A principal of another tenant is denied as such, also beside policies that look at its tenant.
func TestAnotherTenantIsNoError(t *testing.T) {
	set := compile(t, `@id("name") forbid (principal, action, resource) when { principal.tenant.name == "acme" && context.replayed };`)
	req := login()
	req.PrincipalTenant = tenantB
	if d := set.Authorize(t.Context(), req); d.PolicyError || !slices.Equal(d.Policies, []string{"builtin.own-tenant"}) {
		t.Errorf("the decision is %+v, want a denial by builtin.own-tenant and no error", d)
	}
}

func TestErrorOfOneRoleDeniesAll(t *testing.T) {
	set := compile(t, `@id("sum") forbid (principal, action == Action::"GrantRole", resource) when { resource.name == "admin" && 9223372036854775807 + 1 > 0 };`)
	req := login()
	req.Roles = append(req.Roles, record.RequestedRole{Tenant: tenantA, ID: adminID, Name: "admin"})
	if d := set.Authorize(t.Context(), req); policy.VerdictOf(d) != policy.VerdictError || d.Allow || len(d.Denied) != 0 {
		t.Fatalf("got %+v, want a denial for the error", d)
	}
	req = login()
	req.Organizations = []record.RequestedOrganization{inOrganization(tenantA, sales, "admin")}
	if d := set.Authorize(t.Context(), req); policy.VerdictOf(d) != policy.VerdictError || d.Allow || len(d.Denied) != 0 {
		t.Errorf("a role in an organization: got %+v, want a denial for the error", d)
	}
}

// What cannot be shown to the policies is not decided by them.
func TestWhatNoPolicyCanBeShownIsDenied(t *testing.T) {
	for name, change := range map[string]func(*record.AuthorizationRequest){
		"no tenant":         func(r *record.AuthorizationRequest) { r.Tenant = "" },
		"no principal":      func(r *record.AuthorizationRequest) { r.Principal.ID = "" },
		"an unknown sender": func(r *record.AuthorizationRequest) { r.Principal.Kind = "robot" },
	} {
		req := login()
		change(&req)
		if d := compile(t).Authorize(t.Context(), req); d.Allow || !d.PolicyError {
			t.Errorf("%s: got %+v, want a denial for an error", name, d)
		}
	}
}

func TestPanicDenies(t *testing.T) {
	d := compile(t).WithPanic().Authorize(t.Context(), login())
	if policy.VerdictOf(d) != policy.VerdictError || d.Allow || len(d.Errors) != 1 || !strings.Contains(d.Errors[0], "panic") {
		t.Fatalf("a panic gives the decision %+v, want a denial and one error that names it", d)
	}
}

func TestNoticesAreSortedAndToldOnce(t *testing.T) {
	set := compile(t, `
@id("z") @notice("First come, first served.")
forbid (principal, action == Action::"CreateUser", resource);
@id("a") @notice("Not on Sundays.")
forbid (principal, action == Action::"CreateUser", resource);
@id("m") @notice("First come, first served.")
forbid (principal, action == Action::"CreateUser", resource);
@id("silent")
forbid (principal, action == Action::"CreateUser", resource);
`)
	d := set.Authorize(t.Context(), login())
	if want := []string{"a", "m", "silent", "z"}; !slices.Equal(d.Policies, want) {
		t.Errorf("policies %q, want %q", d.Policies, want)
	}
	if want := []string{"First come, first served.", "Not on Sundays."}; !slices.Equal(d.Notices, want) {
		t.Errorf("notices %q, want %q", d.Notices, want)
	}
	if d.Denied != nil {
		t.Errorf("no role was asked about: %+v", d.Denied)
	}
}

func TestNoticeOfAPermit(t *testing.T) {
	set := compile(t, `@id("welcome") @notice("Read the handbook.") permit (principal, action == Action::"CreateUser", resource);`)
	d := set.Authorize(t.Context(), login())
	if !d.Allow || !slices.Equal(d.Notices, []string{"Read the handbook."}) {
		t.Fatalf("the decision is %+v, want it allowed with the notice of the permit", d)
	}
}

func TestDeniedRolesKeepTheirOrderAndReasons(t *testing.T) {
	set := compile(t, `
@id("no-admin") @notice("No administrators.")
forbid (principal, action == Action::"GrantRole", resource == Role::"`+adminID+`");
@id("no-finance") @notice("Not in Finance.")
forbid (principal, action == Action::"GrantRole", resource in Organization::"`+finance+`");
`)
	req := login()
	req.Roles = []record.RequestedRole{{Tenant: tenantA, ID: adminID, Name: "admin"}, {Tenant: tenantA, ID: userID, Name: "user"}}
	req.Organizations = []record.RequestedOrganization{inOrganization(tenantA, finance, "viewer"), inOrganization(tenantA, sales, "viewer")}
	want := record.Decision{
		Allow: true, Policies: []string{"builtin.create-user", "builtin.grant-role"}, Notices: []string{},
		Denied: []record.DeniedGrant{
			{Role: "admin", Policies: []string{"no-admin"}, Notices: []string{"No administrators."}},
			{Role: "viewer", OrganizationID: finance, Policies: []string{"no-finance"}, Notices: []string{"Not in Finance."}},
		},
	}
	if d := set.Authorize(t.Context(), req); !reflect.DeepEqual(d, want) {
		t.Errorf("\n got %+v\nwant %+v", d, want)
	}
}

// The library walks policies as they come; decisions must not depend on it.
func TestDecisionsDoNotDependOnOrder(t *testing.T) {
	files := []policy.File{benchmarkPolicies(20)}
	for _, id := range []string{"c", "a", "b"} {
		files = append(files, policy.File{Name: id + ".cedar", Text: `@id("` + id + `") @notice("` + id + `") forbid (principal, action, resource) when { context.replayed };`})
	}
	req := login()
	req.Replayed = true
	var first record.Decision
	var version string
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 50 {
		random.Shuffle(len(files), func(a, b int) { files[a], files[b] = files[b], files[a] })
		set, err := policy.Compile(files)
		if err != nil {
			t.Fatal(err)
		}
		d := set.Authorize(t.Context(), req)
		if i == 0 {
			first, version = d, set.Version()
		}
		if !reflect.DeepEqual(d, first) || set.Version() != version {
			t.Fatalf("another order gives the decision %+v in version %s, want %+v in %s", d, set.Version(), first, version)
		}
	}
	if !slices.Equal(first.Notices, []string{"a", "b", "c"}) {
		t.Errorf("the notices are %q, want a, b and c", first.Notices)
	}
}

func TestRequestsConformToTheSchema(t *testing.T) {
	full := login()
	full.Organizations = []record.RequestedOrganization{inOrganization(tenantA, sales, "viewer")}
	full.Attributes["address"] = map[string]any{"country": "AT"}
	bare := record.AuthorizationRequest{
		Tenant: tenantA, PrincipalTenant: tenantB, Principal: providers.Principal{Kind: providers.PrincipalCredential, ID: "k1"},
		SourceKind: providers.KindCommand, Door: providers.DoorHTTP, Shape: providers.ShapeOrganization, AuthProvider: "local",
		Roles: []record.RequestedRole{{}},
	}
	link := login()
	link.Linking, link.Existing = true, true
	link.UserRoles = []record.RequestedRole{{Tenant: tenantA, ID: adminID, Name: "admin"}}
	link.UserOrganizations = []record.RequestedOrganization{inOrganization(tenantA, sales, "viewer")}
	for name, req := range map[string]record.AuthorizationRequest{"full": full, "bare": bare, "link": link} {
		if err := compile(t).Conforms(req); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestContext(t *testing.T) {
	// Each condition is true of the request, so that a forbid of it denies.
	for _, condition := range []string{
		`context.source == "okta"`,
		`context.source_kind == SourceKind::"oidc"`,
		`context has issuer && context.issuer == "https://acme.okta.example"`,
		`context.door == Door::"stream"`,
		`context.shape == Shape::"login"`,
		`context.auth_provider == AuthProvider::"oidc"`,
		`context.email_domain == "acme.example"`,
		`context.email_verified`,
		`!context.existing`,
		`!context.owner`,
		`!context.replayed`,
		`context.age == duration("3s")`,
		`context.requested_roles == ["user"]`,
		`context.requested_organizations.contains(Organization::"` + sales + `")`,
		`context.requested_organization_roles.contains("viewer")`,
		`context.user_roles.isEmpty() && context.user_organizations.isEmpty() && context.user_organization_roles.isEmpty()`,
		`context has acr && context.acr == "urn:mfa"`,
		`context has amr && context.amr.containsAll(["pwd", "otp"])`,
		`context.attributes.hasTag("groups") && context.attributes.getTag("groups") == ["sales", "staff"]`,
		`context.attributes.hasTag("acr") && context.attributes.getTag("acr") == ["urn:mfa"]`,
		`!(context.attributes.hasTag("nothing"))`,
		`principal == Source::"` + tenantA + `/okta"`,
		`principal in Tenant::"` + tenantA + `" && !(principal in Tenant::"` + tenantB + `")`,
		`principal.name == "okta" && principal.tenant == Tenant::"` + tenantA + `"`,
		`principal.grants.containsAll(["user", "admin", "viewer"])`,
		`principal is Source`,
		`resource.name == "acme"`,
	} {
		t.Run(condition, func(t *testing.T) {
			req := login()
			req.Organizations = []record.RequestedOrganization{inOrganization(tenantA, sales, "viewer")}
			set := compile(t, `@id("it") forbid (principal is Source, action == Action::"CreateUser", resource) when { `+condition+` };`)
			if d := set.Authorize(t.Context(), req); !slices.Equal(d.Policies, []string{"it"}) || d.PolicyError {
				t.Errorf("the decision is %+v, want it made by the policy it: the condition is true", d)
			}
		})
	}
}

func TestAttributes(t *testing.T) {
	for _, c := range []struct {
		name       string
		attributes map[string]any
		condition  string // true of it; "" when the request is an error
	}{
		{"String", map[string]any{"a": "x"}, `context.attributes.hasTag("a") && context.attributes.getTag("a") == ["x"]`},
		{"Strings", map[string]any{"a": []string{"x", "y"}}, `context.attributes.hasTag("a") && context.attributes.getTag("a") == ["y", "x"]`},
		{"EmptyListIsThere", map[string]any{"a": []any{}}, `context.attributes.hasTag("a") && context.attributes.getTag("a").isEmpty()`},
		{"NullIsAbsent", map[string]any{"a": nil}, `!context.attributes.hasTag("a")`},
		{"Boolean", map[string]any{"a": true}, `context.attributes.hasTag("a") && context.attributes.getTag("a") == ["true"]`},
		{"WholeFloat", map[string]any{"a": float64(42)}, `context.attributes.hasTag("a") && context.attributes.getTag("a") == ["42"]`},
		{"Fraction", map[string]any{"a": 1.5}, `context.attributes.hasTag("a") && context.attributes.getTag("a") == ["1.5"]`},
		{"Integers", map[string]any{"a": []any{int64(-1), uint64(2), 3, json.Number("4")}}, `context.attributes.hasTag("a") && context.attributes.getTag("a") == ["-1", "2", "3", "4"]`},
		{"Object", map[string]any{"a": map[string]any{"b": map[string]any{"c": "x"}}}, `context.attributes.hasTag("a.b.c") && context.attributes.getTag("a.b.c") == ["x"]`},
		{"ObjectInAList", map[string]any{"a": []any{map[string]any{"b": "<x>"}}}, `context.attributes.hasTag("a") && context.attributes.getTag("a") == ["{\"b\":\"<x>\"}"]`},
		{"OneAMR", map[string]any{"amr": "pwd"}, `context has amr && context.amr == ["pwd"]`},
		{"NoACR", map[string]any{"amr": "pwd"}, `!(context has acr)`},
		{"ListOfOneACR", map[string]any{"acr": []any{"x"}}, `context has acr && context.acr == "x"`},
		{"ManyACR", map[string]any{"acr": []any{"x", "y"}}, ""},
		{"SameName", map[string]any{"a.b": "x", "a": map[string]any{"b": "y"}}, ""},
		{"UnknownType", map[string]any{"a": time.Unix(0, 0)}, ""},
		{"UnknownTypeInAList", map[string]any{"a": []any{struct{}{}}}, ""},
		{"UnknownTypeDeepInAList", map[string]any{"a": []any{[]any{func() {}}}}, ""},
		{"TooManyValues", map[string]any{"a": make([]string, 1025)}, ""},
		{"TooDeep", map[string]any{"a": deep(10)}, ""},
		{"TooMany", many(300), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			condition := c.condition
			if condition == "" {
				condition = "true"
			}
			set := compile(t, `@id("it") forbid (principal, action == Action::"CreateUser", resource) when { `+condition+` };`)
			req := login()
			req.Attributes = c.attributes
			d := set.Authorize(t.Context(), req)
			if c.condition == "" {
				if policy.VerdictOf(d) != policy.VerdictError {
					t.Errorf("the decision is %+v, want an error", d)
				}
				return
			}
			if !slices.Equal(d.Policies, []string{"it"}) || d.PolicyError {
				t.Errorf("the decision is %+v, want it made by the policy it: the condition is true", d)
			}
			if err := set.Conforms(req); err != nil {
				t.Error(err)
			}
		})
	}
}

func deep(n int) any {
	if n == 0 {
		return "x"
	}
	return map[string]any{"d": deep(n - 1)}
}

func many(n int) map[string]any {
	m := map[string]any{}
	for i := range n {
		m[strings.Repeat("a", i+1)] = "x"
	}
	return m
}

// TestEveryActionIsInTheSchema asks the schema for the action of every route.
func TestEveryActionIsInTheSchema(t *testing.T) {
	text, err := os.ReadFile("idpsync.cedarschema")
	if err != nil {
		t.Fatal(err)
	}
	schema := string(text)
	for _, a := range record.Actions() {
		if !strings.Contains(schema, "action "+a.Cedar()+" ") {
			t.Errorf("action %s of %s: got none in the schema, want it", a.Cedar(), a)
		}
	}
}
