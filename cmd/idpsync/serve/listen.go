package serve

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/httpapi"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

// Limits of the HTTP listeners.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 15 * time.Second // of a body
	answerTimeout = 30 * time.Second // from the headers to the answer
	writeTimeout  = answerTimeout + 5*time.Second
	idleTimeout   = 2 * time.Minute
	closeTimeout  = 10 * time.Second // for requests that were let in
	maxHeader     = 16 << 10

	maxConnections = 2048     // of one listener
	maxStreams     = 64       // requests of one HTTP/2 connection
	streamBuffer   = 64 << 10 // what an HTTP/2 connection may send before anybody reads it, in bytes; the least there can be
)

// openHTTP opens the HTTP API, unless it is off.
func (s *Service) openHTTP(ctx context.Context, doors *doors) error {
	if s.HTTPListen == kit.Off {
		return nil
	}
	var certificates *certificates
	if s.HTTPCert != "" {
		certificates = newCertificates(s.HTTPCert, s.HTTPKey)
		if _, err := certificates.get(nil); err != nil {
			return kit.Fail(kit.ExitUsage, "check --http-cert and --http-key", "the certificate of the HTTP API cannot be used: %w", err)
		}
	}
	auth := providers.Authentication{Credentials: s.Credentials, Tokens: s.Directories, Purpose: providers.PurposeCommands}
	handler := httpapi.New(s.Worker.Admit, s.Worker.Submit, auth.Tenant, httpapi.Config{
		MaxBody: int64(s.MaxPayload), BodyTimeout: readTimeout, Timeout: answerTimeout, Now: s.Clock.Now, Log: s.Log,
	})
	at, err := doors.listen(ctx, "--http-listen", s.HTTPListen, handler, certificates, s.Log)
	if err == nil {
		s.Log.Info("HTTP API listens", "address", at, "tls", certificates != nil)
		if host, _, err := net.SplitHostPort(at); certificates == nil && (err != nil || !kit.Loopback(host)) {
			s.Log.Warn("the HTTP API listens beyond loopback without TLS; tokens and passwords travel in the clear unless something in front of it has TLS; set --http-cert and --http-key, or listen on 127.0.0.1", "address", at)
		}
	}
	return err
}

// openAdmin opens /healthz, /readyz and /metrics, unless they are off.
func (s *Service) openAdmin(ctx context.Context, doors *doors) error {
	if s.AdminListen == kit.Off {
		return nil
	}
	at, err := doors.listen(ctx, "--admin-listen", s.AdminListen, s.adminHandler(), nil, s.Log)
	if err == nil {
		s.Log.Info("admin listens", "address", at, "paths", "/healthz /readyz /metrics")
	}
	return err
}

// adminHandler serves what orchestrators and monitoring ask. It shows no data of any tenant.
func (s *Service) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if ended := s.ended.Load(); ended != nil {
			if what := (*ended)(); what != "" {
				w.WriteHeader(http.StatusServiceUnavailable)
				fmt.Fprintln(w, what)
				return
			}
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		failing, degraded := s.health.state()
		if s.running.Err() != nil {
			failing = append(failing, failure{Name: "draining", What: "the worker was stopped", Hint: "it leaves within drain_timeout"})
		}
		status := http.StatusOK
		if len(failing) > 0 {
			status = http.StatusServiceUnavailable
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"ready": len(failing) == 0, "failing": failing, "degraded": degraded}) // whoever asked is gone
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.Metrics.Gatherer(), promhttp.HandlerOpts{}))
	return mux
}

// openRPC answers the commands that come by request-reply.
func (s *Service) openRPC(ctx context.Context, doors *doors) error {
	service, err := stream.Serve(context.WithoutCancel(ctx), s.Conn, s.answerRPC, stream.ServeOptions{
		Version: s.Version, Inboxes: s.ReplyInboxes, Refused: s.Metrics.replyRefused, Now: s.Clock.Now, Log: s.Log,
	})
	if err != nil {
		return err
	}
	doors.closes = append(doors.closes, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		return service.Stop(ctx)
	})
	return nil
}

// answerRPC takes one request through the pipeline.
func (s *Service) answerRPC(ctx context.Context, r stream.Request) stream.Response {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	a, h := s.Worker.Submit(ctx, worker.Submission{
		Subject: r.Subject, Door: providers.DoorRPC, Header: r.Header, Payload: r.Data, ReceivedAt: r.ReceivedAt,
	})
	out := stream.Response{Status: a.Status, Header: h, Data: a.Body}
	if a.Status >= 400 {
		var body record.ErrorBody
		if err := json.Unmarshal(a.Body, &body); err != nil {
			s.Log.Error("answer is not an error object", "status", a.Status, "error", err)
		}
		out.Code, out.Message = string(body.Code), body.Message
	}
	return out
}

// listen opens a listener, serves the handler on it, and returns its address. Both end when the doors are closed.
func (d *doors) listen(ctx context.Context, flag, address string, handler http.Handler, certificates *certificates, log *slog.Logger) (string, error) {
	var lc net.ListenConfig
	socket, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return "", kit.Fail(kit.ExitFailure, "free the address, or choose another one with "+flag+"; port 0 picks a free one", "cannot listen: %w", err)
	}
	socket = newBounded(socket, maxConnections)
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout + readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		HTTP2:          &http.HTTP2Config{MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerConnection: streamBuffer, MaxReceiveBufferPerStream: streamBuffer},
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	serve := server.Serve
	if certificates != nil {
		server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificates.get}
		serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := serve(socket); !errors.Is(err, http.ErrServerClosed) {
			d.failed <- fmt.Errorf("the listener on %s ended: %w", socket.Addr(), err)
		}
	}()
	d.addresses[flag] = socket.Addr().String()
	d.closes = append(d.closes, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		err := server.Shutdown(ctx)
		if err != nil {
			err = fmt.Errorf("requests on %s were cut off: %w", socket.Addr(), errors.Join(err, server.Close()))
		}
		<-served
		return err
	})
	return socket.Addr().String(), nil
}

// certificates is a certificate with its key, read again when the file changes, so that a renewal needs no restart. A
// renewed pair that cannot be used leaves the former one in force.
type certificates struct {
	cert, key string

	mu      sync.Mutex
	loaded  *tls.Certificate
	changed time.Time // of the files, when they were loaded
}

func newCertificates(cert, key string) *certificates { return &certificates{cert: cert, key: key} }

// get is the GetCertificate of a tls.Config.
func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed, err := newest(c.cert, c.key)
	if err == nil && (c.loaded == nil || changed.After(c.changed)) {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(c.cert, c.key); err == nil {
			c.loaded, c.changed = &pair, changed
		}
	}
	if c.loaded == nil {
		return nil, err
	}
	return c.loaded, nil
}

// newest returns when the files were last changed.
func newest(paths ...string) (time.Time, error) {
	var t time.Time
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return t, err
		}
		if info.ModTime().After(t) {
			t = info.ModTime()
		}
	}
	return t, nil
}
