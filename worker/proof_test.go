package worker_test

import (
	"testing"

	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// Both sources take the address from preferred_username; only the second has a claim that speaks of it.
const mappedAddressDirectory = `
tenants:
  - id: 2489E9AD-2EE2-8E00-8EC9-32D5F69181C0
    name: acme
    roles: [{name: user}]
    sources:
      - {name: names, kind: oidc, issuer: ISSUER, audiences: [idpsync], algorithms: [ES256], unverified_email: accept, domains: [acme.example], grants: [user], mapping: {email: claims.preferred_username}}
      - {name: proves, kind: oidc, issuer: SECOND, audiences: [idpsync], algorithms: [ES256], domains: [acme.example], grants: [user], mapping: {email: claims.preferred_username, email_verified: claims.preferred_username_verified}}
      - {name: workday, kind: feed, trust_email: true, domains: [acme.example], grants: [user]}
`

// People choose their preferred_username. That their e-mail address is verified must not make them the person whose
// address they chose.
func TestTheVerificationOfOneClaimTakesNoAccountByAnother(t *testing.T) {
	workertest.Each(t, workertest.Options{Directory: mappedAddressDirectory}, func(t *testing.T, d *workertest.Deployment) {
		s := newScene(t, d)
		made := s.provision("workday", tenantUser("president", "oidc"))
		s.wantApart(s.login(acme, "names", d.Person("mallory").With(workertest.Claims{"preferred_username": "president@acme.example"})), "email")
		if u := d.User(acme, "president@acme.example"); u.HasIdentity != 0 {
			t.Errorf("the president's account has %d identities after a login with that name, want none", u.HasIdentity)
		}

		s.want(s.login(acme, "names", d.Person("eve").With(workertest.Claims{"preferred_username": "eve@acme.example"})), 201, record.OutcomeCreated)
		if u := d.User(acme, "eve@acme.example"); u.EmailVerified {
			t.Error("the address of preferred_username is verified by a claim that speaks of email")
		}

		honest := d.PersonAt(d.Second, "president").With(workertest.Claims{"email": nil, "email_verified": nil, "preferred_username": "president@acme.example", "preferred_username_verified": true})
		linked := s.login(acme, "proves", honest)
		s.want(linked, 200, record.OutcomeLinked)
		if linked.Body["id"] != made.Body["id"] {
			t.Errorf("the president's login is of user %v, want %v, who was created before", linked.Body["id"], made.Body["id"])
		}
		if u := d.User(acme, "president@acme.example"); !u.EmailVerified || u.HasIdentity != 1 {
			t.Errorf("the president's address is verified: %v, with %d identities; want true and 1", u.EmailVerified, u.HasIdentity)
		}
	})
}
