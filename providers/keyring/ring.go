package keyring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/idpsync/idpsync/providers"
)

// When an issuer is asked, by the clock of this process.
const (
	askBurst    = 2                // questions at first, or after a quiet time
	askEvery    = 10 * time.Second // one more each
	rereadEvery = time.Second      // the stored history, when the issuer may not be asked
	readTimeout = 5 * time.Second  // for one look at the stored history
)

// An Answer is what an issuer says of itself when it is asked.
type Answer struct {
	Issuer     string
	Keys       []providers.Key
	ValidUntil time.Time // zero: it does not say
}

// A Config is what a ring is made of.
type Config[K any] struct {
	Source providers.Source
	Env    providers.Environment
	Issuer string // under which the history is kept; "" when only an answer tells
	Asked  string // what is asked; rings that ask the same have one breaker

	// Fetch asks the issuer. It bounds its own time, and is called by one goroutine at a time. Nil: the issuer is never
	// asked, and publishes what Fixed says.
	Fetch func(ctx context.Context, now time.Time) (Answer, error)
	Fixed Answer
	// Parse makes a stored key ready for use, and names its public key.
	Parse func(providers.Key) (use K, publicKey string, err error)
	// Words of failures.
	Words Words
}

// Words are how a provider names failures of its kind of issuer.
type Words struct {
	Unreachable string // reason: the issuer cannot be asked
	Reading     string // reason: it is being asked
	Pending     string // reason: it may not be asked yet
	Document    string // what it is asked for, as in "keys"
}

// A Ring keeps the history of one issuer's keys for one source, and keeps it fresh. It is safe for concurrent use. An
// event whose key is known takes no lock and reads no store.
//
// At most one read runs at a time. It belongs to the ring, not to the event that began it, so that an event which is
// given up does not take the others' answer away; Close ends it and waits.
type Ring[K any] struct {
	c       Config[K]
	breaker *providers.Breaker
	current atomic.Pointer[History[K]] // nil until the first read

	life context.Context
	end  context.CancelFunc
	wg   sync.WaitGroup

	mu       sync.Mutex
	issuer   string
	running  *read
	closed   bool
	latest   time.Time // of the events that the broker stored
	tokens   float64   // of the rate limit
	filledAt time.Time
	readAt   time.Time // when the stored history was last read

	broken      *providers.Error // of the last read, which failed for another reason than the issuer
	brokenUntil time.Time        // it is not tried again before
	last        *providers.Error // of the last read that ended
}

// A read is one attempt to know more.
type read struct {
	done    chan struct{}
	failure *providers.Error // why it did not begin
}

// New makes a ring that knows nothing yet, and has asked no one yet.
func New[K any](c Config[K]) *Ring[K] {
	life, end := context.WithCancel(context.Background()) //nolint:gosec // Close calls end
	breakers := c.Env.Breakers
	if breakers == nil {
		breakers = &providers.Breakers{}
	}
	return &Ring[K]{c: c, breaker: breakers.Of(c.Asked), issuer: c.Issuer, life: life, end: end, tokens: askBurst}
}

// Close ends the read that is under way and waits for it. Decide must not be called any more.
func (r *Ring[K]) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.end()
	r.wg.Wait()
}

// An Opinion is what a provider makes of an event by one history.
type Opinion struct {
	Failure error // nil: it is proved
	Waits   bool  // a newer answer may hold the key, so the failure has to wait for one
	Final   bool  // no newer answer can change the failure
}

// An Event is what a ring has to know of an event.
type Event struct {
	StoredAt time.Time
	ByBroker bool // stamped by the broker, and not by a process's own clock
}

// note keeps the newest time that the broker is known to have reached.
func (r *Ring[K]) note(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.ByBroker && e.StoredAt.After(r.latest) {
		r.latest = e.StoredAt
	}
}

