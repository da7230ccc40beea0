package worker_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// refusing lets the database refuse every transaction that holds a user of this address, as it would for a bad row.
func refusing(address string, tries *atomic.Int64) fault.Hook {
	return fault.At(fault.InTransaction, func(ctx context.Context, c fault.Call) error {
		tries.Add(1)
		found, err := c.Tx.Find(ctx, []store.Lookup{{Tenant: acme, EmailKey: address}})
		if err != nil {
			return err
		}
		if found[0].ByEmail != nil {
			return fmt.Errorf("%w: a row of this test", store.ErrConstraint)
		}
		return nil
	})
}

func TestOneBadRowDoesNotSinkItsBatch(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		const all = 500
		header := providers.Header{"Authorization": {"Bearer " + d.Credential(acme, "user")}}
		for i := range all {
			d.PublishWith(workertest.FeedSubject(acme, "trusted"), fmt.Sprintf("e%d", i), workertest.Payload(tenantUser(fmt.Sprintf("p%d", i), "oidc")), header)
		}
		p := d.Process(func(c *worker.Config) { c.Batch, c.Loops, c.Linger = all, 1, 30*time.Second })
		var tries atomic.Int64
		p.On(refusing("p123@acme.example", &tries))
		p.Run()
		wantRejected(t, d, "e123", record.CodeInternal, "store")
		results := d.AllResults()
		created := slices.DeleteFunc(slices.Clone(results), func(r workertest.Record) bool { return r.Status != 201 })
		if len(results) != all || len(created) != all-1 || len(d.Users(acme)) != all-1 {
			t.Errorf("there are %d results, %d of them created, and %d users, want %d, and one less of the others", len(results), len(created), len(d.Users(acme)), all)
		}
		if batches := p.Metrics.Batches("commit"); !slices.Equal(batches, []int{all}) {
			t.Errorf("the batches had the sizes %v, want one of %d", batches, all)
		}
		if n := tries.Load(); n > 30 {
			t.Errorf("finding one row took %d transactions, want at most 30", n)
		}
	})
}

// together lets a worker take the n logins that publish sends as one batch, after another one, and returns how many
// transactions it began in all.
// readKeys has a worker read the keys of two sources, so that logins at them wait for nothing.
func readKeys(d *workertest.Deployment, second, first string) {
	d.T.Helper()
	p := d.Start()
	d.Publish(workertest.LoginSubject(acme, second), "keys of "+second, d.LoginAt(d.Second, d.PersonAt(d.Second, "reader-2")))
	d.Publish(workertest.LoginSubject(acme, first), "keys of "+first, d.Login(d.Person("reader-1")))
	d.Await("keys of " + second)
	d.Await("keys of " + first)
	if err := p.Stop(); err != nil {
		d.T.Fatal(err)
	}
}

func together(t *testing.T, d *workertest.Deployment, source string, n int, publish func()) int64 {
	t.Helper()
	p := d.Process(func(c *worker.Config) { c.Loops = 1 })
	release := make(chan struct{})
	var transactions atomic.Int64
	p.On(func(ctx context.Context, c fault.Call) error {
		switch {
		case c.Point == fault.BeforeStore && c.Method == "Batch":
			transactions.Add(1)
		case c.Point == fault.BeforeVerify && c.Envelope.EventID == "first":
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
		return nil
	})
	p.Run()
	p.AwaitKeys()
	d.Publish(workertest.LoginSubject(acme, source), "first", d.Login(d.Person("first")))
	p.AwaitDeliveries(1)
	publish()
	d.Publish(workertest.LoginSubject(acme, source), "last", d.Login(d.Person("last")))
	p.AwaitDeliveries(n + 2) // when the last one has come, the others wait in the queue
	close(release)
	d.Settle()
	if batches := p.Metrics.Batches("prepare"); slices.Max(batches) < n {
		t.Fatalf("the events were not in one batch: %v", batches)
	}
	return transactions.Load()
}

func TestTwoLoginsOfOnePersonInOneBatch(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		together(t, d, "okta", 3, func() {
			d.LogIn("e1", d.Person("ada"))
			d.LogIn("e2", d.Person("ada"))
			d.LogIn("e3", d.Person("eve").With(workertest.Claims{"email": "ada@acme.example"}))
		})
		created, exists, conflict := d.Await("e1"), d.Await("e2"), d.Await("e3")
		if created.Outcome != record.OutcomeCreated || exists.Outcome != record.OutcomeExists || string(created.Data) != string(exists.Data) {
			t.Errorf("the first login is %s with %s and the second %s with %s, want created, then exists with the same answer", created.Outcome, created.Data, exists.Outcome, exists.Data)
		}
		if conflict.Status != 409 || conflict.Reason != "different_identity" {
			t.Errorf("eve, who has the address of ada, gets %s, want 409 and different_identity", conflict.Data)
		}
		if n := len(d.Users(acme)); n != 3 {
			t.Errorf("there are %d users, want 3", n)
		}
	})
}

