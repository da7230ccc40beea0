package manifest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
	"github.com/idpsync/idpsync/worker/directory/manifest"
)

// A formerStore is a database that an earlier version has filled.
type formerStore struct {
	t     *testing.T
	o     store.Options
	store *store.Store
	users map[string]store.User // by name
	n     int
}

// eachFormer runs test on every kind of database, with the given sources in force for the tenant acme beside the empty
// tenant globex.
func eachFormer(t *testing.T, sources []store.Source, test func(f *formerStore)) {
	t.Helper()
	for _, kind := range storetest.Kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f := &formerStore{t: t, o: storetest.Migrated(t, kind), users: map[string]store.User{}}
			f.store = storetest.OpenOptions(t, f.o)
			f.declare(sources)
			test(f)
		})
	}
}

func (f *formerStore) declare(sources []store.Source) {
	f.t.Helper()
	d := storetest.Directory()
	d.Sources = sources
	revision, err := f.store.DirectoryRevision(f.t.Context())
	if err != nil {
		f.t.Fatalf("read the revision of the directory: %v", err)
	}
	if _, err := f.store.ApplyDirectory(f.t.Context(), revision, d, "ann", storetest.Time); err != nil {
		f.t.Fatalf("apply the directory: %v", err)
	}
}

// add writes a user as the earlier version has, with an identity of each given issuer.
func (f *formerStore) add(name string, change func(u *store.User), source string, issuers ...string) {
	f.t.Helper()
	f.n++
	u := storetest.User(storetest.Acme, f.n)
	u.EmailReserved, u.NameSkeleton, u.CreatedBy = false, "", source
	change(&u)
	w := store.Write{Users: []store.User{u}}
	for _, issuer := range issuers {
		w.Identities = append(w.Identities, store.Identity{TenantID: u.TenantID, Kind: "oidc", Issuer: issuer, Subject: name, UserID: u.ID, Source: source, CreatedAt: storetest.Time})
	}
	if err := f.store.Batch(f.t.Context(), func(ctx context.Context, tx *store.Tx) error { return tx.Write(ctx, w) }); err != nil {
		f.t.Fatalf("write the user %q: %v", name, err)
	}
	f.users[name] = u
	f.exec(`update users set email_reserved = null, name_skeleton = null where id = '` + u.ID + `'`)
	f.exec(`update identities set kind = '' where user_id = '` + u.ID + `'`)
}

func (f *formerStore) exec(statement string) {
	f.t.Helper()
	if _, err := storetest.Database(f.t, f.o).ExecContext(f.t.Context(), statement); err != nil {
		f.t.Fatalf("running %q on the database: got error %v, want none", statement, err)
	}
}

// upgrade runs an upgrade and returns what it reports, each as the name of its tenant and what it says.
func (f *formerStore) upgrade(entityID func(providers.Source) (string, error)) []string {
	f.t.Helper()
	report, err := manifest.Upgrade(f.t.Context(), f.store, manifest.UpgradeOptions{EntityID: entityID, Who: "ann", Now: func() time.Time { return storetest.Time }})
	if err != nil {
		f.t.Fatalf("upgrade: %v", err)
	}
	var lines []string
	for _, r := range report {
		what := r.What
		for name, u := range f.users {
			what = strings.ReplaceAll(what, u.ID, name)
		}
		lines = append(lines, map[string]string{storetest.Acme: "acme", storetest.Globex: "globex"}[r.Tenant]+": "+what)
		if r.Hint == "" {
			f.t.Errorf("%q does not say what to do", what)
		}
	}
	return lines
}

