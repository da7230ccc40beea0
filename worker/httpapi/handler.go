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
	"github.com/idpsync/idpsync/worker/share"
)

// Admit judges a command by its headers alone. Unless it returns true, the answer is the command's; worker.Worker has it.
type Admit func(ctx context.Context, s worker.Submission) (record.Answer, providers.Header, bool)

// Submit takes a command through the pipeline and waits for its answer; worker.Worker has it.
type Submit func(ctx context.Context, s worker.Submission) (record.Answer, providers.Header)

// Tenant finds the tenant of a request that names none, by its credential. Its errors are *providers.Error.
type Tenant func(ctx context.Context, h providers.Header) (string, error)

// Config bounds the handler. A zero value has the default beside it.
type Config struct {
	MaxBody     int64         // bytes of one body; 1 MiB
	MaxBodies   int64         // bytes of all bodies at the same time; 64 MiB, or eight of the largest
	MaxInFlight int64         // requests that wait for the pipeline at the same time; 512
	BodyTimeout time.Duration // for a whole body to arrive; 15 s
	Timeout     time.Duration // from the headers to the answer; 30 s

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
	admit      Admit
	submit     Submit
	tenant     Tenant
	cfg        Config
	operations operations
	places     *share.Pool // for requests whose bodies are there
	memory     *share.Pool // for bodies, in bytes
}

// New returns the handler of the routes that have a path. It is safe for concurrent use.
func New(admit Admit, submit Submit, tenant Tenant, cfg Config) http.Handler {
	if cfg.MaxBody <= 0 {
		cfg.MaxBody = 1 << 20
	}
	if cfg.MaxBodies <= 0 {
		cfg.MaxBodies = max(64<<20, 8*cfg.MaxBody)
	}
	if cfg.MaxInFlight <= 0 {
		cfg.MaxInFlight = 512
	}
	if cfg.BodyTimeout <= 0 {
		cfg.BodyTimeout = 15 * time.Second
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
	return &handler{
		admit: admit, submit: submit, tenant: tenant, cfg: cfg, operations: operationsOf(record.Routes()),
		places: share.NewPool(cfg.MaxInFlight), memory: share.NewPool(cfg.MaxBodies),
	}
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
		h.refuse(w, r, errInternal)
	}()
	op, refusal := h.route(w, r)
	if refusal == nil {
		refusal = h.serve(w, r, op)
	}
	if refusal != nil {
		h.refuse(w, r, refusal)
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

// serve takes one request through. Nothing of the body is read before the sender is proved, and no place is taken before the
// body is there: what a sender without a credential, or a slow one, takes from the others is a connection.
func (h *handler) serve(w http.ResponseWriter, r *http.Request, op record.Route) *refusal {
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
	submission := worker.Submission{
		Subject: record.EventSubject(record.Address{Action: op.Action, Shape: op.Shape, Door: providers.DoorRPC, Tenant: tenant}),
		Door:    providers.DoorHTTP, Header: providers.Header(r.Header), ReceivedAt: received, EventID: key,
	}
	if answer, header, ok := h.admit(ctx, submission); !ok {
		hangUp(w, r)
		write(w, answer, header)
		return nil
	}
	address := share.Address(r.RemoteAddr)
	memory := h.memory.Hold(tenant, address)
	defer memory.Release()
	if submission.Payload, err = h.body(ctx, w, r, memory); err != nil {
		return err
	}
	place := h.places.Hold(tenant, address)
	defer place.Release()
	if !place.Take(1) {
		h.answer(w, errBusy)
		return nil
	}
	answer, header := h.submit(ctx, submission)
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

// firstRead is how much memory a body has at first, in bytes. It doubles as the body arrives, so that what a sender
// announces takes none.
const firstRead = 4 << 10

// body reads the whole body, within the bounds of size, memory and time.
func (h *handler) body(ctx context.Context, w http.ResponseWriter, r *http.Request, memory *share.Holding) ([]byte, *refusal) {
	if r.ContentLength > h.cfg.MaxBody {
		return nil, errTooLarge(h.cfg.MaxBody)
	}
	limit := h.cfg.MaxBody + 1 // one byte more tells a body that is too large
	if r.ContentLength >= 0 {
		limit = r.ContentLength + 1
	}
	end := time.Now().Add(h.cfg.BodyTimeout)
	if t, ok := ctx.Deadline(); ok && t.Before(end) {
		end = t
	}
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(end) // a server that has none bounds its requests otherwise
	var body []byte
	for {
		if len(body) == cap(body) {
			grown := min(max(2*int64(cap(body)), firstRead), limit)
			if !memory.Take(grown - int64(cap(body))) {
				return nil, errBusy
			}
			body = append(make([]byte, 0, grown), body...)
		}
		n, err := r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case int64(len(body)) > h.cfg.MaxBody:
			return nil, errTooLarge(h.cfg.MaxBody)
		case errors.Is(err, io.EOF):
			_ = connection.SetReadDeadline(time.Time{}) // from here on it would only cut the wait for the answer short
			return body, nil
		case err != nil:
			return nil, errBody
		}
	}
}

// hangUpAfter is how long the rest of an unread body is thrown away, so that its sender can read the answer: closing at once
// would reset the connection under it.
const hangUpAfter = 500 * time.Millisecond

// hangUp has the connection closed after the answer to a request whose body was not read.
func hangUp(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 { // there is none
		return
	}
	w.Header().Set("Connection", "close")
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(hangUpAfter)) // a server that has none bounds its requests otherwise
}
