package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/directory/manifest"
)

func newIdentitiesCommand(a *app) *cobra.Command {
	return group("identities", "List the external identities of users, and give them to another source",
		newIdentitiesListCommand(a), newIdentitiesMoveCommand(a))
}

// identityRow is an external identity for people and programs.
type identityRow struct {
	Tenant    string  `json:"tenant"`
	Kind      string  `json:"kind"` // of the source that it belongs to; "" when that is not known
	Issuer    string  `json:"issuer"`
	Subject   string  `json:"subject"`
	UserID    string  `json:"user_id"`
	Source    string  `json:"source"` // that made it
	CreatedAt *string `json:"created_at"`
}

type identitiesListVerb struct {
	app                          *app
	tenant, source, issuer, user string
	unpinned, json               bool
	limit                        int
}

func newIdentitiesListCommand(a *app) *cobra.Command {
	v := identitiesListVerb{app: a}
	cmd := &cobra.Command{
		Use:   "list --tenant TENANT",
		Short: "List the external identities of a tenant's users",
		Long: `List the external identities of a tenant's users: issuer and subject, by which a login finds its user, and the kind of
source that the identity belongs to. Logins from a source of another kind or issuer never meet it.

With --unpinned it lists those whose kind idpsync migrate could not tell. Only logins from the source that made them find
them until they are moved to a source.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.withStore(cmd, v.run) },
	}
	f := cmd.Flags()
	f.StringVar(&v.tenant, "tenant", "", "id or name of the tenant")
	f.StringVar(&v.source, "source", "", "only those that this source made")
	f.StringVar(&v.issuer, "issuer", "", "only those of this issuer or entityID")
	f.StringVar(&v.user, "user", "", "only those of the user with this id")
	f.BoolVar(&v.unpinned, "unpinned", false, "only those whose kind of source is not known")
	f.IntVar(&v.limit, "limit", 1000, "how many at the most")
	jsonFlag(cmd, &v.json)
	a.addSettings(cmd, areaStore)
	return cmd
}

func (v *identitiesListVerb) run(ctx context.Context, st *store.Store, d store.Directory) error {
	if v.tenant == "" {
		return kit.Fail(kit.ExitUsage, "idpsync get tenants lists them", "--tenant is missing: the id or name of a tenant")
	}
	t, err := resolveTenant(d, v.tenant)
	if err != nil {
		return err
	}
	if _, ok := parseUUID(v.user); v.user != "" && !ok {
		return kit.Fail(kit.ExitUsage, "idpsync get users --email finds it by address", "--user %q is not the id of a user", v.user)
	}
	all, err := st.Identities(ctx, store.IdentityFilter{
		Tenant: t.ID, UserID: v.user, Source: v.source, Issuer: v.issuer, Unpinned: v.unpinned, Limit: v.limit,
	})
	if err != nil {
		return kit.Fail(kit.ExitFailure, "check that the database is reachable", "the identities cannot be read: %w", err)
	}
	l := listing{what: "identities", heading: []string{"KIND", "ISSUER", "SUBJECT", "USER", "SOURCE", "CREATED"}}
	items := []identityRow{}
	for _, i := range all {
		items = append(items, identityRow{i.TenantID, i.Kind, i.Issuer, i.Subject, i.UserID, i.Source, stamp(i.CreatedAt)})
		l.rows = append(l.rows, []string{dash(i.Kind), i.Issuer, kit.Printable(i.Subject), i.UserID, i.Source, when(i.CreatedAt, "-")})
	}
	l.items = items
	if len(all) == v.limit {
		l.more = "raise --limit"
	}
	return v.app.print(l, v.json)
}

type identitiesMoveVerb struct {
	app                        *app
	tenant, from, kind, source string
	yes, json                  bool
}

func newIdentitiesMoveCommand(a *app) *cobra.Command {
	v := identitiesMoveVerb{app: a}
	cmd := &cobra.Command{
		Use:   "move --tenant TENANT --from ISSUER --to SOURCE",
		Short: "Give the identities of an issuer to a source",
		Long: `Give all identities of an issuer to a declared source: to the issuer and kind that it has in the directory. It is for an
issuer that moved before apply was told so, and for identities whose kind is not known. Their subjects stay the same.

It shows how many there are and asks first. It refuses an issuer that a declared source still has, since users log in with
these identities; idpsync apply --move-identities changes the issuer of a source. A subject that stands under both issuers is listed and stays, since it may be
another person's.`,
		Example: `  idpsync identities move --tenant acme --from https://old.example --to okta
  idpsync identities move --tenant acme --from https://idp.example --kind unknown --to okta`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.withStore(cmd, v.run) },
	}
	f := cmd.Flags()
	f.StringVar(&v.tenant, "tenant", "", "id or name of the tenant")
	f.StringVar(&v.from, "from", "", "issuer or entityID that the identities have now")
	f.StringVar(&v.kind, "kind", "", "kind that they have now: "+strings.Join(loginKinds(), ", ")+" or unknown (default that of the source)")
	f.StringVar(&v.source, "to", "", "name of the source that they are to belong to")
	yesFlag(cmd, &v.yes)
	jsonFlag(cmd, &v.json)
	a.addSettings(cmd, areaStore)
	return cmd
}

