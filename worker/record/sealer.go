package record

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/idpsync/idpsync/providers"
)

// A Sealer keeps dead letters from being read and from being invented: it seals what they hold and signs their records.
// All workers of a deployment share one. It is safe for concurrent use.
type Sealer interface {
	KeyID() string           // of the sealing key, public
	Holds(keyID string) bool // whether that key is one of those in use
	Seal(plain []byte) ([]byte, error)
	Open(sealed []byte) ([]byte, error)
	Sign(data []byte) []byte
	Verify(data, signature []byte) bool
}

// ErrRecord is returned for a dead letter whose record is not one that a worker of this deployment wrote.
var ErrRecord = errors.New("not a dead letter of this deployment")

// The headers by which a record is sealed and signed.
const (
	deadLetterKeyID         = DeadLetterPrefix + "Key-Id"
	deadLetterSealedHeaders = DeadLetterPrefix + "Sealed-Headers" // credential headers, sealed
	deadLetterSignature     = DeadLetterPrefix + "Sig"
)

// seal replaces body and credential headers of a dead letter by their sealed forms, and signs the record.
func seal(v Sealer, out *Outgoing, secret providers.Header) error {
	sealed, err := v.Seal(out.Data)
	if err != nil {
		return fmt.Errorf("seal a dead letter: %w", err)
	}
	if len(secret) > 0 {
		h, err := v.Seal(Marshal(secret))
		if err != nil {
			return fmt.Errorf("seal the headers of a dead letter: %w", err)
		}
		out.Header[deadLetterSealedHeaders] = []string{base64.RawURLEncoding.EncodeToString(h)}
	}
	out.Data = sealed
	sign(v, out)
	return nil
}

// sign signs the record as it is.
func sign(v Sealer, out *Outgoing) {
	out.Header[deadLetterKeyID] = []string{v.KeyID()}
	out.Header[deadLetterSignature] = []string{base64.RawURLEncoding.EncodeToString(v.Sign(recordDigest(out.Header, out.Data)))}
}

// recordDigest is what is signed: every header of the record in a fixed order, and the body as it is stored.
func recordDigest(h providers.Header, body []byte) []byte {
	var names []string
	for name := range h {
		if strings.HasPrefix(name, DeadLetterPrefix) && name != deadLetterSignature {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	sum := sha256.New()
	field := func(s string) { fmt.Fprintf(sum, "%d:%s", len(s), s) }
	for _, name := range names {
		field(name)
		fmt.Fprintf(sum, "%d=", len(h[name]))
		for _, v := range h[name] {
			field(v)
		}
	}
	hash := sha256.Sum256(body)
	return sum.Sum(hash[:])
}

// An Original is the event of a dead letter as it was when it arrived. It may hold a token, an assertion or a password.
type Original struct {
	Subject string
	Header  providers.Header
	Data    []byte
}

// Unseal returns the event of a dead letter, once its signature is verified. Errors are of class [ErrRecord].
func Unseal(v Sealer, header providers.Header, data []byte) (Original, error) {
	if header.Get(archiveOutcome) != "" {
		return Original{}, fmt.Errorf("%w: it is an archived event", ErrRecord)
	}
	return unseal(v, header, data)
}

// unseal returns the event of a record, once its signature is verified.
func unseal(v Sealer, header providers.Header, data []byte) (Original, error) {
	signature, err := base64.RawURLEncoding.DecodeString(header.Get(deadLetterSignature))
	if err != nil || !v.Verify(recordDigest(header, data), signature) {
		return Original{}, fmt.Errorf("%w: the signature does not hold, or was made with another key than %s", ErrRecord, v.KeyID())
	}
	if header.Get(DeadLetterCounted) != "" {
		return Original{}, fmt.Errorf("%w: %w", ErrRecord, ErrSummary)
	}
	body, err := v.Open(data)
	if err != nil {
		return Original{}, fmt.Errorf("%w: the body cannot be opened with key %s: %w", ErrRecord, v.KeyID(), err)
	}
	carried, body, err := carriedHeaders(header, body)
	if err != nil {
		return Original{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	o := Original{Subject: header.Get(DeadLetterSubjectHeader), Header: providers.Header{}, Data: body}
	for name, values := range carried {
		o.Header[name] = values
	}
	for name, values := range header {
		if original, ok := strings.CutPrefix(name, DeadLetterOriginalPrefix); ok {
			o.Header[original] = values
		}
	}
	if s := header.Get(deadLetterSealedHeaders); s != "" {
		var secret providers.Header
		sealed, err := base64.RawURLEncoding.DecodeString(s)
		if err == nil {
			sealed, err = v.Open(sealed)
		}
		if err == nil {
			err = json.Unmarshal(sealed, &secret)
		}
		if err != nil {
			return Original{}, fmt.Errorf("%w: its sealed headers cannot be opened: %w", ErrRecord, err)
		}
		for name, values := range secret {
			o.Header[name] = values
		}
	}
	return o, nil
}
