package mapping_test

import (
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/mapping"
)

// everyClaim says yes to whatever a mapping may ask, so that only the mapping decides whether the address is proved.
const everyClaim = `{
	"email": "ada@acme.example", "email_verified": true, "emailVerified": true, "verified_email": true, "xms_edov": true,
	"preferred_username": "ada@acme.example", "preferred_username_verified": true, "upn": "ada@acme.example", "upn_verified": true,
	"mail": "ada@acme.example", "mailVerified": true, "mail_ok": true, "verified_mail": true, "admin": true, "true": true,
	"user": {"email": "ada@acme.example", "email_verified": true, "upn": "ada@acme.example", "verified_upn": true, "verified": true},
	"emails": [{"value": "ada@acme.example", "value_verified": true, "verified": true}, {"value": "eve@acme.example", "verified": true}],
	"which": "email", "zero": 0, "amr": ["mfa"], "list": ["ada@acme.example"], "list_verified": true
}`

func TestProofSpeaksOfTheClaimThatTheAddressComesFrom(t *testing.T) {
	const byDefault = "default"
	for _, c := range []struct {
		email, verified string
		proved          bool
		why             string // in the fault of apply, when it is not proved
	}{
		// The default speaks of claims.email as it is.
		{byDefault, byDefault, true, ""},
		{`claims.email`, byDefault, true, ""},
		{`claims["email"]`, byDefault, true, ""},
		{`claims.?email`, byDefault, true, ""},
		{`claims[?"email"]`, byDefault, true, ""},
		{` claims.email `, byDefault, true, ""},
		{`claims.preferred_username`, byDefault, false, "claims.preferred_username"},
		{`claims.?preferred_username`, byDefault, false, "claims.preferred_username"},
		{`claims.upn`, byDefault, false, "claims.upn"},
		{`claims.user.email`, byDefault, false, "claims.user.email"},
		{`claims.email.lowerAscii()`, byDefault, false, "claims.email as it is"},
		{`claims.?email.orValue(claims.upn)`, byDefault, false, "claims.upn"},
		{`has(claims.email) ? claims.email : claims.preferred_username`, byDefault, false, "claims.preferred_username"},
		{`claims.list[0]`, byDefault, false, "claims.list[0]"},

		// What the operator writes speaks of it by its name, or by reading it.
		{byDefault, `claims.email_verified`, true, ""},
		{byDefault, `claims["email_verified"]`, true, ""},
		{byDefault, `claims.?email_verified`, true, ""},
		{byDefault, `claims.?email_verified.orValue(false)`, true, ""},
		{byDefault, `claims.email_verified == true || claims.email_verified == "true"`, true, ""},
		{byDefault, `claims.xms_edov == true || claims.xms_edov == 1 || claims.xms_edov == "1"`, true, ""},
		{byDefault, `claims.xms_edov in [true, 1, "1", "true"]`, true, ""},
		{byDefault, `claims.emailVerified`, true, ""},
		{byDefault, `claims.verified_email`, true, ""},
		{byDefault, `claims.email.endsWith("@acme.example")`, true, ""},
		{byDefault, `claims.admin && claims.email_verified`, true, ""},
		{byDefault, `claims.admin ? claims.email_verified : false`, true, ""},
		{`claims.email.lowerAscii()`, `claims.email_verified`, true, ""},
		{`claims.preferred_username`, `claims.preferred_username_verified`, true, ""},
		{`claims.preferred_username`, `claims.preferred_username.endsWith("@acme.example")`, true, ""},
		{`claims.?preferred_username`, `claims[?"preferred_username_verified"]`, true, ""},
		{`claims.mail`, `claims.mailVerified`, true, ""},
		{`claims.mail`, `claims.verified_mail`, true, ""},
		{`claims.user.email`, `claims.user.email_verified`, true, ""},
		{`claims.user.upn`, `claims.user.verified_upn`, true, ""},
		{`claims.upn + ""`, `claims.upn_verified`, true, ""},
		{`claims.?upn.optMap(u, u.lowerAscii())`, `claims.upn_verified`, true, ""},

		// Another variable is no proof.
		{`claims.preferred_username`, `claims.email_verified`, false, "claims.preferred_username"},
		{`claims.preferred_username`, `claims.?email_verified`, false, "claims.preferred_username"},
		{`claims.upn`, `claims.xms_edov`, false, "claims.upn"},
		{`claims.mail`, `claims.mail_ok`, false, "claims.mail"},
		{byDefault, `claims.admin`, false, "claims.email"},
		{byDefault, `claims.amr.exists(m, m == "mfa")`, false, "claims.email"},
		{byDefault, `claims.user.email_verified`, false, "claims.email"},
		{`claims.user.email`, `claims.email_verified`, false, "claims.user.email"},
		{`claims.user.email`, `claims.user.verified`, false, "claims.user.email"},
		{byDefault, `claims["true"]`, false, "claims.email"},

		// Its being there is none, nor is one that another variable makes true.
		{byDefault, `has(claims.email_verified)`, false, "claims.email"},
		{byDefault, `claims.?email_verified.hasValue()`, false, "claims.email"},
		{byDefault, `"email_verified" in claims`, false, "claims.email"},
		{`claims.upn`, `has(claims.upn.x)`, false, "claims.upn"},
		{`claims.user.email`, `claims.user.size() > 0`, false, "claims.user.email"},
		{`claims.user.email`, `claims.xms_edov`, false, "claims.user.email"},
		{byDefault, `claims.size() > 0`, false, "claims.email"},
		{byDefault, `claims.email_verified || claims.admin`, false, "claims.email"},
		{byDefault, `claims.admin ? true : claims.email_verified`, false, "claims.email"},
		{byDefault, `claims.email_verified ? true : claims.admin`, false, "claims.email"},
		{byDefault, `!(claims.admin && !claims.email_verified)`, false, "claims.email"},
		{byDefault, `!(claims.list == [] || !claims.email_verified)`, true, ""},
		{byDefault, `!has(claims.email_verified) || claims.email_verified == true`, false, "claims.email"},
		{byDefault, `[{"email_verified": true}].exists(claims, claims.email_verified)`, false, "claims.email"},

		// An address from one of two claims needs both.
		{`has(claims.email) ? claims.email : claims.upn`, `claims.email_verified`, false, "claims.upn"},
		{`has(claims.email) ? claims.email : claims.upn`, `claims.upn_verified`, false, "claims.email"},
		{`has(claims.email) ? claims.email : claims.upn`, `claims.email_verified && claims.upn_verified`, true, ""},
		{`has(claims.email) ? claims.email : claims.upn`, `has(claims.email) ? claims.email_verified : claims.upn_verified`, true, ""},
		{`claims.?email.or(claims.?upn)`, `claims.email_verified`, false, "claims.upn"},
		{`claims.?email.or(claims.?upn)`, `claims.email_verified && claims.upn_verified`, true, ""},
		{`claims.?email.orValue(claims.upn)`, `claims.email_verified`, false, "claims.upn"},
		{`claims.admin ? claims.email : claims.mail`, `claims.email_verified && claims.mailVerified`, true, ""},

		// Lists: the entry that the address comes from, or the list as a whole.
		{`claims.list[0]`, `claims.list_verified`, false, "claims.list[0]"},
		{`claims.list[0]`, `claims.list[0].endsWith("@acme.example")`, true, ""},
		{`claims.emails[0].value`, `claims.emails[0].value_verified`, true, ""},
		{`claims.emails[?0].?value`, `claims.emails[0].value_verified`, true, ""},
		{`claims.emails[0].value`, `claims.emails[1].value_verified`, false, "claims.emails[0].value"},
		{`claims.emails[0].value`, `claims.emails[1].verified`, false, "claims.emails[0].value"},
		{`claims.emails[0].value`, `claims.emails.exists(e, e.value == claims.emails[0].value && e.verified)`, true, ""},
		{`claims.emails.filter(e, e.verified)[0].value`, `claims.emails.exists(e, e.verified)`, true, ""},
		{`claims.emails.filter(e, e.verified)[0].value`, `claims.emails[0].verified`, false, "claims.emails"},
		{`claims.emails.filter(e, e.verified)[0].value`, `claims.email_verified`, false, "claims.emails"},

		// Where the address comes from must be there to read.
		{`claims[claims.which]`, `claims.email_verified`, false, "cannot be told"},
		{`claims.filter(k, k == "email").map(k, claims[k])[0]`, `claims.email_verified`, false, "cannot be told"},
		{`"ada@acme.example"`, `claims.email_verified`, false, "no claim"},
		{``, byDefault, false, "is switched off, so that no login has an address"},
		{byDefault, ``, false, "is switched off"},
		{byDefault, ` `, false, "is switched off"},
	} {
		exprs := map[string]string{}
		if c.email != byDefault {
			exprs["email"] = c.email
		}
		if c.verified != byDefault {
			exprs["email_verified"] = c.verified
		}
		t.Run(c.email+" by "+c.verified, func(t *testing.T) {
			src := providers.Source{Kind: providers.KindOIDC, Mapping: exprs}
			m, err := mapping.Compile(kindOf(src.Kind), src)
			if err != nil {
				t.Fatalf("it does not compile: %v", err)
			}
			got := apply(t, m, &mapping.Vars{Claims: object(t, everyClaim)})
			if got.EmailVerified != c.proved {
				t.Errorf("a token that says yes to everything proves the address: %v, want %v", got.EmailVerified, c.proved)
			}
			if len(got.Faults) > 0 || got.Email != "ada@acme.example" && c.email != "" {
				t.Errorf("the address is %q with faults %v; what is not proved must be mapped all the same", got.Email, got.Faults)
			}
			faults := m.Lint(src)
			if c.proved {
				if len(faults) > 0 {
					t.Errorf("apply refuses it: %v", faults)
				}
				return
			}
			if len(faults) != 1 {
				t.Fatalf("apply finds %d faults in it, want 1: %v", len(faults), faults)
			}
			if f := faults[0]; !strings.Contains(f.Message, c.why) || f.Field != "email" && f.Field != "email_verified" {
				t.Errorf("the fault is %q, want one of email or email_verified that says %q", f, c.why)
			}
			for _, way := range []string{"trust_email", "domains", "unverified_email: accept"} {
				if !strings.Contains(faults[0].Hint, way) {
					t.Errorf("the hint %q does not name %s", faults[0].Hint, way)
				}
			}
		})
	}
}

