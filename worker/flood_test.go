package worker_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/workertest"
)

// One tenant sends far more than its share, none of which can even be verified. A login of another tenant that comes behind
// all of it is answered nevertheless; and what was sent back to the broker is done in the end, once each, without anybody
// taking the many deliveries for a sign of a crash.
func TestAFloodOfOneTenantKeepsNobodyElseWaiting(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		const flood = 600
		p := d.Process(func(c *worker.Config) { c.Batch, c.Loops = 10, 2 }) // a share of 80
		p.Run()
		d.LogIn("keys", d.Person("reader"))
		d.Await("keys")
		d.Drained()
		release := make(chan struct{})
		p.On(func(_ context.Context, c fault.Call) error {
			if c.Point == fault.BeforeVerify && c.Envelope.Tenant == acme {
				<-release
			}
			return nil
		})
		var once sync.Once
		t.Cleanup(func() { once.Do(func() { close(release) }) })
		for i := range flood {
			d.LogIn(fmt.Sprintf("flood-%d", i), d.Person(fmt.Sprintf("f%d", i%7)))
		}
		for i := range 5 {
			id := fmt.Sprintf("quiet-%d", i)
			d.Publish(workertest.LoginSubject(globex, "okta"), id, d.Login(d.Person(id)))
			if r := d.Await(id); r.Status != 201 {
				t.Fatalf("the login %s is answered %d %s, want 201", id, r.Status, r.Data)
			}
		}
		once.Do(func() { close(release) })
		for i := range flood {
			d.Await(fmt.Sprintf("flood-%d", i))
		}
		d.Drained()
		if n := len(d.AllResults()); n != 1+5+flood {
			t.Errorf("there are %d results, want one for each of %d events", n, 1+5+flood)
		}
		sentBack := 0
		for _, one := range p.Deliveries() {
			if slices.Contains(one.Told, "nak") {
				sentBack++
			}
		}
		if sentBack == 0 {
			t.Error("no message was sent back to the broker, want some: the flood is no flood")
		}
		marked, err := d.Store.InFlight(d.Ctx, "")
		if err != nil || len(marked) > 0 {
			t.Errorf("the markers are %+v, error %v; want none", marked, err)
		}
	})
}

// A backlog of one tenant is worked off as fast as it can be while nobody else waits: none of it is sent back, though there are
// other tenants.
func TestABacklogOfOneTenantStaysWhereItIsWhileNobodyElseWaits(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		const backlog = 400
		for i := range backlog {
			d.LogIn(fmt.Sprintf("backlog-%d", i), d.Person(fmt.Sprintf("b%d", i%7)))
		}
		p := d.Process(func(c *worker.Config) { c.Batch, c.Loops = 5, 2 }) // a share of 40
		p.Run()
		for i := range backlog {
			d.Await(fmt.Sprintf("backlog-%d", i))
		}
		d.Drained()
		for _, one := range p.Deliveries() {
			if len(one.Told) != 1 || one.Told[0] != "ack" {
				t.Errorf("of a delivery the broker was told %q, want one ack", one.Told)
			}
		}
	})
}
