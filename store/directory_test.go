package store_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

func apply(t *testing.T, s *store.Store, base int64, d store.Directory) int64 {
	t.Helper()
	revision, err := s.ApplyDirectory(t.Context(), base, d, "ann", storetest.Time)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.DirectoryRevision(t.Context())
	if err != nil || got != revision {
		t.Fatalf("revision of the directory: got %d and the error %v, wanted the %d that applying returned", got, err, revision)
	}
	return revision
}

func directory(t *testing.T, s *store.Store) store.Directory {
	t.Helper()
	d, err := s.Directory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestADirectoryComesBackSorted(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		equal(t, "empty", directory(t, s), store.Directory{})
		d := storetest.Directory()
		slices.Reverse(d.Tenants)
		slices.Reverse(d.Sources)
		d.Tenants[1].ID = strings.ToUpper(d.Tenants[1].ID)
		d.Roles[0].TenantID = strings.ToUpper(d.Roles[0].TenantID)
		apply(t, s, 0, d)
		want := storetest.Directory()
		want.Revision = 1
		want.Roles = []store.Role{want.Roles[0], want.Roles[1], want.Roles[2], want.Roles[3], want.Roles[4]}
		equal(t, "directory", directory(t, s), want)
		equal(t, "applied again", apply(t, s, 1, want), int64(1))

		entries, err := s.AuditEntries(t.Context(), store.AuditFilter{Action: "directory.apply"})
		if err != nil || len(entries) != 1 || entries[0].Who != "ann" || !entries[0].At.Equal(storetest.Time) || !json.Valid(entries[0].Detail) {
			t.Errorf("audit of applying: got %+v and the error %v, wanted one entry by ann at %s, with a detail in JSON", entries, err, storetest.Time)
		}
	})
}

func TestAStaleDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		var wg sync.WaitGroup
		errs := make([]error, 6)
		for i := range errs {
			wg.Go(func() { _, errs[i] = s.ApplyDirectory(t.Context(), 0, storetest.Directory(), "ann", storetest.Time) })
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			switch {
			case err == nil:
				won++
			case !errors.Is(err, store.ErrStaleDirectory):
				t.Errorf("a caller that came second: got the error %v, wanted that the directory has changed", err)
			}
		}
		if d := directory(t, s); won != 1 || d.Revision != 1 || len(d.Tenants) != 2 {
			t.Errorf("applying at once: got %d callers that succeeded, revision %d and %d tenants, wanted 1, 1 and 2", won, d.Revision, len(d.Tenants))
		}
	})
}

func TestWhatIsWithdrawnComesBackWithItsGrants(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		u := storetest.User(storetest.Acme, 1)
		mustWrite(t, s, store.Write{
			Users:              []store.User{u},
			RoleGrants:         []store.RoleGrant{storetest.Grant(u, storetest.AcmeUser), storetest.Grant(u, storetest.AcmeAdmin)},
			OrganizationGrants: []store.OrganizationGrant{storetest.OrganizationGrant(u, storetest.AcmeSales, storetest.AcmeViewer)},
		})
		roles := func() ([]string, int) {
			t.Helper()
			got, err := s.User(t.Context(), u.TenantID, u.ID)
			if err != nil {
				t.Fatal(err)
			}
			return got.Roles, len(got.Organizations)
		}
		less := storetest.Directory()
		less.Roles = slices.DeleteFunc(less.Roles, func(r store.Role) bool { return r.ID == storetest.AcmeAdmin })
		less.Organizations = less.Organizations[1:]
		less.Sources, less.Policies = nil, nil
		apply(t, s, 1, less)
		names, organizations := roles()
		equal(t, "roles", names, []string{"user"})
		equal(t, "organizations", organizations, 0)
		d := directory(t, s)
		equal(t, "what is left", []int{len(d.Roles), len(d.Organizations), len(d.Sources), len(d.Policies)}, []int{4, 2, 0, 0})

		back := storetest.Directory()
		for i := range back.Roles {
			back.Roles[i].ID = "" // by name alone
		}
		apply(t, s, 2, back)
		names, organizations = roles()
		equal(t, "roles", names, []string{"admin", "user"})
		equal(t, "organizations", organizations, 1)
		want := storetest.Directory()
		want.Revision = 3
		equal(t, "directory", directory(t, s), want)

		apply(t, s, 3, store.Directory{})
		equal(t, "nothing is declared", directory(t, s), store.Directory{Revision: 4})
		counts, err := s.Counts(t.Context())
		equal(t, "error of Counts", err, nil)
		equal(t, "count of tenants, all withdrawn", counts.Tenants, int64(0))
		names, _ = roles()
		equal(t, "roles", names, []string(nil))
		apply(t, s, 4, storetest.Directory())
		want.Revision = 5
		equal(t, "all is declared again", directory(t, s), want)
	})
}

