// Package gate stands between a worker and a stream that may refuse what it publishes.
package gate

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/record"
)

// Intervals between the attempts to publish to a stream that refuses.
const (
	minProbe = time.Second
	maxProbe = 30 * time.Second
)

// errShut is the error of messages that were not published, as their stream refused others just before.
var errShut = errors.New("the stream has refused messages and was not asked again yet")

// A Publisher stores messages in a stream. It returns one error for each, or nil when all are stored.
type Publisher interface {
	Publish(ctx context.Context, msgs []record.Outgoing) []error
}

// Metrics counts what gates do. Implementations are safe for concurrent use.
type Metrics interface {
	Kept(stream string, messages int)     // that their stream refused, and that were kept in the store
	Refusing(stream string, refuses bool) // whether a stream refuses messages
}

// Options are what a [Gate] is made of.
type Options struct {
	Name      string // of what the stream holds, for metrics
	What      string // the same for the log
	Publisher Publisher
	Timeout   time.Duration // of one attempt; 0 leaves it to the publisher
	Now       func() time.Time
	Log       *slog.Logger
	Metrics   Metrics
}

// A Gate stands before a stream. It shuts when the stream refuses what is published, because it is full or cannot be
// reached: then one message at a time is published, at intervals that grow, until one is stored. It is safe for concurrent use.
type Gate struct {
	o Options

	mu      sync.Mutex
	shut    bool
	tries   int       // how often the stream refused, less how often it stored something again
	next    time.Time // when it is asked again
	since   time.Time // when it shut
	refused int       // messages that were kept since then
	said    time.Time // when the log said so
}

// New returns an open gate.
func New(o Options) *Gate { return &Gate{o: o} }

// Publish stores messages, and returns one error for each. It takes as long as the timeout at most, twice that when the gate
// opens. When ctx ends, nothing is concluded from it.
func (g *Gate) Publish(ctx context.Context, msgs []record.Outgoing) []error {
	errs := make([]error, len(msgs))
	for done := 0; done < len(msgs); {
		n, probe := g.room(len(msgs) - done)
		if n == 0 {
			for i := done; i < len(msgs); i++ {
				errs[i] = errShut
			}
			break
		}
		copy(errs[done:], g.attempt(ctx, msgs[done:done+n])) // none means that all are stored
		if ctx.Err() != nil {
			for i := done + n; i < len(msgs); i++ {
				errs[i] = ctx.Err()
			}
			return errs
		}
		g.conclude(errs[done:done+n], probe)
		done += n
	}
	return errs
}

func (g *Gate) attempt(ctx context.Context, msgs []record.Outgoing) []error {
	if g.o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, g.o.Timeout)
		defer cancel()
	}
	return g.o.Publisher.Publish(ctx, msgs)
}

// room returns how many of n messages may be published now. That one may as a probe, though the gate is shut, is said to one
// caller.
func (g *Gate) room(n int) (may int, probe bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.o.Now()
	switch {
	case !g.shut:
		return n, false
	case now.Before(g.next):
		return 0, false
	}
	g.next = now.Add(g.interval()) // nobody else asks meanwhile
	return min(n, 1), true
}

// Due reports whether anything may be published now.
func (g *Gate) Due() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.shut || !g.o.Now().Before(g.next)
}

// Open reports whether all may be published.
func (g *Gate) Open() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.shut
}

func (g *Gate) interval() time.Duration { return min(maxProbe, minProbe<<min(g.tries, 10)) }

// conclude opens or shuts the gate by what became of messages. A stream that stored some of them goes on: what it refused may
// be at fault. Of messages that were published at the same time as those for which the gate shut, nothing is concluded.
func (g *Gate) conclude(errs []error, probe bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut && !probe {
		return
	}
	stored := 0
	var refusal error
	for _, err := range errs {
		if err == nil {
			stored++
		} else {
			refusal = err
		}
	}
	now := g.o.Now()
	switch {
	case stored == 0:
		g.next = now.Add(g.interval())
		g.tries++
		if g.shut {
			return
		}
		g.shut, g.since, g.refused = true, now, 0
		g.o.Metrics.Refusing(g.o.Name, true)
		g.say(now, slog.LevelError, g.o.What+" are refused by their stream; they are kept in the database and published later", "error", refusal)
	case g.shut:
		g.shut = false
		g.tries = max(0, g.tries-1) // a stream that takes one and refuses the next is not asked all the time
		g.o.Metrics.Refusing(g.o.Name, false)
		g.say(now, slog.LevelInfo, g.o.What+" are stored again by their stream", "kept", g.refused, "after", now.Sub(g.since).Round(time.Second))
	}
}

// Kept notes how many messages were refused and kept in the database, and says so once in a while.
func (g *Gate) Kept(n int) {
	g.o.Metrics.Kept(g.o.Name, n)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused += n
	if now := g.o.Now(); g.shut && now.Sub(g.said) >= clock.Sparingly {
		g.say(now, slog.LevelWarn, g.o.What+" are still refused by their stream", "kept", g.refused, "since", g.since)
	}
}

func (g *Gate) say(now time.Time, level slog.Level, words string, attrs ...any) {
	g.said = now
	g.o.Log.Log(context.Background(), level, words, attrs...)
}