// Entra sends xms_edov as true in some tenants and as "1" in others; the string "true" is proof because the expression says so.
func TestEntraSaysSoInSeveralWays(t *testing.T) {
	m := compile(t, providers.KindOIDC, map[string]string{"email_verified": `claims.xms_edov in [true, 1, "1", "true"]`})
	for claims, want := range map[string]bool{
		`"xms_edov": true`: true, `"xms_edov": 1`: true, `"xms_edov": "1"`: true, `"xms_edov": "true"`: true,
		`"xms_edov": false`: false, `"xms_edov": 0`: false, `"xms_edov": "0"`: false, `"xms_edov": null`: false, `"xms_edov": [true]`: false, `"email_verified": true`: false,
	} {
		got := apply(t, m, &mapping.Vars{Claims: object(t, `{"email": "ada@acme.example", `+claims+`}`)})
		if got.EmailVerified != want || len(got.Faults) > 0 {
			t.Errorf("%s: proved %v with faults %v, want %v and none", claims, got.EmailVerified, got.Faults, want)
		}
	}
}

func TestTrustEmailProvesWhateverTheClaimsSay(t *testing.T) {
	for name, exprs := range map[string]map[string]string{
		"the defaults":                {},
		"an address of another claim": {"email": "claims.preferred_username"},
		"with a word of no weight":    {"email": "claims.upn", "email_verified": "claims.admin"},
	} {
		src := providers.Source{Kind: providers.KindOIDC, TrustEmail: true, Domains: []string{"acme.example"}, Mapping: exprs}
		m, err := mapping.Compile(kindOf(src.Kind), src)
		if err != nil {
			t.Fatal(err)
		}
		if faults := m.Lint(src); len(faults) > 0 {
			t.Errorf("%s: apply refuses it: %v", name, faults)
		}
		got := apply(t, m, &mapping.Vars{Claims: object(t, `{"email": "a@acme.example", "preferred_username": "a@acme.example", "upn": "a@acme.example", "email_verified": false, "admin": false}`)})
		if !got.EmailVerified {
			t.Errorf("%s: the address is not proved", name)
		}
		if got := apply(t, m, &mapping.Vars{Claims: object(t, `{"sub": "x"}`)}); got.EmailVerified {
			t.Errorf("%s: an address that is not there is proved", name)
		}
	}
}

