package worker_test

import (
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"

	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// Each row is a rule of who a login is taken for.
func TestIdentityRules(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		all := newScene(t, d)
		rule := func(name string, test func(s *scene)) {
			t.Run(name, func(t *testing.T) { test(all.in(t)) })
		}
		rule("a new person is created", func(s *scene) {
			r := s.login(acme, "okta", d.Person("new"))
			s.want(r, 201, record.OutcomeCreated)
			u := d.User(acme, "new@acme.example")
			if r.Body["id"] != u.ID || u.AuthProvider != "oidc" || !u.EmailVerified || u.HasIdentity != 1 || u.CreatedBy != "okta" {
				s.Errorf("%+v", u)
			}
		})
		rule("the identity is the key and the address is not", func(s *scene) {
			first := s.login(acme, "okta", d.Person("moved"))
			again := s.login(acme, "okta", d.Person("moved").With(workertest.Claims{"email": "elsewhere@acme.example", "name": "Renamed"}))
			s.want(again, 200, record.OutcomeExists)
			if string(again.Data) != string(first.Data) {
				s.Errorf("%s is not %s", again.Data, first.Data)
			}
		})
		rule("subjects compare byte for byte", func(s *scene) {
			s.want(s.login(acme, "okta", d.Person("case")), 201, record.OutcomeCreated)
			s.wantConflict(s.login(acme, "okta", d.Person("case").With(workertest.Claims{"sub": "CASE"})), "email")
		})
		rule("a second subject with the address is a conflict and changes nothing", func(s *scene) {
			s.want(s.login(acme, "okta", d.Person("ada")), 201, record.OutcomeCreated)
			before := d.Fingerprint(acme)
			s.wantConflict(s.login(acme, "okta", d.Person("eve").With(workertest.Claims{"email": "ada@acme.example"})), "email")
			s.wantConflict(s.login(acme, "ping", d.PersonAt(d.Second, "ada")), "email")
			if d.Fingerprint(acme) != before {
				s.Error("the conflict changed something")
			}
		})
		rule("a pre-provisioned user is taken by the first login of that kind, once", func(s *scene) {
			made := s.provision("trusted", tenantUser("hired", "oidc"))
			linked := s.login(acme, "okta", d.Person("hired"))
			s.want(linked, 200, record.OutcomeLinked)
			if linked.Body["id"] != made.Body["id"] || linked.Body["auth_provider"] != "oidc" {
				s.Errorf("%s after %s", linked.Data, made.Data)
			}
			before := d.Fingerprint(acme)
			s.wantConflict(s.login(acme, "okta", d.Person("hired").With(workertest.Claims{"sub": "hired2"})), "email")
			s.wantConflict(s.login(acme, "ping", d.PersonAt(d.Second, "hired")), "email")
			s.want(s.login(acme, "okta", d.Person("hired")), 200, record.OutcomeExists)
			if d.Fingerprint(acme) != before {
				s.Error("a later login changed something")
			}
		})
		rule("a pre-provisioned user of another kind is not taken", func(s *scene) {
			s.provision("trusted", tenantUser("samluser", "saml"))
			s.wantApart(s.login(acme, "okta", d.Person("samluser")), "email")
		})
		rule("a user of the organization shape is taken by the first login of any kind", func(s *scene) {
			s.provision("trusted", organizationUser("orguser"))
			r := s.login(acme, "okta", d.Person("orguser"))
			s.want(r, 200, record.OutcomeLinked)
			if u := d.User(acme, "orguser@acme.example"); u.AuthProvider != "oidc" || u.HasIdentity != 1 || !u.EmailVerified {
				s.Errorf("%+v", u)
			}
			s.wantConflict(s.login(acme, "ping", d.PersonAt(d.Second, "orguser")), "email")
		})
		rule("a user with a password is not taken", func(s *scene) {
			s.provision("trusted", with(tenantUser("local", "local"), map[string]any{"password_hash": bcryptHash}))
			s.wantApart(s.login(acme, "okta", d.Person("local")), "email")
		})
		for name, change := range map[string]workertest.Claims{
			"an address not verified":              {"email_verified": false},
			"an address verified by a string":      {"email_verified": "true"},
			"an address verified by a number":      {"email_verified": 1},
			"an address that is not said verified": {"email_verified": nil},
		} {
			rule(name+" takes nobody", func(s *scene) {
				person := "pre" + strings.ReplaceAll(name, " ", "")
				s.provision("trusted", tenantUser(person, "oidc"))
				before := d.Fingerprint(acme)
				s.wantUnverified(s.login(acme, "okta", d.Person(person).With(change)))
				if d.Fingerprint(acme) != before {
					s.Error("the conflict changed something")
				}
			})
		}
		rule("an address outside of the source's domains takes nobody", func(s *scene) {
			s.provision("trusted", with(tenantUser("outside", "oidc"), map[string]any{"email": "outside@other.example"}))
			s.wantUnverified(s.login(acme, "okta", d.Person("outside").With(workertest.Claims{"email": "outside@other.example"})))
		})
		rule("a source without domains takes nobody", func(s *scene) {
			s.provision("trusted", with(tenantUser("nodomains", "oidc"), map[string]any{"email": "nodomains@other.example"}))
			s.wantApart(s.login(acme, "ping", d.PersonAt(d.Second, "nodomains").With(workertest.Claims{"email": "nodomains@other.example"})), "email")
		})
		rule("a user with a role that the source cannot grant is not taken", func(s *scene) {
			s.provision("trusted", organizationUser("viewing"))
			s.wantApart(s.login(acme, "narrow", d.Person("viewing").With(workertest.Claims{"aud": "narrow"})), "email")
			s.want(s.login(acme, "okta", d.Person("viewing")), 200, record.OutcomeLinked)
		})
		rule("a user of a feed that is not trusted with the address is taken while nobody has the address", func(s *scene) {
			made := s.provision("workday", tenantUser("untrusted", "oidc"))
			r := s.login(acme, "okta", d.Person("untrusted"))
			s.want(r, 200, record.OutcomeLinked)
			if r.Body["id"] != made.Body["id"] {
				s.Errorf("the login got user %v, wanted %v, whom the feed made", r.Body["id"], made.Body["id"])
			}
		})
		rule("a user of a feed that is not trusted with the address keeps nobody out", func(s *scene) {
			s.provision("workday", with(tenantUser("squatted", "local"), map[string]any{"password_hash": bcryptHash}))
			s.want(s.login(acme, "okta", d.Person("squatted")), 201, record.OutcomeCreated)
		})
		rule("another tenant's user is not seen", func(s *scene) {
			s.provision("trusted", tenantUser("twin", "oidc"))
			before := d.Fingerprint(acme)
			s.want(s.login(globex, "okta", d.Person("twin")), 201, record.OutcomeCreated)
			if d.Fingerprint(acme) != before {
				s.Error("another tenant's login changed something")
			}
			s.want(s.login(acme, "okta", d.Person("twin")), 200, record.OutcomeLinked)
		})
		rule("a feed that names a user who is there is a repeat", func(s *scene) {
			for _, source := range []string{"trusted", "workday"} { // the address of the second is not reserved, but it is its own
				subject := "repeat" + source
				s.provision(source, organizationUser(subject))
				s.wantRepeated(s.feed(acme, source, organizationUser(subject)), "email")
				s.wantRepeated(s.feed(acme, source, with(organizationUser(strings.ToUpper(subject)), map[string]any{"email": "other@acme.example"})), "identityName")
				s.wantRepeated(s.feed(acme, source, tenantUser(subject, "oidc")), "email")
			}
			s.wantRepeated(s.feed(acme, "workday", tenantUser("repeattrusted", "oidc")), "email")
		})
		rule("nobody keeps a person out by taking their address for an identity name", func(s *scene) {
			for _, source := range []string{"trusted", "workday"} {
				r := s.feed(acme, source, with(organizationUser("named"), map[string]any{"identityName": "Victim@acme.example"}))
				if r.Code != record.CodeInvalidInput {
					s.Errorf("a user of %s named after another's address: got %d %s, wanted 400 invalid_input", source, r.Status, r.Data)
				}
			}
			s.want(s.login(acme, "okta", d.Person("victim")), 201, record.OutcomeCreated)
			s.want(s.login(acme, "okta", d.Person("victim")), 200, record.OutcomeExists)
		})
	})
}

