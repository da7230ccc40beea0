package worker_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/worker"
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
		if len(results) != 1 || first.Status != 201 || first.Outcome != worker.OutcomeCreated {
			t.Errorf("%d results, the first %d %s", len(results), first.Status, first.Outcome)
		}
		if users := d.Users(acme); len(users) != 1 || users[0].HasIdentity != 1 {
			t.Errorf("users: %+v", users)
		}
		if letters := d.AllLetters(); len(letters) != 0 {
			t.Errorf("dead letters: %+v", letters)
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
		if exists.Status != 200 || exists.Outcome != worker.OutcomeExists || !bytes.Equal(created.Data, exists.Data) {
			t.Errorf("%d %s %s after %s", exists.Status, exists.Outcome, exists.Data, created.Data)
		}
		if n := len(d.Users(acme)); n != 1 {
			t.Errorf("%d users", n)
		}
	})
}

// Each point is where a process dies after the effect is committed; another one then finds the event delivered again.
func TestDeathAtAnyPointLeavesOneEffectAndOneResult(t *testing.T) {
	for name, dies := range map[string]func(c workertest.Call) bool{
		"before commit":              func(c workertest.Call) bool { return c.Point == workertest.InTransaction },
		"between commit and publish": func(c workertest.Call) bool { return c.Point == workertest.BeforePublish },
		"after publish, before ack":  func(c workertest.Call) bool { return c.Point == workertest.AfterPublish },
		"before ack":                 func(c workertest.Call) bool { return c.Point == workertest.BeforeTell },
	} {
		t.Run(name, func(t *testing.T) {
			workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
				p := d.Process()
				p.On(func(_ context.Context, c workertest.Call) error {
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
					t.Errorf("status %d", created.Status)
				}
				if results := d.ResultsOf("e1"); len(results) != 1 {
					t.Errorf("%d results", len(results))
				}
				if users := d.Users(acme); len(users) != 1 || users[0].ID != created.Body["id"] {
					t.Errorf("users %+v, result %s", users, created.Data)
				}
			})
		})
	}
}

// isLetter reports whether a publish is of dead letters.
func isLetter(c workertest.Call) bool {
	return len(c.Outgoing) > 0 && strings.HasPrefix(c.Outgoing[0].Subject, "idpsync.deadletter.")
}

func TestDeathWhileRejectingLeavesOneDeadLetterAndOneResult(t *testing.T) {
	for name, dies := range map[string]func(c workertest.Call) bool{
		"before the dead letter":              func(c workertest.Call) bool { return c.Point == workertest.BeforePublish && isLetter(c) },
		"between dead letter and result":      func(c workertest.Call) bool { return c.Point == workertest.AfterPublish && isLetter(c) },
		"between result and term":             func(c workertest.Call) bool { return c.Point == workertest.AfterPublish && !isLetter(c) },
		"with the term on its way and unsaid": func(c workertest.Call) bool { return c.Method == "term" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := workertest.New(t, workertest.Options{})
			p := d.Process()
			p.On(func(_ context.Context, c workertest.Call) error {
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
			if len(letters) != 1 || letters[0].Code != worker.CodeUnauthenticated || letters[0].Reason != "audience" {
				t.Errorf("dead letters: %+v", letters)
			}
			if len(results) != 1 || results[0].Status != 401 || results[0].Outcome != worker.OutcomeRejected {
				t.Errorf("results: %+v", results)
			}
			if n := len(d.Users(acme)); n != 0 {
				t.Errorf("%d users", n)
			}
		})
	}
}
