package worker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/workertest"
)

// While the issuer of one source hangs, with logins for it and anonymous clients that name it in tokens of their making,
// logins of another source are answered as if nothing was.
func TestAHungIssuerKeepsNobodyElseWaiting(t *testing.T) { // alone, as it compares times
	const logins, every = 40, 25 * time.Millisecond
	d := workertest.New(t, workertest.Options{Directory: strings.ReplaceAll(workertest.Directory, "grants: [user]\n",
		"grants: [user]\n        commands: true\n        commands_claim: admin\n")})
	p := d.Start()
	readKeys(d, "ping", "okta")

	// slowest returns the 99th percentile of the time from publishing a login to its result.
	slowest := func(name string) time.Duration {
		t.Helper()
		var took []time.Duration
		tick := time.NewTicker(every)
		defer tick.Stop()
		for i := range logins {
			<-tick.C
			id := fmt.Sprintf("%s-%d", name, i)
			start := time.Now()
			d.LogIn(id, d.Person(id))
			if r := d.Await(id); r.Status != 201 {
				t.Fatalf("login %s is answered %d %s; want 201", id, r.Status, r.Data)
			}
			took = append(took, time.Since(start))
		}
		slices.Sort(took)
		return took[len(took)*99/100]
	}
	slowest("warm")
	quiet := slowest("quiet")

	stranger, err := d.Second.NewKey("RS256")
	if err != nil {
		t.Fatal(err)
	}
	token, err := d.Second.Sign(d.Second.Claims("x", "idpsync"), issuer.WithKey(stranger)) // by a key that was never published
	if err != nil {
		t.Fatal(err)
	}
	hung := make(chan struct{})
	d.Second.Alter(func(_ string, body []byte) []byte { <-hung; return body })
	ctx, cancel := context.WithCancel(d.Ctx)
	var noise sync.WaitGroup
	noise.Go(func() { // 20 logins a second with a key that has to be asked for
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			d.Publish(workertest.LoginSubject(acme, "ping"), fmt.Sprintf("hung-%d", i), workertest.Payload(map[string]string{"id_token": token}))
		}
	})
	for range 8 {
		noise.Go(func() {
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				<-tick.C
				p.Submit(ctx, worker.Submission{
					Subject: "idpsync.rpc." + acme + ".v1.users.create", Door: providers.DoorHTTP, ReceivedAt: time.Now(), Payload: []byte(`{}`),
					Header: providers.Header{"Authorization": {"Bearer " + token}},
				})
			}
		})
	}
	loud := slowest("loud")
	cancel()
	noise.Wait()
	close(hung)
	t.Logf("99th percentile: %v quiet, %v beside a hung issuer", quiet, loud)
	// The clients, and the tests beside this one, take their share of the processors, which this test does not measure; a
	// wait for the issuer takes five seconds.
	if limit := max(3*quiet, time.Second); loud > limit {
		t.Errorf("the 99th percentile of logins of another source is %v beside a hung issuer, and %v without; want at most %v", loud, quiet, limit)
	}
}
