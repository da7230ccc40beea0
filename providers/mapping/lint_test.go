package mapping_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/mapping"
)

func TestLintReportsEveryFault(t *testing.T) {
	_, err := mapping.Compile(kindOf(providers.KindOIDC), providers.Source{Mapping: map[string]string{
		"owner": "claims.x", "is_owner": "true", "nickname": "claims.x",
		"email": "claims.email +", "name": "1 + 1", "first_name": "claim.x", "last_name": "claims.a + undefined_fn(claims.b)",
		"email_verified": "true", "roles": "{'a': 1}", "organizations": "'x'", "avatar": strings.Repeat("a", 5000),
	}})
	lint, ok := errors.AsType[*mapping.LintError](err)
	if !ok {
		t.Fatalf("Compile ends with %v, want a *mapping.LintError", err)
	}
	want := []struct {
		field   string
		column  int
		message string
		hint    string
	}{
		{"is_owner", 0, "an owner is never taken from a claim", "the directory"},
		{"nickname", 0, "not a field", "email, email_verified, "},
		{"owner", 0, "an owner is never taken from a claim", "the directory"},
		{"email", 15, "Syntax error", "CEL expressions"},
		{"email_verified", 1, "must come from a claim", "issuer says so"},
		{"name", 1, "gives int, but the field wants a string", ""},
		{"first_name", 1, "undeclared reference to 'claim'", "claims.email"},
		{"last_name", 24, "undeclared reference to 'undefined_fn'", ""},
		{"roles", 1, "gives map(string, int)", ""},
		{"organizations", 1, "gives string", ""},
		{"avatar", 0, "longer than 4096 bytes", ""},
	}
	if len(lint.Problems) != len(want) {
		t.Errorf("there are %d problems, want %d:\n%v", len(lint.Problems), len(want), err)
	}
	for _, w := range want {
		found := false
		for _, p := range lint.Problems {
			found = found || p.Field == w.field && p.Column == w.column && strings.Contains(p.Message, w.message) && strings.Contains(p.Hint, w.hint) &&
				strings.Contains(err.Error(), p.String())
		}
		if !found {
			t.Errorf("%+v is not among\n%v", w, err)
		}
	}
}

func TestStaticTypes(t *testing.T) {
	for _, c := range []struct {
		kind        providers.Kind
		field, expr string
		ok          bool
	}{
		{providers.KindOIDC, "name", `"x"`, true},
		{providers.KindOIDC, "name", `claims.?x`, true},
		{providers.KindOIDC, "name", `optional.of("x")`, true},
		{providers.KindOIDC, "name", `optional.of(1)`, false},
		{providers.KindOIDC, "name", `["x"]`, false},
		{providers.KindOIDC, "name", `null`, false},
		{providers.KindOIDC, "name", `claims`, false},
		{providers.KindOIDC, "roles", `["x"]`, true},
		{providers.KindOIDC, "roles", `[]`, true},
		{providers.KindOIDC, "roles", `"x"`, true},
		{providers.KindOIDC, "roles", `[1]`, false},
		{providers.KindOIDC, "roles", `true`, false},
		{providers.KindOIDC, "email_verified", `claims.a == "yes"`, true},
		{providers.KindOIDC, "email_verified", `claims.?a`, true},
		{providers.KindOIDC, "email_verified", `"true"`, false},
		{providers.KindOIDC, "organizations", `[{"organizationId": "x", "roleId": "y"}]`, true},
		{providers.KindOIDC, "organizations", `["x"]`, false},
		{providers.KindSAML, "email", `attributes["mail"]`, false},
		{providers.KindSAML, "email", `attributes["mail"][0]`, true},
		{providers.KindSAML, "email", `name_id`, true},
		{providers.KindSAML, "name", `session_index + name_id_format`, true},
		{providers.KindSAML, "roles", `attributes.groups`, true},
		{providers.KindSAML, "email", `claims.email`, false},
		{providers.KindSAML, "email_verified", `name_id == "x"`, false},
		{providers.KindFeed, "email", `resource.x`, true},
		{providers.KindFeed, "email_verified", `resource.x`, false},
		{providers.KindOIDC, "name", `ip("127.0.0.1")`, false},
		{providers.KindOIDC, "name", `base64.encode(b"x")`, false},
		{providers.KindCommand, "name", `"x"`, false},
	} {
		if _, err := mapping.Compile(kindOf(c.kind), providers.Source{Mapping: map[string]string{c.field: c.expr}}); (err == nil) != c.ok {
			t.Errorf("%s: the expression %s of %s gives the error %v, want it accepted: %v", c.kind, c.expr, c.field, err, c.ok)
		}
	}
}

func TestLinkingNeedsAProvedAddress(t *testing.T) {
	oidc := func(m map[string]string) providers.Source {
		return providers.Source{Kind: providers.KindOIDC, LinkByEmail: "verified", UnverifiedEmail: "accept", Mapping: m}
	}
	for name, c := range map[string]struct {
		src providers.Source
		ok  bool
	}{
		"oidc defaults":                {oidc(nil), true},
		"both mapped":                  {oidc(map[string]string{"email": "claims.mail", "email_verified": "claims.mail_verified"}), true},
		"the default written out":      {oidc(map[string]string{"email": "claims.email"}), true},
		"verified switched off":        {oidc(map[string]string{"email_verified": ""}), false},
		"another address":              {oidc(map[string]string{"email": "claims.upn"}), false},
		"another claim":                {oidc(map[string]string{"email": "claims.mail", "email_verified": "claims.mail_ok"}), false},
		"another address, no verified": {oidc(map[string]string{"email": "claims.upn", "email_verified": ""}), false},
		"unknown word":                 {providers.Source{Kind: providers.KindOIDC, LinkByEmail: "always"}, false},
		"oidc, trusted":                {providers.Source{Kind: providers.KindOIDC, LinkByEmail: "verified", TrustEmail: true, Domains: []string{"acme.example"}, Mapping: map[string]string{"email": "claims.upn"}}, true},
		"saml":                         {providers.Source{Kind: providers.KindSAML, LinkByEmail: "verified", UnverifiedEmail: "accept"}, false},
		"saml, trusted":                {providers.Source{Kind: providers.KindSAML, LinkByEmail: "verified", TrustEmail: true, Domains: []string{"acme.example"}}, true},
		"feed":                         {providers.Source{Kind: providers.KindFeed, LinkByEmail: "verified"}, false},
		"not linking":                  {providers.Source{Kind: providers.KindOIDC, UnverifiedEmail: "accept", Mapping: map[string]string{"email": "claims.upn"}}, true},
	} {
		m, err := mapping.Compile(kindOf(c.src.Kind), c.src)
		if err != nil {
			t.Errorf("%s: a source in force must go on working, but it does not compile: %v", name, err)
			continue
		}
		faults := m.Lint(c.src)
		if c.ok && len(faults) > 0 {
			t.Errorf("%s: apply refuses it: %v", name, faults)
		}
		if !c.ok && (len(faults) != 1 || faults[0].Field != "link_by_email" || faults[0].Hint == "") {
			t.Errorf("%s: the faults are %v, want one of link_by_email with a hint", name, faults)
		}
	}
}

func TestDefaultsAreACopy(t *testing.T) {
	mapping.Claims().Defaults["email"] = "changed"
	if got := mapping.Claims().Defaults["email"]; got != "claims.email" {
		t.Errorf("the default is now %q, want claims.email", got)
	}
	for _, kind := range []providers.Kind{providers.KindOIDC, providers.KindSAML, providers.KindFeed} {
		compile(t, kind, kindOf(kind).Mapping.Defaults)
	}
}
