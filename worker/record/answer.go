package record

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
)

// Headers of results and replies.
const (
	HeaderStatus         = "Idpsync-Status"
	HeaderOutcome        = "Idpsync-Outcome"
	HeaderEventID        = "Idpsync-Event-Id"
	HeaderCredential     = "Idpsync-Credential"    // public id of the credential that sent the event
	HeaderPolicies       = "Idpsync-Policies"      // ids of the determining policies, comma-separated
	HeaderNotices        = "Idpsync-Notices"       // their notices, as a JSON array
	HeaderDroppedRoles   = "Idpsync-Dropped-Roles" // roles asked for and left out, as a JSON array
	HeaderDeadLetter     = "Idpsync-Dead-Letter"   // id of the dead letter of a rejected event, or [CountedLetter]
	HeaderOmitted        = "Idpsync-Omitted"       // member that the body leaves out, as the event did not change it
	HeaderOrigin         = "Idpsync-Origin"        // of a result that is no rejection: the stored message that brought the event; see [Origin]
	headerContentLocaton = "Content-Location"
	headerContentType    = "Content-Type"
	contentTypeJSON      = "application/json"

	ceSource = "/idpsync/" // begins the ce-source of a result; tenant and source follow
)

// An Answer is the response to one event: the body of the API and what goes into headers. The same answer is a result
// message, a reply to a request, and an HTTP response.
type Answer struct {
	Status  int
	Outcome Outcome
	Body    []byte
	At      time.Time
	UserID  string
	Attempt int
	Decided
	Scope      string // of the event id
	Credential string // public id of the credential that sent the event, or ""

	kept   []byte // with Picture: the body without it
	Repeat bool   // the ledger had it
	CameIn string // of a rejection: the message or request that was rejected
	Origin string // of others: the stored message that brought the event, or ""
}

// Decided is what the ledger keeps beside the body: what makes the very same result again, and how it was decided.
type Decided struct {
	ContentLocation string   `json:"content_location,omitempty"`
	Notices         []string `json:"notices,omitempty"`
	Policies        []string `json:"policies,omitempty"`
	Dropped         []string `json:"dropped,omitempty"`
	Picture         *Picture `json:"picture,omitempty"` // that the kept body leaves out; nil: none

	// Request is what the policies were asked, for asking others later. It is no header.
	Request    *AuthorizationRequest `json:"request,omitempty"`
	DeadLetter string                `json:"-"`
}

// Rejected is the answer that a rejection makes.
func Rejected(r *Rejection, at time.Time) *Answer {
	return &Answer{
		Status: r.Code.Status(), Outcome: OutcomeRejected, Body: Marshal(r.ErrorBody), At: at,
		Decided: Decided{Notices: r.Notices, Policies: r.Policies},
	}
}

// RecordedRequest returns what the policies were asked about an event of the ledger. Without an effect nothing is recorded.
func RecordedRequest(row *store.Event) (AuthorizationRequest, bool) {
	var h Decided
	if json.Unmarshal(row.ResultHeaders, &h) != nil || h.Request == nil {
		return AuthorizationRequest{}, false
	}
	return *h.Request, true
}

// ReadAnswer is the answer that was given to an event of the ledger, without the picture that its Picture speaks of.
func ReadAnswer(row *store.Event) (*Answer, error) {
	a := &Answer{
		Status: row.Status, Outcome: Outcome(row.Outcome), Body: row.Result, At: row.At, UserID: row.UserID, Attempt: row.Attempt,
		Scope: row.Scope, Credential: row.Credential, Repeat: true, Origin: row.Origin,
	}
	if len(row.ResultHeaders) > 0 {
		if err := json.Unmarshal(row.ResultHeaders, &a.Decided); err != nil {
			return nil, fmt.Errorf("ledger row %s/%s/%s: headers: %w", row.TenantID, row.Source, row.EventID, err)
		}
	}
	if a.Picture != nil {
		a.kept = a.Body
	}
	return a, nil
}

// id is the message id of the answer as a result. It is the same however often the event is processed, until somebody
// replays it. That of a rejection names the message or request too: the same event id may be sent again in another one,
// and what becomes of that one must not be taken for a duplicate. So does the scope of the event id, if it has one.
func (a *Answer) id(tenant, source, eventID string) string {
	id := ResultID(store.EventKey{TenantID: known(tenant), Source: known(source), EventID: eventID, Scope: a.Scope}, a.Attempt)
	if a.CameIn != "" {
		id += "/" + a.CameIn
	}
	return id
}

// ResultID is the message id of the result of an attempt that was no rejection.
func ResultID(k store.EventKey, attempt int) string {
	return EventName(k) + "/" + strconv.Itoa(attempt)
}

// Headers returns the headers of the answer to the event of the given tenant, source and id, with CloudEvents
// attributes in the binary mode of the NATS binding.
func (a *Answer) Headers(tenant, source, eventID string) providers.Header {
	h := providers.Header{
		headerContentType: {contentTypeJSON},
		HeaderStatus:      {strconv.Itoa(a.Status)},
		HeaderOutcome:     {string(a.Outcome)},
		HeaderEventID:     {eventID},
		"ce-specversion":  {"1.0"},
		"ce-type":         {"idpsync.user." + string(a.Outcome)},
		"ce-source":       {ceSource + tenant + "/" + source},
		"ce-id":           {percentEncode(a.id(tenant, source, eventID))},
		"ce-time":         {formatTime(a.At)},
	}
	if a.Credential != "" {
		h[HeaderCredential] = []string{a.Credential}
	}
	if a.UserID != "" {
		h["ce-subject"] = []string{a.UserID}
	}
	if a.ContentLocation != "" {
		h[headerContentLocaton] = []string{url.PathEscape(a.ContentLocation)}
	}
	if len(a.Policies) > 0 {
		h[HeaderPolicies] = []string{strings.Join(a.Policies, ",")}
	}
	if len(a.Notices) > 0 {
		h[HeaderNotices] = []string{listHeader(a.Notices)}
	}
	if len(a.Dropped) > 0 {
		h[HeaderDroppedRoles] = []string{listHeader(a.Dropped)}
	}
	if a.DeadLetter != "" {
		h[HeaderDeadLetter] = []string{a.DeadLetter}
	}
	if a.partial() {
		h[HeaderOmitted] = []string{pictureName}
	}
	return h
}

// maxListHeader bounds a list in a header, in bytes: the broker stores no message with more than 64 KiB of headers.
const maxListHeader = 8 << 10

// listHeader returns a list as a JSON array, as much of it as fits.
func listHeader(list []string) string {
	for {
		text := string(Marshal(list))
		if len(text) <= maxListHeader {
			return text
		}
		list = list[:len(list)/2]
	}
}

// Result is the result message of an event. Unlike a reply it may leave out the picture of the user.
func (a *Answer) Result(tenant, source, eventID string) Outgoing {
	if a.Picture != nil && a.Picture.Omitted {
		short := *a
		short.Body = a.kept
		a = &short
	}
	h := a.Headers(tenant, source, eventID)
	if a.Origin != "" {
		h[HeaderOrigin] = []string{a.Origin}
	}
	return Outgoing{
		Subject: ResultSubject(tenant, source, a.Outcome),
		ID:      a.id(tenant, source, eventID),
		Header:  h,
		Data:    a.Body,
	}
}

// Refuse is the answer to a request that a front door could not hand in, from the error of a provider's check that it
// made itself.
func Refuse(err error, at time.Time) Answer { return *Rejected(RejectionOf(err), at) }
