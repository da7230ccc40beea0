package keyring_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/keyring"
	"github.com/idpsync/idpsync/providers/providertest"
)

const issuerName = "https://issuer.example"

// A world is what the rings of several workers share.
type world struct {
	clock *providertest.Clock
	env   providers.Environment
	keys  *providertest.Keys
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{clock: providertest.NewClock()}
	w.env, w.keys, _ = providertest.Environment(t, w.clock)
	w.env.Breakers = &providers.Breakers{}
	return w
}

func key(name string) providers.Key {
	return providers.Key{ID: name, Thumbprint: name, PublicKey: name, Material: []byte(name)}
}

func answer(names ...string) keyring.Answer {
	a := keyring.Answer{Issuer: issuerName}
	for _, name := range names {
		a.Keys = append(a.Keys, key(name))
	}
	return a
}

// ring makes the ring of one worker. Without fetch its keys are those of a document.
func (w *world) ring(t *testing.T, fetch func(ctx context.Context, now time.Time) (keyring.Answer, error), document ...string) *keyring.Ring[string] {
	t.Helper()
	r := keyring.New(keyring.Config[string]{
		Source: providers.Source{Tenant: providertest.Tenant, Name: "okta"}, Env: w.env, Issuer: issuerName, Asked: issuerName,
		Fetch: fetch, Fixed: answer(document...),
		Parse: func(k providers.Key) (string, string, error) { return k.ID, k.PublicKey, nil },
		Words: keyring.Words{Unreachable: "unreachable", Reading: "reading", Pending: "pending", Document: "keys"},
	})
	t.Cleanup(r.Close)
	return r
}

var reasons = map[keyring.Standing]string{keyring.NotSeen: "not_seen", keyring.Retired: "retired", keyring.Banned: "banned"}

// decide is what a ring makes of an event that is signed by the key now: "" for accepted, or why not. It waits for keys
// that are read.
func (w *world) decide(t *testing.T, r *keyring.Ring[string], name string) string {
	t.Helper()
	at := w.clock.Now()
	for range 20 {
		err := r.Decide(t.Context(), keyring.Event{StoredAt: at, ByBroker: true}, func(h *keyring.History[string], slack time.Duration) keyring.Opinion {
			for _, k := range h.Keys {
				if k.Use == name {
					if s := k.Standing(at, slack); s != keyring.Good {
						return keyring.Opinion{Waits: s == keyring.NotSeen, Final: s == keyring.Banned, Failure: &providers.Error{Class: providers.ErrUnverified, Reason: reasons[s]}}
					}
					return keyring.Opinion{}
				}
			}
			return keyring.Opinion{Waits: true, Failure: &providers.Error{Class: providers.ErrUnverified, Reason: "unknown"}}
		})
		failure, _ := errors.AsType[*providers.Error](err)
		switch {
		case err == nil:
			return ""
		case failure == nil:
			t.Fatalf("Decide gives %v; want an error of a class", err)
		case failure.Ready == nil:
			return failure.Reason
		}
		select {
		case <-failure.Ready:
		case <-t.Context().Done():
			t.Fatal("keys are being read for ever")
		}
	}
	return "reading again and again"
}

// An answer that makes its reader panic while it is found out whether the issuer is back must not leave it unasked for ever.
func TestAPanicLeavesNoBreakerOpen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var turn int
	r := w.ring(t, func(context.Context, time.Time) (keyring.Answer, error) {
		switch turn++; turn {
		case 1:
			return keyring.Answer{}, errors.New("no answer")
		case 2:
			panic("an unexpected answer")
		}
		return answer("a"), nil
	})
	for range 2 {
		if got := w.decide(t, r, "a"); got != "unreachable" {
			t.Fatalf("while the issuer gives no answer, the login is refused for %q; want it to wait as unreachable", got)
		}
		w.clock.Advance(2 * time.Minute)
	}
	w.clock.Advance(time.Hour)
	if got := w.decide(t, r, "a"); got != "" {
		t.Errorf("when the issuer answers again, the login is refused for %q; want it accepted", got)
	}
}

