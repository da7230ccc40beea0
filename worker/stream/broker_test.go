package stream_test

import (
	"testing"
	"time"

	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

func TestTheOldestEventIsPendingUntilItIsDoneWith(t *testing.T) {
	c := migrated(t)
	ctx := within(t, time.Minute)
	oldest := func() time.Time {
		t.Helper()
		at, err := stream.Broker(c).OldestPending(ctx)
		if err != nil {
			t.Fatalf("the oldest pending event is not told: %v", err)
		}
		return at
	}
	if before, after := oldest(), oldest(); after.Before(before) || before.IsZero() {
		t.Errorf("without events the oldest is of %v, then of %v, want the broker's time", before, after)
	}
	publish(t, c, events(2, "login", "e"))
	l := consume(t, c, record.LaneLogins, 10)
	first, second := next(t, ctx, l), next(t, ctx, l)
	for range 2 {
		if got := oldest(); !got.Equal(first.StoredAt()) {
			t.Errorf("of two events in hand the oldest is of %v, want %v", got, first.StoredAt())
		}
	}
	if err := second.AckSync(ctx); err != nil {
		t.Fatal(err)
	}
	if got := oldest(); !got.Equal(first.StoredAt()) {
		t.Errorf("with the first event in hand the oldest is of %v, want %v", got, first.StoredAt())
	}
	if err := first.AckSync(ctx); err != nil {
		t.Fatal(err)
	}
	waitFor(t, ctx, func() bool { return oldest().After(second.StoredAt()) })
}