// What is withdrawn is one row: others of the same tenant, and those of the same id or name in another one, stay declared.
func TestWithdrawingLeavesNearRowsDeclared(t *testing.T) {
	t.Parallel()
	all := store.Directory{
		Tenants:  []store.Tenant{{ID: storetest.Acme, Name: "acme"}, {ID: storetest.Globex, Name: "globex"}},
		Policies: []store.Policy{{Name: "a", Text: "a"}, {Name: "b", Text: "b"}},
	}
	for _, tenant := range []string{storetest.Acme, storetest.Globex} {
		all.Roles = append(all.Roles, store.Role{ID: storetest.AcmeAdmin, TenantID: tenant, Name: "admin", Scope: store.ScopeTenant},
			store.Role{ID: storetest.AcmeUser, TenantID: tenant, Name: "user", Scope: store.ScopeTenant})
		all.Organizations = append(all.Organizations, store.Organization{ID: storetest.AcmeSales, TenantID: tenant}, store.Organization{ID: storetest.AcmeSupport, TenantID: tenant})
		all.Sources = append(all.Sources, store.Source{TenantID: tenant, Name: "a", Kind: "oidc", Config: []byte("{}")}, store.Source{TenantID: tenant, Name: "b", Kind: "oidc", Config: []byte("{}")})
	}
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		revision := apply(t, s, 0, all)
		for _, c := range []struct {
			name     string
			withdraw func(d *store.Directory)
		}{
			{"a role", func(d *store.Directory) { d.Roles = d.Roles[1:] }},
			{"an organization", func(d *store.Directory) { d.Organizations = d.Organizations[1:] }},
			{"a source", func(d *store.Directory) { d.Sources = d.Sources[1:] }},
			{"a policy", func(d *store.Directory) { d.Policies = d.Policies[1:] }},
			{"a tenant", func(d *store.Directory) {
				d.Tenants, d.Roles, d.Organizations, d.Sources = d.Tenants[1:], d.Roles[2:], d.Organizations[2:], d.Sources[2:]
			}},
		} {
			less := all
			c.withdraw(&less)
			revision = apply(t, s, revision, less)
			less.Revision = revision
			equal(t, "the directory without "+c.name, directory(t, s), less)
			revision = apply(t, s, revision, all)
			again := all
			again.Revision = revision
			equal(t, "the directory with "+c.name+" declared again", directory(t, s), again)
		}
	})
}

func TestRolesChangeNamesAndIds(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		role := func(d store.Directory, name string) store.Role {
			for _, r := range d.Roles {
				if r.TenantID == storetest.Acme && r.Name == name {
					return r
				}
			}
			return store.Role{}
		}
		swapped := storetest.Directory()
		swapped.Roles[1].Name, swapped.Roles[2].Name = "user", "admin"
		apply(t, s, 1, swapped)
		d := directory(t, s)
		equal(t, "user", role(d, "user").ID, storetest.AcmeAdmin)
		equal(t, "admin", role(d, "admin").ID, storetest.AcmeUser)

		taken := storetest.Directory()
		taken.Roles[1].ID = "6f1c0c5e-0000-4000-8000-0000000000ff" // another role takes over the name
		apply(t, s, 2, taken)
		equal(t, "admin", role(directory(t, s), "admin").ID, taken.Roles[1].ID)

		fresh := storetest.Directory()
		fresh.Roles = append(fresh.Roles, store.Role{TenantID: storetest.Acme, Name: "auditor"}, store.Role{TenantID: storetest.Acme, Name: "auditor", Scope: store.ScopeOrganization})
		apply(t, s, 3, fresh)
		id := role(directory(t, s), "auditor").ID
		other := open()
		apply(t, other, 0, fresh)
		equal(t, "an id that is made is the same everywhere", role(directory(t, other), "auditor").ID, id)
	})
}

