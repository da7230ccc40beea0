package worker_test

import (
	"context"
	"errors"
	"testing"

	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
	"github.com/idpsync/idpsync/worker/workertest"
)

func TestStrandedEventBecomesADeadLetterAndLeavesTheStream(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		seq := d.Publish(okta, "e1", d.Login(d.Person("ada")))
		d.Exhaust(record.LaneLogins)
		d.Eventually("for the event to be stranded", func() bool { return d.State().Stranded == 1 })
		for range 2 { // whichever sweeps first
			d.Start()
		}
		wantRejected(t, d, "e1", record.CodeInternal, "stranded")
		d.Eventually("for the event to be removed", func() bool { return d.State().Stranded == 0 })
		if _, err := stream.GetEvent(d.Ctx, d.Conn, seq); !errors.Is(err, stream.ErrNotFound) {
			t.Errorf("reading the event ends with %v, want %v", err, stream.ErrNotFound)
		}
		if letters, results := d.LettersOf("e1"), d.ResultsOf("e1"); len(letters) != 1 || len(results) != 1 {
			t.Errorf("there are %d dead letters and %d results, want one each", len(letters), len(results))
		}
		d.Replay("repaired", d.AwaitLetter("e1").Sequence)
		if r := d.Results.Await(1, "created by a replay", func(r workertest.Record) bool { return r.Status == 201 })[0]; r.EventID != "e1" {
			t.Errorf("the replay of the letter ends as %+v, want the event e1 created", r)
		}
	})
}

func TestStrandedEventThatHadItsEffectGetsItsResult(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		p := d.Process(workertest.Mortal)
		p.On(fault.At(fault.BeforePublish, func(context.Context, fault.Call) error { return p.Die() }))
		p.Run()
		d.LogIn("e1", d.Person("ada"))
		p.AwaitDeath() // the effect is committed, nobody knows
		d.Eventually("for the broker to give up", func() bool {
			if d.State().Stranded == 0 {
				d.Exhaust(record.LaneLogins, 1)
			}
			return d.State().Stranded == 1
		})
		d.Start()
		if r := d.Await("e1"); r.Status != 201 || r.Body["id"] != d.User(acme, "ada@acme.example").ID {
			t.Errorf("the stranded event gets %s, want 201 and the id of the user that it made", r.Data)
		}
		d.Eventually("for the event to be removed", func() bool { return d.State().Stranded == 0 })
		if letters, results := d.LettersOf("e1"), d.ResultsOf("e1"); len(letters) != 0 || len(results) != 1 {
			t.Errorf("there are %d dead letters and %d results, want none and 1", len(letters), len(results))
		}
	})
}

func TestStrandedEventStaysUntilItsDeadLetterIsStored(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	seq := d.Publish(okta, "e1", d.Login(d.Person("ada")))
	d.Exhaust(record.LaneLogins)
	p := d.Process(workertest.Mortal)
	p.On(func(_ context.Context, c fault.Call) error {
		if c.Point == fault.BeforeBroker && c.Method == "Remove" {
			return p.Die()
		}
		return nil
	})
	p.Run()
	p.AwaitDeath()
	d.AwaitLetter("e1")
	if _, err := stream.GetEvent(d.Ctx, d.Conn, seq); err != nil {
		t.Errorf("the event is gone before anybody removed it: %v", err)
	}
	d.Start()
	d.Eventually("for the event to be removed", func() bool { return d.State().Stranded == 0 })
	if letters, results := d.LettersOf("e1"), d.ResultsOf("e1"); len(letters) != 1 || len(results) != 1 {
		t.Errorf("there are %d dead letters and %d results, want one each", len(letters), len(results))
	}
}
