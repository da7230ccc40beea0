package mapping_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/mapping"
)

// An expression that is true although nothing speaks for the address proves nothing, at apply and at run time.
func TestProofIsNotTrueByItself(t *testing.T) {
	const (
		silent  = `{"email": "eve@evil.example", "preferred_username": "eve@evil.example", "upn": "eve@evil.example", "hd": "acme.example", "emails": [{"value": "eve@evil.example", "type": "work"}]}`
		anyone  = "is true of an address that no claim vouches for"
		byThis  = "is true when claims.email_verified is "
		byEntry = "is true when verified is "
	)
	says := func(value string) string { return strings.Replace(silent, `{`, `{"email_verified": `+value+`, `, 1) }
	for _, c := range []struct{ email, verified, claims, why string }{
		{`claims.email`, `claims.email != ""`, silent, anyone},
		{`claims.email`, `claims.email.contains("@")`, silent, anyone},
		{`claims.email`, `claims.email.matches(".+@.+")`, silent, anyone},
		{`claims.email`, `claims.email.size() > 3`, silent, anyone},
		{`claims.email`, `!claims.email.endsWith("@gmail.com")`, silent, anyone},
		{`claims.email`, `claims.email == claims.email`, silent, anyone},
		{`claims.email`, `claims.?email.orValue("") != ""`, silent, anyone},
		{`claims.upn`, `claims.upn.lowerAscii() == claims.upn`, silent, anyone},
		{`claims.email`, `claims.email == claims.preferred_username`, silent, "another claim holds the same address"},
		{`claims.email`, `claims.hd == "acme.example" && claims.email != ""`, silent, anyone},
		{`claims.emails[0].value`, `claims.emails[0].value != ""`, silent, anyone},
		{`claims.emails[0].value`, `claims.emails.size() > 0`, silent, anyone},

		{`claims.email`, `!claims.email_verified`, says("false"), byThis + "false"},
		{`claims.email`, `!(claims.email_verified == true)`, says("false"), byThis + "false"},
		{`claims.email`, `claims.?email_verified.orValue(true)`, silent, byThis + "absent"},
		{`claims.email`, `claims[?"email_verified"].orValue(true) == true`, silent, byThis + "absent"},
		{`claims.email`, `claims.?email_verified.or(optional.of(true))`, silent, byThis + "absent"},
		{`claims.email`, `claims.?email_verified.orValue("yes") == "yes"`, silent, byThis + "absent"},
		{`claims.email`, `has(claims.email_verified) ? claims.email_verified : claims.email != ""`, silent, byThis + "absent"},
		{`claims.email`, `has(claims.email_verified) ? claims.email_verified : !claims.email.endsWith("@acme.example")`, silent, byThis + "absent"},
		{`claims.email`, `claims.email_verified != "no"`, says("false"), byThis + "false"},
		{`claims.email`, `claims.email_verified != false`, says("null"), byThis + "null"},
		{`claims.email`, `claims.email_verified == null`, says("null"), byThis + "null"},
		{`claims.email`, `claims.email_verified in [true, null]`, says("null"), byThis + "null"},
		{`claims.email`, `string(claims.email_verified) == "false"`, says(`"false"`), byThis + "false"},
		{`claims.email`, `claims.email_verified == "false"`, says(`"false"`), byThis + `"false"`},
		{`claims.email`, `claims.email_verified >= 0`, says("0"), byThis + "0"},
		{`claims.email`, `claims.email_verified == ""`, says(`""`), byThis + `""`},
		{`claims.email`, `!(claims.email_verified in [false, null, 0, "", "false", "no"])`, says(`"unknown"`), byThis + `"unknown"`},
		{`claims.email`, `[claims.email_verified, true].exists(v, v)`, says("false"), byThis + "false"},
		{`claims.email`, `(claims.email_verified || true) == true`, says("false"), byThis + "absent"},
		{`claims.email`, `claims.?xms_edov.orValue(true)`, silent, "is true when claims.xms_edov is absent"},
		{`claims.upn`, `claims.?upn_verified.orValue(true)`, silent, "is true when claims.upn_verified is absent"},
		{`claims.email`, `claims.email_verified == claims.xms_edov`, strings.Replace(says("false"), `{`, `{"xms_edov": false, `, 1), "is true when claims.email_verified and claims.xms_edov are false"},

		// That it is there, whatever it says, is not a word for the address.
		{`claims.email`, `has(claims.email_verified) && claims.email != ""`, says("false"), "is true when email_verified is false"},
		{`claims.email`, `"email_verified" in claims && claims.email.contains("@")`, says("false"), "is true when email_verified is false"},
		{`claims.email`, `claims[?"email_verified"].hasValue() && claims.email != ""`, says("false"), "is true when email_verified is false"},
		{`claims.email`, `claims.?email_verified.optMap(v, v != "no").orValue(false)`, says("false"), byThis + "false"},
		{`claims.emails[0].value`, `has(claims.emails[0].verified) && claims.emails[0].value != ""`, strings.Replace(silent, `"work"}`, `"work", "verified": false}`, 1), "is true when verified is false"},

		{`claims.list[0]`, `claims.list[0] != "" && !("list_verified" in claims)`, strings.Replace(silent, `{`, `{"list": ["eve@evil.example"], `, 1), "is true when list_verified is absent"},

		// The verification of another claim is none, whatever it is joined with.
		{`claims.preferred_username`, `claims.email_verified && claims.preferred_username != ""`, says("true"), "is true when claims.email_verified, of another address, says so"},
		{`claims.upn`, `claims.email_verified && claims.upn.contains("@") && claims.email != ""`, says("true"), "claims.email_verified, of another address, says so"},
		{`claims.upn`, `claims.email_verified == true && claims.email != claims.upn`, strings.Replace(says("true"), `"email": "eve`, `"email": "eva`, 1), "claims.email_verified, of another address, says so"},
		{`claims.emails[0].value`, `claims.emails[1].verified && claims.emails[0].value != ""`, strings.Replace(silent, `"work"}`, `"work"}, {"verified": true}`, 1), "claims.emails[1].verified, of another address, says so"},

		// What it asks of other claims besides does not hide it.
		{`claims.email`, `claims.hd == "acme.example" && !claims.email_verified`, says("false"), byThis + "false"},
		{`claims.email`, `claims.hd == "acme.example" && claims.?email_verified.orValue(true)`, silent, byThis + "absent"},
		{`claims.email`, `claims.hd == "acme.example" ? claims.email_verified != "no" : false`, says("false"), byThis + "false"},
		{`claims.email`, `claims.upn != "" && claims.?email_verified.orValue(true)`, silent, byThis + "absent"},
		{`claims.emails[0].value`, `claims.emails.exists(e, !e.?verified.orValue(false))`, silent, byEntry + "absent"},
		{`claims.emails[0].value`, `claims.emails.exists(e, e.type == "work" && e.?verified.orValue(true))`, silent, byEntry + "absent"},
		{`claims.emails.filter(e, e.value != "")[0].value`, `claims.emails.exists(e, e.type == "work" && e.?verified.orValue(true))`, silent, byEntry + "absent"},
		{`claims.email`, `claims.emails.exists(e, e.value == claims.email && e.?verified.orValue(true))`, silent, byEntry + "absent"},
		{`claims.email`, `claims.emails.exists(e, e.type == "work" && e.value == claims.email)`, silent, anyone},
		{`claims.emails.filter(e, e.value != "")[0].value`, `claims.emails.all(e, e.?verified.orValue(true))`, silent, byEntry + "absent"},
	} {
		t.Run(c.email+" by "+c.verified, func(t *testing.T) {
			src := providers.Source{Kind: providers.KindOIDC, Mapping: map[string]string{"email": c.email, "email_verified": c.verified}}
			m, err := mapping.Compile(kindOf(src.Kind), src)
			if err != nil {
				t.Fatalf("a source in force must go on working, but it does not compile: %v", err)
			}
			if got := apply(t, m, &mapping.Vars{Claims: object(t, c.claims)}); got.EmailVerified || got.Email == "" {
				t.Errorf("the address is %q and proved: %v, want one that is not proved", got.Email, got.EmailVerified)
			}
			faults := m.Lint(src)
			if len(faults) != 1 || faults[0].Field != "email_verified" {
				t.Fatalf("apply finds %v, want one fault of email_verified", faults)
			}
			if !strings.Contains(faults[0].Message, c.why) {
				t.Errorf("the fault is %q, want one that says %q", faults[0].Message, c.why)
			}
			for _, way := range []string{"only when a claim says so", "trust_email", "unverified_email: accept"} {
				if !strings.Contains(faults[0].Hint, way) {
					t.Errorf("the hint %q does not name %s", faults[0].Hint, way)
				}
			}
		})
	}
}

