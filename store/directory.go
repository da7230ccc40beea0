package store

// The scopes of a role.
const (
	ScopeTenant       = "tenant"
	ScopeOrganization = "organization"
)

// A Directory is all that is declared. Its slices are sorted: tenants by id, roles by tenant, scope and name,
// organizations by tenant and id, sources by tenant and name, policies by name.
type Directory struct {
	Revision      int64
	Tenants       []Tenant
	Roles         []Role
	Organizations []Organization
	Sources       []Source
	Policies      []Policy
}

// A Tenant owns everything else.
type Tenant struct {
	ID           string // lower-case UUID
	Name         string
	Owner        string // e-mail as given; "" means none
	OwnerKey     string // its canonical form
	DefaultRoles []string
}

// A Role can be granted in a tenant, or in an organization of it.
type Role struct {
	ID       string // lower-case UUID; "" when applied: the id that this name had, else one derived from it
	TenantID string
	Name     string // unique in tenant and scope
	Scope    string
}

// An Organization is a part of a tenant.
type Organization struct {
	ID       string // lower-case UUID
	TenantID string
	Name     string
}

// A Source is a configured instance that events come from.
type Source struct {
	TenantID string
	Name     string
	Kind     string
	Config   []byte // JSON, byte for byte
}

// A Policy is one Cedar document.
type Policy struct {
	Name string
	Text string
}
