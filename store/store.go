package store

import (
	"log/slog"

	"github.com/jmoiron/sqlx"
)

// Options says which database to open and how.
type Options struct {
	URL      string       // postgres://… or sqlite:///path; "" means Path
	Path     string       // file of the SQLite database; its folder must exist
	Log      *slog.Logger // nil: nothing is logged
	MaxConns int          // connections (PostgreSQL), or readers (SQLite); 0 means DefaultMaxConns
	FullSync bool         // SQLite: synchronous=FULL, which survives a loss of power too
}

// DefaultMaxConns is the size of the pool when Options sets none.
const DefaultMaxConns = 8

// A Store is a database of idpsync. Its methods are safe for concurrent use.
type Store struct {
	d     dialect
	write *sqlx.DB // PostgreSQL: the pool; SQLite: the only handle that writes
	read  *sqlx.DB // PostgreSQL: the same pool; SQLite: read-only handles
	log   *slog.Logger
	stmts statements
}
