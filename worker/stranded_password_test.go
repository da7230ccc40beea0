package worker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/workertest"
)

// The ledger knows a command with a password by another hash than that of its payload.
func TestStrandedCommandWithAPasswordThatHadItsEffectGetsItsResult(t *testing.T) {
	d := workertest.New(t, workertest.Options{})
	p := d.Process(func(c *worker.Config) { c.DurablePasswords = true })
	p.On(func(_ context.Context, c fault.Call) error {
		if c.Point != fault.BeforePublish && c.Method != "Owe" || d.State().Stranded > 0 {
			return nil
		}
		return errors.New("neither broker nor database takes the result")
	})
	p.Run()
	header := providers.Header{"Authorization": {"Bearer " + d.Credential(acme, "user")}, "X-Tenant-ID": {acme}}
	body := with(tenantUser("ada", "local"), map[string]any{"password": "correct horse battery"})
	d.PublishWith("idpsync.command."+acme+".v1.users.create", "e1", workertest.Payload(body), header)
	d.Eventually("for the result", func() bool {
		d.Clock.Advance(time.Second) // the stream is asked again after a while
		return len(d.Results.Of("e1")) > 0
	})
	if r := d.Await("e1"); r.Status != 201 || r.Body["id"] != d.User(acme, "ada@acme.example").ID {
		t.Errorf("the stranded command gets %s, want 201 and the id of the user that it made", r.Data)
	}
	if letters := d.AllLetters(); len(letters) != 0 {
		t.Errorf("the dead letters are %+v, want none", letters)
	}
}
