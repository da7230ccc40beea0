package store

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/lib/pq"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// A fault is what is the matter with a database that cannot serve, and what an operator can do about it.
type fault struct{ what, hint string }

var (
	faultUnreachable = fault{"does not answer", "check that the database is up and that --database-url names it, and the network in between"}
	faultSlow        = fault{"answers too late", "check its load, who holds locks in it, and the network in between"}
	faultReadOnly    = fault{"takes no writes", "it is a standby, or default_transaction_read_only is set: name the primary in --database-url, or end the setting"}
	faultFull        = fault{"has no space left", "make space on the disk of the server, or of --data-dir"}
	faultCrowded     = fault{"has no connection left", "raise max_connections of the server, or run fewer workers"}
	faultExhausted   = fault{"has not enough memory", "give it more, or less to do"}
	faultStopping    = fault{"is being stopped or started", "if it does not come back, look into its log"}
	faultRefusing    = fault{"refuses the login", "check user and password in --database-url; --database-url-file is read again for each new connection"}
	faultSchemaless  = fault{"has no schema, or an old one", "run: idpsync migrate --database-url …"}
	faultDenying     = fault{"denies a right", "grant the database's user all rights on the tables of idpsync"}
	faultFailing     = fault{"cannot be written or read", "check its disk, the system's log, and the space that is left"}
	faultDamaged     = fault{"is damaged", "stop the workers, and follow \"The database is damaged\" in deploy/RUNBOOK.md before anything is started again"}
	faultGuarded     = fault{"takes no writes", "check owner, mode and mount of --data-dir"}
	faultBusy        = fault{"is held by another process", "end that process, or give each worker a database of its own"}
)

// Explain says in plain words why the database cannot serve, and what an operator can do about it. It repeats nothing of err.
func Explain(err error) (what, hint string) {
	f := faultUnreachable
	if e, ok := errors.AsType[*classified](err); ok && e.fault != (fault{}) {
		f = e.fault
	}
	return f.what, f.hint
}

// classOf returns why the database is unavailable, and the class of an error of a driver; nil for one that has none.
func classOf(err error) (why fault, class error) {
	if errors.Is(err, sql.ErrNoRows) {
		return fault{}, ErrNotFound
	}
	if e, ok := errors.AsType[*pq.Error](err); ok {
		return postgresClass(string(e.Code))
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return sqliteClass(e.Code())
	}
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return faultUnreachable, ErrUnavailable
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return faultUnreachable, ErrUnavailable
	}
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return faultUnreachable, ErrUnavailable
	}
	return fault{}, nil
}

// postgresClass follows appendix A of the PostgreSQL manual. What an operator can fix (a refused login, a missing
// right or table) counts as unavailable: an event must wait for it, not fail of it.
func postgresClass(code string) (why fault, class error) {
	switch code {
	case "23505", "40001", "40P01": // unique_violation, serialization_failure, deadlock_detected
		return fault{}, ErrRaced
	case "0A000", "25006": // feature_not_supported (to begin a transaction that writes, on a standby), read_only_sql_transaction
		return faultReadOnly, ErrUnavailable
	case "25P03", "55P03", "57014": // idle_in_transaction_session_timeout, lock_not_available, query_canceled
		return faultSlow, ErrUnavailable
	case "53100": // disk_full
		return faultFull, ErrUnavailable
	case "53200": // out_of_memory
		return faultExhausted, ErrUnavailable
	case "53300": // too_many_connections
		return faultCrowded, ErrUnavailable
	case "55000", "57P01", "57P02", "57P03", "57P05": // takes no connections, admin_shutdown, crash_shutdown, cannot_connect_now, idle_session_timeout
		return faultStopping, ErrUnavailable
	case "3D000", "42P01", "42703", "57P04": // no such database, no such table, no such column, database dropped
		return faultSchemaless, ErrUnavailable
	case "42501": // insufficient_privilege
		return faultDenying, ErrUnavailable
	case "XX001", "XX002": // data_corrupted, index_corrupted
		return faultDamaged, ErrUnavailable
	}
	if len(code) < 2 {
		return fault{}, nil
	}
	switch code[:2] {
	case "08": // connection
		return faultUnreachable, ErrUnavailable
	case "28": // authorization
		return faultRefusing, ErrUnavailable
	case "53": // resources
		return faultSlow, ErrUnavailable
	case "58": // system
		return faultFailing, ErrUnavailable
	case "22", "23", "54": // data, integrity, program limit
		return fault{}, ErrConstraint
	}
	return fault{}, nil
}

// sqliteClass looks at the extended code first, as SQLITE_CONSTRAINT alone does not tell a taken key from a bad row.
func sqliteClass(code int) (why fault, class error) {
	switch code {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return fault{}, ErrRaced
	}
	switch code & 0xff {
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH:
		return fault{}, ErrConstraint
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return faultDamaged, ErrUnavailable
	case sqlite3.SQLITE_FULL:
		return faultFull, ErrUnavailable
	case sqlite3.SQLITE_IOERR:
		return faultFailing, ErrUnavailable
	case sqlite3.SQLITE_NOMEM:
		return faultExhausted, ErrUnavailable
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL:
		return faultBusy, ErrUnavailable
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		return faultGuarded, ErrUnavailable
	}
	return fault{}, nil
}
