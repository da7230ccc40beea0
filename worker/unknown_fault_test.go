package worker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/workertest"
)

// A database that fails in a way that nobody foresaw must not turn all events into dead letters.
func TestEventWaitsWhenTheDatabaseFailsForAnUnknownReason(t *testing.T) {
	d := workertest.New(t, workertest.Options{})
	p := d.Process()
	var tries atomic.Int64
	p.On(fault.At(fault.InTransaction, func(context.Context, fault.Call) error {
		if tries.Add(1) <= 2 {
			return errors.New("an internal error of the database")
		}
		return nil
	}))
	p.Run()
	d.LogIn("e1", d.Person("ada"))
	if r := d.Await("e1"); r.Status != 201 || len(d.AllLetters()) != 0 {
		t.Errorf("the event gets %s and there are %d dead letters, want 201 and none", r.Data, len(d.AllLetters()))
	}
}
