package worker

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/wire"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/rules"
)

// maxEventID bounds an event id, in bytes: it becomes part of a message id and of a unique key.
const maxEventID = 256

// An event is one event on its way through the pipeline, with what is known of it so far. Exactly one of answer,
// rejection and wait is set when it has been decided.
type event struct {
	env     providers.Envelope
	address record.Address
	origin  record.Origin
	header  providers.Header  // as the sender wrote them
	raw     []byte            // the message's body, byte for byte
	hash    [sha256.Size]byte // of the payload
	former  string            // the id that the event had before [senderID] looked beyond Nats-Msg-Id; "" for the same
	attempt int               // replay count, part of the result's id
	subject string            // the original one

	message Message              // when it came from a consumer
	parked  *store.Parked        // when it comes back from having been parked
	reply   chan<- record.Answer // when a caller waits for it

	replay *replay   // when an operator replays a dead letter
	crumbs bool      // a breadcrumb in the store speaks of it
	holder string    // the worker that it ended
	due    time.Time // when this worker got it
	told   bool      // everybody was told what became of it
	asides int       // how often it was set aside

	erasing bool // its stored message is being overwritten, beside the lanes

	revision int64         // of the directory that the event was verified by
	renewed  int           // how often it was verified again because the directory had changed
	request  rules.Request // once it is verified

	answer    *record.Answer    // an effect, or a repeat of one
	rejection *record.Rejection // permanent
	wait      *wait             // transient
}

// A wait says that an event cannot be decided yet.
type wait struct {
	reason string
	after  time.Duration // not worth trying before; zero leaves it to the back-off
	cause  error
	ready  <-chan struct{} // closed when what the event needs has been read; nil: nothing is being read
	away   bool            // an issuer is at fault: the event leaves its consumer, so that it keeps no other from its turn
}

// asOf is the time whose directory the event is to be judged by, at least, by the clock of this process: the broker's may
// be another.
func (e *event) asOf() time.Time {
	if e.due.IsZero() {
		return e.env.StoredAt
	}
	return e.due
}

// storedAs names the stored message that the event came in; "" when it came by another door.
func (e *event) storedAs() string {
	if e.origin.Sequence == 0 {
		return ""
	}
	return e.origin.String()
}

// cameIn names what the event came in this time: the stored message, or the moment at which a request was received.
func (e *event) cameIn() string {
	if s := e.storedAs(); s != "" {
		return s
	}
	return "received/" + strconv.FormatInt(e.env.StoredAt.UnixNano(), 10)
}

// cameBefore reports whether the event may have been processed before, by this worker or another.
func (e *event) cameBefore() bool {
	return e.storedAs() != "" && (e.parked != nil || e.replay != nil || (e.message != nil && e.message.Delivered() > 1))
}

// repeated reports whether the answer was given before, to the same event.
func (e *event) repeated() bool { return e.answer != nil && e.answer.Repeat }

// decided reports whether nothing is left to be done but to tell.
func (e *event) decided() bool { return e.answer != nil || e.rejection != nil || e.wait != nil }

// openMessage reads the outside of a message: where it was sent, which event it is, what the broker says of it. What is
// wrong with it ends up as the event's rejection, so that every message has a way to the dead letters.
func openMessage(m Message) *event {
	e := &event{message: m, subject: m.Subject()}
	e.env = providers.Envelope{
		Door:     providers.DoorStream,
		StoredAt: m.StoredAt(),
	}
	e.origin = record.Origin{Stream: m.Stream(), Created: m.StreamCreated(), Sequence: m.Sequence()}
	e.env.EventID = e.origin.EventID()
	e.open(m.Header(), m.Data())
	return e
}

