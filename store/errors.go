package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/lib/pq"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// The classes of the store's errors; errors.Is finds them through whatever wraps them.
var (
	// ErrNotFound: there is no such row.
	ErrNotFound = errors.New("not found")
	// ErrRaced: a unique key was taken, or a row changed, since it was read; read again and decide anew.
	ErrRaced = errors.New("raced by another writer")
	// ErrStaleDirectory: the directory was changed since the revision that the caller started from.
	ErrStaleDirectory = errors.New("directory has changed since it was read")
	// ErrUnavailable: the database cannot serve at the moment, or not until an operator fixes it. Transient; try later.
	ErrUnavailable = errors.New("database unavailable")
	// ErrConstraint: a row is wrong in itself or points at nothing of its tenant. Permanent for that row.
	ErrConstraint = errors.New("row refused by the database")
)

// A RowError is an [ErrConstraint] of which the store knows the row, so that a caller can leave it out and write the
// others. Nothing was written.
type RowError struct {
	Record string // name of the field of [Write], as in Users
	Index  int    // of the row in it
	Field  string
	Reason string
}

// Error names row, field and reason, never the value.
func (e *RowError) Error() string {
	return fmt.Sprintf("%v: %s[%d].%s %s", ErrConstraint, e.Record, e.Index, e.Field, e.Reason)
}

// Unwrap gives the class.
func (e *RowError) Unwrap() error { return ErrConstraint }

// classify gives err its class. An error that has one, and that of an ended context, stay as they are.
func classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	for _, class := range []error{ErrNotFound, ErrRaced, ErrStaleDirectory, ErrUnavailable, ErrConstraint} {
		if errors.Is(err, class) {
			return err
		}
	}
	if tooSlow(ctx) {
		return fmt.Errorf("%w: %w: %w", ErrUnavailable, errTooSlow, err)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("store: %w: %w", ctx.Err(), err)
	}
	if class := classOf(err); class != nil {
		return fmt.Errorf("%w: %w", class, err)
	}
	return fmt.Errorf("store: %w", err)
}

// tooSlow reports whether a call took longer than the store allows.
func tooSlow(ctx context.Context) bool { return errors.Is(context.Cause(ctx), errTooSlow) }

func classOf(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	if e, ok := errors.AsType[*pq.Error](err); ok {
		return postgresClass(string(e.Code))
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return sqliteClass(e.Code())
	}
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return ErrUnavailable
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return ErrUnavailable
	}
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return ErrUnavailable
	}
	return nil
}

// postgresClass follows appendix A of the PostgreSQL manual. What an operator can fix (a refused login, a missing
// right or table) counts as unavailable: an event must wait for it, not fail of it.
func postgresClass(code string) error {
	switch code {
	case "23505", "40001", "40P01": // unique_violation, serialization_failure, deadlock_detected
		return ErrRaced
	case "55P03", "57014", "58030", "25006", // lock_not_available, query_canceled, io_error, read_only_sql_transaction
		"57P01", "57P02", "57P03", "57P05", // admin_shutdown, crash_shutdown, cannot_connect_now, idle_session_timeout
		"25P03", "55000", // idle_in_transaction_session_timeout, a database that takes no connections
		"3D000", "42501", "42P01", "42703": // no such database, insufficient privilege, no such table, no such column
		return ErrUnavailable
	}
	if len(code) < 2 {
		return nil
	}
	switch code[:2] {
	case "08", "28", "53", "58": // connection, authorization, resources, system
		return ErrUnavailable
	case "22", "23", "54": // data, integrity, program limit
		return ErrConstraint
	}
	return nil
}

// sqliteClass looks at the extended code first, as SQLITE_CONSTRAINT alone does not tell a taken key from a bad row.
func sqliteClass(code int) error {
	switch code {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return ErrRaced
	}
	switch code & 0xff {
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH:
		return ErrConstraint
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM,
		sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_PROTOCOL:
		return ErrUnavailable
	}
	return nil
}
