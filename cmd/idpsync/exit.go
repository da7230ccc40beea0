package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/worker/stream"
)

const exitCodesText = `0  done, or nothing to do
1  the work failed; the message and its hint say why
2  wrong arguments or configuration, or warnings with apply --strict; nothing was done
3  nothing was found, or a dry run found a difference
4  refused: not confirmed, or the same thing was changed by somebody else at the same time

A process that is ended by a second signal while it drains has the code of that signal: 130 for SIGINT, 143 for SIGTERM.
`

func newExitCodesTopic(*app) *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: strings.TrimSpace(exitCodesText)}
}

// A silentError ends the process with a code when all has been said already.
type silentError struct{ code int }

func (e silentError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

func exitCode(err error) int {
	if silent := (silentError{}); errors.As(err, &silent) {
		return silent.code
	}
	var verb *kit.Error
	if errors.As(err, &verb) {
		return verb.Code
	}
	if isUsage(err) {
		return kit.ExitUsage
	}
	return kit.ExitFailure
}

func hintOf(err error, cmd *cobra.Command) string {
	if verb, ok := errors.AsType[*kit.Error](err); ok && verb.Hint != "" {
		return verb.Hint
	}
	if broker, ok := errors.AsType[*stream.Error](err); ok && broker.Hint != "" {
		return broker.Hint
	}
	switch {
	case isUsage(err):
		return "see idpsync help " + strings.TrimPrefix(cmd.CommandPath(), "idpsync ")
	case errors.Is(err, context.Canceled):
		return "it was interrupted; what was written so far stands"
	default:
		return ""
	}
}

// isUsage recognises the errors of cobra's own argument checks, which have no type.
func isUsage(err error) bool {
	s := err.Error()
	for _, prefix := range []string{"required flag", "accepts ", "requires at least", "unknown command", "if any flags in the group", "at least one of the flags"} {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}
