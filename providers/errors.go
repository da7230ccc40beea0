package providers

import (
	"errors"
	"time"
)

// The classes of a provider's error; errors.Is finds them through an [*Error].
var (
	// ErrMalformed: the event is not a document of its kind. Permanent; answered 400 malformed.
	ErrMalformed = errors.New("malformed event")
	// ErrUnverified: the event could not be proved, and never will be. Permanent; answered 401 unauthenticated.
	ErrUnverified = errors.New("event not verified")
	// ErrTenantMismatch: subject or path, X-Tenant-ID and credential do not name one tenant. Permanent; answered 403.
	ErrTenantMismatch = errors.New("tenant mismatch")
	// ErrUnavailable: what is needed to decide could not be reached. Transient; the event waits.
	ErrUnavailable = errors.New("source unavailable")
)

// An Error is why an event could not be verified.
type Error struct {
	Class      error         // one of the classes above
	Reason     string        // name of the check that failed, in snake case; fixed vocabulary of the provider
	Field      string        // the field at fault; optional
	Message    string        // for the sender: what is wrong; holds no token, assertion, password or personal data
	Hint       string        // for the operator: what to do next; optional
	RetryAfter time.Duration // ErrUnavailable only: not worth trying again before; optional

	// ErrUnavailable only. Ready is closed when what the event needs has been read, or cannot be: judge it again then. Away
	// says that the issuer is at fault, and the event should wait where it keeps no other from its turn.
	Ready <-chan struct{}
	Away  bool
	Err   error // cause, for logs; optional
}

// Error returns reason, message and cause.
func (e *Error) Error() string {
	s := e.Class.Error()
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap makes both the class and the cause visible to errors.Is and errors.As.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Class}
	}
	return []error{e.Class, e.Err}
}
