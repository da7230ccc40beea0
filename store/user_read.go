package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// userColumnsOf are the columns of a user u, with roles, organizations and the number of identities as subqueries, so
// that they are looked up only for the users that are read. A grant begins with + or, when what it grants is withdrawn,
// with -.
func userColumnsOf(postgres bool) string {
	roles := `(select json_group_array(name) from (select case when r.removed_at is null then '+' else '-' end || r.name as name from user_roles g
		join roles r on r.tenant_id = g.tenant_id and r.id = g.role_id
		where g.tenant_id = u.tenant_id and g.user_id = u.id order by 1))`
	organizations := `(select json_group_array(pair) from (select case when o.removed_at is null and r.removed_at is null then '+' else '-' end ||
		g.organization_id || '/' || g.role_id as pair from user_organizations g
		join organizations o on o.tenant_id = g.tenant_id and o.id = g.organization_id
		join roles r on r.tenant_id = g.tenant_id and r.id = g.role_id
		where g.tenant_id = u.tenant_id and g.user_id = u.id order by 1))`
	if postgres {
		roles = `(select json_agg(case when r.removed_at is null then '+' else '-' end || r.name order by r.name)::text from user_roles g
		join roles r on r.tenant_id = g.tenant_id and r.id = g.role_id
		where g.tenant_id = u.tenant_id and g.user_id = u.id)`
		organizations = `(select json_agg(case when o.removed_at is null and r.removed_at is null then '+' else '-' end ||
		g.organization_id || '/' || g.role_id order by g.organization_id, g.role_id)::text from user_organizations g
		join organizations o on o.tenant_id = g.tenant_id and o.id = g.organization_id
		join roles r on r.tenant_id = g.tenant_id and r.id = g.role_id
		where g.tenant_id = u.tenant_id and g.user_id = u.id)`
	}
	return `u.tenant_id, u.id, u.email, u.email_key, u.email_verified, coalesce(u.email_reserved, false),
	u.identity_name, u.identity_name_key, coalesce(u.name_skeleton, ''), u.name,
	u.display_name, u.first_name, u.last_name, u.auth_provider, u.avatar, u.is_owner, u.password_hash, u.created_by,
	u.created_at, u.updated_at, u.revision,
	(select count(*) from identities d where d.tenant_id = u.tenant_id and d.user_id = u.id), ` + roles + `, ` + organizations
}

// scanUser reads a row of userColumnsOf, after the given columns before it.
func scanUser(rows *sql.Rows, before ...any) (User, error) {
	var u User
	var created, updated stamp
	var nameKey sql.NullString
	var roles, organizations list
	err := rows.Scan(append(before, &u.TenantID, &u.ID, &u.Email, &u.EmailKey, &u.EmailVerified, &u.EmailReserved,
		&u.IdentityName, &nameKey, &u.NameSkeleton, &u.Name, &u.DisplayName, &u.FirstName, &u.LastName, &u.AuthProvider, &u.Avatar, &u.IsOwner, &u.PasswordHash,
		&u.CreatedBy, &created, &updated, &u.Revision, &u.HasIdentity, &roles, &organizations)...)
	u.IdentityNameKey, u.CreatedAt, u.UpdatedAt = nameKey.String, created.Time, updated.Time
	u.Roles = u.granted(roles)
	if strings.HasPrefix(u.NameSkeleton, noSkeleton) {
		u.NameSkeleton = ""
	}
	for _, pair := range u.granted(organizations) {
		organization, role, _ := strings.Cut(pair, "/")
		u.Organizations = append(u.Organizations, UserOrganization{OrganizationID: organization, RoleID: role})
	}
	return u, err
}

// granted returns those of the grants that are in force, and notes whether there are others.
func (u *User) granted(grants []string) []string {
	var out []string
	for _, g := range grants {
		name, ok := strings.CutPrefix(g, "+")
		if !ok {
			u.Withdrawn = true
			continue
		}
		out = append(out, name)
	}
	return out
}

func findUsersQuery(q querier) string {
	return `select i.n, ` + userColumnsOf(q.postgres) + ` from %s i ` +
		q.join("users", "u", "u.tenant_id = i.tenant and u.id = i.id")
}

func userRefColumns(refs []*userRef) *columns {
	c := newColumns(len(refs))
	c.number("n", "integer")
	c.uuid("tenant", func(i int) string { return refs[i].tenant })
	c.uuid("id", func(i int) string { return refs[i].id })
	return c
}

func findUsers(ctx context.Context, q querier, refs []*userRef) error {
	for start := 0; start < len(refs); start += findChunk {
		some := refs[start:min(start+findChunk, len(refs))]
		err := q.each(ctx, findUsersQuery(q), userRefColumns(some), func(rows *sql.Rows) error {
			var n int
			u, err := scanUser(rows, &n)
			some[n].user = &u
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Users lists users of one tenant.
func (s *Store) Users(ctx context.Context, f UserFilter) ([]User, error) {
	var w where
	w.uuid("u.tenant_id = ?", f.Tenant)
	w.eq("u.email_key", f.Email)
	w.eq("u.created_by", f.Source)
	if f.After != "" {
		w.uuid("u.id > ?", f.After)
	}
	return s.users(ctx, w, limit(f.Limit))
}

// User returns the user of the given id, or ErrNotFound.
func (s *Store) User(ctx context.Context, tenant, id string) (User, error) {
	var w where
	w.uuid("u.tenant_id = ?", tenant)
	w.uuid("u.id = ?", id)
	users, err := s.users(ctx, w, 1)
	if err != nil {
		return User{}, err
	}
	if len(users) == 0 {
		return User{}, fmt.Errorf("user %s of tenant %s: %w", id, tenant, ErrNotFound)
	}
	return users[0], nil
}

func (s *Store) users(ctx context.Context, w where, n int) ([]User, error) {
	if w.bad { // PostgreSQL would refuse them
		return nil, nil
	}
	var users []User
	q := querier{postgres: s.postgres(), query: s.read.QueryContext}
	query := `select ` + userColumnsOf(q.postgres) + ` from users u` + w.String() + ` order by u.tenant_id, u.id limit ?`
	err := q.rows(ctx, s.read.Rebind(query), append(w.args, n), func(rows *sql.Rows) error {
		u, err := scanUser(rows)
		users = append(users, u)
		return err
	})
	return users, classify(ctx, err)
}

// OwnersWithoutLogin lists the owners of tenants who have no external identity, in the order of their tenants.
func (s *Store) OwnersWithoutLogin(ctx context.Context) ([]User, error) {
	var w where
	w.add("u.is_owner")
	w.add("not exists (select 1 from identities d where d.tenant_id = u.tenant_id and d.user_id = u.id)")
	return s.users(ctx, w, maxOwners)
}

// maxOwners bounds a list of owners; a tenant has one at most.
const maxOwners = 10_000
