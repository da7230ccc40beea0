package main

import (
	"context"
	"errors"
	"net"
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

// slow delays everything that passes for a while.
func (k *link) slow(ctx context.Context, delay, length time.Duration) {
	k.set(func() { k.delay = delay })
	pause(ctx, length)
	k.set(func() { k.delay = 0 })
}

// hold lets nothing pass for a while; the connections stay.
func (k *link) hold(ctx context.Context, length time.Duration) {
	k.set(func() {
		if !k.held {
			k.held, k.gate = true, make(chan struct{})
		}
	})
	pause(ctx, length)
	k.release()
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

// dialed returns when the nth connection after a time was made, and whether it was.
func (k *link) dialed(n int, after time.Time) (time.Time, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, at := range k.dials {
		if at.After(after) {
			if n--; n <= 0 {
				return at, true
			}
		}
	}
	return time.Time{}, false
}

// sever cuts all connections and refuses new ones for a while.
func (k *link) sever(ctx context.Context, length time.Duration) {
	k.set(func() {
		k.cut = true
		for c := range k.conns {
			if t, ok := c.(*net.TCPConn); ok {
				_ = t.SetLinger(0) // a reset, not a farewell
			}
			_ = c.Close()
		}
	})
	pause(ctx, length)
	k.set(func() { k.cut = false })
}

func (k *link) set(change func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
}

func (k *link) close() error {
	err := k.listener.Close()
	k.release()
	k.sever(context.Background(), 0)
	k.pumps.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
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
