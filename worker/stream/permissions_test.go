package stream_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/stream"
)

// deployed starts the broker of deploy/nats-server.conf and returns a function that connects as one of its users.
func deployed(t *testing.T) func(user string) *stream.Conn {
	t.Helper()
	for _, role := range []string{"MIGRATE", "WORKER", "OPERATOR", "ACME_LOGIN", "ACME_ADMIN", "ACME_READER", "SYS"} {
		t.Setenv("NATS_"+role+"_PASSWORD", "pw-"+strings.ReplaceAll(strings.ToLower(role), "_", "-"))
	}
	opts, err := server.ProcessConfigFile("../../deploy/nats-server.conf")
	if err != nil {
		t.Fatal(err)
	}
	opts.Host, opts.Port, opts.StoreDir, opts.NoSigs, opts.NoLog = "127.0.0.1", server.RANDOM_PORT, t.TempDir(), true, true
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("broker not ready")
	}
	inboxes := map[string]string{
		"operator": "_INBOX_operator", "acme-login": "_INBOX_acme_login", "acme-admin": "_INBOX_acme_admin", "acme-reader": "_INBOX_acme_reader",
	}
	return func(user string) *stream.Conn {
		return dial(t, stream.Options{
			URL: s.ClientURL(), User: user, InboxPrefix: inboxes[user],
			Password: passwordOf(user),
		})
	}
}