// Without domains nothing bounds what trust_email vouches for, so that it vouches for nothing.
func TestTrustEmailNeedsDomains(t *testing.T) {
	for _, kind := range []providers.Kind{providers.KindOIDC, providers.KindSAML} {
		m, err := mapping.Compile(kindOf(kind), providers.Source{Kind: kind, TrustEmail: true})
		if err != nil {
			t.Fatal(err)
		}
		vars := &mapping.Vars{Claims: object(t, `{"email": "a@acme.example"}`), Attributes: map[string][]string{"mail": {"a@acme.example"}}}
		if got := apply(t, m, vars); got.Email == "" || got.EmailVerified {
			t.Errorf("%s: the address %q is proved: %v, want false", kind, got.Email, got.EmailVerified)
		}
	}
}

// An operator who takes unproved addresses knowingly is not refused; they stay unproved.
func TestUnverifiedEmailAcceptedIsStillUnproved(t *testing.T) {
	src := providers.Source{Kind: providers.KindOIDC, UnverifiedEmail: "accept", Mapping: map[string]string{"email": "claims.preferred_username", "email_verified": "claims.email_verified"}}
	m, err := mapping.Compile(kindOf(src.Kind), src)
	if err != nil {
		t.Fatal(err)
	}
	if faults := m.Lint(src); len(faults) > 0 {
		t.Errorf("apply refuses it: %v", faults)
	}
	if got := apply(t, m, &mapping.Vars{Claims: object(t, everyClaim)}); got.EmailVerified {
		t.Error("the address is proved by the verification of another claim")
	}
	if warnings := m.Warnings(); len(warnings) != 1 || warnings[0].Field != "email_verified" || !strings.Contains(warnings[0].Message, "claims.preferred_username") {
		t.Errorf("the warnings are %v, want one that email_verified has no effect", warnings)
	}
}

