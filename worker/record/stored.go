package record

import (
	"errors"
	"time"

	"github.com/idpsync/idpsync/providers"
)

// Stored is a message as a stream holds it.
type Stored struct {
	Stream   string
	Sequence uint64
	Subject  string
	Header   providers.Header
	Data     []byte
	StoredAt time.Time
}

// ErrNoMessage is returned when a stream holds no message of that sequence.
var ErrNoMessage = errors.New("no such message")

// Outgoing is a message to be stored by the broker.
type Outgoing struct {
	Subject string
	ID      string // Nats-Msg-Id; publishing the same id again within the duplicate window stores nothing and is a success
	Header  providers.Header
	Data    []byte
}
