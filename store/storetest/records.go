package storetest

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/idpsync/idpsync/store"
)

// Ids of the directory that [Seed] applies.
const (
	Acme          = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0" // a tenant
	Globex        = "3489e9ad-2ee2-8e00-8ec9-32d5f69181c0" // another one, with roles of the same names
	AcmeUser      = "6f1c0c5e-0000-4000-8000-0000000000a1" // tenant role user
	AcmeAdmin     = "6f1c0c5e-0000-4000-8000-0000000000a2" // tenant role admin
	AcmeViewer    = "6f1c0c5e-0000-4000-8000-0000000000a3" // organization role viewer
	AcmeSales     = "0a000000-0000-4000-8000-0000000000a1" // organization
	AcmeSupport   = "0a000000-0000-4000-8000-0000000000a2" // organization
	GlobexUser    = "6f1c0c5e-0000-4000-8000-0000000000b1"
	GlobexViewer  = "6f1c0c5e-0000-4000-8000-0000000000b3"
	GlobexOffice  = "0a000000-0000-4000-8000-0000000000b1"
	Issuer        = "https://acme.okta.example"
	SourceLogins  = "okta"
	SourceFeed    = "workday"
	CreatedByTest = "storetest"
)

// Time is the time of all records made here, with a fraction that no database may lose.
var Time = time.Date(2026, 8, 30, 12, 34, 56, 789_123_000, time.UTC)

// Directory is a directory of two tenants.
func Directory() store.Directory {
	return store.Directory{
		Tenants: []store.Tenant{
			{ID: Acme, Name: "acme", Owner: "Owner@acme.example", OwnerKey: "owner@acme.example", DefaultRoles: []string{"user"}},
			{ID: Globex, Name: "globex"},
		},
		Roles: []store.Role{
			{ID: AcmeViewer, TenantID: Acme, Name: "viewer", Scope: store.ScopeOrganization},
			{ID: AcmeAdmin, TenantID: Acme, Name: "admin", Scope: store.ScopeTenant},
			{ID: AcmeUser, TenantID: Acme, Name: "user", Scope: store.ScopeTenant},
			{ID: GlobexViewer, TenantID: Globex, Name: "viewer", Scope: store.ScopeOrganization},
			{ID: GlobexUser, TenantID: Globex, Name: "user", Scope: store.ScopeTenant},
		},
		Organizations: []store.Organization{
			{ID: AcmeSales, TenantID: Acme, Name: "Sales"},
			{ID: AcmeSupport, TenantID: Acme, Name: "Support"},
			{ID: GlobexOffice, TenantID: Globex, Name: "Office"},
		},
		Sources: []store.Source{
			{TenantID: Acme, Name: SourceLogins, Kind: "oidc", Config: []byte(`{"issuer":"` + Issuer + `"}`)},
			{TenantID: Acme, Name: SourceFeed, Kind: "feed", Config: []byte(`{"format":"user"}`)},
		},
		Policies: []store.Policy{{Name: "builtin.cedar", Text: "permit (principal, action, resource);\n"}},
	}
}

// Seed applies [Directory] to an empty store and returns it as it is stored.
func Seed(t testing.TB, s *store.Store) store.Directory {
	t.Helper()
	if _, err := s.ApplyDirectory(t.Context(), 0, Directory(), CreatedByTest, Time); err != nil {
		t.Fatalf("seed the store: %v", err)
	}
	d, err := s.Directory(t.Context())
	if err != nil {
		t.Fatalf("seed the store: %v", err)
	}
	return d
}

// User makes a user of the tenant, another one for each n.
func User(tenant string, n int) store.User {
	return store.User{
		ID: uuid.Must(uuid.NewV7()).String(), TenantID: tenant,
		Email: fmt.Sprintf("User%07d@acme.example", n), EmailKey: fmt.Sprintf("user%07d@acme.example", n), EmailReserved: true,
		IdentityName: fmt.Sprintf("User%07d", n), IdentityNameKey: fmt.Sprintf("user%07d", n), NameSkeleton: fmt.Sprintf("user%07d", n),
		Name: fmt.Sprintf("User Number %d", n), DisplayName: fmt.Sprintf("User Number %d", n), FirstName: "User", LastName: fmt.Sprintf("Number %d", n),
		AuthProvider: "oidc", CreatedBy: SourceFeed, CreatedAt: Time, UpdatedAt: Time, Revision: 1,
	}
}

// Identity makes an external identity of the user.
func Identity(u store.User, subject string) store.Identity {
	return store.Identity{TenantID: u.TenantID, Kind: "oidc", Issuer: Issuer, Subject: subject, UserID: u.ID, Source: SourceLogins, CreatedAt: Time}
}

// Event makes the ledger row of an event that created the user.
func Event(u store.User, id string) store.Event {
	hash := sha256.Sum256([]byte(id))
	return store.Event{
		TenantID: u.TenantID, Source: SourceFeed, EventID: id, PayloadHash: hash[:], Outcome: "created", Status: 201, UserID: u.ID,
		Result:        fmt.Appendf(nil, `{"id":%q, "tenant_id":%q,"email":%q,"name":%q,"roles":["user"],"auth_provider":"oidc","is_owner":false}`, u.ID, u.TenantID, u.Email, u.Name),
		ResultHeaders: []byte(`{"Idpsync-Status":["201"]}`), Attempt: 1, Policies: []string{"builtin.cedar:0"}, Door: "stream", Origin: "IDPSYNC_EVENTS/1800000000/1", StoredAt: Time, At: Time,
	}
}

// Grant makes a grant of the tenant role to the user.
func Grant(u store.User, roleID string) store.RoleGrant {
	return store.RoleGrant{TenantID: u.TenantID, UserID: u.ID, RoleID: roleID, Source: SourceFeed, EventID: "e1", At: Time}
}

// OrganizationGrant makes a grant of the role in the organization to the user.
func OrganizationGrant(u store.User, organizationID, roleID string) store.OrganizationGrant {
	return store.OrganizationGrant{TenantID: u.TenantID, UserID: u.ID, OrganizationID: organizationID, RoleID: roleID, Source: SourceFeed, EventID: "e1", At: Time}
}

// Creates makes what a batch writes for n new users of Acme, numbered from first on.
func Creates(first, n int) store.Write {
	var w store.Write
	for i := first; i < first+n; i++ {
		u := User(Acme, i)
		w.Users = append(w.Users, u)
		w.RoleGrants = append(w.RoleGrants, Grant(u, AcmeUser))
		w.Events = append(w.Events, Event(u, fmt.Sprintf("e%d", i)))
	}
	return w
}
