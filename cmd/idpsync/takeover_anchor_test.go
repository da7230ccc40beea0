package main

import (
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
)

const (
	adfsEntity = "https://adfs.acme.example/saml"
	writesAdfs = ", issuer: '" + adfsEntity + "'"
)

var (
	adfsSource = samlSource("adfs", trust+ofAcme+anyRole)
	renamed    = strings.Replace(oktaAt("after"), "name: okta", "name: okta2", 1)
)

// bareOkta is the source okta without domains, so that its logins prove no address.
func bareOkta(issuer string) string { return strings.Replace(oktaAt(issuer), ofAcme, "", 1) }

// says fails the test unless an apply told the operator all of these.
func (s *story) says(what string, p program, words ...string) {
	s.t.Helper()
	for _, word := range words {
		if !strings.Contains(p.stdout+p.stderr, s.placed(word)) {
			s.t.Errorf("%s: got no word of %q, wanted one:\n%s%s", what, word, p.stdout, p.stderr)
		}
	}
}

// asks fails the test unless an apply was refused because an operator has to decide about identities.
func (s *story) asks(what string, p program) {
	s.t.Helper()
	if p.code != kit.ExitUsage {
		s.t.Errorf("apply of %s: got exit %d, wanted %d:\n%s%s", what, p.code, kit.ExitUsage, p.stdout, p.stderr)
	}
	s.says("apply of "+what, p, "1 identity", "--move-identities", "--start-anew")
}

// move runs identities move for acme.
func (s *story) move(from, to string) program {
	s.t.Helper()
	return s.do("", "identities", "move", "--tenant", acme, "--from", s.placed(from), "--to", to, "--yes")
}

