package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/worker/proof"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

// prove runs idpsync prove and returns what it found, with its exit code.
func (s *site) prove(args ...string) (proof.Account, int) {
	s.t.Helper()
	p := s.do("", append([]string{"prove", "--json"}, args...)...)
	var r proof.Account
	if err := json.Unmarshal([]byte(p.stdout), &r); err != nil {
		s.t.Fatalf("prove: exit %d, %v\n%s%s", p.code, err, p.stdout, p.stderr)
	}
	return r, p.code
}

// A queue publishes events and spoils streams.
type queue struct {
	s  *site
	js jetstream.JetStream
}

func (q queue) publish(subject string, header map[string]string, body string) uint64 {
	q.s.t.Helper()
	m := nats.NewMsg(subject)
	m.Data = []byte(body)
	for name, value := range header {
		m.Header[name] = []string{value}
	}
	ack, err := q.js.PublishMsg(q.s.ctx, m)
	if err != nil {
		q.s.t.Fatal(err)
	}
	return ack.Sequence
}

func (q queue) event(subject, id, token, body string) uint64 {
	q.s.t.Helper()
	return q.publish(subject, map[string]string{"ce-id": id, "ce-source": "/test", "ce-type": "test", "ce-specversion": "1.0", "Authorization": "Bearer " + token, "X-Tenant-ID": acme}, body)
}

func (q queue) remove(name string, seq uint64) {
	q.s.t.Helper()
	st, err := q.js.Stream(q.s.ctx, name)
	if err == nil {
		err = st.DeleteMsg(q.s.ctx, seq)
	}
	if err != nil {
		q.s.t.Fatal(err)
	}
}

func (q queue) login(name string) string {
	q.s.t.Helper()
	claims := q.s.issuer.Claims(name, "idpsync")
	claims["email"], claims["email_verified"], claims["name"] = name+"@acme.example", true, name
	token, err := q.s.issuer.Sign(claims)
	if err != nil {
		q.s.t.Fatal(err)
	}
	return fmt.Sprintf(`{"id_token":%q}`, token)
}

// TestProveAccountsForEveryMessage lets events of every sort have their fates, then spoils what they left behind.
func TestProveAccountsForEveryMessage(t *testing.T) {
	t.Parallel()
	s := embeddedSite(t)
	s.worker()
	js, err := jetstream.New(s.nats())
	if err != nil {
		t.Fatal(err)
	}
	q := queue{s, js}
	logins, commands := "idpsync.login."+acme+".okta", "idpsync.command."+acme+".v1.users.create"
	token := s.credential("acme", "user")
	user := `{"email":"grace@acme.example","name":"Grace","auth_provider":"oidc"}`
	ada := q.login("ada")
	var settled proof.Account
	q.event(logins, "forged", "", `{"id_token":"no token"}`)
	s.eventually("the first result to be another one than the one that is taken away", func() bool {
		settled, _ = s.prove()
		return settled.Results == 1
	})
	q.event(logins, "ada", "", ada)
	q.event(logins, "bob", "", q.login("bob"))
	q.event(commands, "grace", token, user)
	s.eventually("all to be done", func() bool {
		settled, _ = s.prove()
		return settled.Events.Waiting == 0
	})
	q.event(logins, "ada", "", ada) // sent again
	q.event(commands, "grace too", token, user)
	s.eventually("all to be done", func() bool {
		var code int
		settled, code = s.prove()
		if code != kit.ExitOK {
			t.Fatalf("prove ends with exit %d and %+v, want %d", code, settled, kit.ExitOK)
		}
		return settled.Events.Waiting == 0
	})
	if e := settled.Events; e.Stored != 6 || e.Effects != 3 || e.DeadLetters != 1 || e.Refused != 1 || e.SentAgain != 1 || e.Untraced != 0 {
		t.Errorf("the events are %+v, want 6 stored: 3 effects, 1 dead letter, 1 refused, 1 sent again", e)
	}
	if l := settled.Ledger; l.Rows != 3 || l.Told != 3 || settled.Results != 5 || settled.DeadLetters != 1 {
		t.Errorf("the account is %+v, want 3 rows, all told, 5 results and 1 dead letter", settled)
	}
	if r, code := s.prove("--since", "1h"); code != kit.ExitOK || r.Events.Stored != 6 || r.Events.Untraced != 0 {
		t.Errorf("prove since an hour ends with exit %d and %+v, want %d and all 6 events traced", code, r, kit.ExitOK)
	}

	lower := strings.ToLower(acme)
	s.write("published", acme+"/okta/ada\n"+acme+"/okta/forged\n"+lower+"/admin/grace too\n\n"+acme+"/okta/never\n")
	r, code := s.prove("--expected", s.path("published"))
	if code != kit.ExitFailure || r.Expected.Events != 4 || r.Expected.Found != 3 || len(r.Unaccounted) != 1 || r.Unaccounted[0].ID != lower+"/okta/never" {
		t.Errorf("prove with a list ends with exit %d and %+v, want %d and 3 of 4 events found", code, r, kit.ExitFailure)
	}
	if p := s.do("", "prove", "--expected", s.path("nowhere")); p.code != kit.ExitUsage {
		t.Errorf("prove without the list ends with exit %d, want %d", p.code, kit.ExitUsage)
	}

	s.spoil(q, logins, lower)
	r, code = s.prove()
	if code != kit.ExitFailure {
		t.Errorf("prove of what was spoiled ends with exit %d, want %d", code, kit.ExitFailure)
	}
	var got []string
	for _, f := range append(r.Unaccounted, r.Duplicated...) {
		got = append(got, strings.TrimPrefix(f.ID, lower+"/")+" "+f.What)
	}
	want := []string{
		"okta/ada had its effect, and its result was never published",
		"okta/ghost has a result, and the ledger knows nothing of its effect",
		"okta/buried dead letter 2 has no rejected result",
		"okta/bob has two results: " + lower + "/okta/bob/0 and " + lower + "/okta/bob/1",
		"okta/bob has a result, and the ledger knows nothing of its effect",
		"left the stream, and nothing tells what became of it",
		"okta/bob had an effect, and was rejected as a repeat afterwards",
		"okta/lost was rejected, and its dead letter IDPSYNC_EVENTS/1/9/0 is not there",
	}
	for _, w := range want {
		i := slices.IndexFunc(got, func(g string) bool { return strings.HasSuffix(g, w) })
		if i < 0 {
			t.Errorf("prove does not find what was spoiled: want %s", w)
			continue
		}
		got = slices.Delete(got, i, i+1)
	}
	if len(got) > 0 || r.UnaccountedCount+r.DuplicatedCount != len(want) {
		t.Errorf("prove finds without a reason %q, want %d findings", got, len(want))
	}
	if text := s.do("", "prove", "--limit", "1"); !strings.Contains(text.stdout, "and 5 more") || text.code != kit.ExitFailure {
		t.Errorf("prove with a limit of one ends with exit %d, want %d and 5 more\n%s", text.code, kit.ExitFailure, text.stdout)
	}
}