func TestADirectoryThatContradictsItselfIsRefused(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		for name, spoil := range map[string]func(d *store.Directory){
			"tenant id":         func(d *store.Directory) { d.Tenants[0].ID = "acme" },
			"tenant twice":      func(d *store.Directory) { d.Tenants[1].ID = strings.ToUpper(d.Tenants[0].ID) },
			"role twice":        func(d *store.Directory) { d.Roles[1].Name = d.Roles[2].Name },
			"role of no tenant": func(d *store.Directory) { d.Roles[1].TenantID = storetest.AcmeUser },
			"role id twice":     func(d *store.Directory) { d.Roles[1].ID = d.Roles[2].ID },
			"scope":             func(d *store.Directory) { d.Roles[1].Scope = "galaxy" },
			"source twice":      func(d *store.Directory) { d.Sources[0].Name = d.Sources[1].Name },
			"organization id":   func(d *store.Directory) { d.Organizations[0].ID = "" },
			"policy twice":      func(d *store.Directory) { d.Policies = append(d.Policies, d.Policies[0]) },
			"NUL":               func(d *store.Directory) { d.Policies[0].Text = "\x00" },
		} {
			d := storetest.Directory()
			spoil(&d)
			if _, err := s.ApplyDirectory(t.Context(), 0, d, "ann", storetest.Time); !errors.Is(err, store.ErrConstraint) {
				t.Errorf("a directory with a wrong %s: got the error %v, wanted that it is refused", name, err)
			}
		}
		equal(t, "directory", directory(t, s), store.Directory{})
	})
}

