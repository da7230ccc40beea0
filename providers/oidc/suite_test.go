package oidc_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/oidc"
	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/providers/providertest"
)

func TestProvider(t *testing.T) {
	w := newWorld(t, []string{"RS256"}, nil)
	token := w.sign(t, w.claims(map[string]any{"nonce": "the-nonce-of-it", "groups": []string{"user"}}))
	forged, err := w.issuer.SignedByAnotherKey(w.claims(nil))
	if err != nil {
		t.Fatal(err)
	}
	providertest.Run(t, providertest.Suite{
		New: func(t *testing.T) providers.Provider { return w.open(t) },
		Accepted: func(t *testing.T) providers.Envelope {
			return providertest.OIDCLogin(t, "okta", token, "the-nonce-of-it", "", w.clock.Now())
		},
		Rejected: func(t *testing.T) map[string]providers.Envelope {
			return map[string]providers.Envelope{
				"another nonce": providertest.OIDCLogin(t, "okta", token, "the-secret-nonce", "", w.clock.Now()),
				"forged":        w.login(t, forged),
				"not a token":   w.login(t, "hunter2-hunter2"),
			}
		},
		Secrets: []string{token, forged, "the-nonce-of-it", "the-secret-nonce", "hunter2-hunter2", "ada@acme.example", "Lovelace"},
	})
}

func TestVerifiedRequest(t *testing.T) {
	w := newWorld(t, []string{"RS256"}, nil)
	e := w.login(t, w.sign(t, w.claims(map[string]any{
		"groups": []string{"user"}, "acr": "urn:mfa", "amr": []string{"pwd", "otp"}, "azp": client, "hd": "acme.example", "auth_time": 1793610000, "picture": "https://x",
	})))
	got, err := w.provider.Verify(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	want := providers.CreateUser{
		Principal:    providers.Principal{Kind: providers.PrincipalSource, Tenant: providertest.Tenant, ID: "okta", Name: "okta", Grants: []string{"user"}},
		Shape:        providers.ShapeLogin,
		AuthProvider: "oidc",
		Identity:     &providers.Identity{Issuer: w.server.URL, Subject: "00u1"},
		Email:        "ada@acme.example", EmailVerified: true, Name: "Ada Lovelace", FirstName: "Ada", LastName: "Lovelace",
		Roles:      providers.Claim[string]{Present: true, Values: []string{"user"}},
		Attributes: map[string]any{"acr": "urn:mfa", "amr": []string{"pwd", "otp"}, "azp": client, "hd": "acme.example", "auth_time": int64(1793610000)},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Verify = %+v\nwant     %+v", got, want)
	}
}

func TestEmailIsVerifiedByBooleanTrueOnly(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	for _, value := range []any{"true", "True", 1, false, nil, []any{true}} {
		got, err := w.provider.Verify(t.Context(), w.login(t, w.sign(t, w.claims(map[string]any{"email_verified": value}))))
		if err != nil || got.EmailVerified || len(got.Faults) != 0 {
			t.Errorf("email_verified %v gives EmailVerified %v with faults %v and the error %v, want it unverified without a fault", value, got.EmailVerified, got.Faults, err)
		}
	}
}

// What a token says of one claim must not vouch for an address that comes from another, which people may choose themselves.
func TestEmailVerifiedSpeaksOfTheMappedAddress(t *testing.T) {
	for name, c := range map[string]struct {
		trust   bool
		mapping map[string]string
		want    bool
	}{
		"another claim, by default":       {false, map[string]string{"email": "claims.preferred_username"}, false},
		"another claim, the same word":    {false, map[string]string{"email": "claims.preferred_username", "email_verified": "claims.email_verified"}, false},
		"another claim, the operator's":   {false, map[string]string{"email": "claims.preferred_username", "email_verified": "claims.preferred_username_verified"}, true},
		"another claim, a trusted source": {true, map[string]string{"email": "claims.preferred_username"}, true},
	} {
		w := newWorld(t, []string{"EdDSA"}, func(s *providers.Source) {
			s.TrustEmail, s.Domains, s.Mapping = c.trust, []string{"acme.example"}, c.mapping
		})
		claims := w.claims(map[string]any{"preferred_username": "president@acme.example", "preferred_username_verified": true, "email_verified": true})
		got, err := w.provider.Verify(t.Context(), w.login(t, w.sign(t, claims)))
		if err != nil || got.Email != "president@acme.example" || len(got.Faults) > 0 {
			t.Fatalf("%s: the login has the address %q, faults %v and error %v; want president@acme.example", name, got.Email, got.Faults, err)
		}
		if got.EmailVerified != c.want {
			t.Errorf("%s: the address is proved: %v, want %v", name, got.EmailVerified, c.want)
		}
	}
}

func TestFaultyRolesAreReportedWithTheRequest(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	got, err := w.provider.Verify(t.Context(), w.login(t, w.sign(t, w.claims(map[string]any{"groups": "user,admin", "name": 7}))))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Faults) != 2 || got.Faults[0].Field != "name" || got.Faults[1].Field != "roles" || got.Roles.Present {
		t.Errorf("the faults are %+v and the roles %+v, want faults of name and roles, and no roles", got.Faults, got.Roles)
	}
}

