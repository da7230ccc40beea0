package worker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/stream"
	"github.com/idpsync/idpsync/worker/workertest"
)

// The broker removes a message a moment after its ack, and in between it looks stranded: here one that was parked.
func TestEventThatLooksStrandedOnceIsLeftAlone(t *testing.T) {
	d := workertest.New(t, workertest.Options{})
	d.Second.SetDown(true)
	seq := d.Publish(workertest.LoginSubject(acme, "ping"), "e1", d.LoginAt(d.Second, d.PersonAt(d.Second, "ada")))
	event, err := stream.GetEvent(d.Ctx, d.Conn, seq)
	if err != nil {
		t.Fatal(err)
	}
	p := d.Process()
	p.LooksStranded(event)
	var looks atomic.Int64
	p.On(fault.At(fault.BeforeBroker, func(_ context.Context, c fault.Call) error {
		if c.Method == "Stranded" {
			looks.Add(1)
		}
		return nil
	}))
	p.Run()
	d.Eventually("for the event to be parked", func() bool { return d.Counts().Parked == 1 })
	d.Eventually("for two looks at what is stranded", func() bool { return looks.Load() >= 2 })
	d.Second.SetDown(false)
	d.Eventually("for its result", func() bool {
		d.Clock.Advance(time.Second)
		return len(d.Results.Of("e1")) > 0
	})
	if r := d.Await("e1"); r.Status != 201 || len(d.ResultsOf("e1")) != 1 || len(d.AllLetters()) != 0 {
		t.Errorf("the event gets %s, %d results and the dead letters %+v, want 201, one and none", r.Data, len(d.ResultsOf("e1")), d.AllLetters())
	}
}
