package oidc

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/keyring"
	"github.com/idpsync/idpsync/providers/wire"
)

// Sizes of RSA keys that are used: smaller ones are too weak (RFC 7518 section 3.3), larger ones take too long.
const (
	minRSA = 2048
	maxRSA = 8192
)

// A signingKey is a key of the history, ready for use.
type signingKey struct {
	id         string
	thumbprint string
	algorithm  string // JWK alg, or ""
	use        string // JWK use, or ""
	operations []string
	forVerify  bool   // key_ops is absent or has verify
	weak       string // why it is not to be trusted, or ""
	public     crypto.PublicKey
}

// variant tells entries of one public key apart.
func (k *signingKey) variant() string {
	operations := slices.Sorted(slices.Values(k.operations))
	sum := sha256.Sum256([]byte(strings.Join([]string{k.id, k.algorithm, k.use, strconv.FormatBool(k.operations == nil), strings.Join(operations, "\x01")}, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// A keySetAnswer is what a JWK Set holds.
type keySetAnswer struct {
	keys []providers.Key
	left []string // why others were left out, for the log
}

// parseSet reads a JWK Set (RFC 7517 section 5). An entry that cannot be read, or that nothing can be verified with, such
// as a symmetric key, is passed over, as the standard says, and spoils none of the others; a set without any other is an
// error, so that it does not retire all keys. One public key may stand in several entries, which differ in kid, alg, use
// or key_ops.
func parseSet(body []byte) (keySetAnswer, error) {
	list, err := entriesOf(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	if err != nil {
		return keySetAnswer{}, fmt.Errorf("the JWK Set cannot be read: %w", err)
	}
	var out keySetAnswer
	left := func(i int, why string) { out.left = append(out.left, fmt.Sprintf("entry %d: %s", i+1, why)) }
	seen := make(map[string]bool, len(list))
	for i, raw := range list {
		if len(out.keys) == maxKeys {
			out.left = append(out.left, fmt.Sprintf("all after entry %d: only %d keys are read", i, maxKeys))
			break
		}
		members, err := wire.Claims(raw, wire.Limits{Size: maxAnswer, Depth: maxDepth})
		if err != nil {
			left(i, "it is not an object with every name once")
			continue
		}
		material, err := json.Marshal(publicMembers(members))
		if err != nil {
			left(i, "it cannot be kept")
			continue
		}
		key, err := parseKey(providers.Key{Material: material})
		if err != nil {
			left(i, err.Error())
			continue
		}
		if key.weak != "" {
			left(i, key.weak) // it is kept, to say so to whoever signs with it
		}
		variant := key.variant()
		if seen[key.thumbprint+variant] {
			continue
		}
		seen[key.thumbprint+variant] = true
		out.keys = append(out.keys, providers.Key{
			ID: key.id, Thumbprint: key.thumbprint, Variant: variant, PublicKey: key.thumbprint, Algorithm: key.algorithm, Material: material,
		})
	}
	if len(out.keys) == 0 {
		return keySetAnswer{}, noUsableKey(out.left)
	}
	return out, nil
}

// noUsableKey says why nothing of a JWK Set can verify a token. The issuer answers, and has to correct its set.
func noUsableKey(left []string) error {
	const most = 5
	why := "it has no entries"
	if len(left) > 0 {
		why = strings.Join(left[:min(len(left), most)], "; ")
	}
	return &keyring.Unusable{
		Reason: "no_usable_key", Message: "the issuer's JWK Set has no key that can be used: " + why,
		Hint: "the issuer has to publish its keys by their parameters (n and e, or crv, x and y); certificates in x5c are not read",
	}
}

// entriesOf returns the entries of a JWK Set as they were written, so that a fault in one is not one of the set.
func entriesOf(body []byte) ([]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("it is not a JSON object")
	}
	var list []json.RawMessage
	found := false
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("it is not valid JSON: %w", err)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, fmt.Errorf("it is not valid JSON: %w", err)
		}
		if name != "keys" {
			continue
		}
		if found {
			return nil, errors.New("keys appears twice")
		}
		if found = true; json.Unmarshal(value, &list) != nil || list == nil {
			return nil, errors.New("it has no list of keys")
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("it is not valid JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("it goes on after its end")
	}
	if !found {
		return nil, errors.New("it has no list of keys")
	}
	return list, nil
}

// publicMembers keeps the members of a JWK that we read: no private part, no certificates.
func publicMembers(jwk map[string]any) map[string]any {
	out := make(map[string]any, 8)
	for _, name := range [...]string{"kty", "kid", "alg", "use", "key_ops", "n", "e", "crv", "x", "y"} {
		if v, ok := jwk[name]; ok && v != nil {
			out[name] = v
		}
	}
	return out
}

// parseKey makes a key of the history ready for use.
func parseKey(k providers.Key) (*signingKey, error) {
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(k.Material); err != nil {
		return nil, fmt.Errorf("reading a JWK: %w", err)
	}
	if !jwk.Valid() || !jwk.IsPublic() {
		return nil, errors.New("the JWK is not a public key")
	}
	thumbprint, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("thumbprint of a JWK: %w", err)
	}
	var more struct {
		KeyOps []string `json:"key_ops"`
	}
	if err := json.Unmarshal(k.Material, &more); err != nil {
		return nil, fmt.Errorf("reading a JWK: %w", err)
	}
	forVerify := more.KeyOps == nil
	for _, op := range more.KeyOps {
		forVerify = forVerify || op == "verify"
	}
	return &signingKey{
		id: jwk.KeyID, thumbprint: base64.RawURLEncoding.EncodeToString(thumbprint), algorithm: jwk.Algorithm, use: jwk.Use,
		operations: more.KeyOps, forVerify: forVerify, weak: keyring.Weak(jwk.Key), public: jwk.Key,
	}, nil
}

// unfit says why the key must not verify a token of that algorithm, or "".
func (k *signingKey) unfit(name string) string {
	a := algorithmTable[name]
	switch {
	case k.use != "" && k.use != "sig":
		return "the key is published for another use than signatures"
	case !k.forVerify:
		return "the key is published for other operations than to verify"
	case k.algorithm != "" && k.algorithm != name && !(k.algorithm == "Ed25519" && name == "EdDSA"):
		return "the key is published for another algorithm than the token's"
	}
	if k.weak != "" {
		return k.weak
	}
	const otherType = "the key is of another type than the token's algorithm needs"
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		if a.family != pkcs1 && a.family != pss {
			return otherType
		}
		if bits := public.N.BitLen(); bits < minRSA || bits > maxRSA {
			return fmt.Sprintf("the key has %d bits; RSA keys of %d to %d bits are used", bits, minRSA, maxRSA)
		}
		if public.E < 3 || public.E%2 == 0 {
			return "the key has a public exponent that is not used"
		}
	case *ecdsa.PublicKey:
		if a.family != ecDSA || public.Curve != a.curve {
			return otherType
		}
	case ed25519.PublicKey:
		if a.family != edDSA {
			return otherType
		}
	default:
		return otherType
	}
	return ""
}
