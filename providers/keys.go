package providers

import (
	"context"
	"time"
)

// A Key is one signing key or certificate that a source's issuer has published, with the times at which it was known.
type Key struct {
	ID         string // JWK kid, or "" ; for a certificate the hex SHA-256 of its DER form
	Thumbprint string // RFC 7638 thumbprint (base64url), or the certificate's SHA-256; unique within an issuer
	Algorithm  string // JWK alg, or ""
	Material   []byte // public JWK as JSON, or certificate in DER form
	FirstSeen  time.Time
	LastSeen   time.Time
	RetiredAt  time.Time // zero while published; else when it was first found missing from a successful answer
}

// Keys is the history of the keys of every issuer, kept so that an event that was signed before a rotation still
// verifies. Implementations are safe for concurrent use.
type Keys interface {
	// Keys returns all keys ever observed for issuer by the source, in no order. None is not an error.
	Keys(ctx context.Context, tenant, source, issuer string) ([]Key, error)
	// Observe records that issuer published exactly these keys at the time at: unknown ones are added, known ones have
	// LastSeen moved to at and RetiredAt cleared, and those not among them have RetiredAt set to at unless it is set.
	// An observation older than the last one changes nothing that is newer. Workers may observe at the same time.
	Observe(ctx context.Context, tenant, source, issuer string, published []Key, at time.Time) error
}
