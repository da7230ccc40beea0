package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/store/storetest"
	"github.com/idpsync/idpsync/worker/record"
)

// A story is a deployment in which an attacker wants something and an honest person has to get in all the same. It is
// driven from the outside: directory files, NATS subjects, HTTP, and what the verbs print.
type story struct {
	*federation
	t    *testing.T
	web  *http.Client
	conn *nats.Conn // while the worker runs
	run  *running

	events   int
	policies string // the last line of directories, where there are any
}

// tell runs a story on both databases, each with a deployment of its own.
func tell(t *testing.T, what string, story func(s *story)) {
	t.Helper()
	t.Run(what, func(t *testing.T) {
		t.Parallel()
		for _, kind := range storetest.Kinds() {
			t.Run(kind, func(t *testing.T) {
				t.Parallel()
				story(newStory(t, newFederation(t, kind)))
			})
		}
	})
}

func newStory(t *testing.T, f *federation) *story {
	t.Helper()
	s := &story{federation: f, t: t, web: client(t)}
	if f.environ["IDPSYNC_DATABASE_URL"] != "" {
		s.must("migrate", "--only", "schema")
	}
	return s
}

// A tenant acme, and another one that has nothing to do with it.
const storyTenants = `
tenants:
  - id: 2489E9AD-2EE2-8E00-8EC9-32D5F69181C0
    name: acme
    owner: owner@acme.example
    roles: [{name: user}, {name: admin}, {id: 6F1C0C5E-0000-4000-8000-000000000001, name: viewer, scope: organization}]
    organizations: [{id: 0A000000-0000-4000-8000-000000000001, name: Sales}]
    sources:
SOURCES
  - {id: 3489E9AD-2EE2-8E00-8EC9-32D5F69181C0, name: globex, roles: [{name: user}]}
`

// directoryOf is the directory in which acme has these sources.
func (s *story) directoryOf(sources ...string) string {
	list := ""
	for _, source := range sources {
		list += "      - " + source + "\n"
	}
	return s.placed(strings.Replace(storyTenants, "SOURCES", list, 1)) + s.policies
}

// policy writes a policy for directories to come.
func (s *story) policy(text string) {
	s.t.Helper()
	s.write("policies/story.cedar", text)
	s.policies = "policies: policies/\n"
}

// try applies a directory in which acme has these sources.
func (s *story) try(flags []string, sources ...string) program {
	s.t.Helper()
	return s.tryText(s.directoryOf(sources...), flags...)
}

func (s *story) tryText(directory string, flags ...string) program {
	s.t.Helper()
	s.write("directory.yaml", directory)
	p := s.do("", append([]string{"apply", "-f", s.path("directory.yaml"), "--yes"}, flags...)...)
	p.stdout, p.stderr = strings.ReplaceAll(p.stdout, s.folder, "FOLDER"), strings.ReplaceAll(p.stderr, s.folder, "FOLDER")
	return p
}

// declare applies a directory in which acme has these sources, and starts the worker.
func (s *story) declare(sources ...string) {
	s.t.Helper()
	if p := s.try(nil, sources...); p.code != kit.ExitOK {
		s.t.Fatalf("apply of an honest directory: got exit %d, wanted 0:\n%s%s", p.code, p.stdout, p.stderr)
	}
	s.start()
}

// start starts the worker, again if it runs, so that all that was applied is in force.
func (s *story) start() {
	s.t.Helper()
	if s.run != nil {
		s.conn.Close()
		s.run.stop()
	}
	s.run = s.worker()
	s.conn = s.nats()
}

// refusedApply fails the test unless an apply was refused with words that name all of these.
func (s *story) refusedApply(what string, p program, names ...string) {
	s.t.Helper()
	if p.code == kit.ExitOK {
		s.t.Errorf("apply of %s: got exit 0, wanted it to be refused:\n%s%s", what, p.stdout, p.stderr)
		return
	}
	if strings.Contains(p.stderr, "unknown flag") {
		s.t.Errorf("apply of %s: a flag is not known:\n%s", what, p.stderr)
		return
	}
	for _, name := range names {
		if !strings.Contains(p.stdout+p.stderr, s.placed(name)) {
			s.t.Errorf("apply of %s was refused without a word of %s:\n%s%s", what, name, p.stdout, p.stderr)
		}
	}
}

func (s *story) acceptedApply(what string, p program) {
	s.t.Helper()
	if p.code != kit.ExitOK {
		s.t.Fatalf("apply of %s: got exit %d, wanted 0:\n%s%s", what, p.code, p.stdout, p.stderr)
	}
}

