package store_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

// write stores w in a batch of its own.
func write(ctx context.Context, s *store.Store, w store.Write) error {
	return s.Batch(ctx, func(ctx context.Context, tx *store.Tx) error { return tx.Write(ctx, w) })
}

func mustWrite(t *testing.T, s *store.Store, w store.Write) {
	t.Helper()
	if err := write(t.Context(), s, w); err != nil {
		t.Fatalf("write: %v", err)
	}
}

// find looks in a batch of its own, with the statements that a worker uses.
func find(t *testing.T, s *store.Store, lookups ...store.Lookup) []store.Found {
	t.Helper()
	var found []store.Found
	err := s.Batch(t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
		found, err = tx.Find(ctx, lookups)
		return err
	})
	if err != nil {
		t.Fatalf("find: %v", err)
	}
	return found
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// fullUser has a value in every field that can be written.
func fullUser() store.User {
	u := storetest.User(storetest.Acme, 1)
	u.Email, u.EmailKey, u.EmailVerified = `Zoë."q"\o'k{x},NULL@Acme.example`, `zoë."q"\o'k{x},null@acme.example`, true
	u.Name, u.FirstName = "  Zoë\n\"{,}\\ Ångström ", "NULL"
	u.Avatar, u.PasswordHash, u.IsOwner = "data:image/png;base64,AAAA", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA", true
	u.UpdatedAt = u.CreatedAt.Add(time.Hour + time.Microsecond)
	return u
}

func TestEveryFieldOfABatchComesBack(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		u := fullUser()
		e := storetest.Event(u, "event/1")
		e.Result = []byte("{\"b\":1,  \"a\":\"\\u00e9\",\n\"raw\":\xff\x00\x01}") // kept as bytes, even when it is no text
		e.Scope, e.Credential = "credential/HR \"import\"", "c1"
		e.Attempt, e.Door, e.Origin, e.Policies = 3, "http", "IDPSYNC_EVENTS/1800000000/7", []string{"a", "b\"c"}
		e.StoredAt, e.At = storetest.Time.Add(-time.Hour), storetest.Time.Add(time.Microsecond)
		d := storetest.Identity(u, "Sub|ject")
		used := store.UsedID{TenantID: u.TenantID, Source: "adfs", ID: "_assertion", EventID: e.EventID, Until: storetest.Time.Add(time.Hour)}
		mustWrite(t, s, store.Write{
			Users: []store.User{u}, Identities: []store.Identity{d}, Events: []store.Event{e}, UsedIDs: []store.UsedID{used},
			RoleGrants:         []store.RoleGrant{storetest.Grant(u, storetest.AcmeUser), storetest.Grant(u, storetest.AcmeAdmin)},
			OrganizationGrants: []store.OrganizationGrant{storetest.OrganizationGrant(u, storetest.AcmeSupport, storetest.AcmeViewer), storetest.OrganizationGrant(u, storetest.AcmeSales, storetest.AcmeViewer)},
		})

		second := storetest.Creates(2, 2) // of more rows than one, columns go as arrays
		second.Events[1].Result, second.Events[1].ResultHeaders = []byte("{\"\\x00\": \"\\\\\",\n\xff\x00}"), nil
		second.Events[1].EventID, second.Events[1].UserID = `{"a\\",NULL}`, ""
		mustWrite(t, s, second)
		for _, e := range second.Events {
			got, err := s.Event(t.Context(), e.Key())
			equal(t, "event error", err, nil)
			equal(t, "event of an array", got, e)
		}
		for _, w := range second.Users {
			if _, err := s.Forget(t.Context(), w.TenantID, w.ID, "ann", storetest.Time); err != nil {
				t.Errorf("forgetting the user %s: got the error %v, wanted none", w.ID, err)
			}
		}

		want := u
		want.HasIdentity, want.Revision, want.Roles = 1, 1, []string{"admin", "user"}
		want.Organizations = []store.UserOrganization{{storetest.AcmeSales, storetest.AcmeViewer}, {storetest.AcmeSupport, storetest.AcmeViewer}}
		lookup := store.Lookup{
			Tenant: u.TenantID, Source: e.Source, EventID: e.EventID, Scope: e.Scope, Issuer: d.Issuer, Subject: d.Subject, EmailKey: u.EmailKey,
			IdentityNameKey: u.IdentityNameKey, NameSkeleton: u.NameSkeleton, Owner: true,
		}
		byUsed := store.Lookup{Tenant: u.TenantID, Source: used.Source, UsedID: used.ID}
		check := func(found []store.Found) {
			t.Helper()
			equal(t, "event", found[0].Event, &e)
			for name, got := range map[string]*store.User{
				"by identity": found[0].ByIdentity, "by e-mail": found[0].ByEmail, "by identity name": found[0].ByIdentityName, "by skeleton": found[0].BySkeleton,
			} {
				equal(t, name, got, &want)
			}
			equal(t, "kind of the identity", found[0].Identity, store.FoundIdentity{Kind: d.Kind, Source: d.Source})
			equal(t, "owner", found[0].OwnerID, u.ID)
			equal(t, "nothing", found[1], store.Found{Revision: 1})
			equal(t, "used id", found[2], store.Found{Used: &used, Revision: 1})
		}
		nothing := store.Lookup{Tenant: u.TenantID, Source: "other", EventID: "x", Issuer: "x", Subject: "x", EmailKey: "x", IdentityNameKey: "x", UsedID: "x"}
		check(find(t, s, lookup, nothing, byUsed))
		outside, err := s.Find(t.Context(), []store.Lookup{lookup, nothing, byUsed})
		if err != nil {
			t.Fatal(err)
		}
		check(outside)

		got, err := s.User(t.Context(), strings.ToUpper(u.TenantID), strings.ToUpper(u.ID))
		equal(t, "User error", err, nil)
		equal(t, "User", got, want)
		users, err := s.Users(t.Context(), store.UserFilter{Tenant: u.TenantID, Email: u.EmailKey, Source: u.CreatedBy})
		equal(t, "Users error", err, nil)
		equal(t, "Users", users, []store.User{want})
		upper := e.Key()
		upper.TenantID = strings.ToUpper(e.TenantID)
		event, err := s.Event(t.Context(), upper)
		equal(t, "Event error", err, nil)
		equal(t, "Event", event, e)
		events, err := s.Events(t.Context(), store.EventFilter{Tenant: e.TenantID, Source: e.Source, Since: e.At, Outcome: e.Outcome})
		equal(t, "Events error", err, nil)
		equal(t, "Events", events, []store.Event{e})
		identities, err := s.Identities(t.Context(), store.IdentityFilter{Tenant: u.TenantID, UserID: u.ID})
		equal(t, "Identities error", err, nil)
		equal(t, "Identities", identities, []store.Identity{d})
		for _, id := range []string{"", "7", storetest.AcmeUser} {
			if _, err := s.User(t.Context(), u.TenantID, id); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("reading the user of the id %q: got the error %v, wanted that it is not found", id, err)
			}
			if _, err := s.Event(t.Context(), store.EventKey{TenantID: id, Source: e.Source, EventID: e.EventID, Scope: e.Scope}); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("reading the event in the tenant %q: got the error %v, wanted that it is not found", id, err)
			}
		}
		counts, err := s.Counts(t.Context())
		equal(t, "Counts error", err, nil)
		equal(t, "Counts", counts, store.Counts{Tenants: 2, Users: 1, Identities: 1, Events: 3, UsedIDs: 1})
	})
}

