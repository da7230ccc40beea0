package store_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

func TestMigrationsRunAtOnceApplyEachOnce(t *testing.T) {
	t.Parallel()
	for _, kind := range storetest.Kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			o := storetest.Empty(t, kind)
			files := len(migrationFiles(t, kind))
			before := storetest.OpenOptions(t, o)
			have, want, err := before.SchemaVersion(t.Context())
			if err != nil || have != 0 || want < 1 {
				t.Fatalf("an empty database: got version %d of %d and the error %v, wanted 0 of at least 1", have, want, err)
			}
			var wg sync.WaitGroup
			var mu sync.Mutex
			applied := 0
			for range 3 {
				s := storetest.OpenOptions(t, o)
				wg.Go(func() {
					r, err := s.Migrate(t.Context())
					if err != nil || r.Version != want {
						t.Errorf("a migration among several: got version %d and the error %v, wanted %d", r.Version, err, want)
					}
					mu.Lock()
					applied += len(r.Applied)
					mu.Unlock()
				})
			}
			wg.Wait()
			have, _, err = before.SchemaVersion(t.Context())
			if err != nil || have != want || applied != files {
				t.Errorf("migrating at once: got %d migrations applied, version %d and the error %v, wanted %d and %d", applied, have, err, files, want)
			}
			r, err := before.Migrate(t.Context())
			if err != nil || len(r.Applied) != 0 || r.Version != want {
				t.Errorf("migrating again: got %q applied, version %d and the error %v, wanted none applied and version %d", r.Applied, r.Version, err, want)
			}
		})
	}
}

func TestMigrationsAreNumberedAlike(t *testing.T) {
	t.Parallel()
	equal(t, "files", migrationFiles(t, store.Postgres), migrationFiles(t, store.SQLite))
}

// migrationFiles returns the names of the migrations for a kind of database.
func migrationFiles(t *testing.T, kind string) []string {
	t.Helper()
	files, err := filepath.Glob("migrations/" + kind + "/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for i := range files {
		files[i] = filepath.Base(files[i])
	}
	return files
}

func TestADatabaseWithoutSchemaIsUnavailable(t *testing.T) {
	t.Parallel()
	s := storetest.OpenOptions(t, storetest.Empty(t, store.Postgres))
	if _, err := s.Directory(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("reading a database without a schema: got the error %v, wanted that it is unavailable", err)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for url, hint := range map[string]string{
		"":                                     "give a URL",
		"mysql://localhost/x":                  "postgres://",
		"postgres://u:p%zz@localhost/x":        "percent-encode",
		"sqlite:///no/such/folder/idpsync.db":  "no such file",
		"postgres://localhost/x?sslmode=maybe": "sslmode",
	} {
		s, err := store.Open(t.Context(), store.Options{URL: url})
		if err == nil {
			t.Errorf("opening %q: got a store, wanted an error that says %q; closing it: %v", url, hint, s.Close())
		} else if !strings.Contains(err.Error(), hint) || strings.Contains(err.Error(), "p%zz") {
			t.Errorf("opening %q: got the error %v, wanted one that says %q and no password", url, err, hint)
		}
	}
}

func TestALostServerIsUnavailableUntilItIsBack(t *testing.T) {
	t.Parallel()
	l, o := storetest.Through(t, storetest.Migrated(t, store.Postgres))
	s := storetest.OpenOptions(t, o)
	storetest.Seed(t, s)

	err := s.Batch(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		if _, err := tx.Find(ctx, []store.Lookup{{Tenant: storetest.Acme, EmailKey: "x"}}); err != nil {
			t.Errorf("a look-up before the cut: got the error %v, wanted none", err)
		}
		l.Cut()
		return tx.Write(ctx, storetest.Creates(0, 5))
	})
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a batch whose connection was cut: got the error %v, wanted that the database is unavailable", err)
	}
	for name, op := range map[string]func() error{
		"ping":   func() error { return s.Ping(t.Context()) },
		"batch":  func() error { return write(t.Context(), s, storetest.Creates(0, 5)) },
		"read":   func() error { _, err := s.Directory(t.Context()); return err },
		"get":    func() error { _, err := s.DirectoryRevision(t.Context()); return err },
		"claim":  func() error { _, err := s.ClaimParked(t.Context(), "a", 1, time.Minute); return err },
		"reopen": func() error { _, err := store.Open(t.Context(), o); return err },
	} {
		if err := op(); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s while the server is gone: got the error %v, wanted that the database is unavailable", name, err)
		}
	}
	l.Restore()
	mustWrite(t, s, storetest.Creates(0, 5))
	counts, err := s.Counts(t.Context())
	if err != nil || counts.Users != 5 {
		t.Errorf("once the server is back: got %d users and the error %v, wanted 5", counts.Users, err)
	}
}

