package worker_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
	"github.com/idpsync/idpsync/worker/workertest"
)

// A broker that crashes may forget that it removed a message that was acknowledged. Here one that was parked comes back:
// it is not a dead letter beside the effect that it has later.
func TestParkedEventThatComesBackStaysParked(t *testing.T) {
	d := workertest.New(t, workertest.Options{})
	d.Second.SetDown(true)
	seq := d.Publish(workertest.LoginSubject(acme, "ping"), "e1", d.LoginAt(d.Second, d.PersonAt(d.Second, "ada")))
	event, err := stream.GetEvent(d.Ctx, d.Conn, seq)
	if err != nil {
		t.Fatal(err)
	}
	p := d.Process()
	removed := make(chan struct{}, 100)
	p.On(fault.At(fault.BeforeBroker, func(_ context.Context, c fault.Call) error {
		switch c.Method {
		case "Stranded":
			p.LooksStranded(event)
		case "Remove":
			removed <- struct{}{}
		}
		return nil
	}))
	p.Run()
	d.Eventually("for the event to be parked", func() bool { return d.Counts().Parked == 1 })
	select {
	case <-removed:
	case <-d.Ctx.Done():
		t.Fatal("nobody removed the event")
	}
	p.On(nil)
	d.Second.SetDown(false)
	d.Eventually("for its result", func() bool {
		d.Clock.Advance(time.Second)
		return len(d.Results.Of("e1")) > 0
	})
	if r := d.Await("e1"); r.Status != 201 || len(d.ResultsOf("e1")) != 1 || len(d.AllLetters()) != 0 {
		t.Errorf("the event gets %s, %d results and the dead letters %+v, want 201, one and none", r.Data, len(d.ResultsOf("e1")), d.AllLetters())
	}
}

// An ordinary repeat leaves no row behind, so that it is found to be one again.
func TestStrandedRepeatIsNoDeadLetter(t *testing.T) {
	d := workertest.New(t, workertest.Options{})
	d.LogIn("login", d.Person("ada"))
	token := d.Credential(acme, "user")
	seq := d.PublishWith(workertest.FeedSubject(acme, "workday"), "hired", fmt.Appendf(nil, `{"email":"ada@acme.example","name":"Ada","auth_provider":"oidc"}`),
		map[string][]string{"Authorization": {"Bearer " + token}})
	d.Exhaust(record.LaneFeeds)
	d.Eventually("for the event to be stranded", func() bool { return d.State().Stranded == 1 })
	d.Start()
	if r := d.Await("hired"); r.Status != 409 || r.Code != record.CodeUserExists {
		t.Errorf("the stranded repeat ends with status %d and %s, want 409 and user_exists", r.Status, r.Data)
	}
	d.Eventually("for the event to be removed", func() bool { return d.State().Stranded == 0 })
	if _, err := stream.GetEvent(d.Ctx, d.Conn, seq); !errors.Is(err, stream.ErrNotFound) {
		t.Errorf("reading the event ends with %v, want %v", err, stream.ErrNotFound)
	}
	if letters, results := d.AllLetters(), d.ResultsOf("hired"); len(letters) != 0 || len(results) != 1 {
		t.Errorf("there are %d dead letters and %d results, want none and 1", len(letters), len(results))
	}
}
