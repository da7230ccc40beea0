package store_test

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

const (
	otherIssuer = "https://moved.example"
	thirdIssuer = "https://third.example"
)

// eachWithDatabase runs test on every kind of database, with the directory of [storetest.Seed] and a handle for what only
// an earlier version has written.
func eachWithDatabase(t *testing.T, test func(t *testing.T, s *store.Store, db *sql.DB)) {
	t.Helper()
	for _, kind := range storetest.Kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			o := storetest.Migrated(t, kind)
			s := storetest.OpenOptions(t, o)
			storetest.Seed(t, s)
			test(t, s, storetest.Database(t, o))
		})
	}
}

func mustExec(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("running %q on the database: got error %v, want none", statement, err)
	}
}

// identify adds an identity of the anchor to a user.
func identify(w *store.Write, u store.User, kind, issuer, subject, source string) {
	w.Identities = append(w.Identities, store.Identity{
		TenantID: u.TenantID, Kind: kind, Issuer: issuer, Subject: subject, UserID: u.ID, Source: source, CreatedAt: storetest.Time,
	})
}

// identitiesOf lists all identities of a tenant, each as its kind, issuer, subject and source.
func identitiesOf(t *testing.T, s *store.Store, tenant string) []string {
	t.Helper()
	all, err := s.Identities(t.Context(), store.IdentityFilter{Tenant: tenant, Limit: 1000})
	if err != nil {
		t.Fatalf("list the identities: %v", err)
	}
	var lines []string
	for _, d := range all {
		lines = append(lines, fmt.Sprintf("%s %s %s %s", cmp.Or(d.Kind, "unknown"), d.Issuer, d.Subject, d.Source))
	}
	return lines
}

// auditOf returns the entries of the action, latest first, with their details decoded.
func auditOf(t *testing.T, s *store.Store, action string) ([]store.AuditEntry, []map[string]any) {
	t.Helper()
	entries, err := s.AuditEntries(t.Context(), store.AuditFilter{Action: action})
	if err != nil {
		t.Fatalf("list the audit: %v", err)
	}
	var details []map[string]any
	for _, e := range entries {
		d := map[string]any{}
		if err := json.Unmarshal(e.Detail, &d); err != nil {
			t.Fatalf("the detail of an audit entry of %s is no JSON object: %v", action, err)
		}
		details = append(details, d)
		if e.Who != "ann" || !e.At.Equal(storetest.Time) {
			t.Errorf("the audit entry of %s says %s at %s, wanted ann at %s", action, e.Who, e.At, storetest.Time)
		}
	}
	return entries, details
}

