package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/share"
)

// ServiceName is the name under which `nats micro ls` shows the workers.
const ServiceName = "idpsync"

// A Request is one command that came by request-reply.
type Request struct {
	Subject    string
	Header     providers.Header
	Data       []byte
	ReceivedAt time.Time
}

// A Response is the answer to a [Request]. A Status of 400 and above makes it an error, in the words of the micro
// services protocol too (Nats-Service-Error and -Code); the body is sent in either case.
type Response struct {
	Status  int
	Code    string // of an error; see worker.Code
	Message string // of an error, in one line
	Header  providers.Header
	Data    []byte
}

// ServeOptions say how [Serve] answers.
type ServeOptions struct {
	Version string // of the program, as semantic version; what is not becomes 0.0.0
	Memory  int64  // bytes of all requests in hand, with what each costs beside its own; default 64 MiB; tenants share it, and beyond it the answer is busy
	// Inboxes are what a reply subject has to begin with for the request to be answered; default [DefaultInbox]. A worker
	// may publish where its requesters may not, so that any other reply subject would let them write there.
	Inboxes []string
	Refused func() // called for each request that names another reply subject; optional
	Now     func() time.Time
	Log     *slog.Logger
}

// DefaultInbox is what the reply subjects of NATS clients begin with.
const DefaultInbox = "_INBOX"

// A Service answers requests until it is stopped.
type Service struct {
	conn    *Conn
	svc     micro.Service
	handler func(context.Context, Request) Response
	inboxes []string
	refused func()
	now     func() time.Time
	log     *slog.Logger
	ctx     context.Context //nolint:containedctx // of the handlers, until Stop runs out of time
	cancel  context.CancelFunc
	running sync.WaitGroup
	memory  *share.Pool

	mu     sync.RWMutex // held for reading while a request is let in
	closed bool

	refusedMu    sync.Mutex
	refusedAt    time.Time // of the last log line about a reply subject that is no inbox
	refusedCount int       // of such requests since

	inFlight, handled, failed, busy, badReply atomic.Int64
}

// refusedLog is the least time between two log lines about reply subjects that are no inboxes.
const refusedLog = time.Minute

// serviceStats is the data of an endpoint in $SRV.STATS. Micro's own numbers end where a request is queued.
type serviceStats struct {
	Handled  int64 `json:"handled"`
	Failed   int64 `json:"failed"`
	Busy     int64 `json:"busy"`
	InFlight int64 `json:"in_flight"`
	Refused  int64 `json:"refused"` // their reply subject is no inbox
}