// spoil does to the streams what no worker does.
func (s *site) spoil(q queue, logins, tenant string) {
	s.t.Helper()
	ctx := s.ctx
	c, err := stream.ReadCredentials(s.environ["IDPSYNC_DATA_DIR"])
	if err != nil {
		s.t.Fatal(err)
	}
	conn, err := stream.Connect(ctx, c.Options())
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()

	for m, err := range stream.Results(ctx, conn, stream.Filter{}) { // a result that was never published
		if err != nil {
			s.t.Fatal(err)
		}
		if m.Header.Get("Idpsync-Event-Id") == "ada" {
			q.remove(stream.StreamResults, m.Sequence)
		}
	}
	result := func(id, outcome, letter string) {
		id = tenant + "/okta/" + id
		header := map[string]string{"Nats-Msg-Id": id, "ce-id": id, "ce-source": "/idpsync/" + tenant + "/okta", "Idpsync-Status": "201", "Idpsync-Outcome": outcome}
		if letter != "" {
			header["Idpsync-Dead-Letter"] = letter
		}
		q.publish("idpsync.result."+tenant+".okta."+outcome, header, "{}")
	}
	result("ghost/0", "created", "") // an effect that the ledger does not have
	result("bob/1", "updated", "")   // a second effect
	result("bob/0/IDPSYNC_EVENTS/1/8", "rejected", "")
	result("lost/0/IDPSYNC_EVENTS/1/9", "rejected", "dl/IDPSYNC_EVENTS/1/9/0")
	q.publish("idpsync.deadletter."+tenant+".okta.malformed", map[string]string{ // of an event that has no result
		"Idpsync-Dl-Origin": "IDPSYNC_EVENTS/1/7", "Idpsync-Dl-Tenant": tenant, "Idpsync-Dl-Source": "okta", "Idpsync-Dl-Event-Id": "buried",
		"Idpsync-Dl-Code": "malformed", "Idpsync-Dl-Time": time.Now().UTC().Format(time.RFC3339Nano), "Idpsync-Dl-Key-Id": "of another deployment", "Idpsync-Dl-Sig": "AAAA",
	}, "")

	if err := stream.Pause(ctx, conn, record.LaneLogins, time.Now().Add(time.Hour)); err != nil { // an event that somebody took away
		s.t.Fatal(err)
	}
	q.remove(stream.StreamEvents, q.event(logins, "taken", "", q.login("taken")))
}
