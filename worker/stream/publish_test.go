package stream_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

func results(n int, prefix string) []record.Outgoing {
	out := make([]record.Outgoing, n)
	for i := range out {
		out[i] = resultOf(tenantA, fmt.Sprintf("%s-%d", prefix, i))
	}
	return out
}

// resultOf is a result as workers publish it.
func resultOf(tenant, id string) record.Outgoing {
	return record.Outgoing{
		Subject: record.ResultSubject(tenant, "okta", record.OutcomeCreated),
		ID:      id,
		Header: providers.Header{
			"Idpsync-Status": {"201"}, "Idpsync-Outcome": {"created"}, "Idpsync-Event-Id": {id},
			"ce-id": {id}, "ce-source": {"/idpsync/" + tenant + "/okta"}, "ce-type": {"idpsync.user.created"}, "ce-specversion": {"1.0"},
		},
		Data: []byte(`{"id":"1"}`),
	}
}

func count(t testing.TB, c *stream.Conn, name string) uint64 {
	t.Helper()
	st, err := stream.ReadState(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range st.Streams {
		if s.Name == name {
			return s.Messages
		}
	}
	t.Fatal("no stream", name)
	return 0
}

func TestPublishStoresAllAndADuplicateIsASuccess(t *testing.T) {
	c := migrated(t)
	pub := stream.Publisher(c)
	ctx := within(t, time.Minute)
	msgs := results(6000, "a") // more than may be in flight
	if errs := pub.Publish(ctx, msgs); errs != nil {
		t.Fatalf("publishing fails with %v first, want no error", errs[0])
	}
	if errs := pub.Publish(ctx, msgs); errs != nil {
		t.Fatal("the same ids again:", errs[0])
	}
	if n := count(t, c, stream.StreamResults); n != 6000 {
		t.Fatalf("%d results are stored, want 6000", n)
	}
	if _, err := stream.PublishEvent(ctx, c, msgs[7]); !errors.Is(err, stream.ErrDuplicate) {
		t.Fatalf("an event under an id that was used before is published with the error %v, want a duplicate", err)
	}
	seq, err := stream.PublishEvent(ctx, c, record.Outgoing{Subject: msgs[0].Subject, Data: []byte("x")})
	if err != nil || seq != 6001 {
		t.Fatalf("an event without an id is stored as sequence %d with the error %v, want 6001", seq, err)
	}
	if msgs[0].Header.Get("Nats-Msg-Id") != "" {
		t.Fatal("the caller's header was changed")
	}
}

func TestPublishSaysWhichMessageWasRefused(t *testing.T) {
	c := migrated(t)
	msgs := results(5, "mixed")
	msgs[1].Subject = "idpsync.nowhere.x"
	msgs[3].Data = make([]byte, 2<<20)
	errs := stream.Publisher(c).Publish(within(t, time.Minute), msgs)
	want := []error{nil, stream.ErrNoStream, nil, stream.ErrTooLarge, nil}
	for i := range want {
		if !errors.Is(errs[i], want[i]) || (errs[i] == nil) != (want[i] == nil) {
			t.Errorf("message %d: %v, want %v", i, errs[i], want[i])
		}
	}
	if n := count(t, c, stream.StreamResults); n != 3 {
		t.Errorf("%d results are stored, want 3", n)
	}
}

func TestFullStreamRefusesAndKeepsWhatItHas(t *testing.T) {
	c := dial(t, broker(t).Credentials().Options())
	if _, err := stream.Migrate(t.Context(), c, stream.Topology{EventsBytes: 64 << 10, ResultsBytes: 1 << 20, DeadLetters: 64 << 10}); err != nil {
		t.Fatal(err)
	}
	msgs := make([]record.Outgoing, 100)
	for i := range msgs {
		msgs[i] = record.Outgoing{Subject: record.DeadLetterSubject(tenantA, "okta", record.CodeMalformed), ID: fmt.Sprint(i), Data: make([]byte, 2000)}
	}
	errs := stream.Publisher(c).Publish(within(t, time.Minute), msgs)
	stored := uint64(0)
	for i, err := range errs {
		switch {
		case err == nil:
			stored++
		case !errors.Is(err, stream.ErrStreamFull) || !stream.Transient(err):
			t.Fatalf("message %d of a full stream fails with %v, want %v, transient", i, err, stream.ErrStreamFull)
		}
	}
	if stored == 0 || stored == 100 {
		t.Fatalf("%d of 100 messages were acknowledged, want some but not all", stored)
	}
	if n := count(t, c, stream.StreamDeadLetters); n != stored {
		t.Fatalf("%d letters are stored, want the %d that were acknowledged", n, stored)
	}
}

func TestPublishEndsWithItsContextAndLeavesNothingBehind(t *testing.T) {
	p := startProcess(t)
	c := dial(t, p.credentials().Options())
	migrate(t, c)
	pub := stream.Publisher(c)

	// A stopped broker accepts bytes and answers nothing.
	stop(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	errs := pub.Publish(ctx, results(5000, "stopped"))
	if len(errs) != 5000 {
		t.Fatalf("a stopped broker gives %d errors, want 5000", len(errs))
	}
	for i, err := range errs {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("message %d fails with %v, want that the context ended", i, err)
		}
	}
	resume(t, p)
	// All of what may be in flight is free again, and late answers harm nobody.
	if errs := pub.Publish(within(t, time.Minute), results(5000, "after")); errs != nil {
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestPublishFailsAtOnceWhenTheConnectionIsLost(t *testing.T) {
	p := startProcess(t)
	c := dial(t, p.credentials().Options())
	migrate(t, c)
	stop(t, p)
	got := make(chan []error, 1)
	go func() { got <- stream.Publisher(c).Publish(t.Context(), results(10, "lost")) }()
	p.kill()
	for i, err := range <-got {
		if !errors.Is(err, stream.ErrDisconnected) || !stream.Transient(err) {
			t.Fatalf("message %d fails with %v, want %v, transient", i, err, stream.ErrDisconnected)
		}
	}
	p.start()
	ctx := within(t, time.Minute)
	for {
		if errs := stream.Publisher(c).Publish(ctx, results(10, "back")); errs == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatal("the connection did not come back")
		}
	}
}

func TestPublishFromManyGoroutines(t *testing.T) {
	c := migrated(t)
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for r := range 5 {
				if errs := stream.Publisher(c).Publish(t.Context(), results(400, fmt.Sprintf("%d-%d", g, r))); errs != nil {
					t.Error(errs)
				}
			}
		})
	}
	wg.Wait()
	if n := count(t, c, stream.StreamResults); n != 16*5*400 {
		t.Fatalf("%d results are stored, want %d", n, 16*5*400)
	}
}
