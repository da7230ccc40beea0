package worker_test

import (
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// A scene sends events one after the other and waits for the result of each.
type scene struct {
	*testing.T
	d      *workertest.Deployment
	token  map[string]string // credential of each tenant
	events atomic.Int64
}

func newScene(t *testing.T, d *workertest.Deployment) *scene {
	t.Helper()
	s := &scene{T: t, d: d, token: map[string]string{}}
	have, err := d.Store.Directory(d.Ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, tenant := range have.Tenants {
		s.token[tenant.ID] = d.Credential(tenant.ID, "user", "admin", "viewer", "captain", "pilot")
	}
	d.Start()
	return s
}

// in returns the scene for a test below.
func (s *scene) in(t *testing.T) *scene {
	return &scene{T: t, d: s.d, token: s.token}
}

func (s *scene) id() string {
	return fmt.Sprintf("%s/%d", s.Name(), s.events.Add(1))
}

// login sends a login of a person and returns its result.
func (s *scene) login(tenant, source string, c workertest.Claims) workertest.Record {
	s.Helper()
	id := s.id()
	i := s.d.Issuer
	if c["iss"] == s.d.Second.URL() {
		i = s.d.Second
	}
	s.d.Publish(workertest.LoginSubject(tenant, source), id, s.d.LoginAt(i, c))
	return s.d.Await(id)
}

// feed sends a feed event with the tenant's credential and returns its result.
func (s *scene) feed(tenant, source string, body map[string]any) workertest.Record {
	s.Helper()
	id := s.id()
	s.d.PublishWith(workertest.FeedSubject(tenant, source), id, workertest.Payload(body), providers.Header{"Authorization": {"Bearer " + s.token[tenant]}})
	return s.d.Await(id)
}

// provision makes a user before their first login.
func (s *scene) provision(source string, body map[string]any) workertest.Record {
	s.Helper()
	r := s.feed(acme, source, body)
	if r.Status != 201 {
		s.Fatalf("not provisioned: %d %s", r.Status, r.Data)
	}
	return r
}

func tenantUser(subject, provider string) map[string]any {
	return map[string]any{"email": subject + "@acme.example", "name": "Person " + subject, "auth_provider": provider}
}

func organizationUser(subject string) map[string]any {
	return map[string]any{
		"identityName": subject, "displayName": "Person " + subject, "email": subject + "@acme.example", "firstName": "Person", "lastName": subject,
		"organizations": []map[string]string{{"organizationId": workertest.Sales, "roleId": workertest.Viewer}},
	}
}

func with(body map[string]any, changes map[string]any) map[string]any {
	out := maps.Clone(body)
	for name, value := range changes {
		if value == nil {
			delete(out, name)
		} else {
			out[name] = value
		}
	}
	return out
}

// want compares a result with an outcome.
func (s *scene) want(r workertest.Record, status int, outcome record.Outcome) {
	s.Helper()
	if r.Status != status || r.Outcome != outcome {
		s.Errorf("wanted %d %s, got %d %s %s", status, outcome, r.Status, r.Outcome, r.Data)
	}
}

// wantConflict expects that an event is refused for a person who is there with another identity.
func (s *scene) wantConflict(r workertest.Record, field string) {
	s.Helper()
	s.wantExists(r, field, "different_identity")
}

// wantApart expects that a login is refused a user who is there, because its source may not have them.
func (s *scene) wantApart(r workertest.Record, field string) {
	s.Helper()
	s.wantExists(r, field, "different_source")
}

// wantUnverified expects that a first login is refused because it does not prove its address.
func (s *scene) wantUnverified(r workertest.Record) {
	s.Helper()
	s.want(r, 403, record.OutcomeRejected)
	if r.Code != record.CodeUnverifiedEmail {
		s.Errorf("got code %s, wanted unverified_email: %s", r.Code, r.Data)
	}
}

func (s *scene) wantExists(r workertest.Record, field, reason string) {
	s.Helper()
	s.want(r, 409, record.OutcomeRejected)
	if r.Code != record.CodeUserExists || r.Reason != reason || detail(r, "field") != field {
		s.Errorf("got %s (%s) of %v, wanted user_exists (%s) of %s: %s", r.Code, r.Reason, detail(r, "field"), reason, field, r.Data)
		return
	}
	if letter := s.d.AwaitLetter(r.EventID); letter.Code != record.CodeUserExists {
		s.Errorf("dead letter: %+v", letter.Header)
	}
}

// wantRepeated expects that an event names a user who is there, which is nobody's fault.
func (s *scene) wantRepeated(r workertest.Record, field string) {
	s.Helper()
	s.want(r, 409, record.OutcomeRejected)
	if r.Code != record.CodeUserExists || detail(r, "field") != field {
		s.Errorf("not a repeat of %s: %s", field, r.Data)
	}
	s.d.Drained()
	if letters := s.d.Letters.Of(r.EventID); len(letters) != 0 || r.Header.Get(record.HeaderDeadLetter) != "" {
		s.Errorf("an ordinary repeat has a dead letter: %+v", letters)
	}
}

func detail(r workertest.Record, name string) any {
	details, _ := r.Body["details"].(map[string]any)
	return details[name]
}

// fieldsOf returns the faulty fields of a 400, sorted.
func fieldsOf(r workertest.Record) []string {
	var out []string
	list, _ := detail(r, "fields").([]any)
	for _, f := range list {
		fault, _ := f.(map[string]any)
		name, _ := fault["field"].(string)
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