func TestIdentitiesAreListedPageByPageAndByFilter(t *testing.T) {
	t.Parallel()
	eachWithDatabase(t, func(t *testing.T, s *store.Store, db *sql.DB) {
		ann, bob, cat := storetest.User(storetest.Acme, 1), storetest.User(storetest.Acme, 2), storetest.User(storetest.Globex, 3)
		w := store.Write{Users: []store.User{ann, bob, cat}}
		identify(&w, ann, "oidc", "https://b.example", "a", "okta")
		identify(&w, ann, "saml", "https://b.example", "B", "adfs")
		identify(&w, bob, "oidc", "https://b.example", "é", "okta")
		identify(&w, bob, "oidc", "https://a.example", "z", "ping")
		identify(&w, bob, "oidc", "https://A.example", "z", "ping")
		identify(&w, bob, "oidc", "https://a.example", "old", "ping")
		identify(&w, cat, "oidc", "https://a.example", "y", "okta")
		mustWrite(t, s, w)
		mustExec(t, db, `update identities set kind = '' where subject = 'old'`)
		want := []string{ // by the bytes of issuer and subject
			"oidc https://A.example z ping", "unknown https://a.example old ping", "oidc https://a.example z ping",
			"saml https://b.example B adfs", "oidc https://b.example a okta", "oidc https://b.example é okta",
		}
		for _, size := range []int{1, 2, 4, 6, 0} {
			all := pages(t, func(ctx context.Context, last *store.Identity) ([]store.Identity, error) {
				f := store.IdentityFilter{Tenant: strings.ToUpper(storetest.Acme), Limit: size}
				if last != nil {
					f.After = *last
				}
				return s.Identities(ctx, f)
			})
			var got []string
			for _, d := range all {
				got = append(got, fmt.Sprintf("%s %s %s %s", cmp.Or(d.Kind, "unknown"), d.Issuer, d.Subject, d.Source))
			}
			equal(t, fmt.Sprintf("in pages of %d", size), got, want)
		}
		for name, c := range map[string]struct {
			filter store.IdentityFilter
			want   string
		}{
			"user":                   {store.IdentityFilter{Tenant: storetest.Acme, UserID: strings.ToUpper(ann.ID)}, "B a"},
			"source":                 {store.IdentityFilter{Tenant: storetest.Acme, Source: "okta"}, "a é"},
			"issuer":                 {store.IdentityFilter{Tenant: storetest.Acme, Issuer: "https://a.example"}, "old z"},
			"not pinned":             {store.IdentityFilter{Tenant: storetest.Acme, Unpinned: true}, "old"},
			"not pinned of a source": {store.IdentityFilter{Tenant: storetest.Acme, Unpinned: true, Source: "okta"}, ""},
			"another tenant":         {store.IdentityFilter{Tenant: storetest.Globex}, "y"},
			"user of another tenant": {store.IdentityFilter{Tenant: storetest.Globex, UserID: ann.ID}, ""},
			"no tenant":              {store.IdentityFilter{}, ""},
			"tenant that is no id":   {store.IdentityFilter{Tenant: "acme"}, ""},
			"user that is no id":     {store.IdentityFilter{Tenant: storetest.Acme, UserID: "ann"}, ""},
		} {
			all, err := s.Identities(t.Context(), c.filter)
			var subjects []string
			for _, d := range all {
				subjects = append(subjects, d.Subject)
			}
			if got := strings.Join(subjects, " "); err != nil || got != c.want {
				t.Errorf("by %s: got the subjects %q, wanted %q: %v", name, got, c.want, err)
			}
		}
		issuers, err := s.SourceIssuers(t.Context(), strings.ToUpper(storetest.Acme), "ping")
		equal(t, "error of SourceIssuers", err, nil)
		equal(t, "issuers of a source", issuers, []string{"https://A.example", "https://a.example"})
	})
}

func TestIdentitiesWithoutAKindAreNotWritten(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		u := storetest.User(storetest.Acme, 1)
		d := storetest.Identity(u, "s")
		d.Kind = ""
		err := write(t.Context(), s, store.Write{Users: []store.User{u}, Identities: []store.Identity{d}})
		if row, ok := errors.AsType[*store.RowError](err); !ok || row.Record != "Identities" || row.Field != "Kind" {
			t.Errorf("an identity without a kind: got %v, wanted its field Kind refused", err)
		}
	})
}

// An issuer's subject is one person in a tenant, whatever kind of source says so.
func TestASubjectOfAnIssuerHasOneUserInATenant(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		ann, bob, elsewhere := storetest.User(storetest.Acme, 1), storetest.User(storetest.Acme, 2), storetest.User(storetest.Globex, 3)
		w := store.Write{Users: []store.User{ann, bob, elsewhere}}
		identify(&w, ann, "oidc", storetest.Issuer, "s", "okta")
		identify(&w, elsewhere, "oidc", storetest.Issuer, "s", "okta")
		mustWrite(t, s, w)
		for _, kind := range []string{"oidc", "saml"} {
			again := store.Write{Updates: []store.UserUpdate{{TenantID: bob.TenantID, UserID: bob.ID, Revision: 1, UpdatedAt: storetest.Time}}}
			identify(&again, bob, kind, storetest.Issuer, "s", "other")
			if err := write(t.Context(), s, again); !errors.Is(err, store.ErrRaced) {
				t.Errorf("the subject of ann's identity for bob, of kind %s: got %v, wanted a race that is lost", kind, err)
			}
		}
	})
}

