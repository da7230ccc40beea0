package seal

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nkeys"
)

// maxKeyFile bounds a key file, in bytes.
const maxKeyFile = 64 << 10

// signatureInfo separates the signing key from the key that it is derived from (RFC 5869 section 3.2).
const signatureInfo = "idpsync signature 1"

// A Key is the private side of a deployment: it opens what was sealed for it, and signs. It is safe for concurrent use
// and does not change.
type Key struct {
	all []pair // the first seals and signs
}

type pair struct {
	curve   nkeys.KeyPair
	public  string
	signing ed25519.PrivateKey
}

// Generate makes a key and returns it with the content of its key file.
func Generate(random io.Reader) (*Key, []byte, error) {
	curve, err := nkeys.CreateCurveKeysWithRand(random)
	if err != nil {
		return nil, nil, fmt.Errorf("make a seal key: %w", err)
	}
	seed, err := curve.Seed()
	if err != nil {
		return nil, nil, fmt.Errorf("make a seal key: %w", err)
	}
	public, err := curve.PublicKey()
	if err != nil {
		return nil, nil, fmt.Errorf("make a seal key: %w", err)
	}
	content := []byte("# idpsync seal key; its public key is " + public + "\n" + string(seed) + "\n")
	k, err := Parse(content)
	return k, content, err
}

// Parse reads the content of a key file. Its errors repeat nothing of it.
func Parse(content []byte) (*Key, error) {
	k := &Key{}
	n := 0
	for line := range bytes.Lines(content) {
		n++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		p, err := parseSeed(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: not a curve seed of nkeys (SX…)", n)
		}
		k.all = append(k.all, p)
	}
	if len(k.all) == 0 {
		return nil, errors.New("it holds no key")
	}
	return k, nil
}

func parseSeed(line []byte) (pair, error) {
	curve, err := nkeys.FromCurveSeed(line)
	if err != nil {
		return pair{}, err
	}
	public, err := curve.PublicKey()
	if err != nil {
		return pair{}, err
	}
	_, raw, err := nkeys.DecodeSeed(line)
	if err != nil {
		return pair{}, err
	}
	seed, err := hkdf.Key(sha256.New, raw, nil, signatureInfo, ed25519.SeedSize)
	if err != nil {
		return pair{}, err
	}
	return pair{curve, public, ed25519.NewKeyFromSeed(seed)}, nil
}

// ReadFile reads a key file.
func ReadFile(path string) (*Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the seal key: %w", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	content, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("read the seal key: %w", err)
	}
	k, err := Parse(content)
	if err != nil {
		return nil, fmt.Errorf("seal key %s: %w", path, err)
	}
	return k, nil
}

// EnsureFile reads a key file, and makes one that only its owner may read if there is none. Of several who make it at
// the same time all get the same key.
func EnsureFile(path string, random io.Reader) (k *Key, made bool, err error) {
	k, err = ReadFile(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return k, false, err
	}
	_, content, err := Generate(random)
	if err != nil {
		return nil, false, err
	}
	err = createFile(path, content)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, false, fmt.Errorf("write the seal key: %w", err)
	}
	made = err == nil
	k, err = ReadFile(path)
	return k, made, err
}

// createFile makes a whole file with mode 0600, or fails with fs.ErrExist.
func createFile(path string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), path)
}

// KeyID returns the public key that seals for this key, in the text form of nkeys (X…).
func (k *Key) KeyID() string { return k.all[0].public }

// Sign signs data with a key of its own, derived from the first one (Ed25519).
func (k *Key) Sign(data []byte) []byte { return ed25519.Sign(k.all[0].signing, data) }

// Verify reports whether one of the keys made the signature.
func (k *Key) Verify(data, signature []byte) bool {
	for _, p := range k.all {
		if ed25519.Verify(p.signing.Public().(ed25519.PublicKey), data, signature) {
			return true
		}
	}
	return false
}

// Holds reports whether the key that public names is among those of the file.
func (k *Key) Holds(public string) bool {
	for _, p := range k.all {
		if p.public == public {
			return true
		}
	}
	return false
}
