package stream_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

func events(n int, kind, prefix string) []record.Outgoing {
	out := make([]record.Outgoing, n)
	for i := range out {
		out[i] = record.Outgoing{Subject: "idpsync." + kind + "." + tenantA + ".hr", Header: providers.Header{"Idpsync-Event-Id": {fmt.Sprintf("%s-%d", prefix, i)}}, Data: []byte(prefix)}
	}
	return out
}

func publish(t testing.TB, c *stream.Conn, msgs []record.Outgoing) {
	t.Helper()
	for _, err := range stream.Publisher(c).Publish(within(t, time.Minute), msgs) {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func consume(t testing.TB, c *stream.Conn, lane string, batch int) worker.Consumer {
	t.Helper()
	l, err := stream.Consumer(t.Context(), c, lane, batch)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Drain()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		for {
			if _, err := l.Next(ctx); err != nil {
				return
			}
		}
	})
	return l
}

func TestLaneHandsOutWhatItsFilterCovers(t *testing.T) {
	c := migrated(t)
	before := time.Now()
	publish(t, c, events(3, "login", "l"))
	publish(t, c, events(2, "feed", "f"))
	others := events(2, "login", "o")
	others[0].Subject, others[1].Subject = "idpsync.command."+tenantA+".users.create", "idpsync.login.too.deep.a.b"
	publish(t, c, others)
	ctx := within(t, time.Minute)
	want := map[string][]string{record.LaneLogins: {"l-0", "l-1", "l-2", "o-0", "o-1"}, record.LaneFeeds: {"f-0", "f-1"}}
	for lane, ids := range want {
		l := consume(t, c, lane, 10)
		var last worker.Message
		for _, id := range ids {
			m, err := l.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Header().Get("Idpsync-Event-Id"); got != id {
				t.Fatalf("%s: got %s, want %s", lane, got, id)
			}
			if m.Stream() != stream.StreamEvents || m.Delivered() != 1 || m.Sequence() == 0 ||
				m.StoredAt().Before(before.Add(-time.Second)) || m.StreamCreated().IsZero() || m.StreamCreated().After(m.StoredAt()) {
				t.Fatalf("the message %s is %+v, want a first delivery of the stream, stored after it was created", id, m)
			}
			if last = m; id != ids[len(ids)-1] {
				if err := m.Ack(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := last.AckSync(ctx); err != nil {
			t.Fatal(err)
		}
	}
	st, err := stream.ReadState(ctx, c)
	if err != nil || st.Stranded != 0 {
		t.Fatalf("%d events are stranded, the error is %v, want none", st.Stranded, err)
	}
	if n := count(t, c, stream.StreamEvents); n != 0 {
		t.Fatalf("%d events are left after their acks, want none", n)
	}
}

func TestNakTermAndInProgress(t *testing.T) {
	c := migrated(t)
	publish(t, c, events(2, "feed", "f"))
	l := consume(t, c, record.LaneFeeds, 1)
	ctx := within(t, time.Minute)
	m := next(t, ctx, l)
	if err := m.InProgress(); err != nil {
		t.Fatal(err)
	}
	if err := m.NakWithDelay(10 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]uint64{}
	for range 2 {
		m := next(t, ctx, l)
		seen[m.Sequence()] = m.Delivered()
		if err := m.Term("malformed:\r\nnot JSON"); err != nil {
			t.Fatal(err)
		}
	}
	if seen[1] != 2 || seen[2] != 1 {
		t.Fatalf("the deliveries by sequence are %v, want two of 1 and one of 2", seen)
	}
	var reasons []string
	for len(reasons) < 2 && ctx.Err() == nil {
		reasons = nil
		for a, err := range stream.Advisories(ctx, c, stream.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			if a.Kind == stream.AdvisoryTerminated && a.Consumer == record.LaneFeeds && a.Stream == stream.StreamEvents {
				reasons = append(reasons, a.Reason)
			}
		}
	}
	if reasons[0] != "malformed:  not JSON" {
		t.Fatalf("the reasons of the advisories are %q, want malformed, without control characters", reasons)
	}
}

func next(t testing.TB, ctx context.Context, l worker.Consumer) worker.Message {
	t.Helper()
	m, err := l.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestDrainHandsOutWhatWasPrefetched(t *testing.T) {
	c := migrated(t)
	publish(t, c, events(500, "feed", "f"))
	before := c.Received()
	l := consume(t, c, record.LaneFeeds, 50) // prefetches 100
	ctx := within(t, time.Minute)
	next(t, ctx, l)
	// Binding the consumer takes two answers; the prefetched messages follow.
	waitFor(t, ctx, func() bool { return c.Received()-before >= 2+100 })
	l.Drain()
	l.Drain()
	n := 1
	for {
		m, err := l.Next(ctx)
		if errors.Is(err, worker.ErrConsumerClosed) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
		if err := m.NakWithDelay(0); err != nil {
			t.Fatal(err)
		}
	}
	if n != 100 {
		t.Fatalf("%d messages of 100 prefetched were handed out, want all", n)
	}
	if _, err := l.Next(ctx); !errors.Is(err, worker.ErrConsumerClosed) {
		t.Fatalf("after the end comes the error %v, want %v", err, worker.ErrConsumerClosed)
	}
}

func TestDrainWakesWhoWaits(t *testing.T) {
	c := migrated(t)
	l := consume(t, c, record.LaneLogins, 1)
	got := make(chan error, 1)
	go func() {
		_, err := l.Next(t.Context())
		got <- err
	}()
	waitFor(t, within(t, time.Minute), func() bool { return laneState(t, c, record.LaneLogins).Waiting > 0 })
	l.Drain()
	if err := <-got; !errors.Is(err, worker.ErrConsumerClosed) {
		t.Fatalf("waiting ends with %v, want %v", err, worker.ErrConsumerClosed)
	}
}

func TestNextEndsWithItsContextAndGoesOn(t *testing.T) {
	c := migrated(t)
	l := consume(t, c, record.LaneLogins, 4)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := l.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("waiting ends with %v, want that its context ended", err)
	}
	publish(t, c, events(1, "login", "l"))
	next(t, within(t, time.Minute), l)
}

// laneState and waitFor ask the broker itself.
func laneState(t testing.TB, c *stream.Conn, lane string) stream.LaneState {
	t.Helper()
	all, err := stream.Lanes(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		if l.Lane == lane {
			return l
		}
	}
	t.Fatal("no lane", lane)
	return stream.LaneState{}
}

func waitFor(t testing.TB, ctx context.Context, ok func() bool) {
	t.Helper()
	for !ok() {
		if ctx.Err() != nil {
			t.Fatal("it did not happen in time")
		}
	}
}

// Every acknowledged publish is handed out at least once, whatever happens to the broker meanwhile.
func TestLaneSurvivesKillsOfTheBroker(t *testing.T) {
	p := startProcess(t)
	ctx := within(t, 2*time.Minute)
	var out logBuffer
	options := p.credentials().Options()
	options.Log = slog.New(slog.NewTextHandler(&out, nil))
	c := dial(t, options)
	migrate(t, c)
	const n = 3000
	stored := map[string]bool{}
	put := func(prefix string) {
		msgs := events(n, "feed", prefix)
		for i := range msgs {
			stored[msgs[i].Header.Get("Idpsync-Event-Id")] = true
		}
		for ctx.Err() == nil {
			if errs := stream.Publisher(c).Publish(ctx, msgs); errs == nil {
				return
			}
		}
	}
	put("first")
	l := consume(t, c, record.LaneFeeds, 100)
	seen := map[string]int{}
	take := func(until int) {
		for len(seen) < until {
			m := next(t, ctx, l)
			seen[m.Header().Get("Idpsync-Event-Id")]++
			_ = m.Ack() // lost when the broker is down; then it comes again
		}
	}
	take(n / 3)
	p.kill() // with a full buffer of prefetched messages
	p.start()
	take(n * 2 / 3)
	p.kill()
	p.start()
	put("second")
	// What was on the wire comes again after AckWait; a new delivery of all the rest must not wait for that.
	take(2*n - 1000)
	// A full buffer is not pulled for again, or messages would be dropped and be away for AckWait.
	if strings.Contains(out.String(), "dropped") {
		t.Error("messages were dropped, want none: ", out.String())
	}
	// Nothing is lost: what was not handed out yet is still stored.
	held, err := stream.ReadHolding(ctx, c, stream.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	for seq := held.First; seq <= held.Last; seq++ {
		m, err := stream.GetEvent(ctx, c, seq)
		if errors.Is(err, stream.ErrNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		seen[m.Header.Get("Idpsync-Event-Id")]++
	}
	for id := range stored {
		if seen[id] == 0 {
			t.Errorf("%s is neither handed out nor stored", id)
		}
	}
}

func TestPrefetchedMessagesOutliveTheBroker(t *testing.T) {
	p := startProcess(t)
	ctx := within(t, time.Minute)
	c := dial(t, p.credentials().Options())
	migrate(t, c)
	publish(t, c, events(30, "feed", "f"))
	before := c.Received()
	l := consume(t, c, record.LaneFeeds, 10)
	next(t, ctx, l)
	waitFor(t, ctx, func() bool { return c.Received()-before >= 2+20 }) // two answers, and what is prefetched
	p.kill()
	for range 19 {
		next(t, ctx, l)
	}
	p.start()
	// The broker hands out the rest; having lost the last state of its consumer, perhaps others again.
	for seen := map[uint64]bool{}; len(seen) < 10; {
		if m := next(t, ctx, l); m.Sequence() > 20 {
			seen[m.Sequence()] = true
		}
	}
}

func TestLaneBindsAgainAfterItsConsumerWasRemoved(t *testing.T) {
	s := broker(t)
	c := dial(t, s.Credentials().Options())
	migrate(t, c)
	l := consume(t, c, record.LaneFeeds, 10)
	ctx := within(t, time.Minute)
	publish(t, c, events(1, "feed", "a"))
	if err := next(t, ctx, l).AckSync(ctx); err != nil {
		t.Fatal(err)
	}
	js := plain(t, s)
	if err := js.DeleteConsumer(ctx, stream.StreamEvents, record.LaneFeeds); err != nil {
		t.Fatal(err)
	}
	// The server may still be removing the files of the old consumer, and then fails to make the new one.
	for {
		_, err := stream.Migrate(ctx, c, stream.Topology{})
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the removed consumer can't be made again: ", err)
		}
	}
	publish(t, c, events(1, "feed", "b"))
	if m := next(t, ctx, l); m.Header().Get("Idpsync-Event-Id") != "b-0" {
		t.Fatalf("the message has the header %v, want the event b-0", m.Header())
	}
}

// A recreated stream counts from 1 again, so the sequence means something only together with the creation time.
func TestLaneSeesThatItsStreamWasRecreated(t *testing.T) {
	s := broker(t)
	c := dial(t, s.Credentials().Options())
	migrate(t, c)
	l := consume(t, c, record.LaneFeeds, 10)
	ctx := within(t, time.Minute)
	publish(t, c, events(1, "feed", "a"))
	first := next(t, ctx, l)
	if err := plain(t, s).DeleteStream(ctx, stream.StreamEvents); err != nil {
		t.Fatal(err)
	}
	migrate(t, c)
	publish(t, c, events(1, "feed", "b"))
	second := next(t, ctx, l)
	if first.Sequence() != second.Sequence() || !second.StreamCreated().After(first.StreamCreated()) {
		t.Fatalf("sequence %d of a stream created at %s, then %d at %s",
			first.Sequence(), first.StreamCreated(), second.Sequence(), second.StreamCreated())
	}
}

// plain returns a connection of the bare library, as another program has it.
func plain(t testing.TB, s *stream.Server) jetstream.JetStream {
	t.Helper()
	cr := s.Credentials()
	nc, err := nats.Connect(cr.URL, nats.UserInfo(cr.User, cr.Password.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestConsumerRefusesWhatCannotWork(t *testing.T) {
	c := dial(t, broker(t).Credentials().Options())
	if _, err := stream.Consumer(t.Context(), c, record.LaneFeeds, 10); !errors.Is(err, stream.ErrNotMigrated) {
		t.Errorf("without streams the error is %v, want %v", err, stream.ErrNotMigrated)
	}
	migrate(t, c)
	for _, batch := range []int{0, -1, stream.MaxBatch + 1} {
		if _, err := stream.Consumer(t.Context(), c, record.LaneFeeds, batch); !errors.Is(err, stream.ErrOptions) {
			t.Errorf("a batch of %d gives the error %v, want %v", batch, err, stream.ErrOptions)
		}
	}
	if _, err := stream.Consumer(t.Context(), c, "other", 1); !errors.Is(err, stream.ErrOptions) {
		t.Errorf("an unknown lane gives the error %v, want %v", err, stream.ErrOptions)
	}
	l := consume(t, c, record.LaneFeeds, stream.MaxBatch)
	publish(t, c, events(1, "feed", "f"))
	next(t, within(t, time.Minute), l)
}

// A worker that is told to stop while the broker is away must not hang on it.
func TestDrainWithoutTheBroker(t *testing.T) {
	p := startProcess(t)
	ctx := within(t, time.Minute)
	c := dial(t, p.credentials().Options())
	migrate(t, c)
	publish(t, c, events(30, "feed", "f"))
	before := c.Received()
	l := consume(t, c, record.LaneFeeds, 10)
	next(t, ctx, l)
	waitFor(t, ctx, func() bool { return c.Received()-before >= 2+20 }) // two answers, and what is prefetched
	p.kill()
	waitFor(t, ctx, func() bool { return !c.Connected() })
	l.Drain()
	for range 19 {
		next(t, ctx, l)
	}
	if _, err := l.Next(ctx); !errors.Is(err, worker.ErrConsumerClosed) {
		t.Fatalf("after what was prefetched comes %v, want %v", err, worker.ErrConsumerClosed)
	}
	if err := c.Drain(ctx); !errors.Is(err, stream.ErrDisconnected) {
		t.Fatalf("draining without the broker ends with %v, want %v", err, stream.ErrDisconnected)
	}
}
