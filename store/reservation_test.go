package store_test

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

// reserve takes a step with a change of the directory, as apply does.
func reserve(t *testing.T, s *store.Store, steps ...store.Step) {
	t.Helper()
	d := directory(t, s)
	d.Organizations[0].Name += "'"
	if _, err := s.ApplyDirectory(t.Context(), d.Revision, d, "ann", storetest.Time, steps...); err != nil {
		t.Fatalf("apply with the step: %v", err)
	}
}

// reserved names those of the users whose addresses are reserved, sorted.
func reserved(t *testing.T, s *store.Store, users map[string]store.User) string {
	t.Helper()
	var names []string
	for name, u := range users {
		got, err := s.User(t.Context(), u.TenantID, u.ID)
		if err != nil {
			t.Fatalf("read the user %q: %v", name, err)
		}
		if got.EmailReserved {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func TestAReservedAddressIsUniqueAndOthersRepeat(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		n := 0
		same := func(tenant string, is bool) store.User {
			n++
			u := storetest.User(tenant, n)
			u.EmailKey, u.EmailReserved = "same@acme.example", is
			return u
		}
		first, loose := same(storetest.Acme, true), same(storetest.Acme, false)
		mustWrite(t, s, store.Write{Users: []store.User{first, loose, same(storetest.Acme, false), same(storetest.Globex, true)}})
		if err := write(t.Context(), s, store.Write{Users: []store.User{same(storetest.Acme, true)}}); !errors.Is(err, store.ErrRaced) {
			t.Errorf("a second user with the reserved address: got %v, wanted a race that is lost", err)
		}
		yes := true
		claim := store.Write{Updates: []store.UserUpdate{{TenantID: loose.TenantID, UserID: loose.ID, Revision: 1, UpdatedAt: storetest.Time, EmailReserved: &yes}}}
		if err := write(t.Context(), s, claim); !errors.Is(err, store.ErrRaced) {
			t.Errorf("reserving the address for another user too: got %v, wanted a race that is lost", err)
		}
		if _, err := s.Forget(t.Context(), first.TenantID, first.ID, "ann", storetest.Time); err != nil {
			t.Fatalf("forget: %v", err)
		}
		mustWrite(t, s, claim)
		if got := find(t, s, store.Lookup{Tenant: storetest.Acme, EmailKey: "same@acme.example"})[0].ByEmail; got == nil || got.ID != loose.ID {
			t.Errorf("the user of the reserved address that was given when it was free: got %+v, wanted %s", got, loose.ID)
		}
	})
}

func TestASkeletonIsUniqueUnlessThereIsNone(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		var users []store.User
		for i, skeleton := range []string{"grace", "", ""} {
			u := storetest.User(storetest.Acme, i)
			u.NameSkeleton = skeleton
			users = append(users, u)
		}
		elsewhere := storetest.User(storetest.Globex, 3)
		elsewhere.NameSkeleton = "grace"
		mustWrite(t, s, store.Write{Users: append(users, elsewhere)})
		twin := storetest.User(storetest.Acme, 4)
		twin.NameSkeleton = "grace"
		if err := write(t.Context(), s, store.Write{Users: []store.User{twin}}); !errors.Is(err, store.ErrRaced) {
			t.Errorf("a second user with the skeleton: got %v, wanted a race that is lost", err)
		}
		for i, want := range []string{"grace", "", ""} {
			if u, err := s.User(t.Context(), users[i].TenantID, users[i].ID); err != nil || u.NameSkeleton != want {
				t.Errorf("user %d came back with the skeleton %q, wanted %q: %v", i, u.NameSkeleton, want, err)
			}
		}
	})
}