func TestTakeoverUnderALeftEntityID(t *testing.T) {
	tell(t, "log in as an administrator whose SAML source was withdrawn, by republishing metadata under its entityID", func(s *story) {
		honest := s.publish(s.t, "adfs", adfsEntity, nil)
		s.publish(s.t, "partner", "https://idp.partner.example", nil)
		s.declare(adfsSource, partner)
		chief := s.made("the administrator", s.loginAt("adfs", assertion(s.t, honest, provider("adfs"), "chief", "chief@acme.example")))
		before := s.look(chief)
		withdrawal := s.try(nil, okta, partner)
		s.acceptedApply("a directory without the SAML source", withdrawal)
		s.says("apply of a directory without the SAML source", withdrawal, "no source is left", "1 identity", adfsEntity)

		evil := s.publish(s.t, "partner", adfsEntity, nil)
		s.refusedApply("metadata under the entityID of a withdrawn source", s.try(nil, okta, partner), "partner", "issuer: "+adfsEntity, "1 identity")
		s.start()
		got, answered := s.send("idpsync.login."+acme+".partner", nil, assertion(s.t, evil, provider("partner"), "chief", "chief@partner.example"), 3*time.Second)
		if answered && got.status < 400 {
			s.t.Errorf("the partner as the administrator: got %s, wanted it to be refused or to wait", words(got))
		}
		s.same("the administrator", chief, before)
	})
	tell(t, "log in as an administrator of a withdrawn SAML source by a new source of its entityID", func(s *story) {
		honest := s.publish(s.t, "adfs", adfsEntity, nil)
		s.declare(adfsSource)
		chief := s.made("the administrator", s.loginAt("adfs", assertion(s.t, honest, provider("adfs"), "chief", "chief@acme.example")))
		s.declare(okta)
		s.publish(s.t, "partner", adfsEntity, nil)
		s.refusedApply("a new source under the entityID of a withdrawn one", s.try(nil, okta, partner), "partner", "issuer: "+adfsEntity, "1 identity")

		// The source came back under another name: an operator has looked, and wrote the entityID down.
		back := s.publish(s.t, "sso", adfsEntity, nil)
		p := s.try(nil, okta, samlSource("sso", trust+ofAcme+anyRole+writesAdfs))
		s.acceptedApply("a new source whose issuer is written", p)
		s.says("apply of a new source whose issuer is written", p, "meets 1 identity", adfsEntity)
		s.start()
		s.user("the administrator", s.loginAt("sso", assertion(s.t, back, provider("sso"), "chief", "chief@acme.example")), chief, "200 exists")
	})
	tell(t, "take the entityID that a renamed source leaves in the same apply", func(s *story) {
		honest := s.publish(s.t, "old", adfsEntity, nil)
		s.declare(samlSource("old", trust+ofAcme+anyRole))
		s.made("the administrator", s.loginAt("old", assertion(s.t, honest, provider("old"), "chief", "chief@acme.example")))
		s.publish(s.t, "adfs", adfsEntity, nil)
		s.refusedApply("the source under another name, without its issuer", s.try(nil, adfsSource), "issuer: "+adfsEntity)
		s.declare(samlSource("adfs", trust+ofAcme+anyRole+writesAdfs))

		s.publish(s.t, "adfs", "https://adfs.acme.example/new", nil)
		s.publish(s.t, "partner", adfsEntity, nil)
		s.refusedApply("a partner under the entityID that another source leaves", s.try(nil, adfsSource, partner), "partner", "issuer: "+adfsEntity)
	})
	tell(t, "take the entityID that a source leaves in the same apply, with the people who start anew", func(s *story) {
		honest := s.publish(s.t, "adfs", adfsEntity, nil)
		s.declare(adfsSource)
		chief := s.made("the administrator", s.loginAt("adfs", assertion(s.t, honest, provider("adfs"), "chief", "chief@acme.example")))
		honest = s.publish(s.t, "adfs", "https://adfs.acme.example/new", nil)
		evil := s.publish(s.t, "partner", adfsEntity, nil)
		s.asks("a source that leaves its entityID to a partner", s.try(nil, adfsSource, partner))
		s.refusedApply("its identities moved, while the partner has the entityID", s.try([]string{"--move-identities=adfs"}, adfsSource, partner), "partner")
		s.acceptedApply("a new start of its identities", s.try([]string{"--start-anew=adfs"}, adfsSource, partner))
		s.start()
		got := s.loginAt("partner", assertion(s.t, evil, provider("partner"), "chief", "chief@partner.example"))
		if id := s.made("the partner's person under the entityID that was left", got); id == chief {
			s.t.Errorf("the partner's person under the entityID that was left: got the administrator, wanted a user of its own")
		}
		s.user("the administrator", s.loginAt("adfs", assertion(s.t, honest, provider("adfs"), "chief", "chief@acme.example")), chief, "200 linked")
	})
	tell(t, "have --strict overlook metadata that can't be read", func(s *story) {
		s.publish(s.t, "adfs", adfsEntity, nil)
		s.declare(adfsSource)
		s.mu.Lock()
		delete(s.idps, "adfs")
		s.mu.Unlock()
		s.refusedApply("metadata that can't be read, with --strict", s.try([]string{"--strict"}, adfsSource, okta), "adfs")
		p := s.try(nil, adfsSource, okta)
		s.acceptedApply("metadata that can't be read, without --strict", p)
		s.says("apply of metadata that can't be read", p, "warning", "adfs")
	})
}

