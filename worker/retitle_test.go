package worker_test

import (
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/workertest"
)

func TestACommandGivesAUserAnotherName(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.Start()
	header := providers.Header{"Authorization": {"Bearer " + d.Credential(acme, "user")}, "X-Tenant-ID": {acme}}
	d.PublishWith("idpsync.command."+acme+".v1.users.create", "create", []byte(`{"email":"ada@acme.example","name":"Ada","auth_provider":"oidc","roles":[]}`), header)
	if r := d.Await("create"); r.Status != 201 {
		t.Fatalf("create: got %d %s, want 201", r.Status, r.Data)
	}
	d.PublishWith("idpsync.command."+acme+".v1.users.retitle", "retitle", []byte(`{"email":"ada@acme.example","name":"Countess","auth_provider":"oidc","roles":[]}`), header)
	if r := d.Await("retitle"); r.Status != 200 || string(r.Outcome) != "updated" {
		t.Errorf("retitle: got %d %s %s, want 200 updated", r.Status, r.Outcome, r.Data)
	}
	if users := d.Users(acme); len(users) != 1 || users[0].Name != "Countess" {
		t.Errorf("users: got %+v, want one called Countess", users)
	}
}