func TestKeysAreKeptWithTheTimesAtWhichTheyWereKnown(t *testing.T) {
	t.Parallel()
	at := func(minutes int) time.Time { return storetest.Time.Add(time.Duration(minutes) * time.Minute) }
	key := func(name string) store.SourceKey {
		return store.SourceKey{ID: "kid-" + name, Thumbprint: name, Algorithm: "RS256", Material: []byte(`{"kty":"RSA"}` + name)}
	}
	known := func(name string, first, last int, retired ...int) store.SourceKey {
		k := key(name)
		k.FirstSeen, k.LastSeen = at(first), at(last)
		for _, r := range retired {
			k.RetiredAt = at(r)
		}
		return k
	}
	type observation struct {
		minute int
		names  string
	}
	cases := map[string]struct {
		seen []observation
		want []store.SourceKey
	}{
		"first":                              {[]observation{{1, "ab"}}, []store.SourceKey{known("a", 1, 1), known("b", 1, 1)}},
		"seen again":                         {[]observation{{1, "ab"}, {2, "ab"}}, []store.SourceKey{known("a", 1, 2), known("b", 1, 2)}},
		"rotated":                            {[]observation{{1, "a"}, {2, "b"}}, []store.SourceKey{known("a", 1, 1, 2), known("b", 2, 2)}},
		"retired stays retired at its time":  {[]observation{{1, "a"}, {2, "b"}, {3, "b"}}, []store.SourceKey{known("a", 1, 1, 2), known("b", 2, 3)}},
		"published again":                    {[]observation{{1, "a"}, {2, "b"}, {3, "ab"}}, []store.SourceKey{known("a", 1, 3), known("b", 2, 3)}},
		"an older one retires nothing newer": {[]observation{{5, "ab"}, {3, "a"}}, []store.SourceKey{known("a", 3, 5), known("b", 5, 5)}},
		"an older one brings nothing back":   {[]observation{{1, "a"}, {5, "b"}, {3, "a"}}, []store.SourceKey{known("a", 1, 3, 5), known("b", 5, 5)}},
		"an older one adds as retired":       {[]observation{{5, "b"}, {3, "a"}}, []store.SourceKey{known("a", 3, 3, 5), known("b", 5, 5)}},
		"none published":                     {[]observation{{1, "a"}, {2, ""}}, []store.SourceKey{known("a", 1, 1, 2)}},
		"twice in one answer":                {[]observation{{1, "aa"}}, []store.SourceKey{known("a", 1, 1)}},
	}
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		for name, c := range cases {
			issuer := "https://issuer.example/" + name
			for _, o := range c.seen {
				var published []store.SourceKey
				for _, n := range o.names {
					published = append(published, key(string(n)))
				}
				if err := s.ObserveSourceKeys(t.Context(), strings.ToUpper(storetest.Acme), storetest.SourceLogins, issuer, store.KeyObservation{Keys: published, At: at(o.minute)}); err != nil {
					t.Fatal(err)
				}
			}
			got, err := s.KeyHistory(t.Context(), storetest.Acme, storetest.SourceLogins, issuer)
			equal(t, name+" error", err, nil)
			equal(t, name, got.Keys, c.want)
		}
		var wg sync.WaitGroup
		const observers, each = 8, 10
		for i := range observers {
			wg.Go(func() {
				for k := range each {
					if err := s.ObserveSourceKeys(t.Context(), storetest.Acme, storetest.SourceLogins, "busy", store.KeyObservation{Keys: []store.SourceKey{key("a"), key("b")}, At: at(k*observers + i)}); err != nil {
						t.Errorf("observer %d observes for the time %d: got the error %v, wanted none", i, k, err)
					}
				}
			})
		}
		wg.Wait()
		got, err := s.KeyHistory(t.Context(), storetest.Acme, storetest.SourceLogins, "busy")
		equal(t, "error of KeyHistory", err, nil)
		equal(t, "observed by several at once", got.Keys, []store.SourceKey{known("a", 0, observers*each-1), known("b", 0, observers*each-1)})
		none, err := s.KeyHistory(t.Context(), storetest.Acme, storetest.SourceLogins, "unheard of")
		if err != nil || len(none.Keys) != 0 || !none.AskedAt.IsZero() {
			t.Errorf("the history of an issuer that was never asked is %v, %v; want it empty", none, err)
		}
	})
}

func TestCredentialsAreRevokedOnceAndCounted(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s, ctx := open(), t.Context()
		storetest.Seed(t, s)
		revision := func() int64 {
			t.Helper()
			n, err := s.CredentialsRevision(ctx)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		c := store.Credential{
			ID: "c1", Tenant: storetest.Acme, Name: "HR", Purpose: "feed:workday", SecretHash: []byte{0, 1, 255}, Grants: []string{"user", "admin"},
			CreatedAt: storetest.Time, ExpiresAt: storetest.Time.Add(90 * 24 * time.Hour),
		}
		plain := store.Credential{ID: "c2", Tenant: storetest.Globex, Name: "none", SecretHash: []byte{1}, CreatedAt: storetest.Time.Add(time.Second)}
		finer := c
		finer.CreatedAt = c.CreatedAt.Add(999) // cut off, not rounded
		finer.Tenant = strings.ToUpper(c.Tenant)
		equal(t, "error of CreateCredential", s.CreateCredential(ctx, finer, "ann"), nil)
		equal(t, "error of CreateCredential", s.CreateCredential(ctx, plain, "ann"), nil)
		equal(t, "revision", revision(), int64(2))
		unknown := c
		unknown.ID, unknown.Tenant = "c3", "4489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
		if err := s.CreateCredential(ctx, unknown, "ann"); !errors.Is(err, store.ErrConstraint) {
			t.Errorf("creating a credential of an unknown tenant: got the error %v, wanted that it is refused", err)
		}
		got, err := s.Credential(ctx, "c1")
		equal(t, "error of Credential", err, nil)
		equal(t, "credential", got, c)
		if _, err := s.Credential(ctx, "c9"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("reading a credential that is not there: got the error %v, wanted that it is not found", err)
		}

		used := storetest.Time.Add(time.Hour)
		equal(t, "error of TouchCredentials", s.TouchCredentials(ctx, map[string]time.Time{"c1": used, "c9": used}), nil)
		equal(t, "error of touching with an earlier time", s.TouchCredentials(ctx, map[string]time.Time{"c1": storetest.Time}), nil)
		equal(t, "revision after use", revision(), int64(2))
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if err := s.RevokeCredential(ctx, "c1", "bob", used); err != nil {
					t.Errorf("revoking a credential, several at once: got the error %v, wanted none", err)
				}
			})
		}
		wg.Wait()
		equal(t, "error of revoking again", s.RevokeCredential(ctx, "c1", "bob", used.Add(time.Hour)), nil)
		equal(t, "revision after revocation", revision(), int64(3))
		if err := s.RevokeCredential(ctx, "c9", "bob", used); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("revoking a credential that is not there: got the error %v, wanted that it is not found", err)
		}
		c.LastUsedAt, c.RevokedAt = used, used
		for tenant, want := range map[string][]store.Credential{"": {c, plain}, storetest.Acme: {c}, storetest.AcmeUser: {}} {
			got, err := s.Credentials(ctx, tenant)
			equal(t, "error of Credentials", err, nil)
			equal(t, "credentials of "+tenant, got, want)
		}
		entries, err := s.AuditEntries(ctx, store.AuditFilter{Tenant: storetest.Acme, Action: "credential.revoke"})
		if err != nil || len(entries) != 1 || entries[0].Who != "bob" || entries[0].Object != "c1" {
			t.Errorf("audit of revoking: got %+v and the error %v, wanted one entry by bob of c1", entries, err)
		}
	})
}

