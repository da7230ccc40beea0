package worker_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
	"github.com/idpsync/idpsync/worker/workertest"
)

func TestProviderThatFailsInAnUnforeseenWayFailsOneEvent(t *testing.T) {
	for name, fail := range map[string]func(){
		"panic":   func() { panic("a fault of this test") },
		"runtime": func() { delete(map[any]int{}, []int{}) }, // a key that cannot be hashed, as hostile data may make one
		"Goexit":  runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := workertest.New(t, workertest.Options{})
			p := d.Process(func(c *worker.Config) { c.Loops = 1 })
			p.On(fault.At(fault.BeforeVerify, func(_ context.Context, c fault.Call) error {
				if strings.HasPrefix(c.Envelope.EventID, "poison") {
					fail()
				}
				return nil
			}))
			const each = 20
			for i := range each {
				d.LogIn(fmt.Sprintf("poison%d", i), d.Person("mallory"))
				d.LogIn(fmt.Sprintf("innocent%d", i), d.Person(fmt.Sprintf("p%d", i)))
			}
			p.Run()
			for i := range each {
				wantRejected(t, d, fmt.Sprintf("poison%d", i), record.CodeInternal, "panic")
				if r := d.Await(fmt.Sprintf("innocent%d", i)); r.Status != 201 {
					t.Errorf("an innocent event gets %s, want 201", r.Data)
				}
			}
			if class := d.AwaitLetter("poison0").Header.Get(record.DeadLetterClass); class != "crash" {
				t.Errorf("the dead letter of the poison has class %s, want crash", class)
			}
			if letters := d.AllLetters(); len(letters) != each {
				t.Errorf("there are %d dead letters, want %d", len(letters), each)
			}
		})
	}
}

func TestProviderThatHangsHoldsItsBatchAndNothingElse(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	p := d.Process(func(c *worker.Config) { c.DrainTimeout = 50 * time.Millisecond })
	hangs := make(chan struct{})
	p.On(fault.At(fault.BeforeVerify, func(ctx context.Context, c fault.Call) error {
		if c.Envelope.EventID != "hangs" {
			return nil
		}
		close(hangs)
		<-ctx.Done()
		return ctx.Err()
	}))
	p.Run()
	d.LogIn("hangs", d.Person("slow"))
	<-hangs
	d.LogIn("e1", d.Person("ada"))
	if r := d.Await("e1"); r.Status != 201 {
		t.Errorf("a login beside one that hangs gets %s, want 201", r.Data)
	}
	if err := p.Stop(); err == nil || !strings.Contains(err.Error(), "drain timeout") {
		t.Errorf("stopping ends with the error %v, want one of the drain timeout", err)
	}
	d.Start()
	if r := d.Await("hangs"); r.Status != 201 {
		t.Errorf("the login that hung gets %s from the next worker, want 201", r.Data)
	}
}

func TestEventThatKillsItsProcessIsFoundAndTheInnocentsAreUntouched(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		const lease = time.Second
		d.SetAckWait(lease)
		const innocents = 30
		for i := range innocents {
			d.LogIn(fmt.Sprintf("e%d", i), d.Person(fmt.Sprintf("p%d", i)))
			if i == innocents/2 {
				d.LogIn("killer", d.Person("mallory"))
			}
		}
		d.RunUntilKilled("first", "killer", lease)
		d.RunUntilKilled("second", "killer", lease) // alone in its hands
		rows, err := d.Store.InFlight(d.Ctx)
		rows = slices.DeleteFunc(rows, func(r store.InFlight) bool { return r.Worker != "second" || !r.Alone })
		if err != nil || len(rows) != 1 || rows[0].EventID != "killer" {
			t.Errorf("the second worker has the markers %+v of events alone with the error %v, want that of the killer", rows, err)
		}
		d.Start(func(c *worker.Config) { c.Slots, c.AckWait = d.Slots(), lease })
		wantRejected(t, d, "killer", record.CodeInternal, "crashed_worker")
		if class := d.AwaitLetter("killer").Header.Get(record.DeadLetterClass); class != "crash" {
			t.Errorf("the dead letter of the killer has class %s, want crash", class)
		}
		for i := range innocents {
			if r := d.Await(fmt.Sprintf("e%d", i)); r.Status != 201 {
				t.Errorf("the innocent %s gets %s, want 201", r.EventID, r.Data)
			}
		}
		if letters := d.AllLetters(); len(letters) != 1 {
			t.Errorf("there are %d dead letters, want 1", len(letters))
		}
		d.Eventually("for the in-flight markers to be cleared", func() bool { return d.Counts().InFlight == 0 })
	})
}

