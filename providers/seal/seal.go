package seal

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nkeys"
)

// Prefix begins every sealed text. What follows up to the next colon is the version of the form.
const Prefix = "sealed:"

const (
	version1     = "x1:"
	senderLength = 56 // of a public key in the text form of nkeys
)

// The purposes, which stand inside the sealed part.
const (
	purposeText = 'T'
	purposeData = 'D'
)

var (
	// ErrForm says that a value is not sealed in a form that this version reads.
	ErrForm = errors.New("not a sealed value of the form sealed:x1:…")
	// ErrKey says that a value was sealed for another key, or was changed since.
	ErrKey = errors.New("the value was sealed with another public key, or was changed since")
	// ErrPublic says that a text is not the public key of a seal key.
	ErrPublic = errors.New("not the public key of a seal key: X and 55 further letters and digits")
)

// Text seals a text for the holder of the public key.
func Text(public string, plain []byte) (string, error) {
	sealed, err := sealFor(public, purposeText, plain)
	if err != nil {
		return "", err
	}
	return Prefix + version1 + base64.RawURLEncoding.EncodeToString(sealed), nil
}

// OpenText opens a sealed text. Errors are [ErrForm] and [ErrKey].
func (k *Key) OpenText(sealed string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(sealed, Prefix+version1)
	if !ok || strings.ContainsAny(encoded, "\r\n") {
		return nil, ErrForm
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil, ErrForm
	}
	return k.open(data, purposeText)
}

// Seal seals data for the key itself.
func (k *Key) Seal(plain []byte) ([]byte, error) { return sealFor(k.KeyID(), purposeData, plain) }

// Open opens what Seal sealed. Errors are [ErrForm] and [ErrKey].
func (k *Key) Open(sealed []byte) ([]byte, error) { return k.open(sealed, purposeData) }

func sealFor(public string, purpose byte, plain []byte) ([]byte, error) {
	if !nkeys.IsValidPublicCurveKey(public) || len(public) != senderLength {
		return nil, ErrPublic
	}
	sender, err := nkeys.CreateCurveKeys()
	if err != nil {
		return nil, fmt.Errorf("make a sender key: %w", err)
	}
	defer sender.Wipe()
	from, err := sender.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("make a sender key: %w", err)
	}
	box, err := sender.Seal(append([]byte{purpose}, plain...), public)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return append([]byte(from), box...), nil
}

func (k *Key) open(sealed []byte, purpose byte) ([]byte, error) {
	if len(sealed) <= senderLength {
		return nil, ErrForm
	}
	from, box := string(sealed[:senderLength]), sealed[senderLength:]
	if !nkeys.IsValidPublicCurveKey(from) {
		return nil, ErrForm
	}
	for _, p := range k.all {
		plain, err := p.curve.Open(box, from)
		if errors.Is(err, nkeys.ErrInvalidEncVersion) || errors.Is(err, nkeys.ErrInvalidEncrypted) {
			return nil, ErrForm
		}
		if err != nil {
			continue
		}
		if len(plain) == 0 || plain[0] != purpose {
			return nil, ErrForm
		}
		return plain[1:], nil
	}
	return nil, ErrKey
}
