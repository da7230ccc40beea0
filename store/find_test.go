package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

// rows is all that a lookup may find of one person.
type rows struct {
	user     store.User
	identity store.Identity // none when it has no subject
	event    store.Event
	used     store.UsedID
}

// rowsOf makes the rows of one person, other ones for each n, and the lookup that asks for all of them.
func rowsOf(n int) (rows, store.Lookup) {
	u := storetest.User(storetest.Acme, n)
	r := rows{
		user: u, identity: storetest.Identity(u, fmt.Sprintf("subject-%d", n)), event: storetest.Event(u, fmt.Sprintf("event-%d", n)),
		used: store.UsedID{TenantID: u.TenantID, Source: storetest.SourceFeed, ID: fmt.Sprintf("assertion-%d", n), EventID: "e", Until: storetest.Time},
	}
	return r, store.Lookup{
		Tenant: u.TenantID, Source: storetest.SourceFeed, EventID: r.event.EventID, Issuer: r.identity.Issuer, Subject: r.identity.Subject,
		EmailKey: u.EmailKey, OwnEmailKey: u.EmailKey, WaitingEmailKey: u.EmailKey,
		IdentityNameKey: u.IdentityNameKey, NameSkeleton: u.NameSkeleton, UsedID: r.used.ID,
	}
}

func (r *rows) move(tenant string) {
	r.user.TenantID, r.identity.TenantID, r.event.TenantID, r.used.TenantID = tenant, tenant, tenant, tenant
}

func (r *rows) write() store.Write {
	w := store.Write{Users: []store.User{r.user}, Events: []store.Event{r.event}, UsedIDs: []store.UsedID{r.used}}
	if r.identity.Subject != "" {
		w.Identities = []store.Identity{r.identity}
	}
	return w
}

// keysThatFound names the keys of a lookup that found something, sorted. All users that they found must be the given one.
func keysThatFound(t *testing.T, f store.Found, u store.User) []string {
	t.Helper()
	var keys []string
	for key, user := range map[string]*store.User{
		"identity": f.ByIdentity, "reserved": f.ByEmail, "own": f.ByOwnEmail, "waiting": f.Waiting, "name": f.ByIdentityName, "skeleton": f.BySkeleton,
	} {
		if user == nil {
			continue
		}
		keys = append(keys, key)
		if user.ID != u.ID || user.TenantID != u.TenantID {
			t.Errorf("by %s: got user %s of tenant %s, wanted %s of %s", key, user.ID, user.TenantID, u.ID, u.TenantID)
		}
	}
	if f.Event != nil {
		keys = append(keys, "event")
	}
	if f.Used != nil {
		keys = append(keys, "used")
	}
	slices.Sort(keys)
	return keys
}