// bcryptHash is the hash of a password that nobody needs to know.
const bcryptHash = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"

func TestAddressesThatLookAlikeAreOne(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		s := newScene(t, d)
		for i, twins := range [][]string{
			{"Ada@Acme.Example", "ada@acme.example", "ADA@ACME.EXAMPLE"},
			{"zoë@acme.example", norm.NFD.String("zoë@acme.example"), "ZOË@acme.example", norm.NFD.String("ZOË@ACME.example")},
			{"karl@bücher.example", "karl@xn--bcher-kva.example", "karl@BÜCHER.example", norm.NFD.String("karl@bücher.example"), "KARL@XN--BCHER-KVA.EXAMPLE"},
			{"straße@acme.example", "STRASSE@acme.example"},
		} {
			for n, address := range twins {
				subject := string(rune('a'+i)) + string(rune('0'+n))
				r := s.login(acme, "okta", d.Person(subject).With(workertest.Claims{"email": address}))
				if n == 0 {
					s.want(r, 201, record.OutcomeCreated)
					if r.Body["email"] != address {
						t.Errorf("%q is not kept as given: %s", address, r.Data)
					}
					continue
				}
				s.wantConflict(r, "email")
			}
		}
		for i, different := range []string{"a.da@acme.example", "ada+x@acme.example", "zoe@acme.example", "karl@bucher.example"} {
			s.want(s.login(acme, "okta", d.Person("different"+string(rune('0'+i))).With(workertest.Claims{"email": different})), 201, record.OutcomeCreated)
		}
	})
}

