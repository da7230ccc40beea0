package oidc_test

import (
	"net/http/httptest"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/oidc"
	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/providers/providertest"
)

func TestMain(m *testing.M) { providertest.Main(m) }

const client = "idpsync"

// A world is an issuer, a clock, and a provider that knows nothing yet.
type world struct {
	clock    *providertest.Clock
	issuer   *issuer.Issuer
	server   *httptest.Server
	env      providers.Environment
	keys     *providertest.Keys
	source   providers.Source
	provider providers.Provider
}

// newWorld starts an issuer with keys for the algorithms, and a source for it that edit may change.
func newWorld(t testing.TB, algorithms []string, edit func(*providers.Source)) *world {
	t.Helper()
	w := &world{clock: providertest.NewClock()}
	var err error
	if w.issuer, err = issuer.New(issuer.Options{Algorithms: algorithms, Now: w.clock.Now}); err != nil {
		t.Fatal(err)
	}
	w.server = httptest.NewServer(w.issuer)
	t.Cleanup(w.server.Close)
	w.issuer.SetURL(w.server.URL)
	w.env, w.keys, _ = providertest.Environment(t, w.clock)
	w.source = providers.Source{
		Tenant: providertest.Tenant, Name: "okta", Kind: providers.KindOIDC, Issuer: w.server.URL,
		Config: &oidc.Config{Audiences: []string{client}, Algorithms: algorithms}, Grants: []string{"user"}, Mapping: map[string]string{"roles": "claims.groups"},
	}
	if edit != nil {
		edit(&w.source)
	}
	w.provider = w.open(t)
	return w
}

// own returns what an OIDC source has of its own.
func own(s *providers.Source) *oidc.Config { return s.Config.(*oidc.Config) }

// open returns another provider of the same source, as another worker or a restart would have it.
func (w *world) open(t testing.TB) providers.Provider {
	t.Helper()
	p, err := oidc.New(w.source, w.env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.(*oidc.Provider).Close() }) // it has no error
	return providertest.Patient{Provider: p}
}

// claims returns those of a person, with changes; a value of nil removes a claim.
func (w *world) claims(changes map[string]any) map[string]any {
	c := w.issuer.Claims("00u1", client)
	c["email"], c["email_verified"], c["name"] = "ada@acme.example", true, "Ada Lovelace"
	c["given_name"], c["family_name"] = "Ada", "Lovelace"
	for name, v := range changes {
		if v == nil {
			delete(c, name)
		} else {
			c[name] = v
		}
	}
	return c
}

func (w *world) sign(t testing.TB, claims map[string]any, options ...issuer.SignOption) string {
	t.Helper()
	token, err := w.issuer.Sign(claims, options...)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (w *world) login(t testing.TB, token string) providers.Envelope {
	t.Helper()
	return providertest.OIDCLogin(t, w.source.Name, token, "", "", w.clock.Now())
}