// open fills the envelope from subject, headers and payload. The event id that it finds there replaces the one set.
func (e *event) open(header providers.Header, payload []byte) {
	e.header, e.raw = header, payload
	e.env.Header, e.env.Payload = header, payload
	e.hash = sha256.Sum256(payload)
	address, err := record.ParseSubject(e.subject)
	e.address = address
	e.env.Tenant, e.env.Source, e.env.Shape = address.Tenant, address.Source, address.Shape
	if err != nil {
		e.rejection = record.Reject(record.CodeMalformed, "subject", err.Error())
		return
	}
	ce, err := wire.Unwrap(header, payload)
	if err != nil {
		e.rejection = record.RejectionOf(err)
		return
	}
	e.env.Header, e.env.Payload = ce.Header, ce.Data
	e.hash = sha256.Sum256(ce.Data)
	if err := checkTenants(header, ce, e.env.Tenant); err != nil {
		e.rejection = record.RejectionOf(err)
	}
	id := senderID(ce.ID, header)
	if id == "" {
		return
	}
	if err := checkEventID(id); err != nil {
		e.rejection = record.Reject(record.CodeMalformed, "event_id", err.Error())
		return
	}
	if ce.ID == "" {
		former := header.Get(headerMsgID)
		if former == "" {
			former = e.env.EventID
		}
		if former != id && checkEventID(former) == nil {
			e.former = former
		}
	}
	e.env.EventID = id
}

// extensionTenant is X-Tenant-ID as the name of a CloudEvents attribute, which has letters and digits only.
const extensionTenant = "xtenantid"

// checkTenants refuses a message whose headers or CloudEvents attributes name another tenant than its subject. It comes
// before anything is verified or looked up, for events of every shape. What else a CloudEvent says of where it came from is
// its sender's own affair.
func checkTenants(header providers.Header, ce wire.Event, tenant string) error {
	if err := providers.CheckTenant(header, tenant, false); err != nil {
		return err
	}
	if named, ok := ce.Extensions[extensionTenant]; ok {
		return providers.CheckTenant(providers.Header{providers.HeaderTenant: {named}}, tenant, false)
	}
	return nil
}

// The headers that may name an event beside ce-id.
const (
	headerIdempotencyKey = "Idempotency-Key"
	headerMsgID          = "Nats-Msg-Id"
)

// senderID is the id that the sender gave an event, the same at every door; "" when there is none. The broker's own
// Nats-Msg-Id comes last, as it is of no good as an event id: the broker drops a message whose id another publisher has just
// used on any subject of the stream.
func senderID(ce string, header providers.Header) string {
	if ce != "" {
		return ce
	}
	for _, name := range []string{record.HeaderEventID, headerIdempotencyKey, headerMsgID} {
		if id := header.Get(name); id != "" {
			return id
		}
	}
	return ""
}

// keepFormerIDs gives events that had their effect before they had this id the one that they had it under. An event that was
// stored before an upgrade may be delivered again after it.
func (w *Worker) keepFormerIDs(ctx context.Context, events []*event) error {
	if len(events) == 0 {
		return nil
	}
	lookups := make([]store.Lookup, len(events))
	for i, e := range events {
		lookups[i] = store.Lookup{Tenant: e.env.Tenant, Source: e.env.Source, EventID: e.former, Origin: e.storedAs()}
	}
	found, err := w.store.Find(ctx, lookups)
	if err != nil {
		return fmt.Errorf("look for effects under former ids: %w", err)
	}
	for i, e := range events {
		if found[i].Brought != nil {
			e.env.EventID, e.former = e.former, ""
		}
	}
	return nil
}

// formerlyNamed returns the events that may have had their effect under another id.
func formerlyNamed(events []*event) []*event {
	var named []*event
	for _, e := range events {
		if e.former != "" && e.cameBefore() && e.env.Tenant != "" && e.env.Source != "" {
			named = append(named, e)
		}
	}
	return named
}

// checkEventID bounds what may stand in a header, a message id and a key.
func checkEventID(id string) error {
	if len(id) > maxEventID {
		return fmt.Errorf("the event id is longer than %d bytes", maxEventID)
	}
	if !utf8.ValidString(id) {
		return fmt.Errorf("the event id is not valid UTF-8")
	}
	for _, r := range id {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("the event id holds a character that does not print")
		}
	}
	return nil
}
