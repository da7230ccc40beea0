package record

import (
	"time"

	"github.com/idpsync/idpsync/providers"
)

// AuthorizationRequest is all that policies may know of a validated request: who asks, to create whom, with what. Its
// JSON form is kept in the ledger, so that other policies can be asked later; it holds no address and no secret.
type AuthorizationRequest struct {
	Action     Action              `json:"action,omitempty"` // "" is taken for [ActionCreate]
	Tenant     string              `json:"tenant,omitempty"` // lower-case UUID
	TenantName string              `json:"tenant_name,omitempty"`
	Principal  providers.Principal `json:"principal,omitempty"`
	// PrincipalTenant is the tenant that the source or credential itself belongs to, from its own record and never copied
	// from Tenant: policies compare the two. A request without it is denied.
	PrincipalTenant string          `json:"principal_tenant,omitempty"`
	SourceKind      providers.Kind  `json:"kind,omitempty"`   // kind of the principal's source; command for credentials
	Source          string          `json:"source,omitempty"` // source name
	Issuer          string          `json:"issuer,omitempty"` // of the identity; "" for commands and feeds
	Door            providers.Door  `json:"door,omitempty"`
	Shape           providers.Shape `json:"shape,omitempty"`

	AuthProvider  string `json:"auth_provider,omitempty"`
	EmailDomain   string `json:"email_domain,omitempty"` // canonical
	EmailVerified bool   `json:"email_verified,omitempty"`
	Existing      bool   `json:"existing,omitempty"` // the user exists already

	Roles         []RequestedRole         `json:"roles,omitempty"`         // tenant roles to grant
	Organizations []RequestedOrganization `json:"organizations,omitempty"` // roles to grant in organizations

	// Linking says that the login would get the account of a user who is there and whom it has not logged in before, with
	// all that the user may do. UserRoles and UserOrganizations are that user's roles.
	Linking           bool                    `json:"linking,omitempty"`
	UserRoles         []RequestedRole         `json:"user_roles,omitempty"`
	UserOrganizations []RequestedOrganization `json:"user_organizations,omitempty"`

	Attributes map[string]any `json:"attributes,omitempty"` // claims chosen by the source
	Replayed   bool           `json:"replayed,omitempty"`
	Age        time.Duration  `json:"age,omitempty"`   // of the event when it is decided
	Owner      bool           `json:"owner,omitempty"` // the event would make its user the tenant's owner
}

// RequestedRole is a role of the tenant's directory that a request asks for, or that the user to be linked has.
type RequestedRole struct {
	Tenant string `json:"tenant,omitempty"` // of the role's own record; a role without it, or of another tenant, is denied
	ID     string `json:"id,omitempty"`     // lower-case UUID
	Name   string `json:"name,omitempty"`
}

// RequestedOrganization is a role in an organization that a request asks for, or that the user to be linked has.
type RequestedOrganization struct {
	Tenant           string `json:"tenant,omitempty"` // of the organization's and the role's own records, as in RequestedRole
	OrganizationID   string `json:"organization_id,omitempty"`
	OrganizationName string `json:"organization_name,omitempty"`
	RoleID           string `json:"role_id,omitempty"`
	RoleName         string `json:"role_name,omitempty"`
}

// A Decision is what the policies said.
//
// Allow answers for the user, and for the link when the request is one; Denied answers for the roles: a request that may create the user but not grant all of its roles
// has Allow set and Denied filled, and the caller rejects it or drops those roles, as the source's on_denied_role says.
type Decision struct {
	Allow       bool
	PolicyError bool     // a policy could not be evaluated; always a denial
	Policies    []string // ids of the determining policies, sorted, without those of Denied; after an error the ones that failed
	Notices     []string // their @notice annotations, sorted
	Denied      []DeniedGrant
	Errors      []string // with PolicyError: what failed, for logs and the alarm, never for the sender
}

// DeniedGrant is a role that the principal may not grant here. OrganizationID is "" for a tenant role.
type DeniedGrant struct {
	Role           string // name
	OrganizationID string
	Policies       []string
	Notices        []string
}

// Name is the role as people read it: with its organization, if it is for one.
func (d DeniedGrant) Name() string {
	if d.OrganizationID == "" {
		return d.Role
	}
	return d.Role + "@" + d.OrganizationID
}
