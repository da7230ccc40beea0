package serve

import (
	"net"
	"sync"

	"github.com/idpsync/idpsync/worker/share"
)

// bounded is a listener with a bound on its open connections, which addresses share: what a connection costs before it has
// sent a credential is memory and a file descriptor, and one address cannot have them all. Those beyond it are closed.
type bounded struct {
	net.Listener
	pool *share.Pool
}

func newBounded(l net.Listener, connections int64) *bounded {
	return &bounded{Listener: l, pool: share.NewPool(connections)}
}

// Accept implements [net.Listener].
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		// No tenant is known yet. An address is in its place, so that none has more connections than it leaves to others.
		place := b.pool.Hold(share.Address(c.RemoteAddr().String()), "")
		if place.Take(1) {
			return &boundedConn{Conn: c, release: sync.OnceFunc(place.Release)}, nil
		}
		_ = c.Close() // nothing was said on it
	}
}

// A boundedConn gives its place back when it is closed.
type boundedConn struct {
	net.Conn
	release func()
}

// Close implements [net.Conn].
func (c *boundedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// CloseWrite ends what is sent, so that the peer of a connection that is closed early reads the answer before a reset.
func (c *boundedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