func TestTakeoverOrLockOutWhenASourceChanges(t *testing.T) {
	ida := func(s *story) string {
		s.t.Helper()
		s.declare(oktaAt("before"))
		return s.made("Ida", s.oktaOf("before", "ida", "ida@acme.example", asAdmin))
	}
	tell(t, "be locked out by a source that gets another name and issuer at once", func(s *story) {
		id := ida(s)
		p := s.try(nil, renamed)
		s.acceptedApply("a renamed source with another issuer", p)
		s.says("apply of a renamed source with another issuer", p, "no source is left", "1 identity", "BASE/before", "identities move")
		s.start()
		login := func() reply { return s.loginAt("okta2", s.token(s.t, "after", "ida", "ida@acme.example", nil)) }
		s.refused("Ida, before her identity is moved", login(), "409 user_exists different_identity")
		if p := s.move("BASE/before", "okta2"); p.code != kit.ExitOK {
			s.t.Fatalf("identities move: got exit %d, wanted 0:\n%s%s", p.code, p.stdout, p.stderr)
		}
		s.user("Ida, after her identity was moved", login(), id, "200 exists")
	})
	tell(t, "be locked out by a source that is withdrawn and returns with another issuer", func(s *story) {
		id := ida(s)
		s.acceptedApply("a directory without the source", s.try(nil, workday))
		s.asks("the source again, with another issuer", s.try(nil, oktaAt("after")))
		s.acceptedApply("the source again, with --move-identities", s.try([]string{"--move-identities"}, oktaAt("after")))
		s.start()
		s.user("Ida", s.oktaOf("after", "ida", "ida@acme.example", nil), id, "200 exists")
	})
	tell(t, "lose an account by a new start of a source that speaks for no domain", func(s *story) {
		s.declare(bareOkta("before"))
		id := s.made("Ida", s.oktaOf("before", "ida", "ida@acme.example", asAdmin))
		s.refusedApply("a new start of a source that speaks for no domain", s.try([]string{"--start-anew"}, bareOkta("after")), "okta", "domain", "--move-identities")
		s.user("Ida, as nothing was changed", s.oktaOf("before", "ida", "ida@acme.example", nil), id, "200 exists")
		s.acceptedApply("a move of the same source", s.try([]string{"--move-identities"}, bareOkta("after")))
		s.start()
		s.user("Ida, after the move", s.oktaOf("after", "ida", "ida@acme.example", nil), id, "200 exists")
	})
	tell(t, "be locked out by a source that gets another kind", func(s *story) {
		honest := s.publish(s.t, "sso", "https://sso.acme.example/saml", nil)
		s.declare(strings.Replace(okta, "name: okta", "name: sso", 1))
		id := s.made("Ida", s.loginAt("sso", s.token(s.t, "okta", "ida", "ida@acme.example", asAdmin)))
		saml := samlSource("sso", trust+ofAcme+anyRole)
		s.asks("another kind", s.try(nil, saml))
		s.refusedApply("another kind with --move-identities", s.try([]string{"--move-identities"}, saml), "--start-anew")
		s.acceptedApply("another kind with --start-anew", s.try([]string{"--start-anew=sso"}, saml))
		s.start()
		s.user("Ida's first login through SAML", s.loginAt("sso", assertion(s.t, honest, provider("sso"), "ida", "ida@acme.example")), id, "200 linked")
	})
	tell(t, "become a user of kind feed", func(s *story) {
		s.declare(okta)
		id := s.made("Ida", s.oidc("okta", "ida", "ida@acme.example", asAdmin))
		p := s.try(nil, feedSource("okta", trust+ofAcme+anyRole))
		s.acceptedApply("a source that becomes a feed", p)
		s.says("apply of a source that becomes a feed", p, "no source is left", "1 identity", "BASE/okta")
		if u := s.detail(id); u.AuthProvider != "oidc" {
			s.t.Errorf("Ida's auth_provider, while her source is a feed: got %q, wanted oidc", u.AuthProvider)
		}
		s.asks("the source again, with another issuer", s.try(nil, oktaAt("after")))
		s.acceptedApply("the source again", s.try(nil, okta))
		s.start()
		s.user("Ida", s.oidc("okta", "ida", "ida@acme.example", nil), id, "200 exists")
	})
	tell(t, "have a flag of apply pass that decides nothing", func(s *story) {
		id := ida(s)
		for what, c := range map[string]struct {
			flag  string
			after []string
		}{
			"a source that is not declared":                 {"--start-anew=nosuch", []string{oktaAt("after")}},
			"a source that is not declared, beside another": {"--move-identities=okta,nosuch", []string{oktaAt("after")}},
			"a source without identities":                   {"--move-identities=workday", []string{oktaAt("before"), workday}},
		} {
			_, name, _ := strings.Cut(c.flag, "=")
			s.refusedApply("a flag with "+what, s.try([]string{c.flag}, c.after...), name[strings.LastIndex(name, ",")+1:])
		}
		s.user("Ida, as nothing was changed", s.oktaOf("before", "ida", "ida@acme.example", nil), id, "200 exists")
	})
	tell(t, "get the identities of a source that is in use by identities move", func(s *story) {
		second := oidcSource("second", ofAcme+groups+anyRole)
		s.declare(okta, second)
		id := s.made("Ida", s.oidc("okta", "ida", "ida@acme.example", asAdmin))
		p := s.move("BASE/okta", "second")
		if p.code != kit.ExitUsage || !strings.Contains(p.stderr, "okta") {
			s.t.Errorf("identities move from an issuer in use: got exit %d, wanted %d with a word of okta:\n%s%s", p.code, kit.ExitUsage, p.stdout, p.stderr)
		}
		got := s.oidc("second", "ida", "eve@acme.example", nil)
		if eve := s.made("another person with Ida's subject at the second source", got); eve == id {
			s.t.Errorf("another person with Ida's subject at the second source: got Ida, wanted a user of its own")
		}
		s.user("Ida", s.oidc("okta", "ida", "ida@acme.example", nil), id, "200 exists")
	})
}
