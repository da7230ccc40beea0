package worker_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/policy"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// withoutPing is the default directory without the source ping.
var withoutPing = strings.Replace(workertest.Directory, workertest.Directory[strings.Index(workertest.Directory, "      - name: ping"):strings.Index(workertest.Directory, "      - {name: workday")], "", 1)

// never is longer than any test.
func never(c *worker.Config) { c.Refresh = time.Hour }

func TestChangeOfTheDirectoryReachesARunningWorker(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		p := d.Start()
		before := p.Directories.Current().Revision
		d.Apply(withoutPing)
		d.Eventually("for the new revision", func() bool { return p.Directories.Current().Revision > before })
		d.Publish(workertest.LoginSubject(acme, "ping"), "e1", d.LoginAt(d.Second, d.PersonAt(d.Second, "ada")))
		wantRejected(t, d, "e1", record.CodeUnknownSource, "")
	})
}

func TestEventIsNotRefusedForWhatWasDeclaredBeforeIt(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{Unapplied: true})
	d.Start(never)
	d.Apply(withoutPing)
	d.LogIn("tenant", d.Person("ada"))
	if r := d.Await("tenant"); r.Status != 201 {
		t.Errorf("a login of the new tenant gets %s, want 201", r.Data)
	}
	d.Apply(workertest.Directory)
	d.Publish(workertest.LoginSubject(acme, "ping"), "source", d.LoginAt(d.Second, d.PersonAt(d.Second, "grace")))
	if r := d.Await("source"); r.Status != 201 {
		t.Errorf("a login of the new source gets %s, want 201", r.Data)
	}
	d.Apply(repaired)
	d.LogIn("role", astronaut(d, "joan"))
	if r := d.Await("role"); r.Status != 201 {
		t.Errorf("a login with the new role gets %s, want 201", r.Data)
	}
	token := d.Credential(acme, "user", "viewer")
	d.Apply(strings.Replace(repaired, "name: Support}", "name: Support}, {id: 0A000000-0000-4000-8000-000000000003, name: Space}", 1))
	d.PublishWith(workertest.FeedSubject(acme, "workday"), "organization", workertest.Payload(with(organizationUser("mae"), map[string]any{
		"organizations": []map[string]string{{"organizationId": "0a000000-0000-4000-8000-000000000003", "roleId": workertest.Viewer}},
	})), providers.Header{"Authorization": {"Bearer " + token}})
	if r := d.Await("organization"); r.Status != 201 {
		t.Errorf("a user of the new organization gets %s, want 201", r.Data)
	}
}

// A directory that has changed and cannot be read decides nothing: neither what the one before would refuse, nor what it
// would let in.
func TestDirectoryThatCannotBeReadMakesEventsWait(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{Directory: withoutPing})
	var away atomic.Bool
	p := d.Process(never)
	p.On(fault.At(fault.BeforeStore, func(_ context.Context, c fault.Call) error {
		if away.Load() && c.Method == "DirectoryRevision" {
			return errors.New("a fault of this test")
		}
		return nil
	}))
	p.Run()
	away.Store(true)
	d.Apply(workertest.Directory)
	d.Publish(workertest.LoginSubject(acme, "ping"), "e1", d.LoginAt(d.Second, d.PersonAt(d.Second, "ada")))
	d.LogIn("e2", d.Person("grace"))
	d.Eventually("for both events to be parked", func() bool { return d.Counts().Parked == 2 })
	away.Store(false)
	d.Clock.Advance(time.Minute)
	for _, id := range []string{"e1", "e2"} {
		if r := d.Await(id); r.Status != 201 {
			t.Errorf("%s, once the directory can be read: got %d %s, wanted 201", id, r.Status, r.Data)
		}
	}
}