func TestPinningGivesAKindToOneGroupOfIdentities(t *testing.T) {
	t.Parallel()
	eachWithDatabase(t, func(t *testing.T, s *store.Store, db *sql.DB) {
		ann, cat := storetest.User(storetest.Acme, 1), storetest.User(storetest.Globex, 2)
		w := store.Write{Users: []store.User{ann, cat}}
		identify(&w, ann, "oidc", storetest.Issuer, "1", "okta")
		identify(&w, ann, "oidc", storetest.Issuer, "2", "okta")
		identify(&w, ann, "oidc", otherIssuer, "3", "okta")
		identify(&w, ann, "oidc", storetest.Issuer, "4", "ping")
		identify(&w, cat, "oidc", storetest.Issuer, "5", "okta")
		mustWrite(t, s, w)
		mustExec(t, db, `update identities set kind = ''`)
		pinned := store.Write{Updates: []store.UserUpdate{{TenantID: ann.TenantID, UserID: ann.ID, Revision: 1, UpdatedAt: storetest.Time}}}
		identify(&pinned, ann, "oidc", storetest.Issuer, "6", "okta")
		mustWrite(t, s, pinned)

		groups := func(unpinned bool) []string {
			t.Helper()
			all, err := s.IdentityGroups(t.Context(), unpinned)
			if err != nil {
				t.Fatalf("list the groups: %v", err)
			}
			var lines []string
			for _, g := range all {
				tenant := map[string]string{storetest.Acme: "acme", storetest.Globex: "globex"}[g.TenantID]
				lines = append(lines, fmt.Sprintf("%s %s %s %s: %d", tenant, cmp.Or(g.Kind, "unknown"), g.Issuer, g.Source, g.Identities))
			}
			return lines
		}
		equal(t, "groups that are not pinned", groups(true), []string{
			"acme unknown " + storetest.Issuer + " okta: 2", "acme unknown " + storetest.Issuer + " ping: 1", "acme unknown " + otherIssuer + " okta: 1",
			"globex unknown " + storetest.Issuer + " okta: 1",
		})
		g := store.IdentityGroup{TenantID: storetest.Acme, Issuer: storetest.Issuer, Source: "okta", Identities: 2}
		for range 2 { // the second time there is nothing left to pin
			if err := s.PinIdentities(t.Context(), g, "saml", "ann", storetest.Time); err != nil {
				t.Fatalf("pin: %v", err)
			}
		}
		equal(t, "groups", groups(false), []string{
			"acme unknown " + storetest.Issuer + " ping: 1", "acme oidc " + storetest.Issuer + " okta: 1", "acme saml " + storetest.Issuer + " okta: 2",
			"acme unknown " + otherIssuer + " okta: 1", "globex unknown " + storetest.Issuer + " okta: 1",
		})
		entries, details := auditOf(t, s, "identities.pin")
		if len(entries) != 1 || entries[0].Tenant != storetest.Acme || entries[0].Object != "saml "+storetest.Issuer || details[0]["source"] != "okta" || details[0]["identities"] != 2.0 {
			t.Errorf("the audit has %d entries of pinning, wanted one that tells of 2 identities of the group: %v", len(entries), details)
		}
	})
}

