package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
	"github.com/idpsync/idpsync/worker/stream"
)

// readiness is what /readyz answers.
type readiness struct {
	Ready             bool
	Failing, Degraded []trouble
	status            int
}

type trouble struct{ Name, What, Hint string }

func (r readiness) names() []string {
	var all []string
	for _, f := range r.Failing {
		all = append(all, f.Name)
	}
	return all
}

// readyz asks an admin listener. A worker that does not answer is not ready either.
func readyz(ctx context.Context, t testing.TB, c *http.Client, admin string) (r readiness) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, admin+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		return r
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(&r); err != nil {
		t.Fatal(err)
	}
	r.status = res.StatusCode
	if (r.status == http.StatusOK) != r.Ready || r.Ready != (len(r.Failing) == 0) {
		t.Errorf("readyz answers with status %d and %+v, want 200 exactly when nothing is failing", r.status, r)
	}
	for _, f := range slices.Concat(r.Failing, r.Degraded) {
		if f.Name == "" || f.What == "" || f.Hint == "" {
			t.Errorf("readyz names %+v, want a name, what is the matter, and a hint", f)
		}
	}
	return r
}

// isReady waits until the worker is ready.
func (r *running) isReady(c *http.Client) {
	r.s.t.Helper()
	var last readiness
	r.s.eventually("the worker to be ready", func() bool {
		last = readyz(r.s.ctx, r.s.t, c, r.admin)
		return last.Ready
	})
}

// fails waits until /readyz names a failure, which says what it is about and what to do.
func (r *running) fails(c *http.Client, name, what, hint string) {
	r.s.t.Helper()
	r.s.eventually(fmt.Sprintf("readyz to name %s: %s (%s)", name, what, hint), func() bool {
		return speaksOf(readyz(r.s.ctx, r.s.t, c, r.admin).Failing, name, what, hint)
	})
}

func speaksOf(all []trouble, name, what, hint string) bool {
	return slices.ContainsFunc(all, func(f trouble) bool {
		return f.Name == name && strings.Contains(f.What, what) && strings.Contains(f.Hint, hint)
	})
}

func TestReadinessNamesWhatTheBrokerLacks(t *testing.T) {
	t.Parallel()
	s := embeddedSite(t)
	r, c := s.worker(), client(t)
	r.isReady(c)
	js, err := jetstream.New(s.nats())
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(s.ctx, stream.StreamResults); err != nil {
		t.Fatal(err)
	}
	r.fails(c, "streams", stream.StreamResults, "idpsync migrate")
	s.must("migrate", "--only", "streams")
	r.fails(c, "gap", "created at", "idpsync recover") // the stream is there, and what it held is not
	s.must("recover", "--accept-gap", "--why", "a test", "--yes")
	r.isReady(c)

	if err := js.DeleteConsumer(s.ctx, stream.StreamEvents, "feeds"); err != nil {
		t.Fatal(err)
	}
	r.fails(c, "streams", stream.StreamEvents+"/feeds", "idpsync migrate")
	s.must("migrate", "--only", "streams")
	r.isReady(c)

	if got := s.healthz(c, r); got != "200 ok\n" {
		t.Errorf("healthz answers %q, want 200 and ok: no restart would have helped", got)
	}
}

func TestAFullStreamOfDeadLettersLeavesTheWorkerReady(t *testing.T) {
	t.Parallel()
	s := embeddedSite(t)
	r, c := s.worker(), client(t)
	r.isReady(c)
	conn := s.nats()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	limit := func(bytes int64) {
		t.Helper()
		letters, err := js.Stream(s.ctx, stream.StreamDeadLetters)
		if err != nil {
			t.Fatal(err)
		}
		config := letters.CachedInfo().Config
		config.MaxBytes = bytes
		if _, err := js.UpdateStream(s.ctx, config); err != nil {
			t.Fatal(err)
		}
	}
	limit(64 << 10)
	padding := strings.Repeat("x", 100<<10)
	queue{s, js}.publish("idpsync.login."+acme+".okta", map[string]string{"Idpsync-Event-Id": "large"}, `{"id_token":"`+padding+`"}`)
	degraded := func(want bool) {
		t.Helper()
		s.eventually(fmt.Sprintf("readyz to call the dead letters degraded: %v", want), func() bool {
			got := readyz(s.ctx, t, c, r.admin)
			if !got.Ready {
				t.Fatalf("with a full stream of dead letters readyz answers %+v, want it ready: events are taken and answered", got)
			}
			return speaksOf(got.Degraded, "dead_letters", "is full", "--dead-letters-bytes") == want
		})
	}
	degraded(true) // it has room, but not for this one
	s.must("migrate", "--only", "streams", "--dead-letters-bytes", "64MiB")
	degraded(false)
}

