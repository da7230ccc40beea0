package store_test

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

// A rotated login is one that replaces another: the file has the new one first, then the old one ends.
func TestDatabaseURLIsReadAgainFromItsFile(t *testing.T) {
	t.Parallel()
	o := storetest.Migrated(t, store.Postgres)
	admin := storetest.Admin(t)
	u, err := url.Parse(o.URL)
	if err != nil {
		t.Fatal(err)
	}
	database := strings.TrimPrefix(u.Path, "/")
	do := func(statement string) {
		t.Helper()
		if _, err := admin.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "db.url")
	as := func(role string) string {
		t.Helper()
		role = database + role
		do(`create role ` + role + ` login superuser`)
		t.Cleanup(func() {
			if _, err := admin.Exec(`drop role ` + role); err != nil { //nolint:noctx // after the test's context
				t.Error(err)
			}
		})
		u.User = url.User(role)
		return u.String()
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o.URL, o.URLFile = as("_old"), file
	write(o.URL + "\n")
	s := storetest.OpenOptions(t, o)

	do(`alter role ` + database + `_old nologin`)
	do(`select pg_terminate_backend(pid) from pg_stat_activity where usename = '` + database + `_old'`)
	if err := s.Ping(t.Context()); err == nil {
		err = s.Ping(t.Context()) // the first may have found a connection whose end it had not seen
		if !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("without a login the database answers with %v, want %v", err, store.ErrUnavailable)
		}
	}
	write("no URL")
	if err := s.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("with a file that holds no URL the database answers with %v, want %v", err, store.ErrUnavailable)
	}
	write(as("_new"))
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("with a new login in the file the database answers with %v, want none", err)
	}
}
