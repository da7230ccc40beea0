package main

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/worker/record"
)

// BenchmarkLoginBesidePasswords measures how long an OIDC login takes from publishing to its result while 200 clients
// create users with passwords over HTTP, and for comparison while nobody does.
func BenchmarkLoginBesidePasswords(b *testing.B) {
	for _, clients := range []int{0, 200} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) { benchmarkLogins(b, clients) })
	}
}

func benchmarkLogins(b *testing.B, clients int) {
	s := embeddedSite(b)
	r := s.child("--log-level", "info")
	conn := s.nats()
	js, err := jetstream.New(conn)
	if err != nil {
		b.Fatal(err)
	}
	results, err := conn.SubscribeSync("idpsync.result.*.okta.*")
	if err != nil {
		b.Fatal(err)
	}
	header := map[string]string{"Authorization": "Bearer " + s.credential("acme", "user"), "X-Tenant-ID": acme}
	web := client(b)
	var creating sync.WaitGroup
	var created, refused atomic.Int64
	done := make(chan struct{})
	for c := range clients {
		creating.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				body := fmt.Sprintf(`{"email": "user-%d-%d@acme.example", "name": "Somebody", "password": "example password"}`, c, n)
				got, err := post(s.ctx, web, r.http+"/v1/users", "", header, body)
				switch {
				case err != nil:
					return
				case got.status == 201:
					created.Add(1)
				default: // as Retry-After asks
					refused.Add(1)
					select {
					case <-time.After(time.Second):
					case <-done:
						return
					}
				}
			}
		})
	}
	bodies := make([][]byte, b.N)
	for i := range bodies {
		claims := s.issuer.Claims(fmt.Sprintf("login-%d", i), "idpsync")
		claims["email"], claims["email_verified"], claims["name"] = fmt.Sprintf("login-%d@acme.example", i), true, "Somebody"
		if bodies[i], err = kit.Login(s.issuer.Sign(claims)); err != nil {
			b.Fatal(err)
		}
	}
	took := make([]time.Duration, 0, b.N)
	b.ResetTimer()
	begin := time.Now()
	for i, body := range bodies {
		start := time.Now()
		if _, err := js.PublishMsg(s.ctx, natsMessage("idpsync.login."+acme+".okta", fmt.Sprintf("login-%d", i), nil, string(body))); err != nil {
			b.Fatal(err)
		}
		var m *nats.Msg
		if m, err = results.NextMsgWithContext(s.ctx); err != nil || m.Header.Get(record.HeaderStatus) != "201" {
			b.Fatalf("the login ends with %v and the error %v, want status 201", m, err)
		}
		took = append(took, time.Since(start))
	}
	b.StopTimer()
	rate := float64(created.Load()) / time.Since(begin).Seconds()
	close(done)
	creating.Wait()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(rate, "creates/s")
	b.ReportMetric(float64(refused.Load()), "refused")
}