func TestTheDirectoryIsOfOneMoment(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			defer stop()
			for i := range int64(20) { // with everything, and with nothing
				d := store.Directory{}
				if i%2 == 1 {
					d = storetest.Directory()
				}
				if _, err := s.ApplyDirectory(t.Context(), i+1, d, "ann", storetest.Time); err != nil {
					t.Errorf("applying directory %d: got the error %v, wanted none", i, err)
				}
			}
		})
		for ctx.Err() == nil {
			d := directory(t, s)
			full := d.Revision%2 == 1
			if full != (len(d.Tenants) == 2) || full != (len(d.Roles) == 5) || full != (len(d.Policies) == 1) {
				t.Fatalf("the directory at revision %d: got %d tenants, %d roles and %d policies, wanted 2, 5 and 1 at odd revisions and none at even ones", d.Revision, len(d.Tenants), len(d.Roles), len(d.Policies))
			}
		}
		wg.Wait()
	})
}

// A user tells of grants that are withdrawn, as they return with what they grant.
func TestUsersTellOfWithdrawnGrants(t *testing.T) {
	t.Parallel()
	without := func(role, organization string) store.Directory {
		d := storetest.Directory()
		d.Roles = slices.DeleteFunc(d.Roles, func(r store.Role) bool { return r.ID == role })
		d.Organizations = slices.DeleteFunc(d.Organizations, func(o store.Organization) bool { return o.ID == organization })
		return d
	}
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		users := map[string]store.User{}
		var w store.Write
		for i, name := range []string{"none", "user", "admin", "sales", "support", "admin of another", "all"} {
			u := storetest.User(storetest.Acme, i)
			users[name], w.Users = u, append(w.Users, u)
			for role, id := range map[string]string{"user": storetest.AcmeUser, "admin": storetest.AcmeAdmin} {
				if name == role || name == "all" {
					w.RoleGrants = append(w.RoleGrants, storetest.Grant(u, id))
				}
			}
			for organization, id := range map[string]string{"sales": storetest.AcmeSales, "support": storetest.AcmeSupport} {
				if name == organization || name == "all" {
					w.OrganizationGrants = append(w.OrganizationGrants, storetest.OrganizationGrant(u, id, storetest.AcmeViewer))
				}
			}
		}
		double := users["admin of another"] // of an id that has a withdrawn role in another tenant
		double.TenantID = storetest.Globex
		w.Users = append(w.Users, double)
		w.RoleGrants = append(w.RoleGrants, storetest.Grant(double, storetest.GlobexUser))
		mustWrite(t, s, w)
		globexUser := without(storetest.GlobexUser, "")
		for i, c := range []struct {
			name      string
			directory store.Directory
			withdrawn string // names of users
		}{
			{"a role of a tenant", without(storetest.AcmeAdmin, ""), "admin all"},
			{"an organization", without("", storetest.AcmeSales), "all sales"},
			{"a role of organizations", without(storetest.AcmeViewer, ""), "all sales support"},
			{"a role and an organization", without(storetest.AcmeAdmin, storetest.AcmeSales), "admin all sales"},
			{"a role of another tenant", globexUser, ""},
			{"nothing", storetest.Directory(), ""},
		} {
			apply(t, s, int64(i+1), c.directory)
			var got []string
			for name, u := range users {
				found := find(t, s, store.Lookup{Tenant: u.TenantID, EmailKey: u.EmailKey})[0].ByEmail
				read, err := s.User(t.Context(), u.TenantID, u.ID)
				if err != nil || found == nil || found.Withdrawn != read.Withdrawn {
					t.Fatalf("with %s withdrawn, the user %q: got %+v by finding, %+v and the error %v by reading, wanted both to tell alike of withdrawn grants", c.name, name, found, read, err)
				}
				if read.Withdrawn {
					got = append(got, name)
				}
			}
			slices.Sort(got)
			if got := strings.Join(got, " "); got != c.withdrawn {
				t.Errorf("with %s withdrawn: the users %q have withdrawn grants, wanted %q", c.name, got, c.withdrawn)
			}
		}
	})
}

