package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/providers"
)

// Options say how to reach the broker. What is set here wins over what the saved context says.
type Options struct {
	URL      string // one or several, with commas; default nats://127.0.0.1:4222
	User     string
	Password providers.Secret
	// PasswordFile is the path of a file that holds the user's password. It is read again at each connection, as are Creds, NKey
	// and a login that comes from Context.
	PasswordFile string
	Token        providers.Secret
	Creds        string // path of a .creds file
	NKey         string // path of a file with an nkey seed
	CA           string // paths of PEM files
	Cert         string
	Key          string

	Context    string // name of a context saved by the nats client; optional
	ContextDir string // where contexts are saved; default the nats client's own

	InboxPrefix string // default _INBOX; permissions may ask for another
	// Consumers are names under which results and dead letters are read, where permissions ask for them. One serves one
	// reader at a time; the first that is free is used. None: random names.
	Consumers []string
	Domain    string // JetStream domain; optional
	APIPrefix string // JetStream API prefix; optional, excludes Domain

	savedLogin bool // user, password and token are those of Context

	InProcess *Server // the embedded broker of this process; nothing above is needed then

	Name    string        // of this connection, as the broker's operator sees it
	Timeout time.Duration // of the first connection; default 5 s
	Log     *slog.Logger
}

// A Conn is a connection to the broker. It reconnects for ever; its methods are safe for concurrent use.
type Conn struct {
	nc *nats.Conn
	// live is nc for the callbacks, which may be called before nc is there.
	live atomic.Pointer[nats.Conn]
	js   jetstream.JetStream
	api  string // prefix of the subjects of JetStream's API, with its last dot
	log  *slog.Logger
	url  string

	inbox     string   // prefix of our inboxes, when it is our own
	consumers []string // names for readers; see Options

	breaks   atomic.Uint64 // counts the losses of the connection
	forced   atomic.Int64  // when a reconnect was last forced, in ns
	troubles troubles
	closed   chan struct{}

	mu        sync.Mutex
	listeners map[int]listener
	streams   map[string]jetstream.Stream // see handle
	nextID    int
	pub       *publisher
}

const (
	// pingInterval is how often the connection is tried. A link that swallows what is sent is given up when two answers are
	// missing at the third ping: within 12 s.
	pingInterval = 4 * time.Second
	// forceEvery is how often a connection is given up at most, for want of heartbeats.
	forceEvery = 15 * time.Second
)

// A listener is told of what happens on the connection. Its functions must not block.
type listener struct {
	disconnected func()
	connected    func()
	denied       func(subject string, err error) // publish permission missing
}

// Connect connects to the broker. It does not retry: a first connection that fails is a configuration to be looked at,
// and its error says at what. ctx bounds the attempt only.
func Connect(ctx context.Context, o Options) (*Conn, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	if deadline, ok := ctx.Deadline(); ok {
		o.Timeout = min(o.Timeout, max(time.Until(deadline), time.Millisecond))
	}
	if o.Context != "" {
		saved, err := readContext(o.Context, o.ContextDir)
		if err != nil {
			return nil, err
		}
		o.savedLogin = !o.ownLogin()
		o = saved.under(o)
	}
	if o.URL == "" {
		o.URL = nats.DefaultURL
	}
	c := &Conn{log: o.Log, url: RedactURL(o.URL), inbox: o.InboxPrefix, consumers: o.Consumers, closed: make(chan struct{}), listeners: map[int]listener{}, streams: map[string]jetstream.Stream{}}
	opts, err := c.natsOptions(o)
	if err != nil {
		return nil, err
	}
	op := "connect to " + c.url
	type dialled struct {
		nc  *nats.Conn
		err error
	}
	done := make(chan dialled, 1)
	go func() {
		nc, err := nats.Connect(o.URL, opts...)
		done <- dialled{nc, err}
	}()
	select {
	case d := <-done:
		if d.err != nil {
			return nil, c.explain(op, d.err)
		}
		c.nc = d.nc
		c.live.Store(d.nc)
	case <-ctx.Done():
		// nats.Connect knows no context; its own time-out ends it, and what it made is closed.
		if d := <-done; d.nc != nil {
			d.nc.Close()
		}
		return nil, wrap(op, ctx.Err())
	}
	switch {
	case o.APIPrefix != "":
		c.api = strings.TrimSuffix(o.APIPrefix, ".") + "."
		c.js, err = jetstream.NewWithAPIPrefix(c.nc, o.APIPrefix)
	case o.Domain != "":
		c.api = "$JS." + o.Domain + ".API."
		c.js, err = jetstream.NewWithDomain(c.nc, o.Domain)
	default:
		c.api = jetstream.DefaultAPIPrefix
		c.js, err = jetstream.New(c.nc)
	}
	if err != nil {
		c.nc.Close()
		return nil, wrap(op, err)
	}
	c.pub = newPublisher(c)
	return c, nil
}

