package stream

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"golang.org/x/crypto/bcrypt"

	"github.com/idpsync/idpsync/providers"
)

// EmbeddedOptions say how to run a broker in this process.
type EmbeddedOptions struct {
	DataDir    string // JetStream lies in its folder jetstream; required
	Listen     string // host and port, default 127.0.0.1:4222; port 0 picks a free one
	Open       bool   // no login; only on loopback
	SyncAlways bool   // every write reaches the disk before it is acknowledged; about a tenth of the speed
	MaxPayload int32  // of a message with its headers, in bytes; default 1 MiB
	Rand       io.Reader
	Log        *slog.Logger
}

// A Server is a broker in this process. Its methods are safe for concurrent use.
type Server struct {
	mu      sync.Mutex
	server  *natsserver.Server // the running one; see Revive
	options *natsserver.Options
	log     *slog.Logger
	revived time.Time // last attempt
	down    bool      // the last attempt has failed, or is under way
	ended   bool      // by Shutdown

	credentials Credentials
	dataDir     string
	unlock      func()
	stop        sync.Once
}

// Credentials are how to reach the embedded broker of a data directory.
type Credentials struct {
	URL      string
	User     string           // "" when the broker is open
	Password providers.Secret // "" when the broker is open
}

// Options returns the connection options for the credentials.
func (c Credentials) Options() Options {
	return Options{URL: c.URL, User: c.User, Password: c.Password}
}

// Embedded starts a broker on the data directory and waits until it takes connections. Only one process at a time can
// run one there; a second gets an error of class [ErrDataDirInUse].
//
// Unless o.Open it asks for a login, with a random password that is made at the first start and kept in the data
// directory, readable by its owner only; [ReadCredentials] finds it.
func Embedded(ctx context.Context, o EmbeddedOptions) (*Server, error) {
	const op = "start the embedded broker"
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:4222"
	}
	if o.DataDir == "" {
		return nil, &Error{Op: op, Class: ErrOptions, Hint: "give --data-dir"}
	}
	host, port, err := splitListen(o.Listen)
	if err != nil {
		return nil, &Error{Op: op, Class: ErrOptions, Hint: "write --nats-listen as host:port", Err: err}
	}
	if o.Open && !loopback(host) {
		return nil, &Error{Op: op, Class: ErrOptions, Hint: "a broker without login listens on loopback only; use 127.0.0.1:" + strconv.Itoa(port)}
	}
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return nil, &Error{Op: op, Class: ErrOptions, Hint: "check --data-dir", Err: err}
	}
	unlock, err := lockFile(filepath.Join(o.DataDir, lockName))
	if errors.Is(err, errLocked) {
		hint := "stop the other idpsync, or use another --data-dir"
		if c, err := ReadCredentials(o.DataDir); err == nil {
			hint = "another idpsync runs the broker of " + o.DataDir + " at " + c.URL + "; stop it, or use another --data-dir"
		}
		return nil, &Error{Op: op, Class: ErrDataDirInUse, Hint: hint}
	}
	if err != nil {
		return nil, &Error{Op: op, Class: ErrOptions, Hint: "check --data-dir", Err: err}
	}
	s := &Server{dataDir: o.DataDir, unlock: unlock}
	if err := s.start(ctx, o, host, port); err != nil {
		s.Shutdown()
		return nil, err
	}
	if !loopback(host) {
		o.Log.Warn("the embedded broker listens beyond loopback without TLS", "listen", o.Listen)
	}
	return s, nil
}

// InUse reports whether a broker runs on the data directory now, in this process or another.
func InUse(dataDir string) bool {
	path := filepath.Join(dataDir, lockName)
	if _, err := os.Stat(path); err != nil {
		return false
	}
	unlock, err := lockFile(path)
	if err != nil {
		return errors.Is(err, errLocked)
	}
	unlock()
	return false
}

// lockName is the file that the process with the broker keeps locked.
const lockName = "broker.lock"

func (s *Server) start(ctx context.Context, o EmbeddedOptions, host string, port int) error {
	const op = "start the embedded broker"
	if !o.Open {
		old, err := ReadCredentials(o.DataDir)
		switch {
		case err == nil && old.Password != "":
			s.credentials.User, s.credentials.Password = old.User, old.Password
		case err == nil || errors.Is(err, fs.ErrNotExist):
			secret := make([]byte, 24)
			if _, err := io.ReadFull(o.Rand, secret); err != nil {
				return &Error{Op: op, Err: err}
			}
			s.credentials.User, s.credentials.Password = "idpsync", providers.Secret(hex.EncodeToString(secret))
		default:
			return err
		}
	}
	if port == 0 {
		port = natsserver.RANDOM_PORT
	}
	// The server holds a hash, or it would warn of a password in clear. The least cost is enough for a random one.
	var hash []byte
	if s.credentials.Password != "" {
		var err error
		if hash, err = bcrypt.GenerateFromPassword([]byte(s.credentials.Password.Reveal()), bcrypt.MinCost); err != nil {
			return &Error{Op: op, Class: ErrOptions, Hint: "remove " + filepath.Join(o.DataDir, credentialsFile), Err: err}
		}
	}
	opts := &natsserver.Options{
		ServerName:             "idpsync-embedded",
		Host:                   host,
		Port:                   port,
		Username:               s.credentials.User,
		Password:               string(hash),
		NoSigs:                 true,
		JetStream:              true,
		StoreDir:               o.DataDir, // the server adds the folder jetstream
		SyncAlways:             o.SyncAlways,
		MaxPayload:             o.MaxPayload,
		JetStreamMaxStore:      1 << 50, // the streams' own limits bound the disk, see Server.Topology
		DisableJetStreamBanner: true,
	}
	s.options, s.log = opts, o.Log
	srv, err := s.launch(ctx)
	if err != nil {
		return err
	}
	addr, ok := srv.Addr().(*net.TCPAddr)
	if !ok {
		return &Error{Op: op, Err: fmt.Errorf("it listens on %v", srv.Addr())}
	}
	opts.Port = addr.Port // of one that is started again, too
	s.credentials.URL = "nats://" + listenAddress(srv.Addr(), host)
	return writeCredentials(o.DataDir, s.credentials)
}

