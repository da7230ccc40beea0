package worker_test

import (
	"testing"
	"time"

	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// That a worker dies while it has an event in hand may be chance: only a second death makes it the culprit.
func TestOneDeathIsChance(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		const lease = time.Second
		d.SetAckWait(lease)
		d.LogIn("e1", d.Person("ada"))
		d.Exhaust(record.LaneLogins, 4)
		d.RunUntilKilled("first", "e1", lease)
		d.Start(func(c *worker.Config) { c.Slots, c.AckWait = d.Slots(), lease })
		if r := d.Await("e1"); r.Status != 201 {
			t.Errorf("an event after one death gets %s, want 201", r.Data)
		}
		d.Eventually("for the in-flight markers to be cleared", func() bool { return d.Counts().InFlight == 0 })
		if letters := d.AllLetters(); len(letters) != 0 {
			t.Errorf("the dead letters are %+v, want none", letters)
		}
	})
}