func TestTraceSaysWhyAnAddressIsProvedOrNot(t *testing.T) {
	for _, c := range []struct {
		name   string
		src    providers.Source
		detail string
	}{
		{"the defaults", providers.Source{Kind: providers.KindOIDC}, "claims.email_verified: true"},
		{"of another claim", providers.Source{Kind: providers.KindOIDC, Mapping: map[string]string{"email": "claims.upn"}}, "not proved: the default email_verified speaks of claims.email as it is, and the address comes from claims.upn"},
		{
			"by its own",
			providers.Source{Kind: providers.KindOIDC, Mapping: map[string]string{"email": "claims.upn", "email_verified": "claims.upn_verified"}},
			"claims.upn_verified: true, which speaks of claims.upn",
		},
		{
			"by no claim",
			providers.Source{Kind: providers.KindOIDC, Mapping: map[string]string{"email": "claims.upn", "email_verified": "claims.admin"}},
			"claims.admin: not proved: email_verified reads nothing that speaks of claims.upn, which the address comes from",
		},
		{"switched off", providers.Source{Kind: providers.KindOIDC, Mapping: map[string]string{"email_verified": ""}}, "not proved: email_verified is switched off"},
		{"trusted", providers.Source{Kind: providers.KindOIDC, TrustEmail: true, Domains: []string{"acme.example"}}, "trust_email: true proves the addresses of the source's domains"},
		{"saml", providers.Source{Kind: providers.KindSAML}, "not proved: a SAML source proves addresses by trust_email and domains alone, which are not set"},
		{"saml, trusted", providers.Source{Kind: providers.KindSAML, TrustEmail: true, Domains: []string{"acme.example"}}, "trust_email: true proves the addresses of the source's domains"},
	} {
		m, err := mapping.Compile(kindOf(c.src.Kind), c.src)
		if err != nil {
			t.Fatal(err)
		}
		trace := &providers.Trace{}
		var r providers.CreateUser
		vars := &mapping.Vars{Claims: object(t, everyClaim), Attributes: map[string][]string{"mail": {"ada@acme.example"}}}
		if err := m.Apply(t.Context(), vars, &r, trace); err != nil {
			t.Fatal(err)
		}
		var details []string
		for _, check := range trace.Checks() {
			if check.Name == "email_verified" {
				details = append(details, check.Detail)
			}
		}
		if len(details) != 1 || details[0] != c.detail {
			t.Errorf("%s: the trace says %q, want %q", c.name, details, c.detail)
		}
	}
}

