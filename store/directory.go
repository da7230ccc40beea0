package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
)

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
	Scope    string // "" when applied: ScopeTenant
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

// DirectoryRevision returns the number of the directory's last change; it is cheap enough to ask every second.
func (s *Store) DirectoryRevision(ctx context.Context) (int64, error) {
	var n int64
	return n, s.get(ctx, &n, "directory", `select revision from directory`)
}

// CredentialsRevision returns the number of the last change to any credential other than its use; cheap as well.
func (s *Store) CredentialsRevision(ctx context.Context) (int64, error) {
	var n int64
	return n, s.get(ctx, &n, "directory", `select credentials_revision from directory`)
}

// Directory returns all that is declared, as of one moment.
func (s *Store) Directory(ctx context.Context) (Directory, error) {
	var d Directory
	err := s.view(ctx, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &d.Revision, `select revision from directory`); err != nil {
			return err
		}
		rows, err := readDirectory(ctx, tx)
		d.Tenants, d.Roles, d.Organizations = active(rows.tenants), active(rows.roles), active(rows.organizations)
		d.Sources, d.Policies = active(rows.sources), rows.policies
		return err
	})
	if err != nil {
		return Directory{}, err
	}
	d.sort()
	return d, nil
}

// WithdrawnSources returns the sources that were declared once and are not any more.
func (s *Store) WithdrawnSources(ctx context.Context) ([]Source, error) {
	var rows []Source
	err := s.view(ctx, func(tx *sqlx.Tx) error {
		d, err := readDirectory(ctx, tx)
		for _, r := range d.sources {
			if r.removed {
				rows = append(rows, r.row)
			}
		}
		return err
	})
	slices.SortFunc(rows, func(a, b Source) int {
		return cmp.Or(cmp.Compare(a.TenantID, b.TenantID), cmp.Compare(a.Name, b.Name))
	})
	return rows, err
}

// ReplaceSourceConfig replaces the configuration of a declared source, and counts the directory's revision on. It fails
// with [ErrStaleDirectory] when the source is not as old says.
func (s *Store) ReplaceSourceConfig(ctx context.Context, old Source, config []byte, who string, when time.Time) error {
	return s.update(ctx, func(tx *sqlx.Tx) error {
		n, err := changed(tx.ExecContext(ctx, tx.Rebind(`update sources set config = ? where tenant_id = ? and name = ? and kind = ? and config = ? and removed_at is null`),
			blob(config), old.TenantID, old.Name, old.Kind, blob(old.Config)))
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w: source %s of tenant %s", ErrStaleDirectory, old.Name, old.TenantID)
		}
		if _, err := tx.ExecContext(ctx, `update directory set revision = revision + 1`); err != nil {
			return err
		}
		return audit(ctx, tx, AuditEntry{At: when, Tenant: old.TenantID, Who: who, Action: "source.pin", Object: old.Name})
	})
}

func (d *Directory) sort() {
	slices.SortFunc(d.Tenants, func(a, b Tenant) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(d.Roles, func(a, b Role) int {
		return cmp.Or(cmp.Compare(a.TenantID, b.TenantID), cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(d.Organizations, func(a, b Organization) int {
		return cmp.Or(cmp.Compare(a.TenantID, b.TenantID), cmp.Compare(a.ID, b.ID))
	})
	slices.SortFunc(d.Sources, func(a, b Source) int {
		return cmp.Or(cmp.Compare(a.TenantID, b.TenantID), cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(d.Policies, func(a, b Policy) int { return cmp.Compare(a.Name, b.Name) })
}

// A kept row of the directory may have been withdrawn.
type kept[T any] struct {
	row     T
	removed bool
}

// directoryRows are all rows, withdrawn ones too.
type directoryRows struct {
	tenants       []kept[Tenant]
	roles         []kept[Role]
	organizations []kept[Organization]
	sources       []kept[Source]
	policies      []Policy
}

func active[T any](rows []kept[T]) []T {
	var out []T
	for _, r := range rows {
		if !r.removed {
			out = append(out, r.row)
		}
	}
	return out
}

func readDirectory(ctx context.Context, tx *sqlx.Tx) (directoryRows, error) {
	var d directoryRows
	var rows []struct {
		ID           string
		TenantID     string `db:"tenant_id"`
		Name         string
		Owner        string
		OwnerKey     string `db:"owner_key"`
		DefaultRoles list   `db:"default_roles"`
		Scope        string
		Kind         string
		Config       blob
		RemovedAt    stamp `db:"removed_at"`
	}
	if err := tx.SelectContext(ctx, &rows, `select id, name, owner, owner_key, default_roles, removed_at from tenants`); err != nil {
		return d, err
	}
	for _, r := range rows {
		d.tenants = append(d.tenants, kept[Tenant]{Tenant{r.ID, r.Name, r.Owner, r.OwnerKey, r.DefaultRoles}, !r.RemovedAt.IsZero()})
	}
	rows = nil
	if err := tx.SelectContext(ctx, &rows, `select id, tenant_id, name, scope, removed_at from roles order by removed_at`); err != nil {
		return d, err
	}
	for _, r := range rows {
		d.roles = append(d.roles, kept[Role]{Role{r.ID, r.TenantID, r.Name, r.Scope}, !r.RemovedAt.IsZero()})
	}
	rows = nil
	if err := tx.SelectContext(ctx, &rows, `select id, tenant_id, name, removed_at from organizations`); err != nil {
		return d, err
	}
	for _, r := range rows {
		d.organizations = append(d.organizations, kept[Organization]{Organization{r.ID, r.TenantID, r.Name}, !r.RemovedAt.IsZero()})
	}
	rows = nil
	if err := tx.SelectContext(ctx, &rows, `select tenant_id, name, kind, config, removed_at from sources`); err != nil {
		return d, err
	}
	for _, r := range rows {
		d.sources = append(d.sources, kept[Source]{Source{r.TenantID, r.Name, r.Kind, r.Config}, !r.RemovedAt.IsZero()})
	}
	return d, tx.SelectContext(ctx, &d.policies, `select name, text from policies`)
}
