package clock

import (
	"context"
	"math/rand/v2"
	"time"
)

// Back-off of what is tried again: full jitter under an exponential ceiling.
const (
	baseDelay = time.Second
	maxDelay  = time.Minute
)

// Backoff is how long to wait before the next attempt, after so many of them, and at least the given time.
func Backoff(attempts int, atLeast time.Duration) time.Duration {
	ceiling := maxDelay
	if attempts < 6 {
		ceiling = min(maxDelay, baseDelay<<max(attempts, 0))
	}
	jitter := time.Duration(rand.Int64N(int64(ceiling))) //nolint:gosec // spreads load; no secret
	return max(atLeast, baseDelay/4) + jitter
}

// Pause waits, or returns ctx's error. It looks at ctx also when there is nothing to wait for.
func Pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
