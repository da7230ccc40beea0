// Package kit holds what the command and the packages below it say alike: how a failure ends the program, how texts of
// outsiders are printed, and how a test issuer of this process is served.
package kit

import "fmt"

// The exit codes, as `idpsync help exit-codes` tells them.
const (
	ExitOK      = 0
	ExitFailure = 1 // the work failed
	ExitUsage   = 2 // wrong arguments or configuration, or warnings with --strict; nothing was done
	ExitPending = 3 // nothing found, or a difference that a dry run did not write
	ExitRefused = 4 // not confirmed, or the same thing was changed at the same time
)

// An Error ends a verb. It brings the exit code, and what to do next.
type Error struct {
	Code int
	Hint string
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Fail makes the error that ends a verb. The hint names the next thing to do and may be empty; %w works.
func Fail(code int, hint, format string, args ...any) error {
	return &Error{Code: code, Hint: hint, Err: fmt.Errorf(format, args...)}
}
