package store_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

func TestKeyHistoriesMissNearRows(t *testing.T) {
	history := func(say func(h store.KeyHistory) string) look {
		return func(ctx context.Context, s *store.Store) (string, error) {
			h, err := s.KeyHistory(ctx, nearTenant, "m", "m")
			return say(h), err
		}
	}
	knownKeys := func(ctx context.Context, s *store.Store, tenant string) (string, error) {
		all, err := s.KnownKeys(ctx, tenant)
		return sayAll(all, err, func(k store.KnownKey) string { return fmt.Sprintf("key %s %q", k.Thumbprint, k.Variant) })
	}
	// changedBy says which histories an effect changes.
	changedBy := func(effect func(ctx context.Context, s *store.Store) error) look {
		return func(ctx context.Context, s *store.Store) (string, error) {
			since, err := s.KeysRevision(ctx)
			if err != nil {
				return "", err
			}
			if err := effect(ctx, s); err != nil {
				return "", err
			}
			ids, err := s.ChangedKeyHistories(ctx, since)
			return sayAll(ids, err, sayHistory)
		}
	}
	observe := func(ctx context.Context, s *store.Store, at time.Time, variant string) error {
		k := store.SourceKey{ID: "m", Thumbprint: "m", Variant: variant, PublicKey: "m", Algorithm: "m", Material: []byte("m")}
		return s.ObserveSourceKeys(ctx, nearTenant, "m", "m", store.KeyObservation{Keys: []store.SourceKey{k}, At: at})
	}
	key := slices.Concat(otherTenants(), around("source", "l", "n"), around("issuer", "l", "n"))
	// besides gives each miss also the row that is looked for.
	besides := func(r row, misses []miss) []miss {
		misses = slices.Clone(misses)
		for i := range misses {
			misses[i].also = []row{r}
		}
		return misses
	}
	claim := func(ctx context.Context, s *store.Store) (string, error) {
		ok, err := s.ClaimKeyRead(ctx, store.KeyHistoryID{Tenant: nearTenant, Source: "m", Issuer: "m"}, "ann", time.Hour, time.Minute)
		return map[bool]string{true: "claimed"}[ok], err
	}
	now := storetest.Time
	due := nearHistory().with("asked_at", now.Add(-2*time.Hour))
	runNearMisses(t, []nearMiss{
		{
			lookup: "when the keys of an issuer were asked for", row: nearHistory(), misses: key, want: storetest.Time.String(),
			look: history(func(h store.KeyHistory) string {
				if h.AskedAt.IsZero() {
					return ""
				}
				return h.AskedAt.String()
			}),
		},
		{
			lookup: "the keys of an issuer", row: nearKey(), misses: key, want: "m",
			look: history(func(h store.KeyHistory) string {
				s, _ := sayAll(h.Keys, nil, func(k store.SourceKey) string { return k.Thumbprint })
				return s
			}),
		},
		{
			lookup: "the bans of an issuer", row: nearBan(), misses: around("issuer", "l", "n"), want: "m",
			look: history(func(h store.KeyHistory) string {
				s, _ := sayAll(h.Bans, nil, func(b store.KeyBan) string { return b.PublicKey })
				return s
			}),
		},
		{
			lookup: "the histories that changed", row: nearHistory().with("revision", 5), misses: []miss{{column: "revision", value: 4}}, want: theHistory,
			look: list(func(ctx context.Context, s *store.Store) ([]store.KeyHistoryID, error) {
				return s.ChangedKeyHistories(ctx, 4)
			}, sayHistory),
		},
		{
			lookup: "the claim on reading an issuer", row: due, want: "claimed", look: claim,
			misses: append(key, miss{column: "asked_at", value: now.Add(-time.Minute)}, miss{column: "claimed_until", value: now.Add(time.Hour)}),
		},
		{lookup: "the claim on reading an issuer whose last claim has ended", row: due.with("claimed_until", now.Add(-time.Minute)), want: "claimed", look: claim},
		{
			lookup: "the end of a ban", row: nearBan(), misses: slices.Concat(around("issuer", "l", "n"), around("public_key", "l", "n")), want: "ended",
			look: func(ctx context.Context, s *store.Store) (string, error) {
				return say("ended", s.UnbanKey(ctx, "m", "m", "ann", "", storetest.Time))
			},
		},
		{
			lookup: "the histories that a ban changes", row: nearHistory(), misses: around("issuer", "l", "n"), want: theHistory,
			look: changedBy(func(ctx context.Context, s *store.Store) error {
				return s.BanKey(ctx, store.KeyBan{Issuer: "m", PublicKey: "m"})
			}),
		},
		{
			lookup: "the known keys of a tenant", row: nearKey(), misses: otherTenants(), want: `key m ""`,
			look: func(ctx context.Context, s *store.Store) (string, error) { return knownKeys(ctx, s, nearTenant) },
		},
		{
			lookup: "the source that keys are observed of", row: nearSource(), want: `key m "1"`, look: func(ctx context.Context, s *store.Store) (string, error) {
				if err := observe(ctx, s, storetest.Time, "1"); err != nil {
					return "", err
				}
				return knownKeys(ctx, s, nearTenant)
			},
			misses: append(slices.Concat(otherTenants(), around("name", "l", "n")), miss{column: "removed_at", value: storetest.Time}),
		},
		{
			lookup: "the newest answer, of which an older one does not know", row: nearHistory(), beside: []row{nearSource()}, misses: key, want: "retired", none: "published",
			look: func(ctx context.Context, s *store.Store) (string, error) {
				if err := observe(ctx, s, before(storetest.Time), "1"); err != nil {
					return "", err
				}
				h, err := s.KeyHistory(ctx, nearTenant, "m", "m")
				if err != nil || len(h.Keys) != 1 {
					return fmt.Sprintf("%d keys", len(h.Keys)), err
				}
				return map[bool]string{true: "published", false: "retired"}[h.Keys[0].RetiredAt.IsZero()], nil
			},
		},
		{
			lookup: "the history that an older answer changes", row: nearHistory(), beside: []row{nearSource()}, misses: besides(nearHistory(), key), want: theHistory, none: theHistory,
			look: changedBy(func(ctx context.Context, s *store.Store) error { return observe(ctx, s, before(storetest.Time), "1") }),
		},
		{
			lookup: "the key of an older version that its variant replaces", row: nearKey(), beside: []row{nearSource()}, want: "1 keys", none: "2 keys",
			misses: besides(nearKey(), slices.Concat(key, around("thumbprint", "l", "n"), []miss{{column: "variant", value: "2"}})),
			look: func(ctx context.Context, s *store.Store) (string, error) {
				if err := observe(ctx, s, after(storetest.Time), "1"); err != nil {
					return "", err
				}
				all, err := s.KnownKeys(ctx, "")
				return fmt.Sprintf("%d keys", len(all)), err
			},
		},
		{
			lookup: "the issuers of a source's keys", row: nearKey(), misses: slices.Concat(otherTenants(), around("source", "l", "n")), want: "m", look: issuersOf,
		},
		{
			lookup: "the issuers of a source's identities", row: nearIdentity(), misses: slices.Concat(otherTenants(), around("source", "l", "n")), want: "m", look: issuersOf,
		},
		{
			lookup: "the source whose keys stay when the directory changes", row: nearSource(), beside: []row{nearKey(), nearHistory()}, want: `key m "", asked`,
			misses: append(slices.Concat(otherTenants(), around("name", "l", "n")), miss{column: "removed_at", value: storetest.Time}),
			look: func(ctx context.Context, s *store.Store) (string, error) {
				if err := applyAnew(ctx, s); err != nil {
					return "", err
				}
				keys, err := knownKeys(ctx, s, nearTenant)
				if err != nil {
					return "", err
				}
				h, err := s.KeyHistory(ctx, nearTenant, "m", "m")
				if !h.AskedAt.IsZero() {
					keys += ", asked"
				}
				return keys, err
			},
		},
		{
			lookup: "the history that has to end with its source", row: nearHistory(), want: theHistory, misses: []miss{{column: "asked_at", value: nil}},
			look: changedBy(applyAnew),
		},
	})
}

const theHistory = "history of issuer m by source m of tenant " + nearTenant

func sayHistory(id store.KeyHistoryID) string {
	return "history of issuer " + id.Issuer + " by source " + id.Source + " of tenant " + id.Tenant
}

func issuersOf(ctx context.Context, s *store.Store) (string, error) {
	issuers, err := s.SourceIssuers(ctx, nearTenant, "m")
	return strings.Join(issuers, " "), err
}

// applyAnew changes the directory, and declares all that is declared in it already.
func applyAnew(ctx context.Context, s *store.Store) error {
	d, err := s.Directory(ctx)
	if err != nil {
		return err
	}
	d.Tenants[0].Name += "'"
	_, err = s.ApplyDirectory(ctx, d.Revision, d, "ann", storetest.Time)
	return err
}
