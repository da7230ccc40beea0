package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

// Each subtest is named after what an attacker wants, and has the honest person beside who must get in all the same.

// oidcSource declares a source whose issuer has its name.
func oidcSource(name, more string) string {
	return "{name: " + name + ", kind: oidc, issuer: BASE/" + name + ", audiences: [idpsync], algorithms: [ES256]" + more + "}"
}

// samlSource declares a source whose IdP publishes its metadata under its name.
func samlSource(name, more string) string {
	return "{name: " + name + ", kind: saml, metadata_url: BASE/" + name + "/metadata, entity_id: " + provider(name) + ", acs_url: " + provider(name) + "/acs, idp_initiated: true" + more + "}"
}

// samlFile declares a source whose IdP's metadata is a file of its name.
func samlFile(name, more string) string {
	return strings.Replace(samlSource(name, more), "metadata_url: BASE/"+name+"/metadata", "metadata_file: "+name+".xml", 1)
}

// provider is the entityID by which an IdP knows us.
func provider(source string) string { return "https://sp.acme.example/" + source }

func feedSource(name, more string) string { return "{name: " + name + ", kind: feed" + more + "}" }

const (
	ofAcme     = ", domains: [acme.example]"
	anyRole    = ", grants: [user, admin, viewer]"
	onlyUser   = ", grants: [user]"
	accept     = ", unverified_email: accept"
	trust      = ", trust_email: true"
	groups     = ", mapping: {roles: claims.groups}"
	ofThief    = ", trust_email: true, domains: [thief.example], grants: []"
	bcryptHash = "$2b$10$RiYZt7qYtzBbxyhGz1eQku6XVg1A0zaTzZ4aX0d2AsJTs7XmE1Nsa"
)

var (
	okta     = oidcSource("okta", ofAcme+groups+anyRole) // the source of acme's own people
	lax      = oidcSource("lax", ofAcme+accept+onlyUser) // the same domain, but addresses without proof are welcome
	workday  = feedSource("workday", anyRole)
	trusted  = feedSource("trusted", trust+ofAcme+anyRole)
	partner  = samlSource("partner", ", trust_email: true, domains: [partner.example], grants: []")
	asAdmin  = map[string]any{"groups": []string{"user", "admin"}}
	unproved = map[string]any{"email_verified": false}
)

// --- Another source's identity ---------------------------------------------------------------------------------------

func TestTakeoverOfAnIdentity(t *testing.T) {
	tell(t, "log in as an administrator by republishing metadata under the name of her issuer", func(s *story) {
		idp := s.publish(s.t, "partner", "https://idp.partner.example", formerKey(s.t, "shib"))
		s.declare(okta, partner)
		chief := s.made("the administrator", s.oidc("okta", "chief", "chief@acme.example", asAdmin))
		before := s.look(chief)

		evil := s.publish(s.t, "partner", "BASE/okta", formerKey(s.t, "shib"))
		got, answered := s.send("idpsync.login."+acme+".partner", nil, assertion(s.t, evil, provider("partner"), "chief", "chief@partner.example"), 5*time.Second)
		if answered && got.status < 400 {
			s.t.Errorf("the partner as the administrator: got %s, wanted it to be refused or to wait", words(got))
		}
		s.same("the administrator", chief, before)
		if !s.warned(s.base + "/okta") {
			s.t.Errorf("metadata that names another entityID: got no warning in the worker's log, wanted one that names %s/okta", s.base)
		}
		s.refusedApply("metadata under the name of an OIDC issuer", s.try(nil, okta, partner), "partner", "okta")
		s.user("the administrator herself", s.oidc("okta", "chief", "chief@acme.example", nil), chief, "200 exists")

		s.publish(s.t, "partner", "https://idp.partner.example", formerKey(s.t, "shib"))
		s.start()
		s.made("a person of the partner, whose metadata has its own name again", s.loginAt("partner", assertion(s.t, idp, provider("partner"), "paula", "paula@partner.example")))
	})
	tell(t, "log in as an administrator whose source was withdrawn, under the name of its issuer", func(s *story) {
		s.declare(okta)
		chief := s.made("the administrator", s.oidc("okta", "chief", "chief@acme.example", asAdmin))
		before := s.look(chief)
		evil := s.publish(s.t, "partner", "BASE/okta", nil)
		s.declare(partner)
		got := s.loginAt("partner", assertion(s.t, evil, provider("partner"), "chief", "chief@partner.example"))
		s.refused("the partner as the administrator", got, "409 user_exists different_source")
		s.letter("the partner as the administrator", got, record.CodeUserExists)
		s.same("the administrator", chief, before)

		s.declare(okta)
		s.user("the administrator, with her source again", s.oidc("okta", "chief", "chief@acme.example", nil), chief, "200 exists")
	})
	tell(t, "declare a source under the name of another", func(s *story) {
		s.publish(s.t, "adfs", "https://adfs.acme.example/saml", nil)
		s.publish(s.t, "partner", "https://idp.partner.example", nil)
		s.declare(okta, samlSource("adfs", trust+ofAcme+onlyUser), partner)
		write := func(name, entityID string) {
			s.write(name+".xml", string(s.publish(s.t, name, entityID, nil).Metadata()))
		}
		write("twin", "https://adfs.acme.example/saml")
		write("thief", "BASE/okta")
		adfs := samlSource("adfs", trust+ofAcme+onlyUser)
		for what, c := range map[string][2]string{
			"a file with the name of an OIDC issuer":          {"thief", samlFile("thief", ofThief)},
			"an issuer with the name of an OIDC issuer":       {"thief", samlFile("thief", ofThief+", issuer: BASE/okta")},
			"a URL with the name of an OIDC issuer":           {"thief", samlSource("thief", ofThief)},
			"a URL with an issuer of an OIDC issuer's name":   {"thief", samlSource("thief", ofThief+", issuer: BASE/okta")},
			"a file with the entityID of another SAML IdP":    {"twin", samlFile("twin", ofThief)},
			"a URL with the entityID of another SAML IdP":     {"twin", samlSource("twin", ofThief)},
			"an issuer with the entityID of another SAML IdP": {"twin", samlFile("twin", ofThief+", issuer: 'https://adfs.acme.example/saml'")},
		} {
			other := "okta"
			if c[0] == "twin" {
				other = "adfs"
			}
			s.refusedApply(what, s.try(nil, okta, adfs, partner, c[1]), c[0], other)
		}
		s.acceptedApply("sources with names of their own", s.try(nil, okta, adfs, partner))
	})
	tell(t, "be named by metadata that can't be read", func(s *story) {
		p := s.try(nil, okta, samlSource("absent", ofThief))
		s.refusedApply("metadata that can't be read, of a source without issuer", p, "absent")
		s.acceptedApply("metadata that can't be read, of a source with an issuer", s.try(nil, okta, samlSource("absent", ofThief+", issuer: 'https://absent.example'")))
	})
	tell(t, "nothing but to log in through a second client of the same issuer", func(s *story) {
		s.declare(okta, "{name: portal, kind: oidc, issuer: BASE/okta, audiences: [portal], algorithms: [ES256], grants: [user]}")
		chief := s.made("the administrator", s.oidc("okta", "chief", "chief@acme.example", asAdmin))
		got := s.loginAt("portal", s.token(s.t, "okta", "chief", "chief@acme.example", map[string]any{"aud": "portal"}))
		s.user("the administrator at the second client", got, chief, "200 exists")
		s.made("a person who is new there", s.loginAt("portal", s.token(s.t, "okta", "new", "new@acme.example", map[string]any{"aud": "portal"})))
	})
}

// warned reports whether the worker's log warns of something within a few seconds.
func (s *story) warned(of string) bool {
	s.t.Helper()
	warning := func() bool {
		for line := range strings.SplitSeq(s.run.stderr.String(), "\n") {
			if (strings.Contains(line, `"level":"WARN"`) || strings.Contains(line, `"level":"ERROR"`)) && strings.Contains(line, of) {
				return true
			}
		}
		return false
	}
	tick, end := time.NewTicker(50*time.Millisecond), time.After(5*time.Second)
	defer tick.Stop()
	for !warning() {
		select {
		case <-tick.C:
		case <-end:
			return false
		}
	}
	return true
}

// --- An issuer that moves --------------------------------------------------------------------------------------------

// oktaAt is the source okta with another issuer.
func oktaAt(issuer string) string { return strings.Replace(okta, "BASE/okta", "BASE/"+issuer, 1) }

