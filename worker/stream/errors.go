package stream

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The classes of an [*Error]; errors.Is finds them.
var (
	ErrUnreachable  = errors.New("broker unreachable")       // nobody answers at the address
	ErrRefused      = errors.New("broker refused the login") // wrong or missing credentials
	ErrDisconnected = errors.New("connection to the broker lost")
	ErrTimeout      = errors.New("broker did not answer in time")
	ErrPermission   = errors.New("broker permission missing")
	ErrNoStream     = errors.New("no stream stores the subject")
	ErrStreamFull   = errors.New("stream full")
	ErrSubjectFull  = errors.New("too many events wait on the subject") // while the stream may have room for others
	ErrTooLarge     = errors.New("message too large")
	ErrNotMigrated  = errors.New("streams or consumers missing")
	ErrNotFound     = errors.New("message not found")
	ErrDuplicate    = errors.New("the broker took the message for a duplicate and stored nothing")
	ErrReaders      = errors.New("all names for readers are in use")
	ErrForeign      = errors.New("no worker wrote the message")
	ErrBelowFill    = errors.New("limit below what the stream holds")
	ErrDataDirInUse = errors.New("data directory in use")
	ErrOptions      = errors.New("broker options wrong")
)

// An Error is a failure to do something at the broker.
type Error struct {
	Op    string // what was tried, as in "publish idpsync.login.…"
	Class error  // one of the classes above; nil when none of them fits
	Hint  string // what to do next; may be ""
	Err   error  // cause; may be nil
}

// Error returns operation, class, cause and hint.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Class != nil {
		b.WriteString(": " + e.Class.Error())
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Unwrap makes class and cause visible to errors.Is and errors.As.
func (e *Error) Unwrap() []error {
	var all []error
	if e.Class != nil {
		all = append(all, e.Class)
	}
	if e.Err != nil {
		all = append(all, e.Err)
	}
	return all
}

// Transient reports whether the same call may succeed later without anybody changing the configuration.
func Transient(err error) bool {
	return errors.Is(err, ErrUnreachable) || errors.Is(err, ErrDisconnected) || errors.Is(err, ErrTimeout) ||
		errors.Is(err, ErrStreamFull) || errors.Is(err, ErrSubjectFull) || errors.Is(err, context.DeadlineExceeded)
}

// hints says what to do about each class.
var hints = map[error]string{
	ErrUnreachable:  "check --nats-url and that the broker is running (`idpsync run` starts one of its own)",
	ErrRefused:      "check user and password, --nats-creds or --nats-nkey; for the embedded broker pass the --data-dir of `idpsync run`",
	ErrDisconnected: "it reconnects by itself; try again",
	ErrTimeout:      "check that JetStream is enabled for the account and that the user may publish there (deploy/nats-server.conf has the permissions)",
	ErrPermission:   "grant it in the broker's configuration (deploy/nats-server.conf has the permissions of every role)",
	ErrNoStream:     "run `idpsync migrate`",
	ErrStreamFull:   "let the workers drain it, or raise its limit with `idpsync migrate`",
	ErrSubjectFull:  "send again when the workers have drained some of them; `idpsync migrate --events-per-subject` raises the limit",
	ErrTooLarge:     "send less, or raise max_payload of the broker and the stream's limit with `idpsync migrate`",
	ErrNotMigrated:  "run `idpsync migrate`",
	ErrNotFound:     "it may have been processed, expired or deleted",
	ErrDuplicate:    "name the event in Idpsync-Event-Id or ce-id and leave Nats-Msg-Id out: the broker compares that one across all subjects and publishers",
	ErrReaders:      "end the other reader (tail, dlq, prove, send --wait) of the same user, or have the broker's configuration grant a further name and add it to --nats-consumers; one that crashed is free again after half a minute",
	ErrForeign:      "leave it; find out who may publish there, or name an inbox of theirs there (deploy/nats-server.conf has the permissions of every role)",
}

// wrap makes an *Error of err with the class that fits. It returns nil for nil and leaves an *Error as it is.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	var done *Error
	if errors.As(err, &done) {
		return err
	}
	class := classOf(err)
	if errors.Is(err, nats.ErrReconnectBufExceeded) {
		err = nil // nothing is buffered while disconnected, which is all that it says
	}
	return &Error{Op: op, Class: class, Hint: hints[class], Err: err}
}

// JetStream error codes that nats.go does not name.
const (
	codeStreamFull        = 10077 // maximum messages, bytes or messages per subject exceeded
	codeMessageTooLarge   = 10054
	codeStorageExceeded   = 10047
	codeResourcesExceeded = 10023
	codeAccountResources  = 10002
	codeStreamOffline     = 10118
)

func classOf(err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode {
		case codeStreamFull:
			if strings.Contains(api.Description, "per subject") { // the code is the same
				return ErrSubjectFull
			}
			return ErrStreamFull
		case codeStorageExceeded, codeResourcesExceeded, codeAccountResources:
			return ErrStreamFull
		case codeMessageTooLarge:
			return ErrTooLarge
		case codeStreamOffline:
			return ErrTimeout
		case jetstream.JSErrCodeStreamNotFound, jetstream.JSErrCodeConsumerNotFound, jetstream.JSErrCodeConsumerDoesNotExist:
			return ErrNotMigrated
		case jetstream.JSErrCodeMessageNotFound:
			return ErrNotFound
		}
	}
	var dns *net.DNSError
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked),
		errors.Is(err, nats.ErrAccountAuthExpired), errors.Is(err, nats.ErrNkeysNotSupported):
		return ErrRefused
	case errors.Is(err, nats.ErrPermissionViolation):
		return ErrPermission
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return ErrNotFound
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrConsumerNotFound),
		errors.Is(err, jetstream.ErrConsumerDoesNotExist), errors.Is(err, jetstream.ErrConsumerDeleted):
		return ErrNotMigrated
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		return ErrNoStream
	case errors.Is(err, nats.ErrMaxPayload):
		return ErrTooLarge
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrDisconnected), errors.Is(err, nats.ErrConnectionReconnecting),
		errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionDraining):
		return ErrDisconnected
	case errors.Is(err, nats.ErrNoServers), errors.As(err, &dns), isNetwork(err):
		return ErrUnreachable
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return ErrTimeout
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return ErrOptions
	}
	return nil
}

func isNetwork(err error) bool {
	var op *net.OpError
	return errors.As(err, &op)
}
