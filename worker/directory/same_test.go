package directory_test

import (
	"strings"
	"testing"

	"github.com/idpsync/idpsync/worker/directory"
)

// The used ids of assertions are those of a source, so that two sources must not take the same assertion.
func TestTwoSourcesOfOneAssertionAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		second string
		same   bool
	}{
		"all the same":            {"metadata_url: https://idp.example/m, entity_id: https://sp.example, acs_url: https://sp.example/acs", true},
		"another entity":          {"metadata_url: https://idp.example/m, entity_id: https://sp2.example, acs_url: https://sp.example/acs", false},
		"another service":         {"metadata_url: https://idp.example/m, entity_id: https://sp.example, acs_url: https://sp.example/acs2", false},
		"another provider":        {"metadata_url: https://idp2.example/m, entity_id: https://sp.example, acs_url: https://sp.example/acs", false},
		"another of a federation": {"metadata_url: https://idp.example/m, issuer: https://two.example, entity_id: https://sp.example, acs_url: https://sp.example/acs", false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := directory.Parse("d.yaml", []byte(`
tenants:
  - id: 2489E9AD-2EE2-8E00-8EC9-32D5F69181C0
    name: acme
    roles: [{name: user}, {name: admin}]
    sources:
      - {name: staff, kind: saml, metadata_url: https://idp.example/m, entity_id: https://sp.example, acs_url: https://sp.example/acs, trust_email: true, domains: [acme.example], grants: [user]}
      - {name: admins, kind: saml, `+c.second+`, trust_email: true, domains: [acme.example], grants: [admin], default_roles: [admin]}
`), directory.Options{})
			if refused := err != nil && strings.Contains(err.Error(), "the same identity provider"); refused != c.same || !c.same && err != nil {
				t.Errorf("%v", err)
			}
		})
	}
}
