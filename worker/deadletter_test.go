package worker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
	"github.com/idpsync/idpsync/worker/workertest"
)

func TestDeadLetterRecord(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.Start(func(c *worker.Config) { c.Name = "worker-1" })
	body := []byte(`{"email":"nobody","name":"Ada","auth_provider":"oidc"}`)
	token := d.Credential(acme, "user")
	d.PublishWith(workertest.FeedSubject(acme, "workday"), "e 1", body, providers.Header{
		"Authorization": {"Bearer " + token}, "traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, "X-Note": {"one", "two"}, "X-Tenant-ID": {acme},
	})
	letter := d.AwaitLetter("e 1")
	golden(t, "deadletter.txt", headers(letter.Subject, letter.Header, func(name, value string) string {
		switch name {
		case record.DeadLetterTime, record.DeadLetterFirstFailed, record.DeadLetterLastFailed:
			if _, err := time.Parse(time.RFC3339Nano, value); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			return "TIME"
		case record.DeadLetterOrigin, "Nats-Msg-Id":
			parts := strings.Split(value, "/")
			at := len(parts) - 3 - strings.Count(name, "Nats")
			parts[at], parts[at+2] = "CREATED", "STORED"
			return strings.Join(parts, "/")
		case record.DeadLetterPrefix + "Key-Id":
			if value != d.Key.KeyID() {
				t.Errorf("the letter names the key %s, want %s", value, d.Key.KeyID())
			}
			return "KEY"
		case record.DeadLetterPrefix + "Sig", record.DeadLetterPrefix + "Sealed-Headers", record.DeadLetterMAC:
			return "SECRET"
		}
		return value
	}))
	for name, values := range letter.Header {
		if strings.Contains(strings.Join(values, " "), token) || strings.Contains(strings.Join(values, " "), "nobody") {
			t.Errorf("%s shows what is sealed: %s", name, values)
		}
	}
	if bytes.Contains(letter.Data, []byte("nobody")) {
		t.Error("the body lies open")
	}
	original, err := record.Unseal(d.Key, letter.Header, letter.Data)
	if err != nil || !bytes.Equal(original.Data, body) || original.Subject != workertest.FeedSubject(acme, "workday") {
		t.Errorf("the letter unseals to %+v with the error %v, want the body and subject that were sent", original, err)
	}
	if original.Header.Get("Authorization") != "Bearer "+token || !slices.Equal(original.Header.Values("X-Note"), []string{"one", "two"}) || original.Header.Get("ce-id") != "e 1" {
		t.Errorf("the letter unseals to the header %v, want the credential, both notes and the id that were sent", original.Header)
	}
}

