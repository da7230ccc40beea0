package oidc_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/providers/providertest"
)

const (
	malformed  = "malformed"
	unverified = "unverified"
)

func (m *maker) accepted() {
	m.add("rs256", "", "", "signed with the published RSA key", m.sign(m.base()))
	m.add("no-kid", "", "", "no kid in the header; every fitting key is tried", m.sign(m.base(), issuer.WithoutHeader("kid")))
	m.add("several-audiences", "", "", "two audiences, and azp names us", m.sign(m.base("aud", []string{client, "other"}, "azp", client)))
	m.add("clock-ahead", "", "", "iat and nbf two minutes ahead of the broker's clock", m.sign(m.base("iat", epoch(120), "nbf", epoch(120))))
	m.add("clock-behind", "", "", "exp two minutes ago by the broker's clock, but for a second", m.sign(m.base("iat", epoch(-300), "exp", epoch(-119))))
	m.add("fraction", "", "", "exp with a fraction", m.sign(m.base("exp", float64(epoch(60))+0.5)))
	m.add("unknown-claims", "", "", "claims that nobody reads, in any case and shape", m.sign(m.base("urn:X", map[string]any{"A": 1, "a": []any{nil}})))
	for _, algorithm := range []string{"ES256", "EdDSA"} {
		m.add(strings.ToLower(algorithm), "", "", "signed with the published "+algorithm+" key", m.sign(m.base(), withNewest(m, algorithm)))
		s := m.all[strings.ToLower(algorithm)]
		s.Algorithms = []string{algorithm}
		m.all[strings.ToLower(algorithm)] = s
	}
}

func withNewest(m *maker, algorithm string) issuer.SignOption {
	keys := m.issuer.Keys()
	for _, k := range keys {
		if k.Algorithm == algorithm {
			return issuer.WithKey(k)
		}
	}
	m.t.Fatalf("no key for %s", algorithm)
	return nil
}

// epoch returns seconds after the moment at which the corpus is judged.
func epoch(seconds int64) int64 { return providertest.Epoch.Unix() + seconds }

func (m *maker) signatures() {
	stranger := m.key("RS256")
	stranger.ID = m.signer.ID
	m.add("forged", unverified, "signature", "signed with another key under the published key's kid", m.sign(m.base(), issuer.WithKey(stranger)))
	m.add("forged-no-kid", unverified, "signature", "signed with another key, no kid", m.sign(m.base(), issuer.WithKey(stranger), issuer.WithoutHeader("kid")))
	altered, err := issuer.Altered(m.sign(m.base()), m.base("sub", "admin"))
	m.must(err)
	m.add("altered", unverified, "signature", "sub changed after signing", altered)
	good := m.sign(m.base())
	m.add("signature-empty", unverified, "signature", "the signature cut off, alg left as it was", good[:strings.LastIndexByte(good, '.')+1])
	m.add("signature-short", unverified, "signature", "the signature cut to half", good[:strings.LastIndexByte(good, '.')+173])
	none, err := m.issuer.Unsigned(m.base())
	m.must(err)
	m.add("none", unverified, "algorithm", "alg none and no signature", none)
	m.add("none-mixed-case", unverified, "algorithm", "alg nOnE, for a verifier that compares without case", m.raw(`{"alg":"nOnE"}`, m.json()+"}"))
	m.add("alg-lower-case", unverified, "algorithm", "alg rs256", m.raw(`{"alg":"rs256","kid":"`+m.signer.ID+`"}`, m.json()+"}"))
	// The issuer's own forger takes its first algorithm's key; for HMAC any public text serves.
	hmac, err := m.issuer.SignedWithPublicKey(m.base())
	m.must(err)
	m.add("hs256-public-key", unverified, "algorithm", "HMAC with the issuer's public key as the secret", hmac)
	m.add("ps256-not-listed", unverified, "algorithm", "PS256 by the RSA key, at a source that lists RS256", m.sign(m.base(), issuer.WithAlgorithm("PS256")))
	m.add("ps256-under-rs256-key", unverified, "unsuitable_key", "PS256 by a key published with alg RS256, at a source that lists both", m.sign(m.base(), issuer.WithAlgorithm("PS256")))
	s := m.all["ps256-under-rs256-key"]
	s.Algorithms = []string{"RS256", "PS256"}
	m.all["ps256-under-rs256-key"] = s
	m.add("es256-under-rs256-kid", unverified, "unsuitable_key", "ES256 under the kid of the RSA key, at a source that lists both",
		m.sign(m.base(), withNewest(m, "ES256"), issuer.WithHeader("kid", m.signer.ID)))
	s = m.all["es256-under-rs256-kid"]
	s.Algorithms = []string{"RS256", "ES256"}
	m.all["es256-under-rs256-kid"] = s
	m.add("use-enc", unverified, "unsuitable_key", "signed with a key published with use=enc", m.sign(m.base(), issuer.WithKey(m.enc)))
	m.add("weak-key", unverified, "unsuitable_key", "names a published RSA key of 1024 bits", m.sign(m.base(), issuer.WithHeader("kid", m.weak)))
	m.add("retired-kid", unverified, "retired_key", "signed with a key withdrawn before the event was stored", m.sign(m.base(), issuer.WithKey(m.retired)))
	m.add("retired-no-kid", unverified, "retired_key", "the same without kid", m.sign(m.base(), issuer.WithKey(m.retired), issuer.WithoutHeader("kid")))
	m.add("forged-retired-kid", unverified, "signature", "names the withdrawn key, signed with another", m.sign(m.base(), issuer.WithKey(stranger), issuer.WithHeader("kid", m.retired.ID)))
	m.add("unknown-kid", unverified, "unknown_key", "signed with a key that was never published", m.sign(m.base(), issuer.WithKey(m.key("RS256"))))
}

