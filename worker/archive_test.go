package worker_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
	"github.com/idpsync/idpsync/worker/workertest"
)

// archiving has an archive beside the streams that every deployment has.
var archiving = stream.Topology{EventsBytes: 1 << 28, ResultsBytes: 1 << 28, DeadLetters: 1 << 28, ArchiveAge: 24 * time.Hour, ArchiveBytes: 1 << 28}

// archivedEvents returns the ids of the events in the archive, in order, each as often as it is there.
func archivedEvents(d *workertest.Deployment) []string {
	d.T.Helper()
	ids := []string{}
	for m, err := range stream.Archived(d.Ctx, d.Conn, stream.Filter{}) {
		if err != nil {
			d.T.Fatal(err)
		}
		a, o, err := record.UnsealArchived(d.Key, m)
		if err != nil || len(o.Data) == 0 {
			d.T.Errorf("archived event %d is opened with %d bytes and the error %v, want its body", m.Sequence, len(o.Data), err)
		}
		ids = append(ids, a.Event.EventID)
	}
	slices.Sort(ids)
	return ids
}

func wantArchived(d *workertest.Deployment, want ...string) {
	d.T.Helper()
	if got := archivedEvents(d); !slices.Equal(got, want) {
		d.T.Errorf("the archive has the events %q, want %q", got, want)
	}
}

// Only what had an effect is archived, once.
func TestEventsThatHadAnEffectAreArchived(t *testing.T) {
	workertest.Each(t, workertest.Options{Topology: archiving}, func(t *testing.T, d *workertest.Deployment) {
		login := workertest.LoginSubject(acme, "okta")
		body := d.Login(d.Person("ada"))
		d.Publish(login, "ada", body)
		d.Publish(login, "bad", []byte(`{"id_token":"a.b.c"}`))
		p := d.Start()
		d.Settle()
		d.Publish(login, "ada", body) // sent again
		d.Publish(login, "ada again", d.Login(d.Person("ada")))
		d.Settle()
		wantArchived(d, "ada", "ada again")
		if err := p.Stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// A worker that dies between the effect and the archive leaves the event to another one.
func TestDeathBeforeTheArchiveLeavesNothingOut(t *testing.T) {
	workertest.Each(t, workertest.Options{Topology: archiving}, func(t *testing.T, d *workertest.Deployment) {
		for i := range 5 {
			d.Publish(workertest.LoginSubject(acme, "okta"), fmt.Sprint("login", i), d.Login(d.Person(fmt.Sprint("person", i))))
		}
		p := d.Process(workertest.Mortal)
		p.On(fault.At(fault.BeforePublish, func(_ context.Context, c fault.Call) error {
			if record.BranchArchive.Holds(c.Outgoing[0].Subject) {
				return p.Die()
			}
			return nil
		}))
		p.Run().AwaitDeath()
		wantArchived(d)
		d.Start()
		d.Settle()
		wantArchived(d, "login0", "login1", "login2", "login3", "login4")
	})
}

// An archive that takes nothing stops nobody, and lacks nothing later.
func TestARefusedArchiveStopsNobodyAndLacksNothingLater(t *testing.T) {
	workertest.Each(t, workertest.Options{Topology: archiving}, func(t *testing.T, d *workertest.Deployment) {
		d.Start()
		send := func(who string) {
			d.Publish(workertest.LoginSubject(acme, "okta"), who, d.Login(d.Person(who)))
			d.Settle()
		}
		send("ada")
		wantArchived(d, "ada")
		d.Raw(func(js jetstream.JetStream) error { return js.DeleteStream(d.Ctx, stream.StreamArchive) })
		send("bob")
		send("eve")
		if n := d.Counts().Outbox; n != 2 {
			t.Errorf("%d messages are owed while the archive takes none, want the 2 events", n)
		}
		if a := account(d); !a.Holds() {
			t.Errorf("the account finds unaccounted %v and duplicated %v, want none", a.Unaccounted, a.Duplicated)
		}
		d.Migrate(archiving)
		awaitOwed(d)
		wantArchived(d, "bob", "eve")
		send("joe")
		wantArchived(d, "bob", "eve", "joe")
	})
}

// Where there is no archive, nothing is published for one.
func TestWithoutAnArchiveNothingIsArchived(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		p := d.Process()
		p.On(fault.At(fault.BeforePublish, func(_ context.Context, c fault.Call) error {
			for _, m := range c.Outgoing {
				if record.BranchArchive.Holds(m.Subject) {
					t.Errorf("%s is published though there is no archive", m.Subject)
				}
			}
			return nil
		}))
		p.Run()
		d.Publish(workertest.LoginSubject(acme, "okta"), "ada", d.Login(d.Person("ada")))
		d.Settle()
		if n := d.Counts().Outbox; n != 0 {
			t.Errorf("%d messages are owed, want none", n)
		}
	})
}
