package providers

import (
	"slices"
	"strings"
	"time"
)

// Shape says which document an event's payload is, and so which document answers it.
type Shape string

// The shapes of an event.
const (
	ShapeLogin        Shape = "login"        // a login of an OIDC or SAML source; answered in the tenant shape
	ShapeTenant       Shape = "tenant"       // the API's POST /v1/users
	ShapeOrganization Shape = "organization" // the API's POST /users
	ShapeFeed         Shape = "feed"         // in the format that the feed source declares
)

// Door says by which way an event came in.
type Door string

// The doors.
const (
	DoorStream Door = "stream" // a durable JetStream subject
	DoorRPC    Door = "rpc"    // NATS request-reply
	DoorHTTP   Door = "http"
)

// An Envelope is one event as the broker or a front door handed it over, before anything in it is believed.
type Envelope struct {
	Tenant   string // from the subject or configuration, never from the payload; lower-case UUID
	Source   string // from the subject; "admin" for commands
	Shape    Shape
	Door     Door
	EventID  string // scoped by tenant, source and, for commands and feeds, sender
	Header   Header
	Payload  []byte    // the event itself, already taken out of a CloudEvent; must not be changed
	StoredAt time.Time // when the broker stored it, or a trusted domain did so first, or a front door received it; never a sender's word
	Replayed bool      // a dead letter that an operator replays
	Trace    *Trace    // records each check; nil records nothing
}

// Header holds the headers of a message or request. Names compare without case, as NATS clients and HTTP disagree on it.
type Header map[string][]string

// Values returns all values of the header called name, whatever its case: those of the name as given first, then those
// of its variants in their order, so that it is the same at each delivery, and that two variants are seen to be two.
func (h Header) Values(name string) []string {
	var names []string
	for k := range h {
		if len(k) == len(name) && k != name && strings.EqualFold(k, name) {
			names = append(names, k)
		}
	}
	if names == nil {
		return h[name]
	}
	slices.Sort(names)
	all := slices.Clone(h[name])
	for _, k := range names {
		all = append(all, h[k]...)
	}
	return all
}

// Get returns the value of the header called name, or "" when it is absent.
func (h Header) Get(name string) string {
	if v := h.Values(name); len(v) > 0 {
		return v[0]
	}
	return ""
}