func TestAReservationTakesTheAddressesThatItsSourceSpeaksFor(t *testing.T) {
	t.Parallel()
	const feed = storetest.SourceFeed
	domains := []string{"acme.example", "acme.test"}
	for name, c := range map[string]struct {
		reservation store.Reservation
		want        string
	}{
		"of domains": {store.Reservation{Source: feed, Domains: domains}, "from the feed, of before, of the other domain, unproved"},
		"of all domains": {
			store.Reservation{Source: feed},
			"from the feed, of a domain above, of a domain below, of a domain that ends alike, of before, of the other domain, unproved",
		},
		"of the proved":    {store.Reservation{Source: feed, Domains: domains, Proved: true}, "from the feed, linked, of before, of the other domain"},
		"of the undecided": {store.Reservation{Source: feed, Domains: domains, Undecided: true}, "of before"},
		"of another source": {
			store.Reservation{Source: storetest.SourceLogins, Domains: domains, Proved: true},
			"from another source, linked to another source",
		},
		"of another tenant": {store.Reservation{Tenant: storetest.Globex, Source: feed, Domains: domains}, "of the other tenant"},
		"of no one":         {store.Reservation{Source: "none"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachWithDatabase(t, func(t *testing.T, s *store.Store, db *sql.DB) {
				users := map[string]store.User{}
				var w store.Write
				add := func(name string, change func(u *store.User)) {
					u := storetest.User(storetest.Acme, len(users))
					u.EmailReserved, u.EmailVerified = false, true
					change(&u)
					users[name], w.Users = u, append(w.Users, u)
				}
				domain := func(name string) func(*store.User) {
					return func(u *store.User) { u.EmailKey = "u@" + name }
				}
				add("from the feed", func(*store.User) {})
				add("of the other domain", domain("acme.test"))
				add("of a domain below", domain("x.acme.example"))
				add("of a domain above", domain("example"))
				add("of a domain that ends alike", domain("notacme.example"))
				add("unproved", func(u *store.User) { u.EmailVerified = false })
				add("of before", func(*store.User) {})
				add("from another source", func(u *store.User) { u.CreatedBy = storetest.SourceLogins })
				for name, source := range map[string]string{"linked": feed, "linked to another source": storetest.SourceLogins, "linked, but unproved": feed} {
					add(name, func(u *store.User) { u.CreatedBy, u.EmailVerified = "gone", name != "linked, but unproved" })
					identify(&w, users[name], "oidc", storetest.Issuer, name, source)
				}
				add("of the other tenant", func(u *store.User) { u.TenantID = storetest.Globex })
				add("of an id that is linked elsewhere", func(u *store.User) { u.CreatedBy = "gone" })
				elsewhere := users["of an id that is linked elsewhere"]
				elsewhere.TenantID, elsewhere.EmailKey, elsewhere.CreatedBy = storetest.Globex, "elsewhere@other.example", "gone"
				w.Users = append(w.Users, elsewhere)
				identify(&w, elsewhere, "oidc", storetest.Issuer, "elsewhere", feed)
				mustWrite(t, s, w)
				mustExec(t, db, `update users set email_reserved = null where id = '`+users["of before"].ID+`'`)

				r := c.reservation
				if r.Tenant == "" {
					r.Tenant = strings.ToUpper(storetest.Acme)
				}
				reserve(t, s, r)
				if got := reserved(t, s, users); got != c.want {
					t.Errorf("reserved are the addresses of users: %s\nwanted: %s", got, c.want)
				}
				reserve(t, s, r)
				if got := reserved(t, s, users); got != c.want {
					t.Errorf("reserved again, are the addresses of users: %s\nwanted: %s", got, c.want)
				}
			})
		})
	}
}

// Of users with one address the first of those whom the source speaks for gets it.
func TestOfUsersWithOneAddressOneGetsIt(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		users := map[string]store.User{}
		var w store.Write
		add := func(name, address string, change func(u *store.User)) { // ids ascend
			u := storetest.User(storetest.Acme, len(users))
			u.EmailKey, u.EmailReserved, u.EmailVerified = address+"@acme.example", false, true
			change(&u)
			users[name], w.Users = u, append(w.Users, u)
		}
		add("later", "twin", func(*store.User) {})
		add("first", "twin", func(u *store.User) { u.CreatedAt = u.CreatedAt.Add(-time.Hour) })
		add("first of its second", "tie", func(*store.User) {})
		add("second of its second", "tie", func(*store.User) {})
		add("another's", "taken", func(u *store.User) { u.CreatedBy, u.EmailReserved = "other", true })
		add("of an address that is taken", "taken", func(u *store.User) { u.CreatedAt = u.CreatedAt.Add(-time.Hour) })
		add("unproved", "doubtful", func(u *store.User) { u.EmailVerified = false })
		add("proved", "doubtful", func(*store.User) {})
		add("reserved elsewhere", "elsewhere", func(u *store.User) { u.TenantID, u.EmailReserved = storetest.Globex, true })
		add("of an address that is reserved elsewhere", "elsewhere", func(*store.User) {})
		mustWrite(t, s, w)
		reserve(t, s, store.Reservation{Tenant: storetest.Acme, Source: storetest.SourceFeed, Domains: []string{"acme.example"}, Proved: true})
		const want = "another's, first, first of its second, of an address that is reserved elsewhere, proved, reserved elsewhere"
		if got := reserved(t, s, users); got != want {
			t.Errorf("reserved are the addresses of users: %s\nwanted: %s", got, want)
		}
	})
}

