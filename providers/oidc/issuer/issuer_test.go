package issuer_test

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/idpsync/idpsync/providers/oidc/issuer"
)

func start(t *testing.T, o issuer.Options) (*issuer.Issuer, *httptest.Server) {
	t.Helper()
	i, err := issuer.New(o)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(i)
	t.Cleanup(server.Close)
	i.SetURL(server.URL + "/realms/demo")
	return i, server
}

func get(t *testing.T, url string, into any) int {
	t.Helper()
	response, err := (&http.Client{Timeout: 5 * time.Second}).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		if err := json.NewDecoder(response.Body).Decode(into); err != nil {
			t.Fatal(err)
		}
	}
	return response.StatusCode
}

// keys follows the discovery document to the key set, as a relying party does.
func keys(t *testing.T, i *issuer.Issuer) jose.JSONWebKeySet {
	t.Helper()
	var document struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if code := get(t, i.URL()+issuer.DiscoveryPath, &document); code != http.StatusOK || document.Issuer != i.URL() {
		t.Fatalf("discovery gives %d and %+v, want 200 and the issuer %s", code, document, i.URL())
	}
	var set jose.JSONWebKeySet
	if code := get(t, document.JWKSURI, &set); code != http.StatusOK {
		t.Fatalf("the keys are answered with %d, want 200", code)
	}
	return set
}

func TestTokensVerifyWithThePublishedKeys(t *testing.T) {
	now := time.Unix(1793610000, 0)
	algorithms := []string{"RS256", "ES256", "EdDSA"}
	i, _ := start(t, issuer.Options{Algorithms: algorithms, Now: func() time.Time { return now }, Lifetime: time.Minute})
	set := keys(t, i)
	for _, algorithm := range algorithms {
		raw, err := i.Sign(i.Claims("u1", "c1"), issuer.WithAlgorithm(algorithm))
		if err != nil {
			t.Fatal(err)
		}
		token, err := jose.ParseSigned(raw, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(algorithm)})
		if err != nil {
			t.Fatal(err)
		}
		kid := token.Signatures[0].Header.KeyID
		if len(set.Key(kid)) != 1 {
			t.Fatalf("%s: the key %s is published %d times, want once", algorithm, kid, len(set.Key(kid)))
		}
		payload, err := token.Verify(set.Key(kid)[0])
		if err != nil {
			t.Fatalf("%s: %v", algorithm, err)
		}
		var claims map[string]any
		if err := json.Unmarshal(payload, &claims); err != nil || claims["iss"] != i.URL() || claims["sub"] != "u1" || claims["aud"] != "c1" ||
			claims["iat"] != 1793610000.0 || claims["exp"] != 1793610060.0 {
			t.Errorf("%s: the claims are %v with the error %v, want those that were signed", algorithm, claims, err)
		}
	}
	if got := i.Requests(); got != (issuer.Requests{Discovery: 1, JWKS: 1}) {
		t.Errorf("the requests are %+v, want one of discovery and one of keys", got)
	}
}

func TestNoPrivateKeyIsPublished(t *testing.T) {
	i, server := start(t, issuer.Options{Algorithms: []string{"RS256", "ES256", "EdDSA"}})
	var set struct{ Keys []map[string]any }
	get(t, server.URL+issuer.JWKSPath, &set)
	if len(set.Keys) != 3 {
		t.Fatalf("%d keys are published, want 3", len(set.Keys))
	}
	for _, key := range set.Keys {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if _, there := key[private]; there {
				t.Errorf("%s of a key is published", private)
			}
		}
	}
	if bits := i.Keys()[0].Private.Public().(*rsa.PublicKey).N.BitLen(); bits != 2048 {
		t.Errorf("the RSA key has %d bits, want 2048", bits)
	}
}

func TestRotation(t *testing.T) {
	i, _ := start(t, issuer.Options{Algorithms: []string{"EdDSA"}})
	first := i.KeyID()
	for _, step := range []struct {
		keep      bool
		published int
	}{{true, 2}, {false, 1}} {
		if err := i.Rotate(step.keep); err != nil {
			t.Fatal(err)
		}
		if set := keys(t, i); len(set.Keys) != step.published || len(set.Key(i.KeyID())) != 1 {
			t.Errorf("with keep %v there are %d keys published, want %d, one of them in use", step.keep, len(set.Keys), step.published)
		}
	}
	if i.KeyID() == first {
		t.Error("the first key still signs")
	}
	if _, err := i.Sign(i.Claims("u", "c"), issuer.WithKeyID(first)); err != nil {
		t.Errorf("a withdrawn key does not sign: %v", err)
	}
	if _, err := i.Sign(i.Claims("u", "c"), issuer.WithKeyID("none")); err == nil {
		t.Error("a key that is not there signs")
	}
}

func TestDown(t *testing.T) {
	i, _ := start(t, issuer.Options{Algorithms: []string{"EdDSA"}})
	i.SetDown(true)
	if code := get(t, i.URL()+issuer.DiscoveryPath, nil); code != http.StatusServiceUnavailable {
		t.Errorf("discovery of an issuer that is down is answered with %d, want 503", code)
	}
	i.SetDown(false)
	keys(t, i)
	if code := get(t, i.URL()+"/authorize", nil); code != http.StatusNotFound {
		t.Errorf("another path is answered with %d, want 404", code)
	}
}

func TestForgeries(t *testing.T) {
	i, _ := start(t, issuer.Options{})
	claims := i.Claims("u", "c")
	header := func(raw string) map[string]any {
		t.Helper()
		first, _, _ := strings.Cut(raw, ".")
		text, err := base64.RawURLEncoding.DecodeString(first)
		if err != nil {
			t.Fatal(err)
		}
		var h map[string]any
		if err := json.Unmarshal(text, &h); err != nil {
			t.Fatal(err)
		}
		return h
	}
	for want, forge := range map[string]func(map[string]any) (string, error){"none": i.Unsigned, "HS256": i.SignedWithPublicKey, "RS256": i.SignedByAnotherKey} {
		raw, err := forge(claims)
		if err != nil || header(raw)["alg"] != want || strings.Count(raw, ".") != 2 {
			t.Errorf("the forgery is %s with the error %v, want a token with the algorithm %s", raw, err, want)
		}
	}
	raw, err := i.SignedByAnotherKey(claims)
	if err != nil || header(raw)["kid"] != i.KeyID() {
		t.Fatalf("the forgery has the header %v and the error %v, want the key %s", header(raw), err, i.KeyID())
	}
	token, err := jose.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := token.Verify(i.Keys()[0].Private.Public()); err == nil {
		t.Error("the stranger's signature holds")
	}
}

func TestUnknownAlgorithm(t *testing.T) {
	if _, err := issuer.New(issuer.Options{Algorithms: []string{"HS256"}}); err == nil {
		t.Error("an issuer with HS256 is made, want an error")
	}
}