func TestChangedDeadLetterIsNoDeadLetter(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.Start()
	d.LogIn("e1", d.Person("ada").With(workertest.Claims{"groups": "nope"}))
	letter := d.AwaitLetter("e1")
	d.Apply(strings.Replace(strings.Replace(workertest.Directory, "{name: auditor}", "{name: auditor}, {name: nope}", 1), "grants: [user, admin, viewer]", "grants: [user, admin, viewer, nope]", 1))
	type change func(h providers.Header, body []byte) []byte
	set := func(name, value string) change {
		return func(h providers.Header, body []byte) []byte { h[name] = []string{value}; return body }
	}
	changes := map[string]change{
		"body":            func(_ providers.Header, body []byte) []byte { body[len(body)-1] ^= 1; return body },
		"body cut":        func(_ providers.Header, body []byte) []byte { return body[:len(body)-1] },
		"time":            set(record.DeadLetterTime, time.Now().Add(time.Hour).Format(time.RFC3339Nano)),
		"subject":         set(record.DeadLetterSubjectHeader, workertest.LoginSubject(acme, "ping")),
		"tenant":          set(record.DeadLetterTenant, globex),
		"event id":        set(record.DeadLetterEventID, "e2"),
		"origin":          set(record.DeadLetterOrigin, "IDPSYNC_EVENTS/1/1"),
		"replay count":    set(record.DeadLetterReplayCount, "7"),
		"original header": set(record.DeadLetterOriginalPrefix+"ce-id", "e2"),
		"header added":    set(record.DeadLetterOriginalPrefix+"Authorization", "Bearer x"),
		"header dropped": func(h providers.Header, body []byte) []byte {
			delete(h, record.DeadLetterOriginalPrefix+"ce-id")
			return body
		},
		"signature dropped": func(h providers.Header, body []byte) []byte {
			delete(h, record.DeadLetterPrefix+"Sig")
			return body
		},
	}
	var sequences []uint64
	for name, change := range changes {
		h := providers.Header{}
		for k, v := range letter.Header {
			if k != "Nats-Msg-Id" {
				h[k] = slices.Clone(v)
			}
		}
		body := change(h, bytes.Clone(letter.Data))
		if _, err := record.Unseal(d.Key, h, body); !errors.Is(err, record.ErrRecord) {
			t.Errorf("%s: a changed letter unseals with the error %v, want %v", name, err, record.ErrRecord)
		}
		seq, err := stream.PublishEvent(d.Ctx, d.Conn, record.Outgoing{Subject: letter.Subject, Header: h, Data: body})
		if err != nil {
			t.Fatal(err)
		}
		sequences = append(sequences, seq)
	}
	d.Replay("forged", sequences...)
	d.Settle()
	if n := len(d.Users(acme)); n != 0 || len(d.AllResults()) != 1 {
		t.Errorf("there are %d users and %d results, want none and 1", n, len(d.AllResults()))
	}
	d.Replay("honest", letter.Sequence) // which is not what was wrong
	d.Results.Await(1, "created", func(r workertest.Record) bool { return r.Status == 201 })
}

func TestDeadLetterCopiedToAnEventSubjectGainsNothing(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.Start()
	d.LogIn("e1", d.Person("ada").With(workertest.Claims{"groups": "nope"}))
	letter := d.AwaitLetter("e1")
	h := providers.Header{}
	for name, values := range letter.Header {
		h[name] = values
	}
	seq, err := stream.PublishEvent(d.Ctx, d.Conn, record.Outgoing{Subject: okta, Header: h, Data: letter.Data})
	if err != nil {
		t.Fatal(err)
	}
	copied := d.Letters.Await(1, "of the copy", func(r workertest.Record) bool {
		return r.Header.Get(record.DeadLetterSequence) == strconv.FormatUint(seq, 10)
	})[0]
	if copied.Code != record.CodeMalformed || copied.Header.Get(record.DeadLetterParent) != "" || len(d.Users(acme)) != 0 {
		t.Errorf("the copy of a dead letter has the header %v, want code malformed, no parent, and no user", copied.Header)
	}
}

// repaired is the default directory with the role that logins were refused for.
var repaired = strings.Replace(strings.Replace(workertest.Directory, "{name: auditor}", "{name: auditor}, {name: astronaut}", 1), "grants: [user, admin, viewer]", "grants: [user, admin, viewer, astronaut]", 1)

func astronaut(d *workertest.Deployment, subject string) workertest.Claims {
	return d.Person(subject).With(workertest.Claims{"groups": []string{"user", "astronaut"}})
}

