package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/worker/proof"
)

// TestEveryRoleOfTheShippedBrokerDoesItsWork runs the verbs as the users of deploy/nats-server.conf, with the settings that its
// comments name, and has each do what it is there for.
func TestEveryRoleOfTheShippedBrokerDoesItsWork(t *testing.T) { // not parallel: the configuration takes its passwords from the environment
	roles := map[string]map[string]string{
		"migrate":      {"NATS_INBOX_PREFIX": "_INBOX.migrate"},
		"worker":       {"NATS_INBOX_PREFIX": "_INBOX.worker"},
		"alice":        {"NATS_INBOX_PREFIX": "_INBOX.operator.alice", "NATS_CONSUMERS": "alice-1,alice-2", "OPERATOR": "alice"},
		"acme-login":   {"NATS_INBOX_PREFIX": "_INBOX." + strings.ToLower(acme) + ".login"},
		"acme-waiting": {"NATS_INBOX_PREFIX": "_INBOX." + strings.ToLower(acme) + ".waiting", "NATS_CONSUMERS": "acme-waiting"},
		"acme-hr":      {"NATS_INBOX_PREFIX": "_INBOX." + strings.ToLower(acme) + ".hr"},
		"acme-admin":   {"NATS_INBOX_PREFIX": "_INBOX." + strings.ToLower(acme) + ".admin"},
		"acme-reader":  {"NATS_INBOX_PREFIX": "_INBOX." + strings.ToLower(acme) + ".reader", "NATS_CONSUMERS": "acme-reader"},
	}
	for name := range roles {
		t.Setenv("NATS_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))+"_PASSWORD", "pw-"+name)
	}
	t.Setenv("NATS_SYS_PASSWORD", "pw-sys")
	s := newSite(t)
	shipped, err := os.ReadFile(moduleRoot + "/deploy/nats-server.conf")
	if err != nil {
		t.Fatal(err)
	}
	s.write("nats-server.conf", strings.Replace(string(shipped), `"/var/lib/nats"`, strconv.Quote(s.path("broker")), 1))
	address := strings.TrimPrefix(s.natsServer("-c", s.path("nats-server.conf")), "nats://")
	as := func(user string) {
		for _, key := range []string{"NATS_CONSUMERS", "OPERATOR"} {
			delete(s.environ, "IDPSYNC_"+key)
		}
		s.environ["IDPSYNC_NATS_URL"] = "nats://" + user + ":pw-" + user + "@" + address
		for key, value := range roles[user] {
			s.environ["IDPSYNC_"+key] = value
		}
	}
	as("migrate")
	s.must("migrate")
	s.apply()
	token := s.credential("acme", "user")
	s.write("token", token)
	as("worker")
	r := s.worker()
	if strings.Contains(r.stderr.String(), "permission") {
		t.Errorf("the worker lacks a permission:\n%s", r.stderr)
	}

	login := func(name string) string {
		claims := s.issuer.Claims(name, "idpsync")
		claims["email"], claims["email_verified"], claims["name"] = name+"@acme.example", true, name
		token, err := s.issuer.Sign(claims)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	send := func(user, body string, want int, args ...string) {
		t.Helper()
		as(user)
		if p := s.do(body, append(append([]string{"send"}, args...), "--tenant", acme, "-")...); p.code != want {
			t.Fatalf("%s sends %v with exit code %d, want %d:\n%s%s", user, args, p.code, want, p.stdout, p.stderr)
		}
	}
	send("acme-waiting", login("ada"), kit.ExitOK, "login", "--source", "okta", "--wait")
	send("acme-waiting", login("ada"), kit.ExitOK, "login", "--source", "okta", "--wait")
	send("acme-login", login("bob"), kit.ExitOK, "login", "--source", "okta")
	send("acme-login", login("eve")+"x", kit.ExitOK, "login", "--source", "okta", "--id", "forged")
	for _, via := range []string{"rpc", "stream"} {
		send("acme-admin", fmt.Sprintf(`{"email":"%s@acme.example","name":"X","auth_provider":"oidc"}`, via), kit.ExitOK, "command", "--token-file", s.path("token"), "--via", via)
	}

	as("alice")
	var settled proof.Account
	s.eventually("all to be done", func() bool {
		settled, _ = s.prove()
		return settled.Events.Waiting == 0 && settled.Ledger.Rows == 5
	})
	if account, code := s.prove(); code != kit.ExitOK || account.Events.Stored != 5 || account.DeadLetters != 1 {
		t.Errorf("the operator proves %d events and %d dead letters with exit code %d, want 5, 1 and 0: %q", account.Events.Stored, account.DeadLetters, code, account.Unaccounted)
	}
	if p := s.do("", "dlq", "show", "1"); p.code != kit.ExitOK || !strings.Contains(p.stdout, "forged") {
		t.Errorf("the operator is shown a dead letter with exit code %d:\n%s%s", p.code, p.stdout, p.stderr)
	}
	if p := s.do("", "explain", "--dead-letter", "1"); p.code != kit.ExitOK {
		t.Errorf("the operator has a dead letter explained with exit code %d:\n%s%s", p.code, p.stdout, p.stderr)
	}
	if p := s.do("", "dlq", "replay", "1", "--yes"); p.code != kit.ExitFailure || !strings.Contains(p.stdout, "1 of 1 done") {
		t.Errorf("the operator replays with exit code %d:\n%s%s", p.code, p.stdout, p.stderr)
	}
	var letters []deadLetter
	if err := json.Unmarshal([]byte(s.must("dlq", "list", "--state", "replayed", "--json")), &letters); err != nil || len(letters) != 1 || letters[0].By != "alice, said "+operator() {
		t.Errorf("the replayed dead letters are %d with the error %v, want one by alice: %+v", len(letters), err, letters)
	}
	for user, want := range map[string]int{"alice": 7, "acme-reader": 7} {
		as(user)
		p := s.do("", "tail", "--once", "--since", "1h", "--tenant", acme, "--json")
		if n := strings.Count(p.stdout, "\n"); p.code != kit.ExitOK || n != want {
			t.Errorf("%s is shown %d results with exit code %d, want %d:\n%s", user, n, p.code, want, p.stderr)
		}
	}
	if strings.Contains(r.stderr.String(), "permission missing") {
		t.Errorf("the worker lacks a permission:\n%s", r.stderr)
	}
}
