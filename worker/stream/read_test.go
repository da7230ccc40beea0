package stream_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

func deadLetters(t testing.TB, c *stream.Conn) {
	t.Helper()
	var msgs []record.Outgoing
	for i := range 10 {
		tenant, source, code := tenantA, "okta", record.CodeUnauthenticated
		if i%2 == 1 {
			tenant = tenantB
		}
		if i >= 5 {
			source, code = "adfs", record.CodeMalformed
		}
		letter := letterOf(tenant, source, code, fmt.Sprintf("dl/%d", i))
		letter.Header["Idpsync-Dl-Seq"], letter.Data = []string{fmt.Sprint(i)}, []byte{byte(i)}
		msgs = append(msgs, letter)
	}
	publish(t, c, msgs)
}

// letterOf is a dead letter in the form in which workers publish it, with a signature of no key.
func letterOf(tenant, source string, code record.Code, id string) record.Outgoing {
	return record.Outgoing{
		Subject: record.DeadLetterSubject(tenant, source, code), ID: id,
		Header: providers.Header{
			record.DeadLetterTenant: {tenant}, record.DeadLetterSource: {source}, record.DeadLetterCode: {string(code)},
			record.DeadLetterOrigin: {"IDPSYNC_EVENTS/1/1"}, record.DeadLetterTime: {"2026-01-02T03:04:05Z"},
			record.DeadLetterPrefix + "Key-Id": {"X"}, record.DeadLetterPrefix + "Sig": {"AAAA"},
		},
	}
}

// TestReadersPassOverWhatNoWorkerWrote puts among results and dead letters what others can bring there: the broker's
// acknowledgement, an answer to a request, and copies of genuine messages on subjects of another tenant.
func TestReadersPassOverWhatNoWorkerWrote(t *testing.T) {
	c := migrated(t)
	result, letter := resultOf(tenantA, "e1/0"), letterOf(tenantA, "okta", record.CodeMalformed, "dl/1")
	answer := resultOf(tenantB, "")
	answer.Header["ce-id"] = []string{"e2/0"}
	moved, movedLetter := result, letter
	moved.Subject, moved.ID = record.ResultSubject(tenantB, "okta", record.OutcomeCreated), "e3/0"
	movedLetter.Subject, movedLetter.ID = record.DeadLetterSubject(tenantB, "okta", record.CodeMalformed), "dl/2"
	otherOutcome := result
	otherOutcome.Subject, otherOutcome.ID = record.ResultSubject(tenantA, "okta", record.OutcomeRejected), "e4/0"
	ack := []byte(`{"stream":"IDPSYNC_EVENTS","seq":1}`)
	publish(t, c, []record.Outgoing{
		result,
		{Subject: record.ResultSubject(tenantA, "okta", record.OutcomeCreated), Data: ack},
		answer, moved, otherOutcome,
		resultOf(tenantA, "e5/0"),
		{Subject: record.DeadLetterSubject(tenantB, "okta", record.CodeMalformed), Data: ack},
		movedLetter, letter,
	})
	for name, test := range map[string]struct {
		read          func(context.Context, *stream.Conn, stream.Filter) iter.Seq2[record.Stored, error]
		f             stream.Filter
		ours, foreign []uint64
	}{
		"results":                {stream.Results, stream.Filter{}, []uint64{1, 6}, []uint64{2, 3, 4, 5}},
		"results, with a limit":  {stream.Results, stream.Filter{After: 1, Limit: 1}, []uint64{6}, []uint64{2, 3, 4, 5}},
		"results of the victim":  {stream.Results, stream.Filter{Tenant: tenantB}, nil, []uint64{3, 4}},
		"dead letters":           {stream.DeadLetters, stream.Filter{}, []uint64{3}, []uint64{1, 2}},
		"dead letters of victim": {stream.DeadLetters, stream.Filter{Tenant: tenantB}, nil, []uint64{1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			var ours, foreign []uint64
			test.f.Foreign = func(m record.Stored) { foreign = append(foreign, m.Sequence) }
			for m, err := range test.read(within(t, time.Minute), c, test.f) {
				if err != nil {
					t.Fatal(err)
				}
				ours = append(ours, m.Sequence)
			}
			if !slices.Equal(ours, test.ours) || !slices.Equal(foreign, test.foreign) {
				t.Errorf("read %v as ours and passed over %v, want %v and %v", ours, foreign, test.ours, test.foreign)
			}
		})
	}
	for seq, want := range map[uint64]error{1: stream.ErrForeign, 2: stream.ErrForeign, 3: nil} {
		if _, err := stream.DeadLetter(t.Context(), c, seq); !errors.Is(err, want) {
			t.Errorf("dead letter %d is read with the error %v, want %v", seq, err, want)
		}
	}
}