// The same token, judged at other times: only when it was stored counts.
func TestTimesAreJudgedWhenStored(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	e := w.login(t, w.sign(t, w.claims(nil)))
	w.clock.Advance(30 * 24 * time.Hour)
	if _, err := w.provider.Verify(t.Context(), e); err != nil {
		t.Errorf("valid when stored, processed a month later: %v", err)
	}
	e.StoredAt = w.clock.Now()
	if _, err := w.provider.Verify(t.Context(), e); reason(err) != "expired" {
		t.Errorf("stored a month later: %v, want expired", err)
	}
}

func TestAccessTokenHash(t *testing.T) {
	// The left half of the digest of "at-1", made with openssl; EdDSA goes with SHA-512.
	for algorithm, hash := range map[string]string{
		"RS256": "R8PYaIQdcYEdkSc9TeGyiQ",
		"ES384": "xuH6cm_HAD6l8eK5sNkZDBF4xMryPnlN",
		"EdDSA": "4J8UayM9qUGnNqHaqK2rpChA_M6CMUIfl5gcZqvthBE",
	} {
		w := newWorld(t, []string{algorithm}, nil)
		token := w.sign(t, w.claims(map[string]any{"at_hash": hash}))
		for access, want := range map[string]string{"at-1": "", "at-2": "access_token_hash", "": ""} {
			_, err := w.provider.Verify(t.Context(), providertest.OIDCLogin(t, "okta", token, "", access, w.clock.Now()))
			if reason(err) != want {
				t.Errorf("%s, access token %q: %v, want %q", algorithm, access, err, want)
			}
		}
		bare := w.sign(t, w.claims(nil))
		if _, err := w.provider.Verify(t.Context(), providertest.OIDCLogin(t, "okta", bare, "", "at-1", w.clock.Now())); reason(err) != "access_token_hash" {
			t.Errorf("%s, an access token and no at_hash: %v, want access_token_hash", algorithm, err)
		}
	}
}

func TestEveryAlgorithm(t *testing.T) {
	all := []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
	w := newWorld(t, all, nil)
	for _, algorithm := range all {
		token := w.sign(t, w.claims(nil), issuer.WithAlgorithm(algorithm))
		if _, err := w.provider.Verify(t.Context(), w.login(t, token)); err != nil {
			t.Errorf("%s: %v", algorithm, err)
		}
		dot := strings.LastIndexByte(token, '.')
		tampered := token[:dot+2] + string(token[dot+2]^1) + token[dot+3:]
		if !strings.ContainsAny(tampered[dot+2:dot+3], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
			tampered = token[:dot+2] + "A" + token[dot+3:]
		}
		if _, err := w.provider.Verify(t.Context(), w.login(t, tampered)); tampered != token && reason(err) != "signature" {
			t.Errorf("%s: a changed signature gives %v, want the reason signature", algorithm, err)
		}
	}
}

