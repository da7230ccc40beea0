package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
)

// ErrResult is returned for a message that is no result which a worker wrote.
var ErrResult = errors.New("not a result of a worker")

// A Reply is what the headers of an answer say, by whatever way it came.
type Reply struct {
	Status     int
	Outcome    Outcome
	EventID    string
	UserID     string
	Credential string   // public id of the credential that sent the event, or ""
	Policies   []string // ids of the determining policies
	Notices    []string
	Dropped    []string // roles that were asked for and left out
	DeadLetter string   // message id of the dead letter, or ""
	Omitted    string   // member that the body leaves out, or ""
}

// ReadReply reads what [Answer.Headers] wrote. What is missing or of another form stays empty, since a proxy, or a broker
// without a worker, answers too.
func ReadReply(h providers.Header) Reply {
	r := Reply{
		Outcome: Outcome(h.Get(HeaderOutcome)), EventID: h.Get(HeaderEventID), UserID: h.Get("ce-subject"), Credential: h.Get(HeaderCredential),
		Notices: readList(h.Get(HeaderNotices)), Dropped: readList(h.Get(HeaderDroppedRoles)), DeadLetter: h.Get(HeaderDeadLetter),
		Omitted: h.Get(HeaderOmitted),
	}
	if status, err := strconv.ParseUint(h.Get(HeaderStatus), 10, 16); err == nil {
		r.Status = int(status) //nolint:gosec // of 16 bits
	}
	if policies := h.Get(HeaderPolicies); policies != "" {
		r.Policies = strings.Split(policies, ",")
	}
	return r
}

// readList reads what listHeader wrote.
func readList(text string) []string {
	var list []string
	if json.Unmarshal([]byte(text), &list) != nil {
		return nil
	}
	return list
}

// A Result is a published result.
type Result struct {
	Reply
	ID         string         // its message id
	Event      store.EventKey // "" for a tenant or source that is not known
	Attempt    int            // 0, or the number of the replay
	Origin     Origin         // of a rejection: the stored message that was rejected; none is stored for a request
	Brought    Origin         // of others: the stored message that brought the event; none is stored for a request, and in results of earlier versions
	ReceivedAt time.Time      // of a rejected request
	At         time.Time      // of the answer
	StoredAt   time.Time      // by the broker
	Body       []byte
}

// Name is what the id of the result calls the event: an [EventName].
func (r Result) Name() string {
	return EventName(store.EventKey{TenantID: known(r.Event.TenantID), Source: known(r.Event.Source), EventID: r.Event.EventID, Scope: r.Event.Scope})
}

// unknown stands in ids of results for a tenant or a source that is not known.
const unknown = "_"

func known(token string) string {
	if token == "" {
		return unknown
	}
	return token
}

// receivedPrefix begins what the id of a rejection calls a request. The nanoseconds of its time follow.
const receivedPrefix = "received/"

// ReceivedAt is what the id of a rejection calls a request that was received at a time.
func ReceivedAt(t time.Time) string { return receivedPrefix + strconv.FormatInt(t.UnixNano(), 10) }

// ReadResult reads what [Answer.Result] wrote. Errors are of class [ErrResult].
func ReadResult(m Stored) (Result, error) {
	if !IsResult(m) {
		return Result{}, fmt.Errorf("%w: its headers do not agree with each other and with its subject", ErrResult)
	}
	r := Result{Reply: ReadReply(m.Header), ID: m.Header.Get("Nats-Msg-Id"), StoredAt: m.StoredAt, Body: m.Data}
	r.At, _ = time.Parse(time.RFC3339Nano, m.Header.Get("ce-time")) // nobody needs it to tell what happened
	if origin := m.Header.Get(HeaderOrigin); origin != "" {
		r.Brought = ParseOrigin(origin)
	}
	name := r.ID
	if r.Outcome == OutcomeRejected {
		var ok bool
		if name, ok = r.readCameIn(name); !ok {
			return Result{}, fmt.Errorf("%w: its id %q does not name the message or request that was rejected", ErrResult, r.ID)
		}
	}
	name, attempt, ok := cutLast(name)
	number, err := strconv.ParseUint(attempt, 10, 31)
	if !ok || err != nil {
		return Result{}, fmt.Errorf("%w: its id %q does not name an attempt", ErrResult, r.ID)
	}
	r.Attempt = int(number) //nolint:gosec // of 31 bits
	if r.Event, ok = ParseEventName(name); !ok {
		return Result{}, fmt.Errorf("%w: its id %q does not name an event", ErrResult, r.ID)
	}
	tenant, source, _ := strings.Cut(strings.TrimPrefix(m.Header.Get("ce-source"), ceSource), "/")
	if r.Event.TenantID != known(tenant) || r.Event.Source != known(source) {
		return Result{}, fmt.Errorf("%w: its id %q names an event of others than its ce-source", ErrResult, r.ID)
	}
	r.Event.TenantID, r.Event.Source = tenant, source
	return r, nil
}

// readCameIn takes the message or request that was rejected off the end of an id. An event id may hold slashes and any words
// itself, so an id is read from its end.
func (r *Result) readCameIn(id string) (rest string, ok bool) {
	head, last, _ := cutLast(id)
	head, middle, ok := cutLast(head)
	number, err := strconv.ParseUint(last, 10, 63)
	if !ok || err != nil {
		return "", false
	}
	if middle+"/" == receivedPrefix {
		r.ReceivedAt = time.Unix(0, int64(number)).UTC() //nolint:gosec // of 63 bits
		return head, true
	}
	// Without the stored time, of an earlier version, the name of the stream stands where the stream's creation does otherwise.
	text := middle + "/" + last
	for range 2 {
		var part string
		if head, part, ok = cutLast(head); !ok {
			return "", false
		}
		text = part + "/" + text
		if _, err := strconv.ParseInt(part, 10, 64); err != nil {
			break
		}
	}
	r.Origin = ParseOrigin(text)
	_, err = strconv.ParseInt(strings.Split(text, "/")[1], 10, 64)
	return head, err == nil && r.Origin.Stored()
}

// RejectedAttempt returns the name of the attempt whose rejection is the result of the given id; false for other results.
func RejectedAttempt(id string) (name string, origin Origin, ok bool) {
	var r Result
	rest, ok := r.readCameIn(id)
	_, attempt, _ := cutLast(rest)
	number, err := strconv.ParseUint(attempt, 10, 31)
	if !ok || err != nil || !r.Origin.Stored() {
		return "", Origin{}, false
	}
	return AttemptName(r.Origin, int(number)), r.Origin, true //nolint:gosec // of 31 bits
}

// cutLast cuts the last part off an id.
func cutLast(id string) (head, last string, ok bool) {
	at := strings.LastIndexByte(id, '/')
	if at < 0 {
		return "", id, false
	}
	return id[:at], id[at+1:], true
}
