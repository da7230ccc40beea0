package policy

import (
	"context"
	"sync/atomic"

	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/record"
)

// A Holder asks whichever set is in force. The set can be changed while requests are decided; each request is decided
// by one set from beginning to end. All methods are safe for concurrent use.
type Holder struct {
	set atomic.Pointer[Set]
}

var _ worker.Authorizer = (*Holder)(nil)

// NewHolder returns a holder of a set.
func NewHolder(s *Set) *Holder {
	h := &Holder{}
	h.set.Store(s)
	return h
}

// Authorize implements [worker.Authorizer]. A holder without a set denies everything.
func (h *Holder) Authorize(ctx context.Context, req record.AuthorizationRequest) record.Decision {
	s := h.set.Load()
	if s == nil {
		return broken("no policies are in force")
	}
	return s.Authorize(ctx, req)
}

// Set returns the set in force, or nil.
func (h *Holder) Set() *Set { return h.set.Load() }

// Swap puts a set in force and returns the one that was. A nil set changes nothing: the way to forbid everything is a
// policy.
func (h *Holder) Swap(s *Set) *Set {
	if s == nil {
		return h.set.Load()
	}
	return h.set.Swap(s)
}

// Reload compiles files and puts them in force, and reports whether that changed anything. Files with faults leave the
// set that is in force where it is and are the error.
func (h *Holder) Reload(files []File) (changed bool, err error) {
	if old := h.set.Load(); old != nil && old.version == digest(files) {
		return false, nil
	}
	s, err := Compile(files)
	if err != nil {
		return false, err
	}
	h.set.Store(s)
	return true, nil
}
