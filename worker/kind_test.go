package worker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers/toytest"
	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// A kind of source that the product does not have becomes part of a deployment by one line, and its logins become users.
func TestANewKindOfSourceGoesThroughThePipeline(t *testing.T) {
	const secret = "a secret of the forge and ours"
	kinds := append(assemble.Kinds(), toytest.Kind())
	workertest.Each(t, workertest.Options{Unapplied: true, Kinds: kinds}, func(t *testing.T, d *workertest.Deployment) {
		file := filepath.Join(d.Folder(), "forge.secret")
		if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
			t.Fatalf("write the secret: %v", err)
		}
		d.Apply(strings.ReplaceAll(`
tenants:
  - id: 2489E9AD-2EE2-8E00-8EC9-32D5F69181C0
    name: acme
    roles: [{name: user}]
    sources:
      - {name: forge, kind: forge, issuer: "https://forge.example", client_id: idpsync, secret_file: "FILE", trust_email: true, domains: [acme.example], grants: [user], default_roles: [user]}
`, "FILE", file))
		document := func(client string) string {
			return fmt.Sprintf(`{"client_id": %q, "id": 583231, "login": "ada", "name": "Ada Lovelace", "email": "ada@acme.example", "exp": %d}`, client, time.Now().Add(time.Hour).Unix())
		}
		d.Start()
		subject := workertest.LoginSubject(workertest.Acme, "forge")
		d.Publish(subject, "genuine", toytest.Sign([]byte(secret), document("idpsync")))
		d.Publish(subject, "forged", toytest.Sign([]byte("a secret of somebody else's"), document("idpsync")))
		d.Publish(subject, "foreign", toytest.Sign([]byte(secret), document("another application")))
		if r := d.Await("genuine"); r.Status != 201 || !strings.Contains(string(r.Data), `"roles":["user"]`) {
			t.Errorf("a login of the new kind: got %d %s, want 201 and a user with the role user", r.Status, r.Data)
		}
		wantRejected(t, d, "forged", record.CodeUnauthenticated, "signature")
		wantRejected(t, d, "foreign", record.CodeUnauthenticated, "client")
	})
}

func TestAnEventComesFromASourceOfItsKind(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.Start()
	d.Publish(workertest.LoginSubject(workertest.Acme, "workday"), "login of a feed", d.Login(d.Person("ada")))
	d.Publish(workertest.FeedSubject(workertest.Acme, "okta"), "feed of an issuer", []byte(`{"email":"ada@acme.example"}`))
	wantRejected(t, d, "login of a feed", record.CodeUnknownSource, "")
	wantRejected(t, d, "feed of an issuer", record.CodeUnknownSource, "")
}
