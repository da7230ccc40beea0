package oidc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"math/big"
	"testing"
)

// A key verifies what it was published for, and by its own type alone.
func TestKeysFitTheirAlgorithm(t *testing.T) {
	t.Parallel()
	modulus := func(bits uint) *big.Int { return new(big.Int).SetBit(big.NewInt(1), int(bits)-1, 1) }
	long := &rsa.PublicKey{N: modulus(2048), E: 65537}
	p256, p384 := &ecdsa.PublicKey{Curve: elliptic.P256()}, &ecdsa.PublicKey{Curve: elliptic.P384()}
	edwards := make(ed25519.PublicKey, ed25519.PublicKeySize)
	bare := func(k crypto.PublicKey) signingKey { return signingKey{public: k, forVerify: true} }
	with := func(k crypto.PublicKey, change func(*signingKey)) signingKey {
		out := bare(k)
		change(&out)
		return out
	}
	for name, c := range map[string]struct {
		key signingKey
		fit []string // algorithms
	}{
		"RSA":                     {bare(long), []string{"PS256", "PS384", "PS512", "RS256", "RS384", "RS512"}},
		"P-256":                   {bare(p256), []string{"ES256"}},
		"P-384":                   {bare(p384), []string{"ES384"}},
		"Ed25519":                 {bare(edwards), []string{"EdDSA"}},
		"RSA of 2047 bits":        {bare(&rsa.PublicKey{N: modulus(2047), E: 65537}), nil},
		"RSA of 8193 bits":        {bare(&rsa.PublicKey{N: modulus(8193), E: 65537}), nil},
		"RSA with the exponent 1": {bare(&rsa.PublicKey{N: modulus(2048), E: 1}), nil},
		"RSA with the exponent 4": {bare(&rsa.PublicKey{N: modulus(2048), E: 4}), nil},
		"a symmetric key":         {bare([]byte("secret")), nil},
		"for encryption":          {with(p256, func(k *signingKey) { k.use = "enc" }), nil},
		"for signatures":          {with(p256, func(k *signingKey) { k.use = "sig" }), []string{"ES256"}},
		"for other operations":    {with(p256, func(k *signingKey) { k.forVerify = false }), nil},
		"for one algorithm":       {with(long, func(k *signingKey) { k.algorithm = "PS256" }), []string{"PS256"}},
		"for another type's":      {with(long, func(k *signingKey) { k.algorithm = "ES256" }), nil},
		"weak":                    {with(p256, func(k *signingKey) { k.weak = "it is known" }), nil},
	} {
		fit := map[string]bool{}
		for _, a := range c.fit {
			fit[a] = true
		}
		for a := range algorithmTable {
			if why := c.key.unfit(a); (why == "") != fit[a] {
				t.Errorf("%s: the key is unfit for %s as %q, want it fit: %v", name, a, why, fit[a])
			}
		}
	}
}