func TestOneEventTwiceInOneBatch(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		login, other := d.Login(d.Person("ada")), d.Login(d.Person("grace"))
		together(t, d, "okta", 3, func() {
			d.Publish(okta, "e1", login)
			d.Publish(okta, "e1", login)
			d.Publish(okta, "e1", other)
		})
		results := d.ResultsOf("e1")
		if len(results) != 2 || results[0].Status != 201 || results[1].Code != record.CodeEventIDConflict {
			t.Errorf("the results of e1 are %+v, want one created and then one conflict of ids", results)
		}
	})
}

func TestUserMadeAndLinkedInOneBatch(t *testing.T) {
	workertest.Each(t, workertest.Options{Directory: linkingDirectory}, func(t *testing.T, d *workertest.Deployment) {
		readKeys(d, "other", "links")
		transactions := together(t, d, "links", 3, func() {
			d.Publish(workertest.LoginSubject(acme, "other"), "e1", d.LoginAt(d.Second, d.PersonAt(d.Second, "ada")))
			d.Publish(workertest.LoginSubject(acme, "links"), "e2", d.Login(d.Person("ada")))
			d.Publish(workertest.LoginSubject(acme, "links"), "e3", d.Login(d.Person("ada")))
		})
		for id, want := range map[string]record.Outcome{"e1": record.OutcomeCreated, "e2": record.OutcomeLinked, "e3": record.OutcomeExists} {
			if r := d.Await(id); r.Outcome != want {
				t.Errorf("%s is %s with %s, want %s", id, r.Outcome, r.Data, want)
			}
		}
		if transactions > 3 { // the batch, and what had to wait for it
			t.Errorf("the batch took %d transactions, want at most 3", transactions)
		}
		if u := d.User(acme, "ada@acme.example"); u.HasIdentity != 2 {
			t.Errorf("ada is %+v, want her with two identities", u)
		}
	})
}

func TestWorkersThatMeetTheSamePeopleMakeOneUserEach(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		const people, times = 60, 4
		header := providers.Header{"Authorization": {"Bearer " + d.Credential(acme, "user")}}
		var publish []func()
		for i := range people {
			subject := fmt.Sprintf("p%d", i)
			for n := range times {
				publish = append(publish, func() { d.LogIn(fmt.Sprintf("%s/%d", subject, n), d.Person(subject)) })
			}
			publish = append(publish, func() {
				d.PublishWith(workertest.FeedSubject(acme, "trusted"), subject+"/feed", workertest.Payload(tenantUser(subject, "oidc")), header)
			})
		}
		rand.Shuffle(len(publish), func(i, j int) { publish[i], publish[j] = publish[j], publish[i] })
		for _, p := range publish {
			p()
		}
		for range 2 {
			d.Start(func(c *worker.Config) { c.Batch = 25 })
		}
		d.Results.Await(len(publish), "of all events", func(workertest.Record) bool { return true })
		seen := map[string]int{}
		for _, r := range d.AllResults() {
			seen[r.EventID]++
			switch {
			case r.Outcome != record.OutcomeRejected:
			case r.Source() == "trusted" && r.Code == record.CodeUserExists:
			default:
				t.Errorf("%s is rejected with %s, want only user_exists, of the source trusted", r.EventID, r.Data)
			}
		}
		if len(seen) != len(publish) || len(d.AllResults()) != len(publish) {
			t.Errorf("%d results of %d events, wanted %d", len(d.AllResults()), len(seen), len(publish))
		}
		users := d.Users(acme)
		for _, u := range users {
			if u.HasIdentity != 1 {
				t.Errorf("%s has %d identities, want 1", u.Email, u.HasIdentity)
			}
		}
		if len(users) != people {
			t.Errorf("there are %d users of %d people, want one each", len(users), people)
		}
		if letters := d.AllLetters(); len(letters) != 0 {
			t.Errorf("there are %d dead letters, want none; the first is %+v", len(letters), letters[0])
		}
	})
}

