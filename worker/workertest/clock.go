package workertest

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/idpsync/idpsync/worker/clock"
)

// A Clock is the real time, moved. It is safe for concurrent use.
type Clock struct{ ahead atomic.Int64 }

// Now returns the time.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// At returns what another clock says that is moved alike.
func (c *Clock) At(other time.Time) time.Time { return other.Add(time.Duration(c.ahead.Load())) }

// Ask moves what another clock tells.
func (c *Clock) Ask(other clock.Ask) clock.Ask {
	return func(ctx context.Context) (time.Time, error) {
		now, err := other(ctx)
		return c.At(now), err
	}
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) { c.ahead.Add(int64(d)) }
