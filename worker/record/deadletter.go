package record

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/idpsync/idpsync/providers"
)

// Headers of a dead letter. Its body is the event's, sealed; [Unseal] gives it back byte for byte.
const (
	DeadLetterPrefix         = "Idpsync-Dl-"
	DeadLetterOriginalPrefix = "Idpsync-Dl-H-" // before the name of an original header, so that none acts again
	DeadLetterStream         = DeadLetterPrefix + "Stream"
	DeadLetterSequence       = DeadLetterPrefix + "Seq"
	DeadLetterOrigin         = DeadLetterPrefix + "Origin" // stream, its creation time, sequence, and stored time
	DeadLetterTime           = DeadLetterPrefix + "Time"   // by which the event was judged: when it was stored, first or here
	DeadLetterSubjectHeader  = DeadLetterPrefix + "Subject"
	DeadLetterEventID        = DeadLetterPrefix + "Event-Id"
	DeadLetterTenant         = DeadLetterPrefix + "Tenant"
	DeadLetterSource         = DeadLetterPrefix + "Source"
	DeadLetterCode           = DeadLetterPrefix + "Code"
	DeadLetterReason         = DeadLetterPrefix + "Reason"
	DeadLetterClass          = DeadLetterPrefix + "Class"  // permanent, transient, crash or policy
	DeadLetterDetail         = DeadLetterPrefix + "Detail" // the error object, at most 1 KB
	DeadLetterHint           = DeadLetterPrefix + "Hint"
	DeadLetterFingerprint    = DeadLetterPrefix + "Fingerprint" // the same for the same cause
	DeadLetterAttempts       = DeadLetterPrefix + "Attempts"
	DeadLetterFirstFailed    = DeadLetterPrefix + "First-Failed"
	DeadLetterLastFailed     = DeadLetterPrefix + "Last-Failed"
	DeadLetterWorker         = DeadLetterPrefix + "Worker"
	DeadLetterVersion        = DeadLetterPrefix + "Version"
	DeadLetterTrace          = DeadLetterPrefix + "Trace"        // W3C traceparent of the event
	DeadLetterMAC            = DeadLetterPrefix + "Payload-Mac"  // the same for the same body; nothing can be tried out against it
	DeadLetterParent         = DeadLetterPrefix + "Parent"       // sequence of the dead letter that was replayed
	DeadLetterReplayCount    = DeadLetterPrefix + "Replay-Count" // replays so far
	DeadLetterCounted        = DeadLetterPrefix + "Counted"      // of a summary: how many events it lists
)

// Bounds of what a header repeats, in bytes: the error object, and the sender's traceparent.
const (
	maxDetail = 1024
	maxTrace  = 256
)

// A DeadLetter is the record of an event that could not be processed. Its body is the event's, sealed.
type DeadLetter struct {
	Origin      Origin
	StoredAt    time.Time // by which the event was judged: when the broker stored it, or a trusted domain did so first
	Subject     string    // of the event
	EventID     string
	Tenant      string
	Source      string
	Code        Code
	Reason      string
	Class       string // permanent, transient, crash or policy
	Detail      string // the error object as JSON, at most 1 KB
	Hint        string
	Fingerprint string
	Attempts    int
	FirstFailed time.Time
	LastFailed  time.Time
	Worker      string
	Version     string
	Trace       string // W3C traceparent of the event, or ""
	Replays     int    // of the event so far
	Parent      uint64 // sequence of the dead letter that was replayed, or 0
	Counted     int    // of a [Summary]: how many events it lists; else 0
}

// ID is the message id of the dead letter. It names the attempt at the stored message, so that the same failure makes the
// same id however often the message is delivered.
func (d DeadLetter) ID() string { return DeadLetterID(d.Origin, d.Replays) }

// DeadLetterID is the message id of the dead letter of an attempt at a stored message.
func DeadLetterID(o Origin, replays int) string { return deadLetterIDPrefix + AttemptName(o, replays) }

const deadLetterIDPrefix = "dl/"

// AttemptName names one attempt at a stored message: that of its first processing, or of a replay.
func AttemptName(o Origin, replays int) string { return o.String() + "/" + strconv.Itoa(replays) }

