package store

import "time"

// A Credential is what an administrator or a feed proves itself with.
type Credential struct {
	ID         string // public part
	Tenant     string // lower-case UUID
	Name       string
	SecretHash []byte // SHA-256 of the secret part
	Grants     []string
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
	RevokedAt  time.Time // zero: not revoked
	LastUsedAt time.Time // zero: never
}
