package worker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
	"github.com/idpsync/idpsync/worker/workertest"
)

const (
	acme   = workertest.Acme
	globex = workertest.Globex
)

var okta = workertest.LoginSubject(acme, "okta")

func TestEventSentTwiceHasOneEffectAndOneResult(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		d.Start()
		login := d.Login(d.Person("ada"))
		d.Publish(okta, "e1", login)
		first := d.Await("e1")
		d.Publish(okta, "e1", login)
		results := d.ResultsOf("e1")
		if len(results) != 1 || first.Status != 201 || first.Outcome != record.OutcomeCreated {
			t.Errorf("there are %d results, the first %d %s, want one, 201 created", len(results), first.Status, first.Outcome)
		}
		if users := d.Users(acme); len(users) != 1 || users[0].HasIdentity != 1 {
			t.Errorf("the users are %+v, want one with one identity", users)
		}
		if letters := d.AllLetters(); len(letters) != 0 {
			t.Errorf("the dead letters are %+v, want none", letters)
		}
	})
}

func TestSameTokenUnderAnotherIdExists(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		d.Start()
		login := d.Login(d.Person("ada"))
		d.Publish(okta, "e1", login)
		created := d.Await("e1")
		d.Publish(okta, "e2", login)
		exists := d.Await("e2")
		if exists.Status != 200 || exists.Outcome != record.OutcomeExists || !bytes.Equal(created.Data, exists.Data) {
			t.Errorf("the second event ends with status %d, %s and %s after %s, want 200, exists and the same answer", exists.Status, exists.Outcome, exists.Data, created.Data)
		}
		if n := len(d.Users(acme)); n != 1 {
			t.Errorf("there are %d users, want 1", n)
		}
	})
}

// Each point is where a process dies after the effect is committed; another one then finds the event delivered again.
func TestDeathAtAnyPointLeavesOneEffectAndOneResult(t *testing.T) {
	for name, dies := range map[string]func(c fault.Call) bool{
		"before commit":              func(c fault.Call) bool { return c.Point == fault.InTransaction },
		"between commit and publish": func(c fault.Call) bool { return c.Point == fault.BeforePublish },
		"after publish, before ack":  func(c fault.Call) bool { return c.Point == fault.AfterPublish },
		"before ack":                 func(c fault.Call) bool { return c.Point == fault.BeforeTell },
	} {
		t.Run(name, func(t *testing.T) {
			workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
				p := d.Process(workertest.Mortal)
				p.On(func(_ context.Context, c fault.Call) error {
					if dies(c) {
						return p.Die()
					}
					return nil
				})
				p.Run()
				d.LogIn("e1", d.Person("ada"))
				p.AwaitDeath()
				d.Start()
				created := d.Await("e1")
				if created.Status != 201 {
					t.Errorf("the event ends with status %d, want 201", created.Status)
				}
				if results := d.ResultsOf("e1"); len(results) != 1 {
					t.Errorf("the event has %d results, want 1", len(results))
				}
				if users := d.Users(acme); len(users) != 1 || users[0].ID != created.Body["id"] {
					t.Errorf("the users are %+v, want the one of the result, %s", users, created.Data)
				}
			})
		})
	}
}

// isLetter reports whether a publish is of dead letters.
func isLetter(c fault.Call) bool {
	return len(c.Outgoing) > 0 && strings.HasPrefix(c.Outgoing[0].Subject, "idpsync.deadletter.")
}

