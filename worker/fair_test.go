package worker_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/workertest"
)

// The issuer of one source hangs while hundreds of its logins are parked and due. What another tenant has parked does not wait
// behind them, whether it is due as they are taken up or only later.
func TestParkedEventsOfAHungSourceKeepNobodyElseWaiting(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		const crowd = 300
		readKeys(d, "ping", "okta")
		stranger, err := d.Second.NewKey("ES256")
		if err != nil {
			t.Fatal(err)
		}
		token, err := d.Second.Sign(d.Second.Claims("x", "idpsync"), issuer.WithKey(stranger)) // by a key that has to be asked for
		if err != nil {
			t.Fatal(err)
		}
		hung := make(chan struct{})
		d.Second.Alter(func(_ string, body []byte) []byte { <-hung; return body })
		defer close(hung)

		var away atomic.Bool // every issuer
		var tried atomic.Int64
		p := d.Process()
		p.On(fault.At(fault.BeforeVerify, func(_ context.Context, c fault.Call) error {
			if away.Load() {
				return &providers.Error{Class: providers.ErrUnavailable, Reason: "issuer_unavailable", Message: "The issuer is away.", Away: true}
			}
			if strings.HasPrefix(c.Envelope.EventID, "crowd") {
				tried.Add(1)
			}
			return nil
		}))
		p.Run()
		park := func(id string, n int, all int64, tenant, source string, body []byte) {
			t.Helper()
			away.Store(true)
			for i := range n {
				d.Publish(workertest.LoginSubject(tenant, source), fmt.Sprintf("%s%d", id, i), body)
			}
			d.Eventually("for "+id+" to be parked", func() bool { return d.Counts().Parked == all })
			away.Store(false)
		}
		park("crowd", crowd, crowd, acme, "ping", workertest.Payload(map[string]string{"id_token": token}))
		park("early", 1, crowd+1, globex, "okta", d.Login(d.Person("ada")))
		due := func(id string) {
			t.Helper()
			d.Clock.Advance(30 * time.Second)
			if r := d.Await(id); r.Status != 201 {
				t.Errorf("the login %s is answered %d %s, want 201", id, r.Status, r.Data)
			}
			if n := tried.Load(); n == 0 || n >= crowd {
				t.Errorf("of %d logins of the hung source %d were tried before %s, want some, and not all", crowd, n, id)
			}
		}
		due("early0")
		d.Eventually("for early0 to be done with", func() bool { return d.Counts().Parked == crowd })
		park("late", 1, crowd+1, globex, "okta", d.Login(d.Person("grace")))
		due("late0")
	})
}
