package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

// effect does something, and says what it was done to.
func effect(do func(ctx context.Context, s *store.Store) error, then look) look {
	return func(ctx context.Context, s *store.Store) (string, error) {
		if err := do(ctx, s); err != nil && !errors.Is(err, store.ErrNotFound) {
			return "", err
		}
		return then(ctx, s)
	}
}

// ownerOf says who owns the tenant.
func ownerOf(tenant string) look {
	return func(ctx context.Context, s *store.Store) (string, error) {
		found, err := s.Find(ctx, []store.Lookup{{Tenant: tenant, Owner: true}})
		if err != nil {
			return "", err
		}
		return found[0].OwnerID, nil
	}
}

func TestWhatIsWrittenMissesNearUsers(t *testing.T) {
	other := namelessUser().with("id", "40000000-0000-7000-8000-000000000004")
	key := slices.Concat(otherTenants(), around("id", lowID, highID))
	owner := nearUser().with("is_owner", true)
	setOwner := func(id string) func(ctx context.Context, s *store.Store) error {
		return func(ctx context.Context, s *store.Store) error {
			_, err := s.SetOwner(ctx, nearTenant, id, "ann", storetest.Time)
			return err
		}
	}
	// forgotten says what is left of the users and results of all tenants.
	forgotten := func(ctx context.Context, s *store.Store) (string, error) {
		_, err := s.Forget(ctx, nearTenant, nearID, "ann", storetest.Time)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return "", err
		}
		var left []string
		for _, tenant := range []string{lowTenant, nearTenant, highTenant} {
			users, err := s.Users(ctx, store.UserFilter{Tenant: tenant})
			if err != nil {
				return "", err
			}
			for range users {
				left = append(left, "a user")
			}
		}
		events, err := s.Events(ctx, store.EventFilter{})
		for _, e := range events {
			left = append(left, fmt.Sprintf("a result of %d bytes", len(e.Result)))
		}
		return strings.Join(left, ", "), err
	}
	runNearMisses(t, []nearMiss{
		{
			lookup: "an update of a user", row: nearUser(), beside: []row{other}, want: "updated", misses: append(key, around("revision", 4, 6)...),
			look: func(ctx context.Context, s *store.Store) (string, error) {
				name := "N"
				return say("updated", write(ctx, s, store.Write{Updates: []store.UserUpdate{{TenantID: nearTenant, UserID: nearID, Revision: 5, Name: &name}}}))
			},
		},
		{
			lookup: "the user who becomes the owner", row: namelessUser(), want: "set", misses: key,
			look: func(ctx context.Context, s *store.Store) (string, error) { return say("set", setOwner(nearID)(ctx, s)) },
		},
		{
			lookup: "the owner before", row: owner, want: nearID, misses: append(otherTenants(), miss{column: "is_owner", value: false}),
			look: func(ctx context.Context, s *store.Store) (string, error) {
				return s.SetOwner(ctx, nearTenant, "", "ann", storetest.Time)
			},
		},
		{
			lookup: "the owner of another tenant, when one ceases to be", row: owner.with("tenant_id", highTenant), beside: []row{owner}, want: nearID,
			look: effect(setOwner(""), ownerOf(highTenant)), misses: []miss{{column: "is_owner", value: false}},
		},
		{
			lookup: "the user who is forgotten", row: namelessUser(), look: forgotten, none: "a user", misses: key,
		},
		{
			lookup: "the results of a user who is forgotten", row: nearEvent(), beside: []row{nearUser()}, look: forgotten, want: "a result of 0 bytes",
			none: "a result of 1 bytes", misses: append(otherTenants(), around("user_id", lowID, highID)...),
		},
	})
}