func TestALookupFindsOnlyWhatItNames(t *testing.T) {
	t.Parallel()
	const all = "event identity name reserved skeleton used"
	spoilt := func(lost string) string { return strings.Join(strings.Fields(strings.ReplaceAll(all, lost, "")), " ") }
	noIdentity := func(r *rows) { r.identity.Subject = "" }
	unreserved := func(change func(*rows)) func(*rows) {
		return func(r *rows) {
			r.user.EmailReserved = false
			change(r)
		}
	}
	waits := func(change func(*rows)) func(*rows) {
		return unreserved(func(r *rows) {
			noIdentity(r)
			change(r)
		})
	}
	const unreservedAll = "event identity name own skeleton used"
	const waitsAll = "event name own skeleton used waiting"
	cases := []struct {
		name   string
		change func(*rows)
		found  string
	}{
		{"nothing differs", func(*rows) {}, all},
		{"tenant", func(r *rows) { r.move(storetest.Globex) }, ""},

		{"source of the event", func(r *rows) { r.event.Source = "other" }, spoilt("event")},
		{"event id", func(r *rows) { r.event.EventID += "0" }, spoilt("event")},
		{"case of the event id", func(r *rows) { r.event.EventID = strings.ToUpper(r.event.EventID) }, spoilt("event")},

		{"issuer", func(r *rows) { r.identity.Issuer += "/" }, spoilt("identity")},
		{"case of the issuer", func(r *rows) { r.identity.Issuer = strings.ToUpper(r.identity.Issuer) }, spoilt("identity")},
		{"subject", func(r *rows) { r.identity.Subject += "0" }, spoilt("identity")},
		{"case of the subject", func(r *rows) { r.identity.Subject = strings.ToUpper(r.identity.Subject) }, spoilt("identity")},
		{"a space after the subject", func(r *rows) { r.identity.Subject += " " }, spoilt("identity")},

		{"e-mail", func(r *rows) { r.user.EmailKey = "x" + r.user.EmailKey }, spoilt("reserved")},
		{"case of the e-mail", func(r *rows) { r.user.EmailKey = strings.ToUpper(r.user.EmailKey) }, spoilt("reserved")},
		{"who made the user of a reserved e-mail", func(r *rows) { r.user.CreatedBy = "other" }, all},

		{"not reserved", unreserved(func(*rows) {}), unreservedAll},
		{"not reserved, tenant", unreserved(func(r *rows) { r.move(storetest.Globex) }), ""},
		{"not reserved, e-mail", unreserved(func(r *rows) { r.user.EmailKey = "x" + r.user.EmailKey }), "event identity name skeleton used"},
		{"not reserved, made by another source", unreserved(func(r *rows) { r.user.CreatedBy = "other" }), "event identity name skeleton used"},

		{"reserved, without identity", noIdentity, spoilt("identity")},
		{"waits", waits(func(*rows) {}), waitsAll},
		{"waits, made by another source", waits(func(r *rows) { r.user.CreatedBy = "other" }), "event name skeleton used waiting"},
		{"waits, tenant", waits(func(r *rows) { r.move(storetest.Globex) }), ""},
		{"waits, e-mail", waits(func(r *rows) { r.user.EmailKey = "x" + r.user.EmailKey }), "event name skeleton used"},
		{"waits, of no provider in particular", waits(func(r *rows) { r.user.AuthProvider = "local" }), waitsAll},
		{"waits, of a provider that checks no password", waits(func(r *rows) { r.user.PasswordHash = "hash" }), waitsAll},
		{"has a password", waits(func(r *rows) { r.user.AuthProvider, r.user.PasswordHash = "local", "hash" }), "event name own skeleton used"},

		{"identity name", func(r *rows) { r.user.IdentityNameKey += "0" }, spoilt("name")},
		{"case of the identity name", func(r *rows) { r.user.IdentityNameKey = strings.ToUpper(r.user.IdentityNameKey) }, spoilt("name")},
		{"no identity name", func(r *rows) { r.user.IdentityNameKey = "" }, spoilt("name")},

		{"skeleton", func(r *rows) { r.user.NameSkeleton += "0" }, spoilt("skeleton")},
		{"case of the skeleton", func(r *rows) { r.user.NameSkeleton = strings.ToUpper(r.user.NameSkeleton) }, spoilt("skeleton")},
		{"no skeleton", func(r *rows) { r.user.NameSkeleton = "" }, spoilt("skeleton")},

		{"source of the used id", func(r *rows) { r.used.Source = "other" }, spoilt("used")},
		{"used id", func(r *rows) { r.used.ID += "0" }, spoilt("used")},
		{"case of the used id", func(r *rows) { r.used.ID = strings.ToUpper(r.used.ID) }, spoilt("used")},
	}
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		lookups := make([]store.Lookup, len(cases))
		users := make([]store.User, len(cases))
		for i, c := range cases {
			var r rows
			r, lookups[i] = rowsOf(i + 1)
			c.change(&r)
			users[i] = r.user
			w := r.write()
			if r.user.TenantID != storetest.Acme { // ids are unique in a tenant only: another user has this one where it is looked for
				double := storetest.User(storetest.Acme, len(cases)+i+1)
				double.ID = r.user.ID
				w.Users = append(w.Users, double)
			}
			mustWrite(t, s, w)
		}
		for i, f := range find(t, s, lookups...) {
			t.Run(cases[i].name, func(t *testing.T) {
				if got := strings.Join(keysThatFound(t, f, users[i]), " "); got != cases[i].found {
					t.Errorf("found by %q, wanted %q", got, cases[i].found)
				}
			})
		}
	})
}

// A user waits as long as the user has no identity, whatever others have.
func TestIdentitiesOfOthersKeepNoUserFromWaiting(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		u, neighbour := storetest.User(storetest.Acme, 1), storetest.User(storetest.Acme, 2)
		u.EmailReserved, u.AuthProvider = false, "local"
		double := u // of the same id, in another tenant
		double.TenantID = storetest.Globex
		mustWrite(t, s, store.Write{
			Users: []store.User{u, neighbour, double}, Identities: []store.Identity{storetest.Identity(neighbour, "n"), storetest.Identity(double, "d")},
		})
		found := find(t, s, store.Lookup{Tenant: storetest.Acme, WaitingEmailKey: u.EmailKey}, store.Lookup{Tenant: storetest.Globex, WaitingEmailKey: u.EmailKey})
		if f := found[0].Waiting; f == nil || f.ID != u.ID || f.TenantID != u.TenantID {
			t.Errorf("the user who waits, without an identity: got %+v, wanted user %s of tenant %s", f, u.ID, u.TenantID)
		}
		if f := found[1].Waiting; f != nil {
			t.Errorf("the user who waits in the other tenant: got user %s of tenant %s, who has an identity, wanted none", f.ID, f.TenantID)
		}
	})
}

