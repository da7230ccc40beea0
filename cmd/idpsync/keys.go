package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/store"
)

func newKeysCommand(a *app) *cobra.Command {
	return group("keys", "List the keys that issuers publish, and end the use of one that has leaked",
		newKeysListCommand(a), newKeysBanCommand(a), newKeysUnbanCommand(a))
}

// An issuedKey is a public key of an issuer, in whatever entries, certificates and sources it was seen.
type issuedKey struct {
	issuer string
	key    string // the public key, as bans name it
	ids    []string
	places []store.KnownKey
	ban    *store.KeyBan
}

// issuedKeys groups what was seen by issuer and public key, in the order of the listing. A ban whose key was never seen, or
// is no longer known, is listed too.
func issuedKeys(known []store.KnownKey, bans []store.KeyBan) []*issuedKey {
	var all []*issuedKey
	find := func(issuer, key string) *issuedKey {
		i := slices.IndexFunc(all, func(k *issuedKey) bool { return k.issuer == issuer && k.key == key })
		if i < 0 {
			all = append(all, &issuedKey{issuer: issuer, key: key})
			i = len(all) - 1
		}
		return all[i]
	}
	for _, k := range known {
		one := find(k.Issuer, publicKeyOf(k.SourceKey))
		one.places = append(one.places, k)
		if k.ID != "" && !slices.Contains(one.ids, k.ID) {
			one.ids = append(one.ids, k.ID)
		}
	}
	for _, b := range bans {
		find(b.Issuer, b.PublicKey).ban = &b
	}
	return all
}

// pick finds the key that an operator names by its thumbprint, or by the kid under which it was published.
func pick(all []*issuedKey, name, issuer string) (*issuedKey, error) {
	var found []*issuedKey
	for _, k := range all {
		if (issuer == "" || k.issuer == issuer) && (k.key == name || slices.Contains(k.ids, name)) {
			found = append(found, k)
		}
	}
	switch len(found) {
	case 0:
		return nil, kit.Fail(kit.ExitPending, "idpsync keys list shows them; with --issuer, a thumbprint that was never seen can be banned too", "no issuer was seen publishing the key %s", kit.Printable(name))
	case 1:
		return found[0], nil
	}
	var issuers []string
	for _, k := range found {
		issuers = append(issuers, k.issuer+" "+k.key)
	}
	return nil, kit.Fail(kit.ExitUsage, "name the thumbprint, and the issuer with --issuer", "several keys are called %s:\n%s", kit.Printable(name), strings.Join(issuers, "\n"))
}

// describe shows a key before it is banned or unbanned.
func (a *app) describe(k *issuedKey, tenants map[string]string) {
	fmt.Fprintf(a.stdout, "key %s of %s\n", k.key, k.issuer)
	for _, p := range k.places {
		fmt.Fprintf(a.stdout, "  source %s of tenant %s, as %s: seen %s to %s%s\n", p.Source, dash(tenants[p.Tenant]), dash(kit.Printable(p.ID)),
			when(p.FirstSeen, "-"), when(p.LastSeen, "-"), retired(p.SourceKey))
	}
	if len(k.places) == 0 {
		fmt.Fprintln(a.stdout, "  no source of this deployment knows it")
	}
}

func retired(k store.SourceKey) string {
	if k.RetiredAt.IsZero() {
		return ", published"
	}
	return ", missing since " + when(k.RetiredAt, "-")
}
