package main

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/worker/stream"
)

// TestNothingForgedIsShown has a tenant ask for answers on subjects of another one, and puts messages there that only look
// like those of workers. What the verbs show stays the same, and they say how many messages they passed over.
func TestNothingForgedIsShown(t *testing.T) {
	t.Parallel()
	s := embeddedSite(t)
	r := s.worker()
	conn := s.nats()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	q := queue{s, js}
	logins, token := "idpsync.login."+acme+".okta", s.credential("acme", "user")
	q.event(logins, "ada", "", q.login("ada"))
	q.event(logins, "forged", "", `{"id_token":"no token"}`)
	s.eventually("all to be done", func() bool {
		settled, _ := s.prove()
		return settled.Events.Waiting == 0 && settled.Results == 2
	})
	tail, list, replays := []string{"tail", "--once", "--json"}, []string{"dlq", "list", "--json"}, s.state(conn, stream.StreamReplays).LastSeq
	shown := map[string]string{"tail": s.do("", tail...).stdout, "dlq list": s.do("", list...).stdout}

	ask := func(reply, body string) {
		t.Helper()
		m := &nats.Msg{Subject: "idpsync.rpc." + acme + ".v1.users.create", Reply: reply, Data: []byte(body), Header: nats.Header{"Authorization": {"Bearer " + token}, "X-Tenant-ID": {acme}}}
		if err := conn.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	for _, reply := range []string{
		"idpsync.result." + globex + ".okta.created", "idpsync.deadletter." + globex + ".okta.malformed", "idpsync.login." + globex + ".okta",
		"idpsync.replay." + globex + ".op", "$JS.API.STREAM.PURGE." + stream.StreamResults,
	} {
		ask(reply, `{"email":"eve@acme.example","name":"Eve","auth_provider":"oidc"}`)
	}
	s.eventually("the worker to count what it does not answer", func() bool {
		return strings.Contains(r.metrics(t), "idpsync_rpc_reply_refused_total 5")
	})
	if n := len(s.users("acme")); n != 1 {
		t.Errorf("there are %d users, want ada alone: requests that get no answer have no effect", n)
	}
	if now := s.state(conn, stream.StreamReplays).LastSeq; now != replays {
		t.Errorf("the stream of replays went from %d to %d, want no message more", replays, now)
	}

	// The broker acknowledges to any reply subject that a publisher names.
	for _, reply := range []string{"idpsync.result." + globex + ".okta.created", "idpsync.deadletter." + globex + ".okta.malformed"} {
		m := &nats.Msg{Subject: "idpsync.feed." + acme + ".undeclared", Reply: reply, Data: []byte("{}")}
		if err := conn.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	genuine := s.stored(conn, stream.StreamDeadLetters)[0]
	header := map[string]string{}
	for name := range genuine.Header {
		header[name] = genuine.Header.Get(name)
	}
	header["Nats-Msg-Id"], header["Idpsync-Dl-Event-Id"] = "dl/forged", "another"
	forged := q.publish(genuine.Subject, header, string(genuine.Data))
	q.publish("idpsync.result."+globex+".okta.created", map[string]string{"Idpsync-Status": "201", "Idpsync-Outcome": "created"}, "{}")

	s.eventually("the event of the publisher to be done", func() bool {
		settled, _ := s.prove()
		return settled.Events.Waiting == 0
	})
	account, code := s.prove()
	if code != kit.ExitOK || account.Foreign.Results != 2 || account.Foreign.DeadLetters != 2 {
		t.Errorf("prove exits with %d and passes over %d results and %d dead letters, want 0, 2 and 2: %q", code, account.Foreign.Results, account.Foreign.DeadLetters, account.Unaccounted)
	}
	for name, args := range map[string][]string{"tail": append(tail, "--source", "okta"), "dlq list": append(list, "--source", "okta")} {
		p := s.do("", args...)
		if p.stdout != shown[name] {
			t.Errorf("%s shows\n%s\nwant what it showed before:\n%s", name, p.stdout, shown[name])
		}
		if !strings.Contains(p.stderr, "passed over 2 messages") {
			t.Errorf("%s says %q on standard error, want how many messages it passed over", name, p.stderr)
		}
	}
	unwritten := []uint64{forged}
	for _, m := range s.stored(conn, stream.StreamDeadLetters) {
		if m.Header.Get("Idpsync-Dl-Sig") == "" {
			unwritten = append(unwritten, m.Sequence)
		}
	}
	if len(unwritten) != 2 {
		t.Fatalf("the stream of dead letters holds %v that no worker wrote, want 2", unwritten)
	}
	for _, args := range [][]string{{"dlq", "show"}, {"explain", "--dead-letter"}} {
		for _, seq := range unwritten {
			if p := s.do("", append(args, strconv.FormatUint(seq, 10))...); p.code == kit.ExitOK {
				t.Errorf("%v of message %d, which no worker wrote, exits with 0:\n%s", args, seq, p.stdout)
			}
		}
	}
}

// metrics returns what a worker says on /metrics.
func (r *running) metrics(t *testing.T) string {
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
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