func (m *maker) forms() {
	good := m.sign(m.base())
	parts := strings.Split(good, ".")
	m.add("trailing-dot", malformed, "token_form", "a dot after the signature", good+".")
	m.add("four-parts", malformed, "token_form", "a fourth part", good+"."+parts[2])
	m.add("two-parts", malformed, "token_form", "no signature and no dot", parts[0]+"."+parts[1])
	m.add("no-payload", malformed, "token_form", "an empty payload, as detached ones have", parts[0]+".."+parts[2])
	m.add("padded", malformed, "token_form", "base64 padding after the signature", good+"==")
	m.add("line-break", malformed, "token_form", "a line break in the payload", parts[0]+"."+parts[1][:20]+"\n"+parts[1][20:]+"."+parts[2])
	m.add("space-before", malformed, "token_form", "a space before the token", " "+good)
	m.add("bearer-before", malformed, "token_form", "Bearer before the token", "Bearer "+good)
	m.add("standard-base64", malformed, "token_form", "a sign of the other base64 alphabet in the signature", parts[0]+"."+parts[1]+".+/"+parts[2][2:])
	m.add("base64-not-canonical", malformed, "token_form", "the last sign of the signature changed in bits that mean nothing", notCanonical(good))
	m.add("json-serialization", malformed, "token_form", "the JSON serialization of the same JWS", `{"protected":"`+parts[0]+`","payload":"`+parts[1]+`","signature":"`+parts[2]+`"}`)
	m.add("encrypted-form", malformed, "token_form", "five parts, as a JWE has", good+".x.y")
	m.add("oversize", malformed, "token_size", "a valid token with a claim of 64 KiB", m.sign(m.base("blob", strings.Repeat("a", 64<<10))))
}

// notCanonical sets an unused low bit of the last sign: 256 bytes of signature leave four of them.
func notCanonical(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, token[len(token)-1])
	return token[:len(token)-1] + string(alphabet[last|1])
}

func (m *maker) headers() {
	kid := `"kid":"` + m.signer.ID + `"`
	body := m.json() + "}"
	attacker := m.key("RS256")
	jwk, err := json.Marshal(jose.JSONWebKey{Key: attacker.Private.Public(), Algorithm: "RS256"})
	m.must(err)
	withKid := func(name string, value any) string {
		return m.sign(m.base(), issuer.WithKey(attacker), issuer.WithHeader("kid", m.signer.ID), issuer.WithHeader(name, value))
	}
	m.add("embedded-jwk", unverified, "signature", "signed with an own key, which the header carries as jwk", withKid("jwk", json.RawMessage(jwk)))
	m.add("jku", unverified, "signature", "signed with an own key, which jku points to", withKid("jku", "https://attacker.example/jwks.json"))
	m.add("x5u", unverified, "signature", "signed with an own key, which x5u points to", withKid("x5u", "https://attacker.example/chain.pem"))
	m.add("jku-own-kid", unverified, "unknown_key", "the same with the own key's kid", m.sign(m.base(), issuer.WithKey(attacker), issuer.WithHeader("jku", "https://attacker.example/jwks.json")))
	m.add("crit", unverified, "critical_header", "a critical extension", m.raw(`{"alg":"RS256",`+kid+`,"crit":["exp"],"exp":1}`, body))
	m.add("b64-false", unverified, "critical_header", "an unencoded payload (RFC 7797)", m.raw(`{"alg":"RS256",`+kid+`,"b64":false,"crit":["b64"]}`, body))
	m.add("alg-twice", malformed, "header", "alg none and alg RS256 in one header", m.raw(`{"alg":"none","alg":"RS256",`+kid+`}`, body))
	m.add("alg-two-cases", malformed, "header", "alg and ALG in one header", m.raw(`{"alg":"RS256","ALG":"none",`+kid+`}`, body))
	m.add("alg-missing", malformed, "header", "no alg", m.raw(`{`+kid+`}`, body))
	m.add("alg-null", malformed, "header", "alg null", m.raw(`{"alg":null,`+kid+`}`, body))
	m.add("kid-number", malformed, "header", "kid is a number", m.raw(`{"alg":"RS256","kid":1}`, body))
	m.add("kid-long", malformed, "header", "a kid of a thousand signs", m.raw(`{"alg":"RS256","kid":"`+strings.Repeat("k", 1000)+`"}`, body))
	m.add("header-array", malformed, "header", "the header is an array", m.raw(`["RS256"]`, body))
	m.add("header-trailing", malformed, "header", "the header goes on after its end", m.raw(`{"alg":"RS256",`+kid+`}{}`, body))
	m.add("header-deep", malformed, "header", "the header is nested forty levels deep", m.raw(`{"alg":"RS256",`+kid+`,"x":`+deep(40)+`}`, body))
	m.add("access-token", unverified, "token_type", "typ at+jwt: an access token (RFC 9068)", m.sign(m.base(), issuer.WithHeader("typ", "at+jwt")))
	m.add("logout-token", unverified, "token_type", "typ application/logout+JWT", m.sign(m.base(), issuer.WithHeader("typ", "application/logout+JWT")))
}

