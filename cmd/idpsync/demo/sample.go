package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

// The demo's tenants; the API's own documentation uses the id of the first.
const (
	tenant      = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	otherTenant = "3489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
)

// A scene is a group of samples that came in by one way.
type scene struct {
	heading string
	about   string
	samples []sample
}

// A sample is one event of the demo and what is to become of it.
type sample struct {
	title  string
	id     string // event id
	door   providers.Door
	to     record.Address // where it is sent
	header providers.Header
	body   func() ([]byte, error) // nil: what was sent before under the same id, again
	want   string                 // as verdict says it
	notice string                 // that the answer must carry; "" for none
}

// A sending of the demo is a sample with its body made.
type posted struct {
	sample
	subject string
	header  providers.Header
	body    []byte
	again   bool // it is the repeat of an earlier one
}

// A player sends the samples in their order.
type player struct {
	*Demo
	sent    map[string]posted     // by source and event id
	answers map[string]kit.Result // the first of each
	results chan kit.Result
}

// play sends all samples one after the other, shows what became of each, and returns how many did not come out as
// announced.
func (m *Demo) play(ctx context.Context, scenes []scene) (failed int, err error) {
	p, stop := m.player(ctx)
	defer func() { err = errors.Join(err, stop()) }()
	n := 0
	for _, s := range scenes {
		m.heading(s)
		for _, s := range s.samples {
			n++
			sending, err := p.prepare(s)
			if err != nil {
				return failed, fmt.Errorf("sample %q: %w", s.title, err)
			}
			r, err := p.send(ctx, sending)
			if err != nil {
				return failed, err
			}
			fault := s.check(r)
			if fault != "" {
				failed++
			}
			m.show(n, s, r, fault)
		}
	}
	m.summary(n, failed)
	return failed, nil
}

// player makes a player and begins to read results; stop ends that.
func (m *Demo) player(ctx context.Context) (p *player, stop func() error) {
	p = &player{Demo: m, sent: map[string]posted{}, answers: map[string]kit.Result{}, results: make(chan kit.Result, 1)}
	reading, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	since := m.o.Now().Add(-time.Minute)
	go func() { done <- p.read(reading, since) }()
	return p, func() error {
		cancel()
		return <-done
	}
}

// prepare makes what is sent for a sample.
func (p *player) prepare(s sample) (posted, error) {
	key := s.to.Source + "/" + s.id
	out := posted{sample: s, subject: record.EventSubject(s.to), header: providers.Header{}}
	for name, values := range s.header {
		out.header[name] = values
	}
	switch s.door {
	case providers.DoorHTTP:
		out.header["Content-Type"] = []string{"application/json"}
		out.header["Idempotency-Key"] = []string{s.id}
	case providers.DoorRPC:
		out.header[record.HeaderEventID] = []string{s.id}
	default:
		out.header["ce-id"], out.header["ce-source"] = []string{s.id}, []string{"/demo"}
		out.header["ce-type"], out.header["ce-specversion"] = []string{"demo"}, []string{"1.0"}
	}
	if s.body == nil {
		out.body, out.again = p.sent[key].body, true
		return out, nil
	}
	var err error
	if out.body, err = s.body(); err != nil {
		return out, err
	}
	if _, ok := p.sent[key]; !ok {
		p.sent[key] = out
	}
	return out, nil
}

// sampleTimeout bounds one sample; it is generous, as machines are slow at times.
const sampleTimeout = 30 * time.Second

// send sends a sample by its door and waits for the answer. That of a repeat must be the very answer of the first.
func (p *player) send(ctx context.Context, s posted) (r kit.Result, err error) {
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	switch s.door {
	case providers.DoorHTTP:
		r, err = p.post(ctx, s)
	case providers.DoorRPC:
		r, err = p.call(ctx, s)
	default:
		r, err = p.publish(ctx, s)
	}
	if err != nil {
		return r, kit.Fail(kit.ExitFailure, "run it again with --log-level debug", "no answer to %q: %w", s.title, err)
	}
	key := s.to.Source + "/" + s.id
	if first, ok := p.answers[key]; ok && s.again && !bytes.Equal(first.Body, r.Body) {
		return r, kit.Fail(kit.ExitFailure, "", "%q: two answers to one event:\n%s\n%s", s.title, first.Body, r.Body)
	}
	if _, ok := p.answers[key]; !ok {
		p.answers[key] = r
	}
	return r, nil
}

