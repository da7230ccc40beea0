package providers

import (
	"context"
	"errors"
	"time"
)

// ErrNoCredential is returned by [Credentials] when there is no credential of that id.
var ErrNoCredential = errors.New("no such credential")

// A Credential is what an administrator or a feed proves itself with. It is bound to one tenant and its grants.
type Credential struct {
	ID         string // public part
	Tenant     string // lower-case UUID
	Name       string
	SecretHash []byte // SHA-256 of the secret part, which is 256 random bits
	Grants     []string
	ExpiresAt  time.Time // zero: never
	RevokedAt  time.Time // zero: not revoked
}

// Credentials finds credentials by their public part. Implementations are safe for concurrent use, and may be some
// seconds behind the store.
type Credentials interface {
	// Credential returns the credential of the given id, revoked and expired ones too, or ErrNoCredential.
	Credential(ctx context.Context, id string) (Credential, error)
	// Used notes that the credential was used at the time at. It does not block on the store.
	Used(id string, at time.Time)
}
