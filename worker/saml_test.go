package worker_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers/saml/idp"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// samlDirectory declares the one SAML source of these tests. METADATA stands for the IdP's metadata file.
const samlDirectory = `
tenants:
  - id: 2489E9AD-2EE2-8E00-8EC9-32D5F69181C0
    name: acme
    roles: [{name: user}]
    sources:
      - name: adfs
        kind: saml
        metadata_file: METADATA
        entity_id: https://sp.acme.example/saml
        acs_url: https://sp.acme.example/saml/acs
        trust_email: true
        domains: [acme.example]
        mapping: {email: 'attributes["mail"][0]', name: 'attributes["displayName"][0]', roles: 'attributes["groups"]'}
        grants: [user]
`

func TestSAMLLoginGoesThroughThePipeline(t *testing.T) {
	workertest.Each(t, workertest.Options{Unapplied: true}, func(t *testing.T, d *workertest.Deployment) {
		p, err := idp.New(idp.Options{EntityID: "https://idp.acme.example/metadata", Now: time.Now})
		if err != nil {
			t.Fatalf("make an identity provider: %v", err)
		}
		metadata := filepath.Join(d.Folder(), "idp.xml")
		if err := os.WriteFile(metadata, p.Metadata(), 0o600); err != nil {
			t.Fatalf("write its metadata: %v", err)
		}
		d.Apply(strings.ReplaceAll(samlDirectory, "METADATA", metadata))
		d.Start()

		login := func(id string, r idp.Request, change func([]byte) []byte) workertest.Record {
			t.Helper()
			xml, err := p.Respond(r)
			if err != nil {
				t.Fatalf("make the response of %s: %v", id, err)
			}
			d.Publish(workertest.LoginSubject(acme, "adfs"), id, workertest.Payload(map[string]string{
				"saml_response": base64.StdEncoding.EncodeToString(change(xml)), "request_id": r.InResponseTo,
			}))
			return d.Await(id)
		}
		heidi := idp.Request{
			EntityID: "https://sp.acme.example/saml", ACSURL: "https://sp.acme.example/saml/acs", InResponseTo: "_request", NameID: "heidi", Mode: idp.SignBoth,
			Attributes: []idp.Attribute{
				{Name: "mail", Values: []string{"heidi@acme.example"}}, {Name: "displayName", Values: []string{"Heidi Keller"}}, {Name: "groups", Values: []string{"user"}},
			},
		}
		asSigned := func(xml []byte) []byte { return xml }
		if r := login("first", heidi, asSigned); r.Status != 201 {
			t.Fatalf("the first login got status %d and %s, want 201 for a new user", r.Status, r.Data)
		}
		if u := d.User(acme, "heidi@acme.example"); u.Name != "Heidi Keller" {
			t.Errorf("the user is called %q, want the name in the assertion, Heidi Keller", u.Name)
		}
		if r := login("second", heidi, asSigned); r.Status != 200 {
			t.Errorf("a second login with an assertion of its own got status %d and %s, want 200", r.Status, r.Data)
		}
		forged := login("forged", heidi, func(xml []byte) []byte {
			out, err := idp.Tamper(xml, "heidi@acme.example", "owner@acme.example")
			if err != nil {
				t.Fatalf("change the response: %v", err)
			}
			return out
		})
		if forged.Status != 401 || !strings.Contains(string(forged.Data), string(record.CodeUnauthenticated)) {
			t.Errorf("a response that was changed after signing got status %d and %s, want 401 and %s", forged.Status, forged.Data, record.CodeUnauthenticated)
		}
		if n := len(d.Users(acme)); n != 1 {
			t.Errorf("there are %d users after three logins of one person, want 1", n)
		}
	})
}
