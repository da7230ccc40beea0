package oidc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // registers SHA-256
	_ "crypto/sha512" // registers SHA-384 and SHA-512
	"math/big"
	"slices"
	"strings"
)

// A family is what a JWS algorithm does with a key.
type family int

const (
	pkcs1 family = iota // RFC 7518 section 3.3
	ecDSA               // RFC 7518 section 3.4
	pss                 // RFC 7518 section 3.5
	edDSA               // RFC 8037 section 3.1
)

// An algorithm is a JWS algorithm with a public key. There is no other kind here: HMAC would make every verifier a
// signer, and none proves nothing.
type algorithm struct {
	family family
	hash   crypto.Hash
	curve  elliptic.Curve
}

var algorithmTable = map[string]algorithm{
	"RS256": {pkcs1, crypto.SHA256, nil},
	"RS384": {pkcs1, crypto.SHA384, nil},
	"RS512": {pkcs1, crypto.SHA512, nil},
	"ES256": {ecDSA, crypto.SHA256, elliptic.P256()},
	"ES384": {ecDSA, crypto.SHA384, elliptic.P384()},
	"ES512": {ecDSA, crypto.SHA512, elliptic.P521()},
	"PS256": {pss, crypto.SHA256, nil},
	"PS384": {pss, crypto.SHA384, nil},
	"PS512": {pss, crypto.SHA512, nil},
	"EdDSA": {edDSA, 0, nil},
}

func algorithmNames() string {
	names := make([]string, 0, len(algorithmTable))
	for name := range algorithmTable {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// verifies reports whether signature is that of input by the key, whose type and size are known to fit the algorithm.
func (a algorithm) verifies(key crypto.PublicKey, input string, signature []byte) bool {
	var digest []byte
	if a.hash != 0 {
		h := a.hash.New()
		h.Write([]byte(input))
		digest = h.Sum(make([]byte, 0, 64))
	}
	switch a.family {
	case pkcs1:
		k, ok := key.(*rsa.PublicKey)
		return ok && rsa.VerifyPKCS1v15(k, a.hash, digest, signature) == nil
	case pss:
		k, ok := key.(*rsa.PublicKey)
		return ok && rsa.VerifyPSS(k, a.hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	case ecDSA:
		k, ok := key.(*ecdsa.PublicKey)
		size := (a.curve.Params().BitSize + 7) / 8
		if !ok || len(signature) != 2*size {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
		return ecdsa.Verify(k, digest, r, s)
	case edDSA:
		k, ok := key.(ed25519.PublicKey)
		return ok && ed25519.Verify(k, []byte(input), signature)
	}
	return false
}