// oktaOf logs a subject in at the source okta with a token of that issuer.
func (s *story) oktaOf(issuer, subject, email string, more map[string]any) reply {
	s.t.Helper()
	return s.loginAt("okta", s.token(s.t, issuer, subject, email, more))
}

func TestTakeoverWhenAnIssuerMoves(t *testing.T) {
	people := func(s *story) (owner, ida string) {
		s.t.Helper()
		owner = s.made("the owner", s.oktaOf("before", "owner", "owner@acme.example", nil))
		ida = s.made("Ida", s.oktaOf("before", "ida", "ida@acme.example", asAdmin))
		s.made("Ivan", s.oktaOf("before", "ivan", "ivan@acme.example", nil))
		s.owners("before the move", owner)
		return owner, ida
	}
	tell(t, "lock everybody out by a changed issuer", func(s *story) {
		s.declare(oktaAt("before"))
		_, ida := people(s)
		p := s.try(nil, oktaAt("after"))
		s.refusedApply("a changed issuer without a word on its identities", p, "--move-identities", "--start-anew", "3")
		s.refusedApply("a changed issuer with two words on its identities", s.try([]string{"--move-identities", "--start-anew"}, oktaAt("after")))
		s.start()
		s.user("Ida, as nothing was changed", s.oktaOf("before", "ida", "ida@acme.example", nil), ida, "200 exists")
	})
	tell(t, "be the first under the new issuer with a subject of the old one", func(s *story) {
		s.declare(oktaAt("before"))
		owner, ida := people(s)
		p := s.try([]string{"--move-identities"}, oktaAt("after"))
		s.acceptedApply("a changed issuer with --move-identities", p)
		if !strings.Contains(p.stdout+p.stderr, "3 identities") {
			s.t.Errorf("--move-identities: got no count of 3 identities:\n%s%s", p.stdout, p.stderr)
		}
		s.start()
		// The issuer answers for its subjects, so a claim of another address changes nothing.
		s.user("Ida", s.oktaOf("after", "ida", "other@acme.example", nil), ida, "200 exists")
		if got := s.user("the owner", s.oktaOf("after", "owner", "owner@acme.example", nil), owner, "200 exists"); !got.IsOwner {
			s.t.Errorf("the owner under the new issuer: got a user who is not the owner, wanted the owner")
		}
		s.refused("a token of the old issuer", s.oktaOf("before", "ivan", "ivan@acme.example", nil), "401 unauthenticated")
		s.refused("a stranger with Ida's address", s.oktaOf("after", "eve", "ida@acme.example", nil), "409 user_exists different_identity")
		list := s.do("", "identities", "list", "--tenant", acme)
		if list.code != kit.ExitOK || strings.Count(list.stdout, s.base+"/after") != 3 || strings.Contains(list.stdout, s.base+"/before") {
			s.t.Errorf("identities list: got exit %d and\n%s%s\nwanted 3 identities of %s/after and none of %s/before", list.code, list.stdout, list.stderr, s.base, s.base)
		}
	})
	tell(t, "get two people's identities made one by a move", func(s *story) {
		portal := "{name: portal, kind: oidc, issuer: BASE/after, audiences: [portal], algorithms: [ES256]" + ofAcme + onlyUser + "}"
		s.declare(oktaAt("before"), portal)
		_, ida := people(s)
		iris := s.made("Iris, the subject twice at the old issuer", s.oktaOf("before", "twice", "iris@acme.example", asAdmin))
		ines := s.made("Ines, the subject twice at the new one", s.loginAt("portal", s.token(s.t, "after", "twice", "ines@acme.example", map[string]any{"aud": "portal"})))
		before := s.look(iris)
		p := s.try([]string{"--move-identities"}, oktaAt("after"), portal)
		if said := p.stdout + p.stderr; strings.Contains(said, "unknown flag") || !strings.Contains(said, "twice") {
			s.t.Errorf("--move-identities: got exit %d and\n%s\nwanted the subject twice to be listed", p.code, said)
		}
		s.start()
		s.user("Ines", s.loginAt("portal", s.token(s.t, "after", "twice", "ines@acme.example", map[string]any{"aud": "portal"})), ines, "200 exists")
		s.same("Iris", iris, before)
		issuer := "before" // a refused apply changes nothing
		if p.code == kit.ExitOK {
			issuer = "after"
		}
		s.user("Ida", s.oktaOf(issuer, "ida", "ida@acme.example", nil), ida, "200 exists")
	})
	tell(t, "take over after a new start by a subject of the old issuer", func(s *story) {
		s.declare(oktaAt("before"))
		owner, ida := people(s)
		p := s.try([]string{"--start-anew"}, oktaAt("after"))
		s.acceptedApply("a changed issuer with --start-anew", p)
		if !strings.Contains(p.stdout+p.stderr, "3 identities") {
			s.t.Errorf("--start-anew: got no count of 3 identities:\n%s%s", p.stdout, p.stderr)
		}
		s.start()
		before := s.look(ida)
		if got := s.oktaOf("after", "ida", "eve@acme.example", nil); got.status < 400 {
			if id := s.only("eve@acme.example").ID; id == ida {
				s.t.Errorf("Ida's old subject with another address: got Ida, wanted another user")
			}
		}
		s.refused("Ida's address without proof", s.oktaOf("after", "mallory", "ida@acme.example", unproved), "403 unverified_email", "409 user_exists")
		s.same("Ida", ida, before)
		s.user("Ida's first login under the new issuer", s.oktaOf("after", "new-ida", "ida@acme.example", nil), ida, "200 linked")
		s.user("her second", s.oktaOf("after", "new-ida", "ida@acme.example", nil), ida, "200 exists")
		if u := s.detail(ida); !slices.Contains(u.Roles, "admin") {
			s.t.Errorf("Ida after a new start: got the roles %v, wanted admin among them", u.Roles)
		}
		if got := s.user("the owner's first login under the new issuer", s.oktaOf("after", "new-owner", "owner@acme.example", nil), owner, "200 linked"); !got.IsOwner {
			s.t.Errorf("the owner after a new start: got a user who is not the owner, wanted the owner")
		}
		s.owners("after a new start", owner)
	})
	tell(t, "lock a partner out by a changed entityID", func(s *story) {
		idp := s.publish(s.t, "partner", "https://idp.partner.example", nil)
		s.declare(okta, partner)
		paula := s.made("Paula", s.loginAt("partner", assertion(s.t, idp, provider("partner"), "paula", "paula@partner.example")))
		idp = s.publish(s.t, "partner", "https://new.partner.example", nil)
		s.refusedApply("another entityID at the same URL", s.try(nil, okta, partner), "--move-identities", "--start-anew", "https://new.partner.example")
		s.acceptedApply("another entityID with --move-identities", s.try([]string{"--move-identities"}, okta, partner))
		s.start()
		s.user("Paula, after an operator has agreed", s.loginAt("partner", assertion(s.t, idp, provider("partner"), "paula", "paula@partner.example")), paula, "200 exists")
	})
	tell(t, "see the move before it is made", func(s *story) {
		s.declare(oktaAt("before"))
		_, ida := people(s)
		p := s.try([]string{"--move-identities", "--dry-run"}, oktaAt("after"))
		if p.code != kit.ExitPending || !strings.Contains(p.stdout+p.stderr, "3 identities") {
			s.t.Errorf("a dry run of --move-identities: got exit %d and\n%s%s\nwanted exit %d and a count of 3 identities", p.code, p.stdout, p.stderr, kit.ExitPending)
		}
		s.start()
		s.user("Ida, after a dry run", s.oktaOf("before", "ida", "ida@acme.example", nil), ida, "200 exists")
	})
}

// --- Pre-provisioned users -------------------------------------------------------------------------------------------

