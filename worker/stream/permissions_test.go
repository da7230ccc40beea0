package stream_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

// copied returns the configuration with a second one of what has a name in it, as its comments say: blocks and lines.
func copied(t *testing.T, config string, names ...string) string {
	t.Helper()
	twin := strings.NewReplacer(names...)
	upper := strings.ToUpper(names[0])
	blocks := regexp.MustCompile(`(?ms)^`+upper+`_[A-Z_]*PERMISSIONS: \{.*?^\}$`).FindAllString(config, -1)
	users := regexp.MustCompile(`(?m)^.*\{ user: `+names[0]+`.*\n`).FindAllString(config, -1)
	if len(blocks) == 0 || len(blocks) != len(users) {
		t.Fatalf("%s has %d blocks of permissions and %d users, want as many", names[0], len(blocks), len(users))
	}
	for _, u := range users {
		config = strings.Replace(config, u, u+twin.Replace(u), 1)
	}
	return strings.Replace(config, "accounts {", twin.Replace(strings.Join(blocks, "\n"))+"\naccounts {", 1)
}

// A site is the broker of deploy/nats-server.conf, with a second tenant and a second operator.
type site struct {
	t      *testing.T
	url    string
	domain string
}

// users are the users of a site with their inboxes and the names of their readers.
var users = map[string]struct {
	inbox     string
	consumers []string
}{
	"migrate":        {"_INBOX.migrate", nil},
	"worker":         {"_INBOX.worker", nil},
	"alice":          {"_INBOX.operator.alice", []string{"alice-1", "alice-2"}},
	"bob":            {"_INBOX.operator.bob", []string{"bob-1", "bob-2"}},
	"acme-login":     {"_INBOX." + tenantA + ".login", nil},
	"acme-waiting":   {"_INBOX." + tenantA + ".waiting", []string{"acme-waiting"}},
	"acme-hr":        {"_INBOX." + tenantA + ".hr", nil},
	"acme-admin":     {"_INBOX." + tenantA + ".admin", nil},
	"acme-reader":    {"_INBOX." + tenantA + ".reader", []string{"acme-reader"}},
	"globex-login":   {"_INBOX." + tenantB + ".login", nil},
	"globex-waiting": {"_INBOX." + tenantB + ".waiting", []string{"globex-waiting"}},
	"globex-hr":      {"_INBOX." + tenantB + ".hr", nil},
	"globex-admin":   {"_INBOX." + tenantB + ".admin", nil},
	"globex-reader":  {"_INBOX." + tenantB + ".reader", []string{"globex-reader"}},
}