func TestIdentityNamesThatLookAlikeAreOne(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		s := newScene(t, d)
		s.provision("trusted", organizationUser("Zoë"))
		for i, twin := range []string{"zoë", norm.NFD.String("ZOË"), "ＺＯË"} {
			email := string(rune('a'+i)) + "@acme.example"
			s.wantRepeated(s.feed(acme, "workday", with(organizationUser(twin), map[string]any{"email": email})), "identityName")
		}
	})
}

const linkingDirectory = `
tenants:
  - id: 2489E9AD-2EE2-8E00-8EC9-32D5F69181C0
    name: acme
    owner: boss@acme.example
    roles: [{name: user}]
    sources:
      - {name: links, kind: oidc, issuer: ISSUER, audiences: [idpsync], algorithms: [ES256], link_by_email: verified, domains: [acme.example], mapping: {email: claims.email, email_verified: claims.email_verified}}
      - {name: other, kind: oidc, issuer: SECOND, audiences: [idpsync], algorithms: [ES256], domains: [acme.example, other.example], unverified_email: accept, mapping: {email: claims.email, email_verified: claims.email_verified}}
`

func TestLinkByEmailNeedsEveryConditionOfIt(t *testing.T) {
	workertest.Each(t, workertest.Options{Directory: linkingDirectory}, func(t *testing.T, d *workertest.Deployment) {
		s := newScene(t, d)
		there := func(subject string, change workertest.Claims) workertest.Record {
			t.Helper()
			r := s.login(acme, "other", d.PersonAt(d.Second, subject).With(change))
			s.want(r, 201, record.OutcomeCreated)
			return r
		}
		same := there("ada", nil)
		linked := s.login(acme, "links", d.Person("ada"))
		s.want(linked, 200, record.OutcomeLinked)
		if linked.Body["id"] != same.Body["id"] {
			t.Errorf("the login is linked to %s, want the user who was there, %s", linked.Data, same.Data)
		}
		if u := d.User(acme, "ada@acme.example"); u.HasIdentity != 2 || u.AuthProvider != "oidc" {
			t.Errorf("the linked user is %+v, want two identities, last by oidc", u)
		}
		s.want(s.login(acme, "other", d.PersonAt(d.Second, "ada")), 200, record.OutcomeExists)

		there("unproved", nil)
		s.wantUnverified(s.login(acme, "links", d.Person("unproved").With(workertest.Claims{"email_verified": false})))
		s.wantUnverified(s.login(acme, "links", d.Person("unproved").With(workertest.Claims{"email_verified": "true"})))

		unverified := there("unverified", workertest.Claims{"email_verified": false})
		own := s.login(acme, "links", d.Person("unverified"))
		s.want(own, 201, record.OutcomeCreated)
		if own.Body["id"] == unverified.Body["id"] {
			t.Errorf("the login was linked to user %v, who never proved the address; wanted a user of its own", own.Body["id"])
		}

		there("elsewhere", workertest.Claims{"email": "elsewhere@other.example"})
		s.wantUnverified(s.login(acme, "links", d.Person("elsewhere").With(workertest.Claims{"email": "elsewhere@other.example"})))

		if boss := there("boss", nil); boss.Body["is_owner"] != true {
			t.Errorf("the boss is %s, want the owner", boss.Data)
		}
		s.wantConflict(s.login(acme, "links", d.Person("boss")), "email")

		s.want(s.login(acme, "links", d.Person("first")), 201, record.OutcomeCreated)
		s.wantConflict(s.login(acme, "other", d.PersonAt(d.Second, "first")), "email") // this one does not link
	})
}

