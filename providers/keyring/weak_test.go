package keyring_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers/keyring"
)

// rocaModulus makes a modulus with the property of the faulty generator: both primes are a power of 65537 modulo the
// product of the small primes. It is as good as prime for a test that looks at residues alone.
func rocaModulus(t *testing.T) *big.Int {
	t.Helper()
	m := big.NewInt(1)
	for p := int64(2); p <= 701; p++ { // the generator's M for keys of 2048 bits
		if big.NewInt(p).ProbablyPrime(10) {
			m.Mul(m, big.NewInt(p))
		}
	}
	prime := func(a int64) *big.Int {
		residue := new(big.Int).Exp(big.NewInt(65537), big.NewInt(a), m)
		for k := new(big.Int).Lsh(big.NewInt(1), 52); ; k.Add(k, big.NewInt(1)) {
			candidate := new(big.Int).Mul(k, m)
			if candidate.Add(candidate, residue).ProbablyPrime(10) {
				return candidate
			}
		}
	}
	return new(big.Int).Mul(prime(1234), prime(98765))
}

func TestWeakKeys(t *testing.T) {
	good, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	identity := make(ed25519.PublicKey, ed25519.PublicKeySize)
	identity[0] = 1
	negative := append(ed25519.PublicKey(nil), identity...)
	negative[31] |= 0x80
	for name, c := range map[string]struct {
		key  crypto.PublicKey
		want string
	}{
		"RSA":                         {&good.PublicKey, ""},
		"Ed25519":                     {edwards, ""},
		"RSA of the faulty generator": {&rsa.PublicKey{N: rocaModulus(t), E: 65537}, "ROCA"},
		"RSA with an even modulus":    {&rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65537}, "even"},
		"the neutral point":           {identity, "small order"},
		"the same with its sign":      {negative, "small order"},
		"order four":                  {make(ed25519.PublicKey, ed25519.PublicKeySize), "small order"},
	} {
		if got := keyring.Weak(c.key); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: Weak says %q; want %q in it", name, got, c.want)
		}
	}
}
