package record

import (
	"errors"

	"github.com/idpsync/idpsync/providers"
)

// A Rejection is a permanent or transient refusal of one event, ready to be answered.
type Rejection struct {
	ErrorBody
	Reason     string   // which check failed: details.reason, and Idpsync-Dl-Reason
	Hint       string   // what the operator does next
	DeadLetter bool     // false for an ordinary repeat, which is nobody's fault
	Directory  bool     // a newer directory might not refuse it
	Policies   []string // ids of the policies that decided
	Cause      error
}

// Error implements error.
func (r *Rejection) Error() string {
	s := string(r.Code)
	if r.Reason != "" {
		s += " (" + r.Reason + ")"
	}
	return s + ": " + r.Message
}

// Unwrap returns the cause, for logs.
func (r *Rejection) Unwrap() error { return r.Cause }

// Reject makes a rejection that is dead-lettered when it came from a stream.
func Reject(code Code, reason, message string) *Rejection {
	r := &Rejection{
		ErrorBody:  ErrorBody{Code: code, Message: message, Details: map[string]any{}, Notices: []string{}},
		Reason:     reason,
		DeadLetter: true,
	}
	if reason != "" {
		r.Details["reason"] = reason
	}
	return r
}

// Invalid makes the rejection of a request with faulty fields, all of them at once.
func Invalid(faults []providers.Fault) *Rejection {
	r := Reject(CodeInvalidInput, "", "The request has invalid fields; details.fields lists all of them.")
	r.Details["fields"] = faults
	r.Hint = "Correct the sender, or the mapping of its source: idpsync explain --dead-letter shows what each field came from; then replay."
	return r
}

// Class says which sort of failure an operator has before them.
func (r *Rejection) Class() string {
	switch {
	case r.Code == CodeForbidden:
		return "policy"
	case r.Reason == "crashed_worker", r.Reason == "panic":
		return "crash"
	case r.Code.Transient():
		return "transient"
	default:
		return "permanent"
	}
}

// RejectionOf is the one table from a provider's error classes to codes.
func RejectionOf(err error) *Rejection {
	var pe *providers.Error
	if !errors.As(err, &pe) {
		r := Reject(CodeInternal, "provider", "The event could not be verified for a reason inside idpsync.")
		r.Cause = err
		return r
	}
	code := CodeInternal
	switch {
	case errors.Is(pe.Class, providers.ErrMalformed):
		code = CodeMalformed
	case errors.Is(pe.Class, providers.ErrUnverified):
		code = CodeUnauthenticated
	case errors.Is(pe.Class, providers.ErrTenantMismatch):
		code = CodeTenantMismatch
	case errors.Is(pe.Class, providers.ErrUnavailable):
		code = CodeUnavailable
	}
	r := Reject(code, pe.Reason, pe.Message)
	if pe.Field != "" {
		r.Details["field"] = pe.Field
	}
	r.Hint, r.Cause = pe.Hint, err
	return r
}