// originOf names an event that is stored.
func originOf(d *workertest.Deployment, seq uint64) (o record.Origin) {
	d.T.Helper()
	d.Raw(func(js jetstream.JetStream) error {
		s, err := js.Stream(d.Ctx, stream.StreamEvents)
		if err != nil {
			return err
		}
		m, err := s.GetMsg(d.Ctx, seq)
		if err != nil {
			return err
		}
		o = record.Origin{Stream: stream.StreamEvents, Created: s.CachedInfo().Created, Sequence: seq, At: m.Time}
		return nil
	})
	return o
}

// The workers die with their disks, so that nothing proves of what.
func TestEventThatWasAloneInTheHandsOfTwoDeadWorkersIsTheCulprit(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		first := d.Process(workertest.Mortal)
		first.On(fault.At(fault.InTransaction, func(context.Context, fault.Call) error { return first.Die() }))
		var culprit uint64
		for i := range 5 {
			seq := d.Publish(okta, fmt.Sprintf("e%d", i), d.Login(d.Person(fmt.Sprintf("p%d", i))))
			if i == 2 {
				culprit = seq
			}
		}
		first.Run()
		first.AwaitDeath()
		origin := originOf(d, culprit).String()
		if err := d.Store.MarkInFlight(d.Ctx, []store.InFlight{
			{Event: origin, Run: "r1", Worker: "lost 1", Alone: true, At: time.Now()},
			{Event: origin, Run: "r2", Worker: "lost 2", Alone: true, At: time.Now()},
		}); err != nil {
			t.Fatal(err)
		}
		d.Start()
		for _, id := range []string{"e0", "e1", "e3", "e4"} {
			if r := d.Await(id); r.Status != 201 {
				t.Errorf("the innocent %s gets %s, want 201", id, r.Data)
			}
		}
		d.Eventually("for the workers to be presumed dead", func() bool {
			d.Clock.Advance(10 * time.Second)
			return len(d.Results.Of("e2")) > 0
		})
		wantRejected(t, d, "e2", record.CodeInternal, "crashed_worker")
		d.Eventually("for the in-flight markers to be cleared", func() bool { return d.Counts().InFlight == 0 })
	})
}

// giveBack takes n events of the logins and gives them back, so that they are delivered again.
func giveBack(d *workertest.Deployment, n int) {
	d.T.Helper()
	d.Raw(func(js jetstream.JetStream) error {
		c, err := js.Consumer(d.Ctx, stream.StreamEvents, record.LaneLogins)
		if err != nil {
			return err
		}
		batch, err := c.Fetch(n)
		if err != nil {
			return err
		}
		var taken []jetstream.Msg
		for m := range batch.Messages() {
			taken = append(taken, m)
		}
		for _, m := range taken {
			err = errors.Join(err, m.Nak())
		}
		return err
	})
}

// Workers that die with their disks leave markers of whole batches. An event that two of them had in hand is told apart from
// those that shared its batches.
func TestEventInTheHandsOfTwoDeadWorkersIsProcessedAloneAndCreates(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	for _, id := range []string{"e1", "e2"} {
		origin := originOf(d, d.Publish(okta, id, d.Login(d.Person(id)))).String()
		if err := d.Store.MarkInFlight(d.Ctx, []store.InFlight{{Event: origin, Run: "r1", Worker: "lost 1", At: time.Now()}, {Event: origin, Run: "r2", Worker: "lost 2", At: time.Now()}}); err != nil {
			t.Fatal(err)
		}
	}
	giveBack(d, 2)
	p := d.Start()
	for _, id := range []string{"e1", "e2"} {
		if r := d.Await(id); r.Status != 201 {
			t.Errorf("%s gets %s after two deaths, want 201", id, r.Data)
		}
	}
	d.Settle()
	if batches := p.Metrics.Batches("prepare"); !slices.Equal(batches, []int{1, 1}) {
		t.Errorf("the batches had the sizes %v, want two of one event", batches)
	}
	d.Eventually("for the in-flight markers to be cleared", func() bool { return d.Counts().InFlight == 0 })
}

