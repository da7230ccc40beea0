package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations
var migrations embed.FS

// MigrationReport says what Migrate did.
type MigrationReport struct {
	Applied []string // file names of the migrations applied by this call, in order
	Version int64    // of the schema now
}

// Migrate brings the schema up to date. Several processes may do so at once: PostgreSQL has an advisory lock for it, which
// needs a connection that is not pooled by transaction; SQLite has one writer at a time. A migration is one transaction.
func (s *Store) Migrate(ctx context.Context) (MigrationReport, error) {
	var r MigrationReport
	p, err := s.migrations()
	if err != nil {
		return r, err
	}
	var done []*goose.MigrationResult
	if s.postgres() {
		done, err = p.Up(ctx)
	} else {
		done, err = s.migrateSQLite(ctx, p)
	}
	if partial, ok := errors.AsType[*goose.PartialError](err); ok {
		done = partial.Applied
	}
	for _, m := range done {
		r.Applied = append(r.Applied, path.Base(m.Source.Path))
	}
	if err != nil {
		return r, fmt.Errorf("migrate the schema: %w", classify(ctx, err))
	}
	if r.Version, err = p.GetDBVersion(ctx); err != nil {
		return r, fmt.Errorf("migrate the schema: %w", classify(ctx, err))
	}
	return r, nil
}

// SchemaVersion returns the version of the database's schema, 0 when there is none, and the one that this program wants.
func (s *Store) SchemaVersion(ctx context.Context) (have, want int64, err error) {
	p, err := s.migrations()
	if err != nil {
		return 0, 0, err
	}
	for _, src := range p.ListSources() {
		want = max(want, src.Version)
	}
	// Read here, as the provider would create its table.
	there := `select count(*) from sqlite_master where name = 'goose_db_version'`
	if s.postgres() {
		there = `select count(*) from pg_catalog.pg_class where oid = to_regclass('goose_db_version')`
	}
	var n int
	if err := s.read.GetContext(ctx, &n, there); err != nil || n == 0 {
		return 0, want, classify(ctx, err)
	}
	err = s.read.GetContext(ctx, &have, `select coalesce(max(version_id), 0) from goose_db_version where is_applied`)
	return have, want, classify(ctx, err)
}

func (s *Store) migrations() (*goose.Provider, error) {
	dir, err := fs.Sub(migrations, "migrations/"+s.kind)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	dialect := goose.DialectSQLite3
	opts := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true), goose.WithSlog(s.log)}
	if s.postgres() {
		dialect = goose.DialectPostgres
		// Tries each second for a minute.
		l, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60), lock.WithUnlockTimeout(1, 60))
		if err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
		opts = append(opts, goose.WithSessionLocker(l))
	}
	p, err := goose.NewProvider(dialect, s.write.DB, dir, opts...)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return p, nil
}

// migrateSQLite tries again after a failure, as there is no lock: another process may have applied the same migration in
// between, which makes ours fail whole and the next try see it done.
func (s *Store) migrateSQLite(ctx context.Context, p *goose.Provider) ([]*goose.MigrationResult, error) {
	const tries = 5
	var done []*goose.MigrationResult
	for i := 1; ; i++ {
		applied, err := p.Up(ctx)
		if partial, ok := errors.AsType[*goose.PartialError](err); ok {
			applied = partial.Applied
		}
		done = append(done, applied...)
		if err == nil || i == tries || ctx.Err() != nil {
			return done, err
		}
		if err := pause(ctx, i); err != nil {
			return done, err
		}
	}
}

// Schema returns the text of all migrations for a kind of database.
func Schema(kind string) string {
	var all []byte
	entries, err := migrations.ReadDir("migrations/" + kind)
	if err != nil {
		return ""
	}
	for _, e := range entries {
		text, err := migrations.ReadFile("migrations/" + kind + "/" + e.Name())
		if err != nil {
			return ""
		}
		all = append(all, text...)
	}
	return string(all)
}