func TestTakeoverOfAPreProvisionedUser(t *testing.T) {
	const hired = "hired@acme.example"
	const roles = `, "roles": ["user", "admin"]`
	// Who may have created her; the answer is her id.
	origins := map[string]func(s *story) string{
		"by command": func(s *story) string {
			return s.made("the command", s.command(s.credentialFor("admin", "user,admin,viewer", "commands"), tenantBody(hired, "oidc", roles)))
		},
		"by feed": func(s *story) string {
			return s.made("the feed", s.hr("workday", s.credentialFor("hr", "user,admin,viewer", "feed:workday"), tenantBody(hired, "oidc", roles)))
		},
		"by a trusted feed": func(s *story) string {
			return s.made("the trusted feed", s.hr("trusted", s.credentialFor("hr", "user,admin,viewer", "feed:trusted"), tenantBody(hired, "oidc", roles)))
		},
		"in the organization shape": func(s *story) string {
			return s.made("the feed", s.hr("workday", s.credentialFor("hr", "user,admin,viewer", "feed:workday"), memberBodyOf("hired", hired)))
		},
	}
	untrusted := map[string]bool{"by feed": true, "in the organization shape": true}
	const incapable = "a source that can't grant her roles"
	// What the attacker proves.
	for attack, c := range map[string]struct {
		source string
		more   map[string]any
	}{
		"a source without domains":                 {oidcSource("rogue", anyRole), nil},
		"a source of other domains":                {oidcSource("rogue", ", domains: [other.example]"+anyRole), nil},
		incapable:                                  {oidcSource("rogue", ofAcme+", grants: []"), nil},
		"a login without proof of the address":     {oidcSource("rogue", ofAcme+anyRole), unproved},
		"a login without proof, which is accepted": {oidcSource("rogue", ofAcme+anyRole+accept), unproved},
	} {
		for origin, provision := range origins {
			tell(t, "have an administrator created "+origin+" through "+attack, func(s *story) {
				s.declare(okta, workday, trusted, c.source)
				id := provision(s)
				before := s.look(id)
				got := s.oidc("rogue", "eve", hired, c.more)
				if attack == incapable && untrusted[origin] { // an untrusted feed does not reserve the address, so who proves it gets a user
					if s.made("the attacker", got) == id {
						s.t.Errorf("the attacker: got the user created before, wanted a user of her own")
					}
					s.same("the user created before", id, before)
					s.refused("the person herself, as both have proved the address", s.oidc("okta", "hired", hired, nil), "409 user_exists different_identity")
					return
				}
				if got.status < 400 { // a user of her own is all that she may have
					s.let("the attacker", got, "201 created")
				} else {
					s.refused("the attacker", got, "409 user_exists", "403 unverified_email")
				}
				s.same("the user created before", id, before)
				s.user("the person herself", s.oidc("okta", "hired", hired, nil), id, "200 linked")
				s.user("the person herself, again", s.oidc("okta", "hired", hired, nil), id, "200 exists")
				u := s.detail(id)
				if origin != "in the organization shape" && !slices.Equal(u.Roles, []string{"admin", "user"}) || len(u.Identities) != 1 {
					s.t.Errorf("the person herself: got the roles %v and %d identities, wanted admin, user and 1", u.Roles, len(u.Identities))
				}
				if origin == "in the organization shape" && len(u.Organizations) != 1 {
					s.t.Errorf("the person herself: got %d organizations, wanted 1", len(u.Organizations))
				}
			})
		}
	}
	for origin := range untrusted {
		tell(t, "have an administrator created "+origin+" through "+incapable+", after the person herself", func(s *story) {
			s.declare(okta, workday, oidcSource("rogue", ofAcme+", grants: []"))
			id := origins[origin](s)
			s.user("the person herself", s.oidc("okta", "hired", hired, nil), id, "200 linked")
			before := s.look(id)
			s.refused("the attacker", s.oidc("rogue", "eve", hired, nil), "409 user_exists different_identity")
			s.same("the person herself", id, before)
		})
	}
	tell(t, "have a user created for SAML through a source without trust_email, or of another kind", func(s *story) {
		adfs := s.publish(s.t, "adfs", "https://adfs.acme.example/saml", nil)
		rogue := s.publish(s.t, "rogue", "https://rogue.example/saml", nil)
		s.declare(okta, samlSource("adfs", trust+ofAcme+onlyUser), samlSource("rogue", ofAcme+accept+onlyUser), trusted)
		id := s.made("the trusted feed", s.hr("trusted", s.credentialFor("hr", "user", "feed:trusted"), tenantBody(hired, "saml", `, "roles": ["user"]`)))
		before := s.look(id)
		if got := s.loginAt("rogue", assertion(s.t, rogue, provider("rogue"), "eve", hired)); got.status < 400 {
			s.let("the attacker", got, "201 created")
		}
		s.refused("a login of another kind", s.oidc("okta", "eve", hired, nil), "409 user_exists different_source")
		s.same("the user created before", id, before)
		s.user("the person herself", s.loginAt("adfs", assertion(s.t, adfs, provider("adfs"), "hired", hired)), id, "200 linked")
	})
	tell(t, "have a user created by an untrusted feed for SAML through a source of another kind", func(s *story) {
		adfs := s.publish(s.t, "adfs", "https://adfs.acme.example/saml", nil)
		s.declare(okta, samlSource("adfs", trust+ofAcme+onlyUser), workday)
		hr := s.credentialFor("hr", "user", "feed:workday")
		saml := func(subject, email string) reply {
			return s.loginAt("adfs", assertion(s.t, adfs, provider("adfs"), subject, email))
		}
		first := s.made("the feed", s.hr("workday", hr, tenantBody(hired, "saml", `, "roles": ["user"]`)))
		s.user("a person who comes first", saml("hired", hired), first, "200 linked")
		s.refused("a login of another kind afterwards", s.oidc("okta", "eve", hired, nil), "409 user_exists different_identity")

		const late = "late@acme.example"
		second := s.made("the feed", s.hr("workday", hr, tenantBody(late, "saml", `, "roles": ["user"]`)))
		before := s.look(second)
		if s.made("a login of another kind that comes first", s.oidc("okta", "late", late, nil)) == second {
			s.t.Errorf("a login of another kind that comes first: got the user created for SAML, wanted a user of its own")
		}
		s.same("the user created for SAML", second, before)
		s.refused("a person who comes after another has proved the address", saml("late", late), "409 user_exists different_identity")
	})
	for what, body := range map[string]string{
		"with a role that her source can't grant": tenantBody(hired, "oidc", `, "roles": ["admin"]`),
		"made for another kind of source":         tenantBody(hired, "saml", ""),
	} {
		tell(t, "keep a person out by a user of an untrusted feed, "+what, func(s *story) {
			s.declare(oidcSource("okta", ofAcme+onlyUser), workday)
			id := s.made("the feed", s.hr("workday", s.credentialFor("hr", "user,admin", "feed:workday"), body))
			before := s.look(id)
			herself := s.made("the person herself", s.oidc("okta", "hired", hired, nil))
			if herself == id {
				s.t.Errorf("the person herself: got the feed's user, wanted a user of her own")
			}
			s.user("the person herself, again", s.oidc("okta", "hired", hired, nil), herself, "200 exists")
			s.same("the feed's user", id, before)
		})
	}
	tell(t, "choose by the order of two untrusted feeds whose user a person takes", func(s *story) {
		s.declare(okta, workday, feedSource("rogue", ", grants: [admin]"))
		first := s.made("the rogue feed", s.hr("rogue", s.credentialFor("rogue", "admin", "feed:rogue"), tenantBody(hired, "oidc", `, "roles": ["admin"]`)))
		second := s.made("HR", s.hr("workday", s.credentialFor("hr", "user", "feed:workday"), tenantBody(hired, "oidc", `, "roles": ["user"]`)))
		before := []string{s.look(first), s.look(second)}
		if id := s.made("the person herself", s.oidc("okta", "hired", hired, nil)); id == first || id == second {
			s.t.Errorf("the person herself: got a user of one of the feeds, wanted a user of her own")
		}
		s.same("the rogue feed's user", first, before[0])
		s.same("HR's user", second, before[1])
	})
	tell(t, "have an account with a password", func(s *story) {
		s.declare(okta, trusted)
		local := s.made("the command", s.command(s.credentialFor("admin", "user", "commands"), tenantBody("local@acme.example", "local", `, "password": "a password of hers"`)))
		fed := s.made("the trusted feed", s.hr("trusted", s.credentialFor("hr", "user", "feed:trusted"), tenantBody("fed@acme.example", "local", `, "password_hash": "`+bcryptHash+`"`)))
		before := []string{s.look(local), s.look(fed)}
		s.refused("a login with the address that a command named", s.oidc("okta", "local", "local@acme.example", nil), "409 user_exists")
		s.refused("a login with the address that a trusted feed named", s.oidc("okta", "fed", "fed@acme.example", nil), "409 user_exists")
		s.same("the user of the command", local, before[0])
		s.same("the user of the feed", fed, before[1])
	})
	tell(t, "have an administrator linked in spite of a policy", func(s *story) {
		s.policy(`@id("no-linked-admins")
@notice("Administrators are linked by hand.")
forbid (principal, action == Action::"LinkUser", resource)
when { context.user_roles.contains("admin") };
`)
		s.declare(okta, workday)
		token := s.credentialFor("hr", "user,admin,viewer", "feed:workday")
		chief := s.made("the feed", s.hr("workday", token, tenantBody(hired, "oidc", roles)))
		clerk := s.made("the feed", s.hr("workday", token, tenantBody("clerk@acme.example", "oidc", `, "roles": ["user"]`)))
		before := s.look(chief)
		got := s.oidc("okta", "hired", hired, nil)
		s.refused("a login that takes an administrator", got, "403 forbidden")
		if p := got.header.Get(record.HeaderPolicies); !strings.Contains(p, "no-linked-admins") {
			s.t.Errorf("a login that takes an administrator: got the policies %q, wanted no-linked-admins among them", p)
		}
		s.same("the administrator", chief, before)
		s.user("a clerk", s.oidc("okta", "clerk", "clerk@acme.example", nil), clerk, "200 linked")
	})
	tell(t, "have a user linked where policies forbid CreateUser for her", func(s *story) {
		s.policy(`@id("no-users")
forbid (principal is Source, action == Action::"CreateUser", resource) when { context.shape == Shape::"login" };
`)
		s.declare(okta, workday)
		id := s.made("the feed", s.hr("workday", s.credentialFor("hr", "user", "feed:workday"), tenantBody(hired, "oidc", "")))
		before := s.look(id)
		s.refused("a login that takes her", s.oidc("okta", "hired", hired, nil), "403 forbidden")
		s.same("the user created before", id, before)
	})
	tell(t, "be linked to an account by its address", func(s *story) {
		// links may speak for the domain; poor may too, but cannot grant what the account has; foreign may not.
		links := oidcSource("links", ofAcme+", link_by_email: verified"+anyRole)
		poor := oidcSource("poor", ofAcme+", link_by_email: verified, grants: []")
		foreign := oidcSource("foreign", ", domains: [other.example], link_by_email: verified"+anyRole)
		s.declare(okta, lax, links, poor, foreign)
		owner := s.made("the owner", s.oidc("okta", "owner", "owner@acme.example", nil))
		ada := s.made("Ada", s.oidc("okta", "ada", "ada@acme.example", asAdmin))
		uma := s.made("Uma, whose address is not proved", s.oidc("lax", "uma", "uma@acme.example", unproved))
		before := []string{s.look(owner), s.look(ada), s.look(uma)}

		s.refused("a source that can't grant Ada's roles", s.oidc("poor", "eve", "ada@acme.example", nil), "409 user_exists")
		s.refused("a source of other domains", s.oidc("foreign", "eve", "ada@acme.example", nil), "409 user_exists", "403 unverified_email")
		s.refused("a login without proof", s.oidc("links", "eve", "ada@acme.example", unproved), "409 user_exists", "403 unverified_email")
		s.refused("the owner's account", s.oidc("links", "eve", "owner@acme.example", nil), "409 user_exists")
		if got := s.oidc("links", "not-uma", "uma@acme.example", nil); got.status < 400 { // another person than the one without proof
			if s.made("the person of an address that was used without proof", got) == uma {
				s.t.Errorf("an account without a proved address was linked")
			}
		}
		s.same("the owner", owner, before[0])
		s.same("Ada", ada, before[1])
		s.same("Uma", uma, before[2])
		s.user("Ada at the source that links", s.oidc("links", "ada", "ada@acme.example", nil), ada, "200 linked")
		s.user("Ada at her first source", s.oidc("okta", "ada", "ada@acme.example", nil), ada, "200 exists")
	})
}