// Decide finds the last word on an event. judge is called with what is known; slack is how long before
// the event its key may have been seen last. It does not wait: while keys are read, the failure says when to come again.
//
// What a history says in favour of an event is final at once. What it says against it is final when the history knows of
// an answer that was asked for at or after that time. Before, the issuer is asked; if it cannot be, a failure that waits
// has to wait, and the others stand.
func (r *Ring[K]) Decide(ctx context.Context, e Event, judge func(h *History[K], slack time.Duration) Opinion) error {
	staleness, at := r.c.Source.Staleness(), e.StoredAt
	if err := ctx.Err(); err != nil {
		return Cancelled(err)
	}
	known := r.current.Load()
	opinion := Opinion{Waits: true}
	if known != nil {
		opinion = judge(known, staleness)
		if opinion.Failure == nil || opinion.Final || r.settled(known, at) {
			return opinion.Failure
		}
	}
	r.note(e)
	rd := r.begin(known, func(h *History[K]) bool { return r.settled(h, at) || newer(h, known) })
	if rd.failure != nil {
		again := *rd.failure                                          // an error belongs to one event
		if ahead := at.Sub(r.c.Env.Now()); ahead > again.RetryAfter { // its clock is ahead of ours
			again.RetryAfter = ahead
		}
		return r.undecided(known, judge, opinion, &again)
	}
	// While it is found out whether an issuer that is away is back, it is believed as before.
	return r.undecided(known, judge, Opinion{Failure: opinion.Failure, Waits: true}, &providers.Error{
		Class: providers.ErrUnavailable, Reason: r.c.Words.Reading, RetryAfter: time.Second, Ready: rd.done, Away: true,
		Message: "the issuer's " + r.c.Words.Document + " are being read", Hint: "the event is judged when they are",
	})
}

// newer reports whether a history has an answer that the other, which may be nil, has not.
func newer[K any](h, other *History[K]) bool {
	return !h.AskedAt.IsZero() && (other == nil || h.AskedAt.After(other.AskedAt))
}

// settled reports whether no answer can say more of an event of that time than the history does.
func (r *Ring[K]) settled(h *History[K], at time.Time) bool {
	if r.c.Fetch == nil {
		return !h.AskedAt.IsZero() && r.inForce(h)
	}
	return !h.AskedAt.IsZero() && !h.AskedAt.Before(at.Truncate(time.Microsecond)) // the history keeps microseconds
}

// inForce reports whether a history has all keys of the document as published. A worker that has not heard yet of a new
// document may have written an older one into the history.
func (r *Ring[K]) inForce(h *History[K]) bool {
	for _, fixed := range r.c.Fixed.Keys {
		if !slices.ContainsFunc(h.Keys, func(k *Key[K]) bool {
			return k.Thumbprint == fixed.Thumbprint && k.Variant == fixed.Variant && k.RetiredAt.IsZero()
		}) {
			return false
		}
	}
	return true
}

// undecided is the word on an event of which no more can be found out now. An issuer that is away is believed for longer.
func (r *Ring[K]) undecided(known *History[K], judge func(*History[K], time.Duration) Opinion, opinion Opinion, failure *providers.Error) error {
	if !opinion.Waits {
		return opinion.Failure
	}
	if known != nil && r.away() != nil && judge(known, r.c.Source.Staleness()+r.c.Source.Grace()).Failure == nil {
		return nil
	}
	return failure
}

// away returns why the issuer is held to be away, or nil.
func (r *Ring[K]) away() error {
	_, cause := r.breaker.Open(r.c.Env.Now())
	return cause
}

// begin joins the read that runs, or begins one that ends as soon as enough says so. A read that may not begin has failed
// already. When known is no longer what is known, there is nothing to do.
func (r *Ring[K]) begin(known *History[K], enough func(*History[K]) bool) *read {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running != nil {
		return r.running
	}
	rd := &read{done: make(chan struct{})}
	if r.current.Load() != known {
		close(rd.done)
		return rd
	}
	now := r.c.Env.Now()
	if r.closed {
		rd.failure = Cancelled(context.Canceled)
	} else if r.broken != nil && now.Before(r.brokenUntil) && r.brokenUntil.Sub(now) <= r.broken.RetryAfter {
		rd.failure = r.broken
	} else if failure := r.refused(now); failure != nil && (r.issuer == "" || now.Sub(r.readAt) < rereadEvery && !now.Before(r.readAt)) {
		rd.failure = failure // and the stored history was looked at a moment ago
	}
	if rd.failure != nil {
		close(rd.done)
		return rd
	}
	r.running = rd
	r.wg.Go(func() {
		failure := r.guarded(now, enough)
		r.mu.Lock()
		r.broken = nil
		if failure != nil && failure.RetryAfter > 0 && !failure.Away {
			r.broken, r.brokenUntil = failure, r.c.Env.Now().Add(failure.RetryAfter)
		}
		r.last = failure
		r.running = nil
		r.mu.Unlock()
		close(rd.done)
	})
	return rd
}

