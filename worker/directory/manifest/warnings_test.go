package manifest_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/directory/manifest"
	"github.com/idpsync/idpsync/worker/policy"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

func warnOfPolicies(rows []store.Policy) strictyaml.Faults {
	files := make([]policy.File, len(rows))
	for i, r := range rows {
		files[i] = policy.File(r)
	}
	return policy.Warnings(files)
}

// testdata/warnings.yaml has each thing that is warned of, and its golden file what people read.
func TestWarnings(t *testing.T) {
	d, err := manifest.Load("testdata/warnings.yaml", manifest.Options{Kinds: kinds(), WarnOfPolicies: warnOfPolicies})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/warnings.golden", d.Warnings.Error()+"\n")
	for _, w := range d.Warnings {
		if w.Line == 0 || w.Hint == "" {
			t.Errorf("the warning %q has no line or no hint", w)
		}
	}
}

// What is declared with care has no warning.
func TestNoWarnings(t *testing.T) {
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, "policies"), 0o700); err != nil {
		t.Fatal(err)
	}
	const rules = `forbid (principal, action in [Action::"CreateUser", Action::"LinkUser"], resource) when { !context.existing };
forbid (principal, action == Action::"CreateUser", resource) when { !context.existing };
forbid (principal, action == Action::"GrantRole", resource);
permit (principal, action == Action::"CreateUser", resource);
`
	if err := os.WriteFile(filepath.Join(folder, "policies", "a.cedar"), []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := manifest.Parse(filepath.Join(folder, "d.yaml"), []byte(`
tenants:
  - id: 2489E9AD-2EE2-8E00-8EC9-32D5F69181C0
    name: acme
    roles: [{name: user}, {name: viewer, scope: organization}]
    sources:
      - {name: okta, kind: oidc, issuer: https://acme.okta.example, audiences: [acme], commands: true, commands_claim: admin, domains: [acme.example], grants: [user, viewer]}
      - {name: google, kind: oidc, issuer: https://accounts.google.com, audiences: [acme], domains: [acme.example], grants: [user]}
      - {name: entra, kind: oidc, issuer: "https://login.microsoftonline.com/1b000000-0000-4000-8000-000000000001/v2.0", audiences: [acme], commands: true, commands_claim: admin, domains: [acme.example]}
      - {name: keycloak, kind: oidc, issuer: https://id.example/common, audiences: [acme], domains: [acme.example], commands: true, commands_claim: admin}
      - {name: adfs, kind: saml, metadata_url: https://idp.example/m, entity_id: https://sp.example, acs_url: https://sp.example/acs, trust_email: true, domains: [acme.example], mapping: {subject: 'attributes["pairwise-id"][0]'}}
      - {name: workday, kind: feed, trust_email: true, domains: [acme.example], grants: [user]}
  - id: 3489E9AD-2EE2-8E00-8EC9-32D5F69181C0
    name: globex
    roles: [{name: user, scope: organization}]
    sources:
      - {name: okta, kind: oidc, issuer: https://acme.okta.example, audiences: [globex], domains: [globex.example], grants: [user]}
      - {name: adfs, kind: saml, metadata_url: https://idp.example/m, entity_id: https://sp.example, acs_url: https://sp.example/globex, trust_email: true, domains: [globex.example]}
policies: policies/
`), manifest.Options{Kinds: kinds(), WarnOfPolicies: warnOfPolicies})
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Warnings) > 0 {
		t.Errorf("there are warnings, want none:\n%v", d.Warnings)
	}
}

func TestCommandsOfPublicIssuersAreWarnedOf(t *testing.T) {
	public := []string{
		"https://accounts.google.com",
		"https://accounts.google.com/",
		"https://appleid.apple.com",
		"https://token.actions.githubusercontent.com",
		"https://gitlab.com",
		"https://GitLab.com",
		"https://www.facebook.com",
		"https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
	}
	ownedByOne := []string{
		"https://login.microsoftonline.com/1b000000-0000-4000-8000-000000000001/v2.0",
		"https://gitlab.acme.example",
		"https://token.actions.githubusercontent.com/acme",
		"https://acme.okta.example",
		"https://accounts.google.com.evil.example",
		"https://sts.windows.net/1b000000-0000-4000-8000-000000000001/",
	}
	for i, issuer := range slices.Concat(public, ownedByOne) {
		d, err := manifest.Parse("d.yaml", []byte(tenant(`
      - {name: x, kind: oidc, issuer: "`+issuer+`", audiences: [x], commands: true, commands_claim: admin, domains: [acme.example]}`)), manifest.Options{Kinds: kinds()})
		if err != nil {
			t.Errorf("%s is refused: %v", issuer, err)
			continue
		}
		warned := slices.ContainsFunc(d.Warnings, func(f strictyaml.Fault) bool { return strings.Contains(f.Message, "anyone can get a token") })
		if want := i < len(public); warned != want {
			t.Errorf("%s: warned of commands: %v, want %v; the warnings are %v", issuer, warned, want, d.Warnings)
		}
	}
}

func TestIssuersThatStandForManyDirectoriesAreRefused(t *testing.T) {
	for _, issuer := range []string{
		"https://login.microsoftonline.com/common/v2.0",
		"https://login.microsoftonline.com/Organizations/v2.0",
		"https://login.microsoftonline.com/consumers/v2.0",
		"https://login.microsoftonline.com/{tenantid}/v2.0",
		"https://sts.windows.net/{tenantid}/",
		"https://id.example/%7Btenant%7D",
	} {
		_, err := manifest.Parse("d.yaml", []byte(tenant(`
      - {name: x, kind: oidc, issuer: "`+issuer+`", audiences: [x], domains: [acme.example]}`)), manifest.Options{Kinds: kinds()})
		if err == nil || !strings.Contains(err.Error(), "stands for many directories") {
			t.Errorf("%s gives the error %v, want it refused, as it stands for many directories", issuer, err)
		}
	}
}
