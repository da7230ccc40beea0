package manifest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/directory/manifest"
)

// declare parses a declaration of sources of one tenant; an empty list of sources declares none.
func declare(t *testing.T, sources string, entityID func(providers.Source) (string, error)) manifest.Declaration {
	t.Helper()
	d, err := manifest.Parse("d.yaml", []byte(tenant(sources)), manifest.Options{EntityID: entityID})
	if err != nil {
		t.Fatalf("parse the declaration: %v", err)
	}
	return d
}

// inForce is the directory that a declaration makes of nothing.
func inForce(t *testing.T, sources string) store.Directory {
	t.Helper()
	p, err := manifest.NewPlan(store.Directory{}, declare(t, sources, entityID))
	if err != nil {
		t.Fatalf("plan the directory in force: %v", err)
	}
	return p.Directory
}

const (
	oidcSource = `
      - {name: %s, kind: oidc, issuer: %s, audiences: [%[1]s], domains: [acme.example], grants: [user]}`
	samlSource = `
      - {name: %s, kind: saml, issuer: %s, metadata_url: https://idp.example/m, entity_id: https://sp.example, acs_url: https://sp.example/acs, trust_email: true, domains: [acme.example], grants: [user]}`
	unnamedSource = `
      - {name: %s, kind: saml, metadata_url: %s, entity_id: https://sp.example, acs_url: https://sp.example/acs, trust_email: true, domains: [acme.example], grants: [user]}`
	feedSource = `
      - {name: %s, kind: feed, trust_email: true, domains: [acme.example], grants: [user]}`
)

