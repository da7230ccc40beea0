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
	SourceKind providers.Kind // kind of the principal's source; command for credentials
	Source     string         // source name
	Issuer     string         // of the identity; "" for commands and feeds
	Door       providers.Door
	Shape      providers.Shape

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
	ID   string
	Name string
}

// RequestedOrganization is a role in an organization that a request asks for.
type RequestedOrganization struct {
	OrganizationID   string
	OrganizationName string
	RoleID           string
	RoleName         string
}

// A Decision is what the policies said.
type Decision struct {
	Allow       bool
	PolicyError bool     // a policy could not be evaluated; always a denial
	Policies    []string // ids of the determining policies, sorted
	Notices     []string // their @notice annotations, sorted
	Denied      []DeniedGrant
}

// DeniedGrant is a role that the principal may not grant here. OrganizationID is "" for a tenant role.
type DeniedGrant struct {
	Role           string // name
	OrganizationID string
	Policies       []string
	Notices        []string
}
