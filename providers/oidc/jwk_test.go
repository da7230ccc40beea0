package oidc_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers/oidc/issuer"
)

// alterSet changes the entries of the issuer's JWK Set on their way.
func (w *world) alterSet(change func(entries []map[string]any) []map[string]any) {
	w.alterBody(func(body []byte) []byte {
		var set struct {
			Keys []map[string]any `json:"keys"`
		}
		if err := json.Unmarshal(body, &set); err != nil {
			panic(err)
		}
		set.Keys = change(set.Keys)
		out, err := json.Marshal(set)
		if err != nil {
			panic(err)
		}
		return out
	})
}

func (w *world) alterBody(change func([]byte) []byte) {
	w.issuer.Alter(func(path string, body []byte) []byte {
		if path != issuer.JWKSPath {
			return body
		}
		return change(body)
	})
}

// like returns a copy of an entry with changes; nil removes a member.
func like(entry map[string]any, changes map[string]any) map[string]any {
	out := maps.Clone(entry)
	for name, v := range changes {
		if out[name] = v; v == nil {
			delete(out, name)
		}
	}
	return out
}

// A key that stands in several entries of a set is usable where one of them fits, whatever their order.
func TestOneKeyInSeveralEntries(t *testing.T) {
	for name, other := range map[string]map[string]any{
		"another alg":     {"alg": "PS256"},
		"another use":     {"use": "enc"},
		"another kid":     {"kid": "second"},
		"other key_ops":   {"key_ops": []string{"encrypt"}},
		"no alg, no kid":  {"alg": nil, "kid": nil},
		"the same again":  {},
		"unknown members": {"x5t": "x", "issuer": "y"},
	} {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, first %v", name, first), func(t *testing.T) {
				w := newWorld(t, []string{"RS256"}, nil)
				w.alterSet(func(entries []map[string]any) []map[string]any {
					if first {
						return append([]map[string]any{like(entries[0], other)}, entries...)
					}
					return append(entries, like(entries[0], other))
				})
				expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil))), "")
				if kid, ok := other["kid"].(string); ok {
					expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil), issuer.WithHeader("kid", kid))), "")
				}
			})
		}
	}
}

// What spoils one entry, or surrounds the set, spoils not the set.
func TestSetsAsTheyAre(t *testing.T) {
	inKeys := func(entry string) func([]byte) []byte {
		return func(body []byte) []byte {
			return []byte(strings.Replace(string(body), `"keys":[`, `"keys":[`+entry+`,`, 1))
		}
	}
	many := make([]string, 200)
	for i := range many {
		many[i] = fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":"k%d","x":"%043d"}`, i, i)
	}
	for name, change := range map[string]func([]byte) []byte{
		"byte-order mark":     func(body []byte) []byte { return append([]byte("\xef\xbb\xbf"), body...) },
		"a name twice":        inKeys(`{"kty":"RSA","kid":"a","kid":"b"}`),
		"bad UTF-8":           inKeys("{\"kty\":\"RSA\",\"kid\":\"\xff\"}"),
		"deep":                inKeys(strings.Repeat(`{"a":`, 100) + `1` + strings.Repeat(`}`, 100)),
		"a kid that is none":  inKeys(`{"kty":"RSA","kid":7,"n":"AQAB","e":"AQAB"}`),
		"a number out of all": inKeys(`{"kty":"RSA","n":1e999}`),
		"two hundred others":  inKeys(strings.Join(many, ",")),
		"members of the set":  func(body []byte) []byte { return append([]byte(`{"x":1,"x":2,`), body[1:]...) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, []string{"EdDSA"}, nil)
			w.alterBody(change)
			expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil))), "")
		})
	}
}

// An entry that its issuer corrects under the same kid is right in a running worker too.
func TestACorrectedEntry(t *testing.T) {
	for name, wrong := range map[string]map[string]any{
		"use": {"use": "enc"}, "alg": {"alg": "ES256"}, "key_ops": {"key_ops": []string{"sign"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, []string{"EdDSA"}, nil)
			w.alterSet(func(entries []map[string]any) []map[string]any { return []map[string]any{like(entries[0], wrong)} })
			expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil))), "unsuitable_key")
			w.issuer.Alter(nil)
			w.clock.Advance(time.Minute)
			expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil))), "")
			// And the other way round: an entry that was taken back is not used for what is stored later.
			w.alterSet(func(entries []map[string]any) []map[string]any { return []map[string]any{like(entries[0], wrong)} })
			w.clock.Advance(11 * time.Minute)
			expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil))), "retired_key")
		})
	}
}

// A token that was on its way while its key was given another kid still verifies.
func TestARenamedKey(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil))), "")
	w.clock.Advance(30 * time.Minute)
	waiting := w.login(t, w.sign(t, w.claims(nil)))
	w.alterSet(func(entries []map[string]any) []map[string]any {
		return []map[string]any{like(entries[0], map[string]any{"kid": "new"})}
	})
	w.clock.Advance(time.Minute)
	expect(t, w.provider, waiting, "")
	expect(t, w.open(t), waiting, "")
	expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil), issuer.WithHeader("kid", "new"))), "")
}

func TestWeakKeysAreRefused(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	w.alterSet(func(entries []map[string]any) []map[string]any { // the neutral point: any signature of a kind holds
		return []map[string]any{like(entries[0], map[string]any{"x": "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"})}
	})
	failure := expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil))), "unsuitable_key")
	if failure != nil && !strings.Contains(failure.Message, "small order") {
		t.Errorf("the failure says %q; want what is wrong with the key", failure.Message)
	}
}

// Zero is a time in the past, and null is absent.
func TestOptionalClaims(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	for name, c := range map[string]struct {
		claim, value string
		want         string
	}{
		"nbf of old Keycloak": {"nbf", "0", ""},
		"nbf null":            {"nbf", "null", ""},
		"nbf in the past":     {"nbf", "1", ""},
		"nbf as text":         {"nbf", `"0"`, "not_yet_valid"},
		"nbf negative":        {"nbf", "-1", "not_yet_valid"},
		"azp null":            {"azp", "null", ""},
		"events null":         {"events", "null", ""},
		"exp null":            {"exp", "null", "expired"},
		"exp at the epoch":    {"exp", "0", "expired"},
		"iat null":            {"iat", "null", "issued_at"},
		"token_use null":      {"token_use", "null", ""},
	} {
		claims := w.claims(map[string]any{c.claim: json.RawMessage(c.value)})
		if _, err := w.provider.Verify(t.Context(), w.login(t, w.sign(t, claims))); reason(err) != c.want {
			t.Errorf("%s: Verify = %v; want reason %q", name, err, c.want)
		}
	}
}
