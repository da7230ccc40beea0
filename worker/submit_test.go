package worker_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// submission is a command as a front door hands it in.
func submission(token, id string, body map[string]any) worker.Submission {
	return worker.Submission{
		Subject: "idpsync.rpc." + acme + ".v1.users.create", Door: providers.DoorRPC, EventID: id, ReceivedAt: time.Now(), Payload: workertest.Payload(body),
		Header: providers.Header{"Authorization": {"Bearer " + token}, "X-Tenant-ID": {acme}},
	}
}

func local(subject, password string) map[string]any {
	return map[string]any{"email": subject + "@acme.example", "name": subject, "password": password, "roles": []string{"user"}, "auth_provider": "local"}
}

func TestFrontDoorIsAnsweredAndItsResultIsPublishedOnce(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		p := d.Start()
		token := d.Credential(acme, "user")
		first, header := p.Submit(d.Ctx, submission(token, "k1", local("ada", "correct horse")))
		again, _ := p.Submit(d.Ctx, submission(token, "k1", local("ada", "correct horse")))
		if first.Status != 201 || string(first.Body) != string(again.Body) || again.Status != 201 || header.Get(record.HeaderEventID) != "k1" {
			t.Errorf("the command and its repeat get %d %s and %d %s with the header %v, want one answer with 201 under the id k1", first.Status, first.Body, again.Status, again.Body, header)
		}
		results := d.ResultsOf("k1")
		if len(results) != 1 || string(results[0].Data) != string(first.Body) || results[0].Source() != "admin" {
			t.Errorf("the results of k1 are %+v, want one of the source admin, as it was answered", results)
		}
		d.Eventually("for the outbox to be empty", func() bool { return d.Counts().Outbox == 0 })
		if strings.Contains(string(first.Body), "horse") {
			t.Errorf("the answer repeats the password: %s", first.Body)
		}
		other, _ := p.Submit(d.Ctx, submission(token, "k1", local("ada", "battery staple")))
		if other.Status != 409 || !strings.Contains(string(other.Body), string(record.CodeEventIDConflict)) {
			t.Errorf("another password under the id is answered by %d %s, want 409, a conflict of ids", other.Status, other.Body)
		}
		taken, _ := p.Submit(d.Ctx, submission(token, "k2", local("ada", "correct horse")))
		if taken.Status != 409 || !strings.Contains(string(taken.Body), string(record.CodeUserExists)) {
			t.Errorf("another command for the same address gets %d %s, want 409 and user_exists", taken.Status, taken.Body)
		}
		if letters, results := d.AllLetters(), d.AllResults(); len(letters) != 0 || len(results) != 1 {
			t.Errorf("what a caller was told was published too: %d dead letters and %d results, want none and 1", len(letters), len(results))
		}
	})
}

func TestOneIdempotencyKeyFromManyCallersHasOneEffect(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		workers := []*workertest.Process{d.Start(), d.Start()}
		token := d.Credential(acme, "user")
		var callers sync.WaitGroup
		answers := make([]record.Answer, 30)
		for i := range answers {
			callers.Go(func() {
				answers[i], _ = workers[i%2].Submit(d.Ctx, submission(token, "k1", tenantUser("ada", "oidc")))
			})
		}
		callers.Wait()
		for _, a := range answers {
			if a.Status != 201 || string(a.Body) != string(answers[0].Body) {
				t.Errorf("a caller gets %d %s, want 201 and the answer of the first, %s", a.Status, a.Body, answers[0].Body)
			}
		}
		d.Eventually("for the outbox to be empty", func() bool { return d.Counts().Outbox == 0 })
		if results := d.ResultsOf("k1"); len(results) != 1 || len(d.Users(acme)) != 1 {
			t.Errorf("there are %d results and %d users, want one each", len(results), len(d.Users(acme)))
		}
	})
}

func TestResultOwedByADeadWorkerIsPublishedOnceByAnother(t *testing.T) {
	for name, dies := range map[string]func(c fault.Call) bool{
		"before publish": func(c fault.Call) bool { return c.Point == fault.BeforePublish },
		"after publish":  func(c fault.Call) bool { return c.Point == fault.AfterPublish },
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
				token := d.Credential(acme, "user")
				var caller sync.WaitGroup
				caller.Go(func() { p.Submit(d.Ctx, submission(token, "k1", tenantUser("ada", "oidc"))) })
				p.AwaitDeath()
				caller.Wait()
				if n := d.Counts().Outbox; n != 1 {
					t.Fatalf("%d results are owed, want 1", n)
				}
				d.Clock.Advance(time.Minute)
				for range 2 {
					d.Start()
				}
				if r := d.Await("k1"); r.Status != 201 {
					t.Errorf("the owed result is %s, want 201", r.Data)
				}
				d.Eventually("for the outbox to be empty", func() bool { return d.Counts().Outbox == 0 })
				if results := d.ResultsOf("k1"); len(results) != 1 || len(d.Users(acme)) != 1 {
					t.Errorf("there are %d results and %d users, want one each", len(results), len(d.Users(acme)))
				}
			})
		})
	}
}

func TestEventIdOfACallerIsBoundedLikeAnyOther(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	p := d.Start()
	token := d.Credential(acme, "user")
	for _, id := range []string{strings.Repeat("x", 257), "a\nb", "a\x00b", "a\u202eb", "\xff"} {
		if a, _ := p.Submit(d.Ctx, submission(token, id, tenantUser("ada", "oidc"))); a.Status != 400 {
			t.Errorf("the event id %.20q gets %d %s, want 400", id, a.Status, a.Body)
		}
	}
	if n := len(d.Users(acme)); n != 0 {
		t.Errorf("there are %d users, want none", n)
	}
}

func TestCallerOfAStoppedWorkerIsToldSo(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	p := d.Start()
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	a, _ := p.Submit(d.Ctx, submission(d.Credential(acme, "user"), "", tenantUser("ada", "oidc")))
	if a.Status != 503 || len(d.Users(acme)) != 0 {
		t.Errorf("a stopped worker answers %d %s, want 503 and no user", a.Status, a.Body)
	}
}

func TestCallerMayGiveUpAndTheAnswerIsKept(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	p := d.Process()
	release, reached := make(chan struct{}), make(chan struct{})
	var once sync.Once
	p.On(fault.At(fault.BeforeStore, func(_ context.Context, c fault.Call) error {
		if c.Method == "Batch" {
			once.Do(func() { close(reached) })
			<-release
		}
		return nil
	}))
	p.Run()
	token := d.Credential(acme, "user")
	ctx, cancel := context.WithCancel(d.Ctx)
	var caller sync.WaitGroup
	caller.Go(func() {
		if a, _ := p.Submit(ctx, submission(token, "k1", tenantUser("ada", "oidc"))); a.Status != 503 {
			t.Errorf("the caller who gave up gets %d %s, want 503", a.Status, a.Body)
		}
	})
	<-reached
	cancel()
	caller.Wait()
	close(release)
	if r := d.Await("k1"); r.Status != 201 {
		t.Errorf("the result of the command is %s, want 201", r.Data)
	}
	if a, _ := p.Submit(d.Ctx, submission(token, "k1", tenantUser("ada", "oidc"))); a.Status != 201 {
		t.Errorf("the repeat gets %d %s, want 201", a.Status, a.Body)
	}
}
