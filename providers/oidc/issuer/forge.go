package issuer

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
)

// Unsigned returns a token with the algorithm none and an empty signature (RFC 8725 section 2.1).
func (i *Issuer) Unsigned(claims map[string]any) (string, error) {
	input, err := signingInput(map[string]any{"alg": "none", "typ": "JWT"}, claims)
	return input + ".", err
}

// SignedWithPublicKey returns an HS256 token whose secret is the issuer's public key in PEM form: accepted by a verifier
// that lets the token choose what kind of key it holds (RFC 8725 section 2.1).
func (i *Issuer) SignedWithPublicKey(claims map[string]any) (string, error) {
	key, err := i.key("", "")
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Private.Public())
	if err != nil {
		return "", fmt.Errorf("issuer: encoding the public key: %w", err)
	}
	input, err := signingInput(map[string]any{"alg": "HS256", "typ": "JWT", "kid": key.ID}, claims)
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), nil
}

// SignedByAnotherKey returns a token that names the issuer's key but is signed with another one.
func (i *Issuer) SignedByAnotherKey(claims map[string]any) (string, error) {
	key, err := i.key("", "")
	if err != nil {
		return "", err
	}
	other, err := i.NewKey(key.Algorithm)
	if err != nil {
		return "", err
	}
	other.ID = key.ID
	return i.Sign(claims, WithKey(other))
}

// Altered returns token with other claims and its old signature.
func Altered(token string, claims map[string]any) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", fmt.Errorf("issuer: the token has %d parts", len(parts))
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("issuer: encoding the claims: %w", err)
	}
	return parts[0] + "." + base64.RawURLEncoding.EncodeToString(payload) + "." + parts[2], nil
}

func signingInput(header, claims map[string]any) (string, error) {
	h, err := json.Marshal(header)
	if err != nil {
		return "", fmt.Errorf("issuer: encoding the header: %w", err)
	}
	c, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("issuer: encoding the claims: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(c), nil
}
