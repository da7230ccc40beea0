package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
)

// Codes of refusals that only HTTP has.
const (
	codeNotFound    record.Code = "not_found"
	codeMethod      record.Code = "method_not_allowed"
	codeTooLarge    record.Code = "payload_too_large"
	codeContentType record.Code = "unsupported_media_type"
	codeTimeout     record.Code = "request_timeout"
)

// retryAfter is what a client is told to wait when the worker is busy or misses something, in seconds.
const retryAfter = "1"

// A refusal is a request that did not get as far as the pipeline.
type refusal struct {
	status int
	record.ErrorBody
	err error // in place of the fields above: an error of a provider
}

func refused(status int, code record.Code, message string, details map[string]any) *refusal {
	if details == nil {
		details = map[string]any{}
	}
	return &refusal{status: status, ErrorBody: record.ErrorBody{Code: code, Message: message, Details: details, Notices: []string{}}}
}

// Refusals that hold nothing of the request. They are not changed.
var (
	errNotFound = refused(http.StatusNotFound, codeNotFound, "There is no such path; users are created by "+creating()+".", nil)
	errBusy     = refused(http.StatusTooManyRequests, record.CodeBusy, "The worker has more to do than it can take; try again later.", nil)
	errInternal = refused(http.StatusInternalServerError, record.CodeInternal, "The request failed for a reason inside idpsync.", map[string]any{"reason": "panic"})
	errBody     = refused(http.StatusRequestTimeout, codeTimeout, "The body did not arrive whole.", nil)

	errContentType     = refused(http.StatusUnsupportedMediaType, codeContentType, "The body must be application/json in UTF-8.", map[string]any{"field": "Content-Type"})
	errContentEncoding = refused(http.StatusUnsupportedMediaType, codeContentType, "The body must not be compressed.", map[string]any{"field": "Content-Encoding"})
	errIdempotencyKey  = refused(http.StatusBadRequest, record.CodeMalformed, "The header Idempotency-Key must appear once and hold 1 to 255 printable ASCII characters.", map[string]any{"reason": "event_id", "field": idempotencyKey})
	errTenantMissing   = refused(http.StatusBadRequest, record.CodeMalformed, "The header X-Tenant-ID is required.", map[string]any{"reason": providers.ReasonTenantHeader, "field": providers.HeaderTenant})
	errTenantForm      = refused(http.StatusBadRequest, record.CodeMalformed, "The header X-Tenant-ID must appear once and be a UUID of 36 characters.", map[string]any{"reason": providers.ReasonTenantHeader, "field": providers.HeaderTenant})
)

// creating lists the ways to create a user.
func creating() string {
	var ways []string
	for _, r := range record.Routes() {
		if r.Action == record.ActionCreate && r.Path != "" {
			ways = append(ways, r.Method+" "+r.Path)
		}
	}
	return strings.Join(ways, " and ")
}

func errMethod(allowed []string) *refusal {
	verb := "is"
	if len(allowed) > 1 {
		verb = "are"
	}
	return refused(http.StatusMethodNotAllowed, codeMethod, "Only "+strings.Join(allowed, " and ")+" "+verb+" allowed here.", nil)
}

func errTooLarge(limit int64) *refusal {
	return refused(http.StatusRequestEntityTooLarge, codeTooLarge, fmt.Sprintf("The body is larger than %d bytes.", limit), map[string]any{"limit": limit})
}

// answer is the answer that the refusal makes.
func (r *refusal) answer(at time.Time) record.Answer {
	if r.err != nil {
		return record.Refuse(r.err, at)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r.ErrorBody); err != nil {
		panic(fmt.Sprintf("marshal an error object: %v", err))
	}
	return record.Answer{Status: r.status, Outcome: record.OutcomeRejected, Body: bytes.TrimSuffix(b.Bytes(), []byte("\n")), At: at}
}

// refuse answers a request whose body was not read whole.
func (h *handler) refuse(w http.ResponseWriter, asked *http.Request, r *refusal) {
	hangUp(w, asked)
	h.answer(w, r)
}

// answer answers a request that did not get as far as the pipeline.
func (h *handler) answer(w http.ResponseWriter, r *refusal) {
	a := r.answer(h.cfg.Now())
	write(w, a, providers.Header{
		"Content-Type": {"application/json"}, record.HeaderStatus: {strconv.Itoa(a.Status)}, record.HeaderOutcome: {string(a.Outcome)},
	})
}

// write sends an answer with its headers.
func write(w http.ResponseWriter, a record.Answer, header providers.Header) {
	h := w.Header()
	for name, values := range header {
		for _, v := range values {
			h.Add(name, v)
		}
	}
	switch a.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="idpsync"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", retryAfter)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(a.Body)))
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // the client is gone; there is nobody to tell
}
