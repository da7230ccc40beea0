package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

func TestSettingTheOwner(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		ann, bob, cat := storetest.User(storetest.Acme, 1), storetest.User(storetest.Acme, 2), storetest.User(storetest.Globex, 3)
		cat.IsOwner = true
		mustWrite(t, s, store.Write{Users: []store.User{ann, bob, cat}})
		owners := func() (acme, globex string) {
			t.Helper()
			found := find(t, s, store.Lookup{Tenant: storetest.Acme, Owner: true}, store.Lookup{Tenant: storetest.Globex, Owner: true})
			return found[0].OwnerID, found[1].OwnerID
		}
		later := storetest.Time.Add(time.Hour)
		for _, step := range []struct {
			name, user, before, after string
		}{
			{"the first", ann.ID, "", ann.ID},
			{"in place of another", strings.ToUpper(bob.ID), ann.ID, bob.ID},
			{"again", bob.ID, bob.ID, bob.ID},
			{"none", "", bob.ID, ""},
			{"none again", "", "", ""},
			{"the first again", ann.ID, "", ann.ID},
		} {
			before, err := s.SetOwner(t.Context(), strings.ToUpper(storetest.Acme), step.user, "ann", storetest.Time)
			if err != nil || before != step.before {
				t.Errorf("%s: got the owner before %q, wanted %q: %v", step.name, before, step.before, err)
			}
			if acme, globex := owners(); acme != step.after || globex != cat.ID {
				t.Errorf("%s: the owners are %q and %q, wanted %q and %q", step.name, acme, globex, step.after, cat.ID)
			}
			entries, err := s.AuditEntries(t.Context(), store.AuditFilter{Action: "user.owner", Limit: 1})
			if err != nil || len(entries) != 1 || entries[0].Object != strings.ToLower(step.user) || entries[0].Tenant != storetest.Acme || string(entries[0].Detail) != `{"before":"`+step.before+`"}` {
				t.Errorf("%s: got the audit %+v and the error %v, wanted that it tells of the owner %q after %q", step.name, entries, err, step.user, step.before)
			}
		}
		for name, c := range map[string][2]string{
			"no such user":             {storetest.Acme, storetest.AcmeSales},
			"a user of another tenant": {storetest.Acme, cat.ID},
			"no id of a user":          {storetest.Acme, "bob"},
			"no id of a tenant":        {"acme", ann.ID},
			"no tenant":                {"", ""},
		} {
			if _, err := s.SetOwner(t.Context(), c[0], c[1], "ann", later); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s: got %v, wanted that it is not found", name, err)
			}
			if acme, globex := owners(); acme != ann.ID || globex != cat.ID {
				t.Errorf("%s: the owners became %q and %q, wanted them to stay", name, acme, globex)
			}
		}
		entries, err := s.AuditEntries(t.Context(), store.AuditFilter{Action: "user.owner"})
		if err != nil || len(entries) != 6 {
			t.Errorf("the audit has %d entries, wanted the 6 of changes that were made: %v", len(entries), err)
		}
		no := false
		stale := store.UserUpdate{TenantID: ann.TenantID, UserID: ann.ID, Revision: 1, UpdatedAt: later, IsOwner: &no}
		if err := write(t.Context(), s, store.Write{Updates: []store.UserUpdate{stale}}); !errors.Is(err, store.ErrRaced) {
			t.Errorf("an update of the user as it was before: got %v, wanted a race that is lost", err)
		}
	})
}

func TestOwnersWithoutALoginAreListed(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		const third = "4489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
		d := directory(t, s)
		d.Tenants = append(d.Tenants, store.Tenant{ID: third, Name: "hooli"})
		apply(t, s, 1, d)
		ann, cat, dan := storetest.User(storetest.Acme, 1), storetest.User(storetest.Globex, 2), storetest.User(third, 3)
		for _, u := range []*store.User{&ann, &cat, &dan} {
			u.IsOwner = true
		}
		ann.ID = dan.ID // of another tenant, so that an identity is not that of the other one's
		neighbour := storetest.User(storetest.Globex, 4)
		mustWrite(t, s, store.Write{
			Users:      []store.User{storetest.User(storetest.Acme, 5), dan, neighbour, cat, ann},
			Identities: []store.Identity{storetest.Identity(dan, "dan"), storetest.Identity(neighbour, "neighbour")},
		})
		owners, err := s.OwnersWithoutLogin(t.Context())
		var got []string
		for _, o := range owners {
			got = append(got, o.TenantID+" "+o.ID)
		}
		equal(t, "error of OwnersWithoutLogin", err, nil)
		equal(t, "owners without a login, by tenant", got, []string{storetest.Acme + " " + ann.ID, storetest.Globex + " " + cat.ID})
	})
}
