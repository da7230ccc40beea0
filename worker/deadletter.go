package worker

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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
	DeadLetterOrigin         = DeadLetterPrefix + "Origin" // stream, its creation time, and sequence
	DeadLetterTime           = DeadLetterPrefix + "Time"   // when the broker stored the original
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
	DeadLetterTrace          = DeadLetterPrefix + "Trace"       // W3C traceparent of the event
	DeadLetterMAC            = DeadLetterPrefix + "Payload-Mac" // the same for the same body; nothing can be tried out against it
)

// Bounds of what a header repeats, in bytes: the error object, and the sender's traceparent.
const (
	maxDetail = 1024
	maxTrace  = 256
)

// An origin is where an event was stored first.
type origin struct {
	stream   string
	created  time.Time // of the stream
	sequence uint64
}

// key identifies the stored message, also across a stream that was created anew.
func (o origin) key() string {
	return o.stream + "/" + strconv.FormatInt(o.created.Unix(), 10) + "/" + strconv.FormatUint(o.sequence, 10)
}

// eventID is the id of an event whose sender gave it none.
func (o origin) eventID() string {
	return strconv.FormatInt(o.created.Unix(), 10) + "-" + strconv.FormatUint(o.sequence, 10)
}

// deadLetterID is the message id of the dead letter that an attempt at a stored message ended in.
func (e *event) deadLetterID() string {
	return "dl/" + e.origin.key() + "/" + strconv.Itoa(e.attempt)
}

// deadLetter makes the record of an event that could not be processed.
func (w *Worker) deadLetter(e *event) (Outgoing, error) {
	r, now := e.rejection, w.now()
	firstFailed, attempts := now, int(1)
	if e.message != nil {
		attempts = int(e.message.Delivered()) //nolint:gosec // bounded by MaxDeliver
	}
	if e.parked != nil {
		firstFailed, attempts = e.parked.FirstFailed, e.parked.Attempts+1
	}
	detail := string(marshal(r.ErrorBody))
	if len(detail) > maxDetail {
		message := strings.ToValidUTF8(r.Message[:min(len(r.Message), maxDetail/4)], "")
		detail = string(marshal(ErrorBody{Code: r.Code, Message: message, Details: map[string]any{"truncated": true}, Notices: []string{}}))
	}
	h := providers.Header{
		DeadLetterStream:        {e.origin.stream},
		DeadLetterSequence:      {strconv.FormatUint(e.origin.sequence, 10)},
		DeadLetterOrigin:        {e.origin.key()},
		DeadLetterTime:          {e.env.StoredAt.UTC().Format(time.RFC3339Nano)},
		DeadLetterSubjectHeader: {e.subject},
		DeadLetterEventID:       {percentEncode(e.env.EventID)},
		DeadLetterTenant:        {e.env.Tenant},
		DeadLetterSource:        {e.env.Source},
		DeadLetterCode:          {string(r.Code)},
		DeadLetterReason:        {r.Reason},
		DeadLetterClass:         {r.class()},
		DeadLetterDetail:        {oneLine(detail)},
		DeadLetterFingerprint:   {fingerprint(e.env.Tenant, e.env.Source, r)},
		DeadLetterAttempts:      {strconv.Itoa(attempts)},
		DeadLetterFirstFailed:   {firstFailed.UTC().Format(time.RFC3339Nano)},
		DeadLetterLastFailed:    {now.UTC().Format(time.RFC3339Nano)},
		DeadLetterWorker:        {w.cfg.Name},
		DeadLetterVersion:       {w.cfg.Version},
		DeadLetterMAC:           {payloadMAC(w.cfg.Vault, e.raw)},
	}
	if r.Hint != "" {
		h[DeadLetterHint] = []string{oneLine(r.Hint)}
	}
	if t := e.header.Get("traceparent"); t != "" && len(t) <= maxTrace {
		h[DeadLetterTrace] = []string{t}
	}
	if e.attempt > 0 {
		h[DeadLetterReplayCount] = []string{strconv.Itoa(e.attempt)}
	}
	if e.replay != nil {
		h[DeadLetterParent] = []string{strconv.FormatUint(e.replay.letter, 10)}
	}
	for name, values := range h {
		h[name] = []string{onWire(values[0])} // what is signed is what will be read
	}
	out := Outgoing{Subject: DeadLetterSubject(e.env.Tenant, e.env.Source, r.Code), ID: e.deadLetterID(), Header: h, Data: e.raw}
	secret := providers.Header{}
	if !headersTravel(e.header) {
		packed := packHeaders(e.header)
		h[deadLetterCarried] = []string{strconv.Itoa(len(packed))}
		out.Data = append(packed, e.raw...)
		return out, seal(w.cfg.Vault, &out, secret)
	}
	for name, values := range e.header {
		if secretHeader(name) {
			secret[name] = values
		} else {
			h[DeadLetterOriginalPrefix+name] = values
		}
	}
	return out, seal(w.cfg.Vault, &out, secret)
}

// payloadMAC tells bodies apart. It is made from a signature, as a bare hash of a command would let whoever reads it try
// out passwords.
func payloadMAC(v Vault, body []byte) string {
	hash := sha256.Sum256(body)
	mac := sha256.Sum256(v.Sign(append([]byte("idpsync payload 1\x00"), hash[:]...)))
	return hex.EncodeToString(mac[:])
}

// class says which sort of failure an operator has before them.
func (r *Rejection) class() string {
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

// fingerprint is the same for dead letters of one cause: tenant, source, code, failed check, and the fields or names at
// fault, without any value of one event.
func fingerprint(tenant, source string, r *Rejection) string {
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

// oneLine makes a text fit for a header.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' || r == 0 {
			return ' '
		}
		return r
	}, s)
}

// logged is what the log says of a rejection: never a value of the event.
func (w *Worker) logRejection(e *event) {
	r := e.rejection
	attrs := []any{
		"tenant", e.env.Tenant, "source", e.env.Source, "event_id", e.env.EventID, "door", e.env.Door,
		"code", r.Code, "reason", r.Reason,
	}
	if e.origin.sequence > 0 {
		attrs = append(attrs, "stream_seq", e.origin.sequence)
	}
	if r.cause != nil && r.Code == CodeInternal {
		attrs = append(attrs, "error", fmt.Sprint(r.cause))
	}
	w.log.Info("event rejected", attrs...)
}