func TestMovedAndPinnedIdentitiesAreNoNearOnes(t *testing.T) {
	from := store.Anchor{Kind: "oidc", Issuer: "m"}
	// moved says what kinds and issuers the identities of all tenants have afterwards.
	moved := func(m store.IdentityMove) look {
		m.Tenant, m.From = nearTenant, from
		return effect(func(ctx context.Context, s *store.Store) error {
			_, err := s.MoveIdentities(ctx, m, "ann", storetest.Time)
			return err
		}, allIdentities)
	}
	pin := effect(func(ctx context.Context, s *store.Store) error {
		return s.PinIdentities(ctx, store.IdentityGroup{TenantID: nearTenant, Issuer: "m", Source: "m"}, "saml", "ann", storetest.Time)
	}, func(ctx context.Context, s *store.Store) (string, error) {
		groups, err := s.IdentityGroups(ctx, false)
		return sayAll(groups, err, func(g store.IdentityGroup) string { return map[bool]string{true: "pinned"}[g.Kind == "saml"] })
	})
	to := store.Anchor{Kind: "saml", Issuer: "z"}
	provider := effect(func(ctx context.Context, s *store.Store) error {
		_, err := s.MoveIdentities(ctx, store.IdentityMove{Tenant: nearTenant, From: from, To: to, Source: "m", Anew: true}, "ann", storetest.Time)
		return err
	}, func(ctx context.Context, s *store.Store) (string, error) {
		var words []string
		for _, tenant := range []string{lowTenant, nearTenant, highTenant} {
			users, err := s.Users(ctx, store.UserFilter{Tenant: tenant})
			if err != nil {
				return "", err
			}
			for _, u := range users {
				if u.AuthProvider == "saml" {
					words = append(words, "waits for SAML")
				}
			}
		}
		return strings.Join(words, ", "), nil
	})
	counted := func(ctx context.Context, s *store.Store) (string, error) {
		c, err := s.CountIdentities(ctx, store.IdentityMove{Tenant: nearTenant, From: from, To: to})
		return fmt.Sprintf("%d identities, %d of owners", c.Identities, c.Owners), err
	}
	anchor := slices.Concat(otherTenants(), []miss{{column: "kind", value: "feed"}}, around("issuer", "l", "n"))
	twin := nearIdentity().with("issuer", "z")
	runNearMisses(t, []nearMiss{
		{lookup: "the identities that are moved", row: nearIdentity(), misses: anchor, want: "moved", look: moved(store.IdentityMove{To: to})},
		{
			lookup: "the user whose identity would be moved", row: namelessUser().with("is_owner", true), beside: []row{nearIdentity()}, want: "1 identities, 1 of owners",
			none: "0 identities, 0 of owners", misses: slices.Concat(otherTenants(), around("id", lowID, highID)), look: counted,
		},
		{
			lookup: "the owner whose identity would be moved", row: namelessUser().with("is_owner", true), beside: []row{nearIdentity()}, want: "1 identities, 1 of owners",
			none: "1 identities, 0 of owners", misses: []miss{{column: "is_owner", value: false}}, look: counted,
		},
		{
			lookup: "the identity under the new anchor, which keeps one from being moved", row: twin, beside: []row{nearIdentity()}, want: "moved", none: "moved, moved",
			misses: slices.Concat(otherTenants(), around("subject", "l", "n")), look: moved(store.IdentityMove{To: to}),
		},
		{
			lookup: "the identity under the new issuer, which keeps one from being moved", row: twin, beside: []row{nearIdentity()}, want: "moved", none: "moved",
			misses: around("issuer", "l", "n"), look: moved(store.IdentityMove{To: to}),
		},
		{
			lookup: "the identities that are ended", row: nearIdentity(), misses: append(anchor, around("source", "l", "n")...), none: "there",
			look: func(ctx context.Context, s *store.Store) (string, error) {
				_, err := moved(store.IdentityMove{To: to, Source: "m", Anew: true})(ctx, s)
				if err != nil {
					return "", err
				}
				groups, err := s.IdentityGroups(ctx, false)
				return strings.Repeat("there", len(groups)), err
			},
		},
		{
			lookup: "the identities that are pinned", row: nearIdentity().with("kind", ""), want: "pinned", look: pin,
			misses: slices.Concat(otherTenants(), around("issuer", "l", "n"), around("source", "l", "n"), []miss{{column: "kind", value: "oidc"}}),
		},
		{
			lookup: "the user whose last identity ends", row: namelessUser(), beside: []row{nearIdentity()}, want: "waits for SAML", look: provider,
			misses: slices.Concat(otherTenants(), around("id", lowID, highID), []miss{{column: "auth_provider", value: "local"}}),
		},
		{
			lookup: "the identity that ends as the last one of a user", row: nearIdentity(), beside: []row{namelessUser()}, want: "waits for SAML", look: provider,
			misses: slices.Concat(anchor, around("user_id", lowID, highID), around("source", "l", "n")),
		},
		{
			lookup: "another identity of a user whose first one ends", row: nearIdentity().with("kind", "saml", "subject", "z"), beside: []row{namelessUser(), nearIdentity()},
			look: provider, none: "waits for SAML",
			misses: slices.Concat(otherTenants(), around("user_id", lowID, highID), []miss{{column: "kind", value: "oidc"}}),
		},
	})
}