func TestSAMLNeedsAWayToProveAddresses(t *testing.T) {
	for name, c := range map[string]struct {
		src   providers.Source
		field string // of the fault, or none
	}{
		"nothing said":     {providers.Source{Kind: providers.KindSAML}, "trust_email"},
		"trusted":          {providers.Source{Kind: providers.KindSAML, TrustEmail: true, Domains: []string{"acme.example"}}, ""},
		"accepted":         {providers.Source{Kind: providers.KindSAML, UnverifiedEmail: "accept"}, ""},
		"links":            {providers.Source{Kind: providers.KindSAML, LinkByEmail: "verified"}, "trust_email"},
		"accepted, links":  {providers.Source{Kind: providers.KindSAML, UnverifiedEmail: "accept", LinkByEmail: "verified"}, "link_by_email"},
		"trusted, links":   {providers.Source{Kind: providers.KindSAML, TrustEmail: true, Domains: []string{"acme.example"}, LinkByEmail: "verified"}, ""},
		"a feed has no l.": {providers.Source{Kind: providers.KindFeed}, ""},
	} {
		m, err := mapping.Compile(kindOf(c.src.Kind), c.src)
		if err != nil {
			t.Fatalf("%s does not compile: %v", name, err)
		}
		faults := m.Lint(c.src)
		switch {
		case c.field == "" && len(faults) > 0:
			t.Errorf("%s: apply refuses it: %v", name, faults)
		case c.field != "" && (len(faults) != 1 || faults[0].Field != c.field || faults[0].Hint == ""):
			t.Errorf("%s: the faults are %v, want one of %s with a hint", name, faults, c.field)
		}
	}
}

func TestSubjectsThatChangeAreWarnedOf(t *testing.T) {
	const oid, uri = "urn:oid:", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/"
	for _, c := range []struct{ expr, warning string }{
		{`name_id`, ""},
		{`attributes["pairwise-id"][0]`, ""},
		{`attributes["urn:oasis:names:tc:SAML:attribute:subject-id"][0]`, ""},
		{`attributes["eduPersonUniqueId"][0]`, ""},
		{`attributes["` + oid + `1.3.6.1.4.1.5923.1.1.1.13"][0]`, ""},
		{`attributes["http://schemas.microsoft.com/identity/claims/objectidentifier"][0]`, ""},
		{`attributes.employeeNumber[0]`, ""},
		{`attributes[?"EmployeeNumber"][?0]`, ""},
		{`attributes["mail"][0]`, `"mail", which can change`},
		{`attributes[?"mail"][?0]`, `"mail", which can change`},
		{`attributes["` + oid + `0.9.2342.19200300.100.1.3"][0].lowerAscii()`, "which can change"},
		{`attributes["` + uri + `upn"][0]`, "which can change"},
		{`attributes["eduPersonPrincipalName"][0]`, "which can change"},
		{`attributes["memberOf"][0]`, "several values"},
		{`attributes["eduPersonAffiliation"][0]`, "several values"},
		{`attributes["staffNo"][0]`, `"staffNo", which is not known`},
		{`attributes["employeeNumber"][0] + attributes["mail"][0]`, `"mail", which can change`},
		{`attributes[name_id][0]`, "cannot be told"},
	} {
		src := providers.Source{Kind: providers.KindSAML, TrustEmail: true, Domains: []string{"acme.example"}, Mapping: map[string]string{"subject": c.expr}}
		m, err := mapping.Compile(kindOf(src.Kind), src)
		if err != nil {
			t.Fatal(err)
		}
		warnings := m.Warnings()
		switch {
		case c.warning == "" && len(warnings) > 0:
			t.Errorf("%s: the warnings are %v, want none", c.expr, warnings)
		case c.warning != "" && (len(warnings) != 1 || warnings[0].Field != "subject" || !strings.Contains(warnings[0].Message, c.warning) || warnings[0].Hint == ""):
			t.Errorf("%s: the warnings are %v, want one that says %s", c.expr, warnings, c.warning)
		}
	}
}
