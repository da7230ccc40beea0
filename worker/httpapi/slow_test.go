package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/httpapi"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// dial opens a connection of a sender of its own making, which ends with the test.
func dial(t *testing.T, url string) net.Conn {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return c
}

// begin sends the head of a request, and what there is of its body.
func begin(t *testing.T, c net.Conn, tenant, token, length, body string, more ...string) {
	t.Helper()
	head := []string{"POST /v1/users HTTP/1.1", "Host: idpsync", "Content-Type: application/json", "X-Tenant-ID: " + tenant, length}
	if token != "" {
		head = append(head, "Authorization: Bearer "+token)
	}
	if _, err := io.WriteString(c, strings.Join(append(head, more...), "\r\n")+"\r\n\r\n"+body); err != nil {
		t.Fatal(err)
	}
}

// answer reads an answer, and whether the connection ends after it.
func answer(t *testing.T, c net.Conn) (*http.Response, string, bool) {
	t.Helper()
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, &http.Request{Method: http.MethodPost})
	if err != nil {
		t.Fatalf("got no answer, with the error %v; want one", err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if !res.Close {
		return res, string(body), false
	}
	_, err = r.ReadByte()
	return res, string(body), err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

// TestSlowBodiesWithoutACredentialTakeNobodysPlace has more senders that never send their bodies than there are places.
func TestSlowBodiesWithoutACredentialTakeNobodysPlace(t *testing.T) {
	a := newAPI(t)
	const slow = 600
	var conns []net.Conn
	for i := range slow {
		c := dial(t, a.url)
		switch i % 3 {
		case 0:
			begin(t, c, workertest.Acme, "", "Content-Length: 1000", "{")
		case 1:
			begin(t, c, workertest.Acme, a.admin[:len(a.admin)-4]+"AAAA", "Transfer-Encoding: chunked", "1\r\n{\r\n")
		case 2:
			begin(t, c, workertest.Acme, "", "Content-Length: 500000000", "")
		}
		conns = append(conns, c)
	}
	if r := a.post("/v1/users", tenantUser("ada@acme.example"), nil); r.status != 201 {
		t.Errorf("beside %d slow bodies without a credential the answer is %d %s, want 201", slow, r.status, r.raw)
	}
	for i, c := range conns {
		want := "credential_missing"
		if i%3 == 1 {
			want = "credential_unknown"
		}
		if res, body, closed := answer(t, c); res.StatusCode != 401 || !strings.Contains(body, want) || !closed {
			t.Fatalf("slow body %d is answered by %d %s, and the connection closed: %v; want 401 with %s before the body, and true", i, res.StatusCode, body, closed, want)
		}
	}
}

func TestSlowBodiesOfOneTenantLeaveTheOthersTheirPlaces(t *testing.T) {
	a := newAPI(t)
	for range 600 {
		begin(t, dial(t, a.url), workertest.Acme, a.admin, "Content-Length: 1000", "{")
	}
	globex := header{"X-Tenant-ID": workertest.Globex, "Authorization": "Bearer " + a.d.Credential(workertest.Globex, "user")}
	if r := a.post("/v1/users", tenantUser("eve@globex.example"), globex); r.status != 201 {
		t.Errorf("beside 600 slow bodies of another tenant the answer is %d %s, want 201", r.status, r.raw)
	}
	if r := a.post("/v1/users", tenantUser("ada@acme.example"), nil); r.status != 201 {
		t.Errorf("beside 600 slow bodies of its own tenant the answer is %d %s, want 201, as they hold no place", r.status, r.raw)
	}
}

// TestAnswersFromHeadersAreThoseOfThePipeline sends what is refused before the body straight to the pipeline too.
func TestAnswersFromHeadersAreThoseOfThePipeline(t *testing.T) {
	a := newAPIOf(t, withCommands())
	foreign, err := a.d.Second.Sign(a.d.PersonAt(a.d.Second, "robot"))
	if err != nil {
		t.Fatal(err)
	}
	login, err := a.d.Issuer.Sign(a.d.Person("ada"))
	if err != nil {
		t.Fatal(err)
	}
	const unknownTenant, structured = "4489e9ad-2ee2-8e00-8ec9-32d5f69181c0", "application/cloudevents+json"
	for name, c := range map[string]struct {
		tenant string
		header providers.Header
	}{
		"no credential":                  {workertest.Acme, nil},
		"no credential, unknown tenant":  {unknownTenant, nil},
		"unknown, unknown tenant":        {unknownTenant, providers.Header{"Authorization": {"Bearer idpsync_x"}}},
		"JWT of a login":                 {workertest.Acme, providers.Header{"Authorization": {"Bearer " + login}}},
		"JWT of a login, unknown tenant": {unknownTenant, providers.Header{"Authorization": {"Bearer " + login}}},
		"foreign JWT":                    {workertest.Acme, providers.Header{"Authorization": {"Bearer " + foreign}}},
		"two credentials":                {workertest.Acme, providers.Header{"Authorization": {"Bearer x"}, "X-Api-Key": {"y"}}},
		"another tenant":                 {workertest.Acme, providers.Header{"Authorization": {"Bearer " + a.d.Credential(workertest.Globex, "user")}}},
		"half a CloudEvent":              {workertest.Acme, providers.Header{"Ce-Id": {"1"}, "Content-Type": {"application/json"}}},
		"structured":                     {workertest.Acme, providers.Header{"Content-Type": {structured}}},
	} {
		t.Run(name, func(t *testing.T) {
			h := providers.Header{"X-Tenant-Id": {c.tenant}}
			for k, v := range c.header {
				h[k] = v
			}
			s := worker.Submission{
				Subject: "idpsync.rpc." + c.tenant + ".v1.users.create", Door: providers.DoorHTTP, Header: h, ReceivedAt: a.d.Clock.Now(), EventID: "k1",
			}
			early, earlyHeader, ok := a.p.Admit(a.d.Ctx, s)
			if ok {
				t.Fatal("the sender is let in, want it refused")
			}
			s.Payload = []byte(tenantUser("ada@acme.example"))
			if h.Get("Content-Type") == structured {
				s.Payload = []byte(`{"specversion":"1.0","id":"k1","source":"/x","type":"y","data":` + string(s.Payload) + `}`)
			}
			late, lateHeader := a.p.Submit(a.d.Ctx, s)
			delete(earlyHeader, "ce-time")
			delete(lateHeader, "ce-time")
			if early.Status != late.Status || string(early.Body) != string(late.Body) || fmt.Sprint(earlyHeader) != fmt.Sprint(lateHeader) {
				t.Errorf("from the headers the answer is %d %s %v\nthe pipeline's is %d %s %v; want the same", early.Status, early.Body, earlyHeader, late.Status, late.Body, lateHeader)
			}
		})
	}
}

func TestJWTIsJudgedFromTheHeadersWhenItsKeysHaveToBeRead(t *testing.T) {
	a := newAPIOf(t, withCommands())
	if err := a.d.Issuer.Rotate(false); err != nil {
		t.Fatal(err)
	}
	token, err := a.d.Issuer.Sign(a.d.Person("robot").With(workertest.Claims{"idpsync_commands": true}))
	if err != nil {
		t.Fatal(err)
	}
	if r := a.post("/v1/users", tenantUser("ada@acme.example"), header{"Authorization": "Bearer " + token}); r.status != 201 {
		t.Errorf("a token under a new key is answered by %d %s, want 201", r.status, r.raw)
	}
}

// newDoor is a front door alone, whose pipeline answers nothing until the test ends. It tells the subjects that have entered.
func newDoor(t *testing.T, cfg httpapi.Config) (url string, entered chan string) {
	t.Helper()
	release := make(chan struct{})
	entered = make(chan string, 1000)
	submit := func(_ context.Context, s worker.Submission) (record.Answer, providers.Header) {
		entered <- s.Subject
		<-release
		return record.Answer{Status: 200, Body: []byte("{}")}, nil
	}
	url = serve(t, httpapi.New(admitAll, submit, func(context.Context, providers.Header) (string, error) { return workertest.Acme, nil }, cfg))
	t.Cleanup(func() { close(release) }) // before the server ends, which waits for its handlers
	return url, entered
}

func TestOneTenantCannotHaveAllPlaces(t *testing.T) {
	url, entered := newDoor(t, httpapi.Config{MaxInFlight: 16})
	busy := 0
	for range 16 {
		c := dial(t, url)
		begin(t, c, workertest.Acme, "", "Content-Length: 2", "{}")
		got := make(chan int, 1)
		go func() {
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				return // the test has ended
			}
			_ = res.Body.Close()
			got <- res.StatusCode
		}()
		select {
		case <-entered:
		case status := <-got:
			if status != 429 {
				t.Fatalf("a request beyond a tenant's places is answered by %d, want 429", status)
			}
			busy++
		}
	}
	if busy == 0 {
		t.Error("one tenant has all places, want some left")
	}
	begin(t, dial(t, url), workertest.Globex, "", "Content-Length: 2", "{}")
	if subject := <-entered; !strings.Contains(subject, workertest.Globex) {
		t.Errorf("a request for %s has entered, want that of the other tenant", subject)
	}
}

func TestBodiesAreBoundedInSizeTimeAndMemory(t *testing.T) {
	t.Run("announced size", func(t *testing.T) {
		url, _ := newDoor(t, httpapi.Config{MaxBody: 1 << 20})
		c := dial(t, url)
		begin(t, c, workertest.Acme, "", "Content-Length: 1048577", "", "Expect: 100-continue")
		if res, body, closed := answer(t, c); res.StatusCode != 413 || !strings.Contains(body, "payload_too_large") || !closed {
			t.Errorf("a body that is too large is answered by %d %s, and the connection closed: %v; want 413 before it is sent, and true", res.StatusCode, body, closed)
		}
	})
	t.Run("chunked size", func(t *testing.T) {
		url, _ := newDoor(t, httpapi.Config{MaxBody: 64})
		c := dial(t, url)
		begin(t, c, workertest.Acme, "", "Transfer-Encoding: chunked", "41\r\n"+strings.Repeat("x", 65)+"\r\n")
		if res, body, closed := answer(t, c); res.StatusCode != 413 || !closed {
			t.Errorf("a chunked body that is too large is answered by %d %s, and the connection closed: %v; want 413 and true", res.StatusCode, body, closed)
		}
	})
	t.Run("time", func(t *testing.T) {
		url, _ := newDoor(t, httpapi.Config{BodyTimeout: time.Millisecond})
		c := dial(t, url)
		begin(t, c, workertest.Acme, "", "Content-Length: 10", "{")
		if res, body, closed := answer(t, c); res.StatusCode != 408 || !strings.Contains(body, "request_timeout") || !closed {
			t.Errorf("a body that does not come is answered by %d %s, and the connection closed: %v; want 408 and true", res.StatusCode, body, closed)
		}
	})
	t.Run("memory", func(t *testing.T) {
		url, entered := newDoor(t, httpapi.Config{MaxBody: 16 << 10, MaxBodies: 32 << 10})
		begin(t, dial(t, url), workertest.Acme, "", "Content-Length: 8000", strings.Repeat("x", 8000))
		<-entered
		c := dial(t, url)
		begin(t, c, workertest.Acme, "", "Content-Length: 16000", strings.Repeat("x", 16000))
		if res, body, closed := answer(t, c); res.StatusCode != 429 || !strings.Contains(body, `"busy"`) || !closed {
			t.Errorf("a body for which its tenant has no memory left is answered by %d %s, and the connection closed: %v; want 429 and true", res.StatusCode, body, closed)
		}
		begin(t, dial(t, url), workertest.Globex, "", "Content-Length: 8", "{      }")
		if subject := <-entered; !strings.Contains(subject, workertest.Globex) {
			t.Errorf("a request for %s has entered, want that of the other tenant", subject)
		}
	})
}

func TestExpectContinueAndKeepAlive(t *testing.T) {
	a := newAPI(t)
	c := dial(t, a.url)
	body := tenantUser("ada@acme.example")
	begin(t, c, workertest.Acme, a.admin, fmt.Sprintf("Content-Length: %d", len(body)), "", "Expect: 100-continue")
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != http.StatusContinue {
		t.Fatalf("a proved sender who asks before sending is answered by %v with the error %v, want 100", res, err)
	}
	_ = res.Body.Close()
	if _, err := io.WriteString(c, body); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{201, 409} {
		if i > 0 {
			begin(t, c, workertest.Acme, a.admin, fmt.Sprintf("Content-Length: %d", len(body)), body)
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil || res.StatusCode != want || res.Close {
			t.Fatalf("request %d on the connection is answered by %v with the error %v, want %d and an open connection", i, res, err, want)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	refused := dial(t, a.url)
	begin(t, refused, workertest.Acme, "", "Content-Length: 10", "", "Expect: 100-continue")
	if res, body, closed := answer(t, refused); res.StatusCode != 401 || !closed {
		t.Errorf("a sender without a credential who asks before sending is answered by %d %s, and the connection closed: %v; want 401 and true", res.StatusCode, body, closed)
	}
}
