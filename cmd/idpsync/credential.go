package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

func newCredentialCommand(a *app) *cobra.Command {
	return group("credential", "Create, list and revoke what administrators and feeds prove themselves with",
		newCredentialCreateCommand(a), newCredentialListCommand(a), newCredentialRevokeCommand(a))
}

// credentialItem is a credential for people and programs; it has neither secret nor hash.
type credentialItem struct {
	ID         string   `json:"id"`
	Tenant     string   `json:"tenant"`
	Name       string   `json:"name"`
	For        string   `json:"for"` // commands, feed:NAME, login:SOURCE, or any
	Grants     []string `json:"grants"`
	State      string   `json:"state"` // active, expired or revoked
	CreatedAt  *string  `json:"created_at"`
	ExpiresAt  *string  `json:"expires_at"`
	RevokedAt  *string  `json:"revoked_at"`
	LastUsedAt *string  `json:"last_used_at"`
	Token      string   `json:"token,omitempty"` // only at creation
}

func (a *app) credentialItem(c store.Credential) credentialItem {
	item := credentialItem{
		ID: c.ID, Tenant: c.Tenant, Name: c.Name, For: purposeText(c.Purpose), Grants: c.Grants, State: "active",
		CreatedAt: stamp(c.CreatedAt), ExpiresAt: stamp(c.ExpiresAt), RevokedAt: stamp(c.RevokedAt), LastUsedAt: stamp(c.LastUsedAt),
	}
	if item.Grants == nil {
		item.Grants = []string{}
	}
	switch {
	case !c.RevokedAt.IsZero():
		item.State = "revoked"
	case !c.ExpiresAt.IsZero() && !a.now().Before(c.ExpiresAt):
		item.State = "expired"
	}
	return item
}

// purposeText is a purpose as people read it.
func purposeText(purpose string) string {
	if purpose == string(providers.PurposeAny) {
		return "any"
	}
	return purpose
}

type credentialCreateVerb struct {
	app                            *app
	tenant, name, purpose, expires string
	grants                         []string
	json                           bool
}

