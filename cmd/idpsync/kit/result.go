package kit

import (
	"cmp"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/idpsync/idpsync/worker/record"
)

// A Result is a result message as people read it.
type Result struct {
	Time     time.Time       `json:"time"`
	Tenant   string          `json:"tenant"`
	Source   string          `json:"source"`
	EventID  string          `json:"event_id"`
	Status   string          `json:"status"`
	Outcome  string          `json:"outcome"`
	Policies string          `json:"policies,omitempty"`
	Omitted  string          `json:"omitted,omitempty"` // member that the body leaves out
	Body     json.RawMessage `json:"body"`

	User  User             `json:"-"` // of a result that is no rejection
	Fault record.ErrorBody `json:"-"` // of a rejection
}

// A User is what both shapes of a user have in common, and enough to say who it is.
type User struct {
	ID           string   `json:"id"`
	Email        string   `json:"email"`
	Name         string   `json:"name"`
	DisplayName  string   `json:"displayName"`
	Roles        []string `json:"roles"`
	IsOwner      bool     `json:"is_owner"`
	IdentityName string   `json:"identityName"`

	Organizations []json.RawMessage `json:"organizations"`
}

// ReadResult reads a published result. Errors are of class [record.ErrResult].
func ReadResult(m record.Stored) (Result, error) {
	published, err := record.ReadResult(m)
	if err != nil {
		return Result{}, err
	}
	r := ResultOf(published.Reply, published.Body)
	r.Time, r.EventID = m.StoredAt, published.Event.EventID
	r.Tenant, r.Source = record.TenantToken(published.Event.TenantID), record.SourceToken(published.Event.Source)
	return r, nil
}

// ResultOf is an answer as the result that it is.
func ResultOf(reply record.Reply, body []byte) Result {
	r := Result{
		EventID: reply.EventID, Status: strconv.Itoa(reply.Status), Outcome: string(reply.Outcome), Policies: strings.Join(reply.Policies, ","),
		Omitted: reply.Omitted, Body: json.RawMessage(body),
	}
	if !json.Valid(body) {
		r.Body = json.RawMessage("null")
		return r
	}
	if reply.Outcome == record.OutcomeRejected {
		_ = json.Unmarshal(body, &r.Fault) // a body of another form shows no details
	} else {
		_ = json.Unmarshal(body, &r.User)
	}
	return r
}

// FullName is the name that people know the user by.
func (u User) FullName() string { return cmp.Or(u.Name, u.DisplayName) }

// Mark returns the sign that stands for the outcome, and the code of its colour.
func (r Result) Mark() (mark, colour string) {
	switch record.Outcome(r.Outcome) {
	case record.OutcomeRejected:
		return "✗", "31"
	case record.OutcomeCreated:
		return "✓", "32"
	default:
		return "•", "36"
	}
}