// nextID returns an id that no other event of the story has.
func (s *story) nextID() string {
	s.events++
	return fmt.Sprintf("event-%d", s.events)
}

// send stores an event and waits for its result at most so long.
func (s *story) send(subject string, header map[string]string, body []byte, patience time.Duration) (reply, bool) {
	s.t.Helper()
	id := s.nextID()
	results, err := s.conn.SubscribeSync("idpsync.result.>")
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = results.Unsubscribe() }()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	if err := s.conn.FlushWithContext(ctx); err != nil {
		s.t.Fatal(err)
	}
	js, err := jetstream.New(s.conn)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := js.PublishMsg(ctx, natsMessage(subject, id, header, string(body))); err != nil {
		s.t.Fatalf("the broker does not store an event on %s: %v", subject, err)
	}
	for {
		m, err := results.NextMsgWithContext(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			return reply{}, false
		}
		if err != nil {
			s.t.Fatal(err)
		}
		if m.Header.Get(record.HeaderEventID) != id {
			continue
		}
		r, err := natsReply(m)
		if err != nil {
			s.t.Fatal(err)
		}
		return r, true
	}
}

// event is send for what has to be answered.
func (s *story) event(subject string, header map[string]string, body []byte) reply {
	s.t.Helper()
	r, ok := s.send(subject, header, body, 20*time.Second)
	if !ok {
		s.t.Fatalf("an event on %s: got no answer in 20 s, wanted one", subject)
	}
	return r
}

// loginAt sends a login to a source of acme.
func (s *story) loginAt(source string, body []byte) reply {
	s.t.Helper()
	return s.event("idpsync.login."+acme+"."+source, nil, body)
}

// oidc logs a subject in at a source of acme whose issuer has the name of the source.
func (s *story) oidc(source, subject, email string, more map[string]any) reply {
	s.t.Helper()
	return s.loginAt(source, s.token(s.t, source, subject, email, more))
}

// hr sends a feed event of acme.
func (s *story) hr(source, token, body string) reply {
	s.t.Helper()
	return s.event("idpsync.feed."+acme+"."+source, bearerOf(token), []byte(body))
}

// command sends a command of acme over HTTP.
func (s *story) command(token, body string) reply {
	s.t.Helper()
	return s.commandAs(token, s.nextID(), body)
}

func (s *story) commandAs(token, id, body string) reply {
	s.t.Helper()
	path := "/v1/users"
	if strings.Contains(body, `"identityName"`) {
		path = "/users"
	}
	r, err := post(s.ctx, s.web, s.run.http+path, id, bearerOf(token), body)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func bearerOf(token string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + token, "X-Tenant-ID": acme}
}

// credentialFor makes a credential of acme for the purposes: commands, feed:NAME, login:SOURCE.
func (s *story) credentialFor(name, grants, purpose string) string {
	s.t.Helper()
	return strings.TrimSpace(s.must("credential", "create", "--tenant", acme, "--name", name, "--grants", grants, "--for", purpose))
}

// tenantBody is a user in the tenant shape of the API.
func tenantBody(email, provider, more string) string {
	return `{"email": "` + email + `", "name": "Person", "auth_provider": "` + provider + `"` + more + `}`
}

// memberBodyOf is a user in its organization shape.
func memberBodyOf(name, email string) string {
	return `{"identityName": "` + name + `", "displayName": "Person", "email": "` + email + `", "firstName": "Given", "lastName": "Family", ` +
		`"organizations": [{"organizationId": "` + sales + `", "roleId": "` + viewer + `"}]}`
}

// made fails the test unless a user was created, and returns its id, by the address for the organization shape.
func (s *story) made(who string, got reply) string {
	s.t.Helper()
	s.let(who, got, "201 created")
	var u kit.User
	if err := json.Unmarshal(got.body, &u); err != nil {
		s.t.Fatalf("%s: the answer is no JSON: %s", who, got.body)
	}
	if u.ID == "" {
		var member struct {
			Email string `json:"email"`
		}
		if err := json.Unmarshal(got.body, &member); err != nil {
			s.t.Fatalf("%s: the answer is no JSON: %s", who, got.body)
		}
		if id := got.header.Get("ce-subject"); id != "" {
			return id
		}
		return s.only(member.Email).ID
	}
	return u.ID
}

