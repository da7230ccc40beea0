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
	ID         string  // public part
	Tenant     string  // lower-case UUID
	Name       string  // a renewal is another credential of the same name
	Purpose    Purpose // what it may be used for
	SecretHash []byte  // SHA-256 of the secret part, which is 256 random bits
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

// Tokens proves bearer tokens that are no credentials of ours: JWTs of a tenant's OIDC sources whose configuration says
// that they may carry commands. Implementations are safe for concurrent use.
type Tokens interface {
	// VerifyToken proves token for the tenant at the time at and returns the source that it came from as principal, with
	// the source's grants. A token that no such source vouches for is of class ErrUnverified.
	VerifyToken(ctx context.Context, tenant, token string, at time.Time, trace *Trace) (Principal, error)
}

// A TokenVerifier is a [Provider] whose source's tokens may carry commands.
type TokenVerifier interface {
	// VerifyToken proves one of the source's own tokens, with every check that a login's ID token passes but the nonce, at
	// the time at. The principal is the source: its name as ID, its grants, and the token's subject in Name. Errors are
	// those of Verify.
	VerifyToken(ctx context.Context, token string, at time.Time, trace *Trace) (Principal, error)
}
