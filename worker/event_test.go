package worker_test

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
	"github.com/idpsync/idpsync/worker/workertest"
)

// TestSenderNamesTheEventAlikeAtEveryDoor names events in every header that may, and looks under which id they were processed.
func TestSenderNamesTheEventAlikeAtEveryDoor(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	p := d.Start()
	token := d.Credential(acme, "user")
	ce := func(id string) providers.Header {
		return providers.Header{"ce-id": {id}, "ce-source": {"/test"}, "ce-type": {"t"}, "ce-specversion": {"1.0"}}
	}
	all := ce("1")
	maps.Copy(all, providers.Header{"Idpsync-Event-Id": {"2"}, "Idempotency-Key": {"3"}, "Nats-Msg-Id": {"4"}})
	for name, test := range map[string]struct {
		header providers.Header
		want   string
	}{
		"all of them":          {all, "1"},
		"without a CloudEvent": {providers.Header{"Idpsync-Event-Id": {"2"}, "Idempotency-Key": {"3"}, "Nats-Msg-Id": {"4"}}, "2"},
		"key and message id":   {providers.Header{"Idempotency-Key": {"3"}, "Nats-Msg-Id": {"4"}}, "3"},
		"message id alone":     {providers.Header{"Nats-Msg-Id": {"4"}}, "4"},
		"in another case":      {providers.Header{"idempotency-key": {"3"}, "nats-msg-id": {"4"}}, "3"},
	} {
		for _, door := range []providers.Door{providers.DoorStream, providers.DoorRPC, providers.DoorHTTP} {
			t.Run(name+" "+string(door), func(t *testing.T) {
				unique := fmt.Sprintf("%s-%s-", test.want, door) + name // the order is what counts
				header := providers.Header{"Authorization": {"Bearer " + token}, "X-Tenant-ID": {acme}}
				for k, v := range test.header {
					header[k] = v
					if v[0] == test.want {
						header[k] = []string{unique}
					} else if k == "Nats-Msg-Id" || k == "nats-msg-id" { // or the broker takes the next one for a duplicate
						header[k] = []string{"not " + unique}
					}
				}
				body := workertest.Payload(map[string]any{"email": fmt.Sprintf("p%d@acme.example", time.Now().UnixNano()), "name": "P", "auth_provider": "oidc"})
				if door == providers.DoorStream {
					d.PublishWith("idpsync.command."+acme+".v1.users.create", "", body, header)
					if r := d.Await(unique); r.Status != 201 {
						t.Errorf("the result has status %d, want 201: %s", r.Status, r.Data)
					}
					return
				}
				answer, h := p.Submit(d.Ctx, worker.Submission{
					Subject: "idpsync.rpc." + acme + ".v1.users.create", Door: door, Header: header, Payload: body, ReceivedAt: time.Now(),
				})
				if got := h.Get(record.HeaderEventID); got != unique || answer.Status != 201 {
					t.Errorf("the event was processed as %q with status %d, want %q and 201: %s", got, answer.Status, unique, answer.Body)
				}
			})
		}
	}
}

// TestEventThatWasStoredBeforeAnUpgradeKeepsItsID has an event take effect under the id that it had while Nats-Msg-Id came
// first, and delivers it again.
func TestEventThatWasStoredBeforeAnUpgradeKeepsItsID(t *testing.T) {
	for name, test := range map[string]struct {
		header providers.Header
		now    string // its id in this version
		former func(seq uint64, created time.Time) string
	}{
		"named by its sender":              {providers.Header{"Idpsync-Event-Id": {"new"}}, "new", func(uint64, time.Time) string { return "new" }},
		"named by its message id":          {providers.Header{"Idpsync-Event-Id": {"new"}, "Nats-Msg-Id": {"old"}}, "new", func(uint64, time.Time) string { return "old" }},
		"named by its place in the stream": {providers.Header{"Idempotency-Key": {"new"}}, "new", func(seq uint64, created time.Time) string { return fmt.Sprintf("%d-%d", created.Unix(), seq) }},
		"without any name":                 {nil, "", func(seq uint64, created time.Time) string { return fmt.Sprintf("%d-%d", created.Unix(), seq) }},
	} {
		for _, stranded := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, stranded %v", name, stranded), func(t *testing.T) {
				t.Parallel()
				d := workertest.New(t, workertest.Options{})
				p := d.Process(workertest.Mortal)
				p.On(fault.At(fault.BeforePublish, func(context.Context, fault.Call) error { return p.Die() }))
				p.Run()
				seq := d.PublishWith(okta, "", d.Login(d.Person("ada")), test.header)
				p.AwaitDeath()
				held, err := stream.ReadHolding(d.Ctx, d.Conn, stream.StreamEvents)
				if err != nil {
					t.Fatal(err)
				}
				old := test.former(seq, held.Created)
				rename(t, d.Database(), test.now, old, record.Origin{Stream: stream.StreamEvents, Created: held.Created, Sequence: seq}.String())
				if stranded {
					d.Eventually("for the broker to give up", func() bool {
						if d.State().Stranded == 0 {
							d.Exhaust(record.LaneLogins, 1)
						}
						return d.State().Stranded == 1
					})
				}
				d.Start()
				if r := d.Await(old); r.Status != 201 {
					t.Errorf("the result has status %d, want the 201 of the first delivery", r.Status)
				}
				if results, letters := d.AllResults(), d.AllLetters(); len(results) != 1 || len(letters) != 0 {
					t.Errorf("there are %d results and %d dead letters, want 1 and none", len(results), len(letters))
				}
			})
		}
	}
}

