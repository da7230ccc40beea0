package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/stream"
)

// A sample is one event of the demo and what is to become of it.
type sample struct {
	title  string
	id     string // event id
	source string
	body   func() ([]byte, error)
	want   string // outcome, or code and reason of a rejection
}

// person returns the claims of a login at the demo's identity provider.
func (m *demo) person(subject, name string, more map[string]any) map[string]any {
	claims := m.issuer.Claims(subject, demoAudience)
	claims["email"], claims["email_verified"], claims["name"] = subject+"@acme.example", true, name
	for k, v := range more {
		if v == nil {
			delete(claims, k)
			continue
		}
		claims[k] = v
	}
	return claims
}

// login is the payload of a login event with a token.
func login(token string, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]string{"id_token": token})
}

// samples lists the demo's events in the order in which they are sent.
func (m *demo) samples() []sample {
	now := m.app.now()
	signed := func(claims map[string]any, options ...issuer.SignOption) func() ([]byte, error) {
		return func() ([]byte, error) { return login(m.issuer.Sign(claims, options...)) }
	}
	ada := m.person("ada", "Ada Lovelace", nil)
	return []sample{
		{"Ada logs in for the first time", "login-1", "okta", signed(ada), "created"},
		{"Ada logs in again", "login-2", "okta", signed(ada), "exists"},
		{"The owner named in the directory logs in", "login-3", "okta", signed(m.person("owner", "Olive Owner", nil)), "created"},
		{"Somebody else claims Ada's address", "login-4", "okta", signed(m.person("eve", "Eve", map[string]any{"email": "ada@acme.example"})), "user_exists different_identity"},
		{"A token that had expired when it was sent", "login-5", "okta", signed(m.person("late", "Late Larry", map[string]any{
			"iat": now.Add(-2 * time.Hour).Unix(), "exp": now.Add(-time.Hour).Unix(),
		})), "unauthenticated expired"},
		{"A forged token: a stranger's key under the issuer's key id", "login-6", "okta", func() ([]byte, error) {
			return login(m.issuer.SignedByStranger(m.person("mallory", "Mallory", nil)))
		}, "unauthenticated signature"},
		{"A token with no signature at all (alg none)", "login-7", "okta", func() ([]byte, error) {
			return login(m.issuer.Unsigned(m.person("mallory", "Mallory", nil)))
		}, "unauthenticated algorithm"},
		{"A token for another application", "login-8", "okta", signed(m.person("bob", "Bob", map[string]any{"aud": "payroll"})), "unauthenticated audience"},
		{"A role that the tenant does not have", "login-9", "okta", signed(m.person("grace", "Grace Hopper", map[string]any{"groups": []string{"user", "astronaut"}})), "invalid_roles"},
		{"A login without an e-mail address", "login-10", "okta", signed(m.person("nobody", "Nobody", map[string]any{"email": nil})), "invalid_input"},
		{"Not a token", "login-11", "okta", func() ([]byte, error) { return []byte(`{"id_token": 42}`), nil }, "malformed json"},
		{"A source that nobody declared", "login-12", "unknown", signed(ada), "unknown_source"},
		{"Ada's first event is delivered again: the same result", "login-1", "okta", nil, "created"},
		{"Another event under an id that was used", "login-1", "okta", signed(m.person("bob", "Bob", nil)), "event_id_conflict"},
	}
}

// play sends the samples one after the other, shows what became of each, and returns how many did not come out as
// announced.
func (m *demo) play(ctx context.Context, samples []sample) (failed int, err error) {
	results := make(chan result, 1)
	reading, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- m.read(reading, results) }()
	defer func() {
		stop()
		err = errors.Join(err, <-done)
	}()

	colours := m.app.colours(m.app.stdout)
	sent := map[string][]byte{}
	for i, s := range samples {
		body := sent[s.id]
		if s.body != nil {
			if body, err = s.body(); err != nil {
				return failed, err
			}
		}
		if sent[s.id] == nil {
			sent[s.id] = body
		}
		fmt.Fprintf(m.app.stdout, "%2d. %s\n", i+1, s.title)
		r, err := m.send(ctx, s, body, results)
		if err != nil {
			return failed, err
		}
		verdict := "as announced"
		if got := r.verdict(); got != s.want {
			failed++
			verdict = fmt.Sprintf("NOT as announced: wanted %s, got %s", s.want, got)
		}
		fmt.Fprintf(m.app.stdout, "    %s\n    %s\n", r.line(colours), verdict)
	}
	fmt.Fprintf(m.app.stdout, "\n%d samples, %d as announced, %d not\n", len(samples), len(samples)-failed, failed)
	token, err := m.issuer.Sign(m.person("grace", "Grace Hopper", map[string]any{"exp": m.app.now().Add(24 * time.Hour).Unix()}))
	if err != nil {
		return failed, err
	}
	return failed, os.WriteFile(filepath.Join(m.cfg.DataDir, "grace.jwt"), []byte(token), 0o600)
}

// sampleTimeout bounds one sample; it is generous, as machines are slow at times.
const sampleTimeout = 30 * time.Second

// send publishes a sample and waits for its result.
func (m *demo) send(ctx context.Context, s sample, body []byte, results <-chan result) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	_, _, err := stream.PublishEvent(ctx, m.conn, worker.Outgoing{
		Subject: "idpsync.login." + demoTenant + "." + s.source,
		Header:  providers.Header{"ce-id": {s.id}, "ce-source": {"/demo"}, "ce-type": {"demo.login"}, "ce-specversion": {"1.0"}},
		Data:    body,
	})
	if err != nil {
		return result{}, err
	}
	if s.body == nil {
		return m.again(ctx, s)
	}
	for {
		select {
		case r := <-results:
			if r.EventID == s.id {
				return r, nil
			}
		case <-ctx.Done():
			return result{}, fail(exitFailure, "run it again with --log-level debug", "no result for %q: %w", s.title, ctx.Err())
		}
	}
}

// again waits until the repeat of an event is processed, and returns the only result that there is for both.
func (m *demo) again(ctx context.Context, s sample) (result, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		lanes, err := stream.Lanes(ctx, m.conn)
		if err != nil {
			return result{}, err
		}
		var waiting uint64
		for _, l := range lanes {
			waiting += l.Pending + uint64(l.AckPending) //nolint:gosec // a count
		}
		if waiting == 0 {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return result{}, fail(exitFailure, "run it again with --log-level debug", "no end of %q: %w", s.title, ctx.Err())
		}
	}
	var found []result
	for msg, err := range stream.Results(ctx, m.conn, stream.Filter{Tenant: demoTenant, Source: s.source}) {
		if err != nil {
			return result{}, err
		}
		if r := readResult(msg); r.EventID == s.id {
			found = append(found, r)
		}
	}
	if len(found) != 1 {
		return result{}, fail(exitFailure, "", "%d results for event %s, which was sent twice", len(found), s.id)
	}
	return found[0], nil
}

// read hands over results as they are published, until ctx ends.
func (m *demo) read(ctx context.Context, results chan<- result) error {
	for msg, err := range stream.Tail(ctx, m.conn, stream.Filter{Tenant: demoTenant}) {
		if err != nil {
			return err
		}
		select {
		case results <- readResult(msg):
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// verdict is a result in the words in which samples announce theirs.
func (r result) verdict() string {
	if r.Outcome != string(worker.OutcomeRejected) {
		return r.Outcome
	}
	s := string(r.fault.Code)
	if reason, ok := r.fault.Details["reason"].(string); ok {
		s += " " + reason
	}
	return s
}