// allIdentities says which identities of all tenants have the anchor to which they are moved.
func allIdentities(ctx context.Context, s *store.Store) (string, error) {
	groups, err := s.IdentityGroups(ctx, false)
	var words []string
	for _, g := range groups {
		if g.Issuer == "z" {
			words = append(words, "moved")
		}
	}
	return strings.Join(words, ", "), err
}

func TestCredentialsAndSourcesAreChangedWithoutNearOnes(t *testing.T) {
	credentials := func(word func(c store.Credential) string) look {
		return list(func(ctx context.Context, s *store.Store) ([]store.Credential, error) { return s.Credentials(ctx, "") }, word)
	}
	now := after(storetest.Time)
	at := func(t time.Time) string { return map[bool]string{true: "now"}[t.Equal(now)] }
	revoke := effect(func(ctx context.Context, s *store.Store) error { return s.RevokeCredential(ctx, "m", "ann", now) },
		credentials(func(c store.Credential) string { return at(c.RevokedAt) }))
	touch := effect(func(ctx context.Context, s *store.Store) error {
		return s.TouchCredentials(ctx, map[string]time.Time{"m": now})
	}, credentials(func(c store.Credential) string { return at(c.LastUsedAt) }))
	config := func(ctx context.Context, s *store.Store) (string, error) {
		old := store.Source{TenantID: nearTenant, Name: "m", Kind: "oidc", Config: []byte("{}")}
		return say("replaced", s.ReplaceSourceConfig(ctx, old, []byte("[]"), "ann", storetest.Time))
	}
	runNearMisses(t, []nearMiss{
		{
			lookup: "the credential that is revoked", row: nearCredential(), want: "now", look: revoke,
			misses: slices.Concat(around("id", "l", "n"), []miss{{column: "revoked_at", value: storetest.Time}}),
		},
		{
			lookup: "the credential that was used", row: nearCredential(), want: "now", look: touch,
			misses: slices.Concat(around("id", "l", "n"), []miss{{column: "last_used_at", value: after(now)}}),
		},
		{lookup: "the credential that was used again", row: nearCredential().with("last_used_at", storetest.Time), want: "now", look: touch},
		{
			lookup: "the source whose configuration is replaced", row: nearSource(), want: "replaced", look: config,
			misses: slices.Concat(otherTenants(), around("name", "l", "n"), []miss{
				{column: "kind", value: "saml"},
				{column: "config", value: []byte("[ ]")},
				{column: "removed_at", value: storetest.Time},
			}),
		},
	})
}

