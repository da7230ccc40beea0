package store

import "time"

// A User is one person in one tenant, with all that either shape of the API answers.
type User struct {
	ID              string // lower-case UUID; version 7 keeps inserts cheap
	TenantID        string
	Email           string // as given
	EmailKey        string // canonical
	EmailVerified   bool
	EmailReserved   bool // EmailKey is unique among the reserved ones of the tenant; others may repeat
	IdentityName    string
	IdentityNameKey string // canonical; unique in the tenant unless ""
	NameSkeleton    string // of IdentityName: names that look alike share it; unique in the tenant unless ""
	Name            string
	DisplayName     string
	FirstName       string
	LastName        string
	AuthProvider    string // local, oidc or saml
	Avatar          string // data URI
	IsOwner         bool   // at most one in a tenant
	PasswordHash    string // PHC or crypt string; never log it
	CreatedBy       string // name of the source
	CreatedAt       time.Time
	UpdatedAt       time.Time

	Revision      int64              // counts the updates; read-only, see UserUpdate
	HasIdentity   int                // number of external identities; read-only
	Roles         []string           // names of the tenant roles granted and not withdrawn, sorted; read-only, see RoleGrant
	Organizations []UserOrganization // sorted, without withdrawn ones; read-only, see OrganizationGrant
	Withdrawn     bool               // some of its grants are of a withdrawn role or organization, and return with that; read-only
}

// skeleton is what is stored for NameSkeleton. A name without one gets a value that no skeleton has, as null stands for
// a user from before skeletons were kept.
func (u *User) skeleton() string {
	if u.NameSkeleton == "" {
		return noSkeleton + u.ID
	}
	return u.NameSkeleton
}

// noSkeleton begins the stored skeleton of a user who has none. A skeleton holds no control character.
const noSkeleton = "\x01"

// A UserOrganization is a role of a user in an organization, by id.
type UserOrganization struct {
	OrganizationID string
	RoleID         string
}

// An Identity is an external identity of a user. Issuer and subject compare byte for byte, and are unique in the tenant.
type Identity struct {
	TenantID  string
	Kind      string // of the source: with Issuer, the trust anchor that the identity belongs to; "" in a row that is not pinned yet
	Issuer    string
	Subject   string
	UserID    string
	Source    string
	CreatedAt time.Time
}

// A RoleGrant gives a user a tenant role. Granting again what is granted changes nothing.
type RoleGrant struct {
	TenantID string
	UserID   string
	RoleID   string
	Source   string
	EventID  string
	At       time.Time
}

// An OrganizationGrant gives a user a role in an organization. Granting again what is granted changes nothing.
type OrganizationGrant struct {
	TenantID       string
	UserID         string
	OrganizationID string
	RoleID         string
	Source         string
	EventID        string
	At             time.Time
}

// A UserUpdate changes an existing user. A nil field stays as it is. It applies only to the revision that was read; when
// the user has changed since, the write fails with [ErrRaced].
type UserUpdate struct {
	TenantID  string
	UserID    string
	Revision  int64 // User.Revision as it was read
	UpdatedAt time.Time

	EmailVerified   *bool
	EmailReserved   *bool
	IsOwner         *bool
	Name            *string
	DisplayName     *string
	FirstName       *string
	LastName        *string
	IdentityName    *string
	IdentityNameKey *string
	Avatar          *string
	AuthProvider    *string
	PasswordHash    *string
}

// A UserFilter selects users of one tenant, in the order of their ids.
type UserFilter struct {
	Tenant string // required
	Email  string // canonical form; "" means any
	Source string // that created them; "" means any
	Limit  int    // 0 means DefaultLimit
	After  string // id of the last user of the page before
}

// DefaultLimit is the number of rows in a page when a filter sets none.
const DefaultLimit = 100