// --- Proof of an address ---------------------------------------------------------------------------------------------

func TestTakeoverByAnAddressOfAnotherClaim(t *testing.T) {
	const ceo = "ceo@acme.example"
	provisioned := func(s *story) string {
		s.t.Helper()
		return s.made("the feed", s.hr("workday", s.credentialFor("hr", "user,admin,viewer", "feed:workday"), tenantBody(ceo, "oidc", `, "roles": ["admin"]`)))
	}
	for what, mapping := range map[string]string{
		"vouch for it by the default":        `mapping: {email: claims.preferred_username}`,
		"vouch for it by the claim of email": `mapping: {email: claims.preferred_username, email_verified: claims.email_verified}`,
		"vouch for it by a tenant's id":      `mapping: {email: claims.preferred_username, email_verified: 'claims.tid == "t-1"'}`,
		"vouch for it by a constant":         `mapping: {email: claims.preferred_username, email_verified: 'true'}`,
		"vouch for it by its being there":    `mapping: {email: claims.preferred_username, email_verified: 'claims.preferred_username != ""'}`,
		"vouch for it by a denial":           `mapping: {email: claims.preferred_username, email_verified: '!claims.preferred_username_verified'}`,
		"vouch for it by one of two claims":  `mapping: {email: claims.preferred_username, email_verified: 'claims.email_verified || claims.preferred_username_verified'}`,
	} {
		tell(t, "have an address that anyone may choose, and "+what, func(s *story) {
			source := oidcSource("upn", ofAcme+", "+mapping+anyRole)
			s.declare(okta, workday)
			id := provisioned(s)
			before := s.look(id)
			if p := s.try(nil, okta, workday, source); p.code == kit.ExitOK {
				s.start()
				got := s.oidc("upn", "eve", "eve@acme.example", map[string]any{"preferred_username": ceo, "preferred_username_verified": false, "tid": "t-1"})
				s.refused("the attacker", got, "403 unverified_email", "409 user_exists")
				s.same("the chief executive", id, before)
			} else {
				s.refusedApply("a proof that speaks of another claim", p, "email_verified")
			}
			s.user("the chief executive", s.oidc("okta", "ceo", ceo, nil), id, "200 linked")
		})
	}
	tell(t, "nothing but to be proved by the claim that her address came from", func(s *story) {
		s.declare(workday,
			oidcSource("upn", ofAcme+`, mapping: {email: claims.preferred_username, email_verified: claims.preferred_username_verified}`+anyRole),
			oidcSource("same", ofAcme+`, mapping: {email: claims.preferred_username, email_verified: 'claims.email_verified && claims.email == claims.preferred_username'}`+anyRole))
		id := provisioned(s)
		s.user("the chief executive", s.oidc("upn", "ceo", "private@home.example", map[string]any{"preferred_username": ceo, "preferred_username_verified": true}), id, "200 linked")
		s.refused("an attacker with an address of her own beside", s.oidc("same", "eve", "eve@acme.example", map[string]any{"preferred_username": "ada@acme.example"}), "403 unverified_email")
		s.made("a person whose two claims are one", s.oidc("same", "ada", "ada@acme.example", map[string]any{"preferred_username": "ada@acme.example"}))
	})
	tell(t, "have a text, a number or nothing taken for a proof", func(s *story) {
		s.declare(okta, workday)
		id := provisioned(s)
		before := s.look(id)
		for what, value := range map[string]any{"a text": "true", "a number": 1, "nothing": nil, "a list": []bool{true}} {
			got := s.oidc("okta", "eve", ceo, map[string]any{"email_verified": value})
			s.refused("email_verified as "+what, got, "403 unverified_email", "409 user_exists", "400 invalid_input")
		}
		s.same("the chief executive", id, before)
		s.user("the chief executive", s.oidc("okta", "ceo", ceo, nil), id, "200 linked")
	})
	tell(t, "be trusted beyond the domains of trust_email", func(s *story) {
		s.declare(workday, oidcSource("entra", trust+ofAcme+anyRole)) // Entra sends no email_verified
		id := provisioned(s)
		none := map[string]any{"email_verified": nil}
		s.refused("an address outside of the domains", s.oidc("entra", "eve", "eve@other.example", none), "403 unverified_email")
		s.user("the chief executive", s.oidc("entra", "ceo", ceo, none), id, "200 linked")
		ada := s.made("Ada", s.oidc("entra", "ada", "ada@acme.example", none))
		if u := s.detail(ada); !u.EmailVerified {
			s.t.Errorf("Ada, of a source with trust_email: got an address without proof, wanted a proved one")
		}
	})
	tell(t, "be trusted with an address of a domain that Entra has not verified", func(s *story) {
		s.declare(workday, oidcSource("entra", ofAcme+`, mapping: {email: claims.email, email_verified: 'has(claims.xms_edov) && claims.xms_edov == true'}`+anyRole))
		id := provisioned(s)
		before := s.look(id)
		s.refused("xms_edov is false", s.oidc("entra", "eve", ceo, map[string]any{"email_verified": nil, "xms_edov": false}), "403 unverified_email", "409 user_exists")
		s.refused("xms_edov is absent", s.oidc("entra", "eve", ceo, map[string]any{"email_verified": nil}), "403 unverified_email", "409 user_exists")
		s.same("the chief executive", id, before)
		s.user("the chief executive", s.oidc("entra", "ceo", ceo, map[string]any{"email_verified": nil, "xms_edov": true}), id, "200 linked")
	})
}

