package worker

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/wire"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/original"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/rules"
)

// maxEventID bounds an event id, in bytes: it becomes part of a message id and of a unique key.
const maxEventID = 256

// A message is an event as it came: what its sender wrote, where it was stored, and who is to be told of its end. It does
// not change once it is opened, but keepFormerIDs corrects its id and hashPassword its hash.
type message struct {
	env      providers.Envelope
	address  record.Address
	origin   record.Origin
	subject  string            // the original one
	header   providers.Header  // as the sender wrote them
	body     []byte            // byte for byte
	hash     [sha256.Size]byte // of the payload
	former   string            // the id that the event had in earlier versions; "" for the same
	formerly bool              // an earlier version processed it, and wrote its origin without the stored time
	attempt  int               // replay count, part of the result's id
	transport
}

// A transport is how an event came, and so who is told of its end. One of the fields is set; none for an event that the
// sweep found in the stream, or that is only looked at.
type transport struct {
	delivery Message              // by a durable consumer
	parked   *store.Parked        // from the store, where it waited
	reply    chan<- record.Answer // by a front door, where a caller waits
	replay   *replay              // by an operator's order

	recovered *record.Archived // from the archive, for a database that has lost its effect
}

// An event is a message on its way through the pipeline. One goroutine has it at a time.
type event struct {
	message
	request rules.Request // once it is verified
	verdict verdict       // nil while it is undecided

	lane     string            // in which it is processed; "" beside the lanes
	due      time.Time         // when this worker got it
	revision int64             // of the directory that it was verified by
	renewed  int               // how often it was verified again because the directory had changed
	asides   int               // how often it was set aside
	original *original.Reading // that is being read, of an event that was copied from another stream
	judgedBy string            // by which time such an event is judged, once that is settled
	copyOf   string            // names the message that it was copied from, if it is judged by the time of that

	alone   bool            // it is processed alone, as a crash points at it
	marked  bool            // it has in-flight markers
	killed  bool            // it is a poison message
	kept    *record.Refusal // the verdict of an earlier delivery, which this one finishes
	owed    bool            // its dead letter is parked, as its stream refused it
	counted bool            // it has no dead letter, as there are enough of its kind; a summary lists it
	told    bool            // everyone was told what became of it
	erasing bool            // its stored message is being overwritten, beside the lanes
}

// eventBytes is what an event costs beside its body, in memory and in turns.
const eventBytes = 2 << 10

// Size is the memory that an event takes, about.
func (e *event) Size() int { return len(e.body) + eventBytes }

// Owner is whose turn an event takes.
func (e *event) Owner() (tenant, source string) { return e.env.Tenant, e.env.Source }

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
	if e.formerly {
		return e.origin.Former().String()
	}
	return e.origin.String()
}

// cameIn names what the event came in this time: the stored message, or the moment at which a request was received.
func (e *event) cameIn() string {
	if s := e.storedAs(); s != "" {
		return s
	}
	return record.ReceivedAt(e.env.StoredAt)
}

// cameBefore reports whether the event may have been processed before, by this worker or another.
func (e *event) cameBefore() bool {
	return e.storedAs() != "" && (e.parked != nil || e.replay != nil || e.recovered != nil || (e.delivery != nil && e.delivery.Delivered() > 1))
}

// openMessage reads the outside of a message: where it was sent, which event it is, what the broker says of it. What is
// wrong with it ends up as the event's rejection, so that every message has a way to the dead letters.
func openMessage(m Message) *event {
	e := storedEvent(m.Subject(), record.Origin{Stream: m.Stream(), Created: m.StreamCreated(), Sequence: m.Sequence(), At: m.StoredAt()}, m.StoredAt())
	e.delivery = m
	e.open(m.Header(), m.Data())
	return e
}

// storedEvent begins an event that the broker stored. Its id is the one for events whose senders give them none.
func storedEvent(subject string, o record.Origin, stored time.Time) *event {
	e := &event{message: message{subject: subject, origin: o}}
	e.env = providers.Envelope{Door: providers.DoorStream, StoredAt: stored, EventID: o.EventID()}
	return e
}

// open fills the envelope from subject, headers and payload. The event id that it finds there replaces the one set. What
// it refuses is rejected.
func (e *event) open(header providers.Header, payload []byte) {
	if r := e.message.open(header, payload); r != nil {
		e.reject(r)
	}
}

// openHeaders is open before the payload is there.
func (e *event) openHeaders(header providers.Header) {
	if r := e.message.openBy(header, nil, func() (wire.Event, error) { return wire.UnwrapHeaders(header) }); r != nil {
		e.reject(r)
	}
}

func (m *message) open(header providers.Header, payload []byte) *record.Rejection {
	return m.openBy(header, payload, func() (wire.Event, error) { return wire.Unwrap(header, payload) })
}

