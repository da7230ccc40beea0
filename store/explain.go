package store

import (
	"errors"

	"github.com/lib/pq"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Explain says in plain words why the database cannot serve, and what an operator can do about it. It repeats nothing of err.
func Explain(err error) (what, hint string) {
	const (
		writes = "takes no writes"
		full   = "has no space left"
	)
	if e, ok := errors.AsType[*pq.Error](err); ok {
		switch code := string(e.Code); {
		case code == "25006":
			return writes, "it is a standby, or default_transaction_read_only is set: name the primary in --database-url, or end the setting"
		case code == "53100":
			return full, "make space on the server's disk"
		case code[:min(2, len(code))] == "28":
			return "refuses the login", "check user and password in --database-url; --database-url-file is read again for each new connection"
		case code == "3D000", code == "42P01", code == "42703":
			return "has no schema, or an old one", "run: idpsync migrate --database-url …"
		case code == "42501":
			return "denies a right", "grant the database's user all rights on the tables of idpsync"
		case code == "53300":
			return "has no connection left", "raise max_connections of the server, or run fewer workers"
		}
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_FULL:
			return full, "make space on the disk of --data-dir"
		case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN:
			return writes, "check owner, mode and mount of --data-dir"
		case sqlite3.SQLITE_IOERR:
			return "cannot be written or read", "check the disk of --data-dir, and the space that is left on it"
		}
	}
	return "does not answer", "check that the database is up and that --database-url names it"
}