func TestTimesAreCutToMicroseconds(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		u := storetest.User(storetest.Acme, 1)
		u.CreatedAt = time.Date(2026, 3, 29, 2, 30, 0, 123_456_999, time.FixedZone("", 2*3600))
		u.UpdatedAt = time.Time{}
		mustWrite(t, s, store.Write{Users: []store.User{u}})
		got, err := s.User(t.Context(), u.TenantID, u.ID)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "created", got.CreatedAt, time.Date(2026, 3, 29, 0, 30, 0, 123_456_000, time.UTC))
		if !got.UpdatedAt.IsZero() {
			t.Errorf("the zero time of an update: got %v, wanted the zero time", got.UpdatedAt)
		}
	})
}

func TestABatchOfManyComesBackInTheOrderOfItsLookups(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		const n = 1200 // more than one statement takes
		w := storetest.Creates(0, n)
		order := slices.Clone(w.Users)
		mustWrite(t, s, w)
		slices.Reverse(order)
		lookups := make([]store.Lookup, n)
		for i, u := range order {
			lookups[i] = store.Lookup{Tenant: u.TenantID, EmailKey: u.EmailKey}
		}
		for i, f := range find(t, s, lookups...) {
			if f.ByEmail == nil || f.ByEmail.ID != order[i].ID || !slices.Equal(f.ByEmail.Roles, []string{"user"}) {
				t.Fatalf("lookup %d of many: got %+v, wanted the user %s with the role user", i, f.ByEmail, order[i].ID)
			}
		}
		equal(t, "users after the batch", len(w.Users), n)
		equal(t, "the caller's rows keep their order", w.Users[0].EmailKey < w.Users[1].EmailKey, true)
	})
}