// let fails the test unless an answer is one of those wanted, each a status and an outcome. The story can't go on without.
func (s *story) let(who string, got reply, wanted ...string) {
	s.t.Helper()
	if is := fmt.Sprintf("%d %s", got.status, outcomeOf(got)); !slices.Contains(wanted, is) {
		s.t.Fatalf("%s: got %s, wanted %s", who, words(got), strings.Join(wanted, " or "))
	}
}

// user is let for answers that must be the user of that id, whose body it returns.
func (s *story) user(who string, got reply, id string, wanted ...string) kit.User {
	s.t.Helper()
	s.let(who, got, wanted...)
	var u kit.User
	if err := json.Unmarshal(got.body, &u); err != nil {
		s.t.Fatalf("%s: the answer is no JSON: %s", who, got.body)
	}
	if u.ID != id {
		s.t.Errorf("%s: got user %s, wanted %s", who, u.ID, id)
	}
	return u
}

// refused fails the test unless an answer is one of those rejections: a status and a code, and perhaps a reason.
func (s *story) refused(who string, got reply, wanted ...string) {
	s.t.Helper()
	is := words(got)
	if !slices.ContainsFunc(wanted, func(w string) bool { return is == w || strings.HasPrefix(is, w+" ") || strings.HasPrefix(is, w+":") }) {
		s.t.Errorf("%s: got %s, wanted %s", who, is, strings.Join(wanted, " or "))
	}
}

// words says what an answer is: "200 linked: {…}", or "409 user_exists different_source: {…}".
func words(r reply) string {
	var fault record.ErrorBody
	if r.status >= 400 && json.Unmarshal(r.body, &fault) == nil {
		reason := ""
		if text, _ := fault.Details["reason"].(string); text != "" {
			reason = " " + text
		}
		return fmt.Sprintf("%d %s%s: %s", r.status, fault.Code, reason, r.body)
	}
	return fmt.Sprintf("%d %s: %s", r.status, outcomeOf(r), r.body)
}

func outcomeOf(r reply) string { return r.header.Get(record.HeaderOutcome) }

// at returns the users of acme with an address.
func (s *story) at(email string) []userItem {
	s.t.Helper()
	return slices.DeleteFunc(s.users(acme), func(u userItem) bool { return u.Email != email })
}

// only returns the user of acme with an address, who must be the only one.
func (s *story) only(email string) userItem {
	s.t.Helper()
	users := s.at(email)
	if len(users) != 1 {
		s.t.Fatalf("users with the address %s: got %d, wanted 1", email, len(users))
	}
	return users[0]
}

// look returns all that is known of a user of acme, as text.
func (s *story) look(id string) string {
	s.t.Helper()
	return s.must("get", "users", id, "--tenant", acme, "--json")
}

func (s *story) detail(id string) userItem {
	s.t.Helper()
	var u userItem
	if err := json.Unmarshal([]byte(s.look(id)), &u); err != nil {
		s.t.Fatal(err)
	}
	return u
}

// same fails the test if a user of acme was changed.
func (s *story) same(who, id, before string) {
	s.t.Helper()
	if now := s.look(id); now != before {
		s.t.Errorf("%s was changed. Got:\n%s\nwanted:\n%s", who, now, before)
	}
}

// owners fails the test unless these are the ids of acme's owners.
func (s *story) owners(when string, wanted ...string) {
	s.t.Helper()
	var got []string
	for _, u := range s.users(acme) {
		if u.IsOwner {
			got = append(got, u.ID)
		}
	}
	if !slices.Equal(got, wanted) {
		s.t.Errorf("%s: got the owners %v, wanted %v", when, got, wanted)
	}
}

// letter fails the test unless an answer has a dead letter of that code.
func (s *story) letter(who string, got reply, code record.Code) {
	s.t.Helper()
	var letters []deadLetter
	id := got.header.Get(record.HeaderEventID)
	if err := json.Unmarshal([]byte(s.must("dlq", "list", "--state", "all", "--json")), &letters); err != nil {
		s.t.Fatal(err)
	}
	for _, l := range letters {
		if l.EventID == id {
			if l.Code != string(code) {
				s.t.Errorf("%s: got a dead letter %s, wanted %s", who, l.cause(), code)
			}
			return
		}
	}
	s.t.Errorf("%s: got no dead letter of event %s, wanted one of %s", who, id, code)
}

// natsMessageOf is a message as it was stored.
func natsMessageOf(subject string, header nats.Header, data []byte) *nats.Msg {
	return &nats.Msg{Subject: subject, Header: header, Data: data}
}