func TestReplayCreatesWithTheOriginalIdAndTimeLongAfterTheTokenExpired(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		d.Start()
		const all = 40
		for i := range all {
			d.LogIn(fmt.Sprintf("e%d", i), astronaut(d, fmt.Sprintf("p%d", i)))
		}
		letters := d.Letters.Await(all, "of all", func(r workertest.Record) bool { return r.Code == record.CodeInvalidRoles })
		var sequences []uint64
		for _, l := range letters {
			sequences = append(sequences, l.Sequence)
			if f := l.Header.Get(record.DeadLetterFingerprint); f != letters[0].Header.Get(record.DeadLetterFingerprint) || f == "" {
				t.Errorf("a letter of the same cause has the fingerprint %q, want %q", f, letters[0].Header.Get(record.DeadLetterFingerprint))
			}
		}
		d.Clock.Advance(30 * 24 * time.Hour)
		d.Apply(repaired)
		d.Replay("repaired", sequences...)
		created := d.Results.Await(all, "created", func(r workertest.Record) bool { return r.Status == 201 })
		for _, r := range created {
			letter := d.AwaitLetter(r.EventID)
			if r.Header.Get(record.HeaderReplayOf) != strconv.FormatUint(letter.Sequence, 10) || r.Header.Get(record.HeaderCampaign) != "repaired" {
				t.Errorf("the result of the replay has the header %v, want it to name letter %d and its campaign", r.Header, letter.Sequence)
			}
			row, err := d.Store.Event(d.Ctx, store.EventKey{TenantID: acme, Source: "okta", EventID: r.EventID})
			if err != nil {
				t.Fatal(err)
			}
			if row.StoredAt.Format(time.RFC3339) != letter.Header.Get(record.DeadLetterTime)[:19]+"Z" || row.Attempt != 1 {
				t.Errorf("the row says stored at %s, attempt %d, want the time of the letter, %s, and attempt 1", row.StoredAt, row.Attempt, letter.Header.Get(record.DeadLetterTime))
			}
			if id := r.Header.Get("Nats-Msg-Id"); id != acme+"/okta/"+r.EventID+"/1" {
				t.Errorf("the result has the message id %s, want it to end in %s/1", id, r.EventID)
			}
		}
		d.Settle()
		replayed, err := d.Store.DeadLetters(d.Ctx, store.DeadLetterFilter{State: store.DeadLetterReplayed, Campaign: "repaired"})
		if err != nil || len(replayed) != all || replayed[0].Who != "alice, said op@acme.example" || replayed[0].Why != "repaired" {
			t.Errorf("there are %d replayed letters (%v), the error is %v, want %d with who and why of the order", len(replayed), replayed, err, all)
		}
		if n := len(d.AllLetters()); n != all {
			t.Errorf("there are %d dead letters, want %d", n, all)
		}
	})
}

func TestSecondFailureNamesItsParentAndCountsOn(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		d.Start()
		d.LogIn("e1", astronaut(d, "ada"))
		first := d.AwaitLetter("e1")
		d.Replay("too early", first.Sequence)
		second := d.Letters.Await(2, "of e1", func(r workertest.Record) bool { return r.EventID == "e1" })[1]
		if second.Header.Get(record.DeadLetterParent) != strconv.FormatUint(first.Sequence, 10) || second.Header.Get(record.DeadLetterReplayCount) != "1" {
			t.Errorf("the second letter has the header %v, want parent %d and replay count 1", second.Header, first.Sequence)
		}
		if a, b := first.Header.Get("Nats-Msg-Id"), second.Header.Get("Nats-Msg-Id"); strings.TrimSuffix(a, "/0") != strings.TrimSuffix(b, "/1") || a == b {
			t.Errorf("the letters have the message ids %s and %s, want them to differ in the replay count alone", a, b)
		}
		if a, b := first.Header.Get(record.DeadLetterTime), second.Header.Get(record.DeadLetterTime); a != b {
			t.Errorf("the letters say that the event was stored at %s and %s, want one time", a, b)
		}
		d.Apply(repaired)
		d.Replay("repaired", second.Sequence)
		d.Results.Await(1, "created", func(r workertest.Record) bool { return r.Status == 201 })
		results := d.ResultsOf("e1")
		var ids []string
		for _, r := range results {
			ids = append(ids, r.Header.Get("Nats-Msg-Id"))
		}
		if len(results) != 3 || results[0].Status != 422 || results[1].Status != 422 || results[2].Status != 201 || !strings.HasSuffix(ids[2], "/e1/2") {
			t.Errorf("the results have the message ids %v, want two with status 422, then 201 as e1/2", ids)
		}
	})
}

func TestOrderCanNameOnlyDeadLettersOfItsTenant(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.Start()
	d.LogIn("e1", astronaut(d, "ada"))
	letter := d.AwaitLetter("e1")
	d.Apply(repaired)
	for _, action := range []string{record.OrderReplay, record.OrderDiscard} {
		d.Order(globex, record.Order{Action: action, Sequences: []uint64{letter.Sequence}, Who: "op@globex.example"})
	}
	d.Settle()
	if _, err := d.Store.DeadLetter(d.Ctx, letter.Sequence); !errors.Is(err, store.ErrNotFound) || len(d.AllResults()) != 1 || len(d.Users(acme)) != 0 {
		t.Errorf("after orders of another tenant the state of the letter is answered with %v, there are %d results, want not found, the first result alone, and no user", err, len(d.AllResults()))
	}
	d.Replay("ours", letter.Sequence)
	d.Results.Await(1, "created", func(r workertest.Record) bool { return r.Status == 201 })
}

func TestRepeatedOrderDoesNothingTwice(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		for range 2 {
			d.Start()
		}
		d.LogIn("e1", astronaut(d, "ada"))
		d.LogIn("e2", astronaut(d, "grace"))
		first, second := d.AwaitLetter("e1"), d.AwaitLetter("e2")
		d.Apply(repaired)
		for range 5 {
			d.Replay("repaired", first.Sequence, second.Sequence, first.Sequence)
		}
		d.Results.Await(2, "created", func(r workertest.Record) bool { return r.Status == 201 })
		for _, id := range []string{"e1", "e2"} {
			if results, letters := d.ResultsOf(id), d.LettersOf(id); len(results) != 2 || len(letters) != 1 {
				t.Errorf("%s has %d results and %d dead letters, want 2 and 1", id, len(results), len(letters))
			}
		}
		if n := len(d.Users(acme)); n != 2 {
			t.Errorf("there are %d users, want 2", n)
		}
		d.Replay("later", first.Sequence)
		d.Settle()
		if state, err := d.Store.DeadLetter(d.Ctx, first.Sequence); err != nil || state.Campaign != "repaired" {
			t.Errorf("the letter is %+v with the error %v, want it to stay in the campaign repaired", state, err)
		}
	})
}

func TestOrderOfAWorkerThatDiesIsCarriedOutByAnother(t *testing.T) {
	for name, dies := range map[string]func(c fault.Call) bool{
		"before commit":  func(c fault.Call) bool { return c.Point == fault.InTransaction },
		"before publish": func(c fault.Call) bool { return c.Point == fault.BeforePublish },
		"before the state is noted": func(c fault.Call) bool {
			return c.Point == fault.BeforeStore && c.Method == "UpsertDeadLetters"
		},
		"before ack": func(c fault.Call) bool {
			return c.Point == fault.BeforeTell && c.Method == "ack" && c.Message.Stream() == stream.StreamReplays
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := workertest.New(t, workertest.Options{})
			p := d.Process(workertest.Mortal)
			p.Run()
			d.LogIn("e1", astronaut(d, "ada"))
			letter := d.AwaitLetter("e1")
			d.Settle()
			d.Apply(repaired)
			p.On(func(_ context.Context, c fault.Call) error {
				if dies(c) {
					return p.Die()
				}
				return nil
			})
			d.Replay("repaired", letter.Sequence)
			p.AwaitDeath()
			d.Start()
			d.Results.Await(1, "created", func(r workertest.Record) bool { return r.Status == 201 })
			if results, letters := d.ResultsOf("e1"), d.LettersOf("e1"); len(results) != 2 || len(letters) != 1 || len(d.Users(acme)) != 1 {
				t.Errorf("there are %d results, %d dead letters and %d users, want 2, 1 and 1", len(results), len(letters), len(d.Users(acme)))
			}
			state, err := d.Store.DeadLetter(d.Ctx, letter.Sequence)
			if err != nil || state.State != store.DeadLetterReplayed {
				t.Errorf("the letter is %+v with the error %v, want it replayed", state, err)
			}
		})
	}
}

func TestDiscardedDeadLetterIsNotReplayed(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		d.Start()
		d.LogIn("e1", astronaut(d, "ada"))
		letter := d.AwaitLetter("e1")
		d.Order(acme, record.Order{Action: record.OrderDiscard, Sequences: []uint64{letter.Sequence}, Who: "op@acme.example", Why: "left the company"})
		d.Settle()
		state, err := d.Store.DeadLetter(d.Ctx, letter.Sequence)
		if err != nil || state.State != store.DeadLetterDiscarded || state.Who != "alice, said op@acme.example" || state.Why != "left the company" || state.Attempts != 0 {
			t.Errorf("the letter is %+v with the error %v, want it discarded by the operator with the reason, without an attempt", state, err)
		}
		audit, err := d.Store.AuditEntries(d.Ctx, store.AuditFilter{Action: "deadletter.discard"})
		if err != nil || len(audit) != 1 || audit[0].Who != "alice, said op@acme.example" || audit[0].Tenant != acme {
			t.Errorf("the audit holds %+v with the error %v, want one entry of the operator and tenant", audit, err)
		}
		d.Apply(repaired)
		d.Replay("repaired", letter.Sequence)
		d.Settle()
		if n := len(d.Users(acme)); n != 0 || len(d.AllResults()) != 1 {
			t.Errorf("after a replay of a discarded letter there are %d users and %d results, want no user and 1 result", n, len(d.AllResults()))
		}
	})
}

func TestOrderThatIsNoneIsPutAside(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.Start()
	d.LogIn("e1", astronaut(d, "ada"))
	letter := d.AwaitLetter("e1")
	d.Apply(repaired)
	d.Order(acme, record.Order{Action: "unseal", Sequences: []uint64{letter.Sequence}, Who: "op"})
	d.Order(acme, record.Order{Action: record.OrderReplay, Sequences: make([]uint64, record.MaxOrder+1), Who: "op"})
	d.Order(acme, record.Order{Action: record.OrderReplay, Sequences: []uint64{0, 999_999}, Who: "op"})
	if _, err := stream.PublishEvent(d.Ctx, d.Conn, record.Outgoing{Subject: record.ReplaySubject(acme, workertest.Operator), Data: []byte("{")}); err != nil {
		t.Fatal(err)
	}
	d.Settle()
	if n := len(d.AllResults()); n != 1 {
		t.Errorf("after orders that are none there are %d results, want 1, that of e1", n)
	}
	d.Replay("repaired", letter.Sequence)
	d.Results.Await(1, "created", func(r workertest.Record) bool { return r.Status == 201 })
}

func TestReplayOfAnIdThatWasUsedSinceIsAConflict(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.Start()
	d.LogIn("e1", astronaut(d, "ada"))
	letter := d.AwaitLetter("e1")
	d.LogIn("e1", d.Person("ada"))
	d.Results.Await(1, "created", func(r workertest.Record) bool { return r.Status == 201 })
	d.Apply(repaired)
	d.Replay("repaired", letter.Sequence)
	second := d.Letters.Await(2, "of e1", func(r workertest.Record) bool { return r.EventID == "e1" })[1]
	if second.Code != record.CodeEventIDConflict || second.Header.Get(record.DeadLetterParent) != strconv.FormatUint(letter.Sequence, 10) {
		t.Errorf("the replay leaves a letter with the header %v, want a conflict of ids with the parent %d", second.Header, letter.Sequence)
	}
}

func TestReplayOfWhatIsStillOutOfReachLeavesTheDeadLetterOpen(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.Second.SetDown(true)
	d.Start()
	d.Publish(workertest.LoginSubject(acme, "ping"), "e1", d.LoginAt(d.Second, d.PersonAt(d.Second, "ada")))
	d.Eventually("for the event to be parked", func() bool { return d.Counts().Parked == 1 })
	d.GiveUp()
	letter := d.AwaitLetter("e1")
	d.Settle()
	d.Replay("too early", letter.Sequence)
	d.Settle()
	if results, letters := d.ResultsOf("e1"), d.LettersOf("e1"); len(results) != 1 || len(letters) != 1 {
		t.Errorf("there are %d results and %d dead letters, want one each", len(results), len(letters))
	}
	d.Second.SetDown(false)
	d.Clock.Advance(time.Hour)
	d.Replay("again", letter.Sequence)
	d.Results.Await(1, "created", func(r workertest.Record) bool { return r.Status == 201 })
}
