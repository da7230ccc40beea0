package saml_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/providertest"
	"github.com/idpsync/idpsync/providers/saml"
	"github.com/idpsync/idpsync/providers/saml/idp"
)

func TestMain(m *testing.M) { providertest.Main(m) }

const (
	entityID = "https://sp.example/saml"
	acsURL   = "https://sp.example/saml/acs"
	idpID    = "https://idp.example/metadata"
	request  = "_request-1"
)

// A world is one IdP, our source for it, and what the provider sees of the outside.
type world struct {
	idp   *idp.IdP
	clock *providertest.Clock
	keys  *providertest.Keys
	env   providers.Environment
	src   providers.Source
	cert  *x509.Certificate // of our own key
}

// The key of the world's IdP is made once: RSA keys take their time.
var worldKey = sync.OnceValues(func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{clock: providertest.NewClock(), cert: readCertificate(t, "testdata/sp.crt")}
	w.env, w.keys, _ = providertest.Environment(t, w.clock)
	key, err := worldKey()
	check(t, err)
	w.idp, err = idp.New(idp.Options{EntityID: idpID, Now: w.clock.Now, Key: key})
	check(t, err)
	w.src = providers.Source{
		Tenant: providertest.Tenant, Name: "adfs", Kind: providers.KindSAML,
		Config: &saml.Config{
			Metadata: string(w.idp.Metadata()), EntityID: entityID, ACSURL: acsURL,
			KeyFile: "testdata/sp.key", CertificateFile: "testdata/sp.crt",
		},
		Grants: []string{"user"},
	}
	return w
}

// own returns what a SAML source has of its own.
func own(s *providers.Source) *saml.Config { return s.Config.(*saml.Config) }

// copyOf returns a source that can be changed without changing this one.
func copyOf(s providers.Source) providers.Source {
	c := *own(&s)
	s.Config = &c
	return s
}

// newIdP makes another IdP, with a key of its own.
func newIdP(t testing.TB, name string, clock *providertest.Clock) *idp.IdP {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	p, err := idp.New(idp.Options{EntityID: name, Now: clock.Now, Key: key})
	check(t, err)
	return p
}

// provider makes the provider of the world's source, after the changes.
func (w *world) provider(t testing.TB, changes ...func(*providers.Source)) providers.Provider {
	t.Helper()
	src := copyOf(w.src)
	for _, change := range changes {
		change(&src)
	}
	p, err := saml.New(src, w.env)
	check(t, err)
	t.Cleanup(func() { _ = p.(*saml.Provider).Close() }) // it has no error
	return providertest.Patient{Provider: p}
}

func (w *world) refusesMetadata(t testing.TB, doc string) {
	t.Helper()
	src := copyOf(w.src)
	own(&src).Metadata = doc
	if _, err := saml.New(src, w.env); err == nil {
		t.Error("New accepts the metadata")
	}
}

// ask is the request for an ordinary login.
func (w *world) ask(changes ...func(*idp.Request)) idp.Request {
	r := idp.Request{
		EntityID: entityID, ACSURL: acsURL, NameID: "ada-1815", InResponseTo: request, Certificate: w.cert, At: w.clock.Now(),
		Attributes: []idp.Attribute{
			{Name: "urn:oid:0.9.2342.19200300.100.1.3", FriendlyName: "mail", Values: []string{"ada@acme.example"}},
			{Name: "urn:oid:2.16.840.1.113730.3.1.241", FriendlyName: "displayName", Values: []string{"Ada Lovelace"}},
			{Name: "groups", Values: []string{"staff", "user"}},
		},
	}
	for _, change := range changes {
		change(&r)
	}
	return r
}

func (w *world) respond(t testing.TB, changes ...func(*idp.Request)) []byte {
	t.Helper()
	doc, err := w.idp.Respond(w.ask(changes...))
	check(t, err)
	return doc
}

// login is the event of a Response, stored now.
func (w *world) login(t testing.TB, response []byte) providers.Envelope {
	t.Helper()
	e := providertest.SAMLLogin(t, "adfs", base64.StdEncoding.EncodeToString(response), request, w.clock.Now())
	e.Trace = &providers.Trace{}
	return e
}

func (w *world) verify(t testing.TB, p providers.Provider, response []byte) (providers.CreateUser, error) {
	t.Helper()
	return p.Verify(t.Context(), w.login(t, response))
}

// reason returns the reason of a refusal, "" for none.
func reason(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	failure, ok := errors.AsType[*providers.Error](err)
	if !ok {
		t.Fatalf("%v is a %T, want *providers.Error", err, err)
	}
	return failure.Reason
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func after(d time.Duration) func(*idp.Request) {
	return func(r *idp.Request) { r.At = r.At.Add(d) }
}

func readCertificate(t testing.TB, path string) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(path)
	check(t, err)
	block, _ := pem.Decode(data)
	cert, err := x509.ParseCertificate(block.Bytes)
	check(t, err)
	return cert
}