// A login meets only identities of its source's kind and issuer: a plan tells which it meets no more, and which anew.
func TestAPlanTellsWhatItMeansForIdentities(t *testing.T) {
	t.Parallel()
	const a, b, c = "https://a.example", "https://b.example", "https://c.example"
	oidc := func(name, issuer string) string { return fmt.Sprintf(oidcSource, name, issuer) }
	saml := func(name, issuer string) string { return fmt.Sprintf(samlSource, name, issuer) }
	unnamed := fmt.Sprintf(unnamedSource, "adfs", "https://idp.example/m") // which calls itself one
	for name, c := range map[string]struct {
		before, after string
		groups        string // of identities: kind, issuer and source that made them
		want          []string
	}{
		"nothing changes":              {oidc("okta", a), oidc("okta", a), "oidc a okta", nil},
		"there are no identities":      {oidc("okta", a), oidc("okta", b), "", nil},
		"other keys change":            {oidc("okta", a), strings.Replace(oidc("okta", a), "acme.example", "acme.test", 1), "oidc a okta", nil},
		"a source is added":            {oidc("okta", a), oidc("okta", a) + oidc("ping", b), "oidc a okta", nil},
		"the issuer":                   {oidc("okta", a), oidc("okta", b), "oidc a okta", []string{"okta changes from oidc a to oidc b"}},
		"the case of the issuer":       {oidc("okta", a), oidc("okta", "https://A.example"), "oidc a okta", []string{"okta changes from oidc a to oidc A"}},
		"the entityID":                 {saml("adfs", a), saml("adfs", b), "saml a adfs", []string{"adfs changes from saml a to saml b"}},
		"the kind":                     {oidc("okta", a), saml("okta", a), "oidc a okta", []string{"okta changes from oidc a to saml a"}},
		"to an issuer without domains": {oidc("okta", a), strings.Replace(oidc("okta", b), "domains: [acme.example], ", "", 1), "oidc a okta", []string{"okta changes from oidc a to oidc b, speaks for none"}},
		"withdrawn before, and declared again with another": {"", oidc("okta", b), "oidc a okta", []string{"okta changes from oidc a to oidc b"}},
		"moved before, without identities moving along":     {oidc("okta", b), oidc("okta", b), "oidc a okta", []string{"okta has left oidc a for oidc b"}},
		"moved before, and another source has it":           {oidc("okta", b) + oidc("ping", a), oidc("okta", b) + oidc("ping", a), "oidc a okta", nil},

		"one of two that share it":  {oidc("okta", a) + oidc("portal", a), oidc("okta", b) + oidc("portal", a), "oidc a okta, oidc a portal", []string{"okta changes from oidc a to oidc b, shared with portal"}},
		"both of two that share it": {oidc("okta", a) + oidc("portal", a), oidc("okta", b) + oidc("portal", b), "oidc a okta, oidc a portal", []string{"okta changes from oidc a to oidc b", "portal changes from oidc a to oidc b"}},
		"two that share it, apart": {
			oidc("okta", a) + oidc("portal", a), oidc("okta", b) + oidc("portal", c), "oidc a okta, oidc a portal",
			[]string{"okta changes from oidc a to oidc b, shared with portal", "portal changes from oidc a to oidc c, shared with okta"},
		},
		"a new source takes it": {oidc("okta", a), oidc("okta", b) + oidc("fresh", a), "oidc a okta", []string{"okta changes from oidc a to oidc b, shared with fresh"}},
		"one after the other": {
			oidc("okta", a) + oidc("ping", b), oidc("okta", b) + oidc("ping", c), "oidc a okta, oidc b ping",
			[]string{"okta changes from oidc a to oidc b", "ping changes from oidc b to oidc c, shared with okta"},
		},
		"two swap": {
			oidc("okta", a) + oidc("ping", b), oidc("okta", b) + oidc("ping", a), "oidc a okta, oidc b ping",
			[]string{"okta changes from oidc a to oidc b, shared with ping", "ping changes from oidc b to oidc a, shared with okta"},
		},

		"a source is removed":                    {oidc("okta", a), oidc("ping", b), "oidc a okta", []string{"none is left for oidc a of okta"}},
		"one that shares it is removed":          {oidc("okta", a) + oidc("portal", a), oidc("portal", a), "oidc a okta", nil},
		"it becomes a feed":                      {oidc("okta", a), fmt.Sprintf(feedSource, "okta"), "oidc a okta", []string{"none is left for oidc a of okta"}},
		"nothing changes for what was left":      {oidc("ping", b), oidc("ping", b), "oidc a okta", nil},
		"a source is renamed":                    {oidc("okta", a), oidc("okta2", a), "oidc a okta", []string{"okta2 meets oidc a of okta"}},
		"a new source meets what was left":       {"", oidc("ping", a), "oidc a okta", []string{"ping meets oidc a of okta"}},
		"a new provider's name meets it":         {oidc("okta", b), unnamed, "saml one old", []string{"adfs meets saml one of old, unasked"}},
		"a name that is written meets it":        {oidc("okta", b), saml("adfs", "https://one.example"), "saml one old", []string{"adfs meets saml one of old"}},
		"one that has met it before":             {unnamed, unnamed, "saml one old", nil},
		"of the same issuer and of another kind": {oidc("okta", b), saml("adfs", a), "oidc a old", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			have := store.Directory{}
			if c.before != "" {
				have = inForce(t, c.before)
			}
			p, err := manifest.NewPlan(have, declare(t, c.after, entityID))
			if err != nil {
				t.Fatalf("plan: %v", err)
			}
			groups := []store.IdentityGroup{{TenantID: "3489e9ad-2ee2-8e00-8ec9-32d5f69181c0", Kind: "oidc", Issuer: a, Source: "okta", Identities: 1}} // of another tenant
			for group := range strings.SplitSeq(c.groups, ", ") {
				if words := strings.Fields(group); len(words) == 3 {
					groups = append(groups, store.IdentityGroup{TenantID: acme, Kind: words[0], Issuer: "https://" + words[1] + ".example", Source: words[2], Identities: 7})
				}
			}
			if got := meanings(t, p, groups); !slices.Equal(got, c.want) {
				t.Errorf("the plan means %q, wanted %q", got, c.want)
			}
		})
	}
}

