package providers_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/command"
	"github.com/idpsync/idpsync/providers/feed"
	"github.com/idpsync/idpsync/providers/oidc"
	"github.com/idpsync/idpsync/providers/saml"
)

func kinds() providers.Kinds {
	return providers.Kinds{oidc.Kind(), saml.Kind(), feed.Kind(), command.Kind()}
}

// Rows that earlier versions wrote are read, and written again byte for byte: the order of their members is of the time
// when all kinds shared one struct.
func TestAStoredSourceIsReadAndWrittenAsItWas(t *testing.T) {
	const rest = `"domains":["acme.example"],"trust_email":true,"link_by_email":"verified","unverified_email":"accept","mapping":{"name":"x"},` +
		`"default_roles":["user"],"grants":["user"],"on_denied_role":"drop","max_event_age":1,"key_staleness":2,"key_grace":3}`
	for _, row := range []struct {
		kind   providers.Kind
		config string
	}{
		{"oidc", `{"issuer":"https://okta.example","audiences":["a"],"algorithms":["ES256"],"commands":true,"command_audiences":["b"],"commands_claim":"admin","max_token_life":4,"single_use":true,` + rest},
		{"saml", `{"issuer":"https://idp.example","metadata":"\u003cx/\u003e","metadata_url":"https://idp.example/m","entity_id":"https://sp.example","acs_url":"https://sp.example/acs","key_file":"/k","certificate_file":"/c","idp_initiated":true,"allow_sha1":true,"allow_expired_certificates":true,` + rest},
		{"feed", `{"format":"user",` + rest},
		{"command", `{}`},
		{"oidc", `{"issuer":"https://okta.example","audiences":["a"]}`},
		{"feed", `{}`},
	} {
		s, err := kinds().Source("tenant", "source", row.kind, []byte(row.config))
		if err != nil {
			t.Errorf("read %s: %v", row.config, err)
			continue
		}
		if s.Tenant != "tenant" || s.Name != "source" || s.Kind != row.kind {
			t.Errorf("the source is %s of kind %s of %s, want source of kind %s of tenant", s.Name, s.Kind, s.Tenant, row.kind)
		}
		if got, err := json.Marshal(s); err != nil || string(got) != row.config {
			t.Errorf("written again as %s, %v; want %s", got, err, row.config)
		}
	}
	s, err := kinds().Source("tenant", "source", "oidc", []byte(`{"audiences":5}`))
	if err == nil || s.Name != "source" {
		t.Errorf("broken configuration: source %q, error %v; want the name and an error", s.Name, err)
	}
	if s, err := kinds().Source("tenant", "source", "unknown", []byte(`{"issuer":"x","what":1}`)); err != nil || s.Issuer != "x" || s.Config != nil {
		t.Errorf("unknown kind: issuer %q, configuration %v, error %v; want the issuer alone", s.Issuer, s.Config, err)
	}
}

// The configuration of a kind lies in one object with the fields of every source, so no name may be in both.
func TestConfigurationsOfKindsUseNoNameOfASource(t *testing.T) {
	common := members(reflect.TypeFor[providers.Source]())
	for _, d := range kinds() {
		if d.Config == nil {
			continue
		}
		for _, name := range members(reflect.TypeOf(d.Config()).Elem()) {
			if slices.Contains(common, name) {
				t.Errorf("kind %s: its configuration has %q, which every source has", d.Kind, name)
			}
		}
	}
}

func members(t reflect.Type) []string {
	var names []string
	for f := range t.Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "-" {
			names = append(names, name)
		}
	}
	return names
}

func TestSourcesClashByTheirIssuer(t *testing.T) {
	for name, c := range map[string]struct {
		a, b  providers.Source
		clash bool
	}{
		"two of OpenID, told apart by their audiences": {providers.Source{Kind: "oidc", Issuer: "x"}, providers.Source{Kind: "oidc", Issuer: "x"}, false},
		"two of SAML":                                    {providers.Source{Kind: "saml", Issuer: "x"}, providers.Source{Kind: "saml", Issuer: "x"}, true},
		"two kinds":                                      {providers.Source{Kind: "oidc", Issuer: "x"}, providers.Source{Kind: "saml", Issuer: "x"}, true},
		"two of SAML with other issuers":                 {providers.Source{Kind: "saml", Issuer: "x"}, providers.Source{Kind: "saml", Issuer: "y"}, false},
		"two of SAML of which nothing is known":          {providers.Source{Kind: "saml"}, providers.Source{Kind: "saml"}, false},
		"an unknown kind, with one that has no issuer":   {providers.Source{Kind: "new"}, providers.Source{Kind: "feed"}, false},
		"an unknown kind, with one that has the issuer":  {providers.Source{Kind: "new", Issuer: "x"}, providers.Source{Kind: "oidc", Issuer: "x"}, true},
		"two of an unknown kind that are not pinned yet": {providers.Source{Kind: "new", Issuer: "x"}, providers.Source{Kind: "new", Issuer: "x"}, false},
	} {
		if got := kinds().Clash(c.a, c.b); got != c.clash {
			t.Errorf("%s: clash %v, want %v", name, got, c.clash)
		}
	}
}