// reports compares a report with the beginnings of its lines.
func (f *formerStore) reports(when string, got []string, want ...string) {
	f.t.Helper()
	same := len(got) == len(want)
	for i := 0; same && i < len(got); i++ {
		same = strings.HasPrefix(got[i], want[i])
	}
	if !same {
		f.t.Errorf("%s: the report is\n%s\nwanted lines that begin\n%s", when, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// identities lists those of a tenant, each as its kind, issuer and subject.
func (f *formerStore) identities(tenant string) []string {
	f.t.Helper()
	all, err := f.store.Identities(f.t.Context(), store.IdentityFilter{Tenant: tenant})
	if err != nil {
		f.t.Fatalf("list the identities: %v", err)
	}
	var lines []string
	for _, d := range all {
		lines = append(lines, d.Kind+" "+d.Issuer+" "+d.Subject)
	}
	return lines
}

// reserved names the users whose addresses are reserved, sorted.
func (f *formerStore) reserved() string {
	f.t.Helper()
	var names []string
	for name, u := range f.users {
		got, err := f.store.User(f.t.Context(), u.TenantID, u.ID)
		if err != nil {
			f.t.Fatalf("read the user %q: %v", name, err)
		}
		if got.EmailReserved {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func source(name string, kind providers.Kind, config string) store.Source {
	return store.Source{TenantID: storetest.Acme, Name: name, Kind: string(kind), Config: []byte(config)}
}

// noMetadata answers for an identity provider that cannot be reached.
func noMetadata(providers.Source) (string, error) {
	return "", errors.New("connection refused")
}

func asIs(*store.User) {}

func TestAnUpgradePinsSourcesToTheirEntityID(t *testing.T) {
	t.Parallel()
	const one, two = "https://one.example", "https://two.example"
	url, file := source("adfs", providers.KindSAML, `{"metadata_url":"https://idp.example/m","entity_id":"sp"}`), source("adfs", providers.KindSAML, `{"metadata":"<x/>"}`)
	names := func(id string) func(providers.Source) (string, error) {
		return func(s providers.Source) (string, error) {
			if s.Name != "adfs" || s.Tenant != storetest.Acme || s.Kind != providers.KindSAML {
				return "", fmt.Errorf("asked for the entityID of %s", s.Name)
			}
			return id, nil
		}
	}
	for name, c := range map[string]struct {
		adfs     store.Source
		others   []store.Source
		issuers  []string // under which the source has made identities
		entityID func(providers.Source) (string, error)
		want     string // its issuer afterwards
		report   string
	}{
		"from its metadata":                           {url, nil, nil, names(one), one, ""},
		"from what it has made":                       {url, nil, []string{one}, noMetadata, one, ""},
		"from what it has made, whatever is read":     {url, nil, []string{one}, names(two), one, ""},
		"from its file, whatever it has made":         {file, nil, []string{one}, names(two), two, "no source is declared with this issuer"},
		"of two issuers, that which is read":          {url, nil, []string{one, two}, names(two), two, "no source is declared with this issuer"},
		"of two issuers, and none can be read":        {url, nil, []string{one, two}, noMetadata, "", "the entityID of its identity provider is not known: connection refused"},
		"not while it cannot be read":                 {url, nil, nil, noMetadata, "", "the entityID of its identity provider is not known: connection refused"},
		"not to the issuer of a source of OpenID":     {url, []store.Source{source("okta", providers.KindOIDC, `{"issuer":"`+one+`"}`)}, nil, names(one), "", "its identity provider calls itself " + one + ", which is the issuer of source okta"},
		"not to the entityID of another one":          {url, []store.Source{source("shib", providers.KindSAML, `{"issuer":"`+one+`"}`)}, nil, names(one), "", "which is the issuer of source shib"},
		"to that of a source of another tenant":       {url, []store.Source{{TenantID: storetest.Globex, Name: "okta", Kind: "oidc", Config: []byte(`{"issuer":"` + one + `"}`)}}, nil, names(one), one, ""},
		"not again, when it is pinned":                {source("adfs", providers.KindSAML, `{"issuer":"`+two+`"}`), nil, nil, names(one), two, ""},
		"an OpenID source without issuer, not at all": {source("adfs", providers.KindOIDC, `{}`), nil, nil, names(one), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachFormer(t, append([]store.Source{c.adfs}, c.others...), func(f *formerStore) {
				f.add("sam", asIs, "adfs", c.issuers...)
				lines := slices.DeleteFunc(f.upgrade(c.entityID), func(line string) bool { return strings.Contains(line, "addresses are not reserved") })
				if (c.report == "") != (len(lines) == 0) || c.report != "" && !strings.Contains(lines[0], c.report) {
					f.t.Errorf("the report is %q, wanted %q", lines, c.report)
				}
				d, err := f.store.Directory(f.t.Context())
				if err != nil {
					f.t.Fatalf("read the directory: %v", err)
				}
				i := slices.IndexFunc(d.Sources, func(s store.Source) bool { return s.Name == "adfs" })
				a, err := manifest.Anchor(d.Sources[i])
				if err != nil || a.Issuer != c.want || a.Kind != c.adfs.Kind {
					f.t.Errorf("the source belongs to %s %q, wanted %s %q: %v", a.Kind, a.Issuer, c.adfs.Kind, c.want, err)
				}
				if c.want == one && !strings.Contains(string(d.Sources[i].Config), "metadata_url") {
					f.t.Errorf("the rest of its configuration is gone: %s", d.Sources[i].Config)
				}
			})
		})
	}
}

func TestAnUpgradePinsIdentitiesToTheKindOfTheirSource(t *testing.T) {
	t.Parallel()
	const issuer, other = "https://one.example", "https://two.example"
	oidc := func(name, issuer string) store.Source {
		return source(name, providers.KindOIDC, `{"issuer":"`+issuer+`"}`)
	}
	saml := func(name, issuer string) store.Source {
		return source(name, providers.KindSAML, `{"issuer":"`+issuer+`"}`)
	}
	for name, c := range map[string]struct {
		before, after []store.Source // what after lacks is withdrawn
		kind          string
		report        string
	}{
		"made by a source of OpenID":                {nil, []store.Source{oidc("s", issuer)}, "oidc", ""},
		"made by a source of SAML":                  {nil, []store.Source{saml("s", issuer)}, "saml", ""},
		"made by a source that is withdrawn":        {[]store.Source{saml("s", issuer)}, nil, "saml", "no source is declared with this issuer"},
		"made by a source whose issuer has moved":   {nil, []store.Source{oidc("s", other)}, "oidc", "no source is declared with this issuer"},
		"made by a source that is renamed":          {[]store.Source{oidc("s", issuer)}, []store.Source{oidc("t", issuer)}, "oidc", ""},
		"made by an unknown one, of a known issuer": {nil, []store.Source{saml("t", issuer)}, "saml", ""},
		"made by an unknown one, of another issuer": {nil, []store.Source{saml("t", other)}, "", "which kind of source they belong to is not known; only logins from that source find them"},
		"of an issuer that is now of another kind":  {nil, []store.Source{oidc("s", other), saml("t", issuer)}, "", "which kind of source they belong to is not known"},
		"made by a source that is a feed now":       {nil, []store.Source{source("s", providers.KindFeed, `{}`)}, "", "which kind of source they belong to is not known"},
		"made by a source of that name elsewhere":   {nil, []store.Source{{TenantID: storetest.Globex, Name: "s", Kind: "oidc", Config: []byte(`{"issuer":"` + issuer + `"}`)}}, "", "which kind of source they belong to is not known"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachFormer(t, append(slices.Clone(c.after), c.before...), func(f *formerStore) {
				f.declare(c.after)
				f.add("ann", asIs, "s", issuer)
				isUsers := func(line string) bool { return strings.Contains(line, "addresses are not reserved") }
				lines := slices.DeleteFunc(f.upgrade(noMetadata), isUsers)
				if c.report == "" && len(lines) > 0 || c.report != "" && (len(lines) != 1 || !strings.Contains(lines[0], "1 identity of issuer "+issuer+", made by source s: "+c.report)) {
					f.t.Errorf("the report is %q, wanted %q", lines, c.report)
				}
				if got, want := f.identities(storetest.Acme), c.kind+" "+issuer+" ann"; len(got) != 1 || got[0] != want {
					f.t.Errorf("the identities are %q, wanted %q", got, want)
				}
			})
		})
	}
}

func TestAnUpgradeReservesAddressesThatSourcesSpeakFor(t *testing.T) {
	t.Parallel()
	const speaks = `"domains":["acme.example"]`
	sources := []store.Source{
		source("okta", providers.KindOIDC, `{"issuer":"https://one.example",`+speaks+`}`), source("ping", providers.KindOIDC, `{"issuer":"https://two.example"}`),
		source("trusted", providers.KindFeed, `{"trust_email":true,`+speaks+`}`), source("workday", providers.KindFeed, `{`+speaks+`}`),
	}
	withdrawn := source("old", providers.KindFeed, `{"trust_email":true,`+speaks+`}`)
	eachFormer(t, append(slices.Clone(sources), withdrawn), func(f *formerStore) {
		f.declare(sources)
		proved := func(u *store.User) { u.EmailVerified = true }
		f.add("proved at okta", proved, "okta")
		f.add("unproved at okta", asIs, "okta")
		f.add("proved at okta, of another domain", func(u *store.User) { u.EmailVerified, u.EmailKey = true, "a@other.example" }, "okta")
		f.add("proved at ping", proved, "ping")
		f.add("of the trusted feed", asIs, "trusted")
		f.add("of the other feed", asIs, "workday")
		f.add("of a feed that is withdrawn", asIs, "old")
		f.add("by command", func(u *store.User) { u.EmailKey = "b@other.example" }, providers.AdminSource)
		f.add("by command, in a tenant without sources", func(u *store.User) { u.TenantID = storetest.Globex }, providers.AdminSource)
		f.reports("at first", f.upgrade(noMetadata),
			"acme: 2 users made by source okta: their addresses are not reserved", "acme: 1 user made by source ping: ", "acme: 1 user made by source workday: ")
		const want = "by command, by command, in a tenant without sources, of a feed that is withdrawn, of the trusted feed, proved at okta"
		if got := f.reserved(); got != want {
			f.t.Errorf("reserved are the addresses of users: %s\nwanted: %s", got, want)
		}
		f.reports("again", f.upgrade(noMetadata))
		if got := f.reserved(); got != want {
			f.t.Errorf("again, reserved are the addresses of users: %s\nwanted: %s", got, want)
		}
	})
}

// Whatever can be decided is decided once; what is reported again is what an operator has to settle.
func TestAnUpgradeMayRunAnyNumberOfTimes(t *testing.T) {
	t.Parallel()
	sources := []store.Source{source("okta", providers.KindOIDC, `{"issuer":"https://one.example","domains":["acme.example"]}`), source("adfs", providers.KindSAML, `{"metadata_url":"https://idp.example/m"}`)}
	eachFormer(t, sources, func(f *formerStore) {
		named := func(name string) func(*store.User) {
			return func(u *store.User) {
				u.IdentityName, u.IdentityNameKey, u.EmailVerified = name, name, true
			}
		}
		f.add("grace", named("grace"), "okta", "https://one.example")
		f.add("twin", named("gr\u0430ce"), "okta", "https://one.example") // a Cyrillic letter
		f.add("boss", func(u *store.User) { u.IsOwner = true }, "workday")
		f.add("lost", asIs, "gone", "https://gone.example")
		owner := f.users["boss"]
		standing := []string{
			"acme: source adfs: the entityID of its identity provider is not known: connection refused",
			"acme: 1 identity of issuer https://gone.example, made by source gone: which kind of source they belong to is not known",
			"acme: user boss (" + owner.Email + "), made by source workday, is the owner and has no external identity",
		}
		first := []string{
			standing[0], standing[1], "acme: 1 user made by source gone: their addresses are not reserved", "acme: 1 user made by source workday: their addresses are not reserved",
			"acme: user twin: the identity name looks like that of another user", standing[2],
		}
		f.reports("at first", f.upgrade(noMetadata), first...)
		entries, err := f.store.AuditEntries(f.t.Context(), store.AuditFilter{})
		if err != nil {
			f.t.Fatalf("list the audit: %v", err)
		}
		f.reports("again", f.upgrade(noMetadata), standing...)
		again, err := f.store.AuditEntries(f.t.Context(), store.AuditFilter{})
		if err != nil || len(again) != len(entries) {
			f.t.Errorf("an upgrade with nothing left to do recorded %d more entries, wanted none: %v", len(again)-len(entries), err)
		}

		if _, err := f.store.SetOwner(f.t.Context(), storetest.Acme, f.users["grace"].ID, "ann", storetest.Time); err != nil {
			f.t.Fatalf("set the owner: %v", err)
		}
		m := store.IdentityMove{Tenant: storetest.Acme, From: store.Anchor{Issuer: "https://gone.example"}, To: store.Anchor{Kind: "oidc", Issuer: "https://one.example"}}
		if n, err := f.store.MoveIdentities(f.t.Context(), m, "ann", storetest.Time); err != nil || n != 1 {
			f.t.Fatalf("moved %d identities, wanted 1: %v", n, err)
		}
		reads := func(providers.Source) (string, error) { return "https://idp.example", nil }
		f.reports("when all is settled", f.upgrade(reads))
		f.reports("when all was settled", f.upgrade(noMetadata))
		if got, want := f.identities(storetest.Acme), []string{"oidc https://one.example grace", "oidc https://one.example lost", "oidc https://one.example twin"}; !slices.Equal(got, want) {
			f.t.Errorf("the identities are %q, wanted %q", got, want)
		}
	})
}
