package stream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/worker/leaftest"
	"github.com/idpsync/idpsync/worker/linktest"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

// joined is a migrated hub with a leaf node of the domain edge.
func joined(t *testing.T) (c *stream.Conn, hub, edge *leaftest.Node, link *linktest.Link) {
	t.Helper()
	hub = leaftest.Hub(t, "hub")
	link, err := linktest.New(hub.Leaves)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = link.Close() })
	edge = leaftest.Leaf(t, "edge", link.Addr())
	c = dial(t, stream.Options{URL: hub.URL, Domain: "hub"})
	migrate(t, c)
	until(t, "the domain edge to be reached", func() bool {
		_, err := stream.Broker(c).Original(within(t, time.Minute), "edge", "EDGE", 1)
		return errors.Is(err, record.ErrNoMessage)
	})
	return c, hub, edge, link
}

// until waits for what nobody signals.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx := within(t, 2*time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// source has the stream of events source others.
func source(t *testing.T, hub *leaftest.Node, sources ...*jetstream.StreamSource) {
	t.Helper()
	events, err := hub.JS.Stream(t.Context(), stream.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	config := events.CachedInfo().Config
	config.Sources = sources
	if _, err := hub.JS.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

func TestOriginalReadsWhatAnotherDomainStored(t *testing.T) {
	c, _, edge, link := joined(t)
	ctx := within(t, time.Minute)
	if _, err := edge.JS.CreateStream(ctx, jetstream.StreamConfig{Name: "EDGE", Subjects: []string{"idpsync.login.>"}}); err != nil {
		t.Fatal(err)
	}
	subject := "idpsync.login." + tenantA + ".okta"
	if _, err := edge.JS.PublishMsg(ctx, &nats.Msg{Subject: subject, Header: nats.Header{"X-one": {"1", "2"}}, Data: []byte("body")}); err != nil {
		t.Fatal(err)
	}
	m, err := stream.Broker(c).Original(ctx, "edge", "EDGE", 1)
	if err != nil {
		t.Fatal(err)
	}
	if m.Sequence != 1 || m.Subject != subject || string(m.Data) != "body" || !slices.Equal(m.Header["X-one"], []string{"1", "2"}) || time.Since(m.StoredAt) > time.Hour || m.StoredAt.IsZero() {
		t.Errorf("the original is read as %+v, want what was published", m)
	}
	for name, ask := range map[string]struct {
		stream   string
		sequence uint64
	}{"a message that is not there": {"EDGE", 2}, "a stream that is not there": {"NONE", 1}} {
		if m, err := stream.Broker(c).Original(ctx, "edge", ask.stream, ask.sequence); !errors.Is(err, record.ErrNoMessage) {
			t.Errorf("%s is read as %+v with the error %v, want %v", name, m, err, record.ErrNoMessage)
		}
	}
	link.Cut()
	awaitCut(t, c)
	if _, err := stream.Broker(c).Original(ctx, "edge", "EDGE", 1); !errors.Is(err, stream.ErrUnreachable) || errors.Is(err, record.ErrNoMessage) {
		t.Errorf("a domain that is cut off is read with the error %v, want %v", err, stream.ErrUnreachable)
	}
}

// awaitCut waits until the hub has seen that the link to the domain edge is cut.
func awaitCut(t *testing.T, c *stream.Conn) {
	t.Helper()
	until(t, "the hub to see that the link is cut", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := stream.Broker(c).Original(ctx, "edge", "EDGE", 1)
		return errors.Is(err, stream.ErrUnreachable)
	})
}

func TestSourcesThatCannotTellTheFirstTimeAreFound(t *testing.T) {
	c, hub, edge, link := joined(t)
	ctx := within(t, 2*time.Minute)
	fatal := map[string]string{ // by stream, a part of what is said
		"GONE": "does not exist", "CHAIN": "filled from another stream", "MIRROR": "filled from another stream",
		"QUEUE": "retention workqueue", "INTEREST": "retention interest", "SHORT": "for 1h0m0s", "LAST": "keeps 1 messages of a subject",
	}
	for i, config := range []jetstream.StreamConfig{
		{Name: "GOOD", MaxAge: 24 * time.Hour},
		{Name: "CHAIN", Sources: []*jetstream.StreamSource{{Name: "GOOD"}}},
		{Name: "MIRROR", Mirror: &jetstream.StreamSource{Name: "GOOD"}},
		{Name: "QUEUE", Retention: jetstream.WorkQueuePolicy},
		{Name: "INTEREST", Retention: jetstream.InterestPolicy},
		{Name: "SHORT", MaxAge: time.Hour},
		{Name: "LAST", MaxMsgsPerSubject: 1},
	} {
		if config.Mirror == nil {
			config.Subjects = []string{fmt.Sprintf("s.%d", i)}
		}
		if _, err := edge.JS.CreateStream(ctx, config); err != nil {
			t.Fatal(err)
		}
	}
	sources := []*jetstream.StreamSource{{Name: "GOOD", Domain: "edge"}, {Name: "GOOD", Domain: "far"}, {Name: stream.StreamAdvisories}}
	for name := range fatal {
		sources = append(sources, &jetstream.StreamSource{Name: name, Domain: "edge"})
	}
	source(t, hub, sources...)
	faults, err := stream.CheckSources(ctx, c, []string{"edge"})
	if err != nil {
		t.Fatal(err)
	}
	if len(faults) != len(fatal)+2 {
		t.Errorf("%d faults are found, want %d of the domain edge, and two that are not trusted: %v", len(faults), len(fatal), faults)
	}
	for _, f := range faults {
		want, isFatal := fatal[f.Stream]
		if !isFatal {
			want = "is not trusted"
		}
		if f.Fatal != isFatal || !strings.Contains(f.What, want) || f.Hint == "" {
			t.Errorf("it is said of %+v; want %q, fatal: %v, and a hint", f, want, isFatal)
		}
	}
	link.Cut()
	source(t, hub, &jetstream.StreamSource{Name: "QUEUE", Domain: "edge"})
	awaitCut(t, c)
	faults, err = stream.CheckSources(ctx, c, []string{"edge"})
	if err != nil || len(faults) != 1 || faults[0].Fatal || !strings.Contains(faults[0].What, "could not be looked at") {
		t.Errorf("of a domain that is cut off it is said %+v (%v), want that it could not be looked at, and nothing fatal", faults, err)
	}
}

// Streams and consumers lie in the domain that is named, and not in that of the server.
func TestTheDomainOfTheStreams(t *testing.T) {
	_, hub, edge, _ := joined(t)
	ctx := within(t, 2*time.Minute)
	c := dial(t, stream.Options{URL: edge.URL, Domain: "hub"}) // through the leaf node, which has a JetStream of its own
	until(t, "the domain hub to be reached from the leaf node", func() bool {
		_, err := stream.Clock(ctx, c)
		return err == nil
	})
	if differences, err := stream.Compare(ctx, c); err != nil || len(differences) > 0 {
		t.Errorf("seen through the leaf node the streams differ by %v (%v), want nothing", differences, err)
	}
	if _, err := stream.Migrate(ctx, c, small); err != nil {
		t.Error("streams of another domain are not migrated: ", err)
	}
	if _, err := stream.ReadState(ctx, c); err != nil {
		t.Error("the state of another domain is not read: ", err)
	}
	if h := stream.ReadHealth(ctx, c); len(h.Failures) > 0 {
		t.Errorf("the health of another domain has the failures %v, want none", h.Failures)
	}
	names := edge.JS.StreamNames(ctx)
	for name := range names.Name() {
		t.Errorf("the leaf node has the stream %s, want none", name)
	}

	logins, err := stream.Consumer(ctx, c, record.LaneLogins, 10)
	if err != nil {
		t.Fatal(err)
	}
	subject := "idpsync.login." + tenantA + ".okta"
	if _, err := hub.JS.Publish(ctx, subject, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	m, err := logins.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.AckSync(ctx); err != nil {
		t.Error("an event of another domain is not acknowledged: ", err)
	}
	logins.Drain()
	if state, err := stream.ReadState(ctx, c); err != nil || state.Streams[1].Messages != 0 || state.Streams[1].Name != stream.StreamEvents {
		t.Errorf("after the acknowledgement the streams are %+v (%v), want no event", state.Streams, err)
	}
}
