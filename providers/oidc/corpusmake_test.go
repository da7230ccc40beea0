package oidc_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/providers/providertest"
)

// A maker makes the corpus: go test ./providers/oidc -run TestCorpus -update. Private keys are not kept, so the corpus
// is made as a whole.
type maker struct {
	t       *testing.T
	issuer  *issuer.Issuer
	signer  issuer.Key // published, RS256
	retired issuer.Key // published in the first set only
	enc     issuer.Key // published with use=enc
	weak    string     // kid of a published RSA key of 1024 bits
	all     map[string]specimen
}

func writeCorpus(t *testing.T) {
	m := newMaker(t)
	m.accepted()
	write(t, "accepted", m.all)
	m.all = map[string]specimen{}
	m.signatures()
	m.forms()
	m.headers()
	m.payloads()
	m.claims()
	m.events()
	write(t, "rejected", m.all)
	writeReadme(t, m.all)
}

func newMaker(t *testing.T) *maker {
	clock := providertest.NewClock()
	i, err := issuer.New(issuer.Options{URL: corpusIssuer, Algorithms: []string{"ES256", "EdDSA", "RS256"}, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	m := &maker{t: t, issuer: i, all: map[string]specimen{}}
	m.retired = m.key("RS256")
	m.enc = m.key("RS256")
	m.enc.Use = "enc"
	weak := m.key("RS256")
	weak.Private = weakKey{m.weakPublic()}
	m.weak = weak.ID
	for _, key := range []issuer.Key{m.retired, m.enc, weak} {
		i.Publish(key)
	}
	keys := i.Keys()
	m.signer = keys[slices.IndexFunc(keys, func(k issuer.Key) bool { return k.Algorithm == "RS256" })]
	m.jwks("jwks-before.json")
	i.Withdraw(m.retired.ID)
	m.jwks("jwks.json")
	return m
}

func (m *maker) key(algorithm string) issuer.Key {
	key, err := m.issuer.NewKey(algorithm)
	m.must(err)
	return key
}

// weakPublic makes a modulus of 1024 bits, which crypto/rsa refuses to make.
func (m *maker) weakPublic() *rsa.PublicKey {
	p, err := rand.Prime(rand.Reader, 512)
	m.must(err)
	q, err := rand.Prime(rand.Reader, 512)
	m.must(err)
	return &rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537}
}

// A weakKey is published, and never signs.
type weakKey struct{ public *rsa.PublicKey }

func (k weakKey) Public() crypto.PublicKey { return k.public }

func (k weakKey) Sign(_ io.Reader, _ []byte, _ crypto.SignerOpts) ([]byte, error) {
	return nil, fmt.Errorf("a weak key does not sign")
}

func (m *maker) jwks(name string) {
	w := httptest.NewRecorder()
	m.issuer.ServeHTTP(w, httptest.NewRequest("GET", issuer.JWKSPath, nil))
	m.must(os.WriteFile(filepath.Join("testdata", name), indent(w.Body.Bytes()), 0o644))
}

func indent(raw []byte) []byte {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		panic(err)
	}
	return append(b.Bytes(), '\n')
}

func (m *maker) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// base returns the claims of a token that is accepted, with changes; nil removes a claim.
func (m *maker) base(changes ...any) map[string]any {
	c := m.issuer.Claims("00u1", client)
	c["email"], c["email_verified"], c["name"] = "ada@acme.example", true, "Ada Lovelace"
	for n := 0; n < len(changes); n += 2 {
		if name := changes[n].(string); changes[n+1] == nil {
			delete(c, name)
		} else {
			c[name] = changes[n+1]
		}
	}
	return c
}

func (m *maker) sign(claims map[string]any, options ...issuer.SignOption) string {
	m.t.Helper()
	token, err := m.issuer.Sign(claims, append([]issuer.SignOption{issuer.WithKey(m.signer)}, options...)...)
	m.must(err)
	return token
}

// raw signs any header and payload with the issuer's own key.
func (m *maker) raw(header, payload string) string {
	m.t.Helper()
	input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	digest := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(nil, m.signer.Private.(*rsa.PrivateKey), crypto.SHA256, digest[:])
	m.must(err)
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// payload signs any payload under a proper header.
func (m *maker) payload(payload string) string {
	m.t.Helper()
	return m.raw(`{"alg":"RS256","kid":"`+m.signer.ID+`","typ":"JWT"}`, payload)
}

// json returns the claims as text, without the closing brace, so that members can be added.
func (m *maker) json(changes ...any) string {
	raw, err := json.Marshal(m.base(changes...))
	m.must(err)
	return strings.TrimSuffix(string(raw), "}")
}

func (m *maker) add(name, class, reason, made, token string) {
	m.t.Helper()
	raw, err := json.Marshal(map[string]string{"id_token": token})
	m.must(err)
	m.event(name, class, reason, made, string(raw))
}

func (m *maker) event(name, class, reason, made, event string) {
	m.t.Helper()
	if _, twice := m.all[name]; twice {
		m.t.Fatalf("two specimens are called %s", name)
	}
	m.all[name] = specimen{Made: made, Class: class, Reason: reason, Event: event}
}

func write(t *testing.T, folder string, all map[string]specimen) {
	t.Helper()
	folder = filepath.Join("testdata", folder)
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, s := range all {
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name+".json"), indent(raw), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func writeReadme(t *testing.T, all map[string]specimen) {
	t.Helper()
	var b strings.Builder
	b.WriteString(`# Logins that must be refused

Each file is one event: how it was made, the class and reason of its rejection, and the payload itself. All of them, and
this page, are written by

    go test ./providers/oidc -run TestCorpus -update

with keys that are thrown away afterwards: the issuer's public keys of two hours before are in ` + "`../jwks-before.json`" + `,
and those of the moment in ` + "`../jwks.json`" + `, which is without the retired one. Events are judged as stored at
` + providertest.Epoch.Format("2006-01-02 15:04:05") + ` UTC. The events in ` + "`../accepted`" + ` differ from these by nothing but what is said here.

| file | reason | how it was made |
|---|---|---|
`)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, all[name].Reason, strings.ReplaceAll(all[name].Made, "|", "\\|"))
	}
	if err := os.WriteFile("testdata/rejected/README.md", []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