// ParseDeadLetterID returns the name of the attempt that the dead letter of the given message id is of.
func ParseDeadLetterID(id string) string { return strings.TrimPrefix(id, deadLetterIDPrefix) }

// ParseOwedLetter returns the name of the attempt whose dead letter is parked under a key; false for the key of an event.
func ParseOwedLetter(key string) (attempt string, ok bool) {
	return strings.CutPrefix(key, deadLetterIDPrefix)
}

// AttemptOrigin is the stored message of an attempt, by its name.
func AttemptOrigin(name string) Origin {
	origin, _, _ := cutLast(name)
	return ParseOrigin(origin)
}

// Refused fills in what a rejection says.
func (d *DeadLetter) Refused(r *Rejection) {
	d.Code, d.Reason, d.Class, d.Hint = r.Code, r.Reason, r.Class(), r.Hint
	d.Fingerprint = Fingerprint(d.Tenant, d.Source, r)
	d.Detail = string(Marshal(r.ErrorBody))
	if len(d.Detail) > maxDetail {
		message := strings.ToValidUTF8(r.Message[:min(len(r.Message), maxDetail/4)], "")
		d.Detail = string(Marshal(ErrorBody{Code: r.Code, Message: message, Details: map[string]any{"truncated": true}, Notices: []string{}}))
	}
}

// Write seals the event of the dead letter, as it was when it arrived, and signs the record. Headers that clients would not
// read back as they were travel in the sealed body, and those that prove something sealed by themselves.
func (d DeadLetter) Write(s Sealer, header providers.Header, body []byte) (Outgoing, error) {
	out := Outgoing{Subject: DeadLetterSubject(d.Tenant, d.Source, d.Code), ID: d.ID(), Header: d.header(s, body), Data: body}
	return out, sealOriginal(s, &out, header)
}

// sealOriginal seals the event of a record, whose body is that of the event, with the headers that it had, and signs the record.
func sealOriginal(s Sealer, out *Outgoing, header providers.Header) error {
	secret := providers.Header{}
	if !headersTravel(header) {
		packed := packHeaders(header)
		out.Header[deadLetterCarried] = []string{strconv.Itoa(len(packed))}
		out.Data = append(packed, out.Data...)
		return seal(s, out, secret)
	}
	for name, values := range header {
		if secretHeader(name) {
			secret[name] = values
		} else {
			out.Header[DeadLetterOriginalPrefix+name] = values
		}
	}
	return seal(s, out, secret)
}

// header is what the record says of itself.
func (d DeadLetter) header(s Sealer, body []byte) providers.Header {
	h := providers.Header{
		DeadLetterStream:        {d.Origin.Stream},
		DeadLetterSequence:      {strconv.FormatUint(d.Origin.Sequence, 10)},
		DeadLetterOrigin:        {d.Origin.String()},
		DeadLetterTime:          {d.StoredAt.UTC().Format(time.RFC3339Nano)},
		DeadLetterSubjectHeader: {d.Subject},
		DeadLetterEventID:       {percentEncode(d.EventID)},
		DeadLetterTenant:        {d.Tenant},
		DeadLetterSource:        {d.Source},
		DeadLetterCode:          {string(d.Code)},
		DeadLetterReason:        {d.Reason},
		DeadLetterClass:         {d.Class},
		DeadLetterDetail:        {OneLine(d.Detail)},
		DeadLetterFingerprint:   {d.Fingerprint},
		DeadLetterAttempts:      {strconv.Itoa(d.Attempts)},
		DeadLetterFirstFailed:   {d.FirstFailed.UTC().Format(time.RFC3339Nano)},
		DeadLetterLastFailed:    {d.LastFailed.UTC().Format(time.RFC3339Nano)},
		DeadLetterWorker:        {d.Worker},
		DeadLetterVersion:       {d.Version},
		DeadLetterMAC:           {payloadMAC(s, body)},
	}
	if d.Hint != "" {
		h[DeadLetterHint] = []string{OneLine(d.Hint)}
	}
	if d.Trace != "" && len(d.Trace) <= maxTrace {
		h[DeadLetterTrace] = []string{d.Trace}
	}
	if d.Replays > 0 {
		h[DeadLetterReplayCount] = []string{strconv.Itoa(d.Replays)}
	}
	if d.Counted > 0 {
		h[DeadLetterCounted] = []string{strconv.Itoa(d.Counted)}
	}
	if d.Parent > 0 {
		h[DeadLetterParent] = []string{strconv.FormatUint(d.Parent, 10)}
	}
	for name, values := range h {
		h[name] = []string{onWire(values[0])} // what is signed is what will be read
	}
	return h
}

