package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/worker/stream"
)

// A cluster is the broker: one nats-server, or several that replicate every stream.
type cluster struct {
	w     *world
	nodes []*node
}

// A node is one nats-server, which comes back on the same ports and folder.
type node struct {
	w    *world
	name string
	addr string // for clients

	mu  sync.Mutex // held while the node is away
	cur *process
}

// newCluster starts the nodes, and waits until they store what they are given.
func newCluster(ctx context.Context, w *world, n int) (*cluster, error) {
	c := &cluster{w: w}
	addrs, err := freeAddresses(2 * n)
	if err != nil {
		return c, err
	}
	routes := make([]string, n)
	for i := range n {
		routes[i] = fmt.Sprintf("%q", "nats://"+addrs[n+i])
	}
	for i := range n {
		b := &node{w: w, name: fmt.Sprintf("n%d", i), addr: addrs[i]}
		// A server takes as its limit what is free on the disk when it starts. It must not depend on that whether the limit of
		// a stream can be raised again.
		text := fmt.Sprintf("server_name: %s\nlisten: %q\njetstream { store_dir: %q, max_file_store: %d }\n",
			b.name, b.addr, filepath.Join(w.folder, "jetstream-"+b.name), maxFileStore)
		if n > 1 { // what clients are told of the other nodes would lead them past the links
			text += fmt.Sprintf("cluster { name: chaos, listen: %q, no_advertise: true, routes: [%s] }\n", addrs[n+i], strings.Join(routes, ", "))
		}
		if err := os.WriteFile(b.config(), []byte(text), 0o600); err != nil {
			return c, err
		}
		c.nodes = append(c.nodes, b)
		if err := b.start(); err != nil {
			return c, err
		}
	}
	return c, c.ready(ctx)
}

// maxFileStore is more than the limits of all streams together, in bytes. What is stored is far below.
const maxFileStore = 64 << 30

// freeAddresses returns addresses of this machine that nobody listens at.
func freeAddresses(n int) ([]string, error) {
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }() // only once all are chosen
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// ready waits until the cluster has a leader that answers.
func (c *cluster) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	nc, err := nats.Connect(c.url(), nats.MaxReconnects(-1))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	for {
		short, cancel := context.WithTimeout(ctx, time.Second)
		_, err := js.AccountInfo(short)
		cancel()
		if err == nil {
			return nil
		}
		if pause(ctx, 100*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("the broker is not ready: %w", err)
		}
	}
}

// url names all nodes.
func (c *cluster) url() string {
	urls := make([]string, len(c.nodes))
	for i, b := range c.nodes {
		urls[i] = "nats://" + b.addr
	}
	return strings.Join(urls, ",")
}

// leader is the node that leads the stream of events, or the first when nobody says.
func (c *cluster) leader(ctx context.Context) *node {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	js, err := jetstream.New(c.w.nc)
	if err != nil {
		return c.nodes[0]
	}
	st, err := js.Stream(ctx, stream.StreamEvents)
	if err != nil || st.CachedInfo().Cluster == nil {
		return c.nodes[0]
	}
	for _, b := range c.nodes {
		if b.name == st.CachedInfo().Cluster.Leader {
			return b
		}
	}
	return c.nodes[0]
}

func (c *cluster) close() {
	for _, b := range c.nodes {
		if b.cur != nil {
			b.cur.signal(syscall.SIGKILL)
			<-b.cur.done
		}
	}
}

func (b *node) config() string { return filepath.Join(b.w.folder, b.name+".conf") }

func (b *node) start() error {
	log, err := logFile(filepath.Join(b.w.folder, "nats.log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(filepath.Join(b.w.programs, "nats-server"), "-c", b.config())
	cmd.Stdout, cmd.Stderr = log, log
	if b.cur, err = b.w.spawner.process(cmd); err != nil {
		return err
	}
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		if c, err := net.DialTimeout("tcp", b.addr, time.Second); err == nil {
			return c.Close()
		}
		select {
		case <-b.cur.done:
			return fmt.Errorf("the broker ended: %w", b.cur.err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return errors.New("the broker did not start")
}

// crash is kill -9 and a new start after a while.
func (b *node) crash(ctx context.Context, length time.Duration) error {
	if !b.mu.TryLock() {
		return errMissed
	}
	defer b.mu.Unlock()
	b.cur.signal(syscall.SIGKILL)
	<-b.cur.done
	pause(ctx, length)
	return b.start()
}

// freeze stops the node as a machine that is starved does.
func (b *node) freeze(ctx context.Context, length time.Duration) error {
	if !b.mu.TryLock() {
		return errMissed
	}
	defer b.mu.Unlock()
	b.cur.signal(syscall.SIGSTOP)
	pause(ctx, length)
	b.cur.signal(syscall.SIGCONT)
	return nil
}