// --- Ownership -------------------------------------------------------------------------------------------------------

func TestTakeoverOfOwnership(t *testing.T) {
	const owner = "owner@acme.example"
	const hash = `, "password_hash": "` + bcryptHash + `"`
	// becomes logs the real owner in.
	becomes := func(s *story, source string, wanted ...string) {
		s.t.Helper()
		got := s.oidc(source, "owner", owner, nil)
		s.let("the real owner", got, wanted...)
		var u kit.User
		if err := json.Unmarshal(got.body, &u); err != nil || !u.IsOwner {
			s.t.Errorf("the real owner: got %s, wanted is_owner: true", words(got))
		}
		s.owners("after the real owner's login", u.ID)
		again := s.oidc(source, "owner", owner, nil)
		s.user("the real owner, again", again, u.ID, "200 exists")
	}
	tell(t, "own a tenant by a feed with a password of her choosing", func(s *story) {
		s.declare(okta, trusted)
		got := s.hr("trusted", s.credentialFor("hr", "", "feed:trusted"), tenantBody(owner, "local", hash))
		if got.status >= 400 {
			s.refused("the feed", got, "403 forbidden")
			becomes(s, "okta", "201 created")
			return
		}
		s.let("the feed", got, "201 created")
		s.owners("after the feed")
	})
	for what, create := range map[string]func(s *story) reply{
		"a feed": func(s *story) reply {
			return s.hr("workday", s.credentialFor("hr", "", "feed:workday"), tenantBody(owner, "oidc", ""))
		},
		"a trusted feed": func(s *story) reply {
			return s.hr("trusted", s.credentialFor("hr", "", "feed:trusted"), tenantBody(owner, "oidc", ""))
		},
		"a trusted feed, in the organization shape": func(s *story) reply {
			return s.hr("trusted", s.credentialFor("hr", "viewer", "feed:trusted"), memberBodyOf("owner", owner))
		},
		"a command": func(s *story) reply {
			return s.command(s.credentialFor("admin", "", "commands"), tenantBody(owner, "oidc", ""))
		},
	} {
		tell(t, "own a tenant by "+what+", before the real owner comes", func(s *story) {
			s.declare(okta, workday, trusted)
			s.made(what, create(s))
			s.owners("after " + what)
			becomes(s, "okta", "200 linked")
		})
	}
	tell(t, "own a tenant by a command with a password of her choosing", func(s *story) {
		s.declare(okta)
		s.let("the command", s.command(s.credentialFor("admin", "user,admin,viewer", "commands"), tenantBody(owner, "local", `, "password": "a password of hers"`)), "201 created")
		s.owners("after the command")
		if got := s.command(s.credentialFor("other", "", "commands"), tenantBody("eve@acme.example", "oidc", `, "is_owner": true`)); got.status < 400 {
			s.t.Errorf("a command that asks for ownership: got %s, wanted a refusal", words(got))
		}
	})
	tell(t, "own a tenant by a source without domains", func(s *story) {
		s.declare(okta, oidcSource("rogue", anyRole))
		if got := s.oidc("rogue", "eve", owner, nil); got.status < 400 {
			s.let("the attacker", got, "201 created")
		}
		s.owners("after the attacker's login")
		becomes(s, "okta", "201 created")
	})
	tell(t, "own a tenant by a source of other domains", func(s *story) {
		s.declare(okta, oidcSource("rogue", ", domains: [other.example]"+accept+anyRole))
		if got := s.oidc("rogue", "eve", owner, nil); got.status < 400 {
			s.let("the attacker", got, "201 created")
		}
		s.owners("after the attacker's login")
		becomes(s, "okta", "201 created")
	})
	tell(t, "own a tenant by a login without proof", func(s *story) {
		s.declare(okta, lax)
		s.refused("a login without proof", s.oidc("okta", "eve", owner, unproved), "403 unverified_email")
		s.made("a login without proof, which is accepted", s.oidc("lax", "eve", owner, unproved))
		s.owners("after logins without proof")
		becomes(s, "okta", "201 created")
	})
	tell(t, "nothing but to own her tenant, although her first login proved nothing", func(s *story) {
		s.declare(lax)
		id := s.made("the real owner, without proof", s.oidc("lax", "owner", owner, unproved))
		s.owners("after a login without proof")
		got := s.oidc("lax", "owner", owner, nil)
		if u := s.user("the real owner, with proof", got, id, "200 updated", "200 exists", "200 linked"); !u.IsOwner {
			s.t.Errorf("the real owner, with proof: got %s, wanted is_owner: true", words(got))
		}
		s.owners("after a login with proof", id)
	})
	tell(t, "nothing but to own her tenant through SAML", func(s *story) {
		adfs := s.publish(s.t, "adfs", "https://adfs.acme.example/saml", nil)
		s.declare(samlSource("adfs", trust+ofAcme+onlyUser))
		id := s.made("the real owner", s.loginAt("adfs", assertion(s.t, adfs, provider("adfs"), "owner", owner)))
		s.owners("after the real owner's login", id)
	})
	tell(t, "own a tenant that has an owner", func(s *story) {
		s.declare(okta, oidcSource("second", ofAcme+", link_by_email: verified"+anyRole), trusted)
		id := s.made("the real owner", s.oidc("okta", "owner", owner, nil))
		before := s.look(id)
		s.refused("another subject with her address", s.oidc("okta", "eve", owner, nil), "409 user_exists different_identity")
		s.refused("another source with her address", s.oidc("second", "eve", owner, nil), "409 user_exists")
		s.refused("a feed with her address", s.hr("trusted", s.credentialFor("hr", "", "feed:trusted"), tenantBody(owner, "local", hash)), "409 user_exists")
		s.same("the real owner", id, before)
		s.owners("after all of that", id)
	})
	tell(t, "own a tenant by a user with another address than the owner's", func(s *story) {
		s.declare(oidcSource("okta", ofAcme+accept+anyRole), feedSource("trusted", trust+", domains: [old.example]"+anyRole))
		hr := s.credentialFor("hr", "user", "feed:trusted")
		for subject, email := range map[string]string{"free": "free@old.example", "taken": "taken@old.example"} {
			id := s.made("a user with an address that was never proved", s.oidc("okta", subject, email, unproved))
			if subject == "taken" {
				s.made("the person whose address it is", s.hr("trusted", hr, tenantBody(email, "oidc", "")))
			}
			s.user("the same with a proof of the owner's address", s.oidc("okta", subject, owner, nil), id, "200 exists")
			if u := s.detail(id); u.EmailVerified || u.IsOwner {
				s.t.Errorf("a user with an address that was never proved: got email_verified %t and is_owner %t, wanted neither", u.EmailVerified, u.IsOwner)
			}
		}
		s.owners("after proofs of the owner's address by other users")
	})
	tell(t, "own a tenant where a policy forbids it", func(s *story) {
		s.policy(`@id("no-owner-by-stream")
forbid (principal, action == Action::"CreateUser", resource) when { context.owner };
`)
		s.declare(okta)
		got := s.oidc("okta", "owner", owner, nil)
		s.refused("a login that makes an owner", got, "403 forbidden")
		if p := got.header.Get(record.HeaderPolicies); p != "no-owner-by-stream" {
			s.t.Errorf("a login that makes an owner: got the policies %q, wanted no-owner-by-stream", p)
		}
		s.made("a login that makes none", s.oidc("okta", "ada", "ada@acme.example", nil))
	})
	t.Run("own a tenant in spite of the built-in policy", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		s.write("cases.yaml", `
request: {tenant: `+acme+`, tenant_name: acme, owner: true, grants: [user], email: owner@acme.example}
cases:
  - name: a feed
    request: {kind: feed, source: workday, email_verified: true}
    expect: {decision: deny, policies: [builtin.no-owner]}
  - name: a command
    request: {kind: command}
    expect: {decision: deny, policies: [builtin.no-owner]}
  - name: a login without proof
    request: {kind: oidc, source: okta, issuer: "https://acme.okta.example", email_verified: false}
    expect: {decision: deny, policies: [builtin.no-owner]}
  - name: the login that proves her address
    request: {kind: oidc, source: okta, issuer: "https://acme.okta.example", email_verified: true}
    expect: {decision: allow}
  - name: the SAML login that proves her address
    request: {kind: saml, source: adfs, issuer: "https://adfs.acme.example/saml", email_verified: true}
    expect: {decision: allow}
`)
		if p := s.do("", "policy", "test", s.path("cases.yaml")); p.code != kit.ExitOK {
			t.Errorf("the built-in policy on ownership: got exit %d, wanted 0:\n%s%s", p.code, p.stdout, p.stderr)
		}
	})
}