func TestConfigurationFaultsAreReportedTogether(t *testing.T) {
	env, _, _ := providertest.Environment(t, providertest.NewClock())
	_, err := oidc.New(providers.Source{
		Kind: providers.KindOIDC, Issuer: "http://issuer.example", Config: &oidc.Config{Algorithms: []string{"HS256", "none"}},
		Mapping: map[string]string{"owner": "claims.owner", "email": "claims.upn"},
	}, env)
	if err == nil {
		t.Fatal("a faulty configuration is accepted, want an error")
	}
	for _, want := range []string{"issuer: must be https", "audiences: ", `"HS256"`, `"none"`, "an owner is never taken from a claim"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q:\n%v", want, err)
		}
	}
	for _, bad := range []string{"", "issuer.example", "https://", "https://a.example?x=1", "https://a.example#x", "https://u:p@a.example", "ftp://a.example"} {
		_, err := oidc.New(providers.Source{Kind: providers.KindOIDC, Issuer: bad, Config: &oidc.Config{Audiences: []string{client}}}, env)
		if err == nil {
			t.Errorf("issuer %q accepted", bad)
		}
	}
	for _, good := range []string{"https://a.example", "https://a.example/tenant/", "http://127.0.0.1:8080", "http://[::1]:1", "http://localhost:9/x"} {
		if _, err := oidc.New(providers.Source{Kind: providers.KindOIDC, Issuer: good, Config: &oidc.Config{Audiences: []string{client}}}, env); err != nil {
			t.Errorf("issuer %q: %v", good, err)
		}
	}
}

// reason returns the name of the failed check, "" for none.
func reason(err error) string {
	if err == nil {
		return ""
	}
	if failure, ok := errors.AsType[*providers.Error](err); ok {
		return failure.Reason
	}
	return "not a *providers.Error: " + err.Error()
}

// Two claims that differ in case only are a fault when anybody reads one of them: these checks, go-oidc, a policy, or an
// expression of the mapping, which may also read all of them.
func TestClaimsInTwoCases(t *testing.T) {
	mapped := func(field, expression string) func(*providers.Source) {
		return func(s *providers.Source) { s.Mapping = map[string]string{field: expression} }
	}
	for name, c := range map[string]struct {
		source func(*providers.Source)
		claims map[string]any
		want   string
	}{
		"that nobody reads":           {nil, map[string]any{"upn": "a", "UPN": "b", "Dept": 1, "dept": 2}, ""},
		"of the address":              {nil, map[string]any{"EMAIL": "b"}, "duplicate_claim"},
		"of its proof":                {nil, map[string]any{"Email_Verified": true}, "duplicate_claim"},
		"of a policy":                 {nil, map[string]any{"hd": "a", "HD": "b"}, "duplicate_claim"},
		"of the kind of token":        {nil, map[string]any{"events": "a", "Events": "b"}, "duplicate_claim"},
		"of the subject":              {nil, map[string]any{"SUB": "admin"}, "duplicate_claim"},
		"of an expression":            {mapped("roles", "claims.groups"), map[string]any{"groups": []string{"a"}, "Groups": []string{"b"}}, "duplicate_claim"},
		"of an optional":              {mapped("roles", "claims.?groups.orValue([])"), map[string]any{"groups": []string{"a"}, "GROUPS": []string{"b"}}, "duplicate_claim"},
		"of a key in brackets":        {mapped("roles", `claims["groups"]`), map[string]any{"groups": []string{"a"}, "GROUPS": []string{"b"}}, "duplicate_claim"},
		"of what is only looked for":  {mapped("name", `has(claims.upn) ? "x" : claims.name`), map[string]any{"upn": "a", "UPN": "b"}, "duplicate_claim"},
		"of an expression over all":   {mapped("roles", `claims.map(k, k)`), map[string]any{"upn": "a", "UPN": "b"}, "duplicate_claim"},
		"of a key that is computed":   {mapped("name", `claims[claims.name]`), map[string]any{"upn": "a", "UPN": "b"}, "duplicate_claim"},
		"that another expression has": {mapped("roles", "claims.groups"), map[string]any{"upn": "a", "UPN": "b"}, ""},
	} {
		w := newWorld(t, []string{"EdDSA"}, c.source)
		_, err := w.provider.Verify(t.Context(), w.login(t, w.sign(t, w.claims(c.claims))))
		if got := reason(err); got != c.want {
			t.Errorf("two cases of a claim %s: %v, want the reason %q", name, err, c.want)
		}
	}
}
