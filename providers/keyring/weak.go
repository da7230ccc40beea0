package keyring

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"math/big"
	"sync"
)

// Weak says why a public key must not be trusted although it has the right form and size: others may know its private
// part, or can do without. "" is for all other keys.
func Weak(public crypto.PublicKey) string {
	switch key := public.(type) {
	case *rsa.PublicKey:
		if key.N.Bit(0) == 0 {
			return "the modulus of the RSA key is even"
		}
		if roca(key.N) {
			return "the RSA key was made by a generator whose keys can be factored (ROCA, CVE-2017-15361)"
		}
	case ed25519.PublicKey:
		if smallOrder(key) {
			return "the Ed25519 key is a point of small order, for which anybody can sign"
		}
	}
	return ""
}

// rocaResidues holds, for small primes, the residues of powers of 65537. A modulus made by the faulty generator has such a
// residue for every one of the primes; another one has so with a probability of less than 2^-25.
// See Nemec et al., The Return of Coppersmith's Attack, section 3.1.
var rocaResidues = sync.OnceValue(func() map[int64]map[int64]bool {
	out := make(map[int64]map[int64]bool)
	for p := int64(3); p <= 167; p += 2 {
		if !big.NewInt(p).ProbablyPrime(0) {
			continue
		}
		powers := make(map[int64]bool)
		for r := int64(1); !powers[r]; r = r * 65537 % p {
			powers[r] = true
		}
		out[p] = powers
	}
	return out
})

func roca(n *big.Int) bool {
	var residue big.Int
	for p, powers := range rocaResidues() {
		if !powers[residue.Mod(n, big.NewInt(p)).Int64()] {
			return false
		}
	}
	return true
}

// smallOrders are the y coordinates of the points whose order divides eight, little-endian, with the two that are not
// reduced. The sign of x, in the highest bit, does not matter.
var smallOrders = [...]string{
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	"\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05",
	"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a",
	"\xec\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
	"\xed\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
	"\xee\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
}

func smallOrder(key ed25519.PublicKey) bool {
	if len(key) != ed25519.PublicKeySize {
		return true
	}
	y := append([]byte(nil), key...)
	y[len(y)-1] &= 0x7f
	for _, small := range smallOrders {
		if string(y) == small {
			return true
		}
	}
	return false
}
