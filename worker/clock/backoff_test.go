package clock_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/idpsync/idpsync/worker/clock"
)

func TestDelaysGrowAreSpreadAndStayBounded(t *testing.T) {
	for attempts, ceiling := range map[int]time.Duration{
		-1: time.Second, 0: time.Second, 1: 2 * time.Second, 3: 8 * time.Second, 5: 32 * time.Second, 6: time.Minute, 25: time.Minute, 1 << 40: time.Minute,
	} {
		var least, most time.Duration = time.Hour, 0
		for range 200 {
			d := clock.Backoff(attempts, 0)
			least, most = min(least, d), max(most, d)
		}
		if least < 250*time.Millisecond || most >= ceiling+250*time.Millisecond || most-least < ceiling/2 {
			t.Errorf("after attempt %d the pause is %v to %v, want 250ms to %v, and spread over half of it", attempts, least, most, ceiling+250*time.Millisecond)
		}
		if d := clock.Backoff(attempts, time.Hour); d < time.Hour || d >= time.Hour+ceiling {
			t.Errorf("after attempt %d the pause of at least an hour is %v, want less than %v more", attempts, d, ceiling)
		}
	}
}

func TestPauseEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if err := clock.Pause(ctx, time.Second); err != nil || time.Since(start) != time.Second {
			t.Errorf("a pause of a second ends with %v after %v, want no error after 1s", err, time.Since(start))
		}
		if err := clock.Pause(ctx, time.Hour); err == nil || time.Since(start) != time.Minute {
			t.Errorf("a pause whose context ends ends with %v after %v, want an error after 1m", err, time.Since(start))
		}
	})
}
