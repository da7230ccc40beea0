// Package storetest gives tests real, empty databases of both kinds, and records to put into them.
//
// PostgreSQL tests use the server named by the environment variable IDPSYNC_TEST_POSTGRES, a postgres:// URL of a
// superuser on a throw-away cluster. Without it they are skipped, but where CI is set they fail. Each test has a database of its own, so tests may run in parallel, and several test
// binaries at once.
package storetest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/idpsync/idpsync/store"
)

// Env names the variable that holds the URL of the PostgreSQL server for tests.
const Env = "IDPSYNC_TEST_POSTGRES"

// Kinds are the kinds of database that every test of a store runs on.
func Kinds() []string { return []string{store.SQLite, store.Postgres} }

// Each runs test on every kind of database; open gives it an empty, migrated store, another one at each call.
func Each(t *testing.T, test func(t *testing.T, open func() *store.Store)) {
	t.Helper()
	for _, kind := range Kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			test(t, func() *store.Store { return Open(t, kind) })
		})
	}
}

// Open returns an empty, migrated store, which is closed and removed when the test ends.
func Open(t testing.TB, kind string) *store.Store {
	t.Helper()
	return OpenOptions(t, Migrated(t, kind))
}

// OpenOptions opens the database of the given options, once more if it is open already, and closes it when the test ends.
func OpenOptions(t testing.TB, o store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(context.WithoutCancel(t.Context()), o)
	if err != nil {
		t.Fatalf("open the %s store: %v", kindOf(o), err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return s
}

func kindOf(o store.Options) string {
	if o.URL == "" {
		return store.SQLite
	}
	return store.Postgres
}

// Empty returns the options of a database that holds nothing yet, not even a schema.
func Empty(t testing.TB, kind string) store.Options {
	t.Helper()
	if kind == store.SQLite {
		return store.Options{Path: filepath.Join(t.TempDir(), "idpsync.db"), Log: logger(t)}
	}
	return store.Options{URL: createDatabase(t, "template0"), Log: logger(t)}
}

// Migrated returns the options of a database that has the schema and no rows.
func Migrated(t testing.TB, kind string) store.Options {
	t.Helper()
	if kind == store.Postgres {
		return store.Options{URL: createDatabase(t, template(t)), Log: logger(t)}
	}
	o := Empty(t, kind)
	migrate(t, o)
	return o
}

func migrate(t testing.TB, o store.Options) {
	t.Helper()
	ctx := t.Context()
	s, err := store.Open(ctx, o)
	if err != nil {
		t.Fatalf("open the %s store: %v", kindOf(o), err)
	}
	if _, err := s.Migrate(ctx); err != nil {
		t.Fatalf("migrate the %s store: %v", kindOf(o), err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("close the %s store: %v", kindOf(o), err)
	}
}

func logger(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// Admin returns a handle of the test server's own database, for what a store cannot do to itself.
func Admin(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", serverURL(t, ""))
	if err != nil {
		t.Fatalf("%s: %v", Env, err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// Database returns a handle of the database of o, for a look behind the store.
func Database(t testing.TB, o store.Options) *sql.DB {
	t.Helper()
	driver, name := "postgres", o.URL
	if kindOf(o) == store.SQLite {
		driver, name = "sqlite", "file:"+o.Path+"?_pragma=busy_timeout(10000)" // workers may be writing
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// serverURL returns the URL of a database of the test server, or of the one that the variable names.
func serverURL(t testing.TB, database string) string {
	t.Helper()
	v := os.Getenv(Env)
	switch {
	case v != "":
	case os.Getenv("CI") != "":
		t.Fatalf("%s is not set, and tests of the store need a throw-away PostgreSQL server; run `make test`, which starts one", Env)
	default:
		t.Skipf("%s is not set, so this runs on SQLite alone; `make test` starts a PostgreSQL server for it", Env)
	}
	u, err := url.Parse(v)
	if err != nil {
		t.Fatalf("%s is not a URL", Env)
	}
	q := u.Query()
	if !q.Has("sslmode") {
		q.Set("sslmode", "prefer")
	}
	u.RawQuery = q.Encode()
	if database != "" {
		u.Path = "/" + database
	}
	return u.String()
}

// createDatabase makes a database and returns its URL; it is dropped when the test ends.
func createDatabase(t testing.TB, template string) string {
	t.Helper()
	db := Admin(t)
	name := "idpsync_test_" + random(t)
	if _, err := db.ExecContext(t.Context(), `create database `+name+` template `+template); err != nil {
		t.Fatalf("create a test database: %v", err)
	}
	t.Cleanup(func() {
		if _, err := db.ExecContext(context.WithoutCancel(t.Context()), `drop database if exists `+name+` with (force)`); err != nil {
			t.Errorf("drop the test database: %v", err)
		}
	})
	return serverURL(t, name)
}

func random(t testing.TB) string {
	t.Helper()
	b := make([]byte, 8)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", b)
}

// template returns the name of a migrated database to copy from, which it makes once for each version of the migrations.
// An advisory lock keeps test binaries that run at once from making it twice, and its name appears when it is complete.
func template(t testing.TB) string {
	t.Helper()
	const lock = 7_262_011
	h := fnv.New64a()
	_, _ = h.Write([]byte(store.Schema(store.Postgres)))
	name := fmt.Sprintf("idpsync_template_%016x", h.Sum64())
	ctx := t.Context()
	conn, err := Admin(t).Conn(ctx)
	if err != nil {
		t.Fatalf("reach the PostgreSQL server of %s: %v", Env, err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.ExecContext(ctx, `select pg_advisory_lock($1)`, lock); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = conn.ExecContext(context.WithoutCancel(ctx), `select pg_advisory_unlock($1)`, lock) }()
	var there bool
	if err := conn.QueryRowContext(ctx, `select exists (select from pg_database where datname = $1)`, name).Scan(&there); err != nil {
		t.Fatal(err)
	}
	if there {
		return name
	}
	draft := name + "_" + random(t)
	if _, err := conn.ExecContext(ctx, `create database `+draft+` template template0`); err != nil {
		t.Fatalf("create the template database: %v", err)
	}
	migrate(t, store.Options{URL: serverURL(t, draft)})
	if _, err := conn.ExecContext(ctx, `alter database `+draft+` rename to `+name); err != nil {
		t.Fatalf("name the template database: %v", err)
	}
	return name
}
