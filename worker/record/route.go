package record

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/idpsync/idpsync/providers"
)

// An Action is what an event asks for. It stands beside the format of the document: the same document may come with
// another action, and the same action with another document.
type Action string

// ActionCreate asks for a user who may be there already; what logins and feeds then change is part of it.
const ActionCreate Action = "create"

// Actions returns all actions.
func Actions() []Action { return []Action{ActionCreate} }

// Cedar is the name by which policies know the action: Action::"CreateUser".
func (a Action) Cedar() string {
	switch a {
	case ActionCreate, "": // the ledger's older rows name none
		return "CreateUser"
	}
	return ""
}

// A Branch is the first two tokens of subjects, which say what their messages are.
type Branch string

// The branches.
const (
	BranchLogins      Branch = root + ".login"
	BranchFeeds       Branch = root + ".feed"
	BranchCommands    Branch = root + ".command"
	BranchRequests    Branch = root + ".rpc" // commands by request-reply, which no stream holds
	BranchResults     Branch = root + ".result"
	BranchDeadLetters Branch = root + ".deadletter"
	BranchReplays     Branch = root + ".replay"
	BranchArchive     Branch = root + ".archive"
)

// root is the first token of every subject.
const root = "idpsync"

// All is the filter that takes every subject of the branch.
func (b Branch) All() string { return string(b) + ".>" }

// Of returns the subject that has the given tokens in the branch. It checks none of them.
func (b Branch) Of(tokens ...string) string { return string(b) + "." + strings.Join(tokens, ".") }

// Holds reports whether a subject belongs to the branch.
func (b Branch) Holds(subject string) bool {
	rest, ok := strings.CutPrefix(subject, string(b))
	return ok && strings.HasPrefix(rest, ".")
}

// word is the second token.
func (b Branch) word() string { return strings.TrimPrefix(string(b), root+".") }

// The lanes: the durable consumers that share the streams of events and of orders.
const (
	LaneLogins  = "logins"
	LaneFeeds   = "feeds"
	LaneReplays = "replays"
)

// A Route is one way by which one action with a document of one format comes in. Subjects, endpoints and paths are made
// from it wherever they are needed.
type Route struct {
	Action Action
	Shape  providers.Shape // the format of the document
	Branch Branch          // where it is stored
	Lane   string          // the durable consumer that reads it
	// Name is how the subjects of commands end, in place of the name of a source. What has a name is answered by
	// request-reply too.
	Name   string
	Method string // of HTTP; "" when it does not come that way
	Path   string
}

// Subject is the pattern of the subjects on which it is stored, as in idpsync.login.*.*
func (r Route) Subject() string {
	if r.Name == "" {
		return r.Branch.Of("*", "*")
	}
	return r.Branch.Of("*", r.Name)
}

// RequestSubject is the pattern of the subjects of request-reply, or "" when it does not come that way.
func (r Route) RequestSubject() string {
	if r.Name == "" {
		return ""
	}
	return BranchRequests.Of("*", r.Name)
}

// Endpoint is its name in the service of request-reply, whose names have no dots; or "".
func (r Route) Endpoint() string { return strings.ReplaceAll(r.Name, ".", "-") }

// below reports whether the route has subjects with the given second token.
func (r Route) below(word string) bool {
	return r.Branch.word() == word || r.Name != "" && BranchRequests.word() == word
}

// A Table is a set of routes. No two have the same subject, endpoint or method and path, nor the same action with the
// same format; and in one branch either all have names or there is one.
type Table []Route

// routes is the table of what idpsync takes. It is not changed.
var routes = Table{
	{Action: ActionCreate, Shape: providers.ShapeLogin, Branch: BranchLogins, Lane: LaneLogins},
	{Action: ActionCreate, Shape: providers.ShapeFeed, Branch: BranchFeeds, Lane: LaneFeeds},
	{Action: ActionCreate, Shape: providers.ShapeTenant, Branch: BranchCommands, Lane: LaneLogins, Name: "v1.users.create", Method: http.MethodPost, Path: "/v1/users"},
	{Action: ActionCreate, Shape: providers.ShapeOrganization, Branch: BranchCommands, Lane: LaneLogins, Name: "users.create", Method: http.MethodPost, Path: "/users"},
}

// Routes returns the table of what idpsync takes.
func Routes() Table { return slices.Clone(routes) }

// Check returns an error when two routes could be mistaken for each other, or one cannot be reached.
func (t Table) Check() error {
	seen := map[string]bool{}
	once := func(what, key string) error {
		if seen[what+key] {
			return fmt.Errorf("two routes have the %s %s", what, key)
		}
		seen[what+key] = true
		return nil
	}
	for _, r := range t {
		if r.Action == "" || r.Shape == "" || r.Branch == "" || r.Lane == "" {
			return fmt.Errorf("the route %+v lacks its action, format, branch or lane", r)
		}
		if (r.Method == "") != (r.Path == "") {
			return fmt.Errorf("the route of %s has only one of method and path", r.Subject())
		}
		if err := once("subject", r.Subject()); err != nil {
			return err
		}
		if err := once("action and format", string(r.Action)+" "+string(r.Shape)); err != nil {
			return err
		}
		if r.Name != "" {
			if err := once("endpoint", r.Endpoint()); err != nil {
				return err
			}
		}
		if r.Path != "" {
			if err := once("method and path", r.Method+" "+r.Path); err != nil {
				return err
			}
		}
		for _, other := range t {
			if other.Branch == r.Branch && (other.Name == "") != (r.Name == "") {
				return fmt.Errorf("some routes in %s have names and some have sources", r.Branch)
			}
			if other.Branch == r.Branch && other.Lane != r.Lane {
				return fmt.Errorf("the routes in %s have two lanes, whose filters would overlap", r.Branch)
			}
		}
	}
	return nil
}