// What an honest operator writes stays a proof.
func TestHonestProofsStayProofs(t *testing.T) {
	const yes = `{
		"email": "ada@acme.example", "email_verified": true, "xms_edov": true, "preferred_username": "ada@acme.example", "upn": "ada@acme.example", "upn_verified": true,
		"verified_email": "ada@acme.example", "verified_primary_email": ["ada@acme.example"], "hd": "acme.example", "tid": "t-1",
		"emails": [{"value": "ada@acme.example", "type": "work", "verified": true}], "list": ["ada@acme.example"]
	}`
	var people []string
	for i := range 150 {
		people = append(people, `"p`+strconv.Itoa(i)+`@acme.example"`)
	}
	people = append(people, `"ada@acme.example"`)
	for _, c := range []struct{ email, verified string }{
		{`claims.email`, `claims.email_verified`},
		{`claims.email`, `claims.email_verified == true`},
		{`claims.email`, `true == claims.email_verified`},
		{`claims.email`, `claims.email_verified == true || claims.email_verified == "true"`},
		{`claims.email`, `claims.email_verified in [true, "true", 1, "yes"]`},
		{`claims.email`, `string(claims.email_verified) == "true"`},
		{`claims.email`, `string(claims.email_verified).lowerAscii() == "true"`},
		{`claims.email`, `type(claims.email_verified) == bool ? claims.email_verified : claims.email_verified == "true"`},
		{`claims.email`, `claims.email_verified ? true : false`},
		{`claims.email`, `!(claims.email_verified != true)`},
		{`claims.email`, `claims.xms_edov in [true, 1, "1", "true"]`},
		{`claims.email`, `has(claims.xms_edov) && claims.xms_edov == true`},
		{`claims.email`, `has(claims.email_verified) && claims.email_verified`},
		{`claims.email`, `has(claims.email_verified) && claims.?email_verified.orValue(true)`},
		{`claims.email`, `has(claims.email_verified) ? claims.email_verified : claims.email.endsWith("@acme.example")`},
		{`claims.email`, `claims.email != "" && claims.email_verified`},
		{`claims.email`, `claims.email_verified != null && claims.email_verified`},
		{`claims.email`, `claims.?email_verified.orValue(false)`},
		{`claims.email`, `claims.?email_verified.orValue(false) == true`},
		{`claims.email`, `claims.tid == "t-1" && claims.email_verified`},
		{`claims.email`, `claims.email_verified && !claims.email.endsWith("@gmail.com")`},
		{`claims.email`, `claims.email == claims.verified_email`},
		{`claims.email`, `claims.email in claims.verified_primary_email`},
		{`claims.email`, `claims.email == claims.verified_primary_email[0]`},
		{`claims.email`, `claims.email.endsWith("@" + claims.hd)`},
		{`claims.email`, `claims.email.split("@")[1] in ["acme.example", "acme.test"]`},
		{`claims.email`, `claims.email.matches("@acme\\.example$")`},
		{`claims.email`, `claims.email in [` + strings.Join(people, ", ") + `]`},
		{`claims.email`, `claims.email == claims.preferred_username && claims.preferred_username.endsWith("@acme.example")`},
		{`claims.upn`, `claims.upn.endsWith("@acme.example")`},
		{`claims.upn`, `claims.upn.endsWith("@acme.example") && claims.email_verified`},
		{`claims.upn`, `claims.xms_edov in [true, 1, "1", "true"] && claims.upn.lowerAscii() == claims.email.lowerAscii()`},
		{`claims.upn`, `claims.upn.lowerAscii().endsWith("@acme.example") || claims.upn.endsWith("@acme.test")`},
		{`claims.preferred_username`, `claims.email_verified && claims.email == claims.preferred_username`},
		{`claims.email`, `claims.email_verified && claims.email == claims.preferred_username`},
		{`has(claims.email) ? claims.email : claims.upn`, `has(claims.email) ? claims.email_verified : claims.upn.endsWith("@acme.example")`},
		{`claims.list[0]`, `claims.list[0].endsWith("@acme.example")`},
		{`claims.emails[0].value`, `claims.emails[0].verified && claims.emails[0].value.endsWith("@acme.example")`},
		{`claims.emails[0].value`, `claims.emails.exists(e, e.value == claims.emails[0].value && e.verified)`},
		{`claims.email`, `claims.emails.exists(e, e.value == claims.email && e.verified)`},
		{`claims.email`, `claims.emails.exists(e, e.type == "work" && e.value == claims.email && e.?verified.orValue(false))`},
		{`claims.emails.filter(e, e.verified)[0].value`, `claims.emails.exists(e, e.type == "work" && e.verified)`},
	} {
		src := providers.Source{Kind: providers.KindOIDC, Mapping: map[string]string{"email": c.email, "email_verified": c.verified}}
		m, err := mapping.Compile(kindOf(src.Kind), src)
		if err != nil {
			t.Errorf("%s by %.80s does not compile: %v", c.email, c.verified, err)
			continue
		}
		if faults := m.Lint(src); len(faults) > 0 {
			t.Errorf("%s by %.80s: apply refuses it: %v", c.email, c.verified, faults)
		}
		if got := apply(t, m, &mapping.Vars{Claims: object(t, yes)}); !got.EmailVerified {
			t.Errorf("%s by %.80s does not prove the address of a token that says so", c.email, c.verified)
		}
	}
}

// An expression whose trial would cost too much is no proof: it ends, and is refused.
func TestATrialOfAProofEnds(t *testing.T) {
	src := providers.Source{Kind: providers.KindOIDC, Mapping: map[string]string{
		"email_verified": `lists.range(1000).exists(i, lists.range(1000).exists(j, i < j && claims.?email_verified.orValue(false))) && claims.email_verified`,
	}}
	m, err := mapping.Compile(kindOf(src.Kind), src)
	if err != nil {
		t.Fatalf("it does not compile: %v", err)
	}
	if faults := m.Lint(src); len(faults) != 1 || !strings.Contains(faults[0].Message, "costs more than is allowed") {
		t.Errorf("apply finds %v, want one fault that it costs too much", faults)
	}
}
