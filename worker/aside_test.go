package worker_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/workertest"
)

// Logins that are set aside while keys are read have one effect and one result each, when their worker is killed, or is
// stopped, before the keys come.
func TestWhatIsSetAsideIsDoneOnce(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, p *workertest.Process){
		"killed": func(_ *testing.T, p *workertest.Process) { p.Kill() },
		"stopped": func(t *testing.T, p *workertest.Process) {
			if err := p.Stop(); err == nil {
				t.Error("the worker stops in time, with an issuer that hangs; want the drain timeout to end it")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
				const logins = 50
				hung := make(chan struct{})
				var asked atomic.Int64
				d.Issuer.Alter(func(_ string, body []byte) []byte { asked.Add(1); <-hung; return body })
				p := d.Start(func(c *worker.Config) { c.DrainTimeout = time.Second })
				for i := range logins {
					id := fmt.Sprintf("e%d", i)
					d.LogIn(id, d.Person(id))
				}
				d.Eventually("the issuer to be asked", func() bool { return asked.Load() > 0 })
				p.AwaitDeliveries(logins)
				end(t, p)
				d.Issuer.Alter(nil)
				close(hung)
				d.Start()
				d.Start()
				for i := range logins {
					id := fmt.Sprintf("e%d", i)
					if r := d.Await(id); r.Status != 201 {
						t.Errorf("login %s is answered %d %s; want 201", id, r.Status, r.Data)
					}
				}
				d.Drained()
				if n := len(d.Users(workertest.Acme)); n != logins {
					t.Errorf("%d users were made of %d logins, want one each", n, logins)
				}
				for i := range logins {
					if n := len(d.ResultsOf(fmt.Sprintf("e%d", i))); n != 1 {
						t.Errorf("login e%d has %d results; want 1", i, n)
					}
				}
			})
		})
	}
}