// guarded contains a panic, which an answer may cause.
func (r *Ring[K]) guarded(now time.Time, enough func(*History[K]) bool) (failure *providers.Error) {
	defer func() {
		if p := recover(); p != nil {
			r.c.Env.Log.Error("panic while keys were read", "tenant", r.c.Source.Tenant, "source", r.c.Source.Name, "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			failure = &providers.Error{
				Class: providers.ErrUnavailable, Reason: r.c.Words.Unreachable, RetryAfter: askEvery,
				Message: "reading the issuer's " + r.c.Words.Document + " failed in an unforeseen way", Hint: "report the stack from the worker's log",
			}
		}
	}()
	return r.read(now, enough)
}

// read reads the stored history, which another worker may have moved on, and asks the issuer if that is not enough.
func (r *Ring[K]) read(now time.Time, enough func(*History[K]) bool) *providers.Error {
	if r.c.Fetch == nil {
		asked, failure := r.clock()
		if failure != nil {
			return failure
		}
		return r.keep(r.c.Fixed, asked)
	}
	if r.named() != "" {
		stored, err := r.load(now)
		if err != nil {
			return historyFailure("read", err)
		}
		if enough(stored) {
			return nil
		}
	}
	r.mu.Lock()
	failure := r.take(now)
	r.mu.Unlock()
	if failure != nil {
		return failure
	}
	return r.ask()
}

// ask asks the issuer and keeps what it answers.
func (r *Ring[K]) ask() *providers.Error {
	answered := false
	defer func() { // also after a panic, as the breaker admits one question at a time
		if !answered {
			r.breaker.Abandon()
		}
	}()
	asked, failure := r.clock() // before the question, as the answer may be as old
	if failure != nil {
		return failure
	}
	before := r.away()
	answer, err := r.c.Fetch(r.life, asked)
	if err != nil && r.life.Err() != nil { // we gave up, which says nothing of the issuer
		return Cancelled(err)
	}
	answered = true
	r.breaker.Done(r.c.Env.Now(), err)
	log := r.c.Env.Log.With(slog.String("tenant", r.c.Source.Tenant), slog.String("source", r.c.Source.Name), slog.String("issuer", r.named()))
	if err != nil {
		if before == nil { // say it once for each outage
			log.Warn("issuer cannot be asked for its "+r.c.Words.Document+"; what is known stays in use for a while",
				slog.Duration("key_staleness", r.c.Source.Staleness()), slog.Duration("key_grace", r.c.Source.Grace()), slog.Any("error", err))
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.refused(r.c.Env.Now())
	}
	if before != nil {
		log.Info("issuer answers again")
	}
	return r.keep(answer, asked)
}

// clock returns the time now by the history's clock.
func (r *Ring[K]) clock() (time.Time, *providers.Error) {
	r.mu.Lock()
	latest := r.latest
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(r.life, readTimeout)
	defer cancel()
	now, err := r.c.Env.Keys.Clock(ctx, latest)
	if err != nil {
		return now, historyFailure("read", err)
	}
	return now, nil
}

// keep writes an answer that was asked for at the time asked into the history.
func (r *Ring[K]) keep(answer Answer, asked time.Time) *providers.Error {
	r.mu.Lock()
	r.issuer = answer.Issuer
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(r.life, readTimeout)
	defer cancel()
	err := r.c.Env.Keys.Observe(ctx, r.c.Source.Tenant, r.c.Source.Name, answer.Issuer, providers.KeyObservation{Keys: answer.Keys, At: asked, ValidUntil: answer.ValidUntil})
	if err != nil {
		return historyFailure("written", err)
	}
	if _, err := r.load(r.c.Env.Now()); err != nil {
		return historyFailure("read", err)
	}
	return nil
}

// named returns the issuer, or "" until an answer names it.
func (r *Ring[K]) named() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.issuer
}

