package manifest_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/directory/manifest"
)

// An identity belongs to an entityID, and the used ids of assertions to a source: no two sources may have one provider.
func TestTwoSourcesOfOneIdentityProviderAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		second string
		same   bool
	}{
		"all the same":            {"metadata_url: https://idp.example/m, entity_id: https://sp.example, acs_url: https://sp.example/acs", true},
		"another entity":          {"metadata_url: https://idp.example/m, entity_id: https://sp2.example, acs_url: https://sp.example/acs", true},
		"another service":         {"metadata_url: https://idp.example/m, entity_id: https://sp.example, acs_url: https://sp.example/acs2", true},
		"another provider":        {"metadata_url: https://idp2.example/m, entity_id: https://sp.example, acs_url: https://sp.example/acs", false},
		"the same entityID":       {"metadata_url: https://idp.example/copy, issuer: https://one.example, entity_id: https://sp2.example, acs_url: https://sp2.example/acs", true},
		"another of a federation": {"metadata_url: https://idp.example/m, issuer: https://two.example, entity_id: https://sp.example, acs_url: https://sp.example/acs", false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := manifest.Parse("d.yaml", []byte(`
tenants:
  - id: 2489E9AD-2EE2-8E00-8EC9-32D5F69181C0
    name: acme
    roles: [{name: user}, {name: admin}]
    sources:
      - {name: staff, kind: saml, metadata_url: https://idp.example/m, entity_id: https://sp.example, acs_url: https://sp.example/acs, trust_email: true, domains: [acme.example], grants: [user]}
      - {name: admins, kind: saml, `+c.second+`, trust_email: true, domains: [acme.example], grants: [admin], default_roles: [admin]}
`), manifest.Options{EntityID: entityID})
			if refused := err != nil && strings.Contains(err.Error(), "the same issuer https://one.example"); refused != c.same || !c.same && err != nil {
				t.Errorf("refused for the same identity provider: %v, wanted %v; the faults are: %v", refused, c.same, err)
			}
		})
	}
}

// entityID knows the metadata URLs of these tests.
func entityID(s providers.Source) (string, error) {
	switch s.MetadataURL {
	case "https://idp.example/m", "https://idp.example/copy":
		return "https://one.example", nil
	case "https://idp2.example/m":
		return "https://other.example", nil
	}
	return "", errors.New("no such metadata")
}
