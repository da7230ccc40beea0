package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/rules"
)

// userItem is a user with what either shape of the API answers, in the names of that shape, and what only operators
// see. Its avatar is left to the API.
type userItem struct {
	ID            string             `json:"id"`
	TenantID      string             `json:"tenant_id"`
	Email         string             `json:"email"`
	EmailVerified bool               `json:"email_verified"`
	Name          string             `json:"name"`
	Roles         []string           `json:"roles"`
	AuthProvider  string             `json:"auth_provider"`
	IsOwner       bool               `json:"is_owner"`
	IdentityName  string             `json:"identityName"`
	DisplayName   string             `json:"displayName"`
	FirstName     string             `json:"firstName"`
	LastName      string             `json:"lastName"`
	Organizations []organizationItem `json:"organizations"`
	CreatedBy     string             `json:"created_by"`
	CreatedAt     *string            `json:"created_at"`
	UpdatedAt     *string            `json:"updated_at"`
	Identities    []identityItem     `json:"identities,omitempty"`
}

type organizationItem struct {
	OrganizationID string `json:"organizationId"`
	RoleID         string `json:"roleId"`
}

type identityItem struct {
	Issuer    string  `json:"issuer"`
	Subject   string  `json:"subject"`
	Source    string  `json:"source"`
	CreatedAt *string `json:"created_at"`
}

func itemOf(u store.User) userItem {
	item := userItem{
		ID: u.ID, TenantID: u.TenantID, Email: u.Email, EmailVerified: u.EmailVerified, Name: u.Name, Roles: u.Roles,
		AuthProvider: u.AuthProvider, IsOwner: u.IsOwner, IdentityName: u.IdentityName, DisplayName: u.DisplayName,
		FirstName: u.FirstName, LastName: u.LastName, Organizations: []organizationItem{}, CreatedBy: u.CreatedBy,
		CreatedAt: stamp(u.CreatedAt), UpdatedAt: stamp(u.UpdatedAt),
	}
	if item.Roles == nil {
		item.Roles = []string{}
	}
	for _, o := range u.Organizations {
		item.Organizations = append(item.Organizations, organizationItem(o))
	}
	return item
}

type usersVerb struct {
	app                          *app
	tenant, email, source, after string
	limit                        int
	json                         bool
}

