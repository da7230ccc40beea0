package store

import "time"

// A SourceKey is one signing key or certificate that a source's issuer has published.
type SourceKey struct {
	ID         string // JWK kid, or "" ; for a certificate the hex SHA-256 of its DER form
	Thumbprint string // unique within tenant, source and issuer
	Algorithm  string
	Material   []byte
	FirstSeen  time.Time
	LastSeen   time.Time
	RetiredAt  time.Time // zero while published
}
