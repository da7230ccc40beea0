package main

import (
	"bytes"
	"fmt"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

// TestOneKeyIsOneUser sends one command under one Idempotency-Key from many clients at once, kills the worker with kill
// -9 while they wait and once more when the first has its answer, and lets the clients try until each has an answer.
func TestOneKeyIsOneUser(t *testing.T) {
	t.Parallel()
	const clients = 50
	s := embeddedSite(t)
	token := s.credential("acme", "user")
	addresses := []string{"--http-listen", freeAddress(t), "--nats-listen", freeAddress(t), "--admin-listen", freeAddress(t)}
	r := s.child(addresses...)
	web, address := client(t), r.http+"/v1/users"
	header := map[string]string{"Authorization": "Bearer " + token, "X-Tenant-ID": acme}
	const body = `{"email": "ada@acme.example", "name": "Ada", "password": "example password", "roles": ["user"]}`

	var written, lost atomic.Int32
	sent, answered := make(chan struct{}), make(chan struct{}, clients)
	traced := httptrace.WithClientTrace(s.ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) {
		if written.Add(1) == clients {
			close(sent)
		}
	}})
	up := newGate() // closed while the worker is down
	answers := make([]reply, clients)
	var waiting sync.WaitGroup
	for i := range clients {
		waiting.Go(func() {
			for s.ctx.Err() == nil {
				up.wait(s.ctx.Done())
				got, err := post(traced, web, address, "order-1", header, body)
				if err == nil && got.status != 429 && got.status != 503 {
					answers[i] = got
					answered <- struct{}{}
					return
				}
				lost.Add(1)
			}
		})
	}
	restart := func() {
		up.close()
		r.kill()
		next := s.child(addresses...)
		if next.http != r.http {
			t.Errorf("the worker came back at %s, not at %s", next.http, r.http)
		}
		r = next
		up.open()
	}
	<-sent
	restart()
	<-answered
	restart()
	waiting.Wait()
	t.Logf("%d requests were cut off and sent again", lost.Load())

	for i, a := range answers {
		if a.status != 201 || !bytes.Equal(a.body, answers[0].body) {
			t.Fatalf("client %d is answered by %d %s, want 201 and the answer of client 0, %d %s", i, a.status, a.body, answers[0].status, answers[0].body)
		}
	}
	if users := s.users("acme"); len(users) != 1 {
		t.Errorf("there are %d users, want 1", len(users))
	}
	conn := s.nats()
	results := func() (n int) {
		for _, m := range s.stored(conn, stream.StreamResults) {
			if m.Header.Get(record.HeaderEventID) == "order-1" {
				n++
				if !bytes.Equal(m.Data, answers[0].body) {
					t.Errorf("the result is %s, want the answer, %s", m.Data, answers[0].body)
				}
			}
		}
		return n
	}
	s.eventually("the result to be published", func() bool { return results() > 0 })

	other := strings.Replace(body, "Ada", "Bob", 1)
	again, err := post(s.ctx, web, address, "order-1", header, other)
	if err != nil {
		t.Fatal(err)
	}
	if fault := again.fault(t); again.status != 409 || fault.Code != record.CodeEventIDConflict {
		t.Errorf("another body under the key is answered by %d %s, want 409, a conflict of ids", again.status, again.body)
	}
	if n := results(); n != 1 {
		t.Errorf("there are %d results, want 1", n)
	}
}

// TestOneIDIsOneUserInEveryDoor sends the same commands at once by request-reply and HTTP to two workers.
func TestOneIDIsOneUserInEveryDoor(t *testing.T) {
	t.Parallel()
	s := clusterSite(t)
	token := s.credential("acme", "user")
	workers := []*running{s.worker(), s.worker()}
	doors := []caller{s.overHTTP(workers[0]), s.overHTTP(workers[1]), s.overRPC()}
	header := map[string]string{"Authorization": "Bearer " + token, "X-Tenant-ID": acme}
	const users, copies = 5, 12
	answers := make([][copies]reply, users)
	failures := make(chan error, users*copies)
	var sending sync.WaitGroup
	for u := range users {
		for c := range copies {
			sending.Go(func() {
				body := fmt.Sprintf(`{"email": "user%d@acme.example", "name": "User", "password": "example password"}`, u)
				var err error
				if answers[u][c], err = doors[c%len(doors)].try(acme, "/v1/users", fmt.Sprintf("order %d", u), header, body); err != nil {
					failures <- err
				}
			})
		}
	}
	sending.Wait()
	if len(failures) > 0 {
		t.Fatal("a request fails with ", <-failures)
	}
	for u := range users {
		for c, a := range answers[u] {
			if a.status != 201 || !bytes.Equal(a.body, answers[u][0].body) {
				t.Errorf("copy %d of user %d is answered by %d %s, want 201 and the answer of copy 0, %s", c, u, a.status, a.body, answers[u][0].body)
			}
		}
	}
	if got := s.users("acme"); len(got) != users {
		t.Errorf("there are %d users, want %d", len(got), users)
	}
	if got := s.stored(s.nats(), stream.StreamResults); len(got) != users {
		t.Errorf("there are %d results, want %d", len(got), users)
	}
}

// A gate lets callers pass while it is open.
type gate struct {
	mu   sync.Mutex
	pass chan struct{}
}

func newGate() *gate {
	g := &gate{pass: make(chan struct{})}
	close(g.pass)
	return g
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pass = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.pass)
}

func (g *gate) wait(done <-chan struct{}) {
	g.mu.Lock()
	pass := g.pass
	g.mu.Unlock()
	select {
	case <-pass:
	case <-done:
	}
}
