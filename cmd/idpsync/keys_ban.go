package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/store"
)

// A keyName says which key a verb is about.
type keyName struct {
	issuer string
	why    string
	yes    bool
}

func (n *keyName) flags(a *app, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&n.issuer, "issuer", "", "whose key it is: the issuer of OIDC sources, the entityID of SAML ones (default: the one that was seen publishing it)")
	f.StringVar(&n.why, "why", "", "reason, for the audit")
	yesFlag(cmd, &n.yes)
	a.addSettings(cmd, areaStore)
}

// fingerprintForm is the form of what names a public key: an RFC 7638 thumbprint, or a SHA-256 in hex.
var fingerprintForm = regexp.MustCompile(`^([A-Za-z0-9_-]{43}|[0-9a-f]{64})$`)

func newKeysBanCommand(a *app) *cobra.Command {
	var name keyName
	var from string
	cmd := &cobra.Command{
		Use:   "ban KEY",
		Short: "Refuse what a key signed, whatever its issuer publishes; running workers do so within seconds",
		Long: `Refuse all that a key signed: for every tenant and source of its issuer, under whatever kid or in whatever certificate it
is published, waiting events and replayed dead letters included. Running workers do so within seconds. The ban outlives
the sources, and lasts until idpsync keys unban.

KEY is what idpsync keys list shows: the RFC 7638 thumbprint of a JWK, the SHA-256 of a certificate's
SubjectPublicKeyInfo, or the kid under which the key was published.

With --from, what was stored before that time is still accepted: give the time at which the key leaked, if it is known.
Users that were created or changed by what a leaked key signed stay: idpsync get events shows them.`,
		Example: `  idpsync keys ban NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs --why "found in a build log"
  idpsync keys ban 2026-10 --issuer https://acme.okta.example --from 2026-11-02T09:00:00Z`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(cmd, func(ctx context.Context, st *store.Store, d store.Directory) error {
				return a.banKey(ctx, st, d, args[0], name, from)
			})
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "accept what was stored before this time, as in 2026-11-02T09:00:00Z (default: nothing)")
	name.flags(a, cmd)
	return cmd
}

func (a *app) banKey(ctx context.Context, st *store.Store, d store.Directory, key string, name keyName, from string) error {
	ban := store.KeyBan{At: a.now(), Who: operator(), Why: name.why}
	if from != "" {
		var err error
		if ban.From, err = time.Parse(time.RFC3339, from); err != nil {
			return kit.Fail(kit.ExitUsage, "as in 2026-11-02T09:00:00Z; without --from, events of all times are refused", "--from cannot be %q", from)
		}
	}
	known, bans, err := readKeys(ctx, st, "")
	if err != nil {
		return err
	}
	found, err := pick(issuedKeys(known, bans), key, name.issuer)
	if err != nil {
		if name.issuer == "" || !fingerprintForm.MatchString(key) {
			return err
		}
		found = &issuedKey{issuer: name.issuer, key: key} // it may leak before it is seen
	}
	a.describe(found, tenantNames(d))
	if b := found.ban; b != nil && b.From.Equal(ban.From) {
		fmt.Fprintf(a.stdout, "it is banned already, since %s; nothing to do\n", when(b.At, ""))
		return nil
	}
	question := "Refuse all that it signed, whenever it was stored?"
	if !ban.From.IsZero() {
		question = "Refuse all that it signed and that was stored at " + when(ban.From, "") + " or later?"
	}
	if err := a.confirm(name.yes, question); err != nil {
		return err
	}
	ban.Issuer, ban.PublicKey = found.issuer, found.key
	if err := st.BanKey(ctx, ban); err != nil {
		return kit.Fail(kit.ExitFailure, "what it signed is still accepted; try again", "the key cannot be banned: %w", err)
	}
	fmt.Fprintln(a.stdout, "banned; running workers refuse what it signed within seconds")
	return nil
}

// errNoBan says that there is nothing to end.
func errNoBan(err error, key string) error {
	if errors.Is(err, store.ErrNotFound) {
		return kit.Fail(kit.ExitPending, "idpsync keys list shows the bans", "the key %s is not banned", key)
	}
	return kit.Fail(kit.ExitFailure, "the ban is still in force; try again", "the ban cannot be ended: %w", err)
}