// meanings tells what a plan means for the identities, each in a line.
func meanings(t *testing.T, p manifest.Plan, groups []store.IdentityGroup) []string {
	t.Helper()
	var lines []string
	moved, adopted, orphaned := p.Identities(groups)
	for _, m := range moved {
		line := map[bool]string{true: "%s changes from %s %s to %s %s", false: "%s has left %s %s for %s %s"}[m.Changed]
		line = fmt.Sprintf(line, m.Source, m.From.Kind, short(m.From.Issuer), m.To.Kind, short(m.To.Issuer))
		if len(m.Shared) > 0 {
			line += ", shared with " + strings.Join(m.Shared, " ")
		}
		if !m.Speaks {
			line += ", speaks for none"
		}
		lines = append(lines, line)
		if m.Tenant != acme || m.Identities != 7 {
			t.Errorf("the move of %s is of %d identities of tenant %s, wanted 7 of %s", m.Source, m.Identities, m.Tenant, acme)
		}
	}
	for _, m := range adopted {
		line := fmt.Sprintf("%s meets %s %s of %s", m.Source, map[bool]string{true: "saml", false: "oidc"}[strings.Contains(m.Source, "adfs")], short(m.Issuer), m.From)
		if !m.Written {
			line += ", unasked"
		}
		lines = append(lines, line)
		if m.Tenant != acme || m.Identities != 7 {
			t.Errorf("%s meets %d identities of tenant %s, wanted 7 of %s", m.Source, m.Identities, m.Tenant, acme)
		}
	}
	for _, o := range orphaned {
		lines = append(lines, fmt.Sprintf("none is left for oidc %s of %s", short(o.Issuer), o.Source))
		if o.Tenant != acme || o.Identities != 7 {
			t.Errorf("none is left for %d identities of tenant %s, wanted 7 of %s", o.Identities, o.Tenant, acme)
		}
	}
	return lines
}

func short(issuer string) string {
	return strings.TrimSuffix(strings.TrimPrefix(issuer, "https://"), ".example")
}

// All identities of an anchor move along with the source that has it, but not those of sources that share it.
func TestAMoveTouchesNoIdentitiesOfSourcesThatShareTheAnchor(t *testing.T) {
	t.Parallel()
	from, to := store.Anchor{Kind: "oidc", Issuer: "https://a.example"}, store.Anchor{Kind: "oidc", Issuer: "https://b.example"}
	for name, c := range map[string]struct {
		shared  []string
		changed bool
		source  string
	}{
		"alone":                     {nil, true, ""},
		"shared":                    {[]string{"portal"}, true, "okta"},
		"of a source that has left": {nil, false, "okta"},
	} {
		for _, anew := range []bool{false, true} {
			m := manifest.Moved{Tenant: acme, Source: "okta", From: from, To: to, Shared: c.shared, Changed: c.changed}
			if got, want := m.Move(anew), (store.IdentityMove{Tenant: acme, From: from, To: to, Source: c.source, Anew: anew}); got != want {
				t.Errorf("%s: the move is of source %q, anew %v; wanted source %q, anew %v, and the same anchors", name, got.Source, got.Anew, want.Source, want.Anew)
			}
		}
	}
}