func deep(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }

func (m *maker) payloads() {
	body := m.json()
	m.add("sub-twice", malformed, "duplicate_claim", "sub twice, the second one admin", m.payload(body+`,"sub":"admin"}`))
	m.add("sub-two-cases", malformed, "duplicate_claim", "Sub beside sub, which a decoder without case takes for it", m.payload(body+`,"Sub":"admin"}`))
	m.add("sub-long-s", malformed, "duplicate_claim", "ſub beside sub, with a letter that folds to s", m.payload(body+`,"ſub":"admin"}`))
	m.add("sub-escaped", malformed, "duplicate_claim", "sub again, with an escaped letter", m.payload(body+`,"\u0073ub":"admin"}`))
	m.add("email-two-cases", malformed, "duplicate_claim", "EMAIL beside email", m.payload(body+`,"EMAIL":"owner@acme.example"}`))
	m.add("nested-twice", malformed, "duplicate_claim", "a name twice in an object within", m.payload(body+`,"realm_access":{"roles":[],"roles":["admin"]}}`))
	m.add("payload-array", malformed, "claims", "the payload is an array", m.payload("["+body+"}]"))
	m.add("payload-string", malformed, "claims", "the payload is a string", m.payload(`"sub"`))
	m.add("payload-text", malformed, "claims", "the payload is no JSON", m.payload("sub=00u1"))
	m.add("payload-trailing", malformed, "claims", "the payload goes on after its end", m.payload(body+"}{}"))
	m.add("payload-cut", malformed, "claims", "the payload ends too early", m.payload(body))
	m.add("payload-bad-utf8", malformed, "claims", "a byte that is not UTF-8", m.payload(body+",\"x\":\"\xff\"}"))
	m.add("payload-lone-surrogate", malformed, "claims", "half of a surrogate pair", m.payload(body+`,"x":"\ud800"}`))
	m.add("payload-deep", malformed, "claims", "nested forty levels deep", m.payload(body+`,"x":`+deep(40)+`}`))
	m.add("number-range", malformed, "claims", "a number that no double holds", m.payload(body+`,"x":1e999}`))
	m.add("aggregated-claims", unverified, "id_token", "_claim_names without its source", m.sign(m.base("_claim_names", map[string]string{"groups": "src1"})))
}