// --- Addresses and names ---------------------------------------------------------------------------------------------

func TestTakeoverOfNames(t *testing.T) {
	const address = "real@acme.example"
	tell(t, "keep a person out by her address, without proof of it", func(s *story) {
		s.declare(okta, lax)
		eve := s.made("the squatter", s.oidc("lax", "eve", address, unproved))
		mallory := s.made("another squatter", s.oidc("lax", "mallory", address, unproved))
		herself := s.made("the person herself", s.oidc("okta", "real", address, nil))
		if eve == mallory || eve == herself || mallory == herself {
			s.t.Errorf("three people with one address: got the users %s, %s and %s, wanted three", eve, mallory, herself)
		}
		s.user("the person herself, again", s.oidc("okta", "real", address, nil), herself, "200 exists")
		s.user("the squatter, again", s.oidc("lax", "eve", address, unproved), eve, "200 exists")
		s.refused("a subject with the address once it is proved", s.oidc("okta", "other", address, nil), "409 user_exists different_identity")
	})
	for what, create := range map[string]func(s *story) reply{
		"a command": func(s *story) reply {
			return s.command(s.credentialFor("admin", "user", "commands"), tenantBody(address, "oidc", `, "roles": ["user"]`))
		},
		"a feed": func(s *story) reply {
			return s.hr("workday", s.credentialFor("hr", "user", "feed:workday"), tenantBody(address, "oidc", `, "roles": ["user"]`))
		},
		"a trusted feed": func(s *story) reply {
			return s.hr("trusted", s.credentialFor("hr", "user", "feed:trusted"), tenantBody(address, "oidc", `, "roles": ["user"]`))
		},
		"a feed in the organization shape": func(s *story) reply {
			return s.hr("trusted", s.credentialFor("hr", "viewer", "feed:trusted"), memberBodyOf("real", address))
		},
	} {
		tell(t, "keep "+what+" out by an address without proof of it", func(s *story) {
			s.declare(okta, lax, workday, trusted)
			eve := s.made("the squatter", s.oidc("lax", "eve", address, unproved))
			before := s.look(eve)
			id := s.made(what, create(s))
			s.user("the person herself", s.oidc("okta", "real", address, nil), id, "200 linked")
			s.same("the squatter", eve, before)
		})
	}
	tell(t, "keep a person out by a feed that is not trusted with her address", func(s *story) {
		s.declare(okta, workday, feedSource("foreign", trust+", domains: [other.example]"+onlyUser))
		const owner = "owner@acme.example"
		squatters := []string{
			s.made("a feed", s.hr("workday", s.credentialFor("hr", "", "feed:workday"), tenantBody(address, "local", `, "password_hash": "`+bcryptHash+`"`))),
			s.made("a feed of other domains", s.hr("foreign", s.credentialFor("foreign", "", "feed:foreign"), tenantBody(owner, "local", `, "password_hash": "`+bcryptHash+`"`))),
		}
		before := []string{s.look(squatters[0]), s.look(squatters[1])}
		s.made("the person herself", s.oidc("okta", "real", address, nil))
		id := s.made("the owner herself", s.oidc("okta", "owner", owner, nil))
		s.owners("after the owner's login", id)
		s.same("the feed's user", squatters[0], before[0])
		s.same("the other feed's user", squatters[1], before[1])
	})
	tell(t, "come in without proof through SAML", func(s *story) {
		p := s.publish(s.t, "adfs", "https://adfs.acme.example/saml", nil)
		trusting := s.publish(s.t, "trusting", "https://trusting.acme.example/saml", nil)
		s.declare(samlSource("trusting", trust+ofAcme+onlyUser))
		s.refused("an address outside of the domains", s.loginAt("trusting", assertion(s.t, trusting, provider("trusting"), "eve", "eve@other.example")), "403 unverified_email")
		s.made("a person of the domains", s.loginAt("trusting", assertion(s.t, trusting, provider("trusting"), "sam", "sam@acme.example")))
		if apply := s.try(nil, samlSource("adfs", ofAcme+onlyUser)); apply.code == kit.ExitOK {
			s.start()
			s.refused("a source without trust_email", s.loginAt("adfs", assertion(s.t, p, provider("adfs"), "eve", address)), "403 unverified_email")
		} else {
			s.refusedApply("a SAML source that proves no address", apply, "adfs", "trust_email")
		}
		s.acceptedApply("a SAML source whose addresses need no proof", s.try(nil, samlSource("adfs", ofAcme+accept+onlyUser)))
		s.start()
		s.made("a person of a source whose addresses need no proof", s.loginAt("adfs", assertion(s.t, p, provider("adfs"), "ada", "ada@acme.example")))
	})
	tell(t, "come in without proof where that is not accepted", func(s *story) {
		s.declare(okta)
		got := s.oidc("okta", "eve", address, unproved)
		s.refused("a login without proof", got, "403 unverified_email")
		s.letter("a login without proof", got, "unverified_email")
		got = s.oidc("okta", "eve", "eve@other.example", nil)
		s.refused("a login with an address outside of the domains", got, "403 unverified_email")
		if n := len(s.users(acme)); n != 0 {
			s.t.Errorf("after logins without proof: got %d users, wanted 0", n)
		}
		s.made("the person herself", s.oidc("okta", "real", address, nil))
	})
	tell(t, "be called by the president's address", func(s *story) {
		const president = "president@acme.example"
		s.declare(okta, named, workday, trusted)
		hr, admin := s.credentialFor("hr", "viewer", "feed:workday"), s.credentialFor("admin", "viewer", "commands")
		s.refused("a login", s.oidc("named", "eve", "eve@acme.example", map[string]any{"preferred_username": president}), "400 invalid_input")
		s.refused("a login, in capitals and full width", s.oidc("named", "eve", "eve@acme.example", map[string]any{"preferred_username": "President＠acme.example"}), "400 invalid_input")
		s.refused("a command", s.command(admin, memberBodyOf(president, "eve@acme.example")), "400 invalid_input")
		s.refused("a feed", s.hr("workday", hr, memberBodyOf(president, "eve@acme.example")), "400 invalid_input")
		s.refused("a trusted feed", s.hr("trusted", s.credentialFor("trusted", "viewer", "feed:trusted"), memberBodyOf(president, "eve@acme.example")), "400 invalid_input")
		id := s.made("the president, by a command", s.command(admin, memberBodyOf(president, president)))
		if u := s.detail(id); u.IdentityName != president {
			s.t.Errorf("the president: got the identity name %q, wanted %q", u.IdentityName, president)
		}
		s.user("the president's first login", s.oidc("okta", "president", president, nil), id, "200 linked")
		s.made("a person who is called by her own address", s.oidc("named", "ada", "ada@acme.example", map[string]any{"preferred_username": "ada@acme.example"}))
		s.made("a person who is called by a name", s.oidc("named", "bea", "bea@acme.example", map[string]any{"preferred_username": "bea"}))
	})
	tell(t, "look like another by her name", func(s *story) {
		s.declare(named, workday)
		hr, admin := s.credentialFor("hr", "viewer", "feed:workday"), s.credentialFor("admin", "viewer", "commands")
		for i, name := range []string{"ace", "ooo", "grace"} {
			s.made("the person "+name, s.command(admin, memberBodyOf(name, fmt.Sprintf("first%d@acme.example", i))))
		}
		for i, twin := range []struct{ what, name, code string }{
			{"Cyrillic", "\u0430\u0441\u0435", "409 user_exists"},                               // асе
			{"Greek", "\u03bf\u03bf\u03bf", "409 user_exists"},                                  // οοο
			{"full-width", "\uff47\uff52\uff41\uff43\uff45", "409 user_exists"},                 // ｇｒａｃｅ
			{"capital", "GRACE", "409 user_exists"},                                             //
			{"Latin with one Cyrillic letter", "gr\u0430ce", "400 invalid_input"},               // grаce
			{"Latin with one Greek letter", "c\u03bfrinne", "400 invalid_input"},                // cοrinne, of whom there is no other
			{"Cyrillic in mathematical letters", "\U0001d5ee\u0441\u0435", "400 invalid_input"}, // 𝗮се
		} {
			email := fmt.Sprintf("twin%d@acme.example", i)
			s.refused("a command for a "+twin.what+" twin", s.command(admin, memberBodyOf(twin.name, email)), twin.code)
			s.refused("a feed for a "+twin.what+" twin", s.hr("workday", hr, memberBodyOf(twin.name, email)), twin.code)
			s.refused("a login for a "+twin.what+" twin", s.oidc("named", fmt.Sprintf("twin%d", i), email, map[string]any{"preferred_username": twin.name}), twin.code)
		}
		for i, honest := range []string{"Зоя", "Ζωή", "山田たろう", "김민준", "zoë", "O'Brien", "محمد"} {
			s.made("a person called "+honest, s.command(admin, memberBodyOf(honest, fmt.Sprintf("honest%d@acme.example", i))))
		}
	})
	tell(t, "look like another by her address", func(s *story) {
		s.declare(okta, workday)
		hr, admin := s.credentialFor("hr", "user", "feed:workday"), s.credentialFor("admin", "user", "commands")
		s.made("Paula", s.oidc("okta", "paula", "paula@acme.example", nil))
		const twin = "p\u0430ula@acme.example" // with a Cyrillic letter
		s.refused("a login", s.oidc("okta", "eve", twin, nil), "400 invalid_input")
		s.refused("a command", s.command(admin, tenantBody(twin, "oidc", "")), "400 invalid_input")
		s.refused("a feed", s.hr("workday", hr, tenantBody(twin, "oidc", "")), "400 invalid_input")
		s.made("a person with an accent", s.oidc("okta", "zoe", "zoë@acme.example", nil))
	})
	tell(t, "nothing but to log in again, whatever the claims say of her", func(s *story) {
		s.declare(okta)
		id := s.made("Ada", s.oidc("okta", "ada", "ada@acme.example", asAdmin))
		many := make([]string, 300)
		for i := range many {
			many[i] = fmt.Sprintf("group %d", i)
		}
		for what, more := range map[string]map[string]any{
			"no address":                    {"email": nil, "email_verified": nil},
			"an address without proof":      {"email_verified": false},
			"an address of another domain":  {"email": "ada@other.example"},
			"an address of mixed scripts":   {"email": "\u0430da@acme.example"},
			"what is no address":            {"email": "ada"},
			"another person's address":      {"email": "owner@acme.example", "email_verified": false},
			"groups that are no roles":      {"groups": []string{"printers", "lunch"}},
			"more groups than a user's":     {"groups": many},
			"groups beyond the token":       {"groups": nil, "_claim_names": map[string]string{"groups": "src1"}, "_claim_sources": map[string]any{"src1": map[string]string{"endpoint": "https://graph.example"}}},
			"groups in a form of their own": {"groups": map[string]string{"a": "b"}},
		} {
			s.user("Ada with "+what, s.oidc("okta", "ada", "ada@acme.example", more), id, "200 exists")
		}
	})
}

