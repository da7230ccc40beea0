package worker_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// delivered is how often the events of these tests were delivered before, so that they are under suspicion, if anything is.
const delivered = 4

// wantNoAccusation wants the event processed, and nothing left of any suspicion.
func wantNoAccusation(t *testing.T, d *workertest.Deployment, eventID string) {
	t.Helper()
	if r := d.Await(eventID); r.Status != 201 {
		t.Errorf("%s gets %d %s, want 201: no worker died of it", eventID, r.Status, r.Data)
	}
	if letters := d.AllLetters(); len(letters) != 0 {
		t.Errorf("there are %d dead letters, the first of %s %s; want none", len(letters), letters[0].Code, letters[0].Reason)
	}
	d.Eventually("for the in-flight markers to be cleared", func() bool { return d.Counts().InFlight == 0 })
}

func TestSlowAckOfAParkedEventAccusesNobody(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{Directory: withoutPing})
	var away, slow atomic.Bool
	released := make(chan struct{})
	release := sync.OnceFunc(func() { close(released) })
	p := d.Process()
	p.On(func(ctx context.Context, c fault.Call) error {
		switch {
		case c.Point == fault.BeforeStore && away.Load() && c.Method == "DirectoryRevision":
			return errors.New("a fault of this test")
		case c.Point == fault.BeforeTell && c.Method == "ack" && c.Message != nil && c.Message.Sequence() == 1 && slow.Load():
			select {
			case <-released:
			case <-ctx.Done():
			}
		}
		return nil
	})
	p.Run()
	away.Store(true)
	t.Cleanup(release)
	slow.Store(true)
	d.Apply(workertest.Directory)
	d.Publish(workertest.LoginSubject(acme, "ping"), "e1", d.LoginAt(d.Second, d.PersonAt(d.Second, "ada")))
	d.Eventually("for the event to be parked", func() bool { return d.Counts().Parked == 1 })
	away.Store(false)
	d.Eventually("for the parked event to be answered", func() bool {
		d.Clock.Advance(time.Second)
		return len(d.Results.All()) > 0
	})
	release()
	wantNoAccusation(t, d, "e1")
}

// A worker that is paused, as by a machine that is moved, keeps its marker while the broker delivers the event to another.
func TestPausedWorkerAccusesNobody(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		d.LogIn("e1", d.Person("ada"))
		d.Exhaust(record.LaneLogins, delivered)
		d.SetAckWait(time.Second) // this worker believes that it has longer
		p := d.Process()
		paused, goOn := make(chan struct{}), make(chan struct{})
		var once sync.Once
		p.On(fault.At(fault.BeforeStore, func(_ context.Context, c fault.Call) error {
			if c.Method == "Batch" {
				once.Do(func() { close(paused) })
				<-goOn
			}
			return nil
		}))
		p.Run()
		<-paused
		other := d.Start()
		other.AwaitDeliveries(1)
		d.Eventually("for the other worker to be done with it for now", func() bool {
			told := other.Deliveries()[0].Told
			return len(told) > 0 || d.Counts().Parked > 0
		})
		close(goOn)
		d.Clock.Advance(time.Minute)
		wantNoAccusation(t, d, "e1")
	})
}

// A worker dies, by chance, and so do its host and the disk with its slots.
func TestDeadWorkerWithoutItsDiskAccusesNobody(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		d.LogIn("e1", d.Person("ada"))
		d.Exhaust(record.LaneLogins, delivered)
		p := d.Process(workertest.Mortal)
		p.On(fault.At(fault.InTransaction, func(context.Context, fault.Call) error { return p.Die() }))
		p.Run()
		p.AwaitDeath()
		d.Start()
		d.Eventually("for the event to be answered", func() bool {
			d.Clock.Advance(10 * time.Second)
			return len(d.Results.All()) > 0
		})
		wantNoAccusation(t, d, "e1")
	})
}

// A worker gives an event back, as its dead letter could be neither published nor parked, and is slow to go on.
func TestPauseAfterNakAccusesNobody(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		forged := d.Person("mallory")
		forged["aud"] = "somebody else"
		d.LogIn("e1", forged)
		d.Exhaust(record.LaneLogins, delivered)
		p := d.Process()
		given, goOn := make(chan struct{}), make(chan struct{})
		resume := sync.OnceFunc(func() { close(goOn) })
		var nakked atomic.Bool
		drained := make(chan struct{})
		drain := sync.OnceFunc(func() { close(drained) })
		p.On(func(_ context.Context, c fault.Call) error {
			switch {
			case c.Point == fault.BeforePublish:
				p.Shutdown()
				select {
				case <-drained: // so that the broker delivers the event to the other worker
				case <-d.Ctx.Done():
				}
				return errors.New("a fault of this test")
			case c.Point == fault.BeforeStore && c.Method == "ParkLetters":
				return errors.New("a fault of this test, too")
			case c.Point == fault.BeforeDrain && c.Method == record.LaneLogins:
				drain()
			case c.Point == fault.AfterTell && c.Method == "nak":
				if !nakked.Swap(true) {
					close(given)
				}
				select {
				case <-goOn:
				case <-d.Ctx.Done():
				}
			}
			return nil
		})
		p.NakDelay = time.Second // it has ended its pull until then
		p.Run()
		t.Cleanup(resume)
		select {
		case <-given:
		case <-d.Ctx.Done():
			t.Fatal("the event is not given back, want a nak")
		}
		d.Start()
		letter := d.Letters.Await(1, "of any", func(workertest.Record) bool { return true })[0]
		resume()
		if letter.Reason != "audience" {
			t.Errorf("the event becomes a dead letter of %s %s while its former worker is slow, want one of audience", letter.Code, letter.Reason)
		}
		d.Eventually("for the in-flight markers to be cleared", func() bool { return d.Counts().InFlight == 0 })
	})
}

// A worker that stops with events in hand gives them back without a trace of suspicion.
func TestWorkerThatStopsAccusesNobody(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.LogIn("e1", d.Person("ada"))
	d.Exhaust(record.LaneLogins, delivered)
	p := d.Process(func(c *worker.Config) { c.DrainTimeout = 50 * time.Millisecond })
	reached := make(chan struct{}, 100)
	p.On(fault.At(fault.BeforeStore, func(ctx context.Context, c fault.Call) error {
		if c.Method != "Batch" {
			return nil
		}
		reached <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}))
	p.Run()
	<-reached
	if err := p.Stop(); err == nil {
		t.Error("stopping ends without an error, want that it ran out of time")
	}
	if n := d.Counts().InFlight; n != 0 {
		t.Errorf("the stopped worker leaves %d markers, want none", n)
	}
	d.Start()
	wantNoAccusation(t, d, "e1")
}
