package oidc

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/idpsync/idpsync/providers/wire"
)

// Bounds of what is read before anything is proved.
const (
	maxEvent  = 256 << 10 // bytes of the event: ID token, access token and nonce
	maxToken  = 64 << 10  // bytes of the ID token; one with two hundred groups has about 10 KiB
	maxHeader = 4 << 10   // bytes of its decoded header
	maxDepth  = 16        // nesting of its payload
	maxKeyID  = 512       // bytes of kid
)

// strict refuses padding and trailing bits that are not zero, so that a token has one spelling only.
var strict = base64.RawURLEncoding.Strict()

// A token is a compact JWS taken apart. Nothing in it is proved.
type token struct {
	raw       string
	input     string // header and payload as they were signed
	payload   []byte
	signature []byte
	algorithm string
	keyID     string // "" when absent
}

// says tells an operator what a token that is not verified claims of itself: which key and which issuer it names. Both are
// quoted and cut, as anyone can have written them.
func (t *token) says() string {
	var claims struct {
		Issuer string `json:"iss"`
	}
	if err := json.Unmarshal(t.payload, &claims); err != nil {
		claims.Issuer = ""
	}
	return fmt.Sprintf("The token, which is not verified, names the key %q and the issuer %q.", cut(t.keyID), cut(claims.Issuer))
}

// cut shortens what an unknown sender wrote to what fits into a line.
func cut(s string) string {
	const longest = 200
	if r := []rune(s); len(r) > longest {
		return string(r[:longest]) + "…"
	}
	return s
}

// split takes a compact JWS apart (RFC 7515 section 7.1) and decodes its parts.
func split(raw string) (t token, header []byte, ok bool) {
	first := strings.IndexByte(raw, '.')
	last := strings.LastIndexByte(raw, '.')
	if first < 0 || last == first || strings.IndexByte(raw[first+1:last], '.') >= 0 {
		return token{}, nil, false
	}
	if strings.ContainsAny(raw, "\r\n") { // the decoder would pass over them
		return token{}, nil, false
	}
	header, err1 := strict.DecodeString(raw[:first])
	payload, err2 := strict.DecodeString(raw[first+1 : last])
	signature, err3 := strict.DecodeString(raw[last+1:])
	if err1 != nil || err2 != nil || err3 != nil || len(header) == 0 || len(payload) == 0 {
		return token{}, nil, false
	}
	return token{raw: raw, input: raw[:last], payload: payload, signature: signature}, header, true
}

// read does checks 2 to 7.
func (v *verification) read(raw string) error {
	if len(raw) > maxToken {
		return v.malformed(checkSize, "the ID token is larger than 64 KiB")
	}
	v.passed(checkSize, "")
	t, rawHeader, ok := split(raw)
	if !ok {
		return v.malformed(checkForm, "the ID token is not a compact JWS: three parts in base64url without padding")
	}
	v.passed(checkForm, "")
	header, err := wire.Claims(rawHeader, wire.Limits{Size: maxHeader, Depth: maxDepth})
	if err != nil {
		return v.malformed(checkHeader, "the header of the ID token is not a JSON object with every name once")
	}
	typ, typOK := optionalString(header, "typ")
	kid, kidOK := optionalString(header, "kid")
	alg, algOK := header["alg"].(string)
	if !typOK || !kidOK || !algOK || len(kid) > maxKeyID {
		return v.malformed(checkHeader, "alg, kid and typ of the header must be strings, and alg is required")
	}
	v.passed(checkHeader, "")
	if _, ok := header["crit"]; ok {
		return v.unverified(checkCritical, "the header has critical extensions, and none is understood", "")
	}
	v.passed(checkCritical, "")
	if !v.provider.allows(alg) {
		return v.unverified(checkAlgorithm, "the algorithm of the ID token is not one of the source's",
			"if the issuer is meant to sign with it, add it to the source's algorithms; HS* and none cannot be")
	}
	v.passed(checkAlgorithm, alg)
	if err := v.headerType(typ); err != nil {
		return err
	}
	t.algorithm, t.keyID = alg, kid
	v.token = t
	return nil
}

func (p *Provider) allows(alg string) bool {
	for _, a := range p.config.SupportedSigningAlgs {
		if a == alg {
			return true
		}
	}
	return false
}

// optionalString returns the string of that name, "" when it is absent or null, and false when it is something else.
func optionalString(m map[string]any, name string) (string, bool) {
	v := m[name]
	if v == nil {
		return "", true
	}
	s, ok := v.(string)
	return s, ok
}