func TestDeathWhileRejectingLeavesOneDeadLetterAndOneResult(t *testing.T) {
	for name, dies := range map[string]func(c fault.Call) bool{
		"before the dead letter":              func(c fault.Call) bool { return c.Point == fault.BeforePublish && isLetter(c) },
		"between dead letter and result":      func(c fault.Call) bool { return c.Point == fault.AfterPublish && isLetter(c) },
		"between result and term":             func(c fault.Call) bool { return c.Point == fault.AfterPublish && !isLetter(c) },
		"with the term on its way and unsaid": func(c fault.Call) bool { return c.Method == "term" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := workertest.New(t, workertest.Options{})
			p := d.Process(workertest.Mortal)
			p.On(func(_ context.Context, c fault.Call) error {
				if dies(c) {
					return p.Die()
				}
				return nil
			})
			p.Run()
			d.LogIn("e1", d.Person("ada").With(workertest.Claims{"aud": "payroll"}))
			p.AwaitDeath()
			d.Start()
			letters, results := d.LettersOf("e1"), d.ResultsOf("e1")
			if len(letters) != 1 || letters[0].Code != record.CodeUnauthenticated || letters[0].Reason != "audience" {
				t.Errorf("the dead letters are %+v, want one, unauthenticated because of the audience", letters)
			}
			if len(results) != 1 || results[0].Status != 401 || results[0].Outcome != record.OutcomeRejected {
				t.Errorf("the results are %+v, want one, rejected with 401", results)
			}
			if n := len(d.Users(acme)); n != 0 {
				t.Errorf("there are %d users, want none", n)
			}
		})
	}
}

func TestDatabaseAwayStopsPullingAndBurnsNoDeliveries(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		const before, after = 20, 30
		var away atomic.Bool
		away.Store(true)
		all := make(chan struct{})
		p := d.Process(func(c *worker.Config) { c.Patience = time.Hour }) // nothing is given back
		p.On(fault.At(fault.BeforeStore, func(ctx context.Context, c fault.Call) error {
			if !away.Load() {
				return nil
			}
			select {
			case <-all: // nothing is on its way any more that could find nobody
			case <-ctx.Done():
			}
			return fmt.Errorf("%w: a fault of this test", store.ErrUnavailable)
		}))
		p.Run()
		for i := range before {
			d.LogIn(fmt.Sprintf("before%d", i), d.Person(fmt.Sprintf("b%d", i)))
		}
		p.AwaitDeliveries(before)
		close(all)
		p.AwaitPaused(true)
		lane := func() stream.LaneState { return d.State().Lanes[0] }
		d.Eventually("for pulling to stop", func() bool { return lane().Waiting == 0 })
		for i := range after {
			d.LogIn(fmt.Sprintf("after%d", i), d.Person(fmt.Sprintf("a%d", i)))
		}
		d.Eventually("for the others to wait at the broker", func() bool { l := lane(); return l.Pending == after && l.AckPending == before })
		if n := len(d.Results.All()); n != 0 {
			t.Errorf("there are %d results while the database is away, want none", n)
		}
		// Whoever waits for an answer is told at once, by a worker that would otherwise hold the command until it can commit.
		ids := map[string]bool{}
		for i := range 2 {
			answer, header := p.Worker.Submit(d.Ctx, worker.Submission{
				Subject: "idpsync.rpc." + acme + ".v1.users.create", Door: providers.DoorHTTP, Payload: []byte("{}"), EventID: "again",
				ReceivedAt: d.Clock.Now().Add(time.Duration(i)),
			})
			if answer.Status != 503 || !strings.Contains(string(answer.Body), `"reason":"database"`) {
				t.Errorf("a command while the database is away gets status %d and %s, want 503 and the reason database", answer.Status, answer.Body)
			}
			ids[header.Get("ce-id")] = true
		}
		if len(ids) != 2 || ids[acme+"/admin/again/0"] { // as CloudEvents, they are neither one nor what will become of the event
			t.Errorf("the answers have the ids %v, want two, and not that of the event", ids)
		}
		away.Store(false)
		p.AwaitPaused(false)
		results := d.AllResults()
		if len(results) != before+after || len(d.Users(acme)) != before+after {
			t.Errorf("there are %d results and %d users, want %d each", len(results), len(d.Users(acme)), before+after)
		}
		for _, one := range p.Deliveries() {
			if one.Delivered != 1 || !slices.Equal(one.Told, []string{"ack"}) {
				t.Errorf("a message ended as %+v, want one delivery and one ack", one)
			}
		}
		if letters := d.AllLetters(); len(letters) != 0 {
			t.Errorf("there are dead letters %+v, want none", letters)
		}
	})
}