// A move takes what has the tenant, kind and issuer that it names, and nothing that differs in one of them.
func TestMovingIdentities(t *testing.T) {
	t.Parallel()
	okta := store.Anchor{Kind: "oidc", Issuer: storetest.Issuer}
	moved := store.Anchor{Kind: "oidc", Issuer: otherIssuer}
	before := []string{
		"oidc " + storetest.Issuer + " a okta", "unknown " + storetest.Issuer + " ab old", "oidc " + storetest.Issuer + " b portal", "saml " + storetest.Issuer + " c adfs",
		"oidc " + storetest.Issuer + " twin okta", "unknown " + storetest.Issuer + " unpinned-twin old", "saml " + otherIssuer + " twin adfs", "oidc " + otherIssuer + " unpinned-twin portal",
		"oidc " + thirdIssuer + " a okta",
	}
	for name, c := range map[string]struct {
		move    store.IdentityMove
		count   store.IdentityCount
		changed map[string]string // lines of before; "" when they end
		detail  map[string]any
	}{
		"to another issuer": {
			store.IdentityMove{From: okta, To: moved},
			store.IdentityCount{Identities: 2, Owners: 1, Collisions: 1, Subjects: []string{"twin"}},
			map[string]string{before[0]: "oidc " + otherIssuer + " a okta", before[2]: "oidc " + otherIssuer + " b portal"},
			map[string]any{"to_kind": "oidc", "to_issuer": otherIssuer, "source": "", "identities": 2.0},
		},
		"to another kind and issuer": {
			store.IdentityMove{From: okta, To: store.Anchor{Kind: "saml", Issuer: otherIssuer}},
			store.IdentityCount{Identities: 2, Owners: 1, Collisions: 1, Subjects: []string{"twin"}},
			map[string]string{before[0]: "saml " + otherIssuer + " a okta", before[2]: "saml " + otherIssuer + " b portal"},
			map[string]any{"to_kind": "saml", "to_issuer": otherIssuer, "source": "", "identities": 2.0},
		},
		"to another kind of the same issuer": {
			store.IdentityMove{From: okta, To: store.Anchor{Kind: "saml", Issuer: storetest.Issuer}},
			store.IdentityCount{Identities: 3, Owners: 1},
			map[string]string{before[0]: "saml " + storetest.Issuer + " a okta", before[2]: "saml " + storetest.Issuer + " b portal", before[4]: "saml " + storetest.Issuer + " twin okta"},
			map[string]any{"to_kind": "saml", "to_issuer": storetest.Issuer, "source": "", "identities": 3.0},
		},
		"of unknown kind": {
			store.IdentityMove{From: store.Anchor{Issuer: storetest.Issuer}, To: okta},
			store.IdentityCount{Identities: 2},
			map[string]string{before[1]: "oidc " + storetest.Issuer + " ab old", before[5]: "oidc " + storetest.Issuer + " unpinned-twin old"},
			map[string]any{"to_kind": "oidc", "to_issuer": storetest.Issuer, "source": "", "identities": 2.0},
		},
		"of unknown kind to another issuer": {
			store.IdentityMove{From: store.Anchor{Issuer: storetest.Issuer}, To: moved},
			store.IdentityCount{Identities: 1, Collisions: 1, Subjects: []string{"unpinned-twin"}},
			map[string]string{before[1]: "oidc " + otherIssuer + " ab old"},
			map[string]any{"to_kind": "oidc", "to_issuer": otherIssuer, "source": "", "identities": 1.0},
		},
		"of an issuer that has none": {
			store.IdentityMove{From: store.Anchor{Kind: "oidc", Issuer: "https://none.example"}, To: moved},
			store.IdentityCount{},
			nil,
			map[string]any{"to_kind": "oidc", "to_issuer": otherIssuer, "source": "", "identities": 0.0},
		},
		"ending them": {
			store.IdentityMove{From: okta, To: moved, Anew: true},
			store.IdentityCount{Identities: 3, Owners: 1}, // collisions are none: nothing moves
			map[string]string{before[0]: "", before[2]: "", before[4]: ""},
			map[string]any{"to_kind": "oidc", "to_issuer": otherIssuer, "source": "", "identities": 3.0},
		},
		"ending those of one source": {
			store.IdentityMove{From: okta, To: moved, Anew: true, Source: "okta"},
			store.IdentityCount{Identities: 2, Owners: 1},
			map[string]string{before[0]: "", before[4]: ""},
			map[string]any{"to_kind": "oidc", "to_issuer": otherIssuer, "source": "okta", "identities": 2.0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachWithDatabase(t, func(t *testing.T, s *store.Store, db *sql.DB) {
				owner, ann, bob := storetest.User(storetest.Acme, 1), storetest.User(storetest.Acme, 2), storetest.User(storetest.Acme, 3)
				owner.IsOwner = true
				other := ann // of the same id
				other.TenantID, other.IsOwner = storetest.Globex, true
				w := store.Write{Users: []store.User{owner, ann, bob, other}}
				identify(&w, owner, "oidc", storetest.Issuer, "a", "okta")
				identify(&w, ann, "oidc", storetest.Issuer, "b", "portal")
				identify(&w, ann, "saml", storetest.Issuer, "c", "adfs")
				identify(&w, ann, "oidc", storetest.Issuer, "twin", "okta")
				identify(&w, bob, "saml", otherIssuer, "twin", "adfs")
				identify(&w, owner, "oidc", thirdIssuer, "a", "okta")
				identify(&w, bob, "oidc", storetest.Issuer, "ab", "old")
				identify(&w, bob, "oidc", storetest.Issuer, "unpinned-twin", "old")
				identify(&w, ann, "oidc", otherIssuer, "unpinned-twin", "portal")
				identify(&w, other, "oidc", storetest.Issuer, "a", "okta")
				identify(&w, other, "oidc", otherIssuer, "b", "okta") // no twin of that of Acme
				mustWrite(t, s, w)
				mustExec(t, db, `update identities set kind = '' where source = 'old'`)
				equal(t, "before", identitiesOf(t, s, storetest.Acme), before)

				m := c.move
				m.Tenant = strings.ToUpper(storetest.Acme)
				count, err := s.CountIdentities(t.Context(), m)
				equal(t, "error of the count", err, nil)
				equal(t, "count", count, c.count)
				n, err := s.MoveIdentities(t.Context(), m, "ann", storetest.Time)
				if err != nil || n != count.Identities {
					t.Errorf("moved %d identities, wanted the %d that were counted: %v", n, count.Identities, err)
				}
				var want []string
				for _, line := range before {
					if to, ok := c.changed[line]; ok {
						line = to
					}
					if line != "" {
						want = append(want, line)
					}
				}
				got := identitiesOf(t, s, storetest.Acme)
				slices.Sort(want)
				slices.Sort(got)
				equal(t, "after", got, want)
				equal(t, "of the other tenant", identitiesOf(t, s, storetest.Globex), []string{"oidc " + storetest.Issuer + " a okta", "oidc " + otherIssuer + " b okta"})

				action, none := "identities.move", "identities.end"
				if m.Anew {
					action, none = none, action
				}
				entries, details := auditOf(t, s, action)
				if len(entries) != 1 || entries[0].Tenant != storetest.Acme || entries[0].Object != cmp.Or(m.From.Kind, "unknown")+" "+m.From.Issuer {
					t.Fatalf("the audit has %d entries of %s, wanted one of tenant %s", len(entries), action, storetest.Acme)
				}
				equal(t, "detail of the audit", details[0], c.detail)
				if entries, _ := auditOf(t, s, none); len(entries) != 0 {
					t.Errorf("the audit has %d entries of %s, wanted none", len(entries), none)
				}

				count, err = s.CountIdentities(t.Context(), m)
				if err != nil || count.Identities != 0 || count.Collisions != c.count.Collisions {
					t.Errorf("afterwards %d are left to move, and %d collide; wanted 0 and %d: %v", count.Identities, count.Collisions, c.count.Collisions, err)
				}
			})
		})
	}
}

