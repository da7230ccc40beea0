package providers

import (
	"log/slog"
	"time"
)

// CreateUser is the one request that every source's events become: a person to be created, or found.
//
// Verify returns it verified: Principal, Identity and EmailVerified are proved by cryptography. All other fields are
// what the source says, not yet validated.
type CreateUser struct {
	Principal    Principal
	Shape        Shape
	AuthProvider string    // local, oidc or saml
	Identity     *Identity // the external identity that logged in; nil for commands and feeds

	Email         string
	EmailVerified bool   // proved by the source (SPEC section 7), never by a string "true"
	EmailUnproved string // why a login does not prove it, in words without its value; ""
	EmailMissing  string // where a login's address was looked for in vain; ""

	Name         string // tenant shape
	IdentityName string // organization shape, as are the three below
	DisplayName  string
	FirstName    string
	LastName     string

	Roles         Claim[string]           // names of tenant roles
	Organizations Claim[OrganizationRole] // roles in organizations
	Avatar        string                  // data URI

	Password     Secret // plain; only for AuthProvider local
	PasswordHash Secret // PHC or crypt string, in place of Password

	Attributes map[string]any // what a policy may read of the source's claims
	UsedID     *UsedID        // an id that is good for one event only
	Faults     []Fault        // fields that could not be read or mapped
}

// A Principal is who asks: a source by its own signature, or a credential.
type Principal struct {
	Kind   PrincipalKind `json:"kind,omitempty"`
	Tenant string        `json:"tenant,omitempty"` // lower-case UUID from the source's or credential's own record, never from the event
	ID     string        `json:"id,omitempty"`     // source name, or credential id
	Name   string        `json:"name,omitempty"`   // for people
	Grants []string      `json:"grants,omitempty"` // names of all roles that it may ever grant
}

// PrincipalKind tells sources from credentials.
type PrincipalKind string

// The kinds of principal, as the Cedar schema names them.
const (
	PrincipalSource     PrincipalKind = "Source"
	PrincipalCredential PrincipalKind = "Credential"
)

// An Identity is the key of an external identity within a tenant: issuer and subject, compared byte for byte and never
// folded (OpenID Connect Core 1.0 section 5.7; SAML 2.0 core section 2.2). An e-mail address is never part of it.
type Identity struct {
	Issuer  string
	Subject string
}

// An OrganizationRole is a role in an organization, both by id as the source wrote them.
type OrganizationRole struct {
	OrganizationID string
	RoleID         string
}

// A Claim is a list whose absence means something. Its states are absent (Present false), empty (Present, no Values) and
// filled; the fourth, malformed, is a [Fault] of the field.
type Claim[T any] struct {
	Present bool
	Values  []T
}

// UsedID is an identifier that must not be used by another event before Until: the ID of a SAML assertion.
type UsedID struct {
	ID    string
	Until time.Time
}

// A Fault says what is wrong with one field. Faults of a request are reported all at once.
type Fault struct {
	Field   string `json:"field"` // JSON path as the sender knows it, as in organizations[1].roleId
	Code    string `json:"code"`  // required, invalid, too_long, not_allowed, unknown
	Message string `json:"message"`
}

// A Secret is a string that prints as [redacted] in logs, in formatted text and in JSON.
type Secret string

// String implements fmt.Stringer.
func (Secret) String() string { return "[redacted]" }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return "[redacted]" }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// MarshalText implements encoding.TextMarshaler.
func (Secret) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }
