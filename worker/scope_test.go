package worker_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

const commandSubject = "idpsync.command." + acme + ".v1.users.create"

// bearer is the header of a sender of Acme.
func bearer(token string) providers.Header {
	return providers.Header{"Authorization": {"Bearer " + token}, "X-Tenant-ID": {acme}}
}

// sender is a credential of Acme with a name, for commands.
func sender(d *workertest.Deployment, name string) (id, token string) {
	return d.CredentialFor(store.Credential{Tenant: acme, Name: name, Purpose: string(providers.PurposeCommands), Grants: []string{"user"}})
}

func eventKey(source, id, scope string) store.EventKey {
	return store.EventKey{TenantID: acme, Source: source, EventID: id, Scope: scope}
}

// answered fails unless the answer has the status and, if it is an error, the code.
func answered(t *testing.T, what string, a record.Answer, status int, code record.Code) {
	t.Helper()
	if a.Status != status || code != "" && !strings.Contains(string(a.Body), `"`+string(code)+`"`) {
		t.Errorf("%s was answered %d %s, wanted %d %s", what, a.Status, a.Body, status, code)
	}
}

func TestTwoCredentialsDoNotShareEventIds(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		p := d.Start()
		hrID, hr := sender(d, "hr import")
		payrollID, payroll := sender(d, "payroll/2")

		first, _ := p.Submit(d.Ctx, submission(hr, "order-1", tenantUser("ada", "oidc")))
		answered(t, "the first sender's event", first, 201, "")
		other, header := p.Submit(d.Ctx, submission(payroll, "order-1", tenantUser("bob", "oidc")))
		answered(t, "another sender's event of the same id", other, 201, "")
		if !strings.Contains(string(other.Body), "bob@acme.example") || strings.Contains(string(other.Body), "ada") {
			t.Errorf("the second sender was answered %s, wanted its own user", other.Body)
		}
		if got := header.Get(record.HeaderCredential); got != payrollID {
			t.Errorf("the answer names the credential %q, wanted %q", got, payrollID)
		}
		for _, r := range []struct {
			token, person string
			want          record.Answer
		}{{hr, "ada", first}, {payroll, "bob", other}} {
			again, _ := p.Submit(d.Ctx, submission(r.token, "order-1", tenantUser(r.person, "oidc")))
			if again.Status != 201 || string(again.Body) != string(r.want.Body) {
				t.Errorf("the event of %s, sent again, was answered %d %s, wanted what was answered before", r.person, again.Status, again.Body)
			}
		}
		// Both results are stored: neither is taken for the other by the broker.
		d.Results.Await(2, "of both senders", func(r workertest.Record) bool { return r.EventID == "order-1" })
		var ids, credentials []string
		for _, r := range d.ResultsOf("order-1") {
			ids, credentials = append(ids, r.Header.Get("Nats-Msg-Id")), append(credentials, r.Header.Get(record.HeaderCredential))
		}
		if want := []string{acme + "/admin@credential%2Fhr%20import/order-1/0", acme + "/admin@credential%2Fpayroll%2F2/order-1/0"}; !slices.Equal(ids, want) {
			t.Errorf("the results have the ids %q, wanted %q", ids, want)
		}
		if want := []string{hrID, payrollID}; !slices.Equal(credentials, want) {
			t.Errorf("the results name the credentials %q, wanted %q", credentials, want)
		}
		row, err := d.Store.Event(d.Ctx, eventKey("admin", "order-1", "credential/payroll/2"))
		if err != nil || row.Credential != payrollID {
			t.Errorf("the ledger says that the credential %q sent the event, wanted %q: %v", row.Credential, payrollID, err)
		}
	})
}

func TestAnotherCredentialsPayloadUnderItsEventIdShowsNoResult(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		p := d.Start()
		_, hr := sender(d, "hr")
		_, payroll := sender(d, "payroll")
		first, _ := p.Submit(d.Ctx, submission(hr, "order-1", local("ada", "correct horse")))
		answered(t, "the first sender's event", first, 201, "")
		for _, password := range []string{"correct horse", "battery staple"} { // a guess at the password finds out nothing either
			other, _ := p.Submit(d.Ctx, submission(payroll, "order-1", local("ada", password)))
			answered(t, "the same event of another sender, with the password "+password, other, 409, record.CodeUserExists)
			if strings.Contains(string(other.Body), "created_at") {
				t.Errorf("another sender sees the result: %s", other.Body)
			}
		}
	})
}

func TestTwoCredentialsInOneBatchDoNotShareEventIds(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		_, hr := sender(d, "hr")
		_, payroll := sender(d, "payroll")
		var previews []worker.Preview // which are decided in one batch
		events := []struct {
			token, id, person string
			status            int
			repeat            bool
		}{
			{hr, "order-1", "ada", 201, false},
			{hr, "order-2", "eve", 201, false},
			{payroll, "order-1", "bob", 201, false},
			{hr, "order-1", "ada", 201, true},
			{payroll, "order-1", "bob", 201, true},
			{payroll, "order-2", "eve", 409, false},
		}
		for _, e := range events {
			body := workertest.Payload(tenantUser(e.person, "oidc"))
			d.PublishWith(commandSubject, e.id, body, bearer(e.token))
			previews = append(previews, worker.Preview{Subject: commandSubject, EventID: e.id, Header: bearer(e.token), Data: body, StoredAt: time.Now()})
		}
		p := d.Process()
		forecasts, err := p.Forecast(d.Ctx, previews)
		if err != nil {
			t.Fatalf("forecast: %v", err)
		}
		for i, f := range forecasts {
			if f.Status != events[i].status || f.Repeat != events[i].repeat {
				t.Errorf("event %d would be answered %d %s, repeat %t; wanted %d, repeat %t", i+1, f.Status, f.Body, f.Repeat, events[i].status, events[i].repeat)
			}
		}
		p.Run()
		d.Settle()
		if users, rows := len(d.Users(acme)), d.Counts().Events; users != 3 || rows != 3 {
			t.Errorf("there are %d users and %d rows in the ledger, wanted 3 and 3", users, rows)
		}
		if letters := d.AllLetters(); len(letters) != 0 {
			t.Errorf("%d events became dead letters, want none; the first for %s %s", len(letters), letters[0].Code, letters[0].Reason)
		}
	})
}

func TestARenewedCredentialKeepsItsEventIds(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		p := d.Start()
		oldID, old := sender(d, "hr")
		first, _ := p.Submit(d.Ctx, submission(old, "order-1", tenantUser("ada", "oidc")))
		answered(t, "the event", first, 201, "")
		_, renewed := sender(d, "hr")
		if err := d.Store.RevokeCredential(d.Ctx, oldID, "test", time.Now()); err != nil {
			t.Fatalf("revoke the old credential: %v", err)
		}
		again, header := p.Submit(d.Ctx, submission(renewed, "order-1", tenantUser("ada", "oidc")))
		if again.Status != 201 || string(again.Body) != string(first.Body) || header.Get(record.HeaderCredential) != oldID {
			t.Errorf("after the renewal the event was answered %d %s by credential %s, wanted the answer from before and its credential %s",
				again.Status, again.Body, header.Get(record.HeaderCredential), oldID)
		}
		conflict, _ := p.Submit(d.Ctx, submission(renewed, "order-1", tenantUser("bob", "oidc")))
		answered(t, "another payload under the id", conflict, 409, record.CodeEventIDConflict)
	})
}

// before makes the rows of the ledger what a version without scopes would have written.
func before(t *testing.T, d *workertest.Deployment) {
	t.Helper()
	if _, err := storetest.Database(t, d.Database()).ExecContext(d.Ctx, `update events set scope = '', credential = ''`); err != nil {
		t.Fatalf("take the scopes away: %v", err)
	}
}

func TestAnEventFromBeforeScopesIsItsSendersAlone(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		p := d.Start()
		_, hr := sender(d, "hr")
		_, payroll := sender(d, "payroll")
		first, _ := p.Submit(d.Ctx, submission(hr, "order-1", tenantUser("ada", "oidc")))
		answered(t, "the event", first, 201, "")
		d.Eventually("for the result to be published", func() bool { return d.Counts().Outbox == 0 })
		before(t, d)

		again, header := p.Submit(d.Ctx, submission(hr, "order-1", tenantUser("ada", "oidc")))
		if again.Status != 201 || string(again.Body) != string(first.Body) {
			t.Errorf("its sender was answered %d %s, wanted the answer from before", again.Status, again.Body)
		}
		if id := header.Get("ce-id"); id != acme+"/admin/order-1/0" {
			t.Errorf("the answer has the id %q, wanted the one that it had before scopes", id)
		}
		conflict, _ := p.Submit(d.Ctx, submission(hr, "order-1", tenantUser("bob", "oidc")))
		answered(t, "another payload of its sender", conflict, 409, record.CodeEventIDConflict)

		same, _ := p.Submit(d.Ctx, submission(payroll, "order-1", tenantUser("ada", "oidc")))
		answered(t, "the same payload of another sender", same, 409, record.CodeUserExists)
		other, _ := p.Submit(d.Ctx, submission(payroll, "order-1", tenantUser("carol", "oidc")))
		answered(t, "another sender's event of the same id", other, 201, "")

		ada := d.User(acme, "ada@acme.example")
		if _, err := d.Store.Forget(d.Ctx, acme, ada.ID, "test", time.Now()); err != nil {
			t.Fatalf("forget the user: %v", err)
		}
		gone, _ := p.Submit(d.Ctx, submission(hr, "order-1", tenantUser("ada", "oidc")))
		if gone.Status != 201 || len(gone.Body) != 0 || len(d.Users(acme)) != 1 {
			t.Errorf("the event of a user who was forgotten was answered %d %s, and there are %d users; wanted an empty answer and 1 user",
				gone.Status, gone.Body, len(d.Users(acme)))
		}
	})
}

// The worker dies between the commit and the ack, and the credential is revoked before the message comes again.
func TestARedeliveredMessageFindsItsEffectWithoutItsCredential(t *testing.T) {
	for name, upgraded := range map[string]bool{"of this version": false, "of a version without scopes": true} {
		t.Run(name, func(t *testing.T) {
			workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
				p := d.Process(workertest.Mortal)
				p.On(fault.At(fault.BeforePublish, func(context.Context, fault.Call) error { return p.Die() }))
				p.Run()
				id, token := sender(d, "hr")
				d.PublishWith(commandSubject, "order-1", workertest.Payload(tenantUser("ada", "oidc")), bearer(token))
				p.AwaitDeath()
				if err := d.Store.RevokeCredential(d.Ctx, id, "test", time.Now()); err != nil {
					t.Fatalf("revoke the credential: %v", err)
				}
				wanted := acme + "/admin@credential%2Fhr/order-1/0"
				if upgraded {
					before(t, d)
					wanted = acme + "/admin/order-1/0"
				}
				d.Start()
				r := d.Await("order-1")
				if r.Status != 201 || r.Header.Get("Nats-Msg-Id") != wanted {
					t.Errorf("the result is %d %s under the id %q, wanted 201 under %q", r.Status, r.Data, r.Header.Get("Nats-Msg-Id"), wanted)
				}
				d.Settle()
				if letters := d.AllLetters(); len(letters) != 0 {
					t.Errorf("%d dead letters, the first for %s %s; wanted none", len(letters), letters[0].Code, letters[0].Reason)
				}
			})
		})
	}
}

// The broker gives up on a message whose event another message has brought.
func TestAStrandedRepeatIsItsSendersAlone(t *testing.T) {
	for name, c := range map[string]struct {
		sender  string
		status  int
		repeats int
	}{"of the same sender": {"hr", 201, 1}, "of another sender": {"payroll", 409, 0}} {
		t.Run(name, func(t *testing.T) {
			workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
				tokens := map[string]string{}
				for _, name := range []string{"hr", "payroll"} {
					_, tokens[name] = sender(d, name)
				}
				body := workertest.Payload(tenantUser("ada", "oidc"))
				p := d.Start()
				d.PublishWith(commandSubject, "order-1", body, bearer(tokens["hr"]))
				d.Await("order-1")
				d.Settle()
				if err := p.Stop(); err != nil {
					t.Fatalf("stop the worker: %v", err)
				}
				d.PublishWith(commandSubject, "order-1", body, bearer(tokens[c.sender]))
				d.Exhaust(record.LaneLogins)
				d.Eventually("for the message to be stranded", func() bool { return d.State().Stranded == 1 })
				d.Start()
				d.Eventually("for the message to be removed", func() bool { return d.State().Stranded == 0 })
				if letters := d.AllLetters(); len(letters) != 0 {
					t.Errorf("it became a dead letter for %s %s, wanted none", letters[0].Code, letters[0].Reason)
				}
				results := d.AllResults()
				if last := results[len(results)-1]; last.Status != c.status {
					t.Errorf("the last result is %d %s, wanted %d", last.Status, last.Data, c.status)
				}
				repeats, err := d.Store.RepeatsAfter(d.Ctx, time.Time{}, "", 10)
				if err != nil || len(repeats) != c.repeats {
					t.Fatalf("%d repeats are noted, wanted %d: %v", len(repeats), c.repeats, err)
				}
				for _, r := range repeats {
					if r.Scope != "credential/hr" {
						t.Errorf("the repeat is noted in the scope %q, wanted credential/hr", r.Scope)
					}
				}
			})
		})
	}
}

// commanding is a directory whose source okta may carry commands.
var commanding = strings.Replace(workertest.Directory, "        audiences: [idpsync]\n", "        audiences: [idpsync]\n        commands: true\n        commands_claim: idpsync_commands\n", 1)

// token is a token of okta, which is a login or, where the directory says so, proves a command.
func token(t *testing.T, d *workertest.Deployment, subject string) string {
	t.Helper()
	signed, err := d.Issuer.Sign(d.Person(subject).With(workertest.Claims{"idpsync_commands": true}))
	if err != nil {
		t.Fatalf("sign a token: %v", err)
	}
	return signed
}

func TestTheEventIdsOfAJWTAreItsSubjects(t *testing.T) {
	workertest.Each(t, workertest.Options{Directory: commanding}, func(t *testing.T, d *workertest.Deployment) {
		p := d.Start()
		_, credential := sender(d, "okta/ann")
		for i, s := range []string{token(t, d, "ann"), token(t, d, "bob"), credential} {
			a, header := p.Submit(d.Ctx, submission(s, "order-1", tenantUser([]string{"x", "y", "z"}[i], "oidc")))
			answered(t, "the event of sender "+string(rune('1'+i)), a, 201, "")
			if got := header.Get(record.HeaderCredential); (got != "") != (i == 2) {
				t.Errorf("the answer to sender %d names the credential %q, want one: %v", i+1, got, i == 2)
			}
		}
		again, _ := p.Submit(d.Ctx, submission(token(t, d, "ann"), "order-1", tenantUser("x", "oidc"))) // another token of the same subject
		answered(t, "the event of the first subject again", again, 201, "")
		conflict, _ := p.Submit(d.Ctx, submission(token(t, d, "ann"), "order-1", tenantUser("y", "oidc")))
		answered(t, "another payload of the first subject", conflict, 409, record.CodeEventIDConflict)
		for _, scope := range []string{"token/okta/ann", "token/okta/bob", "credential/okta/ann"} {
			if _, err := d.Store.Event(d.Ctx, eventKey("admin", "order-1", scope)); err != nil {
				t.Errorf("the ledger has no row in the scope %s: %v", scope, err)
			}
		}
	})
}

// The worker dies between the commit and the ack, and the source of the token has another name when the message comes again.
func TestARedeliveredMessageFindsItsEffectInWhateverScope(t *testing.T) {
	workertest.Each(t, workertest.Options{Directory: commanding}, func(t *testing.T, d *workertest.Deployment) {
		p := d.Process(workertest.Mortal)
		p.On(fault.At(fault.BeforePublish, func(context.Context, fault.Call) error { return p.Die() }))
		p.Run()
		d.PublishWith(commandSubject, "order-1", workertest.Payload(tenantUser("x", "oidc")), bearer(token(t, d, "ann")))
		p.AwaitDeath()
		d.Apply(strings.Replace(commanding, "- name: okta", "- name: entra", 1))
		d.Start()
		r := d.Await("order-1")
		if want := acme + "/admin@token%2Fokta%2Fann/order-1/0"; r.Status != 201 || r.Header.Get("Nats-Msg-Id") != want {
			t.Errorf("the result is %d %s under the id %q, wanted 201 under %q", r.Status, r.Data, r.Header.Get("Nats-Msg-Id"), want)
		}
	})
}

func TestLoginsHaveNoScope(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		d.Start()
		d.LogIn("login-1", d.Person("ada"))
		r := d.Await("login-1")
		if id := r.Header.Get("Nats-Msg-Id"); id != acme+"/okta/login-1/0" || r.Header.Get(record.HeaderCredential) != "" {
			t.Errorf("the result has the id %q and the credential %q, wanted no scope and no credential", id, r.Header.Get(record.HeaderCredential))
		}
		row, err := d.Store.Event(d.Ctx, eventKey("okta", "login-1", ""))
		if err != nil || row.Credential != "" {
			t.Errorf("the ledger has the credential %q, wanted a row without one: %v", row.Credential, err)
		}
	})
}

func TestAnEventIdTooLongForItsSendersNameIsRefused(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		p := d.Start()
		_, long := sender(d, strings.Repeat("ü ", 400))
		_, longest := sender(d, strings.Repeat("名", 200))
		a, _ := p.Submit(d.Ctx, submission(long, strings.Repeat("x", 256), tenantUser("ada", "oidc")))
		answered(t, "an event id of 256 bytes with a name of 1,200", a, 400, record.CodeMalformed)
		if !strings.Contains(string(a.Body), `"event_id"`) {
			t.Errorf("the answer is %s, wanted the reason event_id", a.Body)
		}
		b, _ := p.Submit(d.Ctx, submission(longest, strings.Repeat("x", 256), tenantUser("ada", "oidc")))
		answered(t, "an event id of 256 bytes with the longest name that the command line takes", b, 201, "")
	})
}

func TestTheNameOfAnEventIsReadBack(t *testing.T) {
	for _, key := range []store.EventKey{
		{TenantID: acme, Source: "okta", EventID: "e1"},
		{TenantID: acme, Source: "okta", EventID: "a/b@c/d"},
		{TenantID: acme, Source: "admin", EventID: "a@b/c", Scope: "credential/hr / 100% \x00 名@x"},
		{TenantID: acme, Source: "admin", EventID: "e1", Scope: "token/okta/a|b"},
	} {
		name := record.EventName(key)
		if got, ok := record.ParseEventName(name); !ok || got != key {
			t.Errorf("%q was read as %q, wanted %q", name, got, key)
		}
	}
	if plain := record.EventName(store.EventKey{TenantID: acme, Source: "okta", EventID: "e/1"}); plain != acme+"/okta/e/1" {
		t.Errorf("without a scope the name is %q, wanted tenant, source and id", plain)
	}
	for _, name := range []string{"", acme, acme + "/okta", acme + "/okta@/e1", acme + "/okta@%zz/e1"} {
		if got, ok := record.ParseEventName(name); ok {
			t.Errorf("%q was read as %q, wanted an error", name, got)
		}
	}
}
