package stream_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

func actions(r stream.Report) map[string]int {
	n := map[string]int{}
	for _, c := range r.Changes {
		n[c.Action]++
	}
	return n
}

func TestMigrateIsIdempotent(t *testing.T) {
	c := dial(t, broker(t).Credentials().Options())
	plan := small
	plan.DryRun = true
	r, err := stream.Migrate(t.Context(), c, plan)
	if err != nil || actions(r)[stream.ActionCreated] != 8 {
		t.Fatalf("the plan is %+v with the error %v, want 8 to be created", r, err)
	}
	if d, err := stream.Compare(t.Context(), c); err != nil || len(d) != 8 {
		t.Fatalf("after the plan the differences are %v with the error %v, want all 8 as before", d, err)
	}
	if r, err = stream.Migrate(t.Context(), c, small); err != nil || actions(r)[stream.ActionCreated] != 8 {
		t.Fatalf("the first migration is %+v with the error %v, want 8 created", r, err)
	}
	if r.Changes[0].Name != stream.StreamAdvisories {
		t.Error("the stream of advisories must exist before any consumer")
	}
	for _, again := range []stream.Topology{small, {}} {
		if r, err = stream.Migrate(t.Context(), c, again); err != nil || r.Changed() {
			t.Fatalf("another migration is %+v with the error %v, want no change", r, err)
		}
	}
	if d, err := stream.Compare(t.Context(), c); err != nil || len(d) != 0 {
		t.Fatalf("after the migration the differences are %v with the error %v, want none", d, err)
	}
}