// rename gives a row of the ledger another event id, and the origin that earlier versions wrote.
func rename(t *testing.T, o store.Options, from, to, origin string) {
	t.Helper()
	db, err := sql.Open("sqlite", o.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.Exec("pragma busy_timeout = 10000"); err != nil {
		t.Fatal(err)
	}
	res, err := db.Exec("update events set event_id = ?, origin = ? where event_id = ? or (? = '' and event_id like '1%-%-1%')", to, origin, from, from)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		t.Fatalf("%d rows of the ledger were renamed, with the error %v; want 1", n, err)
	}
}

// TestForeignMessageIDSuppressesNoEvent floods the stream with messages of another tenant under the id of an event.
func TestForeignMessageIDSuppressesNoEvent(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.Start()
	flooding, stop := context.WithCancel(d.Ctx)
	begun, done := make(chan struct{}), make(chan error, 1)
	d.Raw(func(js jetstream.JetStream) error {
		go func() {
			for n := 0; ; n++ {
				m := &nats.Msg{Subject: "idpsync.login." + globex + ".okta", Data: []byte("{}"), Header: nats.Header{"Nats-Msg-Id": {"hire-1"}}}
				if _, err := js.PublishMsg(d.Ctx, m); err != nil || flooding.Err() != nil {
					done <- err
					return
				}
				if n == 1 {
					close(begun)
				}
			}
		}()
		return nil
	})
	<-begun
	token := d.Credential(acme, "user")
	h := providers.Header{"Authorization": {"Bearer " + token}, "X-Tenant-ID": {acme}, record.HeaderEventID: {"hire-1"}}
	body := workertest.Payload(map[string]any{"email": "ada@acme.example", "name": "Ada", "auth_provider": "oidc"})
	_, err := stream.PublishEvent(d.Ctx, d.Conn, record.Outgoing{Subject: workertest.FeedSubject(acme, "workday"), Header: h, Data: body})
	stop()
	if flood := <-done; flood != nil {
		t.Errorf("the flood ended with the error %v", flood)
	}
	if err != nil {
		t.Fatalf("the event of acme is not stored: %v", err)
	}
	d.Results.Await(1, "of the event of acme", func(r workertest.Record) bool { return r.EventID == "hire-1" && r.Status == 201 })
}

// Who sends a faulty event waits for an answer under the id that it gave.
func TestAFaultyEventIsAnsweredUnderItsSendersID(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.Start()
	login := workertest.LoginSubject(acme, "okta")
	structured := func(text string) []byte { return []byte(text) }
	for id, c := range map[string]struct {
		subject string
		header  providers.Header
		body    []byte
	}{
		"no-such-version":   {login, providers.Header{"ce-id": {"no-such-version"}, "ce-specversion": {"9.9"}, "ce-type": {"t"}, "ce-source": {"/s"}}, []byte("{}")},
		"no-type":           {login, providers.Header{"ce-id": {"no-type"}, "ce-specversion": {"1.0"}, "ce-source": {"/s"}}, []byte("{}")},
		"percent encoded":   {login, providers.Header{"ce-id": {"percent%20encoded"}, "ce-specversion": {"9.9"}}, []byte("{}")},
		"structured":        {login, providers.Header{"Content-Type": {"application/cloudevents+json"}}, structured(`{"specversion":"9.9","id":"structured","type":"t","source":"/s","data":{}}`)},
		"cut-off":           {login, providers.Header{"Content-Type": {"application/cloudevents+json"}}, structured(`{"specversion":"1.0","id":"cut-off","type":`)},
		"by our own header": {login, providers.Header{record.HeaderEventID: {"by our own header"}, "ce-specversion": {"9.9"}}, []byte("{}")},
		"faulty-subject":    {"idpsync.login." + acme + ".No_Source", providers.Header{"ce-id": {"faulty-subject"}, "ce-specversion": {"1.0"}, "ce-type": {"t"}, "ce-source": {"/s"}}, []byte("{}")},
	} {
		d.PublishWith(c.subject, "", c.body, c.header)
		if r := d.Await(id); r.Code != record.CodeMalformed {
			t.Errorf("%s gets %d %s, want malformed", id, r.Status, r.Data)
		}
		if letter := d.AwaitLetter(id); letter.Code != record.CodeMalformed {
			t.Errorf("the dead letter of %s has the code %s, want malformed", id, letter.Code)
		}
	}
	two := d.PublishWith(login, "", structured(`{"id":"one","id":"two"}`), providers.Header{"Content-Type": {"application/cloudevents+json"}})
	d.Letters.Await(8, "dead letters of all", func(workertest.Record) bool { return true })
	if got := len(d.Results.Of("one")) + len(d.Results.Of("two")); got != 0 {
		t.Errorf("message %d has two ids, and %d results under one of them; want none", two, got)
	}
}
