package casetest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// source is the name of the one login source of a case.
const source = "idp"

// A tokenCase is a file with tokens, and with what of its source and issuer is out of the ordinary.
type tokenCase struct {
	Mapping   map[string]string `json:"mapping"`
	Audiences []string          `json:"audiences"`
	Domains   []string          `json:"domains"`
	JWKS      json.RawMessage   `json:"jwks"`
	Header    map[string]any    `json:"header"`
	FeedFirst map[string]any    `json:"feed_first"`

	SourceIssuer string         `json:"source_issuer"` // ISSUER unless the file says otherwise
	DiscoveryAt  string         `json:"discovery_at"`
	Discovery    map[string]any `json:"discovery"`

	Tokens []map[string]any `json:"tokens"`
}

// A site is an issuer over HTTP that answers what a case says.
type site struct {
	t         testing.TB
	url       string
	key       *rsa.PrivateKey
	documents sync.Map // path to body
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{t: t, key: readKey(t, "signing-key.pem")}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := s.documents.Load(r.URL.Path)
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(body.([]byte)) // a client that has gone away is no fault of ours
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	s.serve("/.well-known/openid-configuration", map[string]any{"issuer": s.url, "jwks_uri": s.url + "/jwks"})
	s.serve("/jwks", map[string]any{"keys": []any{s.jwk("k1")}})
	return s
}

func (s *site) serve(path string, v any) {
	s.t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		s.t.Fatalf("write the document at %s: %v", path, err)
	}
	s.documents.Store(path, body)
}

// jwk is the public key of the cases.
func (s *site) jwk(kid string) map[string]any {
	encode := base64.RawURLEncoding.EncodeToString
	return map[string]any{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid,
		"n": encode(s.key.N.Bytes()), "e": encode(big.NewInt(int64(s.key.E)).Bytes()),
	}
}

// fill puts the issuer and the time where a case has their names.
func (s *site) fill(v any, now time.Time) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, item := range v {
			out[name] = s.fill(item, now)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = s.fill(item, now)
		}
		return out
	case string:
		if offset, ok := strings.CutPrefix(v, "NOW"); ok {
			n, err := strconv.ParseInt(strings.TrimPrefix(offset, "+"), 10, 64)
			if err == nil || offset == "" {
				return now.Unix() + n
			}
		}
		return strings.ReplaceAll(v, "ISSUER", s.url)
	default:
		return v
	}
}

// login is the payload of a login with a token of these claims, RS256 by the key of the cases.
func (s *site) login(claims map[string]any, header map[string]any) []byte {
	s.t.Helper()
	h := map[string]any{"alg": "RS256", "kid": "k1", "typ": "JWT"}
	for name, value := range header {
		h[name] = value
	}
	input := part(s.t, h) + "." + part(s.t, claims)
	sum := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, sum[:])
	if err != nil {
		s.t.Fatalf("sign a token: %v", err)
	}
	return workertest.Payload(map[string]string{"id_token": input + "." + base64.RawURLEncoding.EncodeToString(signature)})
}

