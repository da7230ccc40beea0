package worker_test

import (
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// reasonAt says what one worker would make of a login that is stored now: "" for accepted, or why not.
func reasonAt(t *testing.T, d *workertest.Deployment, p *workertest.Process, login []byte) string {
	t.Helper()
	f, err := p.Forecast(d.Ctx, []worker.Preview{{Subject: okta, Data: login, StoredAt: time.Now(), EventID: "forecast"}})
	if err != nil {
		t.Fatalf("forecast at %s: %v", p.Name, err)
	}
	return f[0].Reason + f[0].Waits
}

func ban(t *testing.T, d *workertest.Deployment, from time.Time) {
	t.Helper()
	known, err := d.Store.KnownKeys(d.Ctx, workertest.Acme)
	if err != nil || len(known) == 0 {
		t.Fatalf("%d keys are known, %v; want the one that signed", len(known), err)
	}
	err = d.Store.BanKey(d.Ctx, store.KeyBan{Issuer: known[0].Issuer, PublicKey: known[0].PublicKey, From: from, At: time.Now(), Who: "ann", Why: "leaked"})
	if err != nil {
		t.Fatal(err)
	}
}

func TestABannedKeyIsRefusedEverywhereWithinSeconds(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		quick := func(c *worker.Config) { c.Refresh = 200 * time.Millisecond }
		workers := []*workertest.Process{d.Start(quick), d.Start(quick), d.Start(quick)}
		d.LogIn("first", d.Person("ada"))
		d.Await("first")
		login := d.Login(d.Person("mallory"))
		for _, p := range workers {
			if got := reasonAt(t, d, p, login); got != "" {
				t.Fatalf("before the ban %s refuses the login: %s", p.Name, got)
			}
		}
		// A login waits: its kid is one that the issuer, which is away, will publish for the same key.
		d.Issuer.SetDown(true)
		d.Publish(okta, "waiting", d.Login(d.Person("eve"), issuer.WithHeader("kid", "renamed")))
		d.Eventually("the login to be parked", func() bool { return d.Counts().Parked == 1 })
		ban(t, d, time.Time{})
		banned := time.Now()
		for _, p := range workers {
			d.Eventually(p.Name+" to refuse the banned key", func() bool { return reasonAt(t, d, p, login) == "key_banned" })
		}
		if took := time.Since(banned); took > 2*time.Second {
			t.Errorf("three workers refused the key after %v; want at most 2 s", took)
		}
		if got := reasonAt(t, d, d.Start(), login); got != "key_banned" {
			t.Errorf("a worker that starts after the ban says %q of the login; want key_banned", got)
		}
		// The issuer publishes the same key under another kid.
		key := d.Issuer.Keys()[0]
		key.ID = "renamed"
		d.Issuer.Withdraw(d.Issuer.KeyID())
		d.Issuer.Publish(key)
		d.Issuer.SetDown(false)
		d.Clock.Advance(time.Minute)
		wantRejected(t, d, "waiting", record.CodeUnauthenticated, "key_banned")
		d.Publish(okta, "renamed", d.Login(d.Person("eve"), issuer.WithKeyID("renamed")))
		wantRejected(t, d, "renamed", record.CodeUnauthenticated, "key_banned")
		d.Publish(okta, "stored", login)
		wantRejected(t, d, "stored", record.CodeUnauthenticated, "key_banned")
		second := d.AwaitLetter("stored")
		d.Replay("again", second.Sequence)
		d.Eventually("the replay to be refused", func() bool { return len(d.LettersOf("stored")) == 2 })
		if got := d.LettersOf("stored")[1].Header.Get(record.DeadLetterReason); got != "key_banned" {
			t.Errorf("the replayed dead letter is refused for %q; want key_banned", got)
		}
	})
}

