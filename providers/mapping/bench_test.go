package mapping_test

import (
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/mapping"
)

// BenchmarkApply measures one event's mapping: all plain selections, with one expression, and the SAML defaults.
func BenchmarkApply(b *testing.B) {
	claims := object(b, `{"email":"ada@acme.example","email_verified":true,"name":"Ada L","given_name":"Ada","family_name":"L","groups":["user","staff","admin"]}`)
	attributes := map[string][]string{"mail": {"ada@acme.example"}, "displayName": {"Ada L"}, "givenName": {"Ada"}, "sn": {"L"}, "groups": {"user"}}
	resource := object(b, `{"userName":"ada","displayName":"Ada L","name":{"givenName":"Ada","familyName":"L"},"emails":[{"value":"ada@acme.example","primary":true}],"roles":[{"value":"user"}]}`)
	for _, c := range []struct {
		name  string
		kind  providers.Kind
		exprs map[string]string
		vars  mapping.Vars
	}{
		{"oidc/plain", providers.KindOIDC, map[string]string{"roles": "claims.groups"}, mapping.Vars{Claims: claims}},
		{"oidc/expression", providers.KindOIDC, map[string]string{"roles": `claims.groups.filter(g, g in ["user", "admin"])`}, mapping.Vars{Claims: claims}},
		{"saml/defaults", providers.KindSAML, map[string]string{"roles": "attributes.groups"}, mapping.Vars{Attributes: attributes}},
		{"feed/defaults", providers.KindFeed, nil, mapping.Vars{Resource: resource}},
	} {
		b.Run(c.name, func(b *testing.B) {
			m := compile(b, c.kind, c.exprs)
			b.ReportAllocs()
			for b.Loop() {
				var r providers.CreateUser
				if err := m.Apply(b.Context(), &c.vars, &r, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