// movedIdentities is what move prints with --json.
type movedIdentities struct {
	Tenant     string   `json:"tenant"`
	From       string   `json:"from"`
	To         string   `json:"to"`
	Identities int64    `json:"identities"`
	Refused    []string `json:"refused,omitempty"` // subjects that stand under both, and stay as they are
}

// refusedSubjects names the subjects that a move leaves as they are; "" when there are none.
func refusedSubjects(n store.IdentityCount) string {
	if n.Collisions == 0 {
		return ""
	}
	shown := n.Subjects[:min(len(n.Subjects), 10)]
	stay := "which stay as they are"
	if n.Collisions == 1 {
		stay = "which stays as it is"
	}
	text := kit.Count(int(n.Collisions), "subject") + " under both, " + stay + ": " + kit.Printable(strings.Join(shown, ", "))
	if n.Collisions > int64(len(shown)) {
		text += ", …"
	}
	return text
}

func (v *identitiesMoveVerb) run(ctx context.Context, st *store.Store, d store.Directory) error {
	a := v.app
	if v.tenant == "" || v.from == "" || v.source == "" {
		return kit.Fail(kit.ExitUsage, "see idpsync help identities move", "--tenant, --from and --to are all needed")
	}
	t, err := resolveTenant(d, v.tenant)
	if err != nil {
		return err
	}
	to, err := directoryAnchor(d, t, v.source)
	if err != nil {
		return err
	}
	m := store.IdentityMove{Tenant: t.ID, From: store.Anchor{Kind: to.Kind, Issuer: v.from}, To: to}
	switch {
	case v.kind == "":
	case v.kind == "unknown":
		m.From.Kind = ""
	case slices.Contains(loginKinds(), v.kind):
		m.From.Kind = v.kind
	default:
		return kit.Fail(kit.ExitUsage, strings.Join(loginKinds(), ", ")+" or unknown", "--kind cannot be %q", v.kind)
	}
	if others := sourcesWith(d, t, m.From); len(others) > 0 && m.From != m.To {
		return kit.Fail(kit.ExitUsage, "change their issuer with idpsync apply --move-identities instead", "source %s has the issuer %s, and its users log in with these identities", names(others), v.from)
	}
	n, err := st.CountIdentities(ctx, m)
	if err != nil {
		return kit.Fail(kit.ExitFailure, "check that the database is reachable", "the identities cannot be counted: %w", err)
	}
	r := movedIdentities{Tenant: t.ID, From: v.from, To: to.Issuer, Refused: n.Subjects}
	if refused := refusedSubjects(n); refused != "" && m.From != m.To {
		fmt.Fprintln(a.stderr, refused)
	}
	if n.Identities == 0 || m.From == m.To {
		fmt.Fprintf(a.stderr, "no identity to move: none has the issuer %s and another source\n", v.from)
		if v.json {
			return printJSON(a.stdout, r)
		}
		return nil
	}
	what := fmt.Sprintf("%s of issuer %s", kit.Count(int(n.Identities), "identity"), v.from)
	if n.Owners > 0 {
		what += " (the owner's among them)"
	}
	if err := a.confirm(v.yes, fmt.Sprintf("Give %s to source %s, issuer %s?", what, v.source, to.Issuer)); err != nil {
		return err
	}
	r.Identities, err = st.MoveIdentities(ctx, m, operator(), a.now())
	if err != nil {
		return kit.Fail(kit.ExitFailure, "nothing was written; try again", "the identities cannot be moved: %w", err)
	}
	if v.json {
		return printJSON(a.stdout, r)
	}
	fmt.Fprintf(a.stdout, "moved %s; their users log in through source %s at once\n", what, v.source)
	return nil
}

// sourcesWith returns the names of the declared sources that have the anchor.
func sourcesWith(d store.Directory, t store.Tenant, a store.Anchor) []string {
	var found []string
	for _, row := range d.Sources {
		if is, err := manifest.Anchor(row); err == nil && row.TenantID == t.ID && is == a {
			found = append(found, row.Name)
		}
	}
	return found
}

// directoryAnchor is the trust anchor of a declared source that logins come from.
func directoryAnchor(d store.Directory, t store.Tenant, name string) (store.Anchor, error) {
	for _, row := range d.Sources {
		if row.TenantID != t.ID || row.Name != name {
			continue
		}
		anchor, err := manifest.Anchor(row)
		if err != nil {
			return anchor, err
		}
		if anchor.Issuer == "" {
			return anchor, kit.Fail(kit.ExitUsage, "name a source of kind "+strings.Join(loginKinds(), " or "), "source %s has no issuer", name)
		}
		return anchor, nil
	}
	return store.Anchor{}, kit.Fail(kit.ExitPending, "idpsync get sources --tenant "+t.Name+" lists them", "tenant %s has no source %q", t.Name, name)
}
