package stream_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/linktest"
	"github.com/idpsync/idpsync/worker/record"
)

// A sender may write any header, those of the broker's own answers to a pull included.
func TestMessagesThatLookLikeAnswersToAPull(t *testing.T) {
	c := migrated(t)
	var msgs []record.Outgoing
	for _, code := range []string{"100", "404", "408", "409", "503"} {
		msgs = append(msgs, record.Outgoing{
			Subject: "idpsync.login." + tenantA + ".okta",
			Header:  providers.Header{"Status": {code}, "Description": {"Consumer Deleted"}, "Idpsync-Event-Id": {code}},
		})
	}
	publish(t, c, append(msgs, events(1, "login", "l")...))
	l := consume(t, c, record.LaneLogins, 10)
	ctx := within(t, time.Minute)
	for _, want := range append(msgs, events(1, "login", "l")...) {
		if got := next(t, ctx, l).Header().Get("Idpsync-Event-Id"); got != want.Header.Get("Idpsync-Event-Id") {
			t.Fatalf("the lane hands out the event %q, want %q", got, want.Header.Get("Idpsync-Event-Id"))
		}
	}
}

// The broker throws out a client for which more than 64 MiB wait.
func TestLargeMessagesDoNotOverrunTheConnection(t *testing.T) {
	s := broker(t)
	var out logBuffer
	options := s.Credentials().Options()
	options.Log = slog.New(slog.NewTextHandler(&out, nil))
	c := dial(t, options)
	migrate(t, c)
	const n = 400 // of 260 KB: 104 MB
	large := strings.Repeat("x", 260<<10)
	for _, m := range [][]record.Outgoing{events(n, "feed", large), events(20, "feed", "small")} {
		for len(m) > 0 {
			k := min(len(m), 20)
			for i := range m[:k] {
				m[i].Header = providers.Header{}
			}
			publish(t, c, m[:k])
			m = m[k:]
		}
	}
	l := consume(t, c, record.LaneFeeds, 500)
	ctx := within(t, 2*time.Minute)
	next(t, ctx, l)
	// Nobody takes the others for a while: the broker must not send more than was asked for.
	waitFor(t, ctx, func() bool { return laneState(t, c, record.LaneFeeds).AckPending > 20 })
	seen := map[uint64]int{}
	for len(seen) < n+20-1 {
		m := next(t, ctx, l)
		seen[m.Sequence()]++
		if err := m.Ack(); err != nil {
			t.Fatalf("the message %d cannot be acknowledged: %v", m.Sequence(), err)
		}
	}
	for seq, times := range seen {
		if times != 1 {
			t.Errorf("the message %d came %d times, want once", seq, times)
		}
	}
	if log := out.String(); strings.Contains(log, "lost") || strings.Contains(log, "dropped") {
		t.Errorf("the connection broke or messages were dropped, want neither:\n%s", log)
	}
}

// A lane that ends while messages are on their way leaves none of them to wait for the end of AckWait.
func TestDrainInFullFlowLosesNoDelivery(t *testing.T) {
	c := migrated(t)
	publish(t, c, events(2000, "feed", "f"))
	ctx := within(t, time.Minute)
	for taken := 1; taken < 1500; taken *= 3 {
		l := consume(t, c, record.LaneFeeds, 20)
		for range taken {
			if err := next(t, ctx, l).Ack(); err != nil {
				t.Fatalf("a message cannot be acknowledged: %v", err)
			}
		}
		l.Drain()
		var last worker.Message
		for {
			m, err := l.Next(ctx)
			if err != nil {
				break
			}
			if last = m; m.Ack() != nil {
				t.Fatalf("the message %d cannot be acknowledged", m.Sequence())
			}
		}
		if last != nil {
			waitFor(t, ctx, func() bool { return laneState(t, c, record.LaneFeeds).AckPending == 0 })
		}
	}
}

func TestHalfOpenLinkIsGivenUp(t *testing.T) {
	s := broker(t)
	direct := dial(t, s.Credentials().Options())
	migrate(t, direct)
	link, err := linktest.New(strings.TrimPrefix(s.URL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = link.Close() })
	options := s.Credentials().Options()
	options.URL = "nats://" + link.Addr()
	c := dial(t, options)
	l := consume(t, c, record.LaneLogins, 10)
	ctx := within(t, 2*time.Minute)
	publish(t, direct, events(1, "login", "before"))
	if err := next(t, ctx, l).AckSync(ctx); err != nil {
		t.Fatalf("a message cannot be acknowledged: %v", err)
	}
	link.Swallow()
	// The first twenty go to the pulls of the broken connection, and come again after AckWait.
	publish(t, direct, events(21, "login", "after"))
	if m := next(t, ctx, l); m.Delivered() != 1 {
		t.Errorf("delivery %d of message %d comes first, want a message that was not sent over the broken link", m.Delivered(), m.Sequence())
	}
	if n := len(link.Dials()); n < 2 {
		t.Errorf("there was %d connection to the broker, want a second one", n)
	}
}