// --- Credentials -----------------------------------------------------------------------------------------------------

func TestTakeoverByACredential(t *testing.T) {
	tell(t, "use a credential for what it was not made for", func(s *story) {
		s.declare(okta, workday, trusted)
		commands := s.credentialFor("commands", "user", "commands")
		feed := s.credentialFor("feed", "user", "feed:workday")
		logins := s.credentialFor("logins", "user", "login:okta")
		body := func(n int) string { return tenantBody(fmt.Sprintf("person%d@acme.example", n), "oidc", "") }

		wrong := []string{"401 unauthenticated", "403 forbidden"}
		s.refused("a feed's credential at another feed", s.hr("trusted", feed, body(1)), wrong...)
		s.refused("a feed's credential with a command", s.command(feed, body(2)), wrong...)
		s.refused("a feed's credential with a command of the stream", s.event("idpsync.command."+acme+".v1.users.create", bearerOf(feed), []byte(body(3))), wrong...)
		s.refused("a commands credential at a feed", s.hr("workday", commands, body(4)), wrong...)
		s.refused("a logins credential at a feed", s.hr("workday", logins, body(5)), wrong...)
		s.refused("a logins credential with a command", s.command(logins, body(6)), wrong...)
		if n := len(s.users(acme)); n != 0 {
			s.t.Errorf("after credentials were used for other purposes: got %d users, wanted 0", n)
		}
		s.made("a feed's credential at its feed", s.hr("workday", feed, body(8)))
		s.made("a commands credential with a command", s.command(commands, body(9)))
		s.made("a commands credential with a command of the stream", s.event("idpsync.command."+acme+".v1.users.create", bearerOf(commands), []byte(body(10))))
	})
	tell(t, "make a credential for what there is not", func(s *story) {
		s.declare(okta, workday)
		for what, purpose := range map[string]string{"a word of her own": "everything", "a feed that is not declared": "feed:payroll", "a source that is no feed": "feed:okta", "a feed as logins": "login:workday"} {
			p := s.do("", "credential", "create", "--tenant", acme, "--name", "x", "--for", purpose)
			if p.code == kit.ExitOK || strings.Contains(p.stderr, "unknown flag") {
				s.t.Errorf("a credential for %s: got exit %d, wanted it to be refused for its purpose:\n%s", what, p.code, p.stderr)
			}
		}
	})
	tell(t, "block another's event by its id", func(s *story) {
		s.declare(workday)
		one, two := s.credentialFor("one", "user", "commands"), s.credentialFor("two", "user", "commands")
		s.made("the attacker, first", s.commandAs(one, "order-1", tenantBody("eve@acme.example", "oidc", "")))
		s.made("the other credential with the same id", s.commandAs(two, "order-1", tenantBody("ada@acme.example", "oidc", "")))
		s.made("each again", s.commandAs(two, "order-1", tenantBody("ada@acme.example", "oidc", "")))
		s.refused("the same credential with another body", s.commandAs(two, "order-1", tenantBody("bea@acme.example", "oidc", "")), "409 event_id_conflict")
	})
	tell(t, "block another's feed event by its id", func(s *story) {
		s.declare(workday)
		one, two := s.credentialFor("one", "user", "feed:workday"), s.credentialFor("two", "user", "feed:workday")
		feed := func(token, email string) reply {
			s.t.Helper()
			header := bearerOf(token) // a CloudEvent, so that the broker's own deduplication has no part in it
			header["ce-specversion"], header["ce-id"], header["ce-type"], header["ce-source"] = "1.0", "hire-1", "hire", "/hr"
			r, ok := s.sendAs("hire-1", "idpsync.feed."+acme+".workday", header, []byte(tenantBody(email, "oidc", "")), 20*time.Second)
			if !ok {
				s.t.Fatalf("a feed event: got no answer in 20 s, wanted one")
			}
			return r
		}
		s.made("the attacker, first", feed(one, "eve@acme.example"))
		s.made("the other credential with the same id", feed(two, "ada@acme.example"))
	})
	tell(t, "read another's answer by its id", func(s *story) {
		s.declare(workday)
		one, two := s.credentialFor("one", "user", "commands"), s.credentialFor("two", "user", "commands")
		body := tenantBody("ada@acme.example", "oidc", "")
		first := s.commandAs(one, "order-1", body)
		s.made("the honest one", first)
		s.refused("another credential with the same id and body", s.commandAs(two, "order-1", body), "409 user_exists")
		again := s.commandAs(one, "order-1", body)
		if again.status != 201 || string(again.body) != string(first.body) {
			s.t.Errorf("the honest one, again: got %s, wanted %s", words(again), words(first))
		}
		renewed := s.credentialFor("one", "user", "commands")
		after := s.commandAs(renewed, "order-1", body)
		if after.status != 201 || string(after.body) != string(first.body) {
			s.t.Errorf("the honest one with a renewed credential: got %s, wanted %s", words(after), words(first))
		}
	})
	tell(t, "act and not be named", func(s *story) {
		s.declare(workday)
		one, two := s.credentialFor("one", "user", "commands"), s.credentialFor("two", "user", "commands")
		fed := s.credentialFor("fed", "user", "feed:workday")
		id := func(token string) string { return strings.Split(token, "_")[1] }
		names := func(who string, got reply, token string) {
			s.t.Helper()
			for _, values := range got.header {
				if slices.Contains(values, id(token)) {
					return
				}
			}
			s.t.Errorf("%s: got a result whose headers %v do not name the credential %s, wanted one of them to", who, got.header, id(token))
		}
		for i, token := range []string{one, two} {
			got := s.command(token, tenantBody(fmt.Sprintf("person%d@acme.example", i), "oidc", ""))
			s.made("a command", got)
			names("a command", got, token)
		}
		got := s.hr("workday", fed, tenantBody("fed@acme.example", "oidc", ""))
		s.made("a feed event", got)
		names("a feed event", got, fed)
		for what, c := range map[string]struct {
			credential string
			wanted     int
		}{"the first": {id(one), 1}, "the second": {id(two), 1}, "the feed's": {id(fed), 1}} {
			p := s.do("", "get", "events", "--tenant", acme, "--credential", c.credential, "--json")
			var events []map[string]any
			if p.code != kit.ExitOK || json.Unmarshal([]byte(p.stdout), &events) != nil || len(events) != c.wanted {
				s.t.Errorf("get events --credential of %s: got exit %d and %d events, wanted %d:\n%s", what, p.code, len(events), c.wanted, p.stderr)
			}
		}
	})
}