// launch starts a server with the options and waits until it takes connections.
func (s *Server) launch(ctx context.Context) (*natsserver.Server, error) {
	const op = "start the embedded broker"
	srv, err := natsserver.NewServer(s.options.Clone())
	if err != nil {
		return nil, &Error{Op: op, Class: ErrOptions, Err: err}
	}
	log := &serverLog{log: s.log}
	srv.SetLoggerV2(log, false, false, false)
	s.mu.Lock()
	s.server = srv
	s.mu.Unlock()
	started := make(chan struct{})
	go func() {
		defer close(started)
		srv.Start()
	}()
	for !srv.ReadyForConnections(50 * time.Millisecond) {
		if fatal := log.fatal(); fatal != "" {
			<-started
			hint := "see the log"
			if strings.Contains(fatal, "address already in use") {
				hint = "another program listens on " + net.JoinHostPort(s.options.Host, strconv.Itoa(s.options.Port)) + "; use --nats-listen with another port (0 picks a free one)"
			}
			return nil, &Error{Op: op, Hint: hint, Err: errors.New(fatal)}
		}
		if err := ctx.Err(); err != nil {
			return nil, wrap(op, err)
		}
	}
	<-started
	if !srv.JetStreamEnabled() {
		return nil, &Error{Op: op, Hint: "check that " + filepath.Join(s.dataDir, "jetstream") + " is writable", Err: errors.New("JetStream did not start")}
	}
	return srv, nil
}

// current returns the server that runs now.
func (s *Server) current() *natsserver.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.server
}

// InProcessConn makes a connection to the server that runs now, for the client library.
func (s *Server) InProcessConn() (net.Conn, error) { return s.current().InProcessConn() }

// URL returns the address on which the broker listens, without credentials.
func (s *Server) URL() string { return s.credentials.URL }

// Credentials returns how to connect.
func (s *Server) Credentials() Credentials { return s.credentials }

// Shutdown stops the broker and waits until it has stopped and released the data directory. It may be called again.
func (s *Server) Shutdown() {
	s.stop.Do(func() {
		s.mu.Lock()
		s.ended = true
		srv := s.server
		s.mu.Unlock()
		if srv != nil {
			srv.Shutdown()
			srv.WaitForShutdown()
		}
		s.unlock()
	})
}

// PlainClientHint returns a command line that shows how the plain nats client uses the broker. It names the file that
// holds the password, never the password.
func (s *Server) PlainClientHint() string {
	if s.credentials.User == "" {
		return "nats --server " + s.credentials.URL + " micro ls"
	}
	return ". " + shellQuote(filepath.Join(s.dataDir, environmentFile)) + " && nats micro ls"
}

func splitListen(listen string) (string, int, error) {
	host, p, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.Atoi(p)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("%q is not a port", p)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return host, port, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// listenAddress returns host and actual port; a broker on all addresses is reached through loopback.
func listenAddress(addr net.Addr, host string) string {
	_, port, _ := net.SplitHostPort(addr.String())
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

func shellQuote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// serverLog writes the log of nats-server to slog. Its notices are debug output here; the first fatal one is kept.
type serverLog struct {
	log  *slog.Logger
	mu   sync.Mutex
	last string
}

func (l *serverLog) fatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

func (l *serverLog) write(level slog.Level, format string, args []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, fmt.Sprintf(format, args...), "part", "nats-server")
	}
}

func (l *serverLog) Noticef(format string, v ...any) { l.write(slog.LevelDebug, format, v) }
func (l *serverLog) Warnf(format string, v ...any)   { l.write(slog.LevelWarn, format, v) }
func (l *serverLog) Errorf(format string, v ...any)  { l.write(slog.LevelError, format, v) }
func (l *serverLog) Debugf(format string, v ...any)  { l.write(slog.LevelDebug, format, v) }
func (l *serverLog) Tracef(format string, v ...any)  { l.write(slog.LevelDebug, format, v) }
func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	if l.last == "" {
		l.last = fmt.Sprintf(format, v...)
	}
	l.mu.Unlock()
	l.write(slog.LevelError, format, v)
}

var _ natsserver.Logger = (*serverLog)(nil)
