package store_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

// unavailable wants an error that says that the database is unavailable, and explains it.
func unavailable(t *testing.T, what string, err error, explanation string) {
	t.Helper()
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%s: got the error %v, wanted that the database is unavailable", what, err)
		return
	}
	if got, hint := store.Explain(err); got != explanation || hint == "" {
		t.Errorf("%s: got %v, explained by %q and the hint %q, wanted %q and a hint", what, err, got, hint, explanation)
	}
}

// calls are what a worker calls: a transaction, a statement that writes, the look at the database's health, and the trial.
func calls(ctx context.Context, s *store.Store) map[string]func() error {
	return map[string]func() error{
		"a batch":   func() error { return write(ctx, s, storetest.Creates(0, 5)) },
		"a marker":  func() error { return s.MarkInFlight(ctx, []store.InFlight{{Event: "e", Run: "r", At: storetest.Time}}) },
		"the look":  func() error { return s.Ready(ctx) },
		"the trial": func() error { return s.TryWrite(ctx) },
		"a claim":   func() error { _, err := s.ClaimParked(ctx, "w", 1, time.Minute); return err },
	}
}

func TestADatabaseThatIsReadOnlyIsUnavailableToWhoeverWrites(t *testing.T) {
	t.Parallel()
	o := storetest.Migrated(t, store.Postgres)
	storetest.Seed(t, storetest.OpenOptions(t, o))
	u, err := url.Parse(o.URL)
	if err != nil {
		t.Fatal(err)
	}
	set := func(value string) {
		t.Helper()
		if _, err := storetest.Admin(t).ExecContext(t.Context(), `alter database `+strings.TrimPrefix(u.Path, "/")+` set default_transaction_read_only = `+value); err != nil {
			t.Fatal(err)
		}
	}
	set("on")
	s := storetest.OpenOptions(t, o) // whose sessions are read-only
	for name, call := range calls(t.Context(), s) {
		unavailable(t, name+" on a read-only database", call(), "takes no writes")
	}
	if _, err := s.DirectoryRevision(t.Context()); err != nil {
		t.Errorf("reading a read-only database: got the error %v, wanted none", err)
	}
	set("off")
	s = storetest.OpenOptions(t, o)
	for name, call := range calls(t.Context(), s) {
		if err := call(); err != nil {
			t.Errorf("%s once the database takes writes again: got the error %v, wanted none", name, err)
		}
	}
}

// A frozen link answers nothing, and refuses nothing: what is on its way ends with its time, and so does what comes after it.
func TestAFrozenLinkIsUnavailable(t *testing.T) {
	t.Parallel()
	l, o := storetest.Through(t, storetest.Migrated(t, store.Postgres))
	o.Timeout = 3 * time.Second
	s := storetest.OpenOptions(t, o)
	storetest.Seed(t, s)
	for name, call := range calls(t.Context(), s) { // they have connections then
		if err := call(); err != nil {
			t.Fatalf("%s before the link is frozen: got the error %v, wanted none", name, err)
		}
	}
	err := s.Batch(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		if err := tx.Write(ctx, storetest.Creates(10, 5)); err != nil {
			t.Errorf("a write before the link is frozen: got the error %v, wanted none", err)
		}
		l.Freeze()
		return nil
	})
	unavailable(t, "a commit over a frozen link", err, "answers too late")
	var wg sync.WaitGroup
	for name, call := range calls(t.Context(), s) {
		wg.Go(func() { unavailable(t, name+" over a frozen link", call(), "answers too late") })
	}
	wg.Wait()
	// What the frozen transaction has written keeps nobody else from writing it.
	direct := o
	u, err := url.Parse(o.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = l.Target()
	direct.URL, direct.Timeout = u.String(), 0
	mustWrite(t, storetest.OpenOptions(t, direct), storetest.Creates(10, 5))
	l.Restore()
	if err := s.TryWrite(t.Context()); err != nil {
		t.Errorf("writing over a link that was frozen: got the error %v, wanted none", err)
	}
}

func TestACallWithoutEndIsUnavailable(t *testing.T) {
	t.Parallel()
	o := storetest.Migrated(t, store.Postgres)
	holder := storetest.OpenOptions(t, o)
	storetest.Seed(t, holder)
	o.Timeout = 3 * time.Second
	s := storetest.OpenOptions(t, o)
	err := holder.Batch(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		if err := tx.Write(ctx, storetest.Creates(0, 5)); err != nil {
			return err
		}
		unavailable(t, "a batch that waits for the rows of another one", write(t.Context(), s, storetest.Creates(0, 5)), "answers too late")
		return nil
	})
	if err != nil {
		t.Errorf("the batch that held the rows: got the error %v, wanted none", err)
	}
	err = s.Batch(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		<-ctx.Done()
		return tx.Write(ctx, storetest.Creates(20, 5))
	})
	unavailable(t, "a batch that pauses for too long", err, "answers too late")
	mustWrite(t, s, storetest.Creates(30, 5))
}

func TestRefusedSessionsAreExplained(t *testing.T) {
	t.Parallel()
	o := storetest.Migrated(t, store.Postgres)
	u, err := url.Parse(o.URL)
	if err != nil {
		t.Fatal(err)
	}
	stranger, absent := *u, *u
	stranger.User = url.UserPassword("idpsync_no_such_role", "x")
	absent.Path = "/idpsync_no_such_database"
	_, err = store.Open(t.Context(), store.Options{URL: stranger.String()})
	unavailable(t, "a user whom the server does not know", err, "refuses the login")
	_, err = store.Open(t.Context(), store.Options{URL: absent.String()})
	unavailable(t, "a database that the server does not have", err, "has no schema, or an old one")
	_, err = store.Open(t.Context(), store.Options{URL: "postgres://127.0.0.1:1/none"})
	unavailable(t, "a server that is not there", err, "does not answer")
	_, err = storetest.OpenOptions(t, storetest.Empty(t, store.Postgres)).Directory(t.Context())
	unavailable(t, "a database without schema", err, "has no schema, or an old one")
}