func TestDecidingReservationsLeavesNoUserUndecided(t *testing.T) {
	t.Parallel()
	eachWithDatabase(t, func(t *testing.T, s *store.Store, db *sql.DB) {
		users := map[string]store.User{}
		var w store.Write
		undecided := map[string]bool{}
		add := func(name, tenant, address, source string, decided bool) {
			u := storetest.User(tenant, len(users))
			u.EmailKey, u.CreatedBy, u.EmailReserved = address, source, false
			users[name], w.Users, undecided[u.ID] = u, append(w.Users, u), !decided
		}
		add("by command", storetest.Acme, "a@acme.example", "admin", false)
		add("by the feed", storetest.Acme, "b@acme.example", storetest.SourceFeed, false)
		add("by the feed, of another domain", storetest.Acme, "b@other.example", storetest.SourceFeed, false)
		add("decided already", storetest.Acme, "c@acme.example", storetest.SourceFeed, true)
		add("by a source that is gone", storetest.Acme, "d@acme.example", "gone", false)
		add("by the source that is gone too", storetest.Acme, "e@acme.example", "gone", false)
		add("by command, of the other tenant", storetest.Globex, "a@acme.example", "admin", false)
		mustWrite(t, s, w)
		for id, is := range undecided {
			if is {
				mustExec(t, db, `update users set email_reserved = null where id = '`+id+`'`)
			}
		}
		asked := 0
		reservations := func(tenants []string) []store.Reservation {
			asked++
			equal(t, "tenants that are asked about", tenants, []string{storetest.Acme, storetest.Globex})
			return []store.Reservation{
				{Tenant: storetest.Acme, Source: "admin"},
				{Tenant: storetest.Acme, Source: storetest.SourceFeed, Domains: []string{"acme.example"}},
			}
		}
		rest, err := s.DecideReservations(t.Context(), reservations)
		equal(t, "error of DecideReservations", err, nil)
		equal(t, "groups that are not reserved", rest, []store.UserGroup{
			{TenantID: storetest.Acme, CreatedBy: "gone", Users: 2},
			{TenantID: storetest.Acme, CreatedBy: storetest.SourceFeed, Users: 1},
			{TenantID: storetest.Globex, CreatedBy: "admin", Users: 1},
		})
		if got, want := reserved(t, s, users), "by command, by the feed"; got != want {
			t.Errorf("reserved are the addresses of users: %s\nwanted: %s", got, want)
		}
		rest, err = s.DecideReservations(t.Context(), reservations)
		if err != nil || rest != nil || asked != 1 {
			t.Errorf("the second time %d groups were decided about, and the reservations asked for %d times; wanted none, and once: %v", len(rest), asked, err)
		}
		loose := users["by a source that is gone"]
		if got := find(t, s, store.Lookup{Tenant: storetest.Acme, WaitingEmailKey: loose.EmailKey})[0].Waiting; got == nil || got.ID != loose.ID {
			t.Errorf("the user who waits, of an address that is not reserved: got %+v, wanted %s", got, loose.ID)
		}
	})
}