func TestOwnerIsWhoConfigurationNamesOnceVerified(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		s := newScene(t, d)
		asked := s.login(acme, "okta", d.Person("greedy").With(workertest.Claims{"is_owner": true, "owner": true}))
		if asked.Body["is_owner"] != false {
			t.Errorf("an event that asks for ownership gets %s, want no owner", asked.Data)
		}
		if r := s.feed(acme, "workday", with(tenantUser("greedy2", "oidc"), map[string]any{"is_owner": true})); r.Code != record.CodeMalformed {
			t.Errorf("is_owner in a feed gets %s, want malformed", r.Data)
		}
		if r := s.provision("trusted", tenantUser("owner", "oidc")); r.Body["is_owner"] != false {
			t.Errorf("an address that nobody proved made an owner: %s", r.Data)
		}
		linked := s.login(acme, "okta", d.Person("owner").With(workertest.Claims{"email": "OWNER@acme.example"}))
		s.want(linked, 200, record.OutcomeLinked)
		if linked.Body["is_owner"] != true {
			t.Errorf("the linked user is %s, want the owner", linked.Data)
		}
		d.Apply(strings.Replace(workertest.Directory, "Owner@acme.example", "heir@acme.example", 1))
		heir := s.login(acme, "okta", d.Person("heir"))
		s.want(heir, 201, record.OutcomeCreated)
		owners := 0
		for _, u := range d.Users(acme) {
			if u.IsOwner {
				owners++
			}
		}
		if owners != 1 || heir.Body["is_owner"] != false {
			t.Errorf("there are %d owners and the heir gets %s, want one owner, not the heir", owners, heir.Data)
		}
	})
}

func TestTwoFirstLoginsOfTheOwnerInOneBatchMakeOneOwner(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		d.LogIn("e1", d.Person("owner"))
		d.LogIn("e2", d.Person("other").With(workertest.Claims{"email": "owner@acme.example"}))
		d.Start()
		first, second := d.Await("e1"), d.Await("e2")
		if first.Body["is_owner"] == (second.Body["is_owner"] == true) || first.Status+second.Status != 201+409 {
			t.Errorf("the logins get %s and %s, want one owner made and the other a conflict", first.Data, second.Data)
		}
	})
}