func TestSourcesThatAreWithdrawnAreListed(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		all := storetest.Directory()
		all.Sources = append(all.Sources, store.Source{TenantID: storetest.Globex, Name: "a", Kind: "saml", Config: []byte(`{}`)})
		apply(t, s, 0, all)
		names := func() string {
			t.Helper()
			rows, err := s.WithdrawnSources(t.Context())
			if err != nil {
				t.Fatalf("list the withdrawn sources: %v", err)
			}
			var names []string
			for _, r := range rows {
				names = append(names, r.Kind+" "+r.Name+" "+string(r.Config))
			}
			return strings.Join(names, ", ")
		}
		equal(t, "withdrawn at first", names(), "")
		less := storetest.Directory()
		less.Sources = less.Sources[1:]
		apply(t, s, 1, less)
		equal(t, "withdrawn", names(), `oidc okta {"issuer":"`+storetest.Issuer+`"}, saml a {}`)
		apply(t, s, 2, all)
		equal(t, "withdrawn once they are declared again", names(), "")
	})
}

func TestTheConfigurationOfASourceIsReplacedWhenItIsAsItWas(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		d := storetest.Directory()
		gone := store.Source{TenantID: storetest.Acme, Name: "gone", Kind: "saml", Config: []byte(`{}`)}
		double := d.Sources[0] // another tenant's, of the same name
		double.TenantID = storetest.Globex
		d.Sources = append(d.Sources, gone, double)
		apply(t, s, 0, d)
		d.Sources = slices.DeleteFunc(d.Sources, func(r store.Source) bool { return r.Name == "gone" })
		apply(t, s, 1, d)
		before := directory(t, s)
		okta := storetest.Directory().Sources[0]
		for name, old := range map[string]store.Source{
			"another tenant":        {TenantID: storetest.AcmeUser, Name: okta.Name, Kind: okta.Kind, Config: okta.Config},
			"another name":          {TenantID: okta.TenantID, Name: storetest.SourceFeed, Kind: okta.Kind, Config: okta.Config},
			"another kind":          {TenantID: okta.TenantID, Name: okta.Name, Kind: "saml", Config: okta.Config},
			"another configuration": {TenantID: okta.TenantID, Name: okta.Name, Kind: okta.Kind, Config: []byte(`{}`)},
			"a withdrawn one":       gone,
		} {
			if err := s.ReplaceSourceConfig(t.Context(), old, []byte(`{"issuer":"x"}`), "ann", storetest.Time); !errors.Is(err, store.ErrStaleDirectory) {
				t.Errorf("%s: got %v, wanted that the directory has changed", name, err)
			}
		}
		equal(t, "the directory after what was refused", directory(t, s), before)
		if err := s.ReplaceSourceConfig(t.Context(), okta, []byte(`{"issuer":"x"}`), "ann", storetest.Time); err != nil {
			t.Fatalf("replace the configuration: %v", err)
		}
		before.Revision = 3
		i := slices.IndexFunc(before.Sources, func(r store.Source) bool { return r.TenantID == okta.TenantID && r.Name == okta.Name })
		before.Sources[i].Config = []byte(`{"issuer":"x"}`)
		equal(t, "the directory", directory(t, s), before)
		entries, err := s.AuditEntries(t.Context(), store.AuditFilter{Action: "source.pin"})
		if err != nil || len(entries) != 1 || entries[0].Object != okta.Name || entries[0].Tenant != okta.TenantID || entries[0].Who != "ann" {
			t.Errorf("the audit has %d entries, wanted one of %s: %v", len(entries), okta.Name, err)
		}
		if _, err := s.ApplyDirectory(t.Context(), 2, storetest.Directory(), "bob", storetest.Time); !errors.Is(err, store.ErrStaleDirectory) {
			t.Errorf("applying on the directory of before: got %v, wanted that it has changed", err)
		}
	})
}

