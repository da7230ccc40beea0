package oidc_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/providers/providertest"
)

// otherKinds are tokens that an issuer signs with the key of its ID tokens, and that are no ID tokens.
func otherKinds() map[string]struct {
	claims map[string]any
	header string // typ
} {
	type token = struct {
		claims map[string]any
		header string
	}
	logout := map[string]any{"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}, "sid": "s1"}
	return map[string]struct {
		claims map[string]any
		header string
	}{
		"a logout token without typ":      token{logout, ""},
		"a logout token with typ JWT":     token{logout, "JWT"},
		"a logout token with its own typ": token{logout, "logout+jwt"},
		"a security event":                token{logout, "secevent+jwt"},
		"an access token of Cognito":      token{map[string]any{"token_use": "access"}, ""},
		"an access token of Keycloak":     token{map[string]any{"typ": "Bearer"}, "JWT"},
		"a logout token of Keycloak":      token{map[string]any{"typ": "Logout"}, "JWT"},
		"a refresh token":                 token{map[string]any{"typ": "Refresh"}, ""},
		"an access token by token_type":   token{map[string]any{"token_type": "access"}, ""},
		"a DPoP proof":                    token{nil, "dpop+jwt"},
		"a type without +jwt":             token{nil, "JOSE"},
		"a media type":                    token{nil, "application/logout+jwt"},
	}
}

func TestOnlyIDTokensAreLogins(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, func(s *providers.Source) { own(s).Commands, own(s).CommandsClaim = true, "admin" })
	v := w.provider.(providers.TokenVerifier)
	for name, other := range otherKinds() {
		t.Run(name, func(t *testing.T) {
			claims := w.claims(other.claims)
			claims["admin"] = true
			var options []issuer.SignOption
			if other.header != "" {
				options = append(options, issuer.WithHeader("typ", other.header))
			}
			token := w.sign(t, claims, options...)
			expect(t, w.provider, w.login(t, token), "token_type")
			if _, err := v.VerifyToken(t.Context(), token, w.clock.Now(), nil); reason(err) != "token_type" {
				t.Errorf("in place of a credential: %v; want token_type", err)
			}
		})
	}
	access := w.sign(t, w.claims(map[string]any{"client_id": "cli", "jti": "1"}), issuer.WithHeader("typ", "at+jwt"))
	expect(t, w.provider, w.login(t, access), "token_type")
	for _, typ := range []string{"JWT", "jwt", "application/jwt"} {
		expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil), issuer.WithHeader("typ", typ))), "")
	}
	for name, claims := range map[string]map[string]any{"Cognito's": {"token_use": "id"}, "Keycloak's": {"typ": "ID"}} {
		if _, err := w.provider.Verify(t.Context(), w.login(t, w.sign(t, w.claims(claims)))); err != nil {
			t.Errorf("%s ID token: %v; want it accepted", name, err)
		}
	}
}