// A source that is changed while its keys are read gets a new ring; that the old one gave up says nothing of the issuer.
func TestARingThatClosesHoldsNoIssuerToBeAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	asked := make(chan struct{})
	old := w.ring(t, func(ctx context.Context, _ time.Time) (keyring.Answer, error) {
		close(asked)
		<-ctx.Done()
		return keyring.Answer{}, ctx.Err()
	})
	err := old.Decide(t.Context(), keyring.Event{StoredAt: w.clock.Now(), ByBroker: true}, nil)
	if failure, _ := errors.AsType[*providers.Error](err); failure == nil || failure.Reason != "reading" {
		t.Fatalf("the first login gives %v; want it to wait as reading", err)
	}
	<-asked
	old.Close()
	fresh := w.ring(t, func(context.Context, time.Time) (keyring.Answer, error) { return answer("a"), nil })
	if got := w.decide(t, fresh, "a"); got != "" {
		t.Errorf("a login after the change is refused for %q; want it accepted", got)
	}
}

// Right after a document is changed, a worker that does not know yet may write the old one into the history.
func TestAnOlderDocumentOfAnotherWorkerRetiresNoKeyInForce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	changed := w.ring(t, nil, "new")
	if got := w.decide(t, changed, "new"); got != "" {
		t.Fatalf("by the new document the login is refused for %q; want it accepted", got)
	}
	w.clock.Advance(time.Second)
	late := w.ring(t, nil, "old")
	if got := w.decide(t, late, "old"); got != "" {
		t.Fatalf("by the old document the login is refused for %q; want it accepted", got)
	}
	w.clock.Advance(time.Second)
	if err := changed.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.decide(t, changed, "new"); got != "" {
		t.Errorf("after the other worker's look, a login by the document in force is refused for %q; want it accepted", got)
	}
	if got := w.decide(t, changed, "old"); got != "retired" {
		t.Errorf("a login with the key of the old document is refused for %q; want retired", got)
	}
}

type history = providers.Keys

// slowKeys stops between reading the history and handing it over, once.
type slowKeys struct {
	history
	read, goOn chan struct{}
}

func (k *slowKeys) Keys(ctx context.Context, tenant, source, issuer string) (providers.KeyHistory, error) {
	h, err := k.history.Keys(ctx, tenant, source, issuer)
	if k.read != nil {
		read := k.read
		k.read = nil
		close(read)
		<-k.goOn
	}
	return h, err
}

// A ban that comes while the first login has the history read must not be lost to that worker.
func TestABanDuringTheFirstReadOfADocument(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	slow := &slowKeys{w.env.Keys, make(chan struct{}), make(chan struct{})}
	read := slow.read
	w.env.Keys = slow
	r := w.ring(t, nil, "a")
	err := r.Decide(t.Context(), keyring.Event{StoredAt: w.clock.Now(), ByBroker: true}, nil)
	failure, _ := errors.AsType[*providers.Error](err)
	if failure == nil || failure.Ready == nil {
		t.Fatalf("the first login gives %v; want it to wait until the document is read", err)
	}
	<-read
	w.keys.Ban(issuerName, "a", time.Time{})
	reloaded := make(chan error, 1)
	go func() { reloaded <- r.Reload(t.Context()) }() // as the worker does when it sees that bans changed
	select {
	case err := <-reloaded:
		reloaded <- err
	case <-time.After(100 * time.Millisecond): // it may wait for the read
	}
	close(slow.goOn)
	if err := <-reloaded; err != nil {
		t.Fatal(err)
	}
	<-failure.Ready
	if got := w.decide(t, r, "a"); got != "banned" {
		t.Errorf("after the ban the login is refused for %q; want banned", got)
	}
}