func TestAServerThatEndsASessionIsUnavailable(t *testing.T) {
	t.Parallel()
	o := storetest.Migrated(t, store.Postgres)
	s := storetest.OpenOptions(t, o)
	storetest.Seed(t, s)
	u, err := url.Parse(o.URL)
	if err != nil {
		t.Fatal(err)
	}
	admin := storetest.Admin(t)
	err = s.Batch(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		if _, err := admin.ExecContext(ctx, `select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = $1`, strings.TrimPrefix(u.Path, "/")); err != nil {
			t.Errorf("ending the sessions: got the error %v, wanted none", err)
		}
		return tx.Write(ctx, storetest.Creates(0, 5))
	})
	unavailable(t, "a batch whose session the server ended", err, "does not answer")
	mustWrite(t, s, storetest.Creates(0, 5)) // the next one has a new session
}

func TestADatabaseThatRefusesConnectionsIsUnavailable(t *testing.T) {
	t.Parallel()
	o := storetest.Migrated(t, store.Postgres)
	u, err := url.Parse(o.URL)
	if err != nil {
		t.Fatal(err)
	}
	admin, name := storetest.Admin(t), strings.TrimPrefix(u.Path, "/")
	exec := func(query string) {
		t.Helper()
		if _, err := admin.ExecContext(context.WithoutCancel(t.Context()), query); err != nil {
			t.Fatal(err)
		}
	}
	open := func(what string, u *url.URL, explanation string) {
		t.Helper()
		_, err := store.Open(t.Context(), store.Options{URL: u.String()})
		unavailable(t, "opening a database, "+what, err, explanation)
	}
	role := strings.Replace(name, "idpsync_test_", "idpsync_role_", 1)
	exec(`create role ` + role + ` login password 'secret' connection limit 0`)
	defer exec(`drop role ` + role)
	crowded, absent := *u, *u
	crowded.User = url.UserPassword(role, "secret")
	open("too many connections", &crowded, "has no connection left")
	absent.Path = "/idpsync_no_such_database"
	open("no such database", &absent, "has no schema, or an old one")
	exec(`alter database ` + name + ` allow_connections false`)
	open("not accepting connections", u, "is being stopped or started")
	exec(`alter database ` + name + ` allow_connections true`)
}

func TestSQLiteFilesAreSharedAndPrivate(t *testing.T) {
	t.Parallel()
	o := storetest.Migrated(t, store.SQLite)
	o.URL, o.Path = "sqlite://"+o.Path, ""
	worker, verb := storetest.OpenOptions(t, o), storetest.OpenOptions(t, o)
	storetest.Seed(t, worker)
	equal(t, "kind", verb.Kind(), store.SQLite)
	var wg sync.WaitGroup
	for k, s := range []*store.Store{worker, verb} {
		wg.Go(func() {
			for i := range 20 {
				if err := create(t.Context(), s, storetest.Creates(k*1000+i*10, 10)); err != nil { // reads before it writes
					t.Errorf("batch %d of process %d: got the error %v, wanted none", i, k, err)
				}
				if _, err := s.Users(t.Context(), store.UserFilter{Tenant: storetest.Acme}); err != nil {
					t.Errorf("process %d lists users: got the error %v, wanted none", k, err)
				}
			}
		})
	}
	wg.Wait()
	counts, err := verb.Counts(t.Context())
	if err != nil || counts.Users != 400 {
		t.Errorf("what both processes wrote: got %d users and the error %v, wanted 400", counts.Users, err)
	}
	files, err := filepath.Glob(strings.TrimPrefix(o.URL, "sqlite://") + "*")
	if err != nil || len(files) < 2 {
		t.Fatalf("files of the database: got %q and the error %v, wanted at least the database and its journal", files, err)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode of %s: got %v and the error %v, wanted that only its owner reads and writes it", filepath.Base(f), info.Mode(), err)
		}
	}
}

func TestSQLiteOpensAwkwardPathsAndFullSync(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a b?c%41#d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := storetest.OpenOptions(t, store.Options{Path: filepath.Join(dir, "x.db"), FullSync: true})
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	storetest.Seed(t, s)
	if _, err := os.Stat(filepath.Join(dir, "x.db")); err != nil {
		t.Errorf("the file of a database at an awkward path: got the error %v, wanted that it is there", err)
	}
}

// A second key that leads with the tenant would be taken for as good as the right one while a table is small, and the
// plans of foreign keys' checks last as long as a connection: each check then reads all users of the tenant. For users
// even one is too many: a tenant that the statistics do not know yet looks as if it had a single user.
func TestOnlyOneKeyOfATableLeadsWithTheTenant(t *testing.T) {
	t.Parallel()
	o := storetest.Migrated(t, store.Postgres)
	db := storetest.Database(t, o)
	rows, err := db.QueryContext(t.Context(), `select c.relname, count(*) from pg_index x join pg_class c on c.oid = x.indrelid
		join pg_attribute a on a.attrelid = x.indrelid and a.attnum = x.indkey[0]
		where a.attname = 'tenant_id' and x.indpred is null group by c.relname
		having count(*) > case c.relname when 'users' then 0 else 1 end`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var table string
		var n int
		if err := rows.Scan(&table, &n); err != nil {
			t.Fatal(err)
		}
		t.Errorf("keys of table %s that lead with tenant_id: got %d, wanted one, and none of users", table, n)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}