func TestTokensThatCarryCommands(t *testing.T) {
	access := []issuer.SignOption{issuer.WithHeader("typ", "at+jwt")}
	for _, c := range []struct {
		name     string
		claim    string
		audience []string // command_audiences
		claims   map[string]any
		options  []issuer.SignOption
		want     string
	}{
		{name: "nothing tells", claims: nil, want: "commands"},
		{name: "a login's token", claim: "admin", want: "commands_claim"},
		{name: "with the claim", claim: "admin", claims: map[string]any{"admin": true}},
		{name: "the claim as text", claim: "admin", claims: map[string]any{"admin": "true"}, want: "commands_claim"},
		{name: "the claim false", claim: "admin", claims: map[string]any{"admin": false}, want: "commands_claim"},
		{name: "a claim of that text", claim: "role=admin", claims: map[string]any{"role": "admin"}},
		{name: "a list with that text", claim: "groups=admins", claims: map[string]any{"groups": []string{"user", "admins"}}},
		{name: "a list without it", claim: "groups=admins", claims: map[string]any{"groups": []string{"user"}}, want: "commands_claim"},
		{name: "another audience", claim: "admin", claims: map[string]any{"admin": true, "aud": "other"}, want: "audience"},
		{name: "an audience of its own", audience: []string{"tool"}, claims: map[string]any{"aud": "tool"}},
		{name: "a login's audience", audience: []string{"tool"}, want: "audience"},
		{name: "both audiences", audience: []string{"tool"}, claims: map[string]any{"aud": []string{"tool", client}, "azp": client}, want: "authorized_party"},
		{name: "access token", audience: []string{"tool"}, options: access, claims: map[string]any{"aud": []string{"tool", "files"}, "client_id": "cli", "jti": "1"}},
		{name: "access token without the claim", claim: "admin", options: access, claims: map[string]any{"client_id": "cli", "jti": "1"}, want: "commands_claim"},
		{name: "access token without client_id", audience: []string{"tool"}, options: access, claims: map[string]any{"aud": "tool", "jti": "1"}, want: "token_type"},
		{name: "access token that lives long", audience: []string{"tool"}, options: access, claims: map[string]any{"aud": "tool", "client_id": "cli", "jti": "1", "exp": providertest.Epoch.Add(25 * time.Hour).Unix()}, want: "token_life"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, []string{"EdDSA"}, func(s *providers.Source) {
				own(s).Commands, own(s).CommandsClaim, own(s).CommandAudiences = true, c.claim, c.audience
			})
			v := w.provider.(providers.TokenVerifier)
			trace := &providers.Trace{}
			token := w.sign(t, w.claims(c.claims), c.options...)
			got, err := v.VerifyToken(t.Context(), token, w.clock.Now(), trace)
			if reason(err) != c.want {
				t.Fatalf("VerifyToken = %v; want reason %q", err, c.want)
			}
			want := providers.Principal{}
			if c.want == "" {
				want = providers.Principal{Kind: providers.PrincipalSource, Tenant: providertest.Tenant, ID: "okta", Name: "00u1", Grants: []string{"user"}}
			}
			if !reflect.DeepEqual(got, want) || len(trace.Checks()) == 0 {
				t.Errorf("VerifyToken gives the principal %v, with %d checks in the trace; want %v, and the checks", got, len(trace.Checks()), want)
			}
			if c.audience != nil && c.want == "" {
				if _, err := w.provider.Verify(t.Context(), w.login(t, token)); err == nil {
					t.Error("a token for commands is accepted as a login")
				}
			}
			w.clock.Advance(26 * time.Hour)
			if _, err := v.VerifyToken(t.Context(), token, w.clock.Now(), nil); err == nil {
				t.Error("the token is accepted a day after it expired")
			}
		})
	}
	for name, claim := range map[string]string{"that says nothing of commands": "", "that says which tokens it would be": "admin"} {
		w := newWorld(t, []string{"EdDSA"}, func(s *providers.Source) { own(s).CommandsClaim = claim })
		token := w.sign(t, w.claims(map[string]any{"admin": true}))
		if _, err := w.provider.(providers.TokenVerifier).VerifyToken(t.Context(), token, w.clock.Now(), nil); reason(err) != "commands" {
			t.Errorf("a source without commands, %s: %v; want commands", name, err)
		}
	}
}

func TestTokenLife(t *testing.T) {
	for _, c := range []struct {
		name       string
		most, life time.Duration
		want       string
	}{
		{"the default", 0, 24 * time.Hour, ""},
		{"longer than the default", 0, 24*time.Hour + time.Second, "token_life"},
		{"longer than the source says", time.Hour, time.Hour + time.Second, "token_life"},
		{"as long as the source says", 720 * time.Hour, 720 * time.Hour, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, []string{"EdDSA"}, func(s *providers.Source) { own(s).MaxTokenLife = c.most })
			claims := w.claims(map[string]any{"iat": w.clock.Now().Unix(), "exp": w.clock.Now().Add(c.life).Unix()})
			expect(t, w.provider, w.login(t, w.sign(t, claims)), c.want)
		})
	}
}

func TestSingleUse(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, func(s *providers.Source) { own(s).SingleUse = true })
	used := func(id string) string {
		t.Helper()
		user, err := w.provider.Verify(t.Context(), w.login(t, w.sign(t, w.claims(map[string]any{"jti": id}))))
		if err != nil {
			t.Fatal(err)
		}
		if user.UsedID == nil || !user.UsedID.Until.After(w.clock.Now().Add(providers.DefaultMaxEventAge)) {
			t.Fatalf("the used id is %v; want one that is kept longer than an event may wait", user.UsedID)
		}
		return user.UsedID.ID
	}
	if first := used("a"); used("a") != first || used("b") == first {
		t.Error("used ids do not tell tokens apart by their jti alone")
	}
	expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil))), "token_id")
	own(&w.source).SingleUse = false
	user, err := w.open(t).Verify(t.Context(), w.login(t, w.sign(t, w.claims(map[string]any{"jti": "a"}))))
	if err != nil || user.UsedID != nil {
		t.Errorf("a source that does not ask for it: %v, %v; want no used id", user.UsedID, errors.Unwrap(err))
	}
}
