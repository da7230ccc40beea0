// Package clock gives the workers of a deployment one time: that of the database they share. A host whose clock is wrong
// then decides as the others do.
//
// A [Clock] compares the host's clock with those of database and broker from time to time. In between it goes by the host's
// monotonic clock, which nobody sets, so that it costs no round trip, and neither an outage of the database nor a jump of the
// host's clock moves it. What the comparison cannot know is where in the round trip the answer was given; a comparison
// corrects the clock only by what it proves to be wrong.
package clock

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// Tolerated is how far clocks may differ before a warning is logged.
	Tolerated = time.Second
	// interval lies between comparisons: a database that moves to a host with another time is noticed within it.
	interval = 5 * time.Second
	timeout  = 5 * time.Second // of one question
)

// The clocks that a host's is compared with.
const (
	Database = "database"
	Broker   = "broker"
)

// An Ask asks for the time by another clock.
type Ask func(ctx context.Context) (time.Time, error)

// Options are what a [Clock] is made of.
type Options struct {
	Host     func() time.Time // the host's clock, with its monotonic reading
	Database Ask
	Broker   Ask // nil: there is none
	Log      *slog.Logger

	// Skew, unless nil, is told after each comparison by how much the host's clock is ahead of the other.
	Skew func(of string, ahead time.Duration)
}

// A Clock tells the time by the database's clock, and by the broker's. Make one with New. It is safe for concurrent use.
type Clock struct {
	o                Options
	database, broker reference
}

// New returns a clock that goes by the host's until it is compared.
func New(o Options) *Clock {
	return &Clock{o: o, database: reference{name: Database, ask: o.Database}, broker: reference{name: Broker, ask: o.Broker}}
}

// Now returns the time by the database's clock.
func (c *Clock) Now() time.Time {
	now, _ := c.database.of(c.o.Host())
	return now
}

// Broker returns the time by the clock of the broker, by which it stamps what it stores. Until that was compared, it is the
// database's.
func (c *Clock) Broker() time.Time {
	now, ok := c.broker.of(c.o.Host())
	if !ok {
		return c.Now()
	}
	return now
}

// Compare compares the host's clock with that of the database, and then with the broker's. It fails when the database does
// not tell its time; a broker that does not stays as it was known last.
func (c *Clock) Compare(ctx context.Context) error {
	err := c.compare(ctx, &c.database)
	if c.broker.ask != nil && err == nil {
		if err := c.compare(ctx, &c.broker); err != nil && ctx.Err() == nil {
			c.o.Log.Debug("clock of the broker not read", "error", err)
		}
	}
	return err
}

// Follow compares from time to time, until ctx ends.
func (c *Clock) Follow(ctx context.Context) {
	for range Ticks(ctx, interval) {
		if err := c.Compare(ctx); err != nil && ctx.Err() == nil { // the database is away, of which others tell
			c.o.Log.Debug("clock of the database not read", "error", err)
		}
	}
}

func (c *Clock) compare(ctx context.Context, r *reference) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	before := c.o.Host()
	told, err := r.ask(ctx)
	if err != nil {
		return err
	}
	after := c.o.Host()
	if moved := r.note(before, told, after); moved.Abs() > Tolerated {
		c.o.Log.Warn("the clock of the "+r.name+" is not where it was expected: it was set, or this host slept; times follow it",
			"moved", moved.Round(time.Millisecond).String())
	}
	ahead := skew(before, told, after)
	if c.o.Skew != nil {
		c.o.Skew(r.name, ahead)
	}
	switch r.tell(ahead) {
	case differs:
		c.o.Log.Warn("the clocks of this host and of the "+r.name+" differ; times are the database's all the same; set the clock that is wrong",
			"host_ahead", ahead.Round(time.Millisecond).String())
	case agrees:
		c.o.Log.Info("the clocks of this host and of the "+r.name+" agree again", "host_ahead", ahead.Round(time.Millisecond).String())
	case nothing:
	}
	return nil
}

// A reference is a clock that the host's is compared with.
type reference struct {
	name string
	ask  Ask

	mu    sync.Mutex
	known bool
	ahead time.Duration // by how much the reference is ahead of the host's monotonic clock, as counted from base
	base  time.Time     // a reading of the host's clock

	told time.Duration // the difference that was logged last; 0: none
}

// of returns the time by the reference when the host's clock says now.
func (r *reference) of(now time.Time) (t time.Time, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.known {
		return now, false
	}
	return r.at(now), true
}

// at is the time by the reference. Sub goes by the monotonic clock.
func (r *reference) at(now time.Time) time.Time { return r.base.Add(now.Sub(r.base) + r.ahead) }

// note takes over what the reference told between two readings of the host's clock. It returns by how much the time that it
// was believed to have is moved; 0 the first time.
func (r *reference) note(before, told, after time.Time) (moved time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.known {
		r.known, r.base = true, before
		r.ahead = told.Sub(before.Round(0)) - after.Sub(before)/2
		return 0
	}
	low, high := told.Sub(r.at(after).Round(0)), told.Sub(r.at(before).Round(0)) // what moves the clock to what was told, if told last or first
	switch {
	case low > 0:
		moved = low
	case high < 0:
		moved = high
	}
	r.ahead += moved
	return moved
}

// skew is by how much the host's clock, as it is set, is ahead of what was told between two readings of it; 0 when the
// readings do not show any difference.
func skew(before, told, after time.Time) time.Duration {
	before, after = before.Round(0), after.Round(0)
	switch {
	case before.After(told):
		return before.Sub(told)
	case after.Before(told):
		return after.Sub(told)
	}
	return 0
}

// What there is to tell of a difference.
type news int

const (
	nothing news = iota
	differs
	agrees
)

// tell returns what is to be logged of a difference: that it is there, once for each that is another than before by much.
func (r *reference) tell(ahead time.Duration) news {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case ahead.Abs() <= Tolerated:
		if r.told == 0 {
			return nothing
		}
		r.told = 0
		return agrees
	case r.told != 0 && (ahead-r.told).Abs() <= max(Tolerated, r.told.Abs()/10):
		return nothing
	}
	r.told = ahead
	return differs
}