func TestWhatWaitsIsClaimedAndEndedWithoutNearRows(t *testing.T) {
	now := storetest.Time
	claimParked := list(func(ctx context.Context, s *store.Store) ([]store.Parked, error) {
		return s.ClaimParked(ctx, "ann", 9, time.Minute)
	}, func(p store.Parked) string { return p.Key })
	claimOutbox := list(func(ctx context.Context, s *store.Store) ([]store.Outbox, error) {
		return s.ClaimOutbox(ctx, "ann", time.Second, 9, time.Minute)
	}, func(o store.Outbox) string { return o.ID })
	parkedLeft := list(func(ctx context.Context, s *store.Store) ([]store.Parked, error) {
		return s.ClaimParked(ctx, "ann", 9, time.Minute)
	}, func(p store.Parked) string { return p.Reason })
	outboxLeft := list(func(ctx context.Context, s *store.Store) ([]string, error) { return s.OutboxAfter(ctx, "", 9) }, func(id string) string { return id })
	lettersLeft := list(func(ctx context.Context, s *store.Store) ([]store.DeadLetter, error) {
		return s.DeadLetters(ctx, store.DeadLetterFilter{})
	}, func(d store.DeadLetter) string { return d.State })
	inFlightLeft := list(func(ctx context.Context, s *store.Store) ([]store.InFlight, error) { return s.InFlight(ctx) }, func(f store.InFlight) string { return "in flight" })
	aged := now.Add(-time.Second)
	owed := nearOutbox().with("at", aged)
	leased := miss{column: "claimed_until", value: now.Add(time.Microsecond)}
	runNearMisses(t, []nearMiss{
		{
			lookup: "the parked events that are due", row: nearParked(), want: "m", look: claimParked,
			misses: []miss{{column: "not_before", value: now.Add(time.Microsecond)}, leased},
		},
		{lookup: "the parked events that are due, claimed before", row: nearParked().with("claimed_until", now), want: "m", look: claimParked},
		{
			lookup: "the parked events that are due, claimed before the clock was set back", want: "m", look: claimParked,
			row: nearParked().with("claimed_until", now.Add(2*time.Minute+time.Microsecond)), misses: []miss{{column: "claimed_until", value: now.Add(2 * time.Minute)}},
		},
		{
			lookup: "the parked events that were parked before the clock was set back", want: "m", look: claimParked,
			row: nearParked().with("not_before", now.Add(time.Hour), "parked_at", now.Add(time.Minute+time.Microsecond)), misses: []miss{{column: "parked_at", value: now.Add(time.Minute)}},
		},
		{
			lookup: "the parked events that are due, without others", row: nearParked().with("id", 6, "key", "other", "not_before", after(now)), beside: []row{nearParked()}, look: claimParked,
			want: "m", none: "m, other", misses: []miss{{column: "not_before", value: now}},
		},
		{
			lookup: "the parked event that is parked again", row: nearParked(), want: "again", none: "m", misses: around("id", 4, 6),
			look: effect(func(ctx context.Context, s *store.Store) error {
				return s.Repark(ctx, []store.Parked{{ID: 5, Reason: "again"}})
			}, parkedLeft),
		},
		{
			lookup: "the parked event that is deleted", row: nearParked(), none: "m", misses: around("id", 4, 6),
			look: effect(func(ctx context.Context, s *store.Store) error { return s.DeleteParked(ctx, []int64{5}) }, parkedLeft),
		},
		{
			lookup: "the results that are owed", row: owed, want: "m", look: claimOutbox,
			misses: []miss{{column: "at", value: aged.Add(time.Microsecond)}, {column: "at", value: now.Add(time.Minute)}, leased},
		},
		{lookup: "the results that are owed, from before the clock was set back", row: owed.with("at", now.Add(time.Minute+time.Microsecond)), want: "m", look: claimOutbox},
		{
			lookup: "the results that are owed, claimed before the clock was set back", want: "m", look: claimOutbox,
			row: owed.with("claimed_until", now.Add(2*time.Minute+time.Microsecond)), misses: []miss{{column: "claimed_until", value: now.Add(2 * time.Minute)}},
		},
		{lookup: "the results that are owed, claimed before", row: owed.with("claimed_until", now), want: "m", look: claimOutbox},
		{
			lookup: "the results that are owed, without others", row: owed.with("id", "other", "at", aged.Add(time.Microsecond)), beside: []row{owed}, look: claimOutbox,
			want: "m", none: "m, other", misses: []miss{{column: "at", value: aged}},
		},
		{
			lookup: "the result that is deleted", row: nearOutbox(), none: "kept", misses: around("id", "l", "n"),
			look: effect(func(ctx context.Context, s *store.Store) error { return s.DeleteOutbox(ctx, []string{"m"}) },
				func(ctx context.Context, s *store.Store) (string, error) {
					left, err := outboxLeft(ctx, s)
					return map[bool]string{false: "kept"}[left == ""], err
				}),
		},
		{
			lookup: "the dead letter whose state changes, unless it was replayed", row: nearDeadLetter(), want: "discarded", none: "replayed", look: effect(
				func(ctx context.Context, s *store.Store) error {
					return s.UpsertDeadLetters(ctx, []store.DeadLetter{{Sequence: 5, State: store.DeadLetterDiscarded}})
				}, lettersLeft),
			misses: []miss{{column: "state", value: store.DeadLetterReplayed}},
		},
		{
			lookup: "the in-flight marker that is cleared", row: nearInFlight(), none: "in flight",
			misses: slices.Concat(around("event", "l", "n"), around("run", "l", "n")),
			look:   effect(func(ctx context.Context, s *store.Store) error { return s.ClearInFlight(ctx, []string{"m"}, "m") }, inFlightLeft),
		},
		{
			lookup: "the in-flight markers that are cleared, whatever their run", row: nearInFlight(), none: "in flight",
			misses: around("event", "l", "n"),
			look:   effect(func(ctx context.Context, s *store.Store) error { return s.ClearInFlight(ctx, []string{"m"}, "") }, inFlightLeft),
		},
		{
			lookup: "the in-flight markers that are kept", row: nearInFlight().with("at", before(now)), want: "kept", none: "as before",
			misses: around("run", "l", "n"),
			look: func(ctx context.Context, s *store.Store) (string, error) {
				if err := s.KeepInFlight(ctx, "m", now); err != nil {
					return "", err
				}
				rows, err := s.InFlight(ctx)
				for _, r := range rows {
					if r.At.Equal(now) {
						return "kept", err
					}
				}
				return "as before", err
			},
		},
		{
			lookup: "the in-flight markers that are pruned", row: nearInFlight().with("at", before(now)), want: "1 pruned", none: "0 pruned", misses: []miss{{column: "at", value: now}},
			look: func(ctx context.Context, s *store.Store) (string, error) {
				n, err := s.PruneInFlight(ctx, now)
				return fmt.Sprint(n, " pruned"), err
			},
		},
		{
			lookup: "the used ids that are pruned", row: nearUsedID().with("until", before(now)), want: "1 pruned", none: "0 pruned", misses: []miss{{column: "until", value: now}},
			look: func(ctx context.Context, s *store.Store) (string, error) {
				n, err := s.Prune(ctx, store.PruneUsedIDs, now, 10)
				return fmt.Sprint(n, " pruned"), err
			},
		},
	})
}

