package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/store"
)

func newUserCommand(a *app) *cobra.Command {
	return group("user", "Change a user by hand", newUserOwnerCommand(a))
}

type userOwnerVerb struct {
	app       *app
	tenant    string
	none      bool
	yes, json bool
}

func newUserOwnerCommand(a *app) *cobra.Command {
	v := userOwnerVerb{app: a}
	cmd := &cobra.Command{
		Use:   "owner --tenant TENANT (USER-ID | --none)",
		Short: "Make a user the owner of a tenant, or end ownership",
		Long: `Make a user the owner of a tenant, in place of the one who is; with --none the tenant has no owner, and the next login
that proves the owner's address of the directory makes its user the owner.

No event can do this: an owner comes from such a login, or from here.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(cmd, func(ctx context.Context, st *store.Store, d store.Directory) error { return v.run(ctx, st, d, args) })
		},
	}
	cmd.Flags().StringVar(&v.tenant, "tenant", "", "id or name of the tenant")
	cmd.Flags().BoolVar(&v.none, "none", false, "leave the tenant without an owner")
	yesFlag(cmd, &v.yes)
	jsonFlag(cmd, &v.json)
	a.addSettings(cmd, areaStore)
	return cmd
}

// ownerChange is what owner prints with --json.
type ownerChange struct {
	Tenant string `json:"tenant"`
	Owner  string `json:"owner"`  // id of the user; "" for none
	Before string `json:"before"` // likewise
}

func (v *userOwnerVerb) run(ctx context.Context, st *store.Store, d store.Directory, args []string) error {
	a := v.app
	if v.tenant == "" || v.none == (len(args) == 1) {
		return kit.Fail(kit.ExitUsage, "idpsync user owner --tenant acme USER-ID, or --none in place of the id", "a tenant is needed, and either the id of a user or --none")
	}
	t, err := resolveTenant(d, v.tenant)
	if err != nil {
		return err
	}
	r, question := ownerChange{Tenant: t.ID}, fmt.Sprintf("Leave tenant %s without an owner?", t.Name)
	if !v.none {
		id, ok := parseUUID(args[0])
		if !ok {
			return kit.Fail(kit.ExitUsage, "idpsync get users --email finds it by address", "%q is not the id of a user", args[0])
		}
		u, err := st.User(ctx, t.ID, id)
		if errors.Is(err, store.ErrNotFound) {
			return kit.Fail(kit.ExitPending, "idpsync get users --tenant "+t.Name+" lists them", "tenant %s has no user %s", t.Name, id)
		}
		if err != nil {
			return kit.Fail(kit.ExitFailure, "check that the database is reachable", "the user cannot be read: %w", err)
		}
		r.Owner, question = u.ID, fmt.Sprintf("Make %s (%s) the owner of tenant %s?", kit.Printable(u.Email), u.ID, t.Name)
	}
	if err := a.confirm(v.yes, question); err != nil {
		return err
	}
	if r.Before, err = st.SetOwner(ctx, t.ID, r.Owner, operator(), a.now()); err != nil {
		return kit.Fail(kit.ExitFailure, "nothing was written; try again", "the owner cannot be changed: %w", err)
	}
	if v.json {
		return printJSON(a.stdout, r)
	}
	fmt.Fprintf(a.stdout, "owner of tenant %s: %s (before: %s)\n", t.Name, dash(r.Owner), dash(r.Before))
	return nil
}
