package store

import "errors"

// The classes of the store's errors; errors.Is finds them through whatever wraps them.
var (
	// ErrNotFound: there is no such row.
	ErrNotFound = errors.New("not found")
	// ErrRaced: a unique key was taken, or a row changed, since it was read; read again and decide anew.
	ErrRaced = errors.New("raced by another writer")
	// ErrStaleDirectory: the directory was changed since the revision that the caller started from.
	ErrStaleDirectory = errors.New("directory has changed since it was read")
	// ErrUnavailable: the database cannot serve at the moment. Transient; try again later.
	ErrUnavailable = errors.New("database unavailable")
	// ErrConstraint: a row is wrong in itself or points at nothing of its tenant. Permanent for that row.
	ErrConstraint = errors.New("row refused by the database")
)