// Of several users of an address that is not reserved the source's own first one is found, and none who waits: which of
// them a login is for cannot be told.
func TestAnAddressOfSeveralUsers(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		const address = "same@acme.example"
		users := map[string]store.User{}
		for i, name := range []string{"reserved", "with an identity", "with a password", "first", "second"} { // ids ascend
			u := storetest.User(storetest.Acme, i)
			u.EmailKey, u.EmailReserved = address, name == "reserved"
			if name == "with a password" {
				u.AuthProvider, u.PasswordHash = "local", "hash"
			}
			if name != "second" && name != "first" {
				u.CreatedBy = storetest.SourceLogins
			}
			users[name] = u
		}
		named := func(u *store.User) string {
			for name, other := range users {
				if u != nil && u.ID == other.ID {
					return name
				}
			}
			return ""
		}
		lookup := store.Lookup{Tenant: storetest.Acme, EmailKey: address, OwnEmailKey: address, WaitingEmailKey: address, Source: storetest.SourceFeed}
		for _, step := range []struct{ add, reserved, own, ownOfTheOther, waiting string }{
			{"with a password", "", "", "with a password", ""},
			{"second", "", "second", "with a password", "second"},
			{"reserved", "reserved", "second", "with a password", "second"},
			{"with an identity", "reserved", "second", "with an identity", "second"},
			{"first", "reserved", "first", "with an identity", ""},
		} {
			w := store.Write{Users: []store.User{users[step.add]}}
			if step.add == "with an identity" {
				w.Identities = []store.Identity{storetest.Identity(users[step.add], "s")}
			}
			mustWrite(t, s, w)
			other := lookup
			other.Source = storetest.SourceLogins
			found := find(t, s, lookup, other)
			got := []string{named(found[0].ByEmail), named(found[0].ByOwnEmail), named(found[1].ByOwnEmail), named(found[0].Waiting)}
			equal(t, "found once there is the user "+step.add+": reserved, own, own of the other source, waiting", got,
				[]string{step.reserved, step.own, step.ownOfTheOther, step.waiting})
		}
	})
}

func TestOnlyTheTenantsOwnerIsFoundAndOnlyWhenAskedFor(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		owner, other := storetest.User(storetest.Acme, 1), storetest.User(storetest.Globex, 2)
		owner.IsOwner = true
		mustWrite(t, s, store.Write{Users: []store.User{storetest.User(storetest.Acme, 3), owner, other}})
		found := find(t, s, store.Lookup{Tenant: storetest.Acme, Owner: true}, store.Lookup{Tenant: storetest.Acme}, store.Lookup{Tenant: storetest.Globex, Owner: true})
		equal(t, "owners found: asked for, not asked for, of a tenant without one", []string{found[0].OwnerID, found[1].OwnerID, found[2].OwnerID}, []string{owner.ID, "", ""})
	})
}

func TestAnEmptyLookupFindsNothing(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		u := storetest.User(storetest.Acme, 1)
		u.IdentityName, u.IdentityNameKey, u.NameSkeleton, u.IsOwner = "", "", "", true
		mustWrite(t, s, store.Write{Users: []store.User{u}})
		f := find(t, s, store.Lookup{Tenant: storetest.Acme, Source: storetest.SourceFeed})[0]
		if keys := keysThatFound(t, f, u); len(keys) > 0 || f.OwnerID != "" {
			t.Errorf("found by %q and the owner %q, wanted nothing", keys, f.OwnerID)
		}
	})
}

func TestAnIdentityIsFoundWithItsKind(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		u := storetest.User(storetest.Acme, 1)
		login, assertion := storetest.Identity(u, "a"), storetest.Identity(u, "b")
		assertion.Kind = "saml"
		mustWrite(t, s, store.Write{Users: []store.User{u}, Identities: []store.Identity{login, assertion}})
		lookup := func(subject string) store.Lookup {
			return store.Lookup{Tenant: storetest.Acme, Issuer: storetest.Issuer, Subject: subject}
		}
		found := find(t, s, lookup("a"), lookup("c"), lookup("b"))
		equal(t, "kinds of the identities", []string{found[0].Identity.Kind, found[1].Identity.Kind, found[2].Identity.Kind}, []string{"oidc", "", "saml"})
		if found[0].ByIdentity == nil || found[2].ByIdentity == nil || found[0].ByIdentity.ID != u.ID || found[2].ByIdentity.ID != u.ID {
			t.Errorf("the users of both identities: got %+v and %+v, wanted user %s by both", found[0].ByIdentity, found[2].ByIdentity, u.ID)
		}
	})
}
