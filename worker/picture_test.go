package worker_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"slices"
	"sync"
	"testing"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// picture returns an avatar of about the given number of characters.
func picture(t *testing.T, size int) string {
	t.Helper()
	image := encoded(t, asPNG, 2, 2)
	return "data:image/png;base64," + base64.StdEncoding.EncodeToString(append(image, make([]byte, size*3/4-len(image))...))
}

// withPicture has a person with a picture created by a feed, and linked by a first login.
func withPicture(s *scene, name, avatar string) {
	s.Helper()
	s.want(s.provision("trusted", with(tenantUser(name, "oidc"), map[string]any{"avatar": avatar})), 201, record.OutcomeCreated)
	s.want(s.login(acme, "okta", s.d.Person(name)), 200, record.OutcomeLinked)
}

// ledgerRow returns the row of a login of okta.
func ledgerRow(t *testing.T, d *workertest.Deployment, id string) store.Event {
	t.Helper()
	row, err := d.Store.Event(d.Ctx, store.EventKey{TenantID: acme, Source: "okta", EventID: id})
	if err != nil {
		t.Fatalf("the ledger's row of %s: %v", id, err)
	}
	return row
}

// changePicture changes a user's picture, as an update of the user does.
func changePicture(t *testing.T, d *workertest.Deployment, u store.User, avatar string) {
	t.Helper()
	err := d.Store.Batch(d.Ctx, func(ctx context.Context, tx *store.Tx) error {
		return tx.Write(ctx, store.Write{Updates: []store.UserUpdate{{TenantID: u.TenantID, UserID: u.ID, Revision: u.Revision, UpdatedAt: u.UpdatedAt, Avatar: &avatar}}})
	})
	if err != nil {
		t.Fatalf("change the picture: %v", err)
	}
}

// A login that changes nothing costs the same whether the user has a picture or not.
func TestLoginsDoNotKeepThePicture(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		s := newScene(t, d)
		large := picture(t, 200_000)
		withPicture(s, "ada", large)
		r := s.login(acme, "okta", d.Person("ada"))
		s.want(r, 200, record.OutcomeExists)
		if len(r.Data) > 1000 || r.Body["avatar"] != nil || r.Header.Get(record.HeaderOmitted) != "avatar" {
			t.Errorf("the result has %d bytes and says that it leaves out %q, want no picture, and that it says so", len(r.Data), r.Header.Get(record.HeaderOmitted))
		}
		row := ledgerRow(t, d, r.EventID)
		if n := len(row.Result) + len(row.ResultHeaders); n > 2000 {
			t.Errorf("the ledger keeps %d bytes of the login, want no picture among them", n)
		}
	})
}

// Small results are whole. The ledger keeps no picture of them either.
func TestSmallPicturesStayInResults(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		s := newScene(t, d)
		small := picture(t, 40_000)
		withPicture(s, "ada", small)
		created := s.login(acme, "okta", d.Person("grace").With(workertest.Claims{"picture": small}))
		r := s.login(acme, "okta", d.Person("grace"))
		s.want(r, 200, record.OutcomeExists)
		if !bytes.Equal(r.Data, created.Data) || r.Header.Get(record.HeaderOmitted) != "" {
			t.Errorf("the result of a login that changes nothing is %.300s, want that of the login that created the user: %.300s", r.Data, created.Data)
		}
		if row := ledgerRow(t, d, r.EventID); len(row.Result) > 1000 {
			t.Errorf("the ledger keeps a result of %d bytes, want no picture in it", len(row.Result))
		}
	})
}

