package clock_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/idpsync/idpsync/worker/clock"
)

func TestTicksComeAtEveryIntervalUntilTheContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		start := time.Now()
		var after []time.Duration
		for range clock.Ticks(ctx, time.Second) {
			after = append(after, time.Since(start))
		}
		if len(after) != 3 || after[0] != time.Second || after[2] != 3*time.Second || time.Since(start) != 3500*time.Millisecond {
			t.Errorf("there were ticks after %v, and the end after %v, want one each second and the end after 3.5s", after, time.Since(start))
		}
		for range clock.Ticks(t.Context(), time.Second) {
			break
		}
	})
}