// ReadDeadLetter reads the record of a dead letter from its headers. It proves nothing: see [Unseal] and [Authentic]. What
// cannot be read stays empty. It is an error, of class [ErrRecord], only for what a replay needs: the time of the event and
// the number of its replays.
func ReadDeadLetter(h providers.Header) (DeadLetter, error) {
	d := DeadLetter{
		Subject: h.Get(DeadLetterSubjectHeader), Tenant: h.Get(DeadLetterTenant), Source: h.Get(DeadLetterSource),
		Code: Code(h.Get(DeadLetterCode)), Reason: h.Get(DeadLetterReason), Class: h.Get(DeadLetterClass), Detail: h.Get(DeadLetterDetail),
		Hint: h.Get(DeadLetterHint), Fingerprint: h.Get(DeadLetterFingerprint), Worker: h.Get(DeadLetterWorker),
		Version: h.Get(DeadLetterVersion), Trace: h.Get(DeadLetterTrace), Origin: ParseOrigin(h.Get(DeadLetterOrigin)),
	}
	var err error
	fault := func(name string, cause error) {
		if cause != nil && err == nil && (name == DeadLetterTime || name == DeadLetterReplayCount) {
			err = fmt.Errorf("%w: its header %s cannot be read: %w", ErrRecord, name, cause)
		}
	}
	at := func(name string, into *time.Time) {
		t, cause := time.Parse(time.RFC3339Nano, h.Get(name))
		*into = t
		fault(name, cause)
	}
	at(DeadLetterTime, &d.StoredAt)
	at(DeadLetterFirstFailed, &d.FirstFailed)
	at(DeadLetterLastFailed, &d.LastFailed)
	number := func(name string, bits int) uint64 {
		if h.Get(name) == "" {
			return 0
		}
		n, cause := strconv.ParseUint(h.Get(name), 10, bits)
		fault(name, cause)
		return n
	}
	d.Attempts = int(number(DeadLetterAttempts, 31))   //nolint:gosec // of 31 bits
	d.Replays = int(number(DeadLetterReplayCount, 31)) //nolint:gosec // of 31 bits
	d.Parent = number(DeadLetterParent, 64)
	d.Counted = int(number(DeadLetterCounted, 31)) //nolint:gosec // of 31 bits
	id, cause := url.PathUnescape(h.Get(DeadLetterEventID))
	if cause != nil {
		id = h.Get(DeadLetterEventID)
	}
	d.EventID = id
	return d, err
}

// payloadMAC tells bodies apart. It is made from a signature, as a bare hash of a command would let whoever reads it try
// out passwords.
func payloadMAC(s Sealer, body []byte) string {
	hash := sha256.Sum256(body)
	mac := sha256.Sum256(s.Sign(append([]byte("idpsync payload 1\x00"), hash[:]...)))
	return hex.EncodeToString(mac[:])
}

// Fingerprint is the same for dead letters of one cause: tenant, source, code, failed check, and the fields or names at
// fault, without any value of one event.
func Fingerprint(tenant, source string, r *Rejection) string {
	parts := []string{tenant, source, string(r.Code), r.Reason}
	if f, ok := r.Details["field"].(string); ok {
		parts = append(parts, f)
	}
	if faults, ok := r.Details["fields"].([]providers.Fault); ok {
		for _, f := range faults {
			parts = append(parts, f.Field, f.Code)
		}
	}
	if roles, ok := r.Details["roles"].([]string); ok {
		parts = append(parts, roles...)
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:8])
}

// secretHeader reports whether a header proves something and so must not be kept.
func secretHeader(name string) bool {
	switch strings.ToLower(name) {
	case "authorization", "proxy-authorization", "x-api-key", "cookie":
		return true
	}
	return false
}