func TestStormOfDuplicatesHasOneEffectEach(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		const events, times = 20, 15
		type event struct {
			id   string
			body []byte
		}
		var storm []event
		for i := range events {
			e := event{fmt.Sprintf("e%d", i), d.Login(d.Person(fmt.Sprintf("p%d", i)))}
			for range times {
				storm = append(storm, e)
			}
		}
		rand.Shuffle(len(storm), func(i, j int) { storm[i], storm[j] = storm[j], storm[i] })
		for range 2 {
			d.Start(func(c *worker.Config) { c.Batch = 10 })
		}
		for _, e := range storm {
			d.Publish(okta, e.id, e.body)
		}
		results := d.AllResults()
		for _, r := range results {
			if r.Status != 201 {
				t.Errorf("%s ends with status %d and %s, want 201", r.EventID, r.Status, r.Data)
			}
		}
		if len(results) != events || len(d.Users(acme)) != events {
			t.Errorf("there are %d results and %d users of %d events, want one each", len(results), len(d.Users(acme)), events)
		}
	})
}

func TestOneIdWithTwoContentsIsAConflict(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		d.Start()
		d.LogIn("e1", d.Person("ada"))
		d.Await("e1")
		before := d.Fingerprint(acme)
		d.LogIn("e1", d.Person("grace"))
		letter := d.AwaitLetter("e1")
		results := d.ResultsOf("e1")
		if len(results) != 2 || results[1].Status != 409 || results[1].Code != record.CodeEventIDConflict || letter.Code != record.CodeEventIDConflict {
			t.Errorf("e1 has the results %+v and a dead letter with the code %s, want a second result and a dead letter with a conflict of ids", results, letter.Code)
		}
		if d.Fingerprint(acme) != before {
			t.Error("the second content had an effect")
		}
	})
}

func TestAnIdIsAnIdOfItsTenantAndSource(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		d.Start()
		d.Publish(okta, "e1", d.Login(d.Person("ada")))
		d.Publish(workertest.LoginSubject(globex, "okta"), "e1", d.Login(d.Person("grace")))
		d.Publish(workertest.LoginSubject(acme, "ping"), "e1", d.LoginAt(d.Second, d.PersonAt(d.Second, "joan")))
		d.Results.Await(3, "created", func(r workertest.Record) bool { return r.Status == 201 })
		if letters := d.AllLetters(); len(letters) != 0 {
			t.Errorf("there are dead letters %+v, want none: each source has its own e1", letters)
		}
	})
}

func TestRejectedIdMayBeSentAgainMended(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		d.Start()
		d.LogIn("e1", d.Person("ada").With(workertest.Claims{"groups": "nope"}))
		if r := d.Await("e1"); r.Status != 422 {
			t.Fatalf("a login with an unknown role gets %s, want 422", r.Data)
		}
		d.LogIn("e1", d.Person("ada").With(workertest.Claims{"groups": "astronaut"}))
		d.Results.Await(2, "rejected, of two messages", func(r workertest.Record) bool { return r.EventID == "e1" })
		d.LogIn("e1", d.Person("ada").With(workertest.Claims{"groups": "user"}))
		results := d.ResultsOf("e1")
		if len(results) != 3 || results[2].Status != 201 {
			t.Errorf("there are %d results, the last %s, want 3, the last with 201", len(results), results[len(results)-1].Data)
		}
		if letters := d.LettersOf("e1"); len(letters) != 2 {
			t.Errorf("there are %d dead letters, want 2", len(letters))
		}
	})
}
