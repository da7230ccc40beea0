package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// Options says which database to open and how.
type Options struct {
	URL      string       // postgres://… or sqlite:///path; "" means Path
	URLFile  string       // file that URL was read from; it is read again for each new connection
	Path     string       // file of the SQLite database; its folder must exist
	Log      *slog.Logger // nil: nothing is logged
	MaxConns int          // connections (PostgreSQL), or readers (SQLite); 0 means DefaultMaxConns
	FullSync bool         // SQLite: synchronous=FULL, which survives a loss of power too

	// Check has a SQLite database checked that was not closed when its last process ended. That reads all of it.
	Check bool

	// Timeout bounds each call, and on the server each statement of a transaction and each pause in one, so that a lost or
	// frozen link neither holds the caller nor leaves locks behind: a call that takes longer is [ErrUnavailable]. 0 sets no
	// bound. SQLite has none.
	Timeout time.Duration

	// Clock, unless nil, changes what the database's clock says, so that tests can let time pass.
	Clock func(database time.Time) time.Time
}

// DefaultMaxConns is the size of the pool when Options sets none.
const DefaultMaxConns = 8

// The kinds of database.
const (
	Postgres = "postgres"
	SQLite   = "sqlite"
)

// A Store is a database of idpsync. Its methods are safe for concurrent use. When their context ends they return its
// error, and nothing has been written.
type Store struct {
	kind    string
	write   *sqlx.DB // PostgreSQL: the pool; SQLite: the only handle that writes
	read    *sqlx.DB // PostgreSQL: the same pool; SQLite: handles that only read
	health  *sqlx.DB // one connection for Ready, so that a busy pool is not taken for an outage
	timeout time.Duration
	unclean bool // SQLite: it was not closed, and is to be checked
	log     *slog.Logger
	stmts   statements
	moved   func(time.Time) time.Time // what the database's clock says; nil: as it is
}

// Open opens the database and reaches it once. It neither creates nor changes the schema, see [Store.Migrate]; a SQLite
// file that is missing is created, readable by its owner only.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.MaxConns <= 0 {
		o.MaxConns = DefaultMaxConns
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{log: o.Log, moved: o.Clock}
	var err error
	switch {
	case strings.HasPrefix(o.URL, "postgres://"), strings.HasPrefix(o.URL, "postgresql://"):
		s.kind = Postgres
		err = s.openPostgres(o)
	case strings.HasPrefix(o.URL, "sqlite://"):
		o.Path = strings.TrimPrefix(o.URL, "sqlite://")
		fallthrough
	case o.URL == "" && o.Path != "":
		s.kind = SQLite
		err = s.openSQLite(ctx, o)
	case o.URL == "":
		err = errors.New("store: no database named; give a URL or a path")
	default:
		err = errors.New("store: the database URL starts with neither postgres:// nor sqlite://")
	}
	if err != nil {
		return nil, err
	}
	err = s.Ping(ctx)
	if err == nil && s.unclean {
		err = s.quickCheck(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Kind returns the kind of the database, Postgres or SQLite.
func (s *Store) Kind() string { return s.kind }

// Ping reaches the database.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	if err := s.write.PingContext(ctx); err != nil {
		return classify(ctx, err)
	}
	return classify(ctx, s.read.PingContext(ctx))
}

// Ready reports whether the database can be reached and takes writes, without writing. It does not wait for other calls.
func (s *Store) Ready(ctx context.Context) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	query := `select 'off'`
	if s.postgres() {
		query = `select current_setting('transaction_read_only')` // also on in a standby
	}
	var readOnly string
	if err := s.health.GetContext(ctx, &readOnly, query); err != nil {
		return classify(ctx, err)
	}
	if readOnly == "on" {
		return &classified{ErrUnavailable, errors.New("it is a standby, or default_transaction_read_only is on"), faultReadOnly}
	}
	return nil
}

// TryWrite writes a row, deletes it, and commits.
func (s *Store) TryWrite(ctx context.Context) error {
	return s.update(ctx, func(tx *sqlx.Tx) error {
		now := time.Now()
		run := strconv.FormatInt(now.UnixNano(), 10) // in the key, so that two workers do not wait for each other
		if _, err := tx.ExecContext(ctx, tx.Rebind(`insert into in_flight_events (event, run, worker, alone, died, tenant, source, event_id, at)
			values ('trial', ?, '', false, false, '', '', '', ?)`), run, at(now)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, tx.Rebind(`delete from in_flight_events where event = 'trial' and run = ?`), run)
		return err
	})
}

// errTooSlow ends the context of a call that takes longer than [Options.Timeout].
var errTooSlow = errors.New("no answer in time: the link may be lost, or the database overloaded")

// bounded bounds the context of one call.
func (s *Store) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.timeout <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, s.timeout, errTooSlow)
}

// Close waits for running methods and closes all connections.
func (s *Store) Close() error {
	err := s.stmts.close()
	if s.read != s.write && s.read != nil {
		err = errors.Join(err, s.read.Close())
	}
	if s.health != nil {
		err = errors.Join(err, s.health.Close())
	}
	return errors.Join(err, s.write.Close())
}

func (s *Store) postgres() bool { return s.kind == Postgres }

// update runs fn in a transaction that may write, once more for each time that it is raced.
func (s *Store) update(ctx context.Context, fn func(*sqlx.Tx) error) error {
	return s.again(ctx, func() error {
		ctx, cancel := s.bounded(ctx)
		defer cancel()
		tx, err := s.write.BeginTxx(ctx, nil)
		if err != nil {
			return classify(ctx, err)
		}
		defer func() { _ = tx.Rollback() }() // after a commit it does nothing
		if err := fn(tx); err != nil {
			return classify(ctx, err)
		}
		return classify(ctx, tx.Commit())
	})
}

// view runs fn in a transaction that sees one state of the database.
func (s *Store) view(ctx context.Context, fn func(*sqlx.Tx) error) error {
	var o *sql.TxOptions // a reading transaction of SQLite is a snapshot in itself
	if s.postgres() {
		o = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	tx, err := s.read.BeginTxx(ctx, o)
	if err != nil {
		return classify(ctx, err)
	}
	defer func() { _ = tx.Rollback() }()
	return classify(ctx, fn(tx))
}

// exec runs one statement written with ? and returns how many rows it changed.
func (s *Store) exec(ctx context.Context, query string, args ...any) (int64, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	n, err := changed(s.write.ExecContext(ctx, s.write.Rebind(query), args...))
	return n, classify(ctx, err)
}

// changed returns how many rows a statement changed.
func changed(res sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// selectAll reads rows with a query written with ? into dest, a pointer to a slice of structs with db tags.
func (s *Store) selectAll(ctx context.Context, dest any, query string, args ...any) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return classify(ctx, s.read.SelectContext(ctx, dest, s.read.Rebind(query), args...))
}

// get reads one row into dest, or fails with ErrNotFound, which what describes.
func (s *Store) get(ctx context.Context, dest any, what, query string, args ...any) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	err := s.read.GetContext(ctx, dest, s.read.Rebind(query), args...)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s: %w", what, ErrNotFound)
	}
	return classify(ctx, err)
}
