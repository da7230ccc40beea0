package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
	"github.com/idpsync/idpsync/worker/proof"
	"github.com/idpsync/idpsync/worker/stream"
)

// sites are the two forms of a deployment that are backed up and restored here.
func sites(t *testing.T, test func(t *testing.T, s *site)) {
	t.Helper()
	t.Parallel()
	for name, site := range map[string]func(testing.TB) *site{"embedded": embeddedSite, "cluster": clusterSite} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, site(t))
		})
	}
}

// openedStore opens the database of the site, once more if it is open already.
func (s *site) openedStore() *store.Store {
	s.t.Helper()
	if s.cluster {
		return storetest.OpenOptions(s.t, s.data)
	}
	return storetest.OpenOptions(s.t, store.Options{Path: s.path("data/" + sqliteFile)})
}

// copyDatabase puts a copy of the database in the place of another one, as pg_dump with pg_restore, or cp, does. No worker runs.
// Names are those of backups; "" is the database itself.
func (s *site) copyDatabase(from, to string) {
	s.t.Helper()
	if !s.cluster {
		path := func(name string) string { return s.path("data/" + sqliteFile + name) }
		for _, file := range []string{"-wal", "-shm"} { // a worker that was stopped leaves none
			if err := os.Remove(path(to + file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				s.t.Fatal(err)
			}
		}
		data, err := os.ReadFile(path(from))
		if err == nil {
			err = os.WriteFile(path(to), data, 0o600)
		}
		if err != nil {
			s.t.Fatal(err)
		}
		return
	}
	u, err := url.Parse(s.data.URL)
	if err != nil {
		s.t.Fatal(err)
	}
	name := func(backup string) string { return strings.TrimPrefix(u.Path, "/") + backup }
	admin := storetest.Admin(s.t)
	for _, do := range []string{`drop database if exists ` + name(to) + ` with (force)`, `create database ` + name(to) + ` template ` + name(from)} {
		if _, err := admin.ExecContext(s.ctx, do); err != nil {
			s.t.Fatal(err)
		}
	}
	if to != "" {
		s.t.Cleanup(func() {
			if _, err := storetest.Admin(s.t).Exec(`drop database if exists ` + name(to) + ` with (force)`); err != nil { //nolint:noctx // the test's context has ended
				s.t.Error(err)
			}
		})
	}
}

// whileBrokerIsDown calls f with the folder in which the broker keeps its streams. No worker runs.
func (s *site) whileBrokerIsDown(f func(folder string) error) {
	s.t.Helper()
	folder := s.path("data/jetstream")
	if s.cluster {
		folder = s.path("broker")
		if err := errors.Join(s.broker.Process.Signal(os.Interrupt), s.broker.Wait()); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := f(folder); err != nil {
		s.t.Fatal(err)
	}
	if s.cluster {
		u, err := url.Parse(s.environ["IDPSYNC_NATS_URL"])
		if err != nil {
			s.t.Fatal(err)
		}
		s.natsServer("--port", u.Port())
	}
}

// loggedIn has people log in, and waits until each has a result and workers have marked how far the streams are.
func (s *site) loggedIn(people ...string) {
	s.t.Helper()
	conn := s.nats()
	defer conn.Close()
	for _, name := range people {
		if r := s.login(s.t.(*testing.T), conn, acme, "first of "+name, name, nil); r.status != 201 {
			s.t.Fatalf("the login of %s is answered %d %s, want 201", name, r.status, r.body)
		}
	}
	st := s.openedStore()
	s.eventually("the marks to be where the streams are", func() bool {
		marks, err := st.Marks(s.ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		at := map[string]uint64{}
		for _, m := range marks {
			at[m.Stream] = m.Last
		}
		return at[stream.StreamResults] == s.state(conn, stream.StreamResults).LastSeq && at[stream.StreamEvents] == s.state(conn, stream.StreamEvents).LastSeq
	})
	if err := st.Close(); err != nil { // a database that is open cannot be copied
		s.t.Fatal(err)
	}
}

// emails are the addresses of acme's users.
func (s *site) names() string {
	s.t.Helper()
	var all []string
	for _, u := range s.users("acme") {
		all = append(all, u.Name)
	}
	return strings.Join(all, " ")
}

// waits starts a worker that takes no events, as broker and database do not fit together.
func (s *site) waits(c *http.Client, what string) *running {
	s.t.Helper()
	r := s.started()
	r.admin = "http://" + r.stderr.await(s.t, s.ctx, `"msg":"admin listens","address":"([^"]+)"`)[1]
	r.fails(c, "gap", what, "idpsync recover")
	if got := s.healthz(c, r); got != "200 ok\n" {
		s.t.Errorf("healthz answers %q while the worker waits for an operator, want 200 and ok: no restart would help", got)
	}
	if strings.Contains(r.stderr.String(), "HTTP API listens") {
		s.t.Error("the HTTP API is open while the worker waits for an operator, want it closed")
	}
	return r
}

// recovered returns what recover finds, without a change.
func (s *site) recovered() recovered {
	s.t.Helper()
	p := s.do("", "recover", "--json")
	var r recovered
	if err := json.Unmarshal([]byte(p.stdout), &r); err != nil {
		s.t.Fatalf("recover: exit %d, %v\n%s%s", p.code, err, p.stdout, p.stderr)
	}
	if want := map[bool]int{true: kit.ExitPending, false: kit.ExitOK}[len(r.Findings) > 0]; p.code != want {
		s.t.Errorf("recover finds %+v and ends with exit %d, want %d", r.Findings, p.code, want)
	}
	return r
}

// accepted has an operator accept the gap, and waits until the worker goes on.
func (s *site) accepted(c *http.Client, r *running) {
	s.t.Helper()
	if p := s.do("", "recover", "--accept-gap", "--yes"); p.code != kit.ExitUsage || !strings.Contains(p.stderr, "--why") {
		s.t.Errorf("recover --accept-gap without a reason ends with exit %d and %s, want %d and --why", p.code, p.stderr, kit.ExitUsage)
	}
	s.must("recover", "--accept-gap", "--why", "ticket 4711", "--yes")
	r.ready()
	r.isReady(c)
	if audit := s.must("get", "audit", "--action", "gap.accept", "--json"); !strings.Contains(audit, "ticket 4711") || !strings.Contains(audit, `"findings"`) {
		s.t.Errorf("the audit has %s, want the reason and what was found", audit)
	}
	if again := s.recovered(); len(again.Findings) > 0 {
		s.t.Errorf("after the gap was accepted recover finds %+v, want nothing", again.Findings)
	}
}

// balances waits until prove finds nothing missing and nothing done twice, and nothing that waits.
func (s *site) balances() {
	s.t.Helper()
	var p program
	s.eventually("prove to balance", func() bool {
		p = s.do("", "prove")
		return p.code == kit.ExitOK && strings.Contains(p.stdout, "It balances: ") || p.code != kit.ExitOK
	})
	if p.code != kit.ExitOK || !strings.Contains(p.stdout, "gap accepted") {
		s.t.Errorf("prove ends with exit %d and\n%s\nwant %d, that it balances, and the gap that was accepted", p.code, p.stdout, kit.ExitOK)
	}
}

func TestADatabaseRestoredFromABackupStopsWorkersUntilAnOperatorAcceptsIt(t *testing.T) {
	sites(t, func(t *testing.T, s *site) {
		c := client(t)
		r := s.worker()
		s.loggedIn("ada", "bob")
		r.stop()
		s.copyDatabase("", "_backup")
		r = s.worker()
		s.loggedIn("eve")
		r.stop()
		s.copyDatabase("_backup", "")

		r = s.waits(c, "an effect that the ledger does not have")
		if got := s.recovered().Findings; len(got) != 1 || got[0].Side != "database" || got[0].Stream != stream.StreamResults || got[0].Since.IsZero() {
			t.Errorf("recover finds %+v, want that the database is behind the results, and since when", got)
		}
		conn := s.nats()
		q := newQueue(s, conn)
		q.publish("idpsync.login."+acme+".okta", map[string]string{"Idpsync-Event-Id": "meanwhile"}, q.login("joe"))
		if n := s.state(conn, stream.StreamEvents).Msgs; n != 1 {
			t.Errorf("%d events wait, want the one that came meanwhile", n)
		}
		s.accepted(c, r)
		s.eventually("the event that came meanwhile to be processed", func() bool { return strings.Contains(s.names(), "joe") })
		if got := s.names(); strings.Contains(got, "eve") {
			t.Errorf("the users are %s, want none whom the backup does not know", got)
		}
		s.balances()
	})
}

// A database that goes back while a worker runs is noticed too.
func TestADatabaseThatGoesBackIsNotReady(t *testing.T) {
	t.Parallel()
	s := embeddedSite(t)
	r, c := s.worker(), client(t)
	s.loggedIn("ada")
	r.isReady(c)
	if _, err := storetest.Database(t, store.Options{Path: s.path("data/" + sqliteFile)}).ExecContext(s.ctx, `update stream_marks set last_sequence = 0`); err != nil {
		t.Fatal(err)
	}
	r.fails(c, "gap", "the database knew that it had given out sequence 1", "idpsync recover")
	if got := s.recovered().Findings; len(got) != 0 {
		t.Errorf("recover finds %+v, want nothing: the ledger has the effects of all results", got)
	}
	s.accepted(c, r)
}

// archiving sets an archive up, which workers that start from then on use.
func (s *site) archiving() {
	s.t.Helper()
	if !s.cluster { // its broker has to run
		defer s.worker().stop()
	}
	s.must("migrate", "--only", "streams", "--archive", "30d")
}

// TestARestoredDatabaseIsRecoveredFromTheArchive is the drill of the runbook: what the backup does not know comes back, with the
// ids and times that it had, and workers go on by themselves.
func TestARestoredDatabaseIsRecoveredFromTheArchive(t *testing.T) {
	sites(t, func(t *testing.T, s *site) {
		c := client(t)
		s.archiving()
		r := s.worker()
		s.loggedIn("ada", "bob")
		token := s.credential("acme", "user")
		r.stop()
		s.copyDatabase("", "_backup")

		r = s.worker()
		s.loggedIn("eve")
		conn := s.nats()
		if again := s.login(t, conn, acme, "second of ada", "ada", nil); again.status != 200 {
			t.Fatalf("the second login of ada is answered %d %s, want 200", again.status, again.body)
		}
		body := `{"email":"grace@acme.example","name":"Grace","password":"correct horse battery staple","roles":["user"]}`
		if made := s.overHTTP(r).send(t, acme, "/v1/users", "grace", map[string]string{"Authorization": "Bearer " + token, "X-Tenant-ID": acme}, body); made.status != 201 {
			t.Fatalf("a command over HTTP is answered %d %s, want 201", made.status, made.body)
		}
		q := newQueue(s, conn)
		q.publish("idpsync.login."+acme+".okta", map[string]string{"Idpsync-Event-Id": "refused"}, `{"id_token":"bad"}`)
		s.eventually("four effects to be archived since the backup and the bad login to be refused", func() bool {
			return s.state(conn, stream.StreamArchive).Msgs == 5 && s.state(conn, stream.StreamDeadLetters).Msgs == 1
		})
		if a, code := s.prove(); code != kit.ExitOK || a.Outbox > 0 {
			t.Errorf("prove before the loss ends with exit %d and %+v, want %d", code, a, kit.ExitOK)
		}
		r.stop()
		before := s.snapshot(t)
		s.copyDatabase("_backup", "")
		if s.snapshot(t) == before {
			t.Fatal("the backup knows all that came after it: the test shows nothing")
		}

		r = s.waits(c, "an effect that the ledger does not have")
		if a, code := s.prove(); code != kit.ExitFailure || a.UnaccountedCount != 3 || a.DuplicatedCount != 0 {
			t.Errorf("prove before the recovery ends with exit %d and %+v, want %d and three events unaccounted for, each once", code, a, kit.ExitFailure)
		}
		var plan recovery
		if p := s.do("", "recover", "--since", "1h", "--plan", "--json"); p.code != kit.ExitOK || json.Unmarshal([]byte(p.stdout), &plan) != nil || plan.Archived != 5 || plan.There != 2 || plan.Done || plan.FailedAll != 0 || plan.Outcomes["created"] != 2 {
			t.Errorf("the forecast ends with exit %d and %s%s, want 5 archived events of which 2 are there, and two that would create a user", p.code, p.stdout, p.stderr)
		}
		eve := strings.ToUpper(s.created(before, "eve"))
		if p := s.do("", "recover", "--since", "1h", "--plan", "--json", "--except", eve); p.code != kit.ExitOK || json.Unmarshal([]byte(p.stdout), &plan) != nil || plan.Forgotten != 1 || plan.lacking() != 2 {
			t.Errorf("the forecast without a user who was forgotten ends with exit %d and %s%s, want one left out and 2 lacking", p.code, p.stdout, p.stderr)
		}
		blocks := runbook(t, "Broker and database do not fit together")
		if len(blocks) != 3 {
			t.Fatalf("the page has %d blocks of commands; want those that forecast, recover and accept", len(blocks))
		}
		variables := []string{"SINCE=1h", "WHY=ticket 4711"}
		if text := s.perform(t, blocks[0], variables...); !strings.Contains(text, "forecast for those that it lacks: 3") {
			t.Errorf("the runbook's forecast is\n%s\nwant that 3 events are lacking", text)
		}
		if text := s.perform(t, blocks[1], variables...); !strings.Contains(text, "recovered: 3") {
			t.Errorf("the runbook's recovery says\n%s\nwant 3 recovered", text)
		}
		r.ready() // by itself
		r.isReady(c)
		if after := s.snapshot(t); after != before {
			t.Errorf("users and events after the recovery are\n%s\nwant those before the loss\n%s", after, before)
		}
		if audit := s.must("get", "audit", "--action", "event.recover", "--json"); !strings.Contains(audit, "ticket 4711") {
			t.Errorf("the audit has %s, want the reason", audit)
		}
		if text := s.perform(t, blocks[1], variables...); !strings.Contains(text, "recovered: 0") && !strings.Contains(text, "lacks: 0") || s.snapshot(t) != before {
			t.Errorf("recovering again says\n%s\nwant that nothing is lacking, and no change", text)
		}
		var a proof.Account
		s.eventually("prove to balance once the results are published again", func() bool {
			var code int
			a, code = s.prove()
			return code == kit.ExitOK && a.Outbox == 0
		})
		if e := a.Events; e.Stored != 5 || e.Effects != 4 || e.DeadLetters != 1 {
			t.Errorf("the account is %+v, want 5 stored: 4 effects and 1 dead letter", e)
		}
	})
}

// created returns the id of the user of that name, in a snapshot.
func (s *site) created(snapshot, name string) string {
	s.t.Helper()
	var users []userItem
	if err := json.NewDecoder(strings.NewReader(snapshot)).Decode(&users); err != nil {
		s.t.Fatal(err)
	}
	for _, u := range users {
		if u.Name == name {
			return u.ID
		}
	}
	s.t.Fatalf("there is no user %s in %s", name, snapshot)
	return ""
}

func TestABrokerThatLostItsDiskStopsWorkersUntilAnOperatorAcceptsIt(t *testing.T) {
	sites(t, func(t *testing.T, s *site) {
		c := client(t)
		r := s.worker()
		s.loggedIn("ada", "bob")
		r.stop()
		s.whileBrokerIsDown(os.RemoveAll)
		if s.cluster {
			if text := s.must("migrate"); !strings.Contains(text, "do not fit together") || !strings.Contains(text, "idpsync recover") {
				t.Errorf("migrate makes the streams anew and says\n%s\nwant that they are not those that were there, and idpsync recover", text)
			}
		}
		r = s.waits(c, "it was created at")
		if got := s.recovered().Findings; len(got) != 5 || got[0].Side != "broker" {
			t.Errorf("recover finds %+v, want that all 5 streams were created anew", got)
		}
		s.accepted(c, r)
		s.loggedIn("eve")
		if got := s.names(); len(strings.Fields(got)) != 3 {
			t.Errorf("the users are %s, want ada, bob and eve", got)
		}
		s.balances()
		r.stop()
		s.worker().isReady(c)
	})
}

func TestAfterBothWereLostAnOperatorAcceptsWhatIsLeft(t *testing.T) {
	sites(t, func(t *testing.T, s *site) {
		c := client(t)
		r := s.worker()
		s.loggedIn("ada")
		r.stop()
		s.copyDatabase("", "_backup")
		r = s.worker()
		s.loggedIn("bob")
		r.stop()
		s.copyDatabase("_backup", "")
		s.whileBrokerIsDown(os.RemoveAll)
		if s.cluster {
			s.must("migrate")
		}
		r = s.waits(c, "it was created at")
		s.accepted(c, r)
		s.loggedIn("bob") // whose login is sent again
		if got := s.names(); len(strings.Fields(got)) != 2 {
			t.Errorf("the users are %s, want ada and bob", got)
		}
		s.balances()
	})
}

func TestABrokerPutBackFromACopyStopsWorkersUntilAnOperatorAcceptsIt(t *testing.T) {
	sites(t, func(t *testing.T, s *site) {
		c := client(t)
		r := s.worker()
		s.loggedIn("ada")
		r.stop()
		copied := filepath.Join(t.TempDir(), "copy")
		s.whileBrokerIsDown(func(folder string) error { return os.CopyFS(copied, os.DirFS(folder)) })
		r = s.worker()
		s.loggedIn("bob")
		r.stop()
		s.whileBrokerIsDown(func(folder string) error {
			return errors.Join(os.RemoveAll(folder), os.CopyFS(folder, os.DirFS(copied)))
		})
		r = s.waits(c, "its last sequence is 1; the database knows that it had given out 2")
		if got := s.recovered().Findings; len(got) != 2 || got[0].Stream != stream.StreamEvents || got[1].Stream != stream.StreamResults {
			t.Errorf("recover finds %+v, want that events and results are behind", got)
		}
		s.accepted(c, r)
		s.loggedIn("eve")
		if got := s.names(); len(strings.Fields(got)) != 3 {
			t.Errorf("the users are %s, want ada, bob and eve", got)
		}
		s.balances()
	})
}

// What happens every day must not look like a loss.
func TestNormalLifeIsNoGap(t *testing.T) {
	sites(t, func(t *testing.T, s *site) {
		c := client(t)
		fits := func(when string) {
			t.Helper()
			if got := s.recovered().Findings; len(got) > 0 {
				t.Errorf("%s recover finds %+v, want nothing", when, got)
			}
		}
		r := s.child()
		fits("with streams that are empty")
		r.kill()
		r = s.child()
		conn := s.nats()
		for i := range 20 {
			s.login(t, conn, acme, fmt.Sprint("login-", i), fmt.Sprint("user-", i), nil)
		}
		r.kill() // before it has marked where the streams are
		if !s.cluster {
			r = s.child()
			fits("after a worker and its broker were killed")
			r.stop()
		} else {
			if err := s.broker.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = s.broker.Wait() // it was killed
			u, err := url.Parse(s.environ["IDPSYNC_NATS_URL"])
			if err != nil {
				t.Fatal(err)
			}
			s.natsServer("--port", u.Port())
			fits("after worker and broker were killed")
		}
		r = s.worker()
		r.isReady(c)
		conn = s.nats()
		q := newQueue(s, conn)
		q.publish("idpsync.login."+acme+".okta", map[string]string{"Idpsync-Event-Id": "refused"}, `{"id_token":"bad"}`)
		s.eventually("the bad login to be a dead letter", func() bool { return s.state(conn, stream.StreamDeadLetters).Msgs == 1 })
		if err := s.open(conn, stream.StreamResults).Purge(s.ctx); err != nil {
			t.Fatal(err)
		}
		r.stop()
		r = s.started()
		r.ready()
		r.isReady(c)
		fits("after an operator purged the results")
		s.must("migrate", "--only", "streams", "--results-bytes", "128MiB", "--results-age", "3h")
		fits("after migrate changed a stream")
	})
}

// newQueue publishes over a connection.
func newQueue(s *site, conn *nats.Conn) queue {
	s.t.Helper()
	js, err := jetstream.New(conn)
	if err != nil {
		s.t.Fatal(err)
	}
	return queue{s, js}
}