func TestManyMigrateAtOnce(t *testing.T) {
	s := broker(t)
	var wg sync.WaitGroup
	for range 8 {
		c := dial(t, s.Credentials().Options())
		wg.Go(func() {
			if _, err := stream.Migrate(t.Context(), c, small); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	c := dial(t, s.Credentials().Options())
	if d, err := stream.Compare(t.Context(), c); err != nil || len(d) != 0 {
		t.Fatalf("after many migrations the differences are %v with the error %v, want none", d, err)
	}
}

func TestDriftIsReportedAndRepaired(t *testing.T) {
	s := broker(t)
	c := dial(t, s.Credentials().Options())
	migrate(t, c)
	js := plain(t, s)
	ctx := t.Context()
	events, err := js.Stream(ctx, stream.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	drifted := events.CachedInfo().Config
	drifted.Subjects = []string{"idpsync.login.>", "idpsync.command.>", "idpsync.feed.*.*"}
	drifted.Duplicates = 2 * time.Minute
	drifted.MaxMsgsPerSubject = 1000 // somebody's own choice
	drifted.DiscardNewPerSubject = false
	drifted.Metadata = map[string]string{"owner": "us"}
	if _, err := js.UpdateStream(ctx, drifted); err != nil {
		t.Fatal(err)
	}
	cons, err := js.Consumer(ctx, stream.StreamEvents, record.LaneFeeds)
	if err != nil {
		t.Fatal(err)
	}
	conf := cons.CachedInfo().Config
	conf.MaxDeliver, conf.BackOff = 5, []time.Duration{time.Second, 2 * time.Second}
	if _, err := js.UpdateConsumer(ctx, stream.StreamEvents, conf); err != nil {
		t.Fatal(err)
	}

	diffs, err := stream.Compare(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, d := range diffs {
		found[d.Object+" "+d.Setting] = true
		if d.Have == d.Want || !strings.Contains(d.String(), "idpsync migrate") {
			t.Errorf("not helpful: %s", d)
		}
	}
	for _, want := range []string{
		"IDPSYNC_EVENTS subjects", "IDPSYNC_EVENTS duplicate_window", "IDPSYNC_EVENTS discard_new_per_subject",
		"IDPSYNC_EVENTS/feeds max_deliver", "IDPSYNC_EVENTS/feeds backoff", "IDPSYNC_EVENTS/feeds ack_wait",
	} {
		if !found[want] {
			t.Errorf("%s is not reported in %v", want, diffs)
		}
		delete(found, want)
	}
	if len(found) > 0 {
		t.Errorf("reported without reason: %v", found)
	}

	r, err := stream.Migrate(ctx, c, stream.Topology{})
	if err != nil || actions(r)[stream.ActionUpdated] != 2 {
		t.Fatalf("the repair is %+v with the error %v, want 2 updates", r, err)
	}
	if d, err := stream.Compare(ctx, c); err != nil || len(d) != 0 {
		t.Fatalf("after the repair the differences are %v with the error %v, want none", d, err)
	}
	if events, err = js.Stream(ctx, stream.StreamEvents); err != nil {
		t.Fatal(err)
	}
	if got := events.CachedInfo().Config; got.MaxMsgsPerSubject != 1000 || got.Metadata["owner"] != "us" || got.MaxBytes != small.EventsBytes {
		t.Errorf("the deployment's own choices were changed: %+v", got)
	}
}

func TestMigrateRefusesALimitBelowTheFill(t *testing.T) {
	c := migrated(t)
	publish(t, c, []record.Outgoing{{Subject: "idpsync.feed." + tenantA + ".hr", Data: make([]byte, 100<<10)}})
	_, err := stream.Migrate(t.Context(), c, stream.Topology{EventsBytes: 64 << 10})
	if !errors.Is(err, stream.ErrBelowFill) {
		t.Fatalf("a limit below the fill gives the error %v, want %v", err, stream.ErrBelowFill)
	}
	if n := count(t, c, stream.StreamEvents); n != 1 {
		t.Fatalf("%d events are left, want 1", n)
	}
	if _, err := stream.Migrate(t.Context(), c, stream.Topology{EventsBytes: 256 << 10}); err != nil {
		t.Fatal("above the fill:", err)
	}
}

// The flood of one source is refused at its own door, and a lower bound never deletes what waits.
func TestEachSourceHasItsOwnBound(t *testing.T) {
	c := dial(t, broker(t).Credentials().Options())
	if _, err := stream.Migrate(t.Context(), c, stream.Topology{PerSubject: 20}); err != nil {
		t.Fatal(err)
	}
	for i, err := range stream.Publisher(c).Publish(within(t, time.Minute), events(25, "feed", "f")) {
		if want := i >= 20; errors.Is(err, stream.ErrSubjectFull) != want || stream.Transient(err) != want {
			t.Errorf("event %d of a source that may have 20 is answered with %v, want %v: %t", i, err, stream.ErrSubjectFull, want)
		}
	}
	publish(t, c, events(1, "login", "another source"))
	for _, tt := range []struct {
		bound int64
		want  error
	}{{100, nil}, {39, stream.ErrBelowFill}, {1, stream.ErrBelowFill}, {40, nil}, {0, nil}, {41, nil}} {
		if _, err := stream.Migrate(t.Context(), c, stream.Topology{PerSubject: tt.bound}); !errors.Is(err, tt.want) {
			t.Errorf("a bound of %d gives the error %v while 20 events wait, want %v", tt.bound, err, tt.want)
		}
	}
	if n := count(t, c, stream.StreamEvents); n != 21 {
		t.Errorf("%d events are left, want all 21", n)
	}
	if d, err := stream.Compare(t.Context(), c); err != nil || len(d) != 0 {
		t.Errorf("the differences are %v with the error %v, want none: the bound is the deployment's own choice", d, err)
	}
}

// Every subject that the worker reads is covered by one lane of its stream, or it would wait for ever.
func TestEverySubjectHasOneLane(t *testing.T) {
	s := broker(t)
	c := dial(t, s.Credentials().Options())
	migrate(t, c)
	lanes := map[providers.Shape]string{
		providers.ShapeLogin: record.LaneLogins, providers.ShapeTenant: record.LaneLogins,
		providers.ShapeOrganization: record.LaneLogins, providers.ShapeFeed: record.LaneFeeds,
	}
	want := map[string]uint64{}
	ctx := within(t, time.Minute)
	for shape, lane := range lanes {
		subject := record.EventSubject(record.Address{Shape: shape, Tenant: tenantA, Source: "hr"})
		publish(t, c, []record.Outgoing{{Subject: subject, ID: string(shape)}})
		want[lane]++
		for _, l := range []string{record.LaneLogins, record.LaneFeeds} {
			waitFor(t, ctx, func() bool { return laneState(t, c, l).Pending >= want[l] })
			if got := laneState(t, c, l).Pending; got != want[l] {
				t.Errorf("after %s: %d pending in %s, want %d", subject, got, l, want[l])
			}
		}
	}
	for _, door := range []providers.Shape{providers.ShapeTenant, providers.ShapeOrganization} {
		subject := record.EventSubject(record.Address{Shape: door, Door: providers.DoorRPC, Tenant: tenantA})
		if _, err := plain(t, s).StreamNameBySubject(t.Context(), subject); !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("%s is stored: %v", subject, err)
		}
	}
}

// What a publisher could do to a stream by headers is switched off.
func TestHeadersThatCommandTheBrokerAreRefused(t *testing.T) {
	s := broker(t)
	c := dial(t, s.Credentials().Options())
	migrate(t, c)
	js := plain(t, s)
	for header, value := range map[string]string{"Nats-TTL": "1s", "Nats-Rollup": "all", "Nats-Schedule": "@at 2026-01-01T00:00:00Z"} {
		for _, subject := range []string{"idpsync.login." + tenantA + ".okta", record.DeadLetterSubject("", "", "x"), record.ResultSubject("", "", "x")} {
			m := nats.NewMsg(subject)
			m.Header.Set(header, value)
			if _, err := js.PublishMsg(t.Context(), m); err == nil {
				t.Errorf("%s was accepted on %s", header, subject)
			}
		}
	}
	for _, name := range []string{stream.StreamEvents, stream.StreamDeadLetters} {
		st, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Purge(t.Context()); err == nil {
			t.Errorf("%s was purged", name)
		}
	}
}

func TestEmbeddedTopologyFitsTheDisk(t *testing.T) {
	got := stream.EmbeddedTopology(t.TempDir())
	for _, limit := range []int64{got.EventsBytes, got.ResultsBytes, got.DeadLetters} {
		if limit < 64<<20 || limit > 10<<30 {
			t.Errorf("the limits are %+v, want each between 64 MiB and 10 GiB", got)
		}
	}
}
