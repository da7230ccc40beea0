package providers

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The form of a credential's token: idpsync_<id>_<secret>. The prefix lets secret scanners find one that leaked. The id
// is 16 lower-case base32 digits (80 bits), the secret 32 random bytes in base64url without padding.
const (
	tokenPrefix   = "idpsync_"
	tokenIDBytes  = 10
	tokenIDLength = 16
	secretBytes   = 32
	secretLength  = 43
)

// ErrNoToken says that a string is not a token of ours; it never repeats the string.
var ErrNoToken = errors.New("not an idpsync token: idpsync_<id>_<secret>")

// NewToken makes a credential's token. The store keeps id and hash, and nobody keeps the token.
func NewToken(random io.Reader) (id string, token Secret, hash []byte, err error) {
	var b [tokenIDBytes + secretBytes]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", "", nil, fmt.Errorf("random bytes for a token: %w", err)
	}
	id = strings.ToLower(base32.StdEncoding.EncodeToString(b[:tokenIDBytes]))
	secret := base64.RawURLEncoding.EncodeToString(b[tokenIDBytes:])
	return id, Secret(tokenPrefix + id + "_" + secret), hashSecret(secret), nil
}

// ParseToken takes a token apart: the id to find the credential by, and the hash to compare with its SecretHash in
// constant time. It accepts exactly what NewToken makes, else it fails with ErrNoToken.
func ParseToken(token string) (id string, hash []byte, err error) {
	rest, ok := strings.CutPrefix(token, tokenPrefix)
	if !ok || len(rest) != tokenIDLength+1+secretLength || rest[tokenIDLength] != '_' {
		return "", nil, ErrNoToken
	}
	id, secret := rest[:tokenIDLength], rest[tokenIDLength+1:]
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return "", nil, ErrNoToken
		}
	}
	// Strict refuses the spellings of the last digit that differ only in unused bits.
	if _, err := base64.RawURLEncoding.Strict().DecodeString(secret); err != nil || strings.ContainsAny(secret, "\r\n") {
		return "", nil, ErrNoToken
	}
	return id, hashSecret(secret), nil
}

// hashSecret hashes the secret part as it is written. It has 256 random bits, so a plain hash is enough.
func hashSecret(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}
