package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/store"
)

func newGetCommand(a *app) *cobra.Command {
	return group("get", "List what the store holds: the directory, users, events, the audit",
		directoryList(a, "tenants", "List the tenants", listTenants),
		directoryList(a, "roles", "List the roles of tenants", listRoles),
		directoryList(a, "organizations", "List the organizations of tenants", listOrganizations),
		directoryList(a, "sources", "List the sources of tenants", listSources),
		directoryList(a, "policies", "List the policies of the directory", listPolicies),
		newGetUsersCommand(a),
		newGetEventsCommand(a),
		newGetAuditCommand(a),
	)
}

// A listing is rows for people, and the same things for programs.
type listing struct {
	what    string // plural, for "no …"
	heading []string
	rows    [][]string
	items   any // printed with --json; never nil
	more    string
}

// print prints the listing. That nothing is listed is no error.
func (a *app) print(l listing, asJSON bool) error {
	if asJSON {
		return printJSON(a.stdout, l.items)
	}
	if len(l.rows) == 0 {
		fmt.Fprintf(a.stderr, "no %s\n", l.what)
		return nil
	}
	if err := printTable(a.stdout, l.heading, l.rows); err != nil {
		return err
	}
	if l.more != "" {
		fmt.Fprintln(a.stderr, "there may be more: "+l.more)
	}
	return nil
}

// withStore runs a verb that reads the store. It does not make a database where there is none.
func (a *app) withStore(cmd *cobra.Command, f func(ctx context.Context, st *store.Store, d store.Directory) error) (err error) {
	c, err := a.config(cmd)
	if err != nil {
		return err
	}
	if c.noDatabase() {
		return kit.Fail(kit.ExitFailure, "name the folder with --data-dir, or a database with --database-url; idpsync apply and idpsync run make one",
			"there is no database in %s", c.DataDir)
	}
	ctx := cmd.Context()
	st, err := a.openStore(ctx, c, a.logger(c))
	if err != nil {
		return err
	}
	defer closeStore(st, &err)
	d, err := st.Directory(ctx)
	if err != nil {
		return kit.Fail(kit.ExitFailure, "check that the database is reachable", "the directory cannot be read: %w", err)
	}
	return f(ctx, st, d)
}

// noDatabase reports whether the embedded database is meant and has not been made yet.
func (c config) noDatabase() bool {
	_, err := os.Stat(filepath.Join(c.DataDir, sqliteFile))
	return c.DatabaseURL == "" && errors.Is(err, fs.ErrNotExist)
}

// directoryList makes a verb that lists a part of the directory, of all tenants or of one.
func directoryList(a *app, what, short string, list func(d store.Directory, names map[string]string) listing) *cobra.Command {
	var tenant string
	var asJSON bool
	cmd := &cobra.Command{
		Use: what, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd, func(_ context.Context, _ *store.Store, d store.Directory) error {
				names := tenantNames(d)
				if tenant != "" {
					t, err := resolveTenant(d, tenant)
					if err != nil {
						return err
					}
					d = only(d, t.ID)
				}
				l := list(d, names)
				l.what = what
				return a.print(l, asJSON)
			})
		},
	}
	if what != "tenants" && what != "policies" {
		cmd.Flags().StringVar(&tenant, "tenant", "", "id or name of one tenant")
	}
	jsonFlag(cmd, &asJSON)
	a.addSettings(cmd, areaStore)
	return cmd
}

func tenantNames(d store.Directory) map[string]string {
	names := make(map[string]string, len(d.Tenants))
	for _, t := range d.Tenants {
		names[t.ID] = t.Name
	}
	return names
}

// only leaves what belongs to one tenant.
func only(d store.Directory, tenant string) store.Directory {
	return store.Directory{
		Revision:      d.Revision,
		Tenants:       filter(d.Tenants, func(t store.Tenant) bool { return t.ID == tenant }),
		Roles:         filter(d.Roles, func(r store.Role) bool { return r.TenantID == tenant }),
		Organizations: filter(d.Organizations, func(o store.Organization) bool { return o.TenantID == tenant }),
		Sources:       filter(d.Sources, func(s store.Source) bool { return s.TenantID == tenant }),
		Policies:      d.Policies,
	}
}

func filter[T any](all []T, keep func(T) bool) []T {
	var out []T
	for _, one := range all {
		if keep(one) {
			out = append(out, one)
		}
	}
	return out
}

// parseUUID reads a UUID in its usual form of 36 characters, whatever its case.
func parseUUID(s string) (string, bool) {
	if len(s) != 36 {
		return "", false
	}
	id, err := uuid.Parse(s)
	return id.String(), err == nil
}

// names joins a list for a cell.
func names(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, ",")
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// when renders a time for people; a zero one as none.
func when(t time.Time, none string) string {
	if t.IsZero() {
		return none
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// stamp renders a time for programs; nil when there is none.
func stamp(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := t.UTC().Format("2006-01-02T15:04:05.000000Z07:00")
	return &s
}