// openBy opens a message whose CloudEvent, or what is in place of one, unwrap finds.
func (m *message) openBy(header providers.Header, payload []byte, unwrap func() (wire.Event, error)) (refusal *record.Rejection) {
	m.header, m.body = header, payload
	m.env.Header, m.env.Payload = header, payload
	m.hash = sha256.Sum256(payload)
	address, err := record.ParseSubject(m.subject)
	m.address = address
	m.env.Tenant, m.env.Source, m.env.Shape = address.Tenant, address.Source, address.Shape
	if err != nil {
		m.named(header, payload)
		return record.Reject(record.CodeMalformed, "subject", err.Error())
	}
	ce, err := unwrap()
	if err != nil {
		m.named(header, payload)
		return record.RejectionOf(err)
	}
	m.env.Header, m.env.Payload = ce.Header, ce.Data
	m.hash = sha256.Sum256(ce.Data)
	if err := checkTenants(header, ce, m.env.Tenant); err != nil {
		refusal = record.RejectionOf(err)
	}
	id := senderID(ce.ID, header)
	if id == "" {
		if former := m.formerID(); former != m.env.EventID {
			m.former = former
		}
		return refusal
	}
	if err := checkEventID(id); err != nil {
		return record.Reject(record.CodeMalformed, "event_id", err.Error())
	}
	if ce.ID == "" {
		former := header.Get(headerMsgID)
		if former == "" {
			former = m.formerID()
		}
		if former != id && checkEventID(former) == nil {
			m.former = former
		}
	}
	m.env.EventID = id
	return refusal
}

// named gives a message that cannot be opened the id of its sender, who waits for an answer under it.
func (m *message) named(header providers.Header, payload []byte) {
	if id := senderID(wire.SenderID(header, payload), header); id != "" && checkEventID(id) == nil {
		m.env.EventID = id
	}
}

// formerID is the id of an event without one of its sender's as earlier versions made it, without the stored time.
func (m *message) formerID() string {
	if !m.origin.Stored() || m.origin.At.IsZero() {
		return m.env.EventID
	}
	return m.origin.Former().EventID()
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

// The scope of an event id says whose it is, so that one sender can neither block nor read what another one sent under the
// same id. It is the name of a credential, which a renewal keeps, or source and subject of a JWT. Logins have none: the
// token is the event itself, and any sender may hand it in.
const (
	scopeCredential = "credential/"
	scopeToken      = "token/"
)

// scopeOf returns the scope of the event ids of a sender who proved to be p.
func scopeOf(shape providers.Shape, p *providers.Principal) string {
	switch {
	case shape == providers.ShapeLogin || p.Kind == "":
		return ""
	case p.Kind == providers.PrincipalCredential:
		return scopeCredential + p.Name
	default:
		return scopeToken + p.ID + "/" + p.Name
	}
}

// scope is the scope of the event's id; "" until its sender is proved.
func (e *event) scope() string { return scopeOf(e.env.Shape, &e.request.Asked.Principal) }

// key is the key of the event in the ledger, once its sender is proved.
func (e *event) key() store.EventKey {
	return store.EventKey{TenantID: e.env.Tenant, Source: e.env.Source, EventID: e.env.EventID, Scope: e.scope()}
}

// credential is the public id of the credential that proved the event's sender, or "".
func (e *event) credential() string {
	if p := &e.request.Asked.Principal; p.Kind == providers.PrincipalCredential {
		return p.ID
	}
	return ""
}

// checkScope refuses an event id that makes no key together with the name of its sender.
func (e *event) checkScope() *record.Rejection {
	if len(record.EventName(e.key())) <= record.MaxEventName {
		return nil
	}
	r := record.Reject(record.CodeMalformed, "event_id", "The event id is too long together with the name of its sender's credential.")
	r.Hint = "Make a credential with a shorter name by idpsync credential create, and have the event sent again with it."
	return r
}

// broughtBy looks for what the very message of the event had for an effect. It can do so before the sender is proved.
func (e *event) broughtBy() store.Lookup {
	return store.Lookup{Tenant: e.env.Tenant, Source: e.env.Source, EventID: e.env.EventID, Origin: e.storedAs()}
}

// earlier returns the row of the ledger that the event had before, or nil.
//
// The message that brought a row brings it again, whatever has become of its credential. A row from before scopes is found
// under the event id alone, and belongs to the event only if the same sender made it.
func (e *event) earlier(found *store.Found) *store.Event {
	switch {
	case found.Brought != nil:
		return found.Brought
	case found.Event != nil:
		return found.Event
	case found.Unscoped != nil && e.sent(found.Unscoped):
		return found.Unscoped
	}
	return nil
}

// sent reports whether the sender of the event is the one who sent that of the row, which has no scope. Nothing tells who
// that was once the row's user was forgotten. Its answer is gone too, so that the same payload may find it: the user must
// not come back.
func (e *event) sent(row *store.Event) bool {
	asked, ok := record.RecordedRequest(row)
	if !ok {
		return slices.Equal(row.PayloadHash, e.hash[:])
	}
	return scopeOf(e.env.Shape, &asked.Principal) == e.scope()
}