// What was delivered often, but not because of a crash, goes on in batches.
func TestEventDeliveredOftenSharesItsBatch(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	const all = 20
	for i := range all {
		d.LogIn(fmt.Sprintf("e%d", i), d.Person(fmt.Sprintf("p%d", i)))
	}
	for range 5 {
		giveBack(d, all)
	}
	p := d.Start()
	d.Results.Await(all, "of any", func(r workertest.Record) bool { return r.Status == 201 })
	if batches := p.Metrics.Batches("prepare"); len(batches) >= all {
		t.Errorf("%d events that were delivered often went in %d batches, want them together", all, len(batches))
	}
	d.Eventually("for the in-flight markers to be cleared", func() bool { return d.Counts().InFlight == 0 })
}

func TestWorkerThatIsOutOfTimeRejectsNoInnocentEvent(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.LogIn("e1", d.Person("ada"))
	for range 3 {
		p := d.Process(workertest.Mortal)
		p.On(fault.At(fault.InTransaction, func(context.Context, fault.Call) error { return p.Die() }))
		p.Run()
		p.AwaitDeath()
	}
	p := d.Process(func(c *worker.Config) { c.DrainTimeout = 50 * time.Millisecond })
	reached := make(chan struct{})
	p.On(fault.At(fault.BeforeStore, func(ctx context.Context, c fault.Call) error {
		if c.Method != "Batch" {
			return nil
		}
		close(reached)
		<-ctx.Done()
		return ctx.Err()
	}))
	p.Run()
	<-reached // it is alone, with an in-flight marker
	if err := p.Stop(); err == nil {
		t.Error("stopping ends without an error, want that it ran out of time")
	}
	d.Start()
	if r := d.Await("e1"); r.Status != 201 {
		t.Errorf("the event of a worker out of time gets %s, want 201", r.Data)
	}
}

func TestDrainIsBoundedForParkedEventsToo(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.Second.SetDown(true)
	p := d.Process(func(c *worker.Config) { c.DrainTimeout = 50 * time.Millisecond })
	p.Run()
	d.Publish(workertest.LoginSubject(acme, "ping"), "e1", d.LoginAt(d.Second, d.PersonAt(d.Second, "ada")))
	d.Eventually("for the event to be parked", func() bool { return d.Counts().Parked == 1 })
	d.Second.SetDown(false)
	reached := make(chan struct{}, 100)
	p.On(fault.At(fault.BeforeStore, func(_ context.Context, c fault.Call) error {
		if c.Method != "Batch" {
			return nil
		}
		reached <- struct{}{}
		return fmt.Errorf("%w: a fault of this test", store.ErrUnavailable)
	}))
	d.Clock.Advance(time.Minute)
	<-reached
	if err := p.Stop(); err == nil || !strings.Contains(err.Error(), "drain timeout") {
		t.Errorf("stopping ends with the error %v, want one of the drain timeout", err)
	}
	d.Clock.Advance(time.Hour / 2) // its claim ends
	d.Start()
	if r := d.Await("e1"); r.Status != 201 {
		t.Errorf("the parked event gets %s from the next worker, want 201", r.Data)
	}
}

// The database is away just when the markers of an event are removed that is decided and gone.
func TestMarkersThatCouldNotBeClearedAreSweptLater(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		seq := d.Publish(okta, "e", d.Login(d.Person("p")))
		if err := d.Store.MarkInFlight(d.Ctx, []store.InFlight{{Event: originOf(d, seq).String(), Run: "r1", Died: true, At: time.Now()}}); err != nil {
			t.Fatal(err)
		}
		giveBack(d, 1) // only what was delivered before can be suspect
		p := d.Process()
		var failed atomic.Int32
		p.On(func(_ context.Context, c fault.Call) error {
			if c.Point == fault.BeforeStore && c.Method == "ClearInFlight" && failed.Add(1) <= 2 {
				return store.ErrUnavailable
			}
			return nil
		})
		p.Run()
		if r := d.Await("e"); r.Status != 201 {
			t.Errorf("the login is answered %d %s; want 201", r.Status, r.Data)
		}
		d.Eventually("for the in-flight markers to be cleared", func() bool { return d.Counts().InFlight == 0 })
		if failed.Load() < 2 {
			t.Errorf("removing failed %d times, want 2: the test shows nothing", failed.Load())
		}
	})
}