// Find returns the route of an action with a document of one format.
func (t Table) Find(action Action, shape providers.Shape) (Route, bool) {
	i := slices.IndexFunc(t, func(r Route) bool { return r.Action == action && r.Shape == shape })
	if i < 0 {
		return Route{}, false
	}
	return t[i], true
}

// Filters returns what takes the stored events of a lane, or of all lanes for "". No two overlap.
func (t Table) Filters(lane string) []string {
	var all []string
	for _, r := range t {
		if f := r.Branch.All(); (lane == "" || r.Lane == lane) && !slices.Contains(all, f) {
			all = append(all, f)
		}
	}
	return all
}

// ParseSubject is [ParseSubject] for the routes of the table.
func (t Table) ParseSubject(subject string) (Address, error) {
	tokens := strings.Split(subject, ".")
	if len(tokens) < 2 || tokens[0] != root {
		return Address{}, fmt.Errorf("%w: it does not begin with %s", ErrSubject, root)
	}
	first := slices.IndexFunc(t, func(r Route) bool { return r.below(tokens[1]) })
	if first < 0 {
		return Address{}, fmt.Errorf("%w: its second token is none of %s", ErrSubject, t.words())
	}
	a := Address{Door: providers.DoorStream}
	if tokens[1] == BranchRequests.word() {
		a.Door = providers.DoorRPC
	}
	sourced := t[first].Name == ""
	if sourced {
		a.Action, a.Shape = t[first].Action, t[first].Shape
	}
	if len(tokens) < 3 {
		return a, fmt.Errorf("%w: it has no tenant", ErrSubject)
	}
	a.Tenant, _ = providers.ParseUUID(tokens[2])

	var err error
	if sourced {
		a.Source, err = sourceOf(tokens[3:])
	} else {
		a.Source = providers.AdminSource
		name := strings.Join(tokens[3:], ".")
		i := slices.IndexFunc(t, func(r Route) bool { return r.below(tokens[1]) && r.Name == name })
		if i < 0 {
			err = fmt.Errorf("%w: after the tenant it must end with %s", ErrSubject, t.names(tokens[1]))
		} else {
			a.Action, a.Shape = t[i].Action, t[i].Shape
		}
	}
	if a.Tenant == "" {
		err = fmt.Errorf("%w: its tenant is not a UUID", ErrSubject)
	}
	return a, err
}

// sourceOf reads the tokens after the tenant. It returns the source also beside an error about what follows it.
func sourceOf(tokens []string) (string, error) {
	source := ""
	if len(tokens) > 0 && validSource(tokens[0]) {
		source = tokens[0]
	}
	switch {
	case len(tokens) == 0:
		return "", fmt.Errorf("%w: it has no source", ErrSubject)
	case len(tokens) > 1:
		return source, fmt.Errorf("%w: it has tokens after the source", ErrSubject)
	case source == "":
		return "", fmt.Errorf("%w: its source is not 1 to 63 of a-z, 0-9 and hyphen", ErrSubject)
	}
	return source, nil
}

// EventSubject is [EventSubject] for the routes of the table.
func (t Table) EventSubject(a Address) string {
	tenant, ok := providers.ParseUUID(a.Tenant)
	if !ok {
		return ""
	}
	if a.Action == "" {
		a.Action = ActionCreate
	}
	r, ok := t.Find(a.Action, a.Shape)
	switch {
	case !ok:
		return ""
	case a.Door == providers.DoorRPC && r.Name != "":
		return BranchRequests.Of(tenant, r.Name)
	case a.Door == providers.DoorRPC:
		return ""
	case r.Name != "":
		return r.Branch.Of(tenant, r.Name)
	case !validSource(a.Source):
		return ""
	}
	return r.Branch.Of(tenant, a.Source)
}

// words lists the second tokens, for a message.
func (t Table) words() string {
	var all []string
	requests := false
	for _, r := range t {
		if w := r.Branch.word(); !slices.Contains(all, w) {
			all = append(all, w)
		}
		requests = requests || r.Name != ""
	}
	if requests {
		all = append(all, BranchRequests.word())
	}
	return listed(all, "and")
}

// names lists the ends of the subjects with the given second token, for a message.
func (t Table) names(word string) string {
	var all []string
	for _, r := range t {
		if r.below(word) && r.Name != "" {
			all = append(all, r.Name)
		}
	}
	return listed(all, "or")
}

// listed writes a list as a sentence has it: a, b and c.
func listed(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " " + last + " " + words[len(words)-1]
}
