package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
)

// A reply is what a sender gets, by whatever door.
type reply struct {
	status int
	header providers.Header
	body   []byte
}

func (r reply) fault(t *testing.T) record.ErrorBody {
	t.Helper()
	var b record.ErrorBody
	if err := json.Unmarshal(r.body, &b); err != nil {
		t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	return b
}

// A caller sends commands by one door. It may be used by several goroutines.
type caller struct {
	name string
	try  func(tenant, path, id string, header map[string]string, body string) (reply, error)
}

// send is try for what must be answered.
func (c caller) send(t *testing.T, tenant, path, id string, header map[string]string, body string) reply {
	t.Helper()
	r, err := c.try(tenant, path, id, header, body)
	if err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	return r
}

// callers returns the three doors of a worker.
func (s *site) callers(r *running) []caller {
	s.t.Helper()
	return []caller{s.overHTTP(r), s.overRPC(), s.overStream()}
}

func (s *site) overHTTP(r *running) caller {
	web := client(s.t)
	return caller{"http", func(_, path, id string, header map[string]string, body string) (reply, error) {
		return post(s.ctx, web, r.http+path, id, header, body)
	}}
}

func post(ctx context.Context, web *http.Client, url, id string, header map[string]string, body string) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	for name, value := range header {
		req.Header.Set(name, value)
	}
	if id != "" {
		req.Header.Set("Idempotency-Key", id)
	}
	res, err := web.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, providers.Header(res.Header), data}, err
}

// subject is where a command of an API's path is sent through NATS.
func subject(kind, tenant, path string) string {
	return "idpsync." + kind + "." + tenant + strings.ReplaceAll(path, "/", ".") + ".create"
}

func natsMessage(subject, id string, header map[string]string, body string) *nats.Msg {
	m := nats.NewMsg(subject)
	for name, value := range header {
		m.Header.Set(name, value)
	}
	if id != "" {
		m.Header.Set(record.HeaderEventID, id)
	}
	m.Data = []byte(body)
	return m
}

func (s *site) overRPC() caller {
	s.t.Helper()
	conn := s.nats()
	return caller{"rpc", func(tenant, path, id string, header map[string]string, body string) (reply, error) {
		m, err := conn.RequestMsgWithContext(s.ctx, natsMessage(subject("rpc", tenant, path), id, header, body))
		if err != nil {
			return reply{}, err
		}
		return natsReply(m)
	}}
}

// overStream publishes durable commands and waits for their results. Each needs an id of its own.
func (s *site) overStream() caller {
	s.t.Helper()
	conn := s.nats()
	return caller{"stream", func(tenant, path, id string, header map[string]string, body string) (reply, error) {
		return s.result(conn, natsMessage(subject("command", tenant, path), id, header, body))
	}}
}

// result stores an event and waits for its result.
func (s *site) result(conn *nats.Conn, m *nats.Msg) (reply, error) {
	results, err := conn.SubscribeSync("idpsync.result.>")
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = results.Unsubscribe() }()
	if err := conn.FlushWithContext(s.ctx); err != nil {
		return reply{}, err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		return reply{}, err
	}
	if _, err := js.PublishMsg(s.ctx, m); err != nil {
		return reply{}, fmt.Errorf("publish on %s: %w", m.Subject, err)
	}
	for {
		got, err := results.NextMsgWithContext(s.ctx)
		if err != nil {
			return reply{}, fmt.Errorf("no result of %s: %w", m.Header.Get(record.HeaderEventID), err)
		}
		if got.Header.Get(record.HeaderEventID) == m.Header.Get(record.HeaderEventID) {
			return natsReply(got)
		}
	}
}

func natsReply(m *nats.Msg) (reply, error) {
	status, err := strconv.Atoi(m.Header.Get(record.HeaderStatus))
	if err != nil {
		return reply{}, fmt.Errorf("no status in %v: %w", m.Header, err)
	}
	return reply{status, providers.Header(m.Header), m.Data}, nil
}

// login publishes a login with an ID token of the site's issuer and returns its result.
func (s *site) login(t *testing.T, conn *nats.Conn, tenant, id, subject string, claims map[string]any) reply {
	t.Helper()
	all := s.issuer.Claims(subject, "idpsync")
	maps.Copy(all, map[string]any{"email": subject + "@acme.example", "email_verified": true, "name": subject})
	maps.Copy(all, claims)
	body, err := kit.Login(s.issuer.Sign(all))
	if err != nil {
		t.Fatal(err)
	}
	return s.event(t, conn, "idpsync.login."+tenant+".okta", id, body)
}

// event publishes an event and returns its result.
func (s *site) event(t *testing.T, conn *nats.Conn, subject, id string, body []byte) reply {
	t.Helper()
	r, err := s.result(conn, natsMessage(subject, id, nil, string(body)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// open returns a stream.
func (s *site) open(conn *nats.Conn, name string) jetstream.Stream {
	s.t.Helper()
	js, err := jetstream.New(conn)
	if err != nil {
		s.t.Fatal(err)
	}
	st, err := js.Stream(s.ctx, name)
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// state returns how much a stream holds.
func (s *site) state(conn *nats.Conn, name string) jetstream.StreamState {
	s.t.Helper()
	return s.open(conn, name).CachedInfo().State
}

// stored returns all messages of a stream.
func (s *site) stored(conn *nats.Conn, name string) []*jetstream.RawStreamMsg {
	s.t.Helper()
	st := s.open(conn, name)
	state := st.CachedInfo().State
	var all []*jetstream.RawStreamMsg
	for n := state.FirstSeq; n > 0 && n <= state.LastSeq; n++ {
		m, err := st.GetMsg(s.ctx, n)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // it was deleted
		}
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

// sameJSON reports whether two documents say the same.
func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	one, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	other, err := json.Marshal(y)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(one, other)
}
