package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
)

// Two senders of a tenant give two events the same id. Every verb that reads the ledger tells them apart.
func TestVerbsTellTheEventsOfTwoSendersApart(t *testing.T) {
	t.Parallel()
	s := embeddedSite(t)
	s.worker()
	js, err := jetstream.New(s.nats())
	if err != nil {
		t.Fatalf("open JetStream: %v", err)
	}
	q := queue{s, js}
	commands := "idpsync.command." + acme + ".v1.users.create"
	body := func(name string) string {
		return `{"email":"` + name + `@acme.example","name":"` + name + `","auth_provider":"oidc"}`
	}
	tokens := map[string]string{}
	for _, name := range []string{"hr", "payroll"} {
		tokens[name] = strings.TrimSpace(s.must("credential", "create", "--tenant", "acme", "--name", name, "--grants", "user"))
	}
	q.event(commands, "order-1", tokens["hr"], body("ada"))
	q.event(commands, "order-1", tokens["payroll"], body("bob"))
	q.event(commands, "order-2", tokens["hr"], body("cyd"))
	s.eventually("all to be done", func() bool {
		a, code := s.prove()
		return a.Ledger.Rows == 3 && a.Events.Waiting == 0 && code == kit.ExitOK
	})
	q.event(commands, "order-2", tokens["payroll"], body("cyd")) // an ordinary repeat, and none of the first sender's event
	lower := strings.ToLower(acme)
	s.write("published", lower+"/admin/order-1\n"+lower+"/admin/order-2\n")
	s.eventually("the repeat to be refused", func() bool {
		a, code := s.prove("--expected", s.path("published"))
		if code != kit.ExitOK {
			t.Fatalf("prove ends with %d and finds %q and %q, wanted nothing", code, a.Unaccounted, a.Duplicated)
		}
		return a.Events.Waiting == 0 && a.Events.Refused == 1
	})
	if a, code := s.prove("--since", "1h"); code != kit.ExitOK || a.Ledger.Rows != 3 {
		t.Errorf("prove --since ends with %d, %d rows, %q and %q, wanted 3 rows and nothing found", code, a.Ledger.Rows, a.Unaccounted, a.Duplicated)
	}

	s.write("payroll.token", tokens["payroll"])
	s.write("dan.json", body("dan"))
	q.event(commands, "order-3", tokens["hr"], body("eve"))
	s.eventually("the first sender's event to be done", func() bool {
		a, _ := s.prove()
		return a.Ledger.Rows == 4 && a.Ledger.Told == 4
	})
	sent := s.must("send", "command", "--tenant", acme, "--token-file", s.path("payroll.token"), "--id", "order-3", "--wait", "--json", s.path("dan.json"))
	if !strings.Contains(sent, "dan@acme.example") {
		t.Errorf("send shows %s as the answer, wanted the one to its own event", sent)
	}

	for name, want := range map[string][]string{"hr": {"order-1", "order-2", "order-3"}, "payroll": {"order-1", "order-3"}} {
		id := strings.Split(tokens[name], "_")[1]
		var events []eventItem
		if err := json.Unmarshal([]byte(s.must("get", "events", "--credential", id, "--json")), &events); err != nil {
			t.Fatalf("read what get events prints: %v", err)
		}
		var got []string
		for _, e := range events {
			got = append(got, e.EventID)
			if e.Credential != id || e.Scope != "credential/"+name {
				t.Errorf("the event %s of %s has the credential %q and the scope %q, want %q and %q", e.EventID, name, e.Credential, e.Scope, id, "credential/"+name)
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("get events --credential of %s lists %q, wanted %q", name, got, want)
		}
	}

	both := s.do("", "explain", "--event", lower+"/admin/order-1")
	if both.code != kit.ExitUsage || !strings.Contains(both.stderr, "credential/hr, credential/payroll") || !strings.Contains(both.stderr, "--scope") {
		t.Errorf("explain of an id that two senders used ends with %d and says %q, wanted both and --scope", both.code, both.stderr)
	}
	one := s.must("explain", "--event", lower+"/admin/order-1", "--scope", "credential/payroll")
	if !strings.Contains(one, "bob@acme.example") || strings.Contains(one, "ada@") {
		t.Errorf("explain of the second sender's event says %s, wanted bob's", one)
	}
	if s.must("explain", "--event", lower+"/admin/order-2"); s.do("", "explain", "--event", lower+"/admin/order-2", "--scope", "credential/payroll").code != kit.ExitPending {
		t.Error("explain finds an event in a scope that has none")
	}
}
