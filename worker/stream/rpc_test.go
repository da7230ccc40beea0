package stream_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/idpsync/idpsync/worker"
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
		a, err := worker.ParseSubject(r.Subject)
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
		t.Errorf("%s %v", r.Data, r.Header)
	}
	r = request(t, nc, &nats.Msg{Subject: "idpsync.rpc." + strings.ToUpper(tenantA) + ".users.create"})
	if string(r.Data) != "organization:" {
		t.Errorf("%s %v", r.Data, r.Header)
	}
	r = request(t, nc, &nats.Msg{Subject: createUser, Data: []byte("bad")})
	if r.Header.Get(micro.ErrorCodeHeader) != "422" || r.Header.Get(micro.ErrorHeader) != "two lines" || r.Header.Get("Idpsync-Status") != "422" ||
		r.Header.Get("Idpsync-Outcome") != "rejected" || string(r.Data) != `{"code":"invalid_roles"}` {
		t.Errorf("%s %v", r.Data, r.Header)
	}
	r = request(t, nc, &nats.Msg{Subject: createUser, Data: []byte("panic")})
	var body worker.ErrorBody
	if err := json.Unmarshal(r.Data, &body); err != nil || body.Code != worker.CodeInternal || r.Header.Get(micro.ErrorCodeHeader) != "500" || strings.Contains(string(r.Data), "secret") {
		t.Errorf("%s %v", r.Data, r.Header)
	}

	// What `nats micro ls` and `nats micro stats` ask.
	var ping micro.Ping
	ask(t, nc, "$SRV.PING."+stream.ServiceName, &ping)
	if ping.Name != "idpsync" || ping.Version != "1.2.3" {
		t.Errorf("%+v", ping)
	}
	var info micro.Info
	ask(t, nc, "$SRV.INFO."+stream.ServiceName, &info)
	if len(info.Endpoints) != 2 || info.Endpoints[0].QueueGroup != "idpsync" {
		t.Errorf("%+v", info)
	}
	var stats micro.Stats
	ask(t, nc, "$SRV.STATS."+stream.ServiceName, &stats)
	if got := string(stats.Endpoints[0].Data); got != `{"handled":4,"failed":2,"busy":0,"in_flight":0}` {
		t.Errorf("%s", got)
	}
}

func ask(t testing.TB, nc *nats.Conn, subject string, into any) {
	t.Helper()
	r := request(t, nc, nats.NewMsg(subject))
	if err := json.Unmarshal(r.Data, into); err != nil {
		t.Fatal(err)
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
	serve(t, dial(t, s.Credentials().Options()), handler, stream.ServeOptions{Concurrency: 1, Queue: 1})
	nc := client(t, s)
	var wg sync.WaitGroup
	status := make(chan string, 100)
	ask := func() {
		wg.Go(func() { status <- request(t, nc, nats.NewMsg(createUser)).Header.Get("Idpsync-Status") })
	}
	ask()
	<-entered // one is being handled
	for range 5 {
		ask() // one of these waits
	}
	for range 4 {
		if got := <-status; got != "429" {
			t.Errorf("status %s", got)
		}
	}
	close(release)
	wg.Wait()
	for range 2 {
		if got := <-status; got != "201" {
			t.Errorf("status %s", got)
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
	svc := serve(t, dial(t, s.Credentials().Options()), handler, stream.ServeOptions{Concurrency: 1})
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
			t.Fatal(m, err)
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
		t.Error("it says that all went well")
	}
	if m := <-got; m.Header.Get(micro.ErrorCodeHeader) != "503" {
		t.Error(m.Header)
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
		t.Errorf("50 requests were handled %d times", handled)
	}
}
