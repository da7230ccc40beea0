// Package linktest puts a link between a client and its server that can be slow, stand still, be cut, or become half open.
package linktest

import (
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

// A Link carries TCP connections to a server. Its methods are safe for concurrent use.
type Link struct {
	listener net.Listener
	target   string
	pumps    sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]bool // both ends of each connection; true: it swallows what it gets
	dials   []time.Time       // of connections that were carried
	delay   time.Duration
	cut     bool
	request chan struct{} // closed while bytes pass to the server
	answer  chan struct{} // closed while bytes pass from it
}

// New returns a link on a port of loopback to the server at the given host and port. Close it.
func New(target string) (*Link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &Link{listener: listener, target: target, conns: map[net.Conn]bool{}, request: make(chan struct{}), answer: make(chan struct{})}
	close(l.request)
	close(l.answer)
	l.pumps.Go(l.accept)
	return l, nil
}

// Addr is the host and port of the link itself.
func (l *Link) Addr() string { return l.listener.Addr().String() }

// Target is the host and port of the server.
func (l *Link) Target() string { return l.target }

func (l *Link) accept() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.pumps.Go(func() { l.carry(near) })
	}
}

func (l *Link) carry(near net.Conn) {
	defer func() { _ = near.Close() }()
	far, err := net.Dial("tcp", l.target)
	if err != nil {
		return
	}
	defer func() { _ = far.Close() }()
	if !l.add(near, far) {
		return
	}
	defer l.set(func() {
		delete(l.conns, near)
		delete(l.conns, far)
	})
	var back sync.WaitGroup
	back.Go(func() { l.pump(near, far, func() chan struct{} { return l.answer }) })
	l.pump(far, near, func() chan struct{} { return l.request })
	back.Wait()
}

func (l *Link) add(near, far net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return false
	}
	l.conns[near], l.conns[far] = false, false
	l.dials = append(l.dials, time.Now())
	return true
}

// pump copies bytes until one side closes, and then closes both. A frozen link passes on neither bytes nor ends, and an end
// that swallows tells the other side nothing.
func (l *Link) pump(to, from net.Conn, gate func() chan struct{}) {
	deaf := false
	defer func() {
		if !deaf {
			_ = to.Close()
		}
		_ = from.Close()
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		var open chan struct{}
		var delay time.Duration
		l.set(func() { open, delay, deaf = gate(), l.delay, deaf || l.conns[from] })
		if !deaf {
			<-open
			if n > 0 && delay > 0 {
				<-time.After(delay)
			}
			if n > 0 {
				if _, err := to.Write(b[:n]); err != nil {
					return
				}
			}
		}
		if err != nil {
			return
		}
	}
}

// Delay delays everything that passes.
func (l *Link) Delay(d time.Duration) { l.set(func() { l.delay = d }) }

// Freeze lets nothing pass until Thaw: connections stay, and new ones are accepted, but neither is answered.
func (l *Link) Freeze() {
	l.set(func() { l.request, l.answer = shut(l.request), shut(l.answer) })
}

// FreezeAnswers lets nothing pass from the server until Thaw, but all that is sent to it.
func (l *Link) FreezeAnswers() { l.set(func() { l.answer = shut(l.answer) }) }

// Swallow makes the connections that there are half open: both sides can write, and nothing arrives. New ones are as ever.
// It returns how many connections there are.
func (l *Link) Swallow() (n int) {
	l.set(func() {
		for c := range l.conns {
			l.conns[c] = true
		}
		n = len(l.conns) / 2
	})
	return n
}

// Sever resets all connections.
func (l *Link) Sever() { l.set(l.sever) }

// Cut resets all connections, and refuses new ones until Splice.
func (l *Link) Cut() {
	l.set(func() {
		l.cut = true
		l.sever()
	})
}

func (l *Link) sever() {
	for c := range l.conns {
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // a reset, not an end
		}
		_ = c.Close()
	}
}

// Thaw lets everything pass again.
func (l *Link) Thaw() {
	l.set(func() {
		open(l.request)
		open(l.answer)
	})
}

// Splice lets new connections pass again after a cut.
func (l *Link) Splice() { l.set(func() { l.cut = false }) }

// Restore makes a link that was frozen or cut as good as new.
func (l *Link) Restore() {
	l.Thaw()
	l.Splice()
}

// Dials returns when the connections were made that the link has carried.
func (l *Link) Dials() (dials []time.Time) {
	l.set(func() { dials = slices.Clone(l.dials) })
	return dials
}

// Close ends the link and its connections.
func (l *Link) Close() error {
	err := l.listener.Close()
	l.Restore()
	l.Sever()
	l.pumps.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (l *Link) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

// shut returns a gate through which nothing passes, the given one if it is such.
func shut(gate chan struct{}) chan struct{} {
	select {
	case <-gate:
		return make(chan struct{})
	default:
		return gate
	}
}

func open(gate chan struct{}) {
	select {
	case <-gate:
	default:
		close(gate)
	}
}