// sendAs is send under an id of the caller's own, which goes in no header of the broker's.
func (s *story) sendAs(id, subject string, header map[string]string, body []byte, patience time.Duration) (reply, bool) {
	s.t.Helper()
	before := s.state(s.conn, stream.StreamResults).LastSeq
	if err := s.conn.PublishMsg(natsMessage(subject, "", header, string(body))); err != nil {
		s.t.Fatal(err)
	}
	tick, end := time.NewTicker(20*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for {
		for n := before + 1; n <= s.state(s.conn, stream.StreamResults).LastSeq; n++ {
			m, err := s.open(s.conn, stream.StreamResults).GetMsg(s.ctx, n)
			if err != nil {
				s.t.Fatal(err)
			}
			if m.Header.Get(record.HeaderEventID) != id {
				continue
			}
			r, err := natsReply(natsMessageOf(m.Subject, m.Header, m.Data))
			if err != nil {
				s.t.Fatal(err)
			}
			return r, true
		}
		select {
		case <-tick.C:
		case <-end:
			return reply{}, false
		}
	}
}

// --- Another tenant --------------------------------------------------------------------------------------------------

func TestTakeoverOfAnotherTenant(t *testing.T) {
	tell(t, "log in to a tenant by a subject and to another by its header", func(s *story) {
		adfs := s.publish(s.t, "adfs", "https://adfs.acme.example/saml", nil)
		s.declare(okta, samlSource("adfs", trust+ofAcme+onlyUser))
		at := func(source, tenant string, body []byte) reply {
			s.t.Helper()
			header := map[string]string{}
			if tenant != "" {
				header["X-Tenant-ID"] = tenant
			}
			return s.event("idpsync.login."+acme+"."+source, header, body)
		}
		oidc := func(subject string) []byte { return s.token(s.t, "okta", subject, subject+"@acme.example", nil) }
		saml := func(subject string) []byte {
			return assertion(s.t, adfs, provider("adfs"), subject, subject+"@acme.example")
		}
		for what, tenant := range map[string]string{"another tenant": globex, "a tenant that there is not": strings.Replace(globex, "3", "9", 1)} {
			got := at("okta", tenant, oidc("eve"))
			s.refused("an OIDC login with the header of "+what, got, "403 tenant_mismatch")
			s.refused("a SAML login with the header of "+what, at("adfs", tenant, saml("eve")), "403 tenant_mismatch")
		}
		s.refused("a login with a header that is no tenant", at("okta", "acme", oidc("eve")), "400 malformed")
		if n := len(s.users(acme)) + len(s.users(globex)); n != 0 {
			s.t.Errorf("after logins with headers of other tenants: got %d users, wanted 0", n)
		}
		s.made("an OIDC login with the header of its tenant", at("okta", acme, oidc("ada")))
		s.made("the same in small letters", at("okta", strings.ToLower(acme), oidc("bea")))
		s.made("a SAML login with the header of its tenant", at("adfs", acme, saml("sam")))
		s.made("a login without the header", at("okta", "", oidc("cleo")))
	})
}

// --- What apply warns of ---------------------------------------------------------------------------------------------

func TestTakeoverWarnings(t *testing.T) {
	login := func(name, issuer, more string) string {
		return "{name: " + name + ", kind: oidc, issuer: '" + issuer + "', audiences: [idpsync]" + more + "}"
	}
	const second = "  - {id: 3489E9AD-2EE2-8E00-8EC9-32D5F69181C0, name: globex, roles: [{name: user}]"
	tenants := func(sources ...string) func(s *story) string {
		return func(s *story) string { return s.directoryOf(sources...) }
	}
	entra := "https://login.microsoftonline.com/"
	ownIssuer := login("okta", "https://acme.okta.example", ofAcme+onlyUser)
	adfs := samlFile("adfs", trust+ofAcme+onlyUser+", mapping: {subject: 'attributes[\"SUBJECT\"][0]'}")
	for what, c := range map[string]struct {
		directory func(s *story) string
		names     []string
	}{
		"tokens of one issuer and audience in two tenants": {func(s *story) string {
			return strings.Replace(s.directoryOf(ownIssuer), second, second+", sources: ["+login("okta", "https://acme.okta.example", ", domains: [globex.example], grants: [user]")+"]", 1)
		}, []string{"acme.okta.example", "globex"}},
		"commands of anyone with an account at a public issuer": {tenants(login("google", "https://accounts.google.com", ofAcme+onlyUser+", commands: true, commands_claim: admin")), []string{"commands", "google"}},
		"users of a source that may speak for no domain":        {tenants(login("okta", "https://acme.okta.example", onlyUser)), []string{"okta", "domains"}},
		"a role of an organization by its name in the tenant": {func(s *story) string {
			return strings.Replace(s.directoryOf(ownIssuer), "name: viewer, scope: organization}", "name: viewer, scope: organization}, {name: viewer}", 1)
		}, []string{"viewer"}},
		"to be another by an address that passes on":             {tenants(strings.Replace(adfs, "SUBJECT", "mail", 1)), []string{"adfs", "subject"}},
		"to be another by a name that changes":                   {tenants(strings.Replace(adfs, "SUBJECT", "displayName", 1)), []string{"adfs", "subject"}},
		"to be another by the first of several values":           {tenants(strings.Replace(adfs, "SUBJECT", "memberOf", 1)), []string{"adfs", "subject"}},
		"a user who is linked, where only creation is forbidden": {func(s *story) string { return s.forbidding() }, []string{"CreateUser"}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newStory(t, newFederation(t, "sqlite"))
			s.write("adfs.xml", string(s.publish(t, "adfs", "https://adfs.acme.example/saml", nil).Metadata()))
			directory := c.directory(s)
			strict := s.tryText(directory, "--strict")
			s.refusedApply(what+" with --strict", strict, c.names...)
			p := s.tryText(directory)
			s.acceptedApply(what, p)
			for _, name := range c.names {
				if !strings.Contains(p.stderr, "warning:") || !strings.Contains(p.stderr, name) {
					t.Errorf("apply of %s: got no warning with the word %s:\n%s", what, name, p.stderr)
				}
			}
		})
	}
	for _, tenant := range []string{"common", "organizations", "consumers", "{tenantid}"} {
		what := "tokens of every tenant of Entra by " + tenant
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newStory(t, newFederation(t, "sqlite"))
			s.refusedApply(what, s.tryText(s.directoryOf(login("entra", entra+tenant+"/v2.0", ofAcme+onlyUser))), "entra", tenant, "many directories")
		})
	}
	t.Run("nothing but to apply an honest directory", func(t *testing.T) {
		t.Parallel()
		s := newStory(t, newFederation(t, "sqlite"))
		s.write("adfs.xml", string(s.publish(t, "adfs", "https://adfs.acme.example/saml", nil).Metadata()))
		p := s.tryText(s.directoryOf(ownIssuer, strings.Replace(adfs, "SUBJECT", "employeeNumber", 1), trusted), "--strict")
		s.acceptedApply("an honest directory with --strict", p)
		if strings.Contains(p.stderr, "warning:") {
			t.Errorf("apply of an honest directory: got warnings, wanted none:\n%s", p.stderr)
		}
	})
}

// forbidding writes a policy that names CreateUser of users who are there already, and returns a directory with it.
func (s *story) forbidding() string {
	s.t.Helper()
	s.policy(`@id("no-contractors")
forbid (principal, action == Action::"CreateUser", resource)
when { context.attributes.hasTag("employment") && context.attributes.getTag("employment").contains("contractor") };
`)
	return s.directoryOf("{name: okta, kind: oidc, issuer: 'https://acme.okta.example', audiences: [idpsync]" + ofAcme + onlyUser + "}")
}