func TestDeployedBrokerGrantsWhatEachRoleNeeds(t *testing.T) {
	as := deployed(t)
	ctx := within(t, time.Minute)
	if _, err := stream.Migrate(ctx, as("migrate"), small); err != nil {
		t.Fatal(err)
	}

	login, admin := as("acme-login"), as("acme-admin")
	publish(t, login, events(3, "login", "l"))
	publish(t, admin, events(2, "feed", "f"))
	publish(t, admin, []worker.Outgoing{{Subject: "idpsync.command." + tenantA + ".v1.users.create", ID: "c"}})

	w := as("worker")
	if d, err := stream.Compare(ctx, w); err != nil || len(d) != 0 {
		t.Fatal(d, err)
	}
	for lane, n := range map[string]int{stream.LaneLogins: 4, stream.LaneFeeds: 2} {
		l := consume(t, w, lane, 10)
		for i := range n {
			m := next(t, ctx, l)
			if lane == stream.LaneLogins && i == 0 {
				if err := m.Term("malformed"); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if err := m.AckSync(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(t, w, results(2, "r"))
	publish(t, w, []worker.Outgoing{letterOf(tenantA, "okta", worker.CodeMalformed, "d")})
	if _, err := stream.Stranded(ctx, w, 0); err != nil {
		t.Error(err)
	}
	if _, err := stream.ReadState(ctx, w); err != nil {
		t.Error(err)
	}
	if err := stream.SecureDelete(ctx, w, 99); err != nil {
		t.Error(err)
	}
	if _, err := stream.DeadLetter(ctx, w, 1); err != nil {
		t.Error(err)
	}
	for n := 0; n == 0 && ctx.Err() == nil; {
		for _, err := range stream.Advisories(ctx, w, stream.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	serve(t, w, func(context.Context, stream.Request) stream.Response { return stream.Response{Status: 201} }, stream.ServeOptions{})
	nc, err := nats.Connect(admin.URL(), nats.UserInfo("acme-admin", passwordOf("acme-admin").Reveal()), nats.CustomInboxPrefix("_INBOX_acme_admin"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if r := request(t, nc, nats.NewMsg(createUser)); r.Header.Get("Idpsync-Status") != "201" {
		t.Error(r.Header)
	}

	op := as("operator")
	publish(t, op, []worker.Outgoing{{Subject: worker.ReplaySubject(tenantA), Data: []byte("{}")}})
	for _, err := range stream.DeadLetters(ctx, op, stream.Filter{Tenant: tenantA}) {
		if err != nil {
			t.Error(err)
		}
	}
	if _, err := stream.DeadLetter(ctx, op, 1); err != nil {
		t.Error(err)
	}
	if err := stream.SecureDeleteDeadLetter(ctx, op, 1); err != nil {
		t.Error(err)
	}
	if err := stream.Pause(ctx, op, stream.LaneFeeds, time.Now().Add(time.Minute)); err != nil {
		t.Error(err)
	}
	if _, err := stream.ReadState(ctx, op); err != nil {
		t.Error(err)
	}
	l := consume(t, w, stream.LaneReplays, 1)
	if err := next(t, ctx, l).AckSync(ctx); err != nil {
		t.Error(err)
	}

	n := 0
	for _, err := range stream.Results(ctx, as("acme-reader"), stream.Filter{Tenant: tenantA}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 2 {
		t.Errorf("the reader sees %d results", n)
	}
}

func TestDeployedBrokerDeniesTheRest(t *testing.T) {
	as := deployed(t)
	ctx := within(t, 2*time.Minute)
	if _, err := stream.Migrate(ctx, as("migrate"), small); err != nil {
		t.Fatal(err)
	}
	denied := map[string][]string{
		"acme-login": {
			"idpsync.login." + tenantB + ".okta",
			"idpsync.login." + tenantA + ".okta.deeper",
			"idpsync.feed." + tenantA + ".hr",
			"idpsync.command." + tenantA + ".users.create",
			worker.DeadLetterSubject(tenantA, "okta", worker.CodeMalformed),
			worker.ResultSubject(tenantA, "okta", worker.OutcomeCreated),
			worker.ReplaySubject(tenantA),
			"$JS.ACK.IDPSYNC_EVENTS.logins.1.1.1.1.1",
			"$JS.API.STREAM.MSG.GET.IDPSYNC_EVENTS",
			"$JS.API.CONSUMER.MSG.NEXT.IDPSYNC_EVENTS.logins",
			"$JS.API.STREAM.DELETE.IDPSYNC_EVENTS",
			"_INBOX.somebody.else",
		},
		"acme-admin":  {"idpsync.login." + tenantA + ".okta", "idpsync.feed." + tenantB + ".hr", "idpsync.rpc." + tenantB + ".users.create"},
		"acme-reader": {worker.ResultSubject(tenantA, "okta", worker.OutcomeCreated), "$JS.API.DIRECT.GET.IDPSYNC_RESULTS"},
		"worker":      {"idpsync.login." + tenantA + ".okta", worker.ReplaySubject(tenantA), "$JS.API.STREAM.UPDATE.IDPSYNC_EVENTS", "$JS.API.CONSUMER.DELETE.IDPSYNC_EVENTS.logins"},
		"operator":    {"idpsync.login." + tenantA + ".okta", worker.DeadLetterSubject(tenantA, "okta", worker.CodeMalformed), "$JS.ACK.IDPSYNC_EVENTS.logins.1.1.1.1.1", "$JS.API.STREAM.PURGE.IDPSYNC_RESULTS"},
		"migrate":     {"idpsync.login." + tenantA + ".okta"},
	}
	for user, subjects := range denied {
		c := as(user)
		for _, subject := range subjects {
			// Asked one by one, with a time-out far off: a missing permission is known at once.
			errs := stream.Publisher(c).Publish(ctx, []worker.Outgoing{{Subject: subject, ID: "x"}})
			if errs == nil || !errors.Is(errs[0], stream.ErrPermission) || stream.Transient(errs[0]) {
				t.Errorf("%s on %s: %v", user, subject, errs)
			}
		}
	}
	for _, err := range stream.Results(within(t, 500*time.Millisecond), as("acme-reader"), stream.Filter{Tenant: tenantB}) {
		if err == nil {
			t.Error("a reader sees another tenant's results")
		}
	}
	// Nobody but the worker reads the worker's inbox, in which the events arrive.
	for _, user := range []string{"acme-login", "acme-admin", "acme-reader", "operator"} {
		refused := make(chan error, 10)
		nc, err := nats.Connect(as(user).URL(), nats.UserInfo(user, passwordOf(user).Reveal()),
			nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
		if err != nil {
			t.Fatal(err)
		}
		for _, subject := range []string{"_INBOX.>", ">", "idpsync.>", "$JS.>"} {
			if _, err := nc.SubscribeSync(subject); err != nil {
				t.Fatal(err)
			}
			if err := <-refused; !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s subscribes to %s: %v", user, subject, err)
			}
		}
		nc.Close()
	}
}

func passwordOf(user string) providers.Secret { return providers.Secret("pw-" + user) }