func TestEventsOfASourceThatCannotWorkWaitUntilItIsMended(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{Unapplied: true})
	var broken atomic.Bool
	broken.Store(true)
	p := d.Process()
	p.On(fault.At(fault.BeforeFactory, func(_ context.Context, c fault.Call) error {
		if broken.Load() && c.Source.Name == "ping" {
			return errors.New("a fault of this test")
		}
		return nil
	}))
	p.Run()
	d.Apply(workertest.Directory)
	d.Publish(workertest.LoginSubject(acme, "ping"), "e1", d.LoginAt(d.Second, d.PersonAt(d.Second, "ada")))
	d.LogIn("e2", d.Person("grace"))
	if r := d.Await("e2"); r.Status != 201 {
		t.Errorf("the login of a source that works gets %s, want 201", r.Data)
	}
	d.Eventually("for the event to be parked", func() bool { return d.Counts().Parked == 1 })
	src := p.Directories.Current().Tenant(acme).Source("ping")
	if src == nil || src.Err == nil || !strings.Contains(src.Err.Error(), "a fault of this test") {
		t.Errorf("the source is not listed with its fault: %+v", src)
	}
	broken.Store(false)
	d.Apply(repaired)
	d.Eventually("for the source to work", func() bool { return p.Directories.Current().Tenant(acme).Source("ping").Err == nil })
	d.Clock.Advance(time.Minute)
	if r := d.Await("e1"); r.Status != 201 {
		t.Errorf("the login of the mended source gets %s, want 201", r.Data)
	}
	if letters := d.AllLetters(); len(letters) != 0 {
		t.Errorf("there are dead letters %+v, want none", letters)
	}
}

func TestForbiddenIsSaidWithNotices(t *testing.T) {
	workertest.Each(t, workertest.Options{Policies: []policy.File{{Name: "acme.cedar", Text: noticedPolicies}}}, func(t *testing.T, d *workertest.Deployment) {
		s := newScene(t, d)
		before := d.Fingerprint(acme)
		r := s.login(acme, "okta", d.Person("eve").With(workertest.Claims{"email": "eve@eve.example"}))
		s.want(r, 403, record.OutcomeRejected)
		if notices := texts(r.Body["notices"]); r.Code != record.CodeForbidden || !slices.Equal(notices, []string{"Eve is not welcome; ask the security team."}) {
			t.Errorf("the forbidden login gets %s, want the code forbidden and the notice of the policy", r.Data)
		}
		letter := d.AwaitLetter(r.EventID)
		if letter.Code != record.CodeForbidden || letter.Header.Get(record.DeadLetterClass) != "policy" || r.Header.Get(record.HeaderPolicies) != "no-eve" {
			t.Errorf("the dead letter has the header %v and the result %v, want class policy and the policy no-eve", letter.Header, r.Header)
		}
		if d.Fingerprint(acme) != before {
			t.Error("it had an effect")
		}
		welcome := s.login(acme, "okta", d.Person("ada"))
		s.want(welcome, 201, record.OutcomeCreated)
		if got := welcome.Header.Get(record.HeaderNotices); got != `["Welcome to acme."]` {
			t.Errorf("the welcomed login has the notices %s, want that of the policy", got)
		}
	})
}

func TestPoliciesThatDoNotCompileLeaveTheOldOnesInForce(t *testing.T) {
	t.Parallel()
	good := policy.File{Name: "acme.cedar", Text: noticedPolicies}
	d := workertest.New(t, workertest.Options{Policies: []policy.File{good}})
	s := newScene(t, d)
	eve := d.Person("eve").With(workertest.Claims{"email": "eve@eve.example"})
	s.want(s.login(acme, "okta", eve), 403, record.OutcomeRejected)
	d.Apply(repaired, policy.File{Name: "acme.cedar", Text: "permit (principal, action, resource) when { context.nonsense };"})
	r := s.login(acme, "okta", astronaut(d, "ada")) // it needs the new directory
	s.want(r, 201, record.OutcomeCreated)
	s.want(s.login(acme, "okta", eve), 403, record.OutcomeRejected)
	d.Apply(repaired)
	d.Eventually("for the policies to be gone", func() bool { return s.login(acme, "okta", eve).Status != 403 })
}
