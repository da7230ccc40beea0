package worker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

func TestAThousandUnknownKeysAskTheIssuerAHandfulOfTimes(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	send := func(from, to int) {
		for i := from; i < to; i++ {
			key, err := d.Issuer.NewKey("ES256")
			if err != nil {
				t.Fatal(err)
			}
			d.Publish(okta, fmt.Sprintf("e%d", i), d.Login(d.Person("mallory"), issuer.WithKey(key)))
		}
	}
	send(0, 500) // half of them wait, the others come while it works
	p := d.Start()
	send(500, 1000)
	const pace = 10 * time.Second // at which the issuer is asked again
	var advanced time.Duration
	d.Eventually("for all events to leave the broker", func() bool {
		d.Clock.Advance(time.Second)
		advanced += time.Second
		return len(d.Results.All()) == 1000
	})
	for _, r := range d.AllResults() {
		if r.Code != record.CodeUnauthenticated || r.Reason != "unknown_key" {
			t.Fatalf("%s gets %s, want unauthenticated because of an unknown key", r.EventID, r.Data)
		}
	}
	if n := len(d.AllLetters()); n != 1000 {
		t.Errorf("there are %d dead letters, want 1000", n)
	}
	asked, paced := d.Issuer.Requests(), int(advanced/pace)
	if asked.JWKS < 1 || asked.JWKS > 20+paced || asked.Discovery > 20 {
		t.Errorf("the issuer was asked %+v for %d batches, want its keys once at least and %d times at most", asked, len(p.Metrics.Batches("prepare")), 20+paced)
	}
}

func TestEventsOfAnIssuerThatIsDownWaitAndOthersFlow(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		d.Second.SetDown(true)
		d.Start()
		const each = 50
		for i := range each {
			subject := fmt.Sprintf("down%d", i)
			d.Publish(workertest.LoginSubject(acme, "ping"), subject, d.LoginAt(d.Second, d.PersonAt(d.Second, subject)))
		}
		for i := range each {
			subject := fmt.Sprintf("up%d", i)
			d.LogIn(subject, d.Person(subject))
		}
		d.Results.Await(each, "of the issuer that is up", func(r workertest.Record) bool { return r.Status == 201 })
		d.Eventually("for the others to be parked", func() bool { return d.Counts().Parked == each })
		d.Drained()
		asked := d.Second.Requests().Discovery
		d.Clock.Advance(10 * time.Minute)
		d.Eventually("for a second attempt, in vain", func() bool { return d.Second.Requests().Discovery > asked })
		if n := len(d.Results.All()); n != each {
			t.Errorf("there are %d results while the issuer is down, want the %d of the other one", n, each)
		}
		d.Second.SetDown(false)
		d.Eventually("for the events to come back", func() bool {
			d.Clock.Advance(5 * time.Second)
			return d.Counts().Parked == 0
		})
		for _, r := range d.AllResults() {
			if r.Status != 201 {
				t.Fatalf("%s ends with status %d and %s, want 201", r.EventID, r.Status, r.Data)
			}
		}
		if n := len(d.Users(acme)); n != 2*each {
			t.Errorf("there are %d users, want %d", n, 2*each)
		}
		if letters := d.AllLetters(); len(letters) != 0 {
			t.Errorf("there are %d dead letters, want none; the first is %+v", len(letters), letters[0])
		}
	})
}

func TestEventThatWaitedLongerThanItMayBecomesADeadLetter(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.Second.SetDown(true)
	d.Start()
	d.Publish(workertest.LoginSubject(acme, "ping"), "e1", d.LoginAt(d.Second, d.PersonAt(d.Second, "ada")))
	d.Eventually("for the event to be parked", func() bool { return d.Counts().Parked == 1 })
	if waited := d.GiveUp(); waited < time.Hour-time.Minute { // the real time went on beside it
		t.Errorf("the event waits for %v, want an hour", waited)
	}
	r, letter := d.Await("e1"), d.AwaitLetter("e1")
	if r.Code != record.CodeUnavailable || r.Status != 503 || r.Reason != "issuer_unreachable" {
		t.Errorf("the event ends with status %d and %s, want 503, unavailable because of the issuer", r.Status, r.Data)
	}
	if letter.Code != record.CodeUnavailable || letter.Header.Get(record.DeadLetterClass) != "transient" {
		t.Errorf("the dead letter has the header %v, want code unavailable and class transient", letter.Header)
	}
	d.Settle()
}