// A SAML source whose metadata cannot be read keeps the entityID under which it is in force, as long as it is the same
// source.
func TestAPlanKeepsThePinOfASourceWhoseMetadataCannotBeRead(t *testing.T) {
	t.Parallel()
	const metadata = "https://idp.example/m"
	unnamed := fmt.Sprintf(unnamedSource, "adfs", metadata)
	for name, c := range map[string]struct {
		before, after string
		kept          bool
	}{
		"as it was":                   {unnamed, unnamed, true},
		"with other keys":             {unnamed, strings.Replace(unnamed, "[user]", "[user, admin]", 1), true},
		"pinned by hand before":       {fmt.Sprintf(samlSource, "adfs", "https://one.example"), unnamed, true},
		"at another URL":              {unnamed, strings.Replace(unnamed, metadata, "https://idp2.example/m", 1), false},
		"under another name":          {unnamed, strings.Replace(unnamed, "name: adfs", "name: shib", 1), false},
		"of another kind before":      {fmt.Sprintf(oidcSource, "adfs", "https://one.example"), unnamed, false},
		"of a tenant that is new":     {"", unnamed, false},
		"beside one that can be read": {unnamed, unnamed + fmt.Sprintf(oidcSource, "okta", "https://a.example"), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			have := store.Directory{}
			if c.before != "" {
				have = inForce(t, c.before)
			}
			unreachable := errors.New("connection refused")
			p, err := manifest.NewPlan(have, declare(t, c.after, func(providers.Source) (string, error) { return "", unreachable }))
			if !c.kept {
				if !errors.Is(err, unreachable) || !strings.Contains(err.Error(), "its entityID is not known") {
					t.Errorf("got %v, wanted it refused, since its entityID is not known", err)
				}
				return
			}
			if err != nil {
				t.Fatalf("plan: %v", err)
			}
			group := store.IdentityGroup{TenantID: acme, Kind: "saml", Issuer: "https://one.example", Source: "adfs", Identities: 7}
			if lines := meanings(t, p, []store.IdentityGroup{group}); len(lines) > 0 {
				t.Errorf("the plan means %q, wanted nothing for the identities", lines)
			}
			i := slices.IndexFunc(p.Directory.Sources, func(s store.Source) bool { return s.Name == "adfs" })
			if a, err := manifest.Anchor(p.Directory.Sources[i]); err != nil || a != (store.Anchor{Kind: "saml", Issuer: "https://one.example"}) {
				t.Errorf("its anchor is %s %s, wanted that of before: %v", a.Kind, a.Issuer, err)
			}
			if len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], `source "adfs"`) || !strings.Contains(p.Warnings[0], "connection refused") || !strings.Contains(p.Warnings[0], "https://one.example") {
				t.Errorf("the warnings are %q, wanted one that names the source, the reason and the entityID", p.Warnings)
			}
		})
	}
}

// What the file alone cannot tell is found in the plan: a pin that is kept may be another source's issuer now.
func TestAPlanRefusesSourcesThatCannotBeToldApart(t *testing.T) {
	t.Parallel()
	unread := func(providers.Source) (string, error) { return "", errors.New("connection refused") }
	unnamed := fmt.Sprintf(unnamedSource, "adfs", "https://idp.example/m")
	have := inForce(t, unnamed)
	for name, c := range map[string]struct {
		other string
		clash bool
	}{
		"an OpenID source of that issuer": {fmt.Sprintf(oidcSource, "okta", "https://one.example"), true},
		"a SAML source of that entityID":  {fmt.Sprintf(samlSource, "copy", "https://one.example"), true},
		"one of another issuer":           {fmt.Sprintf(oidcSource, "okta", "https://two.example"), false},
	} {
		_, err := manifest.NewPlan(have, declare(t, unnamed+c.other, unread))
		if clash := err != nil && strings.Contains(err.Error(), "have the same issuer https://one.example"); clash != c.clash || !c.clash && err != nil {
			t.Errorf("%s: refused for the same issuer: %v, wanted %v: %v", name, clash, c.clash, err)
		}
	}
	two := have
	two.Sources = slices.Concat(have.Sources, []store.Source{{TenantID: "3489e9ad-2ee2-8e00-8ec9-32d5f69181c0", Name: "okta", Kind: "oidc", Config: []byte(`{"issuer":"https://one.example"}`)}})
	if _, err := manifest.NewPlan(two, manifest.Declaration{Directory: two}); err != nil {
		t.Errorf("sources of two tenants with one issuer: got %v, wanted no error", err)
	}
	broken := have
	broken.Sources = []store.Source{{TenantID: acme, Name: "okta", Kind: "oidc", Config: []byte(`{`)}}
	if _, err := manifest.NewPlan(broken, declare(t, unnamed, entityID)); err == nil || !strings.Contains(err.Error(), "configuration of source okta") {
		t.Errorf("a configuration that is no JSON: got %v, wanted an error that names its source", err)
	}
}