func TestCommitWhoseReplyIsLostHasOneEffectAndOneResult(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		var lost atomic.Bool
		p := d.Process()
		p.On(fault.At(fault.AfterStore, func(_ context.Context, c fault.Call) error {
			if c.Method == "Batch" && !lost.Swap(true) {
				return fmt.Errorf("%w: the reply of this commit is lost", store.ErrUnavailable)
			}
			return nil
		}))
		p.Run()
		d.LogIn("e1", d.Person("ada"))
		results := d.ResultsOf("e1")
		if len(results) != 1 || results[0].Status != 201 || len(d.Users(acme)) != 1 || !lost.Load() {
			t.Errorf("the commit lost its reply: %v; the results are %+v, the users %d, want one of each with 201", lost.Load(), results, len(d.Users(acme)))
		}
	})
}

func TestAResultThatIsNeitherStoredNorKeptLeavesTheEventToRedelivery(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	var unkept atomic.Int64
	p := d.Process()
	p.On(func(_ context.Context, c fault.Call) error {
		if c.Point == fault.BeforePublish && unkept.Load() < 3 || c.Point == fault.BeforeStore && c.Method == "Owe" && unkept.Add(1) <= 3 {
			return errors.New("a fault of this test")
		}
		return nil
	})
	p.Run()
	d.LogIn("e1", d.Person("ada"))
	d.Drained()
	awaitOwed(d)
	if results := d.ResultsOf("e1"); len(results) != 1 || results[0].Status != 201 {
		t.Errorf("the results are %+v, want one with 201", results)
	}
	var told []string
	for _, one := range p.Deliveries() {
		told = append(told, one.Told...)
	}
	if !slices.Equal(told, []string{"nak", "nak", "nak", "ack"}) {
		t.Errorf("the broker was told %v, want three naks and an ack", told)
	}
}

func TestDrainFinishesWhatWasPrefetchedAndNothingElse(t *testing.T) {
	alone, _, _ := strings.Cut(workertest.Directory, "  - id: 3489E9AD") // beside another tenant, what is too much goes back to the broker
	workertest.Each(t, workertest.Options{Directory: alone}, func(t *testing.T, d *workertest.Deployment) {
		const backlog = 400
		p := d.Process(func(c *worker.Config) { c.Batch, c.Loops = 20, 2 })
		reached, stored := make(chan struct{}), make(chan struct{})
		var once sync.Once
		p.Run()
		d.LogIn("keys", d.Person("reader")) // has them read
		d.Await("keys")
		d.Drained()
		p.On(func(_ context.Context, c fault.Call) error {
			switch c.Point {
			case fault.BeforeVerify:
				<-stored
			case fault.BeforePublish:
				once.Do(func() { close(reached) })
			}
			return nil
		})
		for i := range backlog {
			d.LogIn(fmt.Sprintf("e%d", i), d.Person(fmt.Sprintf("p%d", i)))
		}
		close(stored)
		<-reached
		if err := p.Stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
		done := map[uint64]int{}
		for _, one := range p.Deliveries() {
			done[one.Sequence]++
			if one.Delivered != 1 || !slices.Equal(one.Told, []string{"ack"}) {
				t.Errorf("a message ended as %+v, want one delivery and one ack", one)
			}
		}
		lane := d.State().Lanes[0]
		if len(done) > backlog || lane.AckPending != 0 || int(lane.Pending) != backlog+1-len(done) { //nolint:gosec // a count
			t.Errorf("%d of %d were finished and the lane is %+v, want nothing unacknowledged and all others pending", len(done), backlog+1, lane)
		}
		d.Start()
		if results := d.AllResults(); len(results) != backlog+1 || len(d.Users(acme)) != backlog+1 {
			t.Errorf("there are %d results and %d users, want %d each", len(results), len(d.Users(acme)), backlog+1)
		}
	})
}

