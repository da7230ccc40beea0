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

// A list's look says how many rows there were, and what each was.
func list[T any](read func(ctx context.Context, s *store.Store) ([]T, error), word func(T) string) look {
	return func(ctx context.Context, s *store.Store) (string, error) {
		rows, err := read(ctx, s)
		return sayAll(rows, err, word)
	}
}

func before(t time.Time) time.Time { return t.Add(-time.Hour) }
func after(t time.Time) time.Time  { return t.Add(time.Hour) }

func TestListsMissNearRows(t *testing.T) {
	events := func(f store.EventFilter) look {
		return list(func(ctx context.Context, s *store.Store) ([]store.Event, error) { return s.Events(ctx, f) }, func(e store.Event) string { return sayEvent(&e) })
	}
	users := func(f store.UserFilter) look {
		return list(func(ctx context.Context, s *store.Store) ([]store.User, error) { return s.Users(ctx, f) }, func(u store.User) string { return sayUser(&u) })
	}
	identities := func(f store.IdentityFilter) look {
		return list(func(ctx context.Context, s *store.Store) ([]store.Identity, error) { return s.Identities(ctx, f) }, func(d store.Identity) string { return d.Subject })
	}
	letters := func(f store.DeadLetterFilter) look {
		return list(func(ctx context.Context, s *store.Store) ([]store.DeadLetter, error) { return s.DeadLetters(ctx, f) },
			func(d store.DeadLetter) string { return fmt.Sprint("dead letter ", d.Sequence) })
	}
	audit := func(f store.AuditFilter) look {
		return list(func(ctx context.Context, s *store.Store) ([]store.AuditEntry, error) { return s.AuditEntries(ctx, f) }, func(e store.AuditEntry) string { return e.Object })
	}
	owners := list(func(ctx context.Context, s *store.Store) ([]store.User, error) { return s.OwnersWithoutLogin(ctx) }, func(u store.User) string { return sayUser(&u) })
	count := func(say func(store.Counts) int64) look {
		return func(ctx context.Context, s *store.Store) (string, error) {
			c, err := s.Counts(ctx)
			return strings.Repeat("one", int(say(c))), err
		}
	}
	key := store.EventKey{TenantID: nearTenant, Source: "m", EventID: "m", Scope: "m"}
	eventKey := slices.Concat(otherTenants(), around("source", "l", "n"), around("event_id", "l", "n"), around("scope", "l", "n"))
	owner := nearUser().with("is_owner", true)
	runNearMisses(t, []nearMiss{
		{
			lookup: "Event", row: nearEvent(), together: true, want: theEvent, misses: eventKey,
			look: func(ctx context.Context, s *store.Store) (string, error) {
				e, err := s.Event(ctx, key)
				return say(sayEvent(&e), err)
			},
		},
		{
			lookup: "Events by all of a filter", row: nearEvent(), want: theEvent,
			misses: slices.Concat(otherTenants(), around("source", "l", "n"), around("event_id", "l", "n"), around("credential", "l", "n"), around("outcome", "linked", "updated"),
				[]miss{{column: "at", value: before(storetest.Time)}}),
			look: events(store.EventFilter{Tenant: nearTenant, Source: "m", EventID: "m", Credential: "m", Outcome: "created", Since: storetest.Time}),
		},
		{
			lookup: "Events behind a key", row: nearEvent(), want: theEvent,
			misses: []miss{{column: "tenant_id", value: lowTenant}, {column: "source", value: "l"}, {column: "event_id", value: "l"}, {column: "scope", value: "l"}},
			look:   events(store.EventFilter{After: store.EventKey{TenantID: nearTenant, Source: "m", EventID: "m", Scope: "l"}}),
		},
		{
			lookup: "User", row: namelessUser(), together: true, want: theUser, misses: slices.Concat(otherTenants(), around("id", lowID, highID)),
			look: func(ctx context.Context, s *store.Store) (string, error) {
				u, err := s.User(ctx, nearTenant, nearID)
				return say(sayUser(&u), err)
			},
		},
		{
			lookup: "Users by all of a filter", row: nearUser(), want: theUser,
			misses: slices.Concat(otherTenants(), around("email_key", "l@x.example", "n@x.example"), around("created_by", "l", "n"), []miss{{column: "id", value: lowID}}),
			look:   users(store.UserFilter{Tenant: nearTenant, Email: "m@x.example", Source: "m", After: "10000000-0000-7000-8000-00000000000f"}),
		},
		{lookup: "an owner without a login", row: owner, want: theUser, look: owners, misses: []miss{{column: "is_owner", value: false}}},
		{
			lookup: "the login of an owner", row: nearIdentity(), beside: []row{owner}, none: theUser, look: owners,
			misses: slices.Concat(otherTenants(), around("user_id", lowID, highID)),
		},
		{
			lookup: "Identities by all of a filter", row: nearIdentity().with("kind", ""), want: "m", misses: slices.Concat(otherTenants(), around("user_id", lowID, highID),
				around("source", "l", "n"), around("issuer", "l", "n"), []miss{{column: "kind", value: "oidc"}}),
			look: identities(store.IdentityFilter{Tenant: nearTenant, UserID: nearID, Source: "m", Issuer: "m", Unpinned: true}),
		},
		{
			lookup: "Identities behind another one", row: nearIdentity(), want: "m", misses: []miss{{column: "issuer", value: "l"}, {column: "subject", value: "l"}},
			look: identities(store.IdentityFilter{Tenant: nearTenant, After: store.Identity{Issuer: "m", Subject: "l"}}),
		},
		{
			lookup: "Identities behind another issuer", row: nearIdentity(), want: "m", misses: []miss{{column: "issuer", value: "l"}},
			look: identities(store.IdentityFilter{Tenant: nearTenant, After: store.Identity{Issuer: "l", Subject: "z"}}),
		},
		{
			lookup: "groups of identities that are not pinned", row: nearIdentity().with("kind", ""), want: "group of m", misses: []miss{{column: "kind", value: "oidc"}},
			look: list(func(ctx context.Context, s *store.Store) ([]store.IdentityGroup, error) {
				return s.IdentityGroups(ctx, true)
			},
				func(g store.IdentityGroup) string { return "group of " + g.Issuer }),
		},
		{
			lookup: "Credential", row: nearCredential(), together: true, want: "m", misses: slices.Concat(around("id", "l", "n"), []miss{{column: "id", value: "M"}}),
			look: func(ctx context.Context, s *store.Store) (string, error) {
				c, err := s.Credential(ctx, "m")
				return say(c.ID, err)
			},
		},
		{
			lookup: "Credentials of a tenant", row: nearCredential(), want: "m", misses: otherTenants(),
			look: list(func(ctx context.Context, s *store.Store) ([]store.Credential, error) {
				return s.Credentials(ctx, nearTenant)
			}, func(c store.Credential) string { return c.ID }),
		},
		{
			lookup: "IsParked", row: nearParked(), want: "parked", misses: around("key", "l", "n"),
			look: func(ctx context.Context, s *store.Store) (string, error) {
				is, err := s.IsParked(ctx, "m", "another", storetest.Time)
				return map[bool]string{true: "parked"}[is], err
			},
		},
		{
			lookup: "IsParked by a former key", row: nearParked(), want: "parked", misses: slices.Concat(around("key", "l", "n"), around("stored_at", before(storetest.Time), after(storetest.Time))),
			look: func(ctx context.Context, s *store.Store) (string, error) {
				is, err := s.IsParked(ctx, "another", "m", storetest.Time)
				return map[bool]string{true: "parked"}[is], err
			},
		},
		{
			lookup: "ParkedAfter", row: nearParked(), want: "m", misses: []miss{{column: "id", value: 4}},
			look: list(func(ctx context.Context, s *store.Store) ([]store.Waiting, error) { return s.ParkedAfter(ctx, 4, 9) }, func(w store.Waiting) string { return w.Key }),
		},
		{
			lookup: "OutboxAfter", row: nearOutbox(), want: "m", misses: []miss{{column: "id", value: "l"}},
			look: list(func(ctx context.Context, s *store.Store) ([]string, error) { return s.OutboxAfter(ctx, "l", 9) }, func(id string) string { return id }),
		},
		{
			lookup: "RepeatsAfter", row: nearRepeat(), want: "m", misses: []miss{{column: "origin", value: "l"}, {column: "at", value: before(storetest.Time)}},
			look: list(func(ctx context.Context, s *store.Store) ([]store.Repeat, error) {
				return s.RepeatsAfter(ctx, storetest.Time, "l", 9)
			},
				func(r store.Repeat) string { return r.Origin }),
		},
		{
			lookup: "DeadLetter", row: nearDeadLetter(), together: true, want: "dead letter 5", misses: around("sequence", 4, 6),
			look: func(ctx context.Context, s *store.Store) (string, error) {
				d, err := s.DeadLetter(ctx, 5)
				return say(fmt.Sprint("dead letter ", d.Sequence), err)
			},
		},
		{
			lookup: "DeadLetters by all of a filter", row: nearDeadLetter(), want: "dead letter 5",
			misses: []miss{
				{column: "tenant", value: "n"},
				{column: "source", value: "n"},
				{column: "code", value: "n"},
				{column: "fingerprint", value: "n"},
				{column: "state", value: store.DeadLetterDiscarded},
				{column: "campaign", value: "n"},
				{column: "sequence", value: 4},
			},
			look: letters(store.DeadLetterFilter{Tenant: "m", Source: "m", Code: "m", Fingerprint: "m", State: store.DeadLetterOpen, Campaign: "m", After: 4}),
		},
		{
			lookup: "InFlight of an event", row: nearInFlight(), want: "m", misses: around("event", "l", "n"),
			look: list(func(ctx context.Context, s *store.Store) ([]store.InFlight, error) { return s.InFlight(ctx, "m") }, func(f store.InFlight) string { return f.Worker }),
		},
		{
			lookup: "AuditEntries by all of a filter", row: nearAudit(), want: "m",
			misses: []miss{
				{column: "tenant", value: "n"},
				{column: "who", value: "n"},
				{column: "action", value: "n"},
				{column: "at", value: before(storetest.Time)},
				{column: "id", value: 6},
			},
			look: audit(store.AuditFilter{Tenant: "m", Who: "m", Action: "m", Since: storetest.Time, Before: 6}),
		},
		{
			lookup: "the count of open dead letters", row: nearDeadLetter(), want: "one", misses: []miss{{column: "state", value: store.DeadLetterDiscarded}},
			look: count(func(c store.Counts) int64 { return c.OpenDeadLetters }),
		},
	})
}
