package workertest

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/worker/leaftest"
	"github.com/idpsync/idpsync/worker/linktest"
	"github.com/idpsync/idpsync/worker/stream"
)

// EdgeStream is the stream of an [Edge].
const EdgeStream = "EDGE"

// An Edge is a leaf node with a stream of its own, which the deployment sources.
type Edge struct {
	*leaftest.Node
	Link *linktest.Link // to the hub

	d *Deployment
}

// Edge starts a leaf node with its own JetStream domain. The deployment must be a hub.
func (d *Deployment) Edge(domain string) *Edge {
	d.T.Helper()
	link, err := linktest.New(d.hub.Leaves)
	if err != nil {
		d.T.Fatal(err)
	}
	d.T.Cleanup(func() {
		if err := link.Close(); err != nil {
			d.T.Error(err)
		}
	})
	e := &Edge{Node: leaftest.Leaf(d.T, domain, link.Addr()), Link: link, d: d}
	e.Make(jetstream.StreamConfig{Name: EdgeStream, Subjects: []string{"idpsync.login.>", "idpsync.feed.>", "idpsync.command.>"}})
	d.Raw(func(js jetstream.JetStream) error {
		events, err := js.Stream(d.Ctx, stream.StreamEvents)
		if err != nil {
			return err
		}
		config := events.CachedInfo().Config
		config.Sources = append(config.Sources, &jetstream.StreamSource{Name: EdgeStream, Domain: domain})
		_, err = js.UpdateStream(d.Ctx, config)
		return err
	})
	return e
}

// Reached reports whether the deployment reaches the leaf node's stream.
func (e *Edge) Reached(ctx context.Context) bool {
	e.d.T.Helper()
	js, err := jetstream.NewWithDomain(e.d.js.Conn(), e.Domain)
	if err != nil {
		e.d.T.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err = js.Stream(ctx, EdgeStream)
	return err == nil
}

// Make makes or changes a stream of the leaf node.
func (e *Edge) Make(config jetstream.StreamConfig) {
	e.d.T.Helper()
	if _, err := e.JS.CreateOrUpdateStream(e.d.Ctx, config); err != nil {
		e.d.T.Fatal(err)
	}
}

// Publish stores an event at the leaf node, under an id of its sender or none, and returns its sequence there.
func (e *Edge) Publish(subject, id string, body []byte) uint64 {
	e.d.T.Helper()
	m := &nats.Msg{Subject: subject, Header: nats.Header{}, Data: body}
	if id != "" {
		m.Header["Idpsync-Event-Id"] = []string{id}
	}
	ack, err := e.JS.PublishMsg(e.d.Ctx, m)
	if err != nil {
		e.d.T.Fatal(err)
	}
	return ack.Sequence
}

// Original returns a message as the leaf node stored it.
func (e *Edge) Original(sequence uint64) *jetstream.RawStreamMsg {
	e.d.T.Helper()
	s, err := e.JS.Stream(e.d.Ctx, EdgeStream)
	if err != nil {
		e.d.T.Fatal(err)
	}
	m, err := s.GetMsg(e.d.Ctx, sequence)
	if err != nil {
		e.d.T.Fatal(err)
	}
	return m
}

// Lose deletes a message at the leaf node.
func (e *Edge) Lose(sequence uint64) {
	e.d.T.Helper()
	s, err := e.JS.Stream(e.d.Ctx, EdgeStream)
	if err == nil {
		err = s.DeleteMsg(e.d.Ctx, sequence)
	}
	if err != nil {
		e.d.T.Fatal(err)
	}
}

// Arrived waits until the deployment has stored as many events as that, and returns the last one, with the time at which it
// arrived. It must not have been removed.
func (d *Deployment) Arrived(n uint64) (m *jetstream.RawStreamMsg) {
	d.T.Helper()
	d.Eventually("for the events to arrive", func() bool {
		events, err := d.js.Stream(d.Ctx, stream.StreamEvents)
		if err == nil && events.CachedInfo().State.LastSeq >= n {
			m, err = events.GetMsg(d.Ctx, n)
		}
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			d.T.Fatal(err)
		}
		return m != nil
	})
	return m
}