func (c *Conn) natsOptions(o Options) ([]nats.Option, error) {
	opts := []nats.Option{
		nats.Name(o.Name),
		nats.Timeout(o.Timeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, time.Second),
		nats.IgnoreAuthErrorAbort(), // a credential that is being rotated must not end the worker
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(2),
		nats.ReconnectBufSize(-1), // publishing while disconnected fails at once, for the caller to decide
		nats.ErrorHandler(c.onError),
		nats.DisconnectErrHandler(c.onDisconnect),
		nats.ReconnectHandler(c.onReconnect),
		nats.ClosedHandler(func(*nats.Conn) { close(c.closed) }),
	}
	if o.InboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(o.InboxPrefix))
	}
	if o.InProcess != nil {
		c.url = o.InProcess.URL() + " (in process)"
		opts = append(opts, nats.InProcessServer(o.InProcess))
		if o.InProcess.credentials.User != "" {
			opts = append(opts, nats.UserInfo(o.InProcess.credentials.User, o.InProcess.credentials.Password.Reveal()))
		}
		return opts, nil
	}
	login, err := c.login(o)
	if err != nil {
		return nil, err
	}
	opts = append(opts, login...)
	if (o.Cert == "") != (o.Key == "") {
		return nil, &Error{Op: "read TLS files", Class: ErrOptions, Hint: "a client certificate needs its key, and the other way round"}
	}
	if o.CA != "" || o.Cert != "" {
		opts = append(opts, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12}))
	}
	if o.CA != "" {
		if _, err := os.Stat(o.CA); err != nil {
			return nil, &Error{Op: "read TLS files", Class: ErrOptions, Hint: "check --nats-ca", Err: err}
		}
		opts = append(opts, nats.RootCAs(o.CA))
	}
	if o.Cert != "" {
		if _, err := tls.LoadX509KeyPair(o.Cert, o.Key); err != nil {
			return nil, &Error{Op: "read TLS files", Class: ErrOptions, Hint: "check --nats-cert and --nats-key", Err: err}
		}
		opts = append(opts, nats.ClientCert(o.Cert, o.Key))
	}
	return opts, nil
}

// explain classes the error of a first connection, which nats.go often tells by text alone.
func (c *Conn) explain(op string, err error) error {
	text := err.Error()
	class := classOf(err)
	hint := hints[class]
	switch {
	case strings.Contains(text, "missing port"), strings.Contains(text, "invalid port"), strings.Contains(text, "parse "):
		class, hint = ErrOptions, "write the address as nats://host:port"
	case strings.Contains(text, "Authorization Violation"), strings.Contains(text, "authorization violation"):
		class, hint = ErrRefused, hints[ErrRefused]
	case strings.Contains(text, "x509"), strings.Contains(text, "tls:"), strings.Contains(text, "tls error"):
		class, hint = ErrRefused, "check --nats-ca, --nats-cert and --nats-key against the broker's certificate"
	case errors.Is(err, nats.ErrSecureConnRequired), errors.Is(err, nats.ErrSecureConnWanted):
		class, hint = ErrOptions, "one side wants TLS and the other does not: use tls:// with --nats-ca, or nats:// without"
	case strings.Contains(text, "malformed HTTP"), strings.Contains(text, "INFO not received"), strings.Contains(text, "illegal operation"):
		class, hint = ErrUnreachable, "something else than a NATS server listens there; check the port"
	}
	return &Error{Op: op, Class: class, Hint: hint, Err: err}
}

