package gate

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store/storetest"
	"github.com/idpsync/idpsync/worker/record"
)

type noMetrics struct{}

func (noMetrics) Kept(string, int)      {}
func (noMetrics) Refusing(string, bool) {}

// A taking is a stream with room for so many messages.
type taking struct{ room, asked int }

func (s *taking) Publish(_ context.Context, msgs []record.Outgoing) []error {
	errs := make([]error, len(msgs))
	for i := range msgs {
		s.asked++
		if s.room--; s.room < 0 {
			errs[i] = context.DeadlineExceeded
		}
	}
	return errs
}

// A stream that refuses is asked with one message at a time, at intervals that grow to half a minute.
func TestAStreamThatRefusesIsAskedNowAndThen(t *testing.T) {
	t.Parallel()
	now := storetest.Time
	s := &taking{}
	g := New(Options{Publisher: s, Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler), Metrics: noMetrics{}})
	refused := func(n int) int {
		count := 0
		for _, err := range g.Publish(t.Context(), make([]record.Outgoing, n)) {
			if err != nil {
				count++
			}
		}
		return count
	}
	for i, step := range []struct {
		after                time.Duration
		room, refused, asked int
	}{
		{0, 7, 3, 10},  // the stream fills up, and what it took shows that it works
		{0, 0, 10, 10}, // it takes nothing: the gate shuts
		{0, 9, 10, 0},  // too early
		{999 * time.Millisecond, 9, 10, 0},
		{time.Millisecond, 0, 10, 1}, // a second later
		{2 * time.Second, 0, 10, 1},
		{4 * time.Second, 0, 10, 1},
		{8 * time.Second, 0, 10, 1},
		{16 * time.Second, 0, 10, 1},
		{29 * time.Second, 9, 10, 0},
		{time.Second, 0, 10, 1},      // at most half a minute
		{30 * time.Second, 1, 9, 10}, // one is stored, and the gate opens; nothing else is, and it shuts again
		{29 * time.Second, 9, 10, 0}, // as seldom as before
		{time.Second, 10, 0, 10},
		{0, 10, 0, 10},
	} {
		now = now.Add(step.after)
		s.room, s.asked = step.room, 0
		if got := refused(10); got != step.refused || s.asked != step.asked {
			t.Errorf("step %d: %d of 10 messages are refused and the stream was asked for %d, want %d and %d", i, got, s.asked, step.refused, step.asked)
		}
	}
}

// The end of a worker's time says nothing about the stream.
func TestAWorkerWhoseTimeIsUpConcludesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g := New(Options{Publisher: &taking{}, Now: time.Now, Log: slog.New(slog.DiscardHandler), Metrics: noMetrics{}})
	if errs := g.Publish(ctx, make([]record.Outgoing, 2)); errs[0] == nil || errs[1] == nil || !g.Open() {
		t.Errorf("got the errors %v and an open gate: %v, want two errors and an open one", errs, g.Open())
	}
}