func TestDrainThatTakesTooLongGivesBackWhatIsNotFinished(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	const backlog = 50
	for i := range backlog {
		d.LogIn(fmt.Sprintf("e%d", i), d.Person(fmt.Sprintf("p%d", i)))
	}
	p := d.Process(func(c *worker.Config) { c.Batch, c.Loops, c.DrainTimeout = 10, 2, 50*time.Millisecond })
	reached := make(chan struct{})
	var once sync.Once
	p.On(fault.At(fault.BeforeStore, func(ctx context.Context, c fault.Call) error {
		if c.Method != "Batch" {
			return nil
		}
		once.Do(func() { close(reached) })
		<-ctx.Done() // a database that does not answer
		return ctx.Err()
	}))
	p.Run()
	<-reached
	if err := p.Stop(); err == nil || !strings.Contains(err.Error(), "drain timeout") {
		t.Errorf("stopping ends with the error %v, want one of the drain timeout", err)
	}
	for _, one := range p.Deliveries() {
		if !slices.Equal(one.Told, []string{"nak"}) {
			t.Errorf("a message ended as %+v, want a nak alone", one)
		}
	}
	d.Start()
	results := d.AllResults()
	if len(results) != backlog || len(d.Users(acme)) != backlog || len(d.AllLetters()) != 0 {
		t.Errorf("there are %d results, %d users and %d dead letters, want %d, %d and none", len(results), len(d.Users(acme)), len(d.AllLetters()), backlog, backlog)
	}
}

func TestMessagesThatAreNoEventsBecomeDeadLetters(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.Start()
	login := d.Login(d.Person("ada"))
	structured := func(members string) []byte {
		return []byte(`{"specversion":"1.0","source":"/t","type":"t",` + members + `}`)
	}
	for name, c := range map[string]struct {
		subject string
		header  providers.Header
		body    []byte
		reason  string
		letter  string // the subject of its dead letter
	}{
		"no tenant":           {"idpsync.login.acme.okta", nil, login, "subject", "idpsync.deadletter._.okta.malformed"},
		"tenant in braces":    {"idpsync.login.{" + acme + "}.okta", nil, login, "subject", "idpsync.deadletter._.okta.malformed"},
		"source in capitals":  {"idpsync.login." + acme + ".OKTA", nil, login, "subject", "idpsync.deadletter." + acme + "._.malformed"},
		"too deep":            {okta + ".more", nil, login, "subject", "idpsync.deadletter." + acme + ".okta.malformed"},
		"too short":           {"idpsync.login." + acme, nil, login, "subject", "idpsync.deadletter." + acme + "._.malformed"},
		"unknown command":     {"idpsync.command." + acme + ".users.delete", nil, login, "subject", "idpsync.deadletter." + acme + ".admin.malformed"},
		"old CloudEvent":      {okta, providers.Header{"ce-specversion": {"0.3"}, "ce-id": {"x"}, "ce-source": {"/t"}, "ce-type": {"t"}}, login, "cloudevent", ""},
		"CloudEvent unnamed":  {okta, providers.Header{"ce-specversion": {"1.0"}, "ce-source": {"/t"}, "ce-type": {"t"}}, login, "cloudevent", ""},
		"broken structure":    {okta, providers.Header{"Content-Type": {"application/cloudevents+json"}}, []byte(`{"specversion":`), "", ""},
		"id with a control":   {okta, providers.Header{"Content-Type": {"application/cloudevents+json"}}, structured(`"id":"a\u0007b","data":` + string(login)), "event_id", ""},
		"id with an override": {okta, providers.Header{"Nats-Msg-Id": {"a\u202eb"}}, login, "event_id", ""},
		"id too long":         {okta, providers.Header{"Nats-Msg-Id": {strings.Repeat("x", 257)}}, login, "event_id", ""},
		"no JSON":             {okta, nil, []byte("hello"), "json", ""},
		"empty":               {okta, nil, nil, "json", ""},
		"deep":                {okta, nil, []byte(strings.Repeat(`[`, 10_000)), "json", ""},
		"oversized":           {okta, nil, []byte(`{"id_token":"` + strings.Repeat("x", 700_000) + `"}`), "json", ""},
		"large token":         {okta, nil, []byte(`{"id_token":"a.` + strings.Repeat("x", 70_000) + `.c"}`), "token_size", ""},
		"unknown member":      {okta, nil, []byte(`{"id_token":"a.b.c","admin":true}`), "json", ""},
		"member twice":        {okta, nil, []byte(`{"id_token":"a.b.c","id_token":"a.b.c"}`), "json", ""},
		"NUL":                 {okta, nil, []byte("{\"id_token\":\"a.b.c\"}\x00"), "json", ""},
	} {
		seq := d.PublishWith(c.subject, "", c.body, c.header)
		letter := d.Letters.Await(1, name, func(r workertest.Record) bool {
			return r.Header.Get(record.DeadLetterSequence) == strconv.FormatUint(seq, 10)
		})[0]
		if letter.Code != record.CodeMalformed || c.reason != "" && letter.Reason != c.reason {
			t.Errorf("%s: the dead letter has code %s and reason %q, want malformed and reason %q (any if empty)", name, letter.Code, letter.Reason, c.reason)
		}
		if c.letter != "" && letter.Subject != c.letter {
			t.Errorf("%s: the dead letter is on %s, want %s", name, letter.Subject, c.letter)
		}
		original, err := record.Unseal(d.Key, letter.Header, letter.Data)
		if err != nil || string(original.Data) != string(c.body) || original.Subject != c.subject {
			t.Errorf("%s: the original is not what was sent: %v", name, err)
		}
	}
	d.Publish("idpsync.login."+strings.ToUpper(acme)+".okta", "honest", login)
	if r := d.Await("honest"); r.Status != 201 || r.Subject != "idpsync.result."+acme+".okta.created" {
		t.Errorf("an honest login of a tenant in capitals ends on %s with %s, want created under its own spelling", r.Subject, r.Data)
	}
}