func (m *maker) claims() {
	reject := func(name, reason, made string, changes ...any) {
		m.t.Helper()
		m.add(name, unverified, reason, made, m.sign(m.base(changes...)))
	}
	reject("issuer-other", "issuer", "signed by the issuer's key for another issuer", "iss", "https://other.example")
	reject("issuer-slash", "issuer", "a slash after the issuer", "iss", corpusIssuer+"/")
	reject("issuer-missing", "issuer", "no iss", "iss", nil)
	reject("issuer-list", "issuer", "iss is a list", "iss", []string{corpusIssuer})
	reject("audience-other", "audience", "for another client", "aud", "other")
	reject("audience-case", "audience", "the audience in another case", "aud", strings.ToUpper(client))
	reject("audience-prefix", "audience", "an audience that only begins like ours", "aud", client+".evil")
	reject("audience-missing", "audience", "no aud", "aud", nil)
	reject("audience-empty", "audience", "an empty list", "aud", []string{})
	reject("audience-mixed", "audience", "a list with a number beside our audience", "aud", []any{client, 1})
	reject("audience-object", "audience", "our audience as the name of a member", "aud", map[string]any{client: true})
	reject("azp-other", "authorized_party", "for us, but issued to another client", "azp", "other")
	reject("azp-number", "authorized_party", "azp is a number", "azp", 1)
	reject("azp-missing", "authorized_party", "two audiences and no azp", "aud", []string{client, "other"})
	reject("expired", "expired", "exp is two minutes before the moment at which it was stored", "iat", epoch(-300), "exp", epoch(-120))
	reject("exp-string", "expired", "exp is a string", "exp", "9999999999")
	reject("exp-missing", "expired", "no exp", "exp", nil)
	reject("exp-negative", "expired", "exp is negative", "exp", -1)
	reject("exp-huge", "expired", "exp far beyond the year 9999", "exp", 1e300)
	reject("exp-list", "expired", "exp is a list", "exp", []any{epoch(60)})
	reject("nbf-ahead", "not_yet_valid", "nbf more than seventeen minutes ahead", "nbf", epoch(1021), "exp", epoch(2000))
	reject("nbf-string", "not_yet_valid", "nbf is a string", "nbf", "0")
	reject("iat-missing", "issued_at", "no iat", "iat", nil)
	reject("iat-string", "issued_at", "iat is a string", "iat", "1")
	reject("iat-ahead", "issued_at", "iat more than seventeen minutes ahead", "iat", epoch(1021), "exp", epoch(2000))
	reject("never-valid", "expired", "exp more than the skew before nbf", "nbf", epoch(600), "exp", epoch(360))
	reject("iat-year-ahead", "issued_at", "iat and exp a year ahead", "iat", epoch(31_536_000), "exp", epoch(31_536_300))
	reject("sub-missing", "subject", "no sub", "sub", nil)
	reject("sub-empty", "subject", "sub is empty", "sub", "")
	reject("sub-number", "subject", "sub is a number", "sub", 1)
	reject("sub-long", "subject", "a sub of 256 characters", "sub", strings.Repeat("s", 256))
	reject("sub-not-ascii", "subject", "sub with a letter outside ASCII", "sub", "00ü1")
	reject("sub-nul", "subject", "sub with a NUL", "sub", "00u1\x00")

	login := func(name, reason, made string, members map[string]string) {
		m.t.Helper()
		raw, err := json.Marshal(members)
		m.must(err)
		m.event(name, unverified, reason, made, string(raw))
	}
	login("nonce-other", "nonce", "the login asked with another nonce", map[string]string{"id_token": m.sign(m.base("nonce", "n1")), "nonce": "n2"})
	login("nonce-missing", "nonce", "the login asked with a nonce and the token has none", map[string]string{"id_token": m.sign(m.base()), "nonce": "n2"})
	login("at-hash-other", "access_token_hash", "the access token of another login", map[string]string{"id_token": m.sign(m.base("at_hash", base64.RawURLEncoding.EncodeToString(make([]byte, 16)))), "access_token": "at-1"})
	login("at-hash-missing", "access_token_hash", "an access token, and no at_hash to bind it", map[string]string{"id_token": m.sign(m.base()), "access_token": "at-1"})
}

func (m *maker) events() {
	good := m.sign(m.base())
	event := func(name, made, payload string) { m.t.Helper(); m.event(name, malformed, "json", made, payload) }
	event("event-empty", "no payload", "")
	event("event-bare-token", "the token itself in place of the document", good)
	event("event-array", "the document in an array", `[{"id_token":"`+good+`"}]`)
	event("event-unknown-member", "a member that is not known", `{"id_token":"`+good+`","owner":true}`)
	event("event-token-twice", "id_token twice", `{"id_token":"`+good+`","id_token":"`+good+`"}`)
	event("event-token-case", "ID_TOKEN in place of id_token", `{"ID_TOKEN":"`+good+`"}`)
	event("event-token-null", "id_token is null", `{"id_token":null}`)
	event("event-nonce-null", "nonce is null", `{"id_token":"`+good+`","nonce":null}`)
	event("event-token-number", "id_token is a number", `{"id_token":1}`)
	event("event-token-missing", "no id_token", `{"nonce":"n1"}`)
	event("event-trailing", "a second document after the first", `{"id_token":"`+good+`"}{"id_token":"`+good+`"}`)
	event("event-deep", "nested forty levels deep", `{"id_token":`+deep(40)+`}`)
	event("event-lone-surrogate", "half of a surrogate pair in the nonce", `{"id_token":"`+good+`","nonce":"\ud800"}`)
}