func names() []string {
	all := make([]string, 0, len(users))
	for name := range users {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func deployed(t *testing.T) *site {
	t.Helper()
	return deployedIn(t, "")
}

// deployedIn is deployed with a JetStream domain, for which the permissions stay as they are.
func deployedIn(t *testing.T, domain string) *site {
	t.Helper()
	shipped, err := os.ReadFile("../../deploy/nats-server.conf")
	if err != nil {
		t.Fatal(err)
	}
	config := copied(t, string(shipped), "acme", "globex", "ACME", "GLOBEX", tenantA, tenantB)
	config = copied(t, config, "alice", "bob", "ALICE", "BOB")
	if domain != "" {
		config = strings.Replace(config, "jetstream {", "jetstream {\n  domain: "+domain, 1)
	}
	file := filepath.Join(t.TempDir(), "nats-server.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names(), "sys") {
		t.Setenv("NATS_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))+"_PASSWORD", passwordOf(name).Reveal())
	}
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if opts.MaxConn <= 0 || opts.MaxConn > 10_000 || opts.MaxSubs <= 0 || opts.MaxPayload <= 0 || opts.MaxPayload > 8<<20 {
		t.Errorf("the shipped file allows %d connections, %d subscriptions of each, and messages of %d bytes; want bounds", opts.MaxConn, opts.MaxSubs, opts.MaxPayload)
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
	return &site{t, s.ClientURL(), domain}
}

// as connects as idpsync does with the settings that the comments of the file name.
func (s *site) as(user string) *stream.Conn {
	s.t.Helper()
	u := users[user]
	return dial(s.t, stream.Options{URL: s.url, Domain: s.domain, User: user, InboxPrefix: u.inbox, Consumers: u.consumers, Password: passwordOf(user)})
}

// plain connects with the client library, as another program does.
func (s *site) plain(user string) *nats.Conn {
	s.t.Helper()
	nc, err := nats.Connect(s.url, nats.UserInfo(user, passwordOf(user).Reveal()), nats.CustomInboxPrefix(users[user].inbox),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	return nc
}

func (s *site) migrate() {
	s.t.Helper()
	if _, err := stream.Migrate(within(s.t, time.Minute), s.as("migrate"), small); err != nil {
		s.t.Fatal(err)
	}
}

// TestDeployedBrokerGrantsWhatEachRoleNeeds does with each user what idpsync does with it.
func TestDeployedBrokerGrantsWhatEachRoleNeeds(t *testing.T) {
	for name, domain := range map[string]string{"no domain": "", "a domain": "hub"} {
		t.Run(name, func(t *testing.T) { grantsWhatEachRoleNeeds(t, deployedIn(t, domain)) })
	}
}

func grantsWhatEachRoleNeeds(t *testing.T, s *site) {
	s.migrate()
	ctx := within(t, time.Minute)
	event := func(kind, tenant, source string) []record.Outgoing {
		return []record.Outgoing{{Subject: "idpsync." + kind + "." + tenant + "." + source, Data: []byte("{}")}}
	}
	for name, tenant := range map[string]string{"acme": tenantA, "globex": tenantB} {
		publish(t, s.as(name+"-login"), event("login", tenant, "okta"))
		publish(t, s.as(name+"-login"), event("login", tenant, "adfs"))
		publish(t, s.as(name+"-waiting"), event("login", tenant, "okta"))
		publish(t, s.as(name+"-hr"), event("feed", tenant, "workday"))
		for _, r := range commands() {
			publish(t, s.as(name+"-admin"), []record.Outgoing{{Subject: strings.Replace(r.Subject(), "*", tenant, 1), Data: []byte("{}")}})
		}
	}

	w := s.as("worker")
	if d, err := stream.Compare(ctx, w); err != nil || len(d) != 0 {
		t.Fatalf("the worker sees the differences %v with the error %v, want none", d, err)
	}
	for lane, n := range map[string]int{record.LaneLogins: 6 + 2*len(commands()), record.LaneFeeds: 2} {
		l := consume(t, w, lane, 10)
		for i := range n {
			m := next(t, ctx, l)
			if lane == record.LaneLogins && i == 0 {
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
	publish(t, w, append(results(2, "r"), resultOf(tenantB, "of-globex")))
	publish(t, w, []record.Outgoing{letterOf(tenantA, "okta", record.CodeMalformed, "d"), letterOf(tenantB, "okta", record.CodeMalformed, "e")})
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
	for _, user := range []string{"worker", "alice"} {
		if effects, err := stream.LastEffects(ctx, s.as(user), 1); err != nil || len(effects) != 1 || effects[0].Sequence != 3 {
			t.Errorf("%s reads the last effects %v with the error %v, want the result 3", user, effects, err)
		}
		if _, err := stream.ReadStreams(ctx, s.as(user)); err != nil {
			t.Error(err)
		}
	}
	serve(t, w, func(context.Context, stream.Request) stream.Response { return stream.Response{Status: 201} }, stream.ServeOptions{})
	for name, tenant := range map[string]string{"acme": tenantA, "globex": tenantB} {
		for _, r := range commands() {
			header, _, err := stream.Call(ctx, s.as(name+"-admin"), stream.Request{Subject: strings.Replace(r.RequestSubject(), "*", tenant, 1)})
			if err != nil || header.Get("Idpsync-Status") != "201" {
				t.Errorf("a request of %s to %s is answered with the status %q and the error %v, want 201", name, r.Name, header.Get("Idpsync-Status"), err)
			}
		}
	}

	op := s.as("alice")
	publish(t, op, []record.Outgoing{{Subject: record.ReplaySubject(tenantA, "alice"), Data: []byte("{}")}})
	letters := func(c *stream.Conn, f stream.Filter) int {
		n := 0
		for _, err := range stream.DeadLetters(ctx, c, f) {
			if err != nil {
				t.Error(err)
			}
			n++
		}
		return n
	}
	if all, one := letters(op, stream.Filter{}), letters(op, stream.Filter{Tenant: tenantA, Word: "malformed"}); all != 2 || one != 1 {
		t.Errorf("the operator sees %d dead letters, %d of them of acme; want 2 and 1", all, one)
	}
	if _, err := stream.DeadLetter(ctx, op, 1); err != nil {
		t.Error(err)
	}
	if _, err := stream.StrandedSequences(ctx, op); err != nil {
		t.Error(err)
	}
	for _, name := range []string{stream.StreamEvents, stream.StreamResults, stream.StreamDeadLetters} {
		if _, err := stream.ReadHolding(ctx, op, name); err != nil {
			t.Error(err)
		}
	}
	var service struct{ Name string }
	ask(t, s.plain("alice"), "$SRV.PING."+stream.ServiceName, &service)
	l := consume(t, w, record.LaneReplays, 1)
	if err := next(t, ctx, l).AckSync(ctx); err != nil {
		t.Error(err)
	}
	for user, test := range map[string]struct {
		f    stream.Filter
		want int
	}{
		"alice":          {stream.Filter{}, 3},
		"acme-reader":    {stream.Filter{Tenant: tenantA}, 2},
		"globex-reader":  {stream.Filter{Tenant: tenantB, Word: "created"}, 1},
		"acme-waiting":   {stream.Filter{Tenant: tenantA, Source: "okta", Since: time.Now().Add(-time.Hour)}, 2},
		"globex-waiting": {stream.Filter{Tenant: tenantB, Source: "okta"}, 1},
	} {
		n := 0
		for _, err := range stream.Results(ctx, s.as(user), test.f) {
			if err != nil {
				t.Fatalf("%s reads results: %v", user, err)
			}
			n++
		}
		if n != test.want {
			t.Errorf("%s sees %d results, want %d", user, n, test.want)
		}
	}
}

// An act is something that a client can ask of the broker, and the users who may.
type act struct {
	verb, subject string // publish or subscribe
	may           []string
}

// commands are the routes that administrators use.
func commands() []record.Route {
	return slices.DeleteFunc(record.Routes(), func(r record.Route) bool { return r.Name == "" })
}

// acts are all that some role does, for each of two tenants and two operators, and what no role may do.
func acts() []act {
	var all []act
	add := func(verb string, may []string, subjects ...string) {
		for _, s := range subjects {
			all = append(all, act{verb, s, may})
		}
	}
	for name, tenant := range map[string]string{"acme": tenantA, "globex": tenantB} {
		login, waiting, hr, admin, reader := name+"-login", name+"-waiting", name+"-hr", name+"-admin", name+"-reader"
		add("publish", []string{login, waiting}, "idpsync.login."+tenant+".okta")
		add("publish", []string{login}, "idpsync.login."+tenant+".adfs")
		add("publish", nil, "idpsync.login."+tenant+".undeclared", "idpsync.login."+tenant+".okta.deeper", "idpsync.login."+strings.ToUpper(tenant)+".okta")
		add("publish", []string{hr}, "idpsync.feed."+tenant+".workday")
		add("publish", nil, "idpsync.feed."+tenant+".undeclared")
		for _, r := range commands() {
			add("publish", []string{admin}, strings.Replace(r.Subject(), "*", tenant, 1), strings.Replace(r.RequestSubject(), "*", tenant, 1))
		}
		add("publish", nil, "idpsync.command."+tenant+".v1.users.delete", "idpsync.rpc."+tenant+".x")
		add("publish", []string{"worker"}, record.ResultSubject(tenant, "okta", record.OutcomeCreated), record.DeadLetterSubject(tenant, "okta", record.CodeMalformed),
			record.ArchiveSubject(tenant, "okta", record.OutcomeCreated))
		add("publish", []string{"alice"}, record.ReplaySubject(tenant, "alice"))
		add("publish", []string{"bob"}, record.ReplaySubject(tenant, "bob"))
		add("publish", nil, record.ReplaySubject(tenant, "carol"), "idpsync.replay."+tenant)
		add("publish", []string{"worker"}, "_INBOX."+tenant+".admin.x")
		for role, user := range map[string]string{"login": login, "waiting": waiting, "hr": hr, "admin": admin, "reader": reader} {
			add("subscribe", []string{user}, "_INBOX."+tenant+"."+role+".>")
			if role != "admin" {
				add("publish", nil, "_INBOX."+tenant+"."+role+".x")
			}
		}
		add("subscribe", nil, "_INBOX."+tenant+".>", "idpsync.login."+tenant+".>", "idpsync.result."+tenant+".>", "idpsync.rpc."+tenant+".>")
		results := "idpsync.result." + tenant
		add("publish", []string{reader}, readerAPI(stream.StreamResults, reader, results+".>")...)
		add("publish", []string{reader}, "$JS.API.CONSUMER.CREATE.IDPSYNC_RESULTS."+reader+"."+results+".*.*")
		add("publish", []string{waiting}, readerAPI(stream.StreamResults, waiting, results+".okta.*")...)
		add("publish", nil,
			"$JS.API.CONSUMER.CREATE.IDPSYNC_RESULTS."+reader, "$JS.API.CONSUMER.CREATE.IDPSYNC_RESULTS."+reader+".>",
			"$JS.API.CONSUMER.CREATE.IDPSYNC_RESULTS."+reader+".idpsync.result.>", "$JS.API.CONSUMER.CREATE.IDPSYNC_RESULTS."+reader+".idpsync.result.*.okta.created",
			"$JS.API.CONSUMER.CREATE.IDPSYNC_RESULTS."+waiting+"."+results+".adfs.*", "$JS.API.CONSUMER.CREATE.IDPSYNC_RESULTS."+waiting+"."+results+".>",
			"$JS.API.CONSUMER.DURABLE.CREATE.IDPSYNC_RESULTS."+reader, "$JS.API.CONSUMER.INFO.IDPSYNC_RESULTS."+reader,
			"$JS.API.CONSUMER.CREATE.IDPSYNC_DEADLETTERS."+reader+".idpsync.deadletter."+tenant+".>",
			"$JS.API.DIRECT.GET.IDPSYNC_RESULTS."+results+".okta.created")
	}
	for _, operator := range []string{"alice", "bob"} {
		for _, n := range []string{"-1", "-2"} {
			add("publish", []string{operator}, readerAPI(stream.StreamResults, operator+n, "idpsync.result.>")...)
			add("publish", []string{operator}, readerAPI(stream.StreamDeadLetters, operator+n, "idpsync.deadletter.>")...)
			add("publish", []string{operator}, readerAPI(stream.StreamArchive, operator+n, "idpsync.archive.>")...)
		}
		add("publish", nil, "$JS.API.CONSUMER.CREATE.IDPSYNC_EVENTS."+operator+"-1.idpsync.login.>", "$JS.API.CONSUMER.CREATE.IDPSYNC_EVENTS."+operator+"-1")
		add("subscribe", []string{operator}, "_INBOX.operator."+operator+".>")
		add("publish", []string{"worker"}, "_INBOX.operator."+operator+".x")
	}
	add("subscribe", nil, "_INBOX.operator.>", "_INBOX.>", "_INBOX.*.admin.>", ">", "idpsync.>", "$JS.>", "$SYS.>", "$JS.API.>", "$JS.ACK.>")
	add("subscribe", []string{"worker"}, "_INBOX.worker.>", "$SRV.>")
	for _, r := range commands() {
		add("subscribe", []string{"worker"}, r.RequestSubject())
	}
	add("subscribe", []string{"migrate"}, "_INBOX.migrate.>")
	add("publish", nil, "_INBOX.worker.x", "_INBOX.migrate.x", "$SYS.REQ.SERVER.PING", "$JS.FC.IDPSYNC_RESULTS.x.y", "idpsync.other")
	add("publish", []string{"alice", "bob"}, "$SRV.PING", "$SRV.INFO.idpsync", "$SRV.STATS.idpsync")
	add("publish", []string{"migrate", "worker"}, "$JS.API.INFO")
	for _, name := range []string{stream.StreamEvents, stream.StreamResults, stream.StreamDeadLetters, stream.StreamReplays, stream.StreamAdvisories, stream.StreamArchive} {
		add("publish", []string{"migrate", "worker", "alice", "bob"}, "$JS.API.STREAM.INFO."+name)
		add("publish", []string{"migrate"}, "$JS.API.STREAM.CREATE."+name, "$JS.API.STREAM.UPDATE."+name)
		add("publish", nil,
			"$JS.API.STREAM.DELETE."+name, "$JS.API.STREAM.PURGE."+name, "$JS.API.STREAM.SNAPSHOT."+name, "$JS.API.STREAM.RESTORE."+name,
			"$JS.API.STREAM.LEADER.STEPDOWN."+name, "$JS.API.CONSUMER.LIST."+name, "$JS.API.CONSUMER.NAMES."+name, "$JS.API.CONSUMER.CREATE."+name)
		get, remove := []string(nil), []string(nil)
		switch name {
		case stream.StreamEvents:
			get, remove = []string{"worker"}, []string{"worker"}
		case stream.StreamResults:
			get = []string{"worker", "alice", "bob"}
		case stream.StreamDeadLetters:
			get = []string{"worker"}
			add("publish", []string{"worker", "alice", "bob"}, "$JS.API.DIRECT.GET."+name)
		}
		add("publish", get, "$JS.API.STREAM.MSG.GET."+name)
		add("publish", remove, "$JS.API.STREAM.MSG.DELETE."+name)
	}
	add("publish", nil, "$JS.API.DIRECT.GET.IDPSYNC_RESULTS", "$JS.API.DIRECT.GET.IDPSYNC_EVENTS", "$JS.API.STREAM.LIST", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.CREATE.OTHER")
	for _, lane := range []string{"IDPSYNC_EVENTS.logins", "IDPSYNC_EVENTS.feeds", "IDPSYNC_REPLAYS.replays"} {
		know := []string{"migrate", "worker"}
		if strings.HasPrefix(lane, stream.StreamEvents) {
			know = append(know, "alice", "bob")
		}
		add("publish", know, "$JS.API.CONSUMER.INFO."+lane)
		add("publish", []string{"migrate"}, "$JS.API.CONSUMER.CREATE."+lane)
		add("publish", []string{"worker"}, "$JS.API.CONSUMER.MSG.NEXT."+lane, "$JS.ACK."+lane+".1.1.1.1.1", "$JS.ACK._.hash."+lane+".1.1.1.1.1.x")
		add("publish", nil, "$JS.API.CONSUMER.PAUSE."+lane, "$JS.API.CONSUMER.DELETE."+lane, "$JS.API.CONSUMER.UNPIN."+lane, "$JS.API.CONSUMER.DURABLE.CREATE."+lane)
	}
	return all
}

// readerAPI is what reading a stream through a named consumer takes.
func readerAPI(name, consumer, filter string) []string {
	return []string{
		"$JS.API.CONSUMER.CREATE." + name + "." + consumer + "." + filter,
		"$JS.API.CONSUMER.MSG.NEXT." + name + "." + consumer,
		"$JS.API.CONSUMER.DELETE." + name + "." + consumer,
	}
}

// TestDeployedBrokerDeniesTheRest tries every act as every user and prints who may do what.
func TestDeployedBrokerDeniesTheRest(t *testing.T) {
	s := deployed(t)
	s.migrate()
	all := acts()
	slices.SortFunc(all, func(x, y act) int { return strings.Compare(x.verb+x.subject, y.verb+y.subject) })
	granted := make([][]string, len(all))
	for _, user := range names() {
		nc := s.plain(user)
		for i, a := range all {
			if allowed(t, nc, a) {
				granted[i] = append(granted[i], user)
			}
		}
	}
	var table strings.Builder
	refused := 0
	for i, a := range all {
		slices.Sort(a.may)
		if !slices.Equal(granted[i], a.may) {
			t.Errorf("%s %s: %q may, want %q", a.verb, a.subject, granted[i], a.may)
		}
		refused += len(users) - len(granted[i])
		who := strings.Join(granted[i], " ")
		if who == "" {
			who = "-"
		}
		fmt.Fprintf(&table, "%-9s  %-100s  %s\n", a.verb, a.subject, who)
	}
	t.Logf("who may do what: %d acts, tried as %d users; %d tries were refused\n%s", len(all), len(users), refused, table.String())
}

// allowed does an act and reports whether the broker let it pass: it complains before it answers the ping of the flush.
func allowed(t *testing.T, nc *nats.Conn, a act) bool {
	t.Helper()
	before := nc.LastError()
	var err error
	if a.verb == "subscribe" {
		var sub *nats.Subscription
		if sub, err = nc.SubscribeSync(a.subject); err == nil {
			defer func() { _ = sub.Unsubscribe() }() // a refused one is gone already
		}
	} else {
		err = nc.Publish(a.subject, nil)
	}
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatalf("%s on %s: got error %v, want the broker to allow it or to refuse it by a permission violation", a.verb, a.subject, err)
	}
	after := nc.LastError()
	if after == nil || after == before { //nolint:errorlint // is it the very same one?
		return true
	}
	if !errors.Is(after, nats.ErrPermissionViolation) {
		t.Fatalf("%s on %s: the broker reports %v, want nothing or a permission violation", a.verb, a.subject, after)
	}
	return false
}

// TestReadersOfOneNameTakeTurns has two readers with two names, and a third one that finds none.
func TestReadersOfOneNameTakeTurns(t *testing.T) {
	s := deployed(t)
	s.migrate()
	ctx := within(t, time.Minute)
	w := s.as("worker")
	publish(t, w, results(3, "r"))
	follow := func(user string) (got chan uint64, stop func()) {
		ctx, cancel := context.WithCancel(ctx)
		got, done := make(chan uint64, 10), make(chan struct{})
		c := s.as(user)
		go func() {
			defer close(done)
			for m, err := range stream.Tail(ctx, c, stream.Filter{After: 1}) {
				if err != nil {
					t.Error(err)
					return
				}
				got <- m.Sequence
			}
		}()
		return got, func() { cancel(); <-done }
	}
	first, stopFirst := follow("alice")
	second, stopSecond := follow("alice")
	for name, got := range map[string]chan uint64{"first": first, "second": second} {
		for want := uint64(2); want <= 3; want++ {
			if seq := <-got; seq != want {
				t.Errorf("the %s reader gets result %d, want %d", name, seq, want)
			}
		}
	}
	third := s.as("alice")
	for _, err := range stream.Results(ctx, third, stream.Filter{}) {
		if !errors.Is(err, stream.ErrReaders) {
			t.Errorf("a third reader gets the error %v, want one that says that all names are in use", err)
		}
	}
	stopSecond()
	n := 0
	for _, err := range stream.Results(ctx, third, stream.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 3 {
		t.Errorf("once a name is free the third reader gets %d results, want 3", n)
	}

	publish(t, w, results(2, "later"))
	for want := uint64(4); want <= 5; want++ {
		if seq := <-first; seq != want {
			t.Errorf("the first reader gets result %d, want %d", seq, want)
		}
	}
	stopFirst()
}

func passwordOf(user string) providers.Secret { return providers.Secret("pw-" + user) }
