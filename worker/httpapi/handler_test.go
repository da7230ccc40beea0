package httpapi_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/httpapi"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// admitAll takes every sender for proved.
func admitAll(context.Context, worker.Submission) (record.Answer, providers.Header, bool) {
	return record.Answer{}, nil, true
}

// A front door alone: what stands behind it is the test's.
func TestHandler(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	submit := func(ctx context.Context, s worker.Submission) (record.Answer, providers.Header) {
		switch s.EventID {
		case "panic":
			panic("secret of a request")
		case "abort":
			panic(http.ErrAbortHandler)
		case "block":
			entered <- struct{}{}
			<-release
		}
		return record.Answer{Status: 200, Body: []byte(`{"subject":"` + s.Subject + `"}`)}, providers.Header{"Content-Type": {"application/json"}}
	}
	h := httpapi.New(admitAll, submit, func(context.Context, providers.Header) (string, error) { return workertest.Acme, nil }, httpapi.Config{MaxInFlight: 1, MaxBody: 64})
	url, client := serve(t, h), newClient(t)
	post := func(path, key, tenant, body string) (*http.Response, string, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+path, strings.NewReader(body))
		if err != nil {
			return nil, "", err
		}
		req.Header.Set("Idempotency-Key", key)
		if tenant != "" {
			req.Header.Set("X-Tenant-ID", tenant)
		}
		res, err := client.Do(req)
		if err != nil {
			return nil, "", err
		}
		defer func() { _ = res.Body.Close() }()
		raw, err := io.ReadAll(res.Body)
		return res, string(raw), err
	}
	t.Run("SubjectNamesTenantAndShape", func(t *testing.T) {
		for path, want := range map[string]string{
			"/v1/users": "idpsync.rpc." + workertest.Globex + ".v1.users.create",
			"/users":    "idpsync.rpc." + workertest.Globex + ".users.create",
		} {
			_, body, err := post(path, "1", strings.ToUpper(workertest.Globex), "{}")
			if err != nil || body != `{"subject":"`+want+`"}` {
				t.Errorf("%s is answered by %s with the error %v, want the subject %s", path, body, err, want)
			}
		}
		if _, body, err := post("/users", "1", "", "{}"); err != nil || body != `{"subject":"idpsync.rpc.`+workertest.Acme+`.users.create"}` {
			t.Errorf("without the header the answer is %s with the error %v, want the tenant of the credential", body, err)
		}
	})
	t.Run("PanicIsContained", func(t *testing.T) {
		res, body, err := post("/users", "panic", "", "{}")
		if err != nil || res.StatusCode != 500 || !strings.Contains(body, `"internal"`) || strings.Contains(body, "secret") {
			t.Errorf("a panic is answered by %v %s with the error %v, want 500 and internal without the secret", res, body, err)
		}
		if _, _, err := post("/users", "abort", "", "{}"); err == nil {
			t.Error("a handler that aborts has an answer")
		}
		if res, _, err := post("/users", "1", "", "{}"); err != nil || res.StatusCode != 200 {
			t.Errorf("after the panics the answer is %v with the error %v, want 200", res, err)
		}
	})
	t.Run("BodyIsBounded", func(t *testing.T) {
		for n, want := range map[int]int{64: 200, 65: 413} {
			if res, body, err := post("/users", "1", "", strings.Repeat("x", n)); err != nil || res.StatusCode != want {
				t.Errorf("%d bytes are answered by %v %s with the error %v, want %d", n, res, body, err, want)
			}
		}
	})
	t.Run("NumberAtOnceIsBounded", func(t *testing.T) {
		done := make(chan error, 1)
		go func() {
			_, _, err := post("/users", "block", "", "{}")
			done <- err
		}()
		<-entered
		res, body, err := post("/users", "1", "", "{}")
		if err != nil || res.StatusCode != 429 || res.Header.Get("Retry-After") == "" || !strings.Contains(body, `"busy"`) {
			t.Errorf("one request too many is answered by %v %s with the error %v, want 429, busy and Retry-After", res, body, err)
		}
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