func TestUnknownTenantsAndSourcesBecomeDeadLetters(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.Start()
	const nobody = "9999e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	login := d.Login(d.Person("ada"))
	d.Publish(workertest.LoginSubject(nobody, "okta"), "tenant", login)
	wantRejected(t, d, "tenant", record.CodeUnknownTenant, "")
	d.Publish(workertest.LoginSubject(acme, "nobody"), "source", login)
	wantRejected(t, d, "source", record.CodeUnknownSource, "")
	d.Publish(workertest.LoginSubject(acme, "workday"), "kind", login)
	wantRejected(t, d, "kind", record.CodeUnknownSource, "")
	d.Publish(workertest.FeedSubject(acme, "okta"), "shape", login)
	wantRejected(t, d, "shape", record.CodeUnknownSource, "")
	// A command of a stranger without a credential learns nothing.
	d.Publish("idpsync.command."+nobody+".users.create", "stranger", []byte(`{}`))
	wantRejected(t, d, "stranger", record.CodeUnauthenticated, "credential_missing")
}

func TestEventWithoutAnIdIsKnownByItsPlaceInTheStream(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.Start()
	seq := d.PublishWith(okta, "", d.Login(d.Person("ada")), nil)
	r := d.Results.Await(1, "created", func(r workertest.Record) bool { return r.Status == 201 })[0]
	var created time.Time
	for _, s := range d.State().Streams {
		if s.Name == stream.StreamEvents {
			created = s.Created
		}
	}
	if want := fmt.Sprintf("%d-%d-", created.Unix(), seq); !strings.HasPrefix(r.EventID, want) {
		t.Errorf("event id %s, wanted %s and the stored time", r.EventID, want)
	}
}
