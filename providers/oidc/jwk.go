package oidc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"github.com/idpsync/idpsync/providers"
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
	forVerify  bool   // key_ops is absent or has verify
	public     crypto.PublicKey
}

// parseSet reads a JWK Set (RFC 7517 section 5). Keys that nothing can be verified with, such as symmetric ones, are
// passed over, as the standard says; a set without any other is an error, so that it does not retire all keys.
func parseSet(body []byte) ([]providers.Key, error) {
	set, err := wire.Claims(body, wire.Limits{Size: maxAnswer, Depth: maxDepth})
	if err != nil {
		return nil, fmt.Errorf("the JWK Set cannot be read: %w", err)
	}
	list, ok := set["keys"].([]any)
	if !ok {
		return nil, errors.New("the JWK Set has no list of keys")
	}
	if len(list) > maxKeys {
		return nil, fmt.Errorf("the JWK Set has more than %d keys", maxKeys)
	}
	keys := make([]providers.Key, 0, len(list))
	seen := make(map[string]bool, len(list))
	for _, item := range list {
		members, ok := item.(map[string]any)
		if !ok {
			continue
		}
		material, err := json.Marshal(publicMembers(members))
		if err != nil {
			continue
		}
		key, err := parseKey(providers.Key{Material: material})
		if err != nil || seen[key.thumbprint] {
			continue
		}
		seen[key.thumbprint] = true
		keys = append(keys, providers.Key{ID: key.id, Thumbprint: key.thumbprint, PublicKey: key.thumbprint, Algorithm: key.algorithm, Material: material})
	}
	if len(keys) == 0 {
		return nil, errors.New("the JWK Set has no public key")
	}
	return keys, nil
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
		forVerify: forVerify, public: jwk.Key,
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
