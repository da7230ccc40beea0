package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/record"
)

// Submit takes a command through the pipeline and waits for its answer; worker.Worker has it.
type Submit func(ctx context.Context, s worker.Submission) (record.Answer, providers.Header)

// Tenant finds the tenant of a request that names none, by its credential. Its errors are *providers.Error.
type Tenant func(ctx context.Context, h providers.Header) (string, error)

// Config bounds the handler. A zero value has the default beside it.
type Config struct {
	MaxBody     int64         // bytes; 1 MiB
	MaxInFlight int           // requests read or waiting at the same time; 256
	Timeout     time.Duration // from the first byte to the answer; 30 s

	Now func() time.Time // time.Now
	Log *slog.Logger     // discards
}

// idempotencyKey is the header that holds the event id.
const idempotencyKey = "Idempotency-Key"

// maxKey bounds the event id, in bytes.
const maxKey = 255

// operations holds the routes that have a path, by path and method.
type operations map[string]map[string]record.Route

func operationsOf(table record.Table) operations {
	all := operations{}
	for _, r := range table {
		if r.Path == "" {
			continue
		}
		if all[r.Path] == nil {
			all[r.Path] = map[string]record.Route{}
		}
		all[r.Path][r.Method] = r
	}
	return all
}

type handler struct {
	submit     Submit
	tenant     Tenant
	cfg        Config
	operations operations
	places     chan struct{}
}

// New returns the handler of the routes that have a path. It is safe for concurrent use.
func New(submit Submit, tenant Tenant, cfg Config) http.Handler {
	if cfg.MaxBody <= 0 {
		cfg.MaxBody = 1 << 20
	}
	if cfg.MaxInFlight <= 0 {
		cfg.MaxInFlight = 256
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &handler{submit: submit, tenant: tenant, cfg: cfg, operations: operationsOf(record.Routes()), places: make(chan struct{}, cfg.MaxInFlight)}
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler { //nolint:errorlint // a value of net/http, compared as it says
			panic(p)
		}
		h.cfg.Log.Error("panic while answering a request", "method", r.Method, "path", r.URL.Path, "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
		h.refuse(w, errInternal)
	}()
	op, refusal := h.route(w, r)
	if refusal == nil {
		refusal = h.serve(w, r, op)
	}
	if refusal != nil {
		h.refuse(w, refusal)
	}
}

// route finds what a request asks for.
func (h *handler) route(w http.ResponseWriter, r *http.Request) (record.Route, *refusal) {
	methods, ok := h.operations[r.URL.Path]
	if !ok {
		return record.Route{}, errNotFound
	}
	op, ok := methods[r.Method]
	if !ok {
		allowed := slices.Sorted(maps.Keys(methods))
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return record.Route{}, errMethod(allowed)
	}
	return op, nil
}

// serve takes one request through.
func (h *handler) serve(w http.ResponseWriter, r *http.Request, op record.Route) *refusal {
	select {
	case h.places <- struct{}{}:
		defer func() { <-h.places }()
	default:
		return errBusy
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.cfg.Timeout)
	defer cancel()
	received := h.cfg.Now()

	if err := checkContentType(r.Header); err != nil {
		return err
	}
	key, err := eventID(r.Header)
	if err != nil {
		return err
	}
	tenant, err := h.tenantOf(ctx, r.Header, op)
	if err != nil {
		return err
	}
	body, err := h.body(w, r)
	if err != nil {
		return err
	}
	answer, header := h.submit(ctx, worker.Submission{
		Subject: record.EventSubject(record.Address{Action: op.Action, Shape: op.Shape, Door: providers.DoorRPC, Tenant: tenant}),
		Door:    providers.DoorHTTP, Header: providers.Header(r.Header), Payload: body, ReceivedAt: received, EventID: key,
	})
	write(w, answer, header)
	return nil
}

// checkContentType lets JSON and single CloudEvents pass. A request without Content-Type is taken for JSON.
func checkContentType(h http.Header) *refusal {
	values := h.Values("Content-Type")
	if len(values) == 0 {
		return nil
	}
	media, parameters, err := mime.ParseMediaType(values[0])
	if err != nil || len(values) > 1 || media != "application/json" && media != "application/cloudevents+json" {
		return errContentType
	}
	if charset := parameters["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return errContentType
	}
	if e := h.Values("Content-Encoding"); len(e) > 1 || len(e) == 1 && !strings.EqualFold(e[0], "identity") {
		return errContentEncoding
	}
	return nil
}

// eventID returns the Idempotency-Key, or "".
func eventID(h http.Header) (string, *refusal) {
	values := h.Values(idempotencyKey)
	if len(values) == 0 {
		return "", nil
	}
	if len(values) > 1 || values[0] == "" || len(values[0]) > maxKey {
		return "", errIdempotencyKey
	}
	for _, c := range []byte(values[0]) {
		if c < ' ' || c > '~' {
			return "", errIdempotencyKey
		}
	}
	return values[0], nil
}

// tenantOf returns the tenant that the request is meant for.
func (h *handler) tenantOf(ctx context.Context, header http.Header, op record.Route) (string, *refusal) {
	named := header.Values(providers.HeaderTenant)
	if len(named) == 0 && op.Shape == providers.ShapeOrganization {
		tenant, err := h.tenant(ctx, providers.Header(header))
		if err != nil {
			return "", &refusal{err: err}
		}
		return tenant, nil
	}
	if len(named) == 0 {
		return "", errTenantMissing
	}
	tenant, ok := providers.ParseUUID(named[0])
	if !ok || len(named) > 1 {
		return "", errTenantForm
	}
	return tenant, nil
}

// body reads the whole body, within its bound and the time that the server gives.
func (h *handler) body(w http.ResponseWriter, r *http.Request) ([]byte, *refusal) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.cfg.MaxBody))
	if err == nil {
		return body, nil
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, errTooLarge(tooLarge.Limit)
	}
	return nil, errBody
}
