package directory_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
	"github.com/idpsync/idpsync/worker/directory"
)

// A watchedStore is a real store that counts its reads and can be away.
type watchedStore struct {
	*store.Store
	reads, looks atomic.Int64
	away         atomic.Bool
}

var errAway = errors.New("connection refused")

func (s *watchedStore) Credential(ctx context.Context, id string) (store.Credential, error) {
	s.reads.Add(1)
	if s.away.Load() {
		return store.Credential{}, errAway
	}
	return s.Store.Credential(ctx, id)
}

func (s *watchedStore) CredentialsRevision(ctx context.Context) (int64, error) {
	defer s.looks.Add(1)
	if s.away.Load() {
		return 0, errAway
	}
	return s.Store.CredentialsRevision(ctx)
}

// steadyClock is a clock that tests move.
type steadyClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *steadyClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *steadyClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type credentialsWorld struct {
	t           *testing.T
	st          *watchedStore
	clock       *steadyClock
	credentials *directory.Credentials
	stop        func()
}

func newCredentialsWorld(t *testing.T) *credentialsWorld {
	t.Helper()
	st := storetest.Open(t, store.SQLite)
	storetest.Seed(t, st)
	w := &credentialsWorld{t: t, st: &watchedStore{Store: st}, clock: &steadyClock{now: storetest.Time}}
	w.credentials = directory.NewCredentials(w.st, w.clock.Now, slog.New(slog.NewTextHandler(t.Output(), nil)))
	return w
}

// follow begins to follow and returns when it has looked once.
func (w *credentialsWorld) follow() {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.credentials.Follow(ctx, time.Millisecond)
	}()
	w.stop = sync.OnceFunc(func() { cancel(); <-done })
	w.t.Cleanup(w.stop)
	w.looked()
}

// looked waits until the revision was looked at by a call that began after this one.
func (w *credentialsWorld) looked() {
	w.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for before := w.st.looks.Load(); w.st.looks.Load() < before+3; {
		select {
		case <-tick.C:
		case <-w.t.Context().Done():
			w.t.Fatal("nobody looks at the revision")
		}
	}
}

func (w *credentialsWorld) add() string {
	w.t.Helper()
	id, _, hash, err := providers.NewToken(rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	c := store.Credential{ID: id, Tenant: storetest.Acme, Name: id, SecretHash: hash, Grants: []string{"user"}, CreatedAt: storetest.Time}
	if err := w.st.CreateCredential(w.t.Context(), c, "test"); err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *credentialsWorld) get(id string) (providers.Credential, error) {
	return w.credentials.Credential(w.t.Context(), id)
}

func TestCredentialsAreRememberedUntilOneChanges(t *testing.T) {
	w := newCredentialsWorld(t)
	id := w.add()
	w.follow()
	for range 3 {
		if c, err := w.get(id); err != nil || c.Tenant != storetest.Acme || len(c.SecretHash) != 32 || len(c.Grants) != 1 {
			t.Fatalf("the credential is %+v with the error %v, want that of the tenant with its hash and one grant", c, err)
		}
		if _, err := w.get("aaaaaaaaaaaaaaaa"); !errors.Is(err, providers.ErrNoCredential) {
			t.Fatalf("an unknown credential gives the error %v, want %v", err, providers.ErrNoCredential)
		}
	}
	if n := w.st.reads.Load(); n != 2 {
		t.Errorf("the store was read %d times, want once for each id", n)
	}
	if err := w.st.RevokeCredential(t.Context(), id, "test", storetest.Time.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	w.looked()
	if c, err := w.get(id); err != nil || c.RevokedAt.IsZero() {
		t.Errorf("after the revocation the credential is %+v with the error %v, want it revoked", c, err)
	}
}

func TestCredentialsAreReadEachTimeWithoutFollowing(t *testing.T) {
	w := newCredentialsWorld(t)
	id := w.add()
	for range 3 {
		if _, err := w.get(id); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.st.reads.Load(); n != 3 {
		t.Errorf("the store was read %d times, want 3", n)
	}
}

func TestCredentialsAreNotBelievedForLongWithoutTheStore(t *testing.T) {
	w := newCredentialsWorld(t)
	id := w.add()
	w.follow()
	if _, err := w.get(id); err != nil {
		t.Fatal(err)
	}
	w.st.away.Store(true)
	w.looked()
	if _, err := w.get(id); err != nil {
		t.Errorf("a short outage is felt: %v", err)
	}
	w.clock.advance(time.Minute)
	if _, err := w.get(id); !errors.Is(err, errAway) {
		t.Errorf("after a minute without the store the error is %v, want %v", err, errAway)
	}
	w.st.away.Store(false)
	w.looked()
	if _, err := w.get(id); err != nil {
		t.Errorf("once the store is back: %v", err)
	}
}

func TestLastUseReachesTheStore(t *testing.T) {
	w := newCredentialsWorld(t)
	id, other := w.add(), w.add()
	w.follow()
	late := storetest.Time.Add(time.Minute)
	for _, at := range []time.Time{late, storetest.Time} {
		w.credentials.Used(id, at)
	}
	w.stop()
	for id, want := range map[string]time.Time{id: late, other: {}} {
		c, err := w.st.Store.Credential(t.Context(), id)
		if err != nil || !c.LastUsedAt.Equal(want) {
			t.Errorf("last used %v, %v; want %v", c.LastUsedAt, err, want)
		}
	}
}

func TestCredentialsInParallel(t *testing.T) {
	w := newCredentialsWorld(t)
	ids := make([]string, 8)
	for i := range ids {
		ids[i] = w.add()
	}
	w.follow()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 50 {
				id := ids[(i+n)%len(ids)]
				if c, err := w.get(id); err != nil || c.ID != id {
					t.Errorf("the credential %s is %+v with the error %v, want it found", id, c, err)
				}
				w.credentials.Used(id, storetest.Time)
			}
		})
	}
	wg.Go(func() {
		for i := range 5 {
			if err := w.st.RevokeCredential(t.Context(), ids[i], fmt.Sprint(i), storetest.Time); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	w.looked()
	for i, id := range ids {
		if c, err := w.get(id); err != nil || c.RevokedAt.IsZero() != (i >= 5) {
			t.Errorf("the credential %d is %+v with the error %v, want it revoked: %v", i, c, err, i < 5)
		}
	}
}
