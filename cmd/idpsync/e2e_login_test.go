package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/worker/record"
)

// TestFirstLoginTakesWhoWasCreatedBefore creates users for OIDC by every door and lets logins claim them.
func TestFirstLoginTakesWhoWasCreatedBefore(t *testing.T) {
	t.Parallel()
	s := embeddedSite(t)
	r := s.worker()
	conn := s.nats()
	header := map[string]string{"Authorization": "Bearer " + s.credential("acme", "user,viewer"), "X-Tenant-ID": acme}
	for _, door := range s.callers(r) {
		for _, shape := range []struct{ path, body string }{
			{"/v1/users", `{"email": "NAME@acme.example", "name": "Uma Patel", "roles": ["user"], "auth_provider": "oidc"}`},
			{"/users", strings.NewReplacer("grace DOOR", "NAME", "grace.DOOR", "NAME").Replace(memberBody)},
		} {
			name := "uma-" + door.name + strings.ReplaceAll(shape.path, "/", "-")
			t.Run(name, func(t *testing.T) {
				made := door.send(t, acme, shape.path, name, header, strings.ReplaceAll(shape.body, "NAME", name))
				if made.status != 201 {
					t.Fatalf("the user is answered by %d %s, want 201", made.status, made.body)
				}
				s.claim(t, func(id, subject string, claims map[string]any) reply {
					return s.login(t, conn, acme, name+id, subject, claims)
				}, name)
				if got := s.login(t, conn, globex, name+"-globex", name, nil); got.status != 201 {
					t.Errorf("the same login in another tenant is answered by %d %s, want 201", got.status, got.body)
				}
			})
		}
	}
}

// claim lets logins that prove nothing claim the user called name, then the right one, then another.
func (s *site) claim(t *testing.T, login func(id, subject string, claims map[string]any) reply, name string) {
	t.Helper()
	before := s.snapshot(t)
	refused := func(why string, got reply, code record.Code) {
		t.Helper()
		if fault := got.fault(t); fault.Code != code {
			t.Errorf("%s: got %d %s, wanted %s", why, got.status, got.body, code)
		}
		if after := s.snapshot(t); after != before {
			t.Errorf("%s changed something, want the state before:\n%s\nnow:\n%s", why, before, after)
		}
	}
	refused("email_verified is false", login("-false", name, map[string]any{"email_verified": false}), record.CodeUnverifiedEmail)
	refused(`email_verified is "true"`, login("-text", name, map[string]any{"email_verified": "true"}), record.CodeUnverifiedEmail)
	refused("email_verified is absent", login("-absent", name, map[string]any{"email_verified": nil}), record.CodeUnverifiedEmail)

	got := login("-first", name, nil)
	if got.status != 200 || got.header.Get(record.HeaderOutcome) != string(record.OutcomeLinked) {
		t.Fatalf("the first login is answered by %d %s, want 200, linked", got.status, got.body)
	}
	var answered kit.User
	if err := json.Unmarshal(got.body, &answered); err != nil {
		t.Fatal(err)
	}
	if id := s.idOf(t, name+"@acme.example"); answered.ID != id {
		t.Errorf("the login is of user %s, want the user created before, %s", answered.ID, id)
	}
	if got := login("-second", name, nil); got.status != 200 || got.header.Get(record.HeaderOutcome) != string(record.OutcomeExists) {
		t.Errorf("the second login is answered by %d %s, want 200, exists", got.status, got.body)
	}
	before = s.snapshot(t)
	refused("another person's login", login("-other", "eve-"+name, map[string]any{"email": name + "@acme.example"}), record.CodeUserExists)
}

// snapshot is all that get says of acme's users and of events with an effect, to show that nothing was changed.
func (s *site) snapshot(t *testing.T) string {
	t.Helper()
	return s.must("get", "users", "--tenant", "acme", "--json") + s.must("get", "events", "--tenant", "acme", "--json")
}

func (s *site) idOf(t *testing.T, email string) string {
	t.Helper()
	for _, u := range s.users("acme") {
		if u.Email == email {
			return u.ID
		}
	}
	t.Fatalf("nobody has the address %s", email)
	return ""
}