// What was stored before the key leaked is good, if the ban says when that was.
func TestABanFromATimeOn(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	p := d.Start()
	d.LogIn("first", d.Person("ada"))
	d.Await("first")
	before := time.Now()
	ban(t, d, before)
	login := d.Login(d.Person("grace"))
	d.Eventually("the ban to be known", func() bool { return reasonAt(t, d, p, login) == "key_banned" })
	f, err := p.Forecast(d.Ctx, []worker.Preview{{Subject: okta, Data: login, StoredAt: before.Add(-time.Millisecond), EventID: "earlier"}})
	if err != nil {
		t.Fatal(err)
	}
	if f[0].Reason != "" {
		t.Errorf("an event stored before the ban's time is refused for %q; want it accepted", f[0].Reason)
	}
}

func TestWithdrawingASourceForgetsItsKeys(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	p := d.Start()
	leaked := d.Issuer.KeyID()
	d.LogIn("first", d.Person("ada"))
	d.Await("first")
	if err := d.Issuer.Rotate(false); err != nil {
		t.Fatal(err)
	}
	forged := d.Login(d.Person("mallory"), issuer.WithKeyID(leaked))
	if got := reasonAt(t, d, p, forged); got != "" {
		t.Fatalf("right after the rotation, which nobody has seen, the login is refused for %q", got)
	}
	d.Apply(`
tenants:
  - id: 2489E9AD-2EE2-8E00-8EC9-32D5F69181C0
    name: acme
    roles: [{name: user}]
`)
	d.Apply(workertest.Directory)
	d.Eventually("the key to be forgotten", func() bool { return reasonAt(t, d, p, forged) == "unknown_key" })
}

// One worker whose clock is fast must not have the others refuse what is signed with a key that is published after it
// asked.
func TestAFastClockOfOneWorkerBindsNoOther(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		fast := d.Start(func(c *worker.Config) { c.Now = func() time.Time { return time.Now().Add(time.Hour) } })
		d.LogIn("first", d.Person("ada"))
		d.Await("first")
		if err := fast.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := d.Issuer.Rotate(true); err != nil {
			t.Fatal(err)
		}
		d.Start()
		d.LogIn("rotated", d.Person("grace"))
		if r := d.Await("rotated"); r.Status != 201 {
			t.Errorf("a login with the new key is answered %d %s; want 201", r.Status, r.Data)
		}
		known, err := d.Store.KnownKeys(d.Ctx, workertest.Acme)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range known {
			if now := time.Now(); k.LastSeen.After(now) || k.FirstSeen.After(now) {
				t.Errorf("key %s was seen %v to %v, which is still to come", k.ID, k.FirstSeen, k.LastSeen)
			}
		}
	})
}

// Of all workers one reads an issuer again at half of key_staleness, without any login.
func TestOneWorkerKeepsKeysFresh(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		const half = time.Second
		have, err := d.Store.Directory(d.Ctx)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range have.Sources { // shorter than the directory file allows
			if s.Kind == "oidc" {
				have.Sources[i].Config = append([]byte(`{"key_staleness":2000000000,`), s.Config[1:]...)
			}
		}
		if _, err := d.Store.ApplyDirectory(d.Ctx, have.Revision, have, "ann", time.Now()); err != nil {
			t.Fatal(err)
		}
		workers := []*workertest.Process{d.Start(), d.Start(), d.Start()}
		d.LogIn("first", d.Person("ada"))
		d.Await("first")
		asked, start := d.Issuer.Requests().JWKS, time.Now()
		const more = 3
		d.Eventually("the issuer to be read again", func() bool { return d.Issuer.Requests().JWKS >= asked+more })
		if took := time.Since(start); took < (more-1)*half {
			t.Errorf("three workers read the issuer %d times more in %v; want one of them to read it, each %v", more, took, half)
		}
		for _, p := range workers {
			holder, ok := p.Directories.Current().Tenant(workertest.Acme).Source("okta").Provider.(providers.KeyHolder)
			if !ok {
				t.Fatal("the provider of okta holds no keys")
			}
			d.Eventually(p.Name+" to know of the newest reading", func() bool {
				_, at := holder.KeysReadAt()
				return time.Since(at) < 2*half
			})
		}
	})
}