func part(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("write a part of a token: %v", err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// A loginRun is a case in a deployment of its own, with a worker.
type loginRun struct {
	*workertest.Deployment
	site *site
	file tokenCase
}

// runTokens starts a deployment with the source of a case. Changes are made to the declared source first.
func runTokens(t *testing.T, name string, changes ...func(s *site, source map[string]any)) *loginRun {
	t.Helper()
	t.Parallel()
	r := &loginRun{Deployment: workertest.New(t, workertest.Options{Unapplied: true}), site: newSite(t)}
	readCase(t, name, &r.file)
	declared := r.declared()
	for _, change := range changes {
		change(r.site, declared)
	}
	r.Apply(directory(t, declared))
	r.Start()
	return r
}

// declared is the source of a case as the directory has it.
func (r *loginRun) declared() map[string]any {
	c := &r.file
	if len(c.JWKS) > 0 {
		r.site.serve("/jwks", c.JWKS)
	}
	if c.Discovery != nil {
		at := "ISSUER/.well-known/openid-configuration"
		if c.SourceIssuer != "" {
			at = strings.TrimSuffix(c.SourceIssuer, "/") + "/.well-known/openid-configuration"
		}
		if c.DiscoveryAt != "" {
			at = c.DiscoveryAt
		}
		document, _ := r.site.fill(c.Discovery, time.Time{}).(map[string]any)
		r.site.serve(strings.TrimPrefix(at, "ISSUER"), document)
		uri, _ := document["jwks_uri"].(string)
		r.site.serve(strings.TrimPrefix(uri, r.site.url), map[string]any{"keys": []any{r.site.jwk("k1")}})
	}
	source := map[string]any{
		"name": source, "kind": "oidc", "issuer": r.site.url, "audiences": []string{"idpsync"},
		"unverified_email": "accept", "default_roles": []string{"user"}, "grants": []string{"user", "admin", "auditor"},
	}
	if c.SourceIssuer != "" {
		source["issuer"] = r.site.fill(c.SourceIssuer, time.Time{})
	}
	if c.Audiences != nil {
		source["audiences"] = c.Audiences
	}
	if c.Domains != nil {
		source["domains"] = c.Domains
	}
	if c.Mapping != nil {
		source["mapping"] = c.Mapping
	}
	return source
}

// logIn publishes the token of that index and returns its result.
func (r *loginRun) logIn(i int) workertest.Record {
	r.T.Helper()
	id := "token-" + strconv.Itoa(i)
	r.publish(id, i)
	return r.Await(id)
}

func (r *loginRun) publish(id string, i int) {
	r.T.Helper()
	claims, _ := r.site.fill(r.file.Tokens[i], time.Now()).(map[string]any)
	r.Publish(workertest.LoginSubject(workertest.Acme, source), id, r.site.login(claims, r.file.Header))
}

func (r *loginRun) awaitParked() { awaitParked(r.Deployment) }

// awaitParked waits until a login is parked, and fails the test when it is answered instead.
func awaitParked(d *workertest.Deployment) {
	d.T.Helper()
	d.Eventually("for the login to be parked", func() bool { return d.Counts().Parked == 1 || len(d.Results.All()) > 0 })
	if all := d.Results.All(); len(all) > 0 {
		d.T.Fatalf("the login got %d %s, want that it waits", all[0].Status, all[0].Data)
	}
}

// directory is a directory with one tenant, the sources given, a feed and some roles.
func directory(t testing.TB, sources ...map[string]any) string {
	t.Helper()
	all := append(sources, map[string]any{
		"name": "hr", "kind": "feed", "trust_email": true, "domains": []string{"jc.example", "acme.example", "uni.example"},
		"grants": []string{"user", "admin", "auditor"},
	})
	text, err := json.Marshal(map[string]any{"tenants": []any{map[string]any{
		"id": workertest.Acme, "name": "acme",
		"roles": []any{
			map[string]any{"name": "user"},
			map[string]any{"name": "admin"},
			map[string]any{"name": "auditor"},
			map[string]any{"id": workertest.Viewer, "name": "viewer", "scope": "organization"},
		},
		"organizations": []any{map[string]any{"id": workertest.Sales, "name": "Sales"}},
		"sources":       all,
	}}})
	if err != nil {
		t.Fatalf("write the directory: %v", err)
	}
	return string(text)
}

// at is the path of a file of the cases.
func at(name string) string { return filepath.Join("testdata", "cases", name) }

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(at(name))
	if err != nil {
		t.Fatalf("read a case: %v", err)
	}
	return data
}

func readCase(t testing.TB, name string, v any) {
	t.Helper()
	if err := json.Unmarshal(readFile(t, name), v); err != nil {
		t.Fatalf("read case %s: %v", name, err)
	}
}

func readKey(t testing.TB, name string) *rsa.PrivateKey {
	t.Helper()
	block, _ := pem.Decode(readFile(t, name))
	if block == nil {
		t.Fatalf("%s is no PEM file", name)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		t.Fatalf("%s holds a %T, want an RSA key", name, parsed)
	}
	return key
}

// wantUser fails the test unless the result is a user with that outcome and these roles.
func wantUser(t *testing.T, r workertest.Record, status int, outcome record.Outcome, roles ...string) {
	t.Helper()
	if r.Status != status || r.Outcome != outcome {
		t.Errorf("%s got %d %s: %s, want %d %s", r.EventID, r.Status, r.Outcome, r.Data, status, outcome)
		return
	}
	var got []string
	if list, ok := r.Body["roles"].([]any); ok {
		for _, role := range list {
			if name, ok := role.(string); ok {
				got = append(got, name)
			}
		}
	}
	if strings.Join(got, " ") != strings.Join(roles, " ") {
		t.Errorf("%s: the user has the roles %v, want %v", r.EventID, got, roles)
	}
}

// wantRefused fails the test unless the result is that rejection. Each word must stand in its body or in the hint of its
// dead letter.
func wantRefused(t *testing.T, d *workertest.Deployment, r workertest.Record, code record.Code, reason string, words ...string) {
	t.Helper()
	if r.Code != code || r.Reason != reason {
		t.Errorf("%s got %d %s, want %s %s", r.EventID, r.Status, r.Data, code, reason)
		return
	}
	if len(words) == 0 {
		return
	}
	said := string(r.Data) + " " + d.AwaitLetter(r.EventID).Header.Get(record.DeadLetterHint)
	for _, word := range words {
		if !strings.Contains(said, word) {
			t.Errorf("%s: neither answer nor hint says %q: %s", r.EventID, word, said)
		}
	}
}
