package stream_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

const createUser = "idpsync.rpc." + tenantA + ".v1.users.create"

// client returns a bare connection, as another program has it.
func client(t testing.TB, s *stream.Server) *nats.Conn {
	t.Helper()
	cr := s.Credentials()
	nc, err := nats.Connect(cr.URL, nats.UserInfo(cr.User, cr.Password.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func request(t testing.TB, nc *nats.Conn, m *nats.Msg) *nats.Msg {
	t.Helper()
	r, err := nc.RequestMsgWithContext(within(t, time.Minute), m)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func serve(t testing.TB, c *stream.Conn, handler func(context.Context, stream.Request) stream.Response, o stream.ServeOptions) *stream.Service {
	t.Helper()
	s, err := stream.Serve(t.Context(), c, handler, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = s.Stop(ctx)
	})
	return s
}

func TestRequestReply(t *testing.T) {
	s := broker(t)
	received := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	handler := func(_ context.Context, r stream.Request) stream.Response {
		a, err := record.ParseSubject(r.Subject)
		if err != nil || !r.ReceivedAt.Equal(received) {
			return stream.Response{Status: 400, Code: "malformed", Message: fmt.Sprint(err)}
		}
		switch string(r.Data) {
		case "panic":
			panic("secret")
		case "bad":
			return stream.Response{
				Status: 422, Code: "invalid_roles", Message: "two\nlines", Data: []byte(`{"code":"invalid_roles"}`),
				Header: map[string][]string{"Idpsync-Outcome": {"rejected"}},
			}
		}
		return stream.Response{
			Status: 201, Data: []byte(string(a.Shape) + ":" + r.Header.Get("authorization")),
			Header: map[string][]string{"Content-Location": {"u"}, "Idpsync-Outcome": {"created"}},
		}
	}
	serve(t, dial(t, s.Credentials().Options()), handler, stream.ServeOptions{Version: "v1.2.3", Now: func() time.Time { return received }})
	nc := client(t, s)

	r := request(t, nc, &nats.Msg{Subject: createUser, Header: nats.Header{"Authorization": {"Bearer x"}}})
	if string(r.Data) != "tenant:Bearer x" || r.Header.Get("Idpsync-Status") != "201" || r.Header.Get("Content-Location") != "u" ||
		r.Header.Get(micro.ErrorHeader) != "" {
		t.Errorf("the user of a tenant is answered by %s with the header %v, want status 201 and no error", r.Data, r.Header)
	}
	r = request(t, nc, &nats.Msg{Subject: "idpsync.rpc." + strings.ToUpper(tenantA) + ".users.create"})
	if string(r.Data) != "organization:" {
		t.Errorf("the user of an organization is answered by %s with the header %v, want the other handler", r.Data, r.Header)
	}
	r = request(t, nc, &nats.Msg{Subject: createUser, Data: []byte("bad")})
	if r.Header.Get(micro.ErrorCodeHeader) != "422" || r.Header.Get(micro.ErrorHeader) != "two lines" || r.Header.Get("Idpsync-Status") != "422" ||
		r.Header.Get("Idpsync-Outcome") != "rejected" || string(r.Data) != `{"code":"invalid_roles"}` {
		t.Errorf("a rejection is answered by %s with the header %v, want 422, rejected, and the message on one line", r.Data, r.Header)
	}
	r = request(t, nc, &nats.Msg{Subject: createUser, Data: []byte("panic")})
	var body record.ErrorBody
	if err := json.Unmarshal(r.Data, &body); err != nil || body.Code != record.CodeInternal || r.Header.Get(micro.ErrorCodeHeader) != "500" || strings.Contains(string(r.Data), "secret") {
		t.Errorf("a panic is answered by %s with the header %v, want 500 and internal without the secret", r.Data, r.Header)
	}

	// What `nats micro ls` and `nats micro stats` ask.
	var ping micro.Ping
	ask(t, nc, "$SRV.PING."+stream.ServiceName, &ping)
	if ping.Name != "idpsync" || ping.Version != "1.2.3" {
		t.Errorf("the service says of itself %+v, want idpsync 1.2.3", ping)
	}
	var info micro.Info
	ask(t, nc, "$SRV.INFO."+stream.ServiceName, &info)
	if len(info.Endpoints) != 2 || info.Endpoints[0].QueueGroup != "idpsync" {
		t.Errorf("the service has the endpoints %+v, want two in the queue group idpsync", info)
	}
	var stats micro.Stats
	ask(t, nc, "$SRV.STATS."+stream.ServiceName, &stats)
	if got := string(stats.Endpoints[0].Data); got != `{"handled":4,"failed":2,"busy":0,"in_flight":0,"refused":0}` {
		t.Errorf("the counts are %s, want 4 handled, 2 of them failed", got)
	}
}

func ask(t testing.TB, nc *nats.Conn, subject string, into any) {
	t.Helper()
	r := request(t, nc, nats.NewMsg(subject))
	if err := json.Unmarshal(r.Data, into); err != nil {
		t.Fatal(err)
	}
}

// TestAnswersGoToInboxesAlone asks for answers on subjects where the worker may publish and the requester may not.
func TestAnswersGoToInboxesAlone(t *testing.T) {
	s := broker(t)
	log := &logBuffer{}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var mu sync.Mutex
	asked, refused := 0, 0
	handler := func(_ context.Context, r stream.Request) stream.Response {
		mu.Lock()
		defer mu.Unlock()
		asked++
		return stream.Response{Status: 201, Header: map[string][]string{"Idpsync-Outcome": {"created"}}}
	}
	c := dial(t, s.Credentials().Options())
	migrate(t, c)
	serve(t, c, handler, stream.ServeOptions{
		Inboxes: []string{"_INBOX", "answers."}, Refused: func() { mu.Lock(); defer mu.Unlock(); refused++ },
		Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }, Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	nc := client(t, s)
	wrong := []string{
		record.ResultSubject(tenantB, "okta", record.OutcomeCreated), "idpsync.login." + tenantB + ".okta", "idpsync.feed." + tenantB + ".hr",
		"idpsync.command." + tenantB + ".users.create", record.DeadLetterSubject(tenantB, "okta", record.CodeMalformed),
		"idpsync.replay." + tenantB, createUser, "$JS.API.STREAM.PURGE.IDPSYNC_RESULTS", "$JS.API.STREAM.DELETE.IDPSYNC_EVENTS",
		"$SYS.REQ.SERVER.PING", "$SRV.PING", "inbox.mine", "INBOX.mine",
		"_INBOX." + tenantB + ".admin.x", "_INBOX." + strings.ToUpper(tenantB) + ".admin.x",
	}
	seen, err := nc.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	for _, reply := range wrong {
		if err := nc.PublishRequest(createUser, reply, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, reply := range []string{"_INBOX.mine", "_INBOX_mine.x", "answers.x", "_INBOX." + tenantA + ".admin.x"} {
		if err := nc.PublishRequest(createUser, reply, nil); err != nil {
			t.Fatal(err)
		}
		for { // the service takes requests in order, so that all before this one were decided on
			m, err := seen.NextMsgWithContext(within(t, time.Minute))
			if err != nil {
				t.Fatalf("no answer on %s: %v", reply, err)
			}
			if m.Subject == reply {
				break
			}
			if m.Reply == "" && m.Header.Get("Idpsync-Status") != "" {
				t.Errorf("an answer was sent to %s", m.Subject)
			}
		}
	}
	mu.Lock()
	if asked != 4 || refused != len(wrong) {
		t.Errorf("%d requests were handled and %d refused, want 4 and %d", asked, refused, len(wrong))
	}
	now = now.Add(2 * time.Minute)
	mu.Unlock()
	for _, name := range []string{stream.StreamEvents, stream.StreamResults, stream.StreamDeadLetters, stream.StreamReplays} {
		if n := count(t, c, name); n != 0 {
			t.Errorf("%s holds %d messages, want none", name, n)
		}
	}
	if n := strings.Count(log.String(), "reply subject is no inbox"); n != 1 {
		t.Errorf("it was logged %d times within a minute, want once:\n%s", n, log.String())
	}
	if err := nc.PublishRequest(createUser, "$SYS."+strings.Repeat("x", 4000), nil); err != nil {
		t.Fatal(err)
	}
	request(t, nc, nats.NewMsg(createUser))
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if last := lines[len(lines)-1]; len(lines) != 2 || !strings.Contains(last, fmt.Sprintf("count=%d", len(wrong))) || len(last) > 1000 {
		t.Errorf("a minute later the log has %d lines, the last of them %q; want a second one with the count %d", len(lines), last, len(wrong))
	}
	var stats micro.Stats
	ask(t, nc, "$SRV.STATS."+stream.ServiceName, &stats)
	if !strings.Contains(string(stats.Endpoints[0].Data), fmt.Sprintf(`"refused":%d`, len(wrong)+1)) {
		t.Errorf("the statistics say %s, want %d refused", stats.Endpoints[0].Data, len(wrong)+1)
	}
}

func TestTooManyRequestsAreBusy(t *testing.T) {
	s := broker(t)
	entered, release := make(chan struct{}, 100), make(chan struct{})
	handler := func(context.Context, stream.Request) stream.Response {
		entered <- struct{}{}
		<-release
		return stream.Response{Status: 201}
	}
	serve(t, dial(t, s.Credentials().Options()), handler, stream.ServeOptions{Memory: 5 * stream.RequestCost}) // two of the tenant leave room for two of others
	nc := client(t, s)
	var wg sync.WaitGroup
	status := make(chan string, 100)
	ask := func() {
		wg.Go(func() { status <- request(t, nc, nats.NewMsg(createUser)).Header.Get("Idpsync-Status") })
	}
	for range 6 {
		ask() // two of these are let in
	}
	for range 4 {
		if got := <-status; got != "429" {
			t.Errorf("a request too many has the status %s, want 429", got)
		}
	}
	other := nats.NewMsg(strings.Replace(createUser, tenantA, tenantB, 1))
	wg.Go(func() { status <- request(t, nc, other).Header.Get("Idpsync-Status") })
	for range 3 {
		<-entered // the other tenant's is let in too
	}
	close(release)
	wg.Wait()
	for range 3 {
		if got := <-status; got != "201" {
			t.Errorf("a request in time has the status %s, want 201", got)
		}
	}
}

func TestStopAnswersWhatItHas(t *testing.T) {
	s := broker(t)
	entered, release := make(chan struct{}, 10), make(chan struct{})
	handler := func(context.Context, stream.Request) stream.Response {
		entered <- struct{}{}
		<-release
		return stream.Response{Status: 201}
	}
	svc := serve(t, dial(t, s.Credentials().Options()), handler, stream.ServeOptions{})
	nc := client(t, s)
	inbox, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := nc.PublishRequest(createUser, inbox.Subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil { // all of them are with the service
		t.Fatal(err)
	}
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- svc.Stop(within(t, time.Minute)) }()
	for ctx := within(t, time.Minute); ; { // until nobody listens any more
		if _, err := nc.RequestWithContext(ctx, "$SRV.PING."+stream.ServiceName, nil); err != nil {
			break
		}
	}
	close(release)
	for range 5 {
		m, err := inbox.NextMsgWithContext(within(t, time.Minute))
		if err != nil || m.Header.Get("Idpsync-Status") != "201" {
			t.Fatalf("a request before the stop gets %v with the error %v, want status 201", m, err)
		}
	}
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
}

func TestStopCancelsHandlersAtItsDeadline(t *testing.T) {
	s := broker(t)
	entered := make(chan struct{})
	handler := func(ctx context.Context, _ stream.Request) stream.Response {
		close(entered)
		<-ctx.Done()
		return stream.Response{Status: 503, Code: "unavailable"}
	}
	svc := serve(t, dial(t, s.Credentials().Options()), handler, stream.ServeOptions{})
	nc := client(t, s)
	got := make(chan *nats.Msg, 1)
	go func() { got <- request(t, nc, nats.NewMsg(createUser)) }()
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := svc.Stop(ctx); err == nil {
		t.Error("stopping at the deadline ends without an error, want one")
	}
	if m := <-got; m.Header.Get(micro.ErrorCodeHeader) != "503" {
		t.Errorf("the request gets the header %v, want 503", m.Header)
	}
}

func TestWorkersShareRequests(t *testing.T) {
	s := broker(t)
	var mu sync.Mutex
	handled := 0
	for range 3 {
		serve(t, dial(t, s.Credentials().Options()), func(context.Context, stream.Request) stream.Response {
			mu.Lock()
			defer mu.Unlock()
			handled++
			return stream.Response{Status: 200}
		}, stream.ServeOptions{})
	}
	nc := client(t, s)
	for range 50 {
		request(t, nc, nats.NewMsg(createUser))
	}
	mu.Lock()
	defer mu.Unlock()
	if handled != 50 {
		t.Errorf("50 requests were handled %d times, want once each", handled)
	}
}