func TestDeadLettersByFilter(t *testing.T) {
	c := migrated(t)
	for m, err := range stream.DeadLetters(t.Context(), c, stream.Filter{}) {
		t.Fatalf("an empty stream gives %v with the error %v, want nothing", m, err)
	}
	deadLetters(t, c)
	fifth, err := stream.DeadLetter(t.Context(), c, 5)
	if err != nil || fifth.Header.Get("Idpsync-Dl-Seq") != "4" || fifth.Stream != stream.StreamDeadLetters || string(fifth.Data) != "\x04" {
		t.Fatalf("the fifth dead letter is %+v with the error %v, want the event 4 with its body", fifth, err)
	}
	for name, test := range map[string]struct {
		f    stream.Filter
		want []uint64
	}{
		"all":                {stream.Filter{}, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
		"tenant, upper case": {stream.Filter{Tenant: "2489E9AD-2EE2-8E00-8EC9-32D5F69181C0"}, []uint64{1, 3, 5, 7, 9}},
		"source":             {stream.Filter{Source: "adfs"}, []uint64{6, 7, 8, 9, 10}},
		"code and tenant":    {stream.Filter{Tenant: tenantB, Word: "malformed"}, []uint64{6, 8, 10}},
		"nothing":            {stream.Filter{Source: "other"}, nil},
		"wild":               {stream.Filter{Source: "*"}, nil},
		"limit":              {stream.Filter{Limit: 3}, []uint64{1, 2, 3}},
		"after":              {stream.Filter{After: 8}, []uint64{9, 10}},
		"after the last":     {stream.Filter{After: 10}, nil},
		"after and limit":    {stream.Filter{After: 2, Limit: 2, Tenant: tenantA}, []uint64{3, 5}},
		"since":              {stream.Filter{Since: fifth.StoredAt}, []uint64{5, 6, 7, 8, 9, 10}},
		"since and after":    {stream.Filter{Since: fifth.StoredAt, After: 2}, []uint64{5, 6, 7, 8, 9, 10}},
		"since tomorrow":     {stream.Filter{Since: time.Now().Add(24 * time.Hour)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []uint64
			for m, err := range stream.DeadLetters(within(t, time.Minute), c, test.f) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, m.Sequence)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
	if _, err := stream.DeadLetter(t.Context(), c, 99); !errors.Is(err, stream.ErrNotFound) {
		t.Errorf("reading a letter that is not there gives the error %v, want %v", err, stream.ErrNotFound)
	}
	for i := range 2 {
		if err := stream.SecureDeleteDeadLetter(t.Context(), c, 5); err != nil {
			t.Fatal(i, err)
		}
	}
	if _, err := stream.DeadLetter(t.Context(), c, 5); !errors.Is(err, stream.ErrNotFound) {
		t.Errorf("reading a deleted letter gives the error %v, want %v", err, stream.ErrNotFound)
	}
}

func TestTailFollowsAndEndsWithItsContext(t *testing.T) {
	c := migrated(t)
	publish(t, c, results(2, "old"))
	ctx, cancel := context.WithCancel(within(t, time.Minute))
	var got []uint64
	for m, err := range stream.Tail(ctx, c, stream.Filter{After: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, m.Sequence)
		if len(got) == 1 {
			publish(t, c, results(3, "new"))
		}
		if len(got) == 4 {
			cancel()
		}
	}
	cancel()
	if !slices.Equal(got, []uint64{2, 3, 4, 5}) {
		t.Errorf("the tail gave the sequences %v, want 2 to 5", got)
	}
	n := 0
	for _, err := range stream.Results(t.Context(), c, stream.Filter{Word: "created"}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 5 {
		t.Errorf("%d results were read, want 5", n)
	}
}

func TestTailBeginsWithTheNextOne(t *testing.T) {
	c := migrated(t)
	publish(t, c, results(2, "old"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for m, err := range stream.Tail(ctx, c, stream.Filter{}) {
		t.Fatalf("the tail gave %v with the error %v, want nothing: all is old", m, err)
	}
}

func TestTailGoesOnAfterTheBrokerWasKilled(t *testing.T) {
	p := startProcess(t)
	c := dial(t, p.credentials().Options())
	migrate(t, c)
	publish(t, c, results(1, "a"))
	ctx := within(t, time.Minute)
	want := uint64(1)
	for m, err := range stream.Tail(ctx, c, stream.Filter{Since: time.Now().Add(-time.Hour)}) {
		if err != nil {
			t.Fatal(err)
		}
		if m.Sequence != want {
			t.Fatalf("sequence %d, want %d", m.Sequence, want)
		}
		if want++; want == 4 {
			break
		}
		p.kill()
		p.start()
		for stream.Publisher(c).Publish(ctx, results(1, fmt.Sprint(want))) != nil && ctx.Err() == nil {
		}
	}
	if want != 4 {
		t.Fatal("it ended early")
	}
}

func TestReadingWithoutStreamsSaysSo(t *testing.T) {
	c := dial(t, broker(t).Credentials().Options())
	for _, err := range stream.DeadLetters(t.Context(), c, stream.Filter{}) {
		if !errors.Is(err, stream.ErrNotMigrated) {
			t.Errorf("reading dead letters without streams gives the error %v, want %v", err, stream.ErrNotMigrated)
		}
	}
	if _, err := stream.ReadState(t.Context(), c); !errors.Is(err, stream.ErrNotMigrated) {
		t.Errorf("reading the state without streams gives the error %v, want %v", err, stream.ErrNotMigrated)
	}
	if _, err := stream.PublishEvent(t.Context(), c, record.Outgoing{Subject: "idpsync.login.a.b"}); !errors.Is(err, stream.ErrNoStream) {
		t.Errorf("publishing without streams gives the error %v, want %v", err, stream.ErrNoStream)
	}
}

// A message that reached the delivery limit is stored for ever and delivered never: it is found, and can be removed.
func TestStrandedEventsAreFound(t *testing.T) {
	c := migrated(t)
	ctx := within(t, time.Minute)
	publish(t, c, events(3, "feed", "f"))
	l := consume(t, c, record.LaneFeeds, 10)
	for done := 0; done < 2; {
		m := next(t, ctx, l)
		var err error
		if m.Sequence() == 2 {
			err = m.NakWithDelay(0)
		} else {
			done++
			err = m.AckSync(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for {
		m := next(t, ctx, l)
		if m.Sequence() != 2 {
			t.Fatalf("the message %d was delivered, want 2 alone", m.Sequence())
		}
		last := m.Delivered() == stream.MaxDeliver
		if err := m.NakWithDelay(0); err != nil {
			t.Fatal(err)
		}
		if last {
			break
		}
		if got, err := stream.Stranded(ctx, c, 0); err != nil || len(got) != 0 {
			t.Fatalf("while the event is still delivered, %v count as stranded with the error %v, want none", got, err)
		}
		if got, err := stream.StrandedSequences(ctx, c); err != nil || len(got) != 0 {
			t.Fatalf("while the event is still delivered, the sequences %v count as stranded with the error %v, want none", got, err)
		}
	}
	waitFor(t, ctx, func() bool {
		st, err := stream.ReadState(ctx, c)
		return err == nil && st.Stranded == 1
	})
	got, err := stream.Stranded(ctx, c, 0)
	if err != nil || len(got) != 1 || got[0].Sequence != 2 || got[0].Header.Get("Idpsync-Event-Id") != "f-1" {
		t.Fatalf("the stranded events are %+v with the error %v, want the second, f-1, alone", got, err)
	}
	publish(t, c, events(1, "login", "waits")) // the other lane has an event to do, before or behind which a stranded one may lie
	if got, err := stream.StrandedSequences(ctx, c); err != nil || len(got) != 0 {
		t.Errorf("while the other lane has not come as far, the sequences %v count as stranded, with the error %v", got, err)
	}
	if err := next(t, ctx, consume(t, c, record.LaneLogins, 1)).AckSync(ctx); err != nil {
		t.Fatal(err)
	}
	if got, err := stream.StrandedSequences(ctx, c); err != nil || !slices.Equal(got, []uint64{2}) {
		t.Errorf("the sequences %v count as stranded, with the error %v; want 2 alone", got, err)
	}
	found := false
	for a, err := range stream.Advisories(ctx, c, stream.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		found = found || a.Kind == stream.AdvisoryMaxDeliveries && a.Event == 2 && a.Consumer == record.LaneFeeds && a.Deliveries == stream.MaxDeliver
	}
	if !found {
		t.Error("no advisory")
	}
	if m, err := stream.GetEvent(ctx, c, 2); err != nil || m.Subject != got[0].Subject {
		t.Fatalf("the stranded event is %v with the error %v, want its subject %s", m, err, got[0].Subject)
	}
	for range 2 {
		if err := stream.SecureDelete(ctx, c, 2); err != nil {
			t.Fatal(err)
		}
	}
	st, err := stream.ReadState(ctx, c)
	if err != nil || st.Stranded != 0 {
		t.Fatalf("after the deletion the state is %+v with the error %v, want nothing stranded", st, err)
	}
}

func TestLaneStateAndPause(t *testing.T) {
	c := migrated(t)
	ctx := within(t, time.Minute)
	if err := stream.Pause(ctx, c, record.LaneFeeds, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	publish(t, c, events(5, "feed", "f"))
	// The broker counts what is pending some time after it has acknowledged the publish.
	var s stream.LaneState
	waitFor(t, ctx, func() bool { s = laneState(t, c, record.LaneFeeds); return s.Pending == 5 })
	if !s.Paused || s.AckPending != 0 || s.OldestAge <= 0 || s.MaxPending == 0 {
		t.Fatalf("state of a paused lane: got %+v, want it paused, with an oldest age and a bound, and nothing unacknowledged", s)
	}
	l := consume(t, c, record.LaneFeeds, 10)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := l.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("waiting on a paused lane ends with %v, want that its context ended", err)
	}
	if err := stream.Pause(ctx, c, record.LaneFeeds, time.Time{}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		next(t, ctx, l)
	}
	waitFor(t, ctx, func() bool { s = laneState(t, c, record.LaneFeeds); return s.Pending == 0 && s.AckPending == 5 })
	if s.Paused || s.OldestAge != 0 {
		t.Fatalf("state of a lane that goes on: got %+v, want it not paused and without an oldest age", s)
	}
	if err := stream.Pause(ctx, c, "other", time.Time{}); !errors.Is(err, stream.ErrOptions) {
		t.Errorf("pausing an unknown lane gives the error %v, want %v", err, stream.ErrOptions)
	}
}

// TestNamedReaderGoesOnAfterTheBrokerCrashed reads through a consumer of a fixed name, which goes with the broker.
func TestNamedReaderGoesOnAfterTheBrokerCrashed(t *testing.T) {
	p := startProcess(t)
	o := p.credentials().Options()
	sender := dial(t, o)
	migrate(t, sender)
	o.Consumers = []string{"reader"}
	publish(t, sender, results(2, "old"))
	ctx, cancel := context.WithCancel(within(t, time.Minute))
	defer cancel()
	var got []uint64
	for m, err := range stream.Tail(ctx, dial(t, o), stream.Filter{Since: time.Now().Add(-time.Hour)}) {
		if err != nil {
			t.Fatal(err)
		}
		switch got = append(got, m.Sequence); len(got) {
		case 2:
			p.kill()
			p.start()
			waitFor(t, ctx, sender.Connected)
			publish(t, sender, results(3, "new"))
		case 5:
			cancel()
		}
	}
	if !slices.Equal(got, []uint64{1, 2, 3, 4, 5}) {
		t.Errorf("the reader got the results %v, want 1 to 5", got)
	}
}