func newCredentialCreateCommand(a *app) *cobra.Command {
	v := credentialCreateVerb{app: a}
	cmd := &cobra.Command{
		Use:   "create --tenant TENANT --name NAME [--for PURPOSE] --grants ROLE,…",
		Short: "Create a credential and print its token, once",
		Long: `Create a credential of one tenant and print its token, once: the store keeps only a hash. The token goes to standard
output and everything else to standard error, so that it can be caught:

  TOKEN=$(idpsync credential create --tenant acme --name hr-import --for feed:workday --grants user)

Senders put the token into "Authorization: Bearer <token>" or "X-API-Key: <token>". It serves the one purpose that --for
names, and can grant the roles listed here and no others.

The ids of a sender's events belong to the name of its credential. To renew a credential, create another one of the same
name and then revoke the old one: an event that is sent again with the new token is still known. Two senders need two names.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.withStore(cmd, v.run) },
	}
	f := cmd.Flags()
	f.StringVar(&v.tenant, "tenant", "", "id or name of the tenant")
	f.StringVar(&v.name, "name", "", "what it is for, as in hr-import")
	f.StringVar(&v.purpose, "for", string(providers.PurposeCommands), "what it may be used for: commands, feed:NAME, or login:SOURCE for the logins of an OIDC or SAML source")
	f.StringSliceVar(&v.grants, "grants", nil, "names of the roles that it may grant, with commas; none: it creates users without roles")
	f.StringVar(&v.expires, "expires", "", "when it ends: 2160h, 90d, or 2027-01-31T12:00:00Z (default never)")
	jsonFlag(cmd, &v.json)
	a.addSettings(cmd, areaStore)
	return cmd
}

func (v *credentialCreateVerb) run(ctx context.Context, st *store.Store, d store.Directory) error {
	a := v.app
	c, tenant, err := v.credential(d)
	if err != nil {
		return err
	}
	id, token, hash, err := providers.NewToken(a.random)
	if err != nil {
		return err
	}
	c.ID, c.SecretHash = id, hash
	if err := st.CreateCredential(ctx, c, operator()); err != nil {
		return kit.Fail(kit.ExitFailure, "nothing was written; try again", "the credential cannot be created: %w", err)
	}
	if v.json {
		item := a.credentialItem(c)
		item.Token = token.Reveal()
		return printJSON(a.stdout, item)
	}
	fmt.Fprintf(a.stderr, "credential %s %q of tenant %s\n", c.ID, c.Name, tenant.Name)
	fmt.Fprintf(a.stderr, "for     %s\ngrants  %s\nexpires %s\n", purposeText(c.Purpose), names(c.Grants), when(c.ExpiresAt, "never; idpsync credential revoke "+c.ID+" ends it"))
	fmt.Fprintln(a.stderr, "its token, which is not shown again:")
	_, err = fmt.Fprintln(a.stdout, token.Reveal())
	return err
}

// credential checks the flags against the directory, all faults at once.
func (v *credentialCreateVerb) credential(d store.Directory) (store.Credential, store.Tenant, error) {
	now := v.app.now().UTC().Truncate(time.Microsecond)
	c := store.Credential{Name: v.name, Purpose: v.purpose, CreatedAt: now}
	var faults []string
	if v.name == "" || strings.TrimSpace(v.name) != v.name || utf8.RuneCountInString(v.name) > 200 || kit.Printable(v.name) != v.name {
		faults = append(faults, "--name must say what the credential is for, in at most 200 characters")
	}
	if v.expires != "" {
		switch end, err := v.end(now); {
		case err != nil:
			faults = append(faults, err.Error())
		default:
			c.ExpiresAt = end
		}
	}
	var tenant store.Tenant
	if v.tenant == "" {
		faults = append(faults, "--tenant is missing: the id or name of a tenant")
	} else if t, err := resolveTenant(d, v.tenant); err != nil {
		faults = append(faults, err.Error()+"; idpsync get tenants lists them")
	} else {
		tenant, c.Tenant = t, t.ID
		if err := checkPurpose(providers.Purpose(v.purpose), t, only(d, t.ID).Sources); err != nil {
			faults = append(faults, err.Error())
		}
		c.Grants = slices.Compact(slices.Sorted(slices.Values(v.grants)))
		var known []string
		for _, r := range only(d, t.ID).Roles {
			known = append(known, r.Name)
		}
		for _, g := range c.Grants {
			if !slices.Contains(known, g) {
				hint := "declare it and apply the directory"
				if near := strictyaml.Closest(g, known); near != "" {
					hint = "did you mean " + near + "?"
				}
				faults = append(faults, fmt.Sprintf("--grants: tenant %s has no role %q (%s)", t.Name, g, hint))
			}
		}
	}
	if len(faults) > 0 {
		return c, tenant, kit.Fail(kit.ExitUsage, "nothing was created; see idpsync help credential create", "%s", strings.Join(faults, "\n"))
	}
	return c, tenant, nil
}

// checkPurpose refuses a purpose that nothing in the tenant can serve.
func checkPurpose(purpose providers.Purpose, t store.Tenant, sources []store.Source) error {
	if purpose == providers.PurposeCommands {
		return nil
	}
	name, shape := purpose.Source()
	if name == "" {
		return fmt.Errorf("--for cannot be %q: it is commands, feed:NAME, or login:SOURCE", kit.Printable(string(purpose)))
	}
	var fit []string
	all := assemble.Kinds()
	for _, s := range sources {
		kind, _ := all.Of(providers.Kind(s.Kind))
		switch {
		case kind.Carries(shape):
			if s.Name == name {
				return nil
			}
			fit = append(fit, s.Name)
		case s.Name == name:
			return fmt.Errorf("--for %s: %s is a source of kind %s; feed:NAME names one of kind %s, login:SOURCE one of kind %s", purpose, name, s.Kind,
				strings.Join(all.Carrying(providers.ShapeFeed).Names(), " or "), strings.Join(loginKinds(), " or "))
		}
	}
	hint := "declare it and apply the directory"
	if near := strictyaml.Closest(name, fit); near != "" {
		hint = "did you mean " + near + "?"
	}
	return fmt.Errorf("--for %s: tenant %s has no source %q of that kind (%s)", kit.Printable(string(purpose)), t.Name, kit.Printable(name), hint)
}

func (v *credentialCreateVerb) end(now time.Time) (time.Time, error) {
	end, err := time.Parse(time.RFC3339, v.expires)
	if d, bad := strictyaml.ParseDuration(v.expires); bad == nil {
		end, err = now.Add(d), nil
	}
	switch {
	case err != nil:
		return end, fmt.Errorf("--expires cannot be %q: 2160h, 90d, or a time such as 2027-01-31T12:00:00Z", v.expires)
	case !end.After(now):
		return end, fmt.Errorf("--expires %s is not in the future", v.expires)
	}
	return end, nil
}

func newCredentialListCommand(a *app) *cobra.Command {
	var tenant string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List credentials, ended ones too", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd, func(ctx context.Context, st *store.Store, d store.Directory) error {
				id, err := tenantID(d, tenant)
				if err != nil {
					return err
				}
				all, err := st.Credentials(ctx, id)
				if err != nil {
					return kit.Fail(kit.ExitFailure, "check that the database is reachable", "credentials cannot be read: %w", err)
				}
				tenants := tenantNames(d)
				items := []credentialItem{}
				l := listing{what: "credentials", heading: []string{"ID", "TENANT", "NAME", "FOR", "GRANTS", "STATE", "CREATED", "EXPIRES", "LAST USED"}}
				for _, c := range all {
					item := a.credentialItem(c)
					items = append(items, item)
					l.rows = append(l.rows, []string{
						c.ID, dash(tenants[c.Tenant]), c.Name, item.For, names(c.Grants), item.State,
						when(c.CreatedAt, "-"), when(c.ExpiresAt, "never"), when(c.LastUsedAt, "never"),
					})
				}
				l.items = items
				return a.print(l, asJSON)
			})
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "id or name of one tenant")
	jsonFlag(cmd, &asJSON)
	a.addSettings(cmd, areaStore)
	return cmd
}

func newCredentialRevokeCommand(a *app) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "revoke ID", Short: "End a credential; running workers refuse it within seconds", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(cmd, func(ctx context.Context, st *store.Store, d store.Directory) error {
				return a.revoke(ctx, st, d, args[0], yes)
			})
		},
	}
	yesFlag(cmd, &yes)
	a.addSettings(cmd, areaStore)
	return cmd
}

func (a *app) revoke(ctx context.Context, st *store.Store, d store.Directory, id string, yes bool) error {
	// Whoever pastes a whole token means its credential, and should know that it has been shown.
	if tokenID, _, err := providers.ParseToken(id); err == nil {
		id = tokenID
		fmt.Fprintln(a.stderr, "that is a token; its credential is "+id)
	}
	c, err := st.Credential(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return kit.Fail(kit.ExitPending, "idpsync credential list shows the ids", "there is no credential %s", kit.Printable(id))
	}
	if err != nil {
		return kit.Fail(kit.ExitFailure, "check that the database is reachable", "the credential cannot be read: %w", err)
	}
	item := a.credentialItem(c)
	if item.State == "revoked" {
		fmt.Fprintf(a.stdout, "credential %s was revoked at %s; nothing to do\n", id, when(c.RevokedAt, ""))
		return nil
	}
	fmt.Fprintf(a.stdout, "credential %s %q of tenant %s for %s, which may grant %s; last used: %s\n",
		id, kit.Printable(c.Name), dash(tenantNames(d)[c.Tenant]), item.For, names(c.Grants), when(c.LastUsedAt, "never"))
	if err := a.confirm(yes, "Revoke it? This cannot be undone."); err != nil {
		return err
	}
	if err := st.RevokeCredential(ctx, id, operator(), a.now()); err != nil {
		return kit.Fail(kit.ExitFailure, "it still works; try again", "the credential cannot be revoked: %w", err)
	}
	fmt.Fprintln(a.stdout, "revoked; running workers refuse it within seconds")
	return nil
}