func TestTheFirstHundredCollisionsAreListed(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		u := storetest.User(storetest.Acme, 1)
		w := store.Write{Users: []store.User{u}}
		var want []string
		for i := range 105 {
			subject := fmt.Sprintf("%03d", 104-i)
			identify(&w, u, "oidc", storetest.Issuer, subject, "okta")
			identify(&w, u, "oidc", otherIssuer, subject, "okta")
			want = append(want, subject)
		}
		mustWrite(t, s, w)
		slices.Sort(want)
		c, err := s.CountIdentities(t.Context(), store.IdentityMove{Tenant: storetest.Acme, From: store.Anchor{Kind: "oidc", Issuer: storetest.Issuer}, To: store.Anchor{Kind: "oidc", Issuer: otherIssuer}})
		equal(t, "error of CountIdentities", err, nil)
		equal(t, "count", c, store.IdentityCount{Collisions: 105, Subjects: want[:100]})
	})
}

// Identities that end leave their users waiting for a first login of the new kind, unless they have another identity.
func TestUsersWhoseLastIdentityEndsWaitForTheNewKind(t *testing.T) {
	t.Parallel()
	okta := store.Anchor{Kind: "oidc", Issuer: storetest.Issuer}
	for name, c := range map[string]struct {
		to     store.Anchor
		source string
		want   map[string]string // providers afterwards, where they are not oidc
	}{
		"another kind":               {store.Anchor{Kind: "saml", Issuer: otherIssuer}, "", map[string]string{"last": "saml", "two of the anchor": "saml", "local": "local"}},
		"another kind of one source": {store.Anchor{Kind: "saml", Issuer: otherIssuer}, "okta", map[string]string{"last": "saml", "local": "local"}},
		"another issuer":             {store.Anchor{Kind: "oidc", Issuer: otherIssuer}, "", map[string]string{"local": "local"}},
		"no logins any more":         {store.Anchor{Kind: "feed"}, "", map[string]string{"local": "local"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, open func() *store.Store) {
				s := open()
				storetest.Seed(t, s)
				users := map[string]store.User{}
				var w store.Write
				for i, name := range []string{"last", "two of the anchor", "another issuer", "another kind", "local", "none", "elsewhere"} {
					u := storetest.User(storetest.Acme, i)
					switch name {
					case "local":
						u.AuthProvider = "local"
					case "elsewhere":
						u.TenantID, u.ID = storetest.Globex, users["last"].ID // ids are unique in a tenant only
					}
					if name != "none" {
						identify(&w, u, "oidc", storetest.Issuer, name, "okta")
					}
					switch name {
					case "two of the anchor":
						identify(&w, u, "oidc", storetest.Issuer, "second", "portal")
					case "another issuer":
						identify(&w, u, "oidc", otherIssuer, name, "okta")
					case "another kind":
						identify(&w, u, "saml", storetest.Issuer, "by SAML", "okta")
					}
					users[name], w.Users = u, append(w.Users, u)
				}
				mustWrite(t, s, w)
				m := store.IdentityMove{Tenant: storetest.Acme, From: okta, To: c.to, Source: c.source, Anew: true}
				if _, err := s.MoveIdentities(t.Context(), m, "ann", storetest.Time); err != nil {
					t.Fatalf("end the identities: %v", err)
				}
				for name, u := range users {
					got, err := s.User(t.Context(), u.TenantID, u.ID)
					if err != nil {
						t.Fatalf("read the user %q: %v", name, err)
					}
					want, revision := cmp.Or(c.want[name], "oidc"), int64(1)
					if want != u.AuthProvider {
						revision = 2
					}
					if got.AuthProvider != want || got.Revision != revision {
						t.Errorf("the user %q has the provider %s and revision %d, wanted %s and %d", name, got.AuthProvider, got.Revision, want, revision)
					}
				}
			})
		})
	}
}