func newGetUsersCommand(a *app) *cobra.Command {
	v := usersVerb{app: a}
	cmd := &cobra.Command{
		Use:   "users [ID]",
		Short: "List users, or show one with its identities",
		Long: `List users, or show one with its identities.

With --json a user has the fields of both shapes of the API, whichever it was made through.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(cmd, func(ctx context.Context, st *store.Store, d store.Directory) error {
				tenants, err := v.tenants(d)
				if err != nil {
					return err
				}
				if len(args) > 0 {
					return v.one(ctx, st, d, tenants, args[0])
				}
				return v.list(ctx, st, d, tenants)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&v.tenant, "tenant", "", "id or name of one tenant; default all")
	f.StringVar(&v.email, "email", "", "only the user with this e-mail address")
	f.StringVar(&v.source, "source", "", "only users that this source created")
	f.IntVar(&v.limit, "limit", store.DefaultLimit, "most users to list")
	f.StringVar(&v.after, "after", "", "id of the last user of the page before; needs --tenant")
	jsonFlag(cmd, &v.json)
	a.addSettings(cmd, areaStore)
	return cmd
}

// tenants returns the ids to look in. An id that the directory does not have may be that of a withdrawn tenant.
func (v *usersVerb) tenants(d store.Directory) ([]string, error) {
	if v.limit < 1 {
		return nil, kit.Fail(kit.ExitUsage, "a number from 1", "--limit cannot be %d", v.limit)
	}
	if v.tenant == "" {
		if v.after != "" {
			return nil, kit.Fail(kit.ExitUsage, "name the tenant with --tenant", "--after needs --tenant")
		}
		ids := make([]string, len(d.Tenants))
		for i, t := range d.Tenants {
			ids[i] = t.ID
		}
		return ids, nil
	}
	if id, ok := parseUUID(v.tenant); ok {
		return []string{id}, nil
	}
	t, err := resolveTenant(d, v.tenant)
	return []string{t.ID}, err
}

func (v *usersVerb) list(ctx context.Context, st *store.Store, d store.Directory, tenants []string) error {
	f := store.UserFilter{Source: v.source, Limit: v.limit, After: v.after}
	if v.email != "" {
		email, err := rules.ParseEmail(v.email)
		if err != nil {
			return kit.Fail(kit.ExitUsage, "a bare address", "--email %q %w", v.email, err)
		}
		f.Email = email.Key
	}
	byID := tenantNames(d)
	items := []userItem{}
	l := listing{what: "users", heading: []string{"TENANT", "ID", "EMAIL", "NAME", "IDENTITY NAME", "PROVIDER", "ROLES", "ORGANIZATIONS", "OWNER", "FROM", "CREATED"}}
	for _, tenant := range tenants {
		f.Tenant, f.Limit = tenant, v.limit-len(items)
		if f.Limit <= 0 {
			break
		}
		users, err := st.Users(ctx, f)
		if err != nil {
			return kit.Fail(kit.ExitFailure, "check that the database is reachable", "users cannot be read: %w", err)
		}
		for _, u := range users {
			items = append(items, itemOf(u))
			owner := "-"
			if u.IsOwner {
				owner = "owner"
			}
			l.rows = append(l.rows, []string{
				dash(byID[u.TenantID]), u.ID, u.Email, u.Name, dash(u.IdentityName), u.AuthProvider, names(u.Roles),
				fmt.Sprint(len(u.Organizations)), owner, u.CreatedBy, when(u.CreatedAt, "-"),
			})
		}
	}
	if n := len(items); n == v.limit {
		last := items[n-1]
		l.more = fmt.Sprintf("--tenant %s --after %s continues, --limit N shows more at once", last.TenantID, last.ID)
	}
	l.items = items
	return v.app.print(l, v.json)
}

func (v *usersVerb) one(ctx context.Context, st *store.Store, d store.Directory, tenants []string, name string) error {
	id, ok := parseUUID(name)
	if !ok {
		return kit.Fail(kit.ExitUsage, "idpsync get users --email finds it by address", "%q is not the id of a user", name)
	}
	for _, tenant := range tenants {
		u, err := st.User(ctx, tenant, id)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return kit.Fail(kit.ExitFailure, "check that the database is reachable", "the user cannot be read: %w", err)
		}
		identities, err := st.Identities(ctx, store.IdentityFilter{Tenant: tenant, UserID: id})
		if err != nil {
			return kit.Fail(kit.ExitFailure, "check that the database is reachable", "the identities cannot be read: %w", err)
		}
		return v.show(d, u, identities)
	}
	return kit.Fail(kit.ExitPending, "idpsync get users lists them", "there is no user %s", id)
}

func (v *usersVerb) show(d store.Directory, u store.User, identities []store.Identity) error {
	item := itemOf(u)
	for _, i := range identities {
		item.Identities = append(item.Identities, identityItem{i.Issuer, i.Subject, i.Source, stamp(i.CreatedAt)})
	}
	if v.json {
		return printJSON(v.app.stdout, item)
	}
	verified := "not verified"
	if u.EmailVerified {
		verified = "verified"
	}
	rows := [][]string{
		{"id", u.ID},
		{"tenant", dash(tenantNames(d)[u.TenantID]) + " (" + u.TenantID + ")"},
		{"email", u.Email + " (" + verified + ")"},
		{"name", u.Name},
		{"identity name", dash(u.IdentityName)},
		{"display name", dash(u.DisplayName)},
		{"first, last name", dash(u.FirstName) + ", " + dash(u.LastName)},
		{"provider", u.AuthProvider},
		{"owner", fmt.Sprint(u.IsOwner)},
		{"roles", names(u.Roles)},
		{"created", when(u.CreatedAt, "-") + " by " + u.CreatedBy},
		{"updated", when(u.UpdatedAt, "-")},
	}
	organizations, roles := map[string]string{}, map[string]string{}
	for _, o := range d.Organizations {
		organizations[o.ID] = o.Name
	}
	for _, r := range d.Roles {
		roles[r.ID] = r.Name
	}
	for _, o := range u.Organizations {
		rows = append(rows, []string{"organization", fmt.Sprintf("%s as %s (%s, %s)", dash(organizations[o.OrganizationID]), dash(roles[o.RoleID]), o.OrganizationID, o.RoleID)})
	}
	for _, i := range identities {
		rows = append(rows, []string{"identity", i.Subject + " at " + i.Issuer + " (" + i.Source + ", " + when(i.CreatedAt, "-") + ")"})
	}
	return printTable(v.app.stdout, rows[0], rows[1:])
}