func TestSkeletonsAreDecidedForAllUsersFromBefore(t *testing.T) {
	t.Parallel()
	const many = 2100 // more than two transactions take
	eachWithDatabase(t, func(t *testing.T, s *store.Store, db *sql.DB) {
		w := storetest.Creates(0, many)
		name := func(i int, name string) { w.Users[i].IdentityName, w.Users[i].NameSkeleton = name, "" }
		name(3, "Grace")
		name(4, "grace") // in the same transaction
		name(5, "")
		name(6, "")
		name(many-1, "GRACE") // in the last one
		name(8, "Ada")
		cat := storetest.User(storetest.Globex, 1)
		cat.IdentityName, cat.NameSkeleton = "GRACE", ""
		w.Users = append(w.Users, cat)
		mustWrite(t, s, w)
		mustExec(t, db, `update users set name_skeleton = null`)
		newer := storetest.User(storetest.Acme, many)
		newer.IdentityName, newer.NameSkeleton = "ada", "ada"
		mustWrite(t, s, store.Write{Users: []store.User{newer}})

		decide := func() []store.NamedUser {
			t.Helper()
			twins, err := s.DecideSkeletons(t.Context(), strings.ToLower)
			if err != nil {
				t.Fatalf("decide: %v", err)
			}
			return twins
		}
		twin := func(i int) store.NamedUser {
			return store.NamedUser{TenantID: w.Users[i].TenantID, ID: w.Users[i].ID, Name: w.Users[i].IdentityName}
		}
		equal(t, "twins", decide(), []store.NamedUser{twin(4), twin(8), twin(many - 1)})
		equal(t, "twins of a second time", decide(), []store.NamedUser(nil))
		for name, c := range map[string]struct{ tenant, skeleton, id string }{
			"the first of the twins":       {storetest.Acme, "grace", w.Users[3].ID},
			"the only one of its tenant":   {storetest.Globex, "grace", cat.ID},
			"one that had a skeleton":      {storetest.Acme, "ada", newer.ID},
			"one of the first transaction": {storetest.Acme, "user0000000", w.Users[0].ID},
			"one of the last transaction":  {storetest.Acme, fmt.Sprintf("user%07d", many-2), w.Users[many-2].ID},
		} {
			if u := find(t, s, store.Lookup{Tenant: c.tenant, NameSkeleton: c.skeleton})[0].BySkeleton; u == nil || u.ID != c.id {
				t.Errorf("%s: the skeleton %s does not lead to the user", name, c.skeleton)
			}
		}
		for _, i := range []int{4, 5, 6, 8, many - 1} {
			if u, err := s.User(t.Context(), storetest.Acme, w.Users[i].ID); err != nil || u.NameSkeleton != "" {
				t.Errorf("user %d has the skeleton %q, wanted none: %v", i, u.NameSkeleton, err)
			}
		}
	})
}

// Several may migrate at once: a user whose skeleton another one has decided is no twin of itself.
func TestSkeletonsThatAnotherProcessDecidesMakeNoTwins(t *testing.T) {
	t.Parallel()
	eachWithDatabase(t, func(t *testing.T, s *store.Store, db *sql.DB) {
		mustWrite(t, s, storetest.Creates(0, 3))
		mustExec(t, db, `update users set name_skeleton = null`)
		raced := false
		twins, err := s.DecideSkeletons(t.Context(), func(name string) string {
			if !raced {
				raced = true
				if twins, err := s.DecideSkeletons(t.Context(), strings.ToLower); err != nil || len(twins) > 0 {
					t.Errorf("the other process found %d twins, wanted none: %v", len(twins), err)
				}
			}
			return strings.ToLower(name)
		})
		if err != nil || len(twins) > 0 || !raced {
			t.Errorf("found %d twins, wanted none: %v", len(twins), err)
		}
		if u := find(t, s, store.Lookup{Tenant: storetest.Acme, NameSkeleton: "user0000001"})[0].BySkeleton; u == nil {
			t.Error("the user of a skeleton that the other process decided: got none, wanted one")
		}
	})
}

// A name that looks like another one is told of by the process that decides so, and by no other.
func TestATwinThatAnotherProcessDecidesIsToldOfOnce(t *testing.T) {
	t.Parallel()
	eachWithDatabase(t, func(t *testing.T, s *store.Store, db *sql.DB) {
		w := storetest.Creates(0, 2)
		w.Users[0].IdentityName, w.Users[1].IdentityName = "Grace", "grace"
		mustWrite(t, s, w)
		mustExec(t, db, `update users set name_skeleton = null`)
		inner, raced := 0, false
		twins, err := s.DecideSkeletons(t.Context(), func(name string) string {
			if !raced {
				raced = true
				twins, err := s.DecideSkeletons(t.Context(), strings.ToLower)
				if err != nil {
					t.Errorf("the other process decides: got the error %v, wanted none", err)
				}
				inner = len(twins)
			}
			return strings.ToLower(name)
		})
		if err != nil || inner != 1 || len(twins) != 0 {
			t.Errorf("twins: got %d by the other process, then %d and the error %v, wanted 1 and then none", inner, len(twins), err)
		}
	})
}