// load reads the stored history.
func (r *Ring[K]) load(now time.Time) (*History[K], error) {
	ctx, cancel := context.WithTimeout(r.life, readTimeout)
	defer cancel()
	issuer := r.named()
	stored, err := r.c.Env.Keys.Keys(ctx, r.c.Source.Tenant, r.c.Source.Name, issuer)
	if err != nil {
		return nil, err
	}
	h := newHistory(stored, issuer, r.current.Load(), r.c.Parse, r.c.Fetch == nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.readAt = now
	if known := r.current.Load(); known != nil && known.Issuer == h.Issuer && known.revision > h.revision {
		return known, nil
	}
	r.current.Store(h)
	return h, nil
}

// Known returns what is known now, or nil.
func (r *Ring[K]) Known() *History[K] { return r.current.Load() }

// Reload takes over what the history knows now. A ring that has judged nothing yet has nothing to take over, unless its
// first read is under way: that may have read the history before the change.
func (r *Ring[K]) Reload(ctx context.Context) error {
	if r.named() == "" || ctx.Err() != nil {
		return ctx.Err()
	}
	r.mu.Lock()
	first := r.running
	r.mu.Unlock()
	if r.c.Fetch == nil && r.current.Load() == nil {
		if first == nil {
			return nil
		}
		select {
		case <-first.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if r.current.Load() == nil { // it failed
			return nil
		}
	}
	_, err := r.load(r.c.Env.Now())
	if err != nil && r.life.Err() == nil {
		return fmt.Errorf("key history of source %s: %w", r.c.Source.Name, err)
	}
	return nil
}

func historyFailure(what string, err error) *providers.Error {
	return &providers.Error{
		Class: providers.ErrUnavailable, Reason: "key_history", RetryAfter: time.Second, Err: err,
		Message: "the history of the issuer's keys could not be " + what,
	}
}

// Cancelled is the failure of an event that was given up.
func Cancelled(err error) *providers.Error {
	return &providers.Error{Class: providers.ErrUnavailable, Reason: "cancelled", Message: "the event was given up before it was verified", Err: err}
}

// refused is the failure while the issuer is away, or may not be asked yet, or nil. The caller holds mu, here and below.
func (r *Ring[K]) refused(now time.Time) *providers.Error {
	if wait, cause := r.breaker.Open(now); cause != nil && wait > 0 {
		return r.unreachable(wait, cause)
	}
	r.fill(now)
	if r.tokens >= 1 {
		return nil
	}
	if _, cause := r.breaker.Open(now); isUnusable(cause) {
		return r.unreachable(askEvery, cause)
	}
	return &providers.Error{
		Class: providers.ErrUnavailable, Reason: r.c.Words.Pending, RetryAfter: max(time.Duration((1-r.tokens)*float64(askEvery)), time.Second), Away: true,
		Message: "the issuer's " + r.c.Words.Document + " must be read again for this event, and were asked for only a moment ago", Hint: "the event is tried again",
	}
}

// An Unusable is the error of an answer that came and in which nothing can be used. It is tried again, as an issuer that
// cannot be asked is, and named for what it is.
type Unusable struct{ Reason, Message, Hint string }

// Error implements error.
func (u *Unusable) Error() string { return u.Message }

func isUnusable(err error) bool {
	_, ok := errors.AsType[*Unusable](err)
	return ok
}

func (r *Ring[K]) unreachable(wait time.Duration, cause error) *providers.Error {
	if u, ok := errors.AsType[*Unusable](cause); ok {
		return &providers.Error{
			Class: providers.ErrUnavailable, Reason: u.Reason, RetryAfter: max(wait, time.Second), Away: true, Message: u.Message, Hint: u.Hint,
		}
	}
	return &providers.Error{
		Class: providers.ErrUnavailable, Reason: r.c.Words.Unreachable, RetryAfter: max(wait, time.Second), Err: cause, Away: true,
		Message: "the issuer could not be asked for its " + r.c.Words.Document,
		Hint:    fmt.Sprintf("check that this host reaches the issuer of source %s and what it answers; the event is tried again", r.c.Source.Name),
	}
}

// fill adds what the rate limit has earned since it was last looked at.
func (r *Ring[K]) fill(now time.Time) {
	if elapsed := now.Sub(r.filledAt); elapsed > 0 && !r.filledAt.IsZero() {
		r.tokens = min(askBurst, r.tokens+elapsed.Seconds()/askEvery.Seconds())
	}
	r.filledAt = now
}

// take asks rate limit and breaker for one question.
func (r *Ring[K]) take(now time.Time) *providers.Error {
	if failure := r.refused(now); failure != nil {
		return failure
	}
	if ok, wait, cause := r.breaker.Allow(now); !ok {
		return r.unreachable(wait, cause)
	}
	r.tokens--
	return nil
}

// ReadAt returns under which issuer the history is kept, and when its newest answer was asked for; the zero time when
// there is none, or the issuer is never asked.
func (r *Ring[K]) ReadAt() (issuer string, at time.Time) {
	h := r.current.Load()
	if h == nil || r.c.Fetch == nil {
		return "", time.Time{}
	}
	return h.Issuer, h.AskedAt
}

// Read asks the issuer, unless it may not be asked yet or another worker just did, and waits for the answer.
func (r *Ring[K]) Read(ctx context.Context) error {
	known := r.current.Load()
	rd := r.begin(known, func(h *History[K]) bool { return newer(h, known) })
	select {
	case <-rd.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if rd.failure != nil {
		return rd.failure
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last != nil && r.running == nil {
		return r.last
	}
	return nil
}
