package oidc

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/idpsync/idpsync/providers"
)

// When an issuer is asked, by the clock of this process.
const (
	askBurst    = 2                // questions at first, or after a quiet time
	askEvery    = 10 * time.Second // one more each
	staleAfter  = time.Hour        // keys older than this are refreshed beside the work
	rereadEvery = time.Second      // the stored history, when the issuer may not be asked
	readTimeout = 5 * time.Second  // for one look at the stored history
	maxJoined   = 8                // refreshes of others that one event waits for
)

// A keySet verifies signatures with the history of one issuer's keys, and keeps that history fresh. It is safe for
// concurrent use. An event whose key is known takes no lock and reads no store.
//
// At most one refresh runs at a time. It belongs to the set, not to the event that began it, so that an event which is
// given up does not take the others' answer away; close ends it and waits.
type keySet struct {
	tenant, source, issuer string

	store   providers.Keys
	now     func() time.Time
	log     *slog.Logger
	fetcher *fetcher

	current atomic.Pointer[history] // nil until the first refresh

	life context.Context
	end  context.CancelFunc
	wg   sync.WaitGroup

	mu        sync.Mutex
	running   *refresh
	closed    bool
	tokens    float64 // of the rate limit
	filledAt  time.Time
	readAt    time.Time // when the stored history was last read
	lastError error     // of the newest question to the issuer; nil when it was answered
}

// A refresh is one attempt to know more. Its fields are set before done is closed.
type refresh struct {
	done    chan struct{}
	failure *providers.Error // why nothing more is known; nil when it went as far as it needed
}

func newKeySet(src providers.Source, env providers.Environment) *keySet {
	life, end := context.WithCancel(context.Background())
	return &keySet{
		tenant: src.Tenant, source: src.Name, issuer: src.Issuer,
		store: env.Keys, now: env.Now, log: env.Log, fetcher: newFetcher(src.Issuer, env.HTTP),
		life: life, end: end, tokens: askBurst,
	}
}

func (s *keySet) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.wg.Wait()
}

// verify returns the key that verifies t, an event stored at the time at.
//
// What the history says in favour of a token is final at once. What it says against it is final when the history knows
// of an answer that was asked for at or after that time. Before, the issuer is asked; if it cannot be, the verdict
// "unknown key" has to wait, and the others stand.
func (s *keySet) verify(ctx context.Context, t *token, at time.Time) (*signingKey, *providers.Error) {
	asked := false
	for joined := 0; ; joined++ {
		known := s.current.Load()
		var key *signingKey
		var failure *providers.Error
		if known != nil {
			if key, failure = known.judge(t, at); failure == nil {
				s.keepFresh(known)
				return key, nil
			}
			if !known.askedAt.IsZero() && !known.askedAt.Before(at) {
				return nil, failure
			}
		}
		waits := failure == nil || failure.Reason == checkKey.name
		if asked || joined > maxJoined {
			if !waits {
				return nil, failure
			}
			return nil, s.pending(at)
		}
		r, mine := s.begin(known, func(h *history) bool {
			_, failure := h.judge(t, at)
			return failure == nil || !h.askedAt.Before(at)
		})
		asked = mine
		select {
		case <-ctx.Done():
			return nil, cancelled(ctx.Err())
		case <-r.done:
		}
		if r.failure != nil {
			if !waits {
				return nil, failure
			}
			again := *r.failure // an error belongs to one event
			return nil, &again
		}
	}
}

// keepFresh begins a refresh beside the work when what is known is old.
func (s *keySet) keepFresh(known *history) {
	now := s.now()
	if now.Sub(known.askedAt) <= staleAfter {
		return
	}
	s.begin(known, func(h *history) bool { return now.Sub(h.askedAt) <= staleAfter })
}

// begin joins the refresh that runs, or begins one that ends as soon as enough says so; mine tells which. When known is
// no longer what is known, there is nothing to do.
func (s *keySet) begin(known *history, enough func(*history) bool) (r *refresh, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		return s.running, false
	}
	r = &refresh{done: make(chan struct{})}
	if s.current.Load() != known {
		close(r.done)
		return r, false
	}
	if s.closed {
		r.failure = cancelled(context.Canceled)
		close(r.done)
		return r, true
	}
	now := s.now()
	mayAsk := s.mayAsk(now)
	if !mayAsk && known != nil && now.Sub(s.readAt) < rereadEvery && !now.Before(s.readAt) {
		r.failure = s.refused(now)
		close(r.done)
		return r, true
	}
	s.running = r
	s.wg.Go(func() {
		failure := s.refresh(known, now, enough)
		s.mu.Lock()
		r.failure = failure
		s.running = nil
		s.mu.Unlock()
		close(r.done)
	})
	return r, true
}

