package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/idpsync/idpsync/worker/record"
)

// Intervals between the attempts to publish to a stream that refuses.
const (
	minProbe = time.Second
	maxProbe = 30 * time.Second
)

// errShut is the error of messages that were not published, as their stream refused others just before.
var errShut = errors.New("the stream has refused messages and was not asked again yet")

// A gate stands before a stream. It shuts when the stream refuses what is published, because it is full or cannot be
// reached: then one message at a time is published, at intervals that grow, until one is stored. It is safe for concurrent use.
type gate struct {
	name      string // of what the stream holds, for metrics
	what      string // the same for the log
	publisher Publisher
	timeout   time.Duration // of one attempt; 0 leaves it to the publisher
	now       func() time.Time
	log       *slog.Logger
	metrics   Metrics

	mu      sync.Mutex
	shut    bool
	tries   int       // how often the stream refused, less how often it stored something again
	next    time.Time // when it is asked again
	since   time.Time // when it shut
	refused int       // messages that were kept since then
	said    time.Time // when the log said so
}

// publish stores messages, and returns one error for each. It takes as long as the timeout at most, twice that when the gate
// opens. When ctx ends, nothing is concluded from it.
func (g *gate) publish(ctx context.Context, msgs []record.Outgoing) []error {
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

func (g *gate) attempt(ctx context.Context, msgs []record.Outgoing) []error {
	if g.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, g.timeout)
		defer cancel()
	}
	return g.publisher.Publish(ctx, msgs)
}

// room returns how many of n messages may be published now. That one may as a probe, though the gate is shut, is said to one
// caller.
func (g *gate) room(n int) (may int, probe bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	switch {
	case !g.shut:
		return n, false
	case now.Before(g.next):
		return 0, false
	}
	g.next = now.Add(g.interval()) // nobody else asks meanwhile
	return min(n, 1), true
}

// due reports whether anything may be published now.
func (g *gate) due() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.shut || !g.now().Before(g.next)
}

// open reports whether all may be published.
func (g *gate) open() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.shut
}

func (g *gate) interval() time.Duration { return min(maxProbe, minProbe<<min(g.tries, 10)) }

// conclude opens or shuts the gate by what became of messages. A stream that stored some of them goes on: what it refused may
// be at fault. Of messages that were published at the same time as those for which the gate shut, nothing is concluded.
func (g *gate) conclude(errs []error, probe bool) {
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
	now := g.now()
	switch {
	case stored == 0:
		g.next = now.Add(g.interval())
		g.tries++
		if g.shut {
			return
		}
		g.shut, g.since, g.refused = true, now, 0
		g.metrics.Refusing(g.name, true)
		g.say(now, slog.LevelError, g.what+" are refused by their stream; they are kept in the database and published later", "error", refusal)
	case g.shut:
		g.shut = false
		g.tries = max(0, g.tries-1) // a stream that takes one and refuses the next is not asked all the time
		g.metrics.Refusing(g.name, false)
		g.say(now, slog.LevelInfo, g.what+" are stored again by their stream", "kept", g.refused, "after", now.Sub(g.since).Round(time.Second))
	}
}

// kept notes how many messages were refused and kept in the database, and says so once in a while.
func (g *gate) kept(n int) {
	g.metrics.Kept(g.name, n)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused += n
	if now := g.now(); g.shut && now.Sub(g.said) >= sparingly {
		g.say(now, slog.LevelWarn, g.what+" are still refused by their stream", "kept", g.refused, "since", g.since)
	}
}

func (g *gate) say(now time.Time, level slog.Level, words string, attrs ...any) {
	g.said = now
	g.log.Log(context.Background(), level, words, attrs...)
}
