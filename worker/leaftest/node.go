// Package leaftest starts a hub and its leaf nodes for tests, each a real broker with a JetStream domain of its own.
package leaftest

import (
	"net"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

// Lasting are goroutines of a nats-server that go on after its end for up to half a minute: it waits for an answer of the domain
// that a stream sources, or does not source any more.
func Lasting() []goleak.Option {
	const stream = "github.com/nats-io/nats-server/v2/server.(*stream)."
	return []goleak.Option{
		goleak.IgnoreAnyFunction(stream + "tryDeleteSourcingConsumer.func1"),
		goleak.IgnoreAnyFunction(stream + "trySetupSourceConsumer.func3"),
	}
}

// A Node is a broker that ends with the test.
type Node struct {
	Domain string // of its JetStream; "" for none
	URL    string // for clients; it asks for no login
	Leaves string // host and port at which leaf nodes connect; "" at a leaf node
	JS     jetstream.JetStream
	Client *nats.Conn // of JS
}

// Hub starts a broker that leaf nodes connect to.
func Hub(t testing.TB, domain string) *Node {
	t.Helper()
	o := options(t, "hub", domain)
	o.LeafNode.Host, o.LeafNode.Port = "127.0.0.1", server.RANDOM_PORT
	o.LeafNode.NoAdvertise = true // leaf nodes know no way past a link
	// A link that stands still is given up within seconds, as it is in a deployment within minutes.
	o.PingInterval, o.MaxPingsOut = time.Second, 3
	return start(t, o)
}

// Leaf starts a leaf node of the hub that is reached at an address. It keeps its events to itself: what it stores comes to the
// hub by sourcing alone, and never twice.
func Leaf(t testing.TB, domain, hub string) *Node {
	t.Helper()
	o := options(t, "leaf-"+domain, domain)
	o.LeafNode.ReconnectInterval = 100 * time.Millisecond
	o.LeafNode.Remotes = []*server.RemoteLeafOpts{{
		URLs:        []*url.URL{{Scheme: "nats-leaf", Host: hub}},
		DenyExports: []string{"idpsync.>"}, DenyImports: []string{"idpsync.>"},
	}}
	o.PingInterval, o.MaxPingsOut = time.Second, 3
	return start(t, o)
}

func options(t testing.TB, name, domain string) *server.Options {
	return &server.Options{
		ServerName: name, Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, JetStreamDomain: domain, StoreDir: t.TempDir(), JetStreamMaxStore: 1 << 40, DisableJetStreamBanner: true,
	}
}

func start(t testing.TB, o *server.Options) *Node {
	t.Helper()
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(time.Minute) {
		t.Fatalf("the broker %s is not ready for connections after a minute", o.ServerName)
	}
	n := &Node{Domain: o.JetStreamDomain, URL: s.ClientURL()}
	if o.LeafNode.Host != "" {
		v, err := s.Varz(nil)
		if err != nil {
			t.Fatal(err)
		}
		n.Leaves = net.JoinHostPort(v.LeafNode.Host, strconv.Itoa(v.LeafNode.Port))
	}
	closed := make(chan struct{})
	n.Client, err = nats.Connect(n.URL, nats.Timeout(time.Minute), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.Client.Close()
		<-closed
	})
	if n.JS, err = jetstream.New(n.Client); err != nil {
		t.Fatal(err)
	}
	return n
}
