package worker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/workertest"
)

// Commands that were delivered before have an in-flight marker each. A worker that runs out of time while it has many passwords
// to hash did not die of those that it never took in hand.
func TestPasswordsLeftBehindAreNoCulprits(t *testing.T) {
	const all = 30
	d := workertest.New(t, workertest.Options{})
	header := providers.Header{"Authorization": {"Bearer " + d.Credential(acme, "user")}, "X-Tenant-ID": {acme}}
	for i := range all {
		body := with(tenantUser(fmt.Sprintf("p%d", i), "local"), map[string]any{"password": "correct horse battery"})
		d.PublishWith("idpsync.command."+acme+".v1.users.create", fmt.Sprintf("e%d", i), workertest.Payload(body), header)
	}
	giveBack(d, all) // so that they are marked
	accept := func(c *worker.Config) { c.DurablePasswords, c.HashWorkers, c.DrainTimeout = true, 1, time.Millisecond }
	p := d.Start(accept)
	d.Results.Await(1, "of any", func(workertest.Record) bool { return true })
	_ = p.Stop() // there was not time enough, and it says so
	d.Start(func(c *worker.Config) { c.DurablePasswords = true })
	for _, r := range d.AllResults() {
		if r.Status != 201 {
			t.Errorf("%s gets %s, want 201", r.EventID, r.Data)
		}
	}
	if users, letters := len(d.Users(acme)), len(d.AllLetters()); users != all || letters != 0 {
		t.Errorf("there are %d users and %d dead letters, want %d and none", users, letters, all)
	}
	d.Eventually("for the in-flight markers to be cleared", func() bool { return d.Counts().InFlight == 0 })
}
