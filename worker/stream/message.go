package stream

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker"
)

// A message is one delivery.
type message struct {
	raw       *nats.Msg
	stream    string
	created   time.Time
	sequence  uint64
	storedAt  time.Time
	delivered uint64
}

// newMessage reads what the broker says of a delivery in its reply subject.
func newMessage(raw *nats.Msg, created time.Time) (*message, error) {
	meta, err := raw.Metadata()
	if err != nil {
		return nil, err
	}
	return &message{
		raw: raw, stream: meta.Stream, created: created, sequence: meta.Sequence.Stream,
		storedAt: meta.Timestamp, delivered: meta.NumDelivered,
	}, nil
}

func (m *message) Subject() string          { return m.raw.Subject }
func (m *message) Header() providers.Header { return providers.Header(m.raw.Header) }
func (m *message) Data() []byte             { return m.raw.Data }
func (m *message) Stream() string           { return m.stream }
func (m *message) StreamCreated() time.Time { return m.created }
func (m *message) Sequence() uint64         { return m.sequence }
func (m *message) StoredAt() time.Time      { return m.storedAt }
func (m *message) Delivered() uint64        { return m.delivered }

func (m *message) Ack() error { return wrap("ack", m.raw.Ack()) }
func (m *message) AckSync(ctx context.Context) error {
	return wrap("ack", m.raw.AckSync(nats.Context(ctx)))
}

func (m *message) NakWithDelay(delay time.Duration) error {
	return wrap("nak", m.raw.NakWithDelay(delay))
}
func (m *message) InProgress() error { return wrap("keep in progress", m.raw.InProgress()) }

// Term implements worker.Message. The reason appears in the broker's advisory; line breaks would end it early.
func (m *message) Term(reason string) error {
	return wrap("term", m.raw.Respond([]byte("+TERM "+oneLine(reason))))
}

var _ worker.Message = (*message)(nil)
