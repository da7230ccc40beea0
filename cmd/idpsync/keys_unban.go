package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/store"
)

func newKeysUnbanCommand(a *app) *cobra.Command {
	var name keyName
	cmd := &cobra.Command{
		Use: "unban KEY", Short: "End the ban of a key; it is then believed as any other", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(cmd, func(ctx context.Context, st *store.Store, d store.Directory) error {
				return a.unbanKey(ctx, st, d, args[0], name)
			})
		},
	}
	name.flags(a, cmd)
	return cmd
}

func (a *app) unbanKey(ctx context.Context, st *store.Store, d store.Directory, key string, name keyName) error {
	known, bans, err := readKeys(ctx, st, "")
	if err != nil {
		return err
	}
	found, err := pick(issuedKeys(known, bans), key, name.issuer)
	if err != nil {
		return err
	}
	if found.ban == nil {
		return errNoBan(store.ErrNotFound, found.key)
	}
	a.describe(found, tenantNames(d))
	fmt.Fprintf(a.stdout, "banned %s by %s: %s\n", when(found.ban.At, ""), kit.Printable(found.ban.Who), dash(kit.Printable(found.ban.Why)))
	if err := a.confirm(name.yes, "Accept again what it signed, where its issuer was seen publishing it?"); err != nil {
		return err
	}
	if err := st.UnbanKey(ctx, found.issuer, found.key, operator(), name.why, a.now()); err != nil {
		return errNoBan(err, found.key)
	}
	fmt.Fprintln(a.stdout, "the ban has ended; running workers know within seconds")
	return nil
}
