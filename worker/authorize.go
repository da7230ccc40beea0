package worker

import (
	"context"
	"time"

	"github.com/idpsync/idpsync/providers"
)

// An Authorizer asks the policies. It is safe for concurrent use and does no I/O.
type Authorizer interface {
	// Authorize decides one request. It never fails open: an evaluation error is a denial with PolicyError set.
	Authorize(ctx context.Context, req AuthorizationRequest) Decision
}

// AuthorizationRequest is all that policies may know of a validated request: who asks, to create whom, with what.
type AuthorizationRequest struct {
	Tenant     string // lower-case UUID
	TenantName string
	Principal  providers.Principal
	// PrincipalTenant is the tenant that the source or credential itself belongs to, from its own record and never copied
	// from Tenant: policies compare the two. A request without it is denied.
	PrincipalTenant string
	SourceKind      providers.Kind // kind of the principal's source; command for credentials
	Source          string         // source name
	Issuer          string         // of the identity; "" for commands and feeds
	Door            providers.Door
	Shape           providers.Shape

	AuthProvider  string
	EmailDomain   string // canonical
	EmailVerified bool
	Existing      bool // the user exists already

	Roles         []RequestedRole         // tenant roles to grant
	Organizations []RequestedOrganization // roles to grant in organizations

	Attributes map[string]any // claims chosen by the source
	Replayed   bool
	Age        time.Duration // of the event when it is decided
	Owner      bool          // the request would make the user the tenant's owner; only configuration can
}

// RequestedRole is a role of the tenant's directory that a request asks for.
type RequestedRole struct {
	Tenant string // of the role's own record; a role without it, or of another tenant, is denied
	ID     string // lower-case UUID
	Name   string
}

// RequestedOrganization is a role in an organization that a request asks for.
type RequestedOrganization struct {
	Tenant           string // of the organization's and the role's own records, as in RequestedRole
	OrganizationID   string
	OrganizationName string
	RoleID           string
	RoleName         string
}

// A Decision is what the policies said.
//
// Allow answers for the user, Denied for the roles: a request that may create the user but not grant all of its roles
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
