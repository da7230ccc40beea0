package store_test

import (
	"context"
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
		t.Fatalf("revision %d after %d was applied: %v", got, revision, err)
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
			t.Errorf("audit: %+v, %v", entries, err)
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
				t.Errorf("got %v", err)
			}
		}
		if d := directory(t, s); won != 1 || d.Revision != 1 || len(d.Tenants) != 2 {
			t.Errorf("%d callers succeeded, and the directory is %+v", won, d)
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
		names, _ = roles()
		equal(t, "roles", names, []string(nil))
		apply(t, s, 4, storetest.Directory())
		want.Revision = 5
		equal(t, "all is declared again", directory(t, s), want)
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
				t.Errorf("%s: got %v", name, err)
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
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		got, err := s.KeyHistory(t.Context(), storetest.Acme, storetest.SourceLogins, "busy")
		equal(t, "error", err, nil)
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
		equal(t, "create", s.CreateCredential(ctx, finer, "ann"), nil)
		equal(t, "create", s.CreateCredential(ctx, plain, "ann"), nil)
		equal(t, "revision", revision(), int64(2))
		unknown := c
		unknown.ID, unknown.Tenant = "c3", "4489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
		if err := s.CreateCredential(ctx, unknown, "ann"); !errors.Is(err, store.ErrConstraint) {
			t.Errorf("of an unknown tenant: %v", err)
		}
		got, err := s.Credential(ctx, "c1")
		equal(t, "error", err, nil)
		equal(t, "credential", got, c)
		if _, err := s.Credential(ctx, "c9"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("one that is not there: %v", err)
		}

		used := storetest.Time.Add(time.Hour)
		equal(t, "touch", s.TouchCredentials(ctx, map[string]time.Time{"c1": used, "c9": used}), nil)
		equal(t, "touch earlier", s.TouchCredentials(ctx, map[string]time.Time{"c1": storetest.Time}), nil)
		equal(t, "revision after use", revision(), int64(2))
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if err := s.RevokeCredential(ctx, "c1", "bob", used); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		equal(t, "revoke again", s.RevokeCredential(ctx, "c1", "bob", used.Add(time.Hour)), nil)
		equal(t, "revision after revocation", revision(), int64(3))
		if err := s.RevokeCredential(ctx, "c9", "bob", used); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("revoke one that is not there: %v", err)
		}
		c.LastUsedAt, c.RevokedAt = used, used
		for tenant, want := range map[string][]store.Credential{"": {c, plain}, storetest.Acme: {c}, storetest.AcmeUser: {}} {
			got, err := s.Credentials(ctx, tenant)
			equal(t, "error", err, nil)
			equal(t, "credentials of "+tenant, got, want)
		}
		entries, err := s.AuditEntries(ctx, store.AuditFilter{Tenant: storetest.Acme, Action: "credential.revoke"})
		if err != nil || len(entries) != 1 || entries[0].Who != "bob" || entries[0].Object != "c1" {
			t.Errorf("audit: %+v, %v", entries, err)
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
					t.Error(err)
				}
			}
		})
		for ctx.Err() == nil {
			d := directory(t, s)
			full := d.Revision%2 == 1
			if full != (len(d.Tenants) == 2) || full != (len(d.Roles) == 5) || full != (len(d.Policies) == 1) {
				t.Fatalf("a mixture: %+v", d)
			}
		}
		wg.Wait()
	})
}