func (p *player) publish(ctx context.Context, s posted) (kit.Result, error) {
	if _, err := stream.PublishEvent(ctx, p.conn, record.Outgoing{Subject: s.subject, Header: s.header, Data: s.body}); err != nil {
		return kit.Result{}, err
	}
	if s.again {
		return p.only(ctx, s)
	}
	for {
		select {
		case r := <-p.results:
			if r.EventID == s.id && r.Source == s.to.Source {
				return r, nil
			}
		case <-ctx.Done():
			return kit.Result{}, ctx.Err()
		}
	}
}

func (p *player) call(ctx context.Context, s posted) (kit.Result, error) {
	header, data, err := stream.Call(ctx, p.conn, stream.Request{Subject: s.subject, Header: s.header, Data: s.body})
	if err != nil {
		return kit.Result{}, err
	}
	return p.answered(s, record.ReadReply(header), data), nil
}

func (p *player) post(ctx context.Context, s posted) (kit.Result, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.http+httpPath(s.to.Shape), bytes.NewReader(s.body))
	if err != nil {
		return kit.Result{}, err
	}
	for name, values := range s.header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return kit.Result{}, err
	}
	defer func() { _ = res.Body.Close() }() // it was read
	data, err := io.ReadAll(io.LimitReader(res.Body, kit.MaxSent))
	if err != nil {
		return kit.Result{}, err
	}
	reply := record.ReadReply(providers.Header(res.Header))
	reply.Status = res.StatusCode
	return p.answered(s, reply, data), nil
}

// answered reads an answer as the result that it is.
func (p *player) answered(s posted, reply record.Reply, data []byte) kit.Result {
	r := kit.ResultOf(reply, data)
	r.Time, r.Tenant, r.Source = p.o.Now(), tenant, s.to.Source
	return r
}

// only waits until the repeat of an event is processed, and returns the only result that there is for both.
func (p *player) only(ctx context.Context, s posted) (kit.Result, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		lanes, err := stream.Lanes(ctx, p.conn)
		if err != nil {
			return kit.Result{}, err
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
			return kit.Result{}, ctx.Err()
		}
	}
	var found []kit.Result
	for msg, err := range stream.Results(ctx, p.conn, stream.Filter{Tenant: tenant, Source: s.to.Source}) {
		if err != nil {
			return kit.Result{}, err
		}
		r, err := kit.ReadResult(msg)
		if err != nil {
			return kit.Result{}, err
		}
		if r.EventID == s.id {
			found = append(found, r)
		}
	}
	if len(found) != 1 {
		return kit.Result{}, fmt.Errorf("%d results for one event that was sent twice", len(found))
	}
	return found[0], nil
}

// read hands over results as they are published, until ctx ends.
func (p *player) read(ctx context.Context, since time.Time) error {
	for msg, err := range stream.Tail(ctx, p.conn, stream.Filter{Tenant: tenant, Since: since}) {
		if err != nil {
			return err
		}
		r, err := kit.ReadResult(msg)
		if err != nil {
			return err
		}
		select {
		case p.results <- r:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// check says in what an answer is not what the sample announced; "" when it is.
func (s sample) check(r kit.Result) string {
	switch {
	case verdict(r) != s.want:
		return fmt.Sprintf("NOT as announced: wanted %s, got %s", s.want, verdict(r))
	case s.notice != "" && !slices.Contains(r.Fault.Notices, s.notice):
		return fmt.Sprintf("NOT as announced: wanted the notice %q", s.notice)
	}
	return ""
}

// verdict is a result in the words in which samples announce theirs: the outcome, or the code and reason of a rejection.
func verdict(r kit.Result) string {
	if r.Outcome != string(record.OutcomeRejected) {
		return r.Outcome
	}
	s := string(r.Fault.Code)
	if reason, ok := r.Fault.Details["reason"].(string); ok && reason != s {
		s += " " + reason
	}
	return s
}