func TestUpdatesChangeWhatTheySet(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		u, other := fullUser(), storetest.User(storetest.Acme, 2)
		mustWrite(t, s, store.Write{Users: []store.User{u, other}})
		yes, no, name, empty := true, false, "New Name", ""
		mustWrite(t, s, store.Write{Updates: []store.UserUpdate{
			{TenantID: u.TenantID, UserID: u.ID, Revision: 1, UpdatedAt: storetest.Time.Add(2 * time.Hour), IsOwner: &no, Name: &name, IdentityNameKey: &empty, Avatar: &empty},
			{TenantID: u.TenantID, UserID: other.ID, Revision: 1, UpdatedAt: storetest.Time, EmailVerified: &yes},
		}})
		want := u
		want.Revision, want.UpdatedAt, want.IsOwner, want.Name, want.IdentityNameKey, want.Avatar = 2, storetest.Time.Add(2*time.Hour), false, name, "", ""
		got, err := s.User(t.Context(), u.TenantID, u.ID)
		equal(t, "error of User", err, nil)
		equal(t, "the user with several changes", got, want)
		other.Revision, other.EmailVerified = 2, true
		got, err = s.User(t.Context(), u.TenantID, other.ID)
		equal(t, "error of User", err, nil)
		equal(t, "the user with one change", got, other)
	})
}

func TestPagesWalkThroughAll(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		mustWrite(t, s, storetest.Creates(0, 25))
		var ids, events []string
		f := store.UserFilter{Tenant: storetest.Acme, Limit: 10}
		for {
			page, err := s.Users(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			for _, u := range page {
				ids = append(ids, u.ID)
			}
			f.After = page[len(page)-1].ID
		}
		ef := store.EventFilter{Limit: 10}
		for {
			page, err := s.Events(t.Context(), ef)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			for _, e := range page {
				events = append(events, e.EventID)
			}
			last := page[len(page)-1]
			ef.After = last.Key()
		}
		if len(ids) != 25 || !slices.IsSorted(ids) || len(events) != 25 || !slices.IsSorted(events) {
			t.Errorf("pages: got users %v and events %v, wanted 25 of each in order", ids, events)
		}
		newest, err := s.Events(t.Context(), store.EventFilter{Newest: true, Limit: 1})
		if err != nil || len(newest) != 1 {
			t.Errorf("the newest event: got %+v and the error %v, wanted one", newest, err)
		}
	})
}

func TestAForgottenUserLeavesOnlyTheLedgersKeys(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		w := storetest.Creates(0, 2)
		w.Identities = []store.Identity{storetest.Identity(w.Users[0], "s")}
		w.OrganizationGrants = []store.OrganizationGrant{storetest.OrganizationGrant(w.Users[0], storetest.AcmeSales, storetest.AcmeViewer)}
		mustWrite(t, s, w)
		gone, stays := w.Users[0], w.Users[1]
		if _, err := s.Forget(t.Context(), storetest.Globex, gone.ID, "ann", storetest.Time); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("forgetting a user in another tenant: got the error %v, wanted that it is not found", err)
		}
		n, err := s.Forget(t.Context(), strings.ToUpper(gone.TenantID), gone.ID, "ann", storetest.Time)
		equal(t, "error of Forget", err, nil)
		equal(t, "events", n, int64(1))
		want := w.Events[0]
		want.Result, want.ResultHeaders = nil, nil
		found := find(t, s, store.Lookup{Tenant: gone.TenantID, Source: want.Source, EventID: want.EventID, EmailKey: gone.EmailKey, Issuer: storetest.Issuer, Subject: "s"},
			store.Lookup{Tenant: gone.TenantID, EmailKey: stays.EmailKey})
		equal(t, "found", found[0], store.Found{Event: &want, Revision: 1})
		equal(t, "the other user", found[1].ByEmail.ID, stays.ID)
		other, err := s.Event(t.Context(), w.Events[1].Key())
		equal(t, "error of Event", err, nil)
		equal(t, "the other event", other, w.Events[1])
		entries, err := s.AuditEntries(t.Context(), store.AuditFilter{Action: "user.forget", Who: "ann"})
		if err != nil || len(entries) != 1 || entries[0].Object != gone.ID {
			t.Errorf("audit of forgetting: got %+v and the error %v, wanted one entry of %s", entries, err, gone.ID)
		}
	})
}
