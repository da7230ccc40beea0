package storetest

import (
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/idpsync/idpsync/store"
)

// A Link carries connections to a PostgreSQL server until it is cut or frozen. Its methods are safe for concurrent use.
type Link struct {
	listener net.Listener
	server   string
	pumps    sync.WaitGroup

	mu      sync.Mutex
	down    bool
	conns   map[net.Conn]bool
	request chan struct{} // closed while bytes pass to the server
	answer  chan struct{} // closed while bytes pass from it
}

// Through returns a link to the server of o, and o with the link in the server's place.
func Through(t testing.TB, o store.Options) (*Link, store.Options) {
	t.Helper()
	u, err := url.Parse(o.URL)
	if err != nil {
		t.Fatal(err)
	}
	l := &Link{server: u.Host, conns: map[net.Conn]bool{}, request: make(chan struct{}), answer: make(chan struct{})}
	close(l.request)
	close(l.answer)
	if l.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	l.pumps.Go(l.accept)
	t.Cleanup(func() {
		l.Cut()
		l.thaw()
		_ = l.listener.Close()
		l.pumps.Wait()
	})
	u.Host = l.listener.Addr().String()
	o.URL = u.String()
	return l, o
}

func (l *Link) accept() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.pumps.Go(func() {
			defer func() { _ = near.Close() }()
			far, err := net.Dial("tcp", l.server)
			if err != nil || !l.add(near, far) {
				return
			}
			defer func() { _ = far.Close() }()
			var back sync.WaitGroup
			back.Go(func() { l.pump(near, far, func() chan struct{} { return l.answer }) })
			l.pump(far, near, func() chan struct{} { return l.request })
			back.Wait()
		})
	}
}

func (l *Link) add(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		if l.down {
			_ = c.Close()
			continue
		}
		l.conns[c] = true
	}
	return !l.down
}

// pump copies bytes until one side closes, and then closes both. A frozen link passes on neither bytes nor ends.
func (l *Link) pump(to, from net.Conn, gate func() chan struct{}) {
	defer func() {
		_ = to.Close()
		_ = from.Close()
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		l.mu.Lock()
		open := gate()
		l.mu.Unlock()
		<-open
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// Cut closes all connections, and refuses new ones until Restore.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for c := range l.conns {
		_ = c.Close()
	}
	clear(l.conns)
}

// Freeze lets nothing pass until Restore: connections stay, and new ones are accepted, but neither is ever answered.
func (l *Link) Freeze() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.request, l.answer = make(chan struct{}), make(chan struct{})
}

// FreezeAnswers lets nothing pass from the server until Restore, but all that is sent to it.
func (l *Link) FreezeAnswers() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = make(chan struct{})
}

// Restore lets everything pass again.
func (l *Link) Restore() {
	l.thaw()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

func (l *Link) thaw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, gate := range []chan struct{}{l.request, l.answer} {
		select {
		case <-gate:
		default:
			close(gate)
		}
	}
}

// Server is the address of the server at the other end.
func (l *Link) Server() string { return l.server }
