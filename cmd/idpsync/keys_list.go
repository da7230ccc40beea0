package main

import (
	"context"
	"crypto/x509"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers/saml"
	"github.com/idpsync/idpsync/store"
)

// keyItem is a key of an issuer for programs; one for each source and entry in which it was seen.
type keyItem struct {
	Issuer     string  `json:"issuer"`
	Tenant     string  `json:"tenant"` // "" for a ban whose key no source knows
	Source     string  `json:"source"`
	Key        string  `json:"key"` // the public key, as keys ban takes it
	ID         string  `json:"id"`  // kid, or fingerprint of the certificate
	Algorithm  string  `json:"algorithm"`
	State      string  `json:"state"` // published, retired or banned
	FirstSeen  *string `json:"first_seen"`
	LastSeen   *string `json:"last_seen"`
	RetiredAt  *string `json:"retired_at"`
	BannedAt   *string `json:"banned_at"`
	BannedFrom *string `json:"banned_from"` // null with banned_at: events of all times
	BannedBy   string  `json:"banned_by,omitempty"`
	Why        string  `json:"why,omitempty"`
}

func newKeysListCommand(a *app) *cobra.Command {
	var tenant string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the keys that issuers were seen publishing, and the bans", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd, func(ctx context.Context, st *store.Store, d store.Directory) error {
				return a.listKeys(ctx, st, d, tenant, asJSON)
			})
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "id or name of one tenant")
	jsonFlag(cmd, &asJSON)
	a.addSettings(cmd, areaStore)
	return cmd
}

func (a *app) listKeys(ctx context.Context, st *store.Store, d store.Directory, tenant string, asJSON bool) error {
	id, err := tenantID(d, tenant)
	if err != nil {
		return err
	}
	known, bans, err := readKeys(ctx, st, id)
	if err != nil {
		return err
	}
	tenants := tenantNames(d)
	items := []keyItem{}
	l := listing{what: "keys", heading: []string{"KEY", "ID", "ISSUER", "TENANT", "SOURCE", "STATE", "FIRST SEEN", "LAST SEEN", "RETIRED"}}
	for _, k := range issuedKeys(known, bans) {
		places := k.places
		if len(places) == 0 {
			if id != "" { // a ban that concerns no key of this tenant
				continue
			}
			places = []store.KnownKey{{}}
		}
		for _, p := range places {
			item := keyItem{
				Issuer: k.issuer, Tenant: p.Tenant, Source: p.Source, Key: k.key, ID: p.ID, Algorithm: p.Algorithm, State: "published",
				FirstSeen: stamp(p.FirstSeen), LastSeen: stamp(p.LastSeen), RetiredAt: stamp(p.RetiredAt),
			}
			if !p.RetiredAt.IsZero() {
				item.State = "retired"
			}
			state := item.State
			if k.ban != nil {
				item.State, item.BannedAt, item.BannedFrom = "banned", stamp(k.ban.At), stamp(k.ban.From)
				item.BannedBy, item.Why = k.ban.Who, k.ban.Why
				state = "banned"
				if !k.ban.From.IsZero() {
					state += " from " + when(k.ban.From, "")
				}
			}
			items = append(items, item)
			l.rows = append(l.rows, []string{
				k.key, dash(kit.Printable(p.ID)), k.issuer, dash(tenants[p.Tenant]), dash(p.Source), state,
				when(p.FirstSeen, "-"), when(p.LastSeen, "-"), when(p.RetiredAt, "-"),
			})
		}
	}
	l.items = items
	return a.print(l, asJSON)
}

// readKeys reads what was seen, of all tenants or one, and all bans.
func readKeys(ctx context.Context, st *store.Store, tenant string) ([]store.KnownKey, []store.KeyBan, error) {
	known, err := st.KnownKeys(ctx, tenant)
	if err != nil {
		return nil, nil, kit.Fail(kit.ExitFailure, "check that the database is reachable", "keys cannot be read: %w", err)
	}
	bans, err := st.KeyBans(ctx)
	if err != nil {
		return nil, nil, kit.Fail(kit.ExitFailure, "check that the database is reachable", "bans cannot be read: %w", err)
	}
	return known, bans, nil
}

// publicKeyOf names the public key of a row. An older version did not, for certificates.
func publicKeyOf(k store.SourceKey) string {
	if k.PublicKey != "" {
		return k.PublicKey
	}
	cert, err := x509.ParseCertificate(k.Material)
	if err != nil {
		return k.Thumbprint
	}
	return saml.PublicKey(cert)
}
