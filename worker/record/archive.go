package record

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
)

// Headers that an archived event has beside those of a dead letter that say what the event was. All are signed.
const (
	archiveOutcome = DeadLetterPrefix + "Outcome"
	archiveUser    = DeadLetterPrefix + "User"
	archiveScope   = DeadLetterPrefix + "Scope"
	archiveDoor    = DeadLetterPrefix + "Door"
	archiveDecided = DeadLetterPrefix + "Decided"
)

// An Archived is the record of an event that had its effect, for whoever has to give a restored database that effect again. Its
// body is the event's, sealed; [UnsealArchived] gives it back.
type Archived struct {
	Event    store.EventKey
	Origin   Origin    // none is stored for one that came by a front door
	StoredAt time.Time // when the broker stored the event, or a front door received it
	Subject  string    // of the event
	Door     providers.Door
	Attempt  int
	Outcome  Outcome
	UserID   string
	At       time.Time // of the decision
}

const archiveIDPrefix = "ar/"

// ID is the message id of the record: the same for each time that the event is processed.
func (a Archived) ID() string { return archiveIDPrefix + ResultID(a.Event, a.Attempt) }

// ArchivedID reports whether a message id is that of an archived event.
func ArchivedID(id string) bool { return strings.HasPrefix(id, archiveIDPrefix) }

// ArchiveSubject returns idpsync.archive.<tenant>.<source>.<outcome>, with tokens as in [ResultSubject].
func ArchiveSubject(tenant, source string, outcome Outcome) string {
	return BranchArchive.Of(TenantToken(tenant), SourceToken(source), wordToken(string(outcome)))
}

// Write seals the event, as it was when it arrived, and signs the record.
func (a Archived) Write(s Sealer, header providers.Header, body []byte) (Outgoing, error) {
	h := providers.Header{
		DeadLetterOrigin:        {a.Origin.String()},
		DeadLetterTime:          {a.StoredAt.UTC().Format(time.RFC3339Nano)},
		DeadLetterSubjectHeader: {a.Subject},
		DeadLetterEventID:       {percentEncode(a.Event.EventID)},
		DeadLetterTenant:        {a.Event.TenantID},
		DeadLetterSource:        {a.Event.Source},
		DeadLetterReplayCount:   {strconv.Itoa(a.Attempt)},
		archiveOutcome:          {string(a.Outcome)},
		archiveUser:             {a.UserID},
		archiveScope:            {percentEncode(a.Event.Scope)},
		archiveDoor:             {string(a.Door)},
		archiveDecided:          {a.At.UTC().Format(time.RFC3339Nano)},
	}
	for name, values := range h {
		h[name] = []string{onWire(values[0])} // what is signed is what will be read
	}
	out := Outgoing{Subject: ArchiveSubject(a.Event.TenantID, a.Event.Source, a.Outcome), ID: a.ID(), Header: h, Data: body}
	return out, sealOriginal(s, &out, header)
}

// IsArchived reports whether a message has the form in which workers archive events.
func IsArchived(m Stored) bool {
	h := m.Header
	return h.Get(deadLetterKeyID) != "" && h.Get(deadLetterSignature) != "" &&
		m.Subject == ArchiveSubject(h.Get(DeadLetterTenant), h.Get(DeadLetterSource), Outcome(h.Get(archiveOutcome)))
}

// UnsealArchived returns an archived event and its record, once its signature is verified. Errors are of class [ErrRecord].
func UnsealArchived(v Sealer, m Stored) (Archived, Original, error) {
	var a Archived
	if !IsArchived(m) {
		return a, Original{}, fmt.Errorf("%w: it is not an archived event", ErrRecord)
	}
	o, err := unseal(v, m.Header, m.Data)
	if err != nil {
		return a, o, err
	}
	h := m.Header
	text := func(name string) string {
		s, fault := url.PathUnescape(h.Get(name))
		err = errors.Join(err, fault)
		return s
	}
	at := func(name string) time.Time {
		t, fault := time.Parse(time.RFC3339Nano, h.Get(name))
		err = errors.Join(err, fault)
		return t
	}
	a = Archived{
		Event:  store.EventKey{TenantID: h.Get(DeadLetterTenant), Source: h.Get(DeadLetterSource), EventID: text(DeadLetterEventID), Scope: text(archiveScope)},
		Origin: ParseOrigin(h.Get(DeadLetterOrigin)), StoredAt: at(DeadLetterTime), Subject: h.Get(DeadLetterSubjectHeader), Door: providers.Door(h.Get(archiveDoor)),
		Outcome: Outcome(h.Get(archiveOutcome)), UserID: h.Get(archiveUser), At: at(archiveDecided),
	}
	attempt, fault := strconv.ParseUint(h.Get(DeadLetterReplayCount), 10, 31)
	a.Attempt = int(attempt) //nolint:gosec // of 31 bits
	if err = errors.Join(err, fault); err != nil {
		return a, o, fmt.Errorf("%w: its headers cannot be read: %w", ErrRecord, err)
	}
	return a, o, nil
}