// Addresses of users who are there are reserved when a source begins to speak for them, and not at every apply.
func TestAPlanReservesAddressesWhenASourceBeginsToSpeakForThem(t *testing.T) {
	t.Parallel()
	const (
		okta = `{name: okta, kind: oidc, issuer: https://a.example, audiences: [a], grants: [user]}`
		adfs = `{name: adfs, kind: saml, issuer: https://a.example, metadata_url: https://idp.example/m, entity_id: https://sp.example, acs_url: https://sp.example/acs, unverified_email: accept, grants: [user]}`
		hr   = `{name: hr, kind: feed, grants: [user]}`
	)
	with := func(source string, keys ...string) string {
		for _, k := range keys {
			source = strings.TrimSuffix(source, "}") + ", " + k + "}"
		}
		return "\n      - " + source
	}
	const domains, both, trust = "domains: [acme.example]", "domains: [acme.example, acme.test]", "trust_email: true"
	groups := "mapping: {roles: claims.groups}"
	proved := func(name string, domains ...string) store.Reservation {
		return store.Reservation{Tenant: acme, Source: name, Domains: domains, Proved: true}
	}
	feed := func(domains ...string) store.Reservation {
		return store.Reservation{Tenant: acme, Source: "hr", Domains: domains}
	}
	for name, c := range map[string]struct {
		before, after string
		want          []store.Reservation
	}{
		"a login source without domains":         {"", with(okta), nil},
		"a login source with domains":            {"", with(okta, domains), []store.Reservation{proved("okta", "acme.example")}},
		"as it was":                              {with(okta, domains), with(okta, domains), nil},
		"other keys":                             {with(okta, domains), with(okta, domains, "max_event_age: 1h"), nil},
		"domains are added":                      {with(okta), with(okta, domains), []store.Reservation{proved("okta", "acme.example")}},
		"a domain is added":                      {with(okta, domains), with(okta, both), []store.Reservation{proved("okta", "acme.example", "acme.test")}},
		"the domains are taken away":             {with(okta, domains), with(okta), nil},
		"trust is added":                         {with(okta, domains), with(okta, domains, trust), []store.Reservation{proved("okta", "acme.example")}},
		"the mapping changes":                    {with(okta, domains), with(okta, domains, groups), []store.Reservation{proved("okta", "acme.example")}},
		"a SAML source that proves nothing":      {"", with(adfs, domains), nil},
		"a SAML source that is trusted":          {with(adfs, domains), with(adfs, domains, trust), []store.Reservation{proved("adfs", "acme.example")}},
		"a feed that speaks for no domain":       {"", with(hr), nil},
		"a feed with domains that isn't trusted": {"", with(hr, domains), nil},
		"a feed that is trusted":                 {with(hr, domains), with(hr, domains, trust), []store.Reservation{feed("acme.example")}},
		"a feed that becomes a login source": {
			with(strings.Replace(hr, "hr", "okta", 1), domains, trust), with(okta, domains, trust),
			[]store.Reservation{proved("okta", "acme.example")},
		},
		"one of two": {with(okta, domains) + with(hr, domains), with(okta, domains) + with(hr, domains, trust), []store.Reservation{feed("acme.example")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			have := store.Directory{}
			if c.before != "" {
				have = inForce(t, c.before)
			}
			p, err := manifest.NewPlan(have, declare(t, c.after, entityID))
			if err != nil {
				t.Fatalf("plan: %v", err)
			}
			var got, want []string
			for _, s := range p.Steps {
				r, ok := s.(store.Reservation)
				if !ok {
					t.Fatalf("a step of the plan is a %T, wanted a reservation", s)
				}
				got = append(got, inWords(t, r))
			}
			for _, r := range c.want {
				want = append(want, inWords(t, r))
			}
			if !slices.Equal(got, want) {
				t.Errorf("the reservations are %s, wanted %s", got, want)
			}
		})
	}
}

func inWords(t *testing.T, r store.Reservation) string {
	t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
