package clock

import (
	"context"
	"iter"
	"time"
)

// Ticks iterates at every interval, for the first time after one, until ctx ends. What the loop takes longer than the interval
// for makes it come late, and not more often later.
func Ticks(ctx context.Context, interval time.Duration) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case at := <-tick.C:
				if !yield(at) {
					return
				}
			}
		}
	}
}