// The steps of a change are taken with it or not at all.
func TestADirectoryIsAppliedWithAllOfItsStepsOrNotAtAll(t *testing.T) {
	t.Parallel()
	eachWithDatabase(t, func(t *testing.T, s *store.Store, db *sql.DB) {
		u := storetest.User(storetest.Acme, 1)
		u.EmailReserved = false
		w := store.Write{Users: []store.User{u}}
		identify(&w, u, "oidc", storetest.Issuer, "s", "okta")
		mustWrite(t, s, w)
		steps := []store.Step{
			store.Reservation{Tenant: storetest.Acme, Source: storetest.SourceFeed},
			store.IdentityMove{Tenant: storetest.Acme, From: store.Anchor{Kind: "oidc", Issuer: storetest.Issuer}, To: store.Anchor{Kind: "oidc", Issuer: otherIssuer}},
		}
		check := func(when string, revision int64, issuer string, reserved bool) {
			t.Helper()
			if got := directory(t, s).Revision; got != revision {
				t.Errorf("%s: the directory is at revision %d, wanted %d", when, got, revision)
			}
			equal(t, when+": identities", identitiesOf(t, s, storetest.Acme), []string{"oidc " + issuer + " s okta"})
			if got, err := s.User(t.Context(), u.TenantID, u.ID); err != nil || got.EmailReserved != reserved {
				t.Errorf("%s: the address is reserved: %v, wanted %v: %v", when, got.EmailReserved, reserved, err)
			}
		}
		if _, err := s.ApplyDirectory(t.Context(), 1, storetest.Directory(), "ann", storetest.Time, steps...); err != nil {
			t.Fatalf("apply what is in force: %v", err)
		}
		check("when nothing differs", 1, storetest.Issuer, false)

		changed := directory(t, s)
		changed.Sources[0].Config = []byte(`{"issuer":"` + otherIssuer + `"}`)
		if _, err := s.ApplyDirectory(t.Context(), 7, changed, "ann", storetest.Time, steps...); !errors.Is(err, store.ErrStaleDirectory) {
			t.Errorf("apply on another revision: got %v, wanted that the directory has changed", err)
		}
		check("on another revision", 1, storetest.Issuer, false)

		mustExec(t, db, `alter table audit rename to hidden`) // which the last step writes to
		if _, err := s.ApplyDirectory(t.Context(), 1, changed, "ann", storetest.Time, steps...); err == nil {
			t.Error("a step that the database refuses: got no error, wanted one")
		}
		mustExec(t, db, `alter table hidden rename to audit`)
		check("when a step fails", 1, storetest.Issuer, false)

		if _, err := s.ApplyDirectory(t.Context(), 1, changed, "ann", storetest.Time, steps...); err != nil {
			t.Fatalf("apply: %v", err)
		}
		check("when it works", 2, otherIssuer, true)
	})
}