func (c *Conn) onError(_ *nats.Conn, sub *nats.Subscription, err error) {
	attrs := []any{"error", err.Error()}
	if sub != nil {
		attrs = append(attrs, "subject", sub.Subject)
	}
	switch {
	case errors.Is(err, nats.ErrPermissionViolation):
		c.log.Error("broker permission missing", append(attrs, "hint", hints[ErrPermission])...)
		verb, subject, ok := violationOf(err)
		if !ok {
			return
		}
		c.troubles.deny(verb, subject)
		if verb != publishTo {
			return
		}
		for _, l := range c.all() {
			if l.denied != nil {
				l.denied(subject, err)
			}
		}
	case errors.Is(err, nats.ErrSlowConsumer):
		c.log.Warn("messages dropped by the client; the broker delivers them again", attrs...)
	default:
		c.log.Warn("broker connection", attrs...)
	}
}

func (c *Conn) onDisconnect(nc *nats.Conn, err error) {
	if nc.IsClosed() && err == nil {
		return
	}
	attrs := []any{"url", c.url}
	if err != nil {
		attrs = append(attrs, "error", err.Error())
	}
	c.breaks.Add(1)
	c.log.Warn("broker connection lost; reconnecting", attrs...)
	for _, l := range c.all() {
		if l.disconnected != nil {
			l.disconnected()
		}
	}
}

func (c *Conn) onReconnect(nc *nats.Conn) {
	c.log.Info("broker connection restored", "url", nc.ConnectedUrlRedacted())
	c.troubles.forgive()
	for _, l := range c.all() {
		if l.connected != nil {
			l.connected()
		}
	}
}

// reconnect gives up a connection that still counts as open. It does so at most once in a while: a broker without a leader
// for its streams is not found again by reconnecting.
func (c *Conn) reconnect(why string) {
	now, last := time.Now().UnixNano(), c.forced.Load()
	if time.Duration(now-last) < forceEvery || !c.forced.CompareAndSwap(last, now) {
		return
	}
	c.log.Warn("broker connection given up; connecting anew", "url", c.url, "reason", why)
	if err := c.nc.ForceReconnect(); err != nil {
		c.log.Warn("broker connection not given up", "error", err.Error())
	}
}

func (c *Conn) all() []listener {
	c.mu.Lock()
	defer c.mu.Unlock()
	ls := make([]listener, 0, len(c.listeners))
	for _, l := range c.listeners {
		ls = append(ls, l)
	}
	return ls
}

// listen adds l and returns the function that removes it.
func (c *Conn) listen(l listener) func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := c.nextID
	c.nextID++
	c.listeners[id] = l
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.listeners, id)
	}
}

// URL returns the address that was asked for, without password.
func (c *Conn) URL() string { return c.url }

// Connected reports whether the connection is up now.
func (c *Conn) Connected() bool { return c.nc.IsConnected() }

// Status returns the state of the connection in a word, for logs and health checks.
func (c *Conn) Status() string { return strings.ToLower(c.nc.Status().String()) }

// RTT measures one round trip to the broker.
func (c *Conn) RTT() (time.Duration, error) {
	d, err := c.nc.RTT()
	return d, wrap("ping the broker", err)
}

// ServerVersion returns the version of the broker that it is connected to.
func (c *Conn) ServerVersion() string { return c.nc.ConnectedServerVersion() }

// MaxPayload returns the largest message, headers included, that the broker takes, in bytes.
func (c *Conn) MaxPayload() int64 { return c.nc.MaxPayload() }

// Drain lets running subscriptions finish, sends what is buffered and closes the connection, or closes it at the end of
// ctx.
func (c *Conn) Drain(ctx context.Context) error {
	err := c.nc.Drain()
	if err != nil {
		c.nc.Close()
	}
	select {
	case <-c.closed:
	case <-ctx.Done():
		c.nc.Close()
		<-c.closed
		err = ctx.Err()
	}
	if errors.Is(err, nats.ErrConnectionClosed) {
		err = nil
	}
	return wrap("drain the broker connection", err)
}

// Close closes the connection at once. It may be called again.
func (c *Conn) Close() {
	c.nc.Close()
	<-c.closed
}

// RedactURL returns the URL or URLs without passwords and tokens.
func RedactURL(list string) string {
	parts := strings.Split(list, ",")
	for i, p := range parts {
		u, err := url.Parse(strings.TrimSpace(p))
		if err != nil {
			parts[i] = "(address that cannot be read)"
			continue
		}
		if u.User != nil {
			u.User = url.User("xxxxx")
		}
		parts[i] = u.String()
	}
	return strings.Join(parts, ",")
}
