package record_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

// storedResult is the result of an answer as the broker stores it.
func storedResult(a record.Answer, tenant, source, eventID string) record.Stored {
	out := a.Result(tenant, source, eventID)
	out.Header["Nats-Msg-Id"] = []string{out.ID}
	return record.Stored{Subject: out.Subject, Header: out.Header, Data: out.Data, StoredAt: time.Unix(1_800_000_001, 0).UTC()}
}

// TestReadResultReadsWhatWasWritten has event ids that hold what also separates the parts of an id.
func TestReadResultReadsWhatWasWritten(t *testing.T) {
	at := time.Date(2026, 11, 28, 1, 2, 3, 4000, time.UTC)
	origin := record.Origin{Stream: "IDPSYNC_EVENTS", Created: time.Unix(1_700_000_000, 0).UTC(), Sequence: 9}
	exact := origin
	exact.At = time.Unix(1_700_000_009, 123_456_789).UTC()
	received := time.Unix(0, 1_800_000_000_123_456_789).UTC()
	for name, test := range map[string]struct {
		answer                 record.Answer
		tenant, source, id     string
		origin                 record.Origin
		received               time.Time
		scope, credential, who string
	}{
		"created":                        {tenant: lower, source: "okta", id: "login-1", who: "u1"},
		"an id with slashes":             {tenant: lower, source: "okta", id: "a/0/b//1"},
		"an id like an origin":           {tenant: lower, source: "okta", id: "a/0/IDPSYNC_EVENTS/1/2"},
		"an empty last part":             {tenant: lower, source: "okta", id: "a/"},
		"text that headers can't carry":  {tenant: lower, source: "okta", id: "msg 1 % ü"},
		"a scope":                        {tenant: lower, source: "admin", id: "order/1", scope: "jwt/okta/a b@ü", credential: "c1"},
		"a replay":                       {answer: record.Answer{Attempt: 12}, tenant: lower, source: "okta", id: "login-1"},
		"rejected":                       {tenant: lower, source: "okta", id: "login-1", origin: origin},
		"rejected, named in full":        {tenant: lower, source: "okta", id: "login-1", origin: exact},
		"rejected in full, with slashes": {tenant: lower, source: "okta", id: "x/1/2/3", origin: exact},
		"rejected, an id with slashes":   {answer: record.Answer{Attempt: 3}, tenant: lower, source: "okta", id: "x/y/0/received/7", origin: origin, scope: "credential/hr"},
		"rejected, by a front door":      {tenant: lower, source: "admin", id: "IDPSYNC_EVENTS/1/2", received: received},
		"rejected, of nobody known":      {id: "1700000000-9", origin: origin},
		"rejected, of no source that is": {tenant: lower, id: "x", received: received},
	} {
		a := test.answer
		a.Status, a.Outcome, a.Body, a.At, a.Scope, a.Credential, a.UserID = 201, record.OutcomeCreated, []byte(`{}`), at, test.scope, test.credential, test.who
		a.Policies, a.Notices, a.Dropped = []string{"p1", "p2"}, []string{"a, b"}, []string{"admin"}
		want := record.Result{
			Reply: record.Reply{
				Status: 201, Outcome: record.OutcomeCreated, EventID: test.id, UserID: test.who, Credential: test.credential,
				Policies: a.Policies, Notices: a.Notices, Dropped: a.Dropped,
			},
			Event:   store.EventKey{TenantID: test.tenant, Source: test.source, EventID: test.id, Scope: test.scope},
			Attempt: a.Attempt, Origin: test.origin, ReceivedAt: test.received, At: at, StoredAt: time.Unix(1_800_000_001, 0).UTC(), Body: a.Body,
		}
		switch {
		case test.origin.Stored():
			a.CameIn, a.DeadLetter = test.origin.String(), record.DeadLetterID(test.origin, a.Attempt)
		case !test.received.IsZero():
			a.CameIn = "received/1800000000123456789"
		}
		if a.CameIn != "" {
			a.Status, a.Outcome = 409, record.OutcomeRejected
			want.Status, want.Outcome, want.DeadLetter = a.Status, a.Outcome, a.DeadLetter
		}
		m := storedResult(a, test.tenant, test.source, test.id)
		want.ID = m.Header.Get("Nats-Msg-Id")
		got, err := record.ReadResult(m)
		if err != nil {
			t.Errorf("%s: the result with the id %s is not read: %v", name, want.ID, err)
			continue
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: the result with the id %s is read as\n%+v\nwant\n%+v", name, want.ID, got, want)
		}
		if reply := record.ReadReply(m.Header); !reflect.DeepEqual(reply, want.Reply) {
			t.Errorf("%s: the reply is read as\n%+v\nwant\n%+v", name, reply, want.Reply)
		}
	}
}

func TestReadResultRefusesWhatNoWorkerWrites(t *testing.T) {
	good := func() record.Stored {
		return storedResult(record.Answer{Status: 409, Outcome: record.OutcomeRejected, CameIn: "IDPSYNC_EVENTS/1/9", Body: []byte(`{}`)}, lower, "okta", "1")
	}
	if _, err := record.ReadResult(good()); err != nil {
		t.Fatalf("a result as workers write it is not read: %v", err)
	}
	for name, spoil := range map[string]func(*record.Stored){
		"no id": func(m *record.Stored) { delete(m.Header, "Nats-Msg-Id") },
		"another tenant's": func(m *record.Stored) {
			m.Subject = record.ResultSubject(upper[:35]+"1", "okta", record.OutcomeRejected)
		},
		"an id without attempt":  id(lower + "/okta/1/IDPSYNC_EVENTS/1/9"),
		"an id without sequence": id(lower + "/okta/1/0/IDPSYNC_EVENTS/1/x"),
		"an id without origin":   id(lower + "/okta/1/0"),
		"an id without event":    id("0/IDPSYNC_EVENTS/1/9"),
		"an id of sequence 0":    id(lower + "/okta/1/0/IDPSYNC_EVENTS/1/0"),
		"another source in it":   id(lower + "/ping/1/0/IDPSYNC_EVENTS/1/9"),
		"nobody in it":           id("_/okta/1/0/IDPSYNC_EVENTS/1/9"),
	} {
		m := good()
		spoil(&m)
		if r, err := record.ReadResult(m); !errors.Is(err, record.ErrResult) {
			t.Errorf("%s: a result is read as %+v with the error %v, want one of class ErrResult", name, r, err)
		}
	}
}

// id gives a message another id, in both headers that hold it.
func id(text string) func(*record.Stored) {
	return func(m *record.Stored) {
		m.Header["Nats-Msg-Id"], m.Header["ce-id"] = []string{text}, []string{text}
	}
}