func TestReservationsAndSkeletonsTakeNoNearUsers(t *testing.T) {
	tenants := []string{lowTenant, nearTenant, highTenant}
	// users says something of every user, with the number of the tenant.
	users := func(word func(u store.User) string) look {
		return func(ctx context.Context, s *store.Store) (string, error) {
			var words []string
			for i, tenant := range tenants {
				all, err := s.Users(ctx, store.UserFilter{Tenant: tenant})
				if err != nil {
					return "", err
				}
				for _, u := range all {
					if w := word(u); w != "" {
						words = append(words, fmt.Sprintf("%s in tenant %d", w, i+1))
					}
				}
			}
			return strings.Join(words, ", "), nil
		}
	}
	reserve := func(r store.Reservation) look {
		r.Tenant, r.Source, r.Domains = nearTenant, "m", []string{"x.example"}
		return effect(func(ctx context.Context, s *store.Store) error {
			d, err := s.Directory(ctx)
			if err != nil {
				return err
			}
			d.Tenants[0].Name += "'"
			_, err = s.ApplyDirectory(ctx, d.Revision, d, "ann", storetest.Time, r)
			return err
		}, users(func(u store.User) string { return map[bool]string{true: "reserved " + u.ID}[u.EmailReserved] }))
	}
	const theReserved = "reserved " + nearID + " in tenant 2"
	loose := nearUser().with("email_reserved", false)
	double := loose.with("id", lowID, "created_at", before(storetest.Time), "identity_name_key", nil, "name_skeleton", nil)
	source := slices.Concat(otherTenants(), around("created_by", "l", "n"), []miss{{column: "email_key", value: "m@l.example"}, {column: "email_key", value: "m@n.x.example"}})
	decide := func(ctx context.Context, s *store.Store) (string, error) {
		var asked []string
		_, err := s.DecideReservations(ctx, func(tenants []string) []store.Reservation {
			asked = tenants
			return nil
		})
		return strings.Join(asked, ", "), err
	}
	skeletons := effect(func(ctx context.Context, s *store.Store) error {
		_, err := s.DecideSkeletons(ctx, strings.ToLower)
		return err
	}, users(func(u store.User) string { return "name " + u.IdentityName + " with skeleton " + u.NameSkeleton }))
	nameless := namelessUser()
	runNearMisses(t, []nearMiss{
		{lookup: "the user whose address is reserved", row: loose, misses: source, want: theReserved, look: reserve(store.Reservation{})},
		{
			lookup: "the user whose proved address is reserved", row: loose, misses: append(source, miss{column: "email_verified", value: false}), want: theReserved,
			look: reserve(store.Reservation{Proved: true}),
		},
		{
			lookup: "the user from before whose address is reserved", row: loose.with("email_reserved", nil), misses: append(source, miss{column: "email_reserved", value: false}),
			want: theReserved, look: reserve(store.Reservation{Undecided: true}),
		},
		{
			lookup: "the link by which a source proves an address", row: nearIdentity(), beside: []row{loose.with("created_by", "other")}, want: theReserved,
			misses: slices.Concat(otherTenants(), around("user_id", lowID, highID), around("source", "l", "n")), look: reserve(store.Reservation{Proved: true}),
		},
		{
			lookup: "the user of the same id in another tenant, who gets nothing", row: loose.with("tenant_id", highTenant), beside: []row{loose}, want: theReserved,
			misses: []miss{{column: "tenant_id", value: lowTenant}}, none: theReserved, look: reserve(store.Reservation{}),
		},
		{
			lookup: "the earlier user of the address, who gets it in place of a later one", row: double, beside: []row{loose}, want: "reserved " + lowID + " in tenant 2",
			none: theReserved, misses: otherTenants(), look: reserve(store.Reservation{}),
		},
		{
			lookup: "the user for whom the address is reserved already", row: double.with("email_reserved", true, "created_by", "other"), beside: []row{loose},
			want: "reserved " + lowID + " in tenant 2", look: reserve(store.Reservation{}),
		},
		{
			lookup: "a tenant with undecided users", row: nameless.with("email_reserved", nil), beside: []row{nameless.with("tenant_id", lowTenant, "email_reserved", nil)},
			want: lowTenant + ", " + nearTenant, none: lowTenant, misses: []miss{{column: "email_reserved", value: false}}, look: decide,
		},
		{
			lookup: "the user who gets a skeleton, beside one of the same id in another tenant", row: nameless.with("identity_name", "M"),
			beside: []row{nameless.with("tenant_id", highTenant, "identity_name", "H")}, look: skeletons,
			want: "name M with skeleton m in tenant 2, name H with skeleton h in tenant 3",
		},
	})
}