// Serve answers the commands of [record.Routes], as on idpsync.rpc.<tenant>.v1.users.create, as a micro service. Workers share the requests. The handler is called concurrently; its context ends when ctx does or when a
// [Service.Stop] runs out of time. Requests without a reply subject are dropped, as no one could learn what became of
// them, and so are those whose reply subject is no inbox.
func Serve(ctx context.Context, c *Conn, handler func(context.Context, Request) Response, o ServeOptions) (*Service, error) {
	if o.Memory <= 0 {
		o.Memory = 64 << 20
	}
	if len(o.Inboxes) == 0 {
		o.Inboxes = []string{DefaultInbox}
	}
	if o.Refused == nil {
		o.Refused = func() {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = c.log
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &Service{
		conn: c, handler: handler, inboxes: o.Inboxes, refused: o.Refused, now: o.Now, log: o.Log,
		ctx: ctx, cancel: cancel, memory: share.NewPool(o.Memory),
	}
	stats := func(*micro.Endpoint) any {
		return serviceStats{s.handled.Load(), s.failed.Load(), s.busy.Load(), s.inFlight.Load(), s.badReply.Load()}
	}
	config := micro.Config{
		Name: ServiceName, Version: semanticVersion(o.Version), Description: "Creates users by command",
		QueueGroup: ServiceName, StatsHandler: stats,
		ErrorHandler: func(_ micro.Service, err *micro.NATSError) {
			o.Log.Error("request-reply service", "subject", err.Subject, "error", err.Description)
		},
	}
	svc, err := micro.AddService(c.nc, config)
	if err != nil {
		cancel()
		return nil, wrap("serve requests", err)
	}
	s.svc = svc
	if err := s.subscribe(ctx); err != nil {
		stopCtx, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer done()
		_ = s.Stop(stopCtx)
		return nil, err
	}
	return s, nil
}

// flushTimeout bounds the wait for the broker to have the subscriptions.
const flushTimeout = 5 * time.Second

// subscribe adds the endpoints and waits until the broker has them: who asks from then on finds somebody.
func (s *Service) subscribe(ctx context.Context) error {
	for _, r := range record.Routes() {
		if r.Endpoint() == "" {
			continue
		}
		if err := s.svc.AddEndpoint(r.Endpoint(), micro.HandlerFunc(s.accept), micro.WithEndpointSubject(r.RequestSubject())); err != nil {
			return wrap("serve "+r.RequestSubject(), err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	return wrap("serve requests", s.conn.nc.FlushWithContext(ctx))
}

// RequestCost is what a request in hand costs beside its own bytes.
const RequestCost = 16 << 10

// accept lets one request in. Micro calls it for one request at a time, so it must not handle any itself.
func (s *Service) accept(r micro.Request) {
	if r.Reply() == "" {
		return
	}
	if !s.isInbox(r.Reply(), r.Subject()) {
		s.refuseReply(r.Subject(), r.Reply())
		return
	}
	m := &nats.Msg{Subject: r.Subject(), Reply: r.Reply(), Header: nats.Header(r.Headers()), Data: r.Data()}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		s.reply(m, refusal(503, "unavailable", "This worker is stopping; try again."))
		return
	}
	// The broker's permissions name the tenant of a subject.
	address, _ := record.ParseSubject(m.Subject)
	memory := s.memory.Hold(address.Tenant, "")
	if !memory.Take(int64(m.Size()) + RequestCost) {
		s.busy.Add(1)
		s.reply(m, refusal(429, "busy", "Too many requests wait already; try again later."))
		return
	}
	s.running.Go(func() {
		defer memory.Release()
		s.handle(m)
	})
}

// isInbox reports whether the answer to a request may be sent to a reply subject. Where inboxes name the tenant, as in
// deploy/nats-server.conf, it must be that of the request; and none is the worker's own.
func (s *Service) isInbox(reply, subject string) bool {
	own := s.conn.inbox
	if strings.ContainsAny(reply, "*> \t\r\n") || own != "" && !slices.Contains(s.inboxes, own) && strings.HasPrefix(reply, own+".") {
		return false
	}
	if tokens := strings.SplitN(reply, ".", 3); len(tokens) == 3 {
		owner, named := providers.ParseUUID(tokens[1])
		address, _ := record.ParseSubject(subject) // the tenant is there even when the rest is wrong
		if named && owner != address.Tenant || tokens[1] == operatorInbox {
			return false
		}
	}
	return slices.ContainsFunc(s.inboxes, func(p string) bool { return strings.HasPrefix(reply, p) })
}

// operatorInbox is the second token of the inboxes of operators in deploy/nats-server.conf, who send no such requests.
const operatorInbox = "operator"

// maxLoggedSubject bounds what the log repeats of a subject that a requester chose, in bytes.
const maxLoggedSubject = 128

// refuseReply counts a request that gets no answer, and logs it unless that was done a moment ago: the requester chooses
// how many there are.
func (s *Service) refuseReply(subject, reply string) {
	s.badReply.Add(1)
	s.refused()
	s.refusedMu.Lock()
	s.refusedCount++
	now, count := s.now(), s.refusedCount
	log := s.refusedAt.IsZero() || now.Sub(s.refusedAt) >= refusedLog
	if log {
		s.refusedAt, s.refusedCount = now, 0
	}
	s.refusedMu.Unlock()
	if log {
		s.log.Warn("request not answered, as its reply subject is no inbox; see --reply-inboxes if it should be one",
			"subject", subject[:min(len(subject), maxLoggedSubject)], "reply", reply[:min(len(reply), maxLoggedSubject)], "count", count)
	}
}

func (s *Service) handle(m *nats.Msg) {
	s.inFlight.Add(1)
	resp := s.call(s.ctx, m)
	s.inFlight.Add(-1)
	s.reply(m, resp)
}

func (s *Service) call(ctx context.Context, m *nats.Msg) (resp Response) {
	defer func() {
		if p := recover(); p != nil {
			// The value may hold what the request held.
			s.log.Error("request panicked", "subject", m.Subject, "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			resp = refusal(500, "internal", "The request could not be processed.")
		}
	}()
	return s.handler(ctx, Request{Subject: m.Subject, Header: providers.Header(m.Header), Data: m.Data, ReceivedAt: s.now()})
}

// reply sends resp. The status always goes in Idpsync-Status; an error has micro's two headers besides.
func (s *Service) reply(to *nats.Msg, resp Response) {
	out := &nats.Msg{Subject: to.Reply, Data: resp.Data, Header: make(nats.Header, len(resp.Header)+3)}
	for k, v := range resp.Header {
		out.Header[k] = v
	}
	if resp.Status != 0 {
		out.Header["Idpsync-Status"] = []string{strconv.Itoa(resp.Status)}
	}
	if resp.Status >= 400 {
		message := oneLine(resp.Message)
		if message == "" {
			message = resp.Code
		}
		out.Header[micro.ErrorHeader] = []string{message}
		out.Header[micro.ErrorCodeHeader] = []string{strconv.Itoa(resp.Status)}
		s.failed.Add(1)
	}
	s.handled.Add(1)
	if err := s.conn.nc.PublishMsg(out); err != nil {
		s.log.Warn("reply not sent", "subject", to.Subject, "error", err.Error())
	}
}

// refusal makes the answer to a request that no handler saw.
func refusal(status int, code, message string) Response {
	body, _ := json.Marshal(struct { // strings only: it cannot fail
		Code    string         `json:"code"`
		Message string         `json:"message"`
		Details map[string]any `json:"details"`
		Notices []string       `json:"notices"`
	}{code, message, map[string]any{}, []string{}})
	return Response{Status: status, Code: code, Message: message, Data: body}
}

// Stop takes no further requests, answers those that it has, and returns when that is done. At the end of ctx it cancels
// the handlers' context, so that they return early, and still waits for them.
func (s *Service) Stop(ctx context.Context) error {
	err := s.svc.Stop()
	// The broker has taken the subscriptions away once a round trip is over; what it sent before has then been accepted
	// once every subscription has come as far as this barrier.
	if s.conn.nc.IsConnected() {
		if e := s.conn.nc.FlushWithContext(ctx); e == nil {
			passed := make(chan struct{})
			if e := s.conn.nc.Barrier(func() { close(passed) }); e == nil {
				select {
				case <-passed:
				case <-ctx.Done():
				}
			}
		}
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()

	done := make(chan struct{})
	go func() {
		defer close(done)
		s.running.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.cancel()
		<-done
		err = ctx.Err()
	}
	s.cancel()
	if s.conn.nc.IsConnected() {
		if e := s.conn.nc.FlushTimeout(time.Second); err == nil && e != nil {
			err = e
		}
	}
	return wrap("stop serving requests", err)
}

var semver = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$`)

// semanticVersion returns v without a leading v when it is a semantic version, as micro demands one.
func semanticVersion(v string) string {
	if len(v) > 0 && v[0] == 'v' {
		v = v[1:]
	}
	if !semver.MatchString(v) {
		return "0.0.0"
	}
	return v
}