// refresh reads the stored history, which another worker may have moved on, and asks the issuer if that is not enough.
func (s *keySet) refresh(known *history, now time.Time, enough func(*history) bool) *providers.Error {
	stored, failure := s.read(known, now)
	if failure != nil {
		return failure
	}
	if enough(stored) {
		return nil
	}
	s.mu.Lock()
	if !s.take(now) {
		failure := s.refused(now)
		s.mu.Unlock()
		return failure
	}
	s.mu.Unlock()
	published, err := s.fetcher.keys(s.life, now)
	s.mu.Lock()
	before := s.lastError
	s.lastError = err
	s.mu.Unlock()
	if err != nil {
		if before == nil && s.life.Err() == nil { // say it once for each outage
			s.log.Warn("issuer cannot be asked for its keys; those known stay in use", "tenant", s.tenant, "source", s.source, "issuer", s.issuer, "error", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.refused(s.now())
	}
	if before != nil {
		s.log.Info("issuer answers again", "tenant", s.tenant, "source", s.source, "issuer", s.issuer)
	}
	ctx, cancel := context.WithTimeout(s.life, readTimeout)
	defer cancel()
	if err := s.store.Observe(ctx, s.tenant, s.source, s.issuer, published, now); err != nil {
		return historyFailure("written", err)
	}
	fresh, failure := s.read(stored, now)
	if failure != nil {
		return failure
	}
	if fresh.askedAt.Before(now) { // the store keeps times less finely
		again := *fresh
		again.askedAt = now
		s.current.Store(&again)
	}
	return nil
}

func (s *keySet) read(former *history, now time.Time) (*history, *providers.Error) {
	ctx, cancel := context.WithTimeout(s.life, readTimeout)
	defer cancel()
	stored, err := s.store.Keys(ctx, s.tenant, s.source, s.issuer)
	if err != nil {
		return nil, historyFailure("read", err)
	}
	h := newHistory(stored, former)
	if former != nil && former.askedAt.After(h.askedAt) {
		h.askedAt = former.askedAt
	}
	s.mu.Lock()
	s.readAt = now
	s.mu.Unlock()
	s.current.Store(h)
	return h, nil
}

func historyFailure(what string, err error) *providers.Error {
	return &providers.Error{
		Class: providers.ErrUnavailable, Reason: "key_history", RetryAfter: time.Second, Err: err,
		Message: "the history of the issuer's keys could not be " + what,
	}
}

// pending is the failure of an event that needs a newer answer than there is.
func (s *keySet) pending(at time.Time) *providers.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	failure := s.refused(now)
	if ahead := at.Sub(now); ahead > failure.RetryAfter { // the broker's clock is ahead of ours
		failure.RetryAfter = ahead
	}
	return failure
}

// refused is the failure while the issuer cannot be asked, or may not be asked yet. The caller holds mu.
func (s *keySet) refused(now time.Time) *providers.Error {
	wait := s.nextQuestion(now)
	if s.lastError != nil {
		return &providers.Error{
			Class: providers.ErrUnavailable, Reason: "issuer_unreachable", RetryAfter: wait, Err: s.lastError,
			Message: "the issuer could not be asked for its keys",
			Hint:    fmt.Sprintf("check that this host reaches %s and what it answers; the event is tried again", s.issuer),
		}
	}
	return &providers.Error{
		Class: providers.ErrUnavailable, Reason: "keys_refresh_pending", RetryAfter: wait,
		Message: "the key of the token is not known yet, and the issuer was asked only a moment ago", Hint: "the event is tried again",
	}
}

// fill adds what the rate limit has earned since it was last looked at. The caller holds mu, here and below.
func (s *keySet) fill(now time.Time) {
	if elapsed := now.Sub(s.filledAt); elapsed > 0 && !s.filledAt.IsZero() {
		s.tokens = min(askBurst, s.tokens+elapsed.Seconds()/askEvery.Seconds())
	}
	s.filledAt = now
}

func (s *keySet) mayAsk(now time.Time) bool {
	s.fill(now)
	return s.tokens >= 1
}

func (s *keySet) take(now time.Time) bool {
	if !s.mayAsk(now) {
		return false
	}
	s.tokens--
	return true
}

// nextQuestion is how long until the issuer may be asked again, at least a second.
func (s *keySet) nextQuestion(now time.Time) time.Duration {
	s.fill(now)
	missing := time.Duration((1 - s.tokens) * float64(askEvery))
	return max(missing, time.Second)
}
