package store

import (
	"context"
	"errors"
	"fmt"
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

// A classified error is one of a database with its class and, when it is unavailable, why.
type classified struct {
	class, err error
	fault      fault
}

func (e *classified) Error() string   { return e.class.Error() + ": " + e.err.Error() }
func (e *classified) Unwrap() []error { return []error{e.class, e.err} }

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
		return &classified{ErrUnavailable, fmt.Errorf("%w: %w", errTooSlow, err), faultSlow}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("store: %w: %w", ctx.Err(), err)
	}
	if why, class := classOf(err); class != nil {
		return &classified{class, err, why}
	}
	return fmt.Errorf("store: %w", err)
}

// tooSlow reports whether a call took longer than the store allows.
func tooSlow(ctx context.Context) bool { return errors.Is(context.Cause(ctx), errTooSlow) }
