package storetest

import (
	"database/sql"
	"testing"

	"github.com/idpsync/idpsync/store"
)

// Load runs a script of SQL on an empty database, to have what another version of the program stored.
func Load(t testing.TB, o store.Options, script string) {
	t.Helper()
	driver, name := "sqlite", o.Path
	if kindOf(o) == store.Postgres {
		driver, name = "postgres", o.URL
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		t.Fatalf("open the %s database: %v", kindOf(o), err)
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(t.Context(), script); err != nil {
		t.Fatalf("load a script into the %s database: %v", kindOf(o), err)
	}
}