// outgoing collects what a process publishes as results.
func outgoing(p *workertest.Process) func(id string) []record.Outgoing {
	var mu sync.Mutex
	var all []record.Outgoing
	p.On(func(_ context.Context, c fault.Call) error {
		mu.Lock()
		defer mu.Unlock()
		if c.Point == fault.BeforePublish {
			all = slices.Concat(all, c.Outgoing)
		}
		return nil
	})
	return func(id string) []record.Outgoing {
		mu.Lock()
		defer mu.Unlock()
		return slices.DeleteFunc(slices.Clone(all), func(o record.Outgoing) bool { return o.Header.Get(record.HeaderEventID) != id })
	}
}

// The same event has the same result, whatever became of the user and of the settings since.
func TestTheSameEventHasTheSamePictureAgain(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		first := d.Start()
		s := &scene{T: t, d: d, token: map[string]string{acme: d.Credential(acme, "user")}}
		logins := map[string][]byte{}
		for name, size := range map[string]int{"small": 40_000, "large": 150_000} {
			withPicture(s, name, picture(t, size))
			logins[name] = d.Login(d.Person(name))
			d.Publish(okta, name+"-1", logins[name])
			s.want(d.Await(name+"-1"), 200, record.OutcomeExists)
			for i := range 3 {
				changePicture(t, d, d.User(acme, name+"@acme.example"), picture(t, 30_000+1000*i))
			}
		}
		if err := first.Stop(); err != nil {
			t.Fatalf("the worker does not stop: %v", err)
		}
		second := d.Process(func(c *worker.Config) { c.ResultSize = 1000 })
		published := outgoing(second)
		second.Run()
		for name, login := range logins {
			id := name + "-1"
			d.Publish(okta, id, login)
			d.Eventually("for the repeat of "+id, func() bool { return len(published(id)) > 0 })
			before, again := d.Await(id), published(id)[0]
			if !bytes.Equal(before.Data, again.Data) || before.Header.Get(record.HeaderOmitted) != again.Header.Get(record.HeaderOmitted) {
				t.Errorf("%s: the event that came again has a result of %d bytes, want the %d bytes of the first one: %.200s, %.200s", name, len(again.Data), len(before.Data), again.Data, before.Data)
			}
		}
	})
}

// A picture that is gone, with what it was before, is left out, and the result says so.
func TestAPictureThatIsGoneIsLeftOut(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		p := d.Process()
		published := outgoing(p)
		p.Run()
		s := &scene{T: t, d: d, token: map[string]string{acme: d.Credential(acme, "user")}}
		withPicture(s, "ada", picture(t, 20_000))
		login := d.Login(d.Person("ada"))
		d.Publish(okta, "e1", login)
		s.want(d.Await("e1"), 200, record.OutcomeExists)
		if _, err := storetest.Database(t, d.Database()).ExecContext(d.Ctx, `update users set avatar = ''`); err != nil {
			t.Fatalf("take the picture away: %v", err)
		}
		d.Publish(okta, "e1", login)
		d.Eventually("for the repeat", func() bool { return len(published("e1")) > 1 })
		again := published("e1")[1]
		if again.Header.Get(record.HeaderOmitted) != "avatar" || bytes.Contains(again.Data, []byte("avatar")) || len(again.Data) == 0 {
			t.Errorf("the result is %.300s and says that it leaves out %q, want it without the picture", again.Data, again.Header.Get(record.HeaderOmitted))
		}
	})
}

// A repeat in the very batch that created its user is answered too.
func TestRepeatsWithinABatchHaveThePicture(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		login := d.Login(d.Person("ada").With(workertest.Claims{"picture": picture(t, 20_000)}))
		for _, id := range []string{"e1", "e2", "e2"} {
			d.Publish(okta, id, login)
		}
		p := d.Process()
		published := outgoing(p)
		p.Run()
		d.Eventually("for both results of e2", func() bool { return len(published("e2")) == 2 })
		created := d.Await("e1")
		for i, o := range published("e2") {
			if !bytes.Equal(o.Data, created.Data) || len(o.Data) < 20_000 {
				t.Errorf("result %d is %.200s, want %.200s", i+1, o.Data, created.Data)
			}
		}
	})
}
