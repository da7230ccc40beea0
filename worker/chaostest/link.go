package main

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// A link is the only way from one worker to the broker or the database. It can be slow, stand still, or be cut.
type link struct {
	listener net.Listener
	target   string
	pumps    sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	delay time.Duration
	gate  chan struct{} // closed while bytes may pass
	held  bool
	cut   bool
	deaf  map[net.Conn]bool // ends of connections that swallow what they get
	dials []time.Time       // of connections that were accepted
}

func newLink(target string) (*link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &link{listener: l, target: target, conns: map[net.Conn]bool{}, deaf: map[net.Conn]bool{}, gate: make(chan struct{})}
	close(k.gate)
	k.pumps.Go(k.accept)
	return k, nil
}

func (k *link) address() string { return k.listener.Addr().String() }

func (k *link) accept() {
	for {
		c, err := k.listener.Accept()
		if err != nil {
			return
		}
		k.pumps.Go(func() { k.serve(c) })
	}
}

func (k *link) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	k.mu.Lock()
	refused := k.cut
	k.mu.Unlock()
	if refused {
		return
	}
	far, err := net.Dial("tcp", k.target)
	if err != nil {
		return
	}
	defer func() { _ = far.Close() }()
	k.set(func() {
		k.conns[c], k.conns[far] = true, true
		k.dials = append(k.dials, time.Now())
	})
	defer k.set(func() {
		for _, end := range []net.Conn{c, far} {
			delete(k.conns, end)
			delete(k.deaf, end)
		}
	})
	var back sync.WaitGroup
	back.Go(func() { k.pump(c, far) })
	k.pump(far, c)
	back.Wait()
}

// pump copies bytes until one side closes, and then closes both. One that swallows tells the other side nothing.
func (k *link) pump(to, from net.Conn) {
	defer func() {
		k.mu.Lock()
		deaf := k.deaf[from]
		k.mu.Unlock()
		if !deaf {
			_ = to.Close()
		}
		_ = from.Close()
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			k.mu.Lock()
			gate, delay, deaf := k.gate, k.delay, k.deaf[from]
			k.mu.Unlock()
			if deaf {
				continue
			}
			<-gate
			if delay > 0 {
				<-time.After(delay)
			}
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (k *link) hold() {
	k.set(func() {
		if !k.held {
			k.held, k.gate = true, make(chan struct{})
		}
	})
}

func (k *link) release() {
	k.set(func() {
		if k.held {
			k.held = false
			close(k.gate)
		}
	})
}

// swallow makes the connections that there are half open: both sides can write, and nothing arrives. New ones are as ever.
// It returns how many there are.
func (k *link) swallow() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	for c := range k.conns {
		k.deaf[c] = true
	}
	return len(k.deaf) / 2
}

// sever resets all connections.
func (k *link) sever() {
	k.set(func() {
		for c := range k.conns {
			if t, ok := c.(*net.TCPConn); ok {
				_ = t.SetLinger(0) // a reset, not a farewell
			}
			_ = c.Close()
		}
	})
}

func (k *link) set(change func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
}

func (k *link) close() error {
	err := k.listener.Close()
	k.release()
	k.sever()
	k.pumps.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Links are all ways from one worker to one service.
type links []*link

// url is what a worker is told.
func (ks links) url() string {
	urls := make([]string, len(ks))
	for i, k := range ks {
		urls[i] = "nats://" + k.address()
	}
	return strings.Join(urls, ",")
}

func (ks links) each(do func(*link)) {
	for _, k := range ks {
		do(k)
	}
}

// slow delays everything that passes for a while.
func (ks links) slow(ctx context.Context, delay, length time.Duration) {
	ks.each(func(k *link) { k.set(func() { k.delay = delay }) })
	pause(ctx, length)
	ks.each(func(k *link) { k.set(func() { k.delay = 0 }) })
}

// hold lets nothing pass for a while; the connections stay.
func (ks links) hold(ctx context.Context, length time.Duration) {
	ks.each((*link).hold)
	pause(ctx, length)
	ks.each((*link).release)
}

// sever cuts all connections and refuses new ones for a while.
func (ks links) sever(ctx context.Context, length time.Duration) {
	ks.each(func(k *link) {
		k.set(func() { k.cut = true })
		k.sever()
	})
	pause(ctx, length)
	ks.each(func(k *link) { k.set(func() { k.cut = false }) })
}

// swallow makes the connections that there are half open, and returns how many there are.
func (ks links) swallow() int {
	n := 0
	ks.each(func(k *link) { n += k.swallow() })
	return n
}

// dialed returns when the nth connection after a time was made, and whether it was.
func (ks links) dialed(n int, after time.Time) (time.Time, bool) {
	var made []time.Time
	ks.each(func(k *link) {
		k.set(func() {
			for _, at := range k.dials {
				if at.After(after) {
					made = append(made, at)
				}
			}
		})
	})
	if n < 1 || len(made) < n {
		return time.Time{}, false
	}
	slices.SortFunc(made, time.Time.Compare)
	return made[n-1], true
}

func (ks links) close() error {
	var errs []error
	ks.each(func(k *link) { errs = append(errs, k.close()) })
	return errors.Join(errs...)
}

// pause waits, or returns early when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
