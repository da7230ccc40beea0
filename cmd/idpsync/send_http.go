package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
)

// post sends the command over HTTP. The token goes out over TLS, or to this machine alone.
func (s *sending) post(ctx context.Context, out *sent) error {
	u, err := url.Parse(s.url)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return kit.Fail(kit.ExitUsage, "https://host, or http://127.0.0.1:8080", "--http-url %q is not an address", s.url)
	}
	if u.Scheme == "http" && !kit.Loopback(u.Hostname()) {
		return kit.Fail(kit.ExitUsage, "use https; http is for this machine alone", "the token would travel to %s in the clear", u.Host)
	}
	route, ok := record.Routes().Find(record.ActionCreate, s.shape)
	if !ok || route.Path == "" {
		return kit.Fail(kit.ExitUsage, "one of stream, rpc", "what has the shape %s cannot be sent over HTTP", s.shape)
	}
	ctx, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, route.Method, strings.TrimRight(u.String(), "/")+route.Path, bytes.NewReader(s.body))
	if err != nil {
		return kit.Fail(kit.ExitUsage, "", "%w", err)
	}
	for name, values := range s.header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	req.Header.Set("Idempotency-Key", s.id)
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return kit.Fail(kit.ExitFailure, "check --http-url and that idpsync run or idpsync dev is up; then send it again with --id "+s.id, "%w", err)
	}
	defer func() { _ = res.Body.Close() }() // it was read
	body, err := io.ReadAll(io.LimitReader(res.Body, maxSent))
	if err != nil {
		return kit.Fail(kit.ExitFailure, "send it again with --id "+s.id, "the answer did not arrive whole: %w", err)
	}
	reply := record.ReadReply(providers.Header(res.Header))
	reply.Status = res.StatusCode
	out.answered(reply, body)
	if out.Body == nil {
		return kit.Fail(kit.ExitFailure, "check --http-url", "what answers there is not idpsync: %s", res.Status)
	}
	if out.Outcome == "" {
		out.Outcome = string(record.OutcomeRejected)
	}
	return nil
}
