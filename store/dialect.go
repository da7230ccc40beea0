package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite"
)

// busyTimeout is how long SQLite waits for another process that writes, in milliseconds.
const busyTimeout = 10_000

// connectorOf returns a connector with what idpsync wants of every connection, unless the URL says otherwise.
func connectorOf(text string, timeout time.Duration) (*connector, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("store: the database URL cannot be parsed; percent-encode special characters in user and password")
	}
	q := u.Query()
	setDefault := func(name, value string) {
		if !q.Has(name) {
			q.Set(name, value)
		}
	}
	if os.Getenv("PGSSLMODE") == "" {
		setDefault("sslmode", "prefer")
	}
	setDefault("application_name", "idpsync")
	q.Set("binary_parameters", "yes") // parse and bind in one round trip; and bytes as they are, see columns.byteArray
	setDefault("connect_timeout", "5")
	u.RawQuery = q.Encode()
	c, err := newConnector(u.String(), timeout)
	if err != nil {
		return nil, fmt.Errorf("store: database URL: %w", err)
	}
	return c, nil
}

func (s *Store) openPostgres(o Options) error {
	made, err := connectorOf(o.URL, o.Timeout)
	if err != nil {
		return err
	}
	var c driver.Connector = made
	if o.URLFile != "" {
		c = &rotating{file: o.URLFile, timeout: o.Timeout, log: s.log, url: o.URL, current: made}
	}
	open := func(conns int) *sqlx.DB {
		db := sqlx.NewDb(sql.OpenDB(c), "postgres")
		db.SetMaxOpenConns(conns)
		db.SetMaxIdleConns(conns)
		db.SetConnMaxIdleTime(5 * time.Minute)
		return db
	}
	db := open(o.MaxConns)
	s.write, s.read, s.health, s.timeout = db, db, open(1), o.Timeout
	return nil
}

func (s *Store) openSQLite(ctx context.Context, o Options) error {
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	// Created here, as SQLite would let everybody read it; its journal takes over the mode.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("store: open the SQLite database: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if journal, err := os.Stat(path + "-wal"); err == nil && journal.Size() > 0 {
		s.unclean = o.Check // whoever closes it last removes the journal
	}
	sync := "NORMAL"
	if o.FullSync {
		sync = "FULL"
	}
	open := func(extra string) (*sqlx.DB, error) {
		dsn := (&url.URL{Scheme: "file", Path: path}).String() + fmt.Sprintf(
			"?_busy_timeout=%d&_foreign_keys=1&_journal_mode=WAL&_synchronous=%s&_time_integer_format=unix_micro%s",
			busyTimeout, sync, extra)
		c, err := sqlite.NewConnector(dsn)
		if err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
		return sqlx.NewDb(sql.OpenDB(c), "sqlite3"), nil // the name tells sqlx to bind with ?
	}
	// Keys of users are spread over the whole of their indexes; 16 MiB of pages keep most of them at hand.
	if s.write, err = open("&_txlock=immediate&_pragma=cache_size(-16384)"); err != nil {
		return err
	}
	s.write.SetMaxOpenConns(1)
	if s.read, err = open("&_query_only=1"); err != nil {
		return errors.Join(err, s.write.Close())
	}
	s.read.SetMaxOpenConns(o.MaxConns)
	s.read.SetMaxIdleConns(o.MaxConns)
	if s.health, err = open("&_query_only=1"); err != nil {
		return errors.Join(err, s.write.Close(), s.read.Close())
	}
	s.health.SetMaxOpenConns(1)
	return nil
}

// quickCheck reads the whole of a SQLite database. One that is damaged is of class [ErrUnavailable].
func (s *Store) quickCheck(ctx context.Context) error {
	s.log.WarnContext(ctx, "the database was not closed when it was used last; it is checked now")
	var found []string
	if err := s.read.SelectContext(ctx, &found, `pragma quick_check(5)`); err != nil {
		return classify(ctx, err)
	}
	if !slices.Equal(found, []string{"ok"}) {
		return &classified{ErrUnavailable, fmt.Errorf("its check found: %s", strings.Join(found, "; ")), faultDamaged}
	}
	return nil
}

// statements are the prepared statements of SQLite's writing handle. They are made before a transaction begins, as that
// takes the only connection.
type statements struct {
	mu sync.Mutex
	m  map[string]*sql.Stmt
}

// prepare makes those of queries that are not there yet.
func (p *statements) prepare(ctx context.Context, db *sqlx.DB, queries []string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range queries {
		if p.m[q] != nil {
			continue
		}
		st, err := db.PrepareContext(ctx, q)
		if err != nil {
			return err
		}
		if p.m == nil {
			p.m = make(map[string]*sql.Stmt)
		}
		p.m[q] = st
	}
	return nil
}

func (p *statements) get(q string) *sql.Stmt {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.m[q]
}

func (p *statements) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, st := range p.m {
		errs = append(errs, st.Close())
	}
	p.m = nil
	return errors.Join(errs...)
}
