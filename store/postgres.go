package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lib/pq"
)

// Bounds of a connection to PostgreSQL.
const (
	// linkTimeout is how long sent bytes may stay unacknowledged, and an idle connection silent, before it counts as dead.
	linkTimeout = 5 * time.Second
	// answerGrace is how long a server that was asked to cancel a statement may take to say so. Then its link counts as frozen.
	answerGrace = 2 * time.Second
)

// A connector makes connections that end with their contexts. lib/pq alone asks the server to cancel a statement whose context
// has ended, and then waits for its answer, which never comes over a frozen link; BEGIN, COMMIT and ROLLBACK are not even
// cancelled.
type connector struct {
	pq    *pq.Connector
	begin string // begins a transaction that may write
}

// newConnector returns a connector to the server of a URL. Timeout bounds a statement of a transaction, and a pause between
// two of them, on the server's side; 0 does not. They are set in each transaction, as a pooler in between may refuse them when
// it is connected to.
func newConnector(url string, timeout time.Duration) (*connector, error) {
	c, err := pq.NewConnector(url)
	if err != nil {
		return nil, err
	}
	// Plain, where lib/pq would say read write: so that default_transaction_read_only holds, by which an operator, or a hosted
	// database that is nearly full, stops writing.
	begin := "begin"
	if timeout > 0 {
		ms := timeout.Milliseconds()
		begin += fmt.Sprintf("; set local statement_timeout = %d; set local idle_in_transaction_session_timeout = %d", ms, ms)
	}
	return &connector{pq: c, begin: begin}, nil
}

// Connect implements [driver.Connector].
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	l := &link{dialer: net.Dialer{
		Control:         controlLink,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: linkTimeout, Interval: linkTimeout / 5, Count: 5},
	}}
	own := *c.pq
	own.Dialer(l)
	stop := context.AfterFunc(ctx, func() { l.deadline(time.Now()) }) // lib/pq heeds it until the network is connected
	made, err := own.Connect(ctx)
	stop()
	if err != nil {
		return nil, err
	}
	inner, ok := made.(pqConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("store: %T is not the connection that was expected", made), made.Close())
	}
	l.established()
	return &conn{pqConn: inner, link: l, begin: c.begin}, nil
}

// Driver implements [driver.Connector].
func (c *connector) Driver() driver.Driver { return c.pq.Driver() }

// A link is the network connection below one connection to PostgreSQL.
type link struct {
	dialer net.Dialer

	mu      sync.Mutex
	net     net.Conn
	made    bool
	expires bool
}

// controlLink sets what a dead link is noticed by while something is on its way.
func controlLink(network, _ string, raw syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = setUserTimeout(fd, linkTimeout) }); err != nil {
		return err
	}
	return failed
}

// DialContext implements [pq.DialerContext]. Once the connection is established, lib/pq dials for one purpose only: to have the
// server cancel the statement whose context has ended.
func (l *link) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	l.mu.Lock()
	made := l.made
	l.mu.Unlock()
	if made {
		l.expire()
	}
	c, err := l.dialer.DialContext(ctx, network, address)
	if err == nil && !made {
		l.mu.Lock()
		l.net = c
		l.mu.Unlock()
	}
	return c, err
}

// Dial implements [pq.Dialer]; it is not called.
func (l *link) Dial(network, address string) (net.Conn, error) {
	return l.DialContext(context.Background(), network, address)
}

// DialTimeout implements [pq.Dialer]; it is not called.
func (l *link) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return l.DialContext(ctx, network, address)
}

func (l *link) established() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.made = true
}

// expire ends the link, unless what is under way on it is answered soon.
func (l *link) expire() { l.deadline(time.Now().Add(answerGrace)) }

func (l *link) deadline(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expires = !at.IsZero()
	if l.net != nil {
		_ = l.net.SetDeadline(at) // of a closed connection: it is over anyway
	}
}

func (l *link) expiring() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.expires
}

// until runs a step that lib/pq does not watch the context of.
func (l *link) until(ctx context.Context, step func() error) error {
	stop := context.AfterFunc(ctx, l.expire)
	defer stop()
	return step()
}

// pqConn is what a connection of lib/pq can do.
type pqConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
	driver.NamedValueChecker
	driver.Tx
}

// A conn is a connection whose transactions end with their contexts.
type conn struct {
	pqConn
	link  *link
	begin string
}

// IsValid implements [driver.Validator]: whose link is about to end is not used again.
func (c *conn) IsValid() bool { return !c.link.expiring() && c.pqConn.IsValid() }

// BeginTx implements [driver.ConnBeginTx].
func (c *conn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	err := c.link.until(ctx, func() error {
		if o.ReadOnly || sql.IsolationLevel(o.Isolation) != sql.LevelDefault {
			_, err := c.pqConn.BeginTx(context.WithoutCancel(ctx), o)
			return err
		}
		_, err := c.ExecContext(context.WithoutCancel(ctx), c.begin, nil)
		if err != nil {
			_ = c.pqConn.Rollback() // of a transaction that begins, and can't be bounded
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &pgTx{conn: c, ctx: ctx}, nil
}

// A pgTx is a transaction. Its context is that of the whole transaction.
type pgTx struct {
	conn *conn
	ctx  context.Context //nolint:containedctx // database/sql gives Commit none
}

// Commit implements [driver.Tx].
func (t *pgTx) Commit() error { return t.conn.link.until(t.ctx, t.conn.pqConn.Commit) }

// Rollback implements [driver.Tx]. It comes after a failure too, and then possibly over a link that is frozen.
func (t *pgTx) Rollback() error {
	t.conn.link.expire()
	err := t.conn.pqConn.Rollback()
	if err == nil {
		t.conn.link.deadline(time.Time{})
	}
	return err
}
