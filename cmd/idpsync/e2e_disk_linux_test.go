package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
	"github.com/idpsync/idpsync/worker/stream"
)

// The disk of a worker with a broker of its own fills up while logins come, and gets space again. No file of that process may
// become larger than a limit meanwhile, which fails writes as a full disk does. What was acknowledged has one effect.
func TestFullDiskOfTheEmbeddedBrokerHealsByItself(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.environ["IDPSYNC_DATABASE_URL"] = storetest.Migrated(t, store.Postgres).URL // not on that disk
	s.apply()
	r, c := s.child(), client(t)
	r.isReady(c)
	conn := s.nats()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	var space unix.Rlimit
	pid := r.process.Process.Pid
	if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, nil, &space); err != nil {
		t.Fatal(err)
	}
	limit := func(l unix.Rlimit) {
		t.Helper()
		if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, &l, nil); err != nil {
			t.Fatal(err)
		}
	}
	q, sent, acknowledged := queue{s, js}, 0, 0
	send := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(s.ctx, 2*time.Second)
		defer cancel()
		name := fmt.Sprintf("user-%d", sent)
		m := nats.NewMsg("idpsync.login." + acme + ".okta")
		m.Header["Idpsync-Event-Id"] = []string{name}
		m.Data = []byte(strings.Replace(q.login(name), "{", `{`+strings.Repeat(" ", 16<<10), 1))
		sent++
		if _, err := js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0)); err == nil {
			acknowledged++
		}
	}
	send()
	limit(unix.Rlimit{Cur: 256 << 10, Max: space.Max})
	s.eventually("the broker to find its disk full", func() bool {
		send()
		return slices.Contains(readyz(s.ctx, t, c, r.admin).names(), "embedded_broker")
	})
	if got := s.healthz(c, r); got != "200 ok\n" {
		t.Errorf("healthz answers %q while the disk is full, want 200 and ok: no restart would help", got)
	}
	limit(space)
	r.isReady(c)
	send() // on the connection of before
	conn = s.nats()
	s.eventually("all events to be done", func() bool { return s.state(conn, stream.StreamEvents).Msgs == 0 })
	account, code := s.prove()
	if code != 0 || account.UnaccountedCount+account.DuplicatedCount != 0 || account.Ledger.Rows < acknowledged || acknowledged < 2 {
		t.Errorf("prove ends with %d and %+v, want nothing unaccounted for and nothing duplicated, and %d rows of the ledger at least", code, account, acknowledged)
	}
	if users := len(s.users("acme")); users != account.Ledger.Rows {
		t.Errorf("there are %d users, want one for each of %d events", users, account.Ledger.Rows)
	}
}
