package httpapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
	"github.com/idpsync/idpsync/worker/workertest"
)

// withCommands is the default directory with OIDC sources whose tokens may carry commands.
func withCommands() workertest.Options {
	return workertest.Options{Directory: strings.Replace(workertest.Directory, "grants: [user, admin, viewer]", "grants: [user, admin, viewer]\n        commands: true\n        commands_claim: idpsync_commands", 1)}
}

func TestJWTOfASourceWithCommands(t *testing.T) {
	a := newAPIOf(t, withCommands())
	token := func(claims workertest.Claims, options ...issuer.SignOption) string {
		s, err := a.d.Issuer.Sign(claims, options...)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	foreign, err := a.d.Second.Sign(a.d.PersonAt(a.d.Second, "robot"))
	if err != nil {
		t.Fatal(err)
	}
	good := a.d.Person("robot").With(workertest.Claims{"idpsync_commands": true})
	for _, c := range []struct {
		name, token, body string
		status            int
		code, reason      string
	}{
		{"good", token(good), tenantUser("a@acme.example", `"roles":["admin"]`), 201, "", ""},
		{"a login's token", token(a.d.Person("robot")), tenantUser("b@acme.example"), 401, "unauthenticated", "commands_claim"},
		{"a logout token", token(good.With(workertest.Claims{"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}})), tenantUser("b@acme.example"), 401, "unauthenticated", "token_type"},
		{"role beyond the source's grants", token(good), tenantUser("b@acme.example", `"roles":["auditor"]`), 422, "invalid_roles", ""},
		{"expired", token(good.With(workertest.Claims{"exp": time.Now().Add(-time.Hour).Unix(), "iat": time.Now().Add(-2 * time.Hour).Unix()})), tenantUser("b@acme.example"), 401, "unauthenticated", "expired"},
		{"other audience", token(good.With(workertest.Claims{"aud": "somebody"})), tenantUser("b@acme.example"), 401, "unauthenticated", "audience"},
		{"changed", strings.Replace(token(good), ".", ".e30", 1), tenantUser("b@acme.example"), 401, "unauthenticated", "credential_unknown"},
		{"broken signature", token(good) + "AAAA", tenantUser("b@acme.example"), 401, "unauthenticated", "signature"},
		{"source without commands", foreign, tenantUser("b@acme.example"), 401, "unauthenticated", "credential_unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := *a
			a.t = t
			r := a.post("/v1/users", c.body, header{"Authorization": "Bearer " + c.token})
			if r.status != c.status || r.code != c.code || r.reason != c.reason {
				t.Errorf("the answer is %d %s, want %d with code %q and reason %q", r.status, r.raw, c.status, c.code, c.reason)
			}
			if strings.Contains(string(r.raw), c.token) {
				t.Error("the answer shows the token")
			}
		})
	}
	if r := a.post("/v1/users", tenantUser("c@acme.example"), header{"Authorization": "Bearer " + token(good), "X-Tenant-ID": workertest.Globex}); r.status != 401 || r.reason != "credential_unknown" {
		t.Errorf("the token of another tenant's source is answered by %d %s, want 401 and credential_unknown", r.status, r.raw)
	}
}

// TestFirstLoginTakesAUserOfTheOrganizationShape: the shape names no auth provider, so a login of any kind of source may
// be the first.
func TestFirstLoginTakesAUserOfTheOrganizationShape(t *testing.T) {
	a := newAPI(t)
	if r := a.post("/users", organizationUser("ada"), nil); r.status != 201 {
		t.Fatalf("ada is answered by %d %s, want 201", r.status, r.raw)
	}
	if r := a.post("/v1/users", tenantUser("bob@acme.example"), nil); r.status != 201 {
		t.Fatalf("bob is answered by %d %s, want 201", r.status, r.raw)
	}
	if r := a.post("/v1/users", `{"email":"cy@acme.example","name":"Cy","auth_provider":"saml"}`, nil); r.status != 201 {
		t.Fatalf("cy is answered by %d %s, want 201", r.status, r.raw)
	}
	login := func(id string, claims workertest.Claims) workertest.Record {
		if _, err := stream.PublishEvent(a.d.Ctx, a.d.Conn, record.Outgoing{Subject: "idpsync.login." + workertest.Acme + ".okta", Header: providers.Header{"Idpsync-Event-Id": {id}}, Data: a.d.Login(claims)}); err != nil {
			t.Fatal(err)
		}
		return a.d.Await(id)
	}
	unproved := a.d.Person("ada").With(workertest.Claims{"email_verified": "true"})
	if r := login("unproved", unproved); r.Code != record.CodeUnverifiedEmail {
		t.Errorf("a login with an unverified address: got %d %s, wanted 403 unverified_email", r.Status, r.Data)
	}
	if r := login("first", a.d.Person("ada")); r.Status != 200 || r.Outcome != record.OutcomeLinked {
		t.Errorf("the first login ends with status %d and %s, want 200, linked", r.Status, r.Data)
	}
	if u := a.d.User(workertest.Acme, "ada@acme.example"); u.AuthProvider != "oidc" || u.HasIdentity != 1 {
		t.Errorf("the user has the auth provider %q and %d identities, want oidc and 1", u.AuthProvider, u.HasIdentity)
	}
	if r := login("second", a.d.Person("ada").With(workertest.Claims{"sub": "somebody else"})); r.Status != 409 || r.Reason != "different_identity" {
		t.Errorf("a second identity ends with status %d and %s, want 409 and different_identity", r.Status, r.Data)
	}
	for _, taken := range []string{"bob", "cy"} { // one has a password, one waits for another kind of source
		if r := login("of "+taken, a.d.Person(taken)); r.Status != 409 {
			t.Errorf("a login as %s, who is taken, ends with status %d and %s, want 409", taken, r.Status, r.Data)
		}
	}
}