func TestReadinessNamesMissingPermissions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	config := func(worker string) {
		s.write("nats-server.conf", s.jetStream()+`
authorization { users: [
  { user: admin, password: secret }
  { user: worker, password: secret, permissions: { publish: { allow: [">"], deny: [`+worker+`] } } }
] }`)
	}
	config(`"idpsync.deadletter.>"`)
	s.environ["IDPSYNC_NATS_URL"] = s.natsServer("-c", s.path("nats-server.conf"))
	as := func(user string) string {
		u, err := url.Parse(s.environ["IDPSYNC_NATS_URL"])
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(user, "secret")
		return u.String()
	}
	s.environ["IDPSYNC_NATS_URL"] = as("admin")
	s.must("migrate")
	s.apply()
	r, c := s.worker("--nats-url", as("worker")), client(t)
	r.isReady(c)
	js, err := jetstream.New(s.nats())
	if err != nil {
		t.Fatal(err)
	}
	queue{s, js}.publish("idpsync.login."+acme+".okta", map[string]string{"Idpsync-Event-Id": "bad"}, `{"id_token":"bad"}`)
	r.fails(c, "permissions", "publish to idpsync.deadletter.>", "grant it")
	if text := fmt.Sprint(readyz(s.ctx, t, c, r.admin)); strings.Contains(text, strings.ToLower(acme)) {
		t.Errorf("readyz answers %s, want no tenant in it", text)
	}
	config("")
	s.reloadNATS()
	r.isReady(c)
}

func TestReadinessNamesADatabaseThatTakesNoWrites(t *testing.T) {
	t.Parallel()
	s := clusterSite(t)
	r, c := s.worker(), client(t)
	r.isReady(c)
	u, err := url.Parse(s.data.URL)
	if err != nil {
		t.Fatal(err)
	}
	name, admin := strings.TrimPrefix(u.Path, "/"), storetest.Admin(t)
	readOnly := func(value string) {
		t.Helper()
		for _, do := range []string{
			`alter database ` + name + ` set default_transaction_read_only = ` + value,
			`select pg_terminate_backend(pid) from pg_stat_activity where datname = '` + name + `'`,
		} {
			if _, err := admin.ExecContext(s.ctx, do); err != nil {
				t.Fatal(err)
			}
		}
	}
	readOnly("on")
	r.fails(c, "database", "takes no writes", "primary")
	readOnly("off")
	r.isReady(c)
}

// A supervisor starts a worker before or after what it needs, in any order.
func TestStartWaitsForDatabaseSchemaBrokerAndStreams(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.cluster = true
	address := freeAddress(t)
	s.environ["IDPSYNC_DATABASE_URL"], s.environ["IDPSYNC_NATS_URL"] = storetest.Empty(t, store.Postgres).URL, "nats://"+address
	if p := s.do("", "run", "--wait", "0", "--http-listen", "off", "--admin-listen", "off"); p.code != kit.ExitFailure || !strings.Contains(p.stderr, "idpsync migrate") {
		t.Errorf("without waiting, run ends with exit %d and %s, want %d and a hint at idpsync migrate", p.code, p.stderr, kit.ExitFailure)
	}
	if p := s.do("", "run", "--wait", "1s", "--http-listen", "off", "--admin-listen", "off"); p.code != kit.ExitFailure || strings.Count(p.stderr, "the start waits") != 1 {
		t.Errorf("with little patience, run ends with exit %d and %s, want %d and one line that says what it waits for", p.code, p.stderr, kit.ExitFailure)
	}

	r, c := s.started("--wait", "1h"), client(t)
	r.admin = "http://" + r.stderr.await(t, s.ctx, `"msg":"admin listens","address":"([^"]+)"`)[1]
	r.fails(c, "database", "no schema", "idpsync migrate")
	if got := s.healthz(c, r); got != "200 ok\n" {
		t.Errorf("healthz answers %q while the start waits, want 200 and ok", got)
	}
	s.must("migrate", "--only", "schema")
	r.fails(c, "broker", "does not answer", "--nats-url")
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	s.natsServer("--port", port)
	r.fails(c, "streams", "missing", "idpsync migrate")
	s.must("migrate", "--only", "streams")
	r.ready()
	r.isReady(c)
}

func TestReadinessNamesABrokerThatIsAway(t *testing.T) {
	t.Parallel()
	s := clusterSite(t)
	r, c := s.worker(), client(t)
	r.isReady(c)
	if err := s.broker.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	r.fails(c, "broker", "no connection", "--nats-url")
	if names := readyz(s.ctx, t, c, r.admin).names(); slices.Contains(names, "database") {
		t.Errorf("readyz names %v while the broker is away, want nothing of the database", names)
	}
	if got := s.healthz(c, r); got != "200 ok\n" {
		t.Errorf("healthz answers %q, want 200 and ok: no restart would help", got)
	}
}

// healthz returns status and body of /healthz.
func (s *site) healthz(c *http.Client, r *running) string {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, r.admin+"/healthz", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", res.StatusCode, body)
}
