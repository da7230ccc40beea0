package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/worker/stream"
)

// TestPlainClientAndOneWorker is the first way through the product: run, apply, a token sent by the plain client.
func TestPlainClientAndOneWorker(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.child() // before there is any directory
	s.apply()
	s.firstLogin(t)
}

// TestPlainClientAndTwoWorkers is the same on a nats-server and PostgreSQL, with many logins and a worker that is killed.
func TestPlainClientAndTwoWorkers(t *testing.T) {
	t.Parallel()
	s := clusterSite(t)
	one, two := s.child(), s.child()
	s.firstLogin(t)

	const logins = 400
	conn := s.nats()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	bodies := make([][]byte, logins)
	for i := range bodies {
		claims := s.issuer.Claims(fmt.Sprintf("user-%d", i), "idpsync")
		claims["email"], claims["email_verified"], claims["name"] = fmt.Sprintf("user-%d@acme.example", i), true, "Somebody"
		if bodies[i], err = kit.Login(s.issuer.Sign(claims)); err != nil {
			t.Fatal(err)
		}
	}
	publish := func(from, to int) {
		t.Helper()
		failures := make(chan error, logins)
		var sending sync.WaitGroup
		for i := from; i < to; i++ {
			sending.Go(func() {
				m := natsMessage("idpsync.login."+acme+".okta", fmt.Sprintf("login-%d", i), nil, string(bodies[i]))
				if _, err := js.PublishMsg(s.ctx, m); err != nil {
					failures <- err
				}
			})
		}
		sending.Wait()
		if len(failures) > 0 {
			t.Fatal("publishing fails with ", <-failures)
		}
	}
	before := s.state(conn, stream.StreamResults).Msgs
	results := func() int { return int(s.state(conn, stream.StreamResults).Msgs - before) } //nolint:gosec // a count
	publish(0, logins/2)
	s.eventually("the first half", func() bool { return results() == logins/2 })
	t.Logf("the first worker created %d users, the second %d", one.created(t), two.created(t))
	if n := one.created(t) + two.created(t); n != 1+logins/2 {
		t.Errorf("the workers count %d users, want %d", n, 1+logins/2)
	}
	two.kill() // while it has nothing in hand; what it held would come back after AckWait
	publish(logins/2, logins)
	s.eventually("the second half", func() bool { return results() == logins })
	if users := s.users("acme"); len(users) != 1+logins {
		t.Errorf("there are %d users, want %d", len(users), 1+logins)
	}
	one.stop()
}

// firstLogin sends one login as a plain client does, and looks for what it made.
func (s *site) firstLogin(t *testing.T) {
	t.Helper()
	conn := s.nats()
	results, err := conn.SubscribeSync("idpsync.result." + strings.ToLower(acme) + ".okta.created")
	if err != nil {
		t.Fatal(err)
	}
	got := s.login(t, conn, acme, "first", "ada", map[string]any{"name": "Ada Lovelace"})
	if got.status != 201 {
		t.Fatalf("the first login is answered by %d %s, want 201", got.status, got.body)
	}
	if _, err := results.NextMsgWithContext(s.ctx); err != nil {
		t.Error(err)
	}
	if again := s.login(t, conn, acme, "second", "ada", nil); again.status != 200 {
		t.Errorf("the second login is answered by %d %s, want 200", again.status, again.body)
	}
	users := s.users("acme")
	if len(users) != 1 || users[0].Email != "ada@acme.example" || users[0].Name != "Ada Lovelace" || users[0].CreatedBy != "okta" {
		t.Errorf("the users are %+v, want Ada Lovelace alone, created by okta", users)
	}
}

// created returns how many users a worker counts as created.
func (r *running) created(t *testing.T) int {
	t.Helper()
	req, err := http.NewRequestWithContext(r.s.ctx, http.MethodGet, r.admin+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	n := 0.0
	lines := bufio.NewScanner(io.LimitReader(res.Body, 1<<20))
	for lines.Scan() {
		if line := lines.Text(); strings.HasPrefix(line, "idpsync_events_total{") && strings.Contains(line, `outcome="created"`) {
			value, err := strconv.ParseFloat(line[strings.LastIndex(line, " ")+1:], 64)
			if err != nil {
				t.Fatal(err)
			}
			n += value
		}
	}
	return int(n)
}
