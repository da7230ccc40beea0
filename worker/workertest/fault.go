package workertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

// A Point is a place on the way of an event at which something can go wrong.
type Point string

// The points.
const (
	BeforePublish  Point = "before publish" // nothing of the batch is stored
	AfterPublish   Point = "after publish"  // it is stored, and the answer is lost
	BeforeStore    Point = "before store"   // the method is not called
	AfterStore     Point = "after store"    // it had its effect, and the answer is lost
	BeforeTell     Point = "before tell"    // the broker is not told: ack, nak, term, in progress
	BeforeVerify   Point = "before verify"  // the provider is not asked
	InTransaction  Point = "in transaction" // all is written, nothing is committed
	BeforeFactory  Point = "before factory" // a source's provider is not made
	BeforeBroker   Point = "before broker"  // dead letters and stranded events are not read
	BeforeDelivery Point = "before delivery"
)

// A Call is what a process is about to do, or has done, at a point.
type Call struct {
	Point    Point
	Method   string            // of the store or the broker; ack, nak, term or in progress of a message
	Outgoing []record.Outgoing // of a publish
	Message  worker.Message    // that the broker is told about, or that was delivered
	Delay    time.Duration     // of a nak
	Source   providers.Source  // of a factory
	Envelope providers.Envelope
	Tx       *store.Tx
}

// A Hook decides what happens: an error fails the step. It may block, panic, or end the process with [Process.Die].
type Hook func(ctx context.Context, c Call) error

// ErrDead is what a dead process meets at every point.
var ErrDead = errors.New("the process is dead")

// At returns a hook for one point, and all others pass.
func At(p Point, hook Hook) Hook {
	return func(ctx context.Context, c Call) error {
		if c.Point != p {
			return nil
		}
		return hook(ctx, c)
	}
}

// hooks holds the hook of a process and knows whether it is dead.
type hooks struct {
	mu   sync.Mutex
	hook Hook
	dead bool
	died chan struct{}
	conn *stream.Conn // an outsider's, for strays

	strays []record.Stored
}

// LooksStranded makes an event look stranded to the process once, when it asks the broker next.
func (p *Process) LooksStranded(event record.Stored) {
	p.hooks.mu.Lock()
	defer p.hooks.mu.Unlock()
	p.hooks.strays = append(p.hooks.strays, event)
}

func (h *hooks) takeStrays() []record.Stored {
	h.mu.Lock()
	defer h.mu.Unlock()
	strays := h.strays
	h.strays = nil
	return strays
}

func (h *hooks) set(hook Hook) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hook = hook
}

func (h *hooks) die() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.dead {
		h.dead = true
		close(h.died)
	}
}

func (h *hooks) at(ctx context.Context, c Call) error {
	h.mu.Lock()
	hook, dead := h.hook, h.dead
	h.mu.Unlock()
	if dead {
		return ErrDead
	}
	if hook == nil {
		return nil
	}
	if err := hook(ctx, c); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dead {
		return ErrDead
	}
	return nil
}

// around puts the points around the parts of a process, but for its consumers.
func (h *hooks) around() assemble.Around {
	return assemble.Around{
		Store:     func(st *store.Store) assemble.Store { return &database{st, h} },
		Publisher: func(p worker.Publisher) worker.Publisher { return &publisher{p, h} },
		Broker:    func(b worker.Broker) worker.Broker { return &broker{b, h} },
		Factory:   h.factory,
	}
}

// A publisher is a process's publisher with points around it.
type publisher struct {
	worker.Publisher
	hooks *hooks
}

func (p *publisher) Publish(ctx context.Context, msgs []record.Outgoing) []error {
	if err := p.hooks.at(ctx, Call{Point: BeforePublish, Outgoing: msgs}); err != nil {
		return each(err, len(msgs))
	}
	errs := p.Publisher.Publish(ctx, msgs)
	if err := p.hooks.at(ctx, Call{Point: AfterPublish, Outgoing: msgs}); err != nil {
		return each(err, len(msgs))
	}
	return errs
}

func each(err error, n int) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// A database is a process's store with points around what the worker calls.
type database struct {
	*store.Store
	hooks *hooks
}

var _ assemble.Store = (*database)(nil)

// around runs one method between its points.
func around[T any](ctx context.Context, d *database, method string, call func() (T, error)) (T, error) {
	if err := d.hooks.at(ctx, Call{Point: BeforeStore, Method: method}); err != nil {
		var none T
		return none, err
	}
	v, err := call()
	if err == nil {
		err = d.hooks.at(ctx, Call{Point: AfterStore, Method: method})
	}
	return v, err
}

func (d *database) do(ctx context.Context, method string, call func() error) error {
	_, err := around(ctx, d, method, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

func (d *database) inside(fn func(context.Context, *store.Tx) error) func(context.Context, *store.Tx) error {
	return func(ctx context.Context, tx *store.Tx) error {
		if err := fn(ctx, tx); err != nil {
			return err
		}
		return d.hooks.at(ctx, Call{Point: InTransaction, Method: "Batch", Tx: tx})
	}
}

func (d *database) Batch(ctx context.Context, fn func(context.Context, *store.Tx) error) error {
	return d.do(ctx, "Batch", func() error { return d.Store.Batch(ctx, d.inside(fn)) })
}

func (d *database) DryRun(ctx context.Context, fn func(context.Context, *store.Tx) error) error {
	return d.do(ctx, "DryRun", func() error { return d.Store.DryRun(ctx, fn) })
}

func (d *database) Park(ctx context.Context, rows []store.Parked) error {
	return d.do(ctx, "Park", func() error { return d.Store.Park(ctx, rows) })
}

func (d *database) Repark(ctx context.Context, rows []store.Parked) error {
	return d.do(ctx, "Repark", func() error { return d.Store.Repark(ctx, rows) })
}

func (d *database) ClaimParked(ctx context.Context, worker string, limit int, now time.Time, lease time.Duration) ([]store.Parked, error) {
	return around(ctx, d, "ClaimParked", func() ([]store.Parked, error) { return d.Store.ClaimParked(ctx, worker, limit, now, lease) })
}

func (d *database) DeleteParked(ctx context.Context, ids []int64) error {
	return d.do(ctx, "DeleteParked", func() error { return d.Store.DeleteParked(ctx, ids) })
}

func (d *database) ClaimOutbox(ctx context.Context, worker string, olderThan time.Time, limit int, now time.Time, lease time.Duration) ([]store.Outbox, error) {
	return around(ctx, d, "ClaimOutbox", func() ([]store.Outbox, error) {
		return d.Store.ClaimOutbox(ctx, worker, olderThan, limit, now, lease)
	})
}

func (d *database) DeleteOutbox(ctx context.Context, ids []string) error {
	return d.do(ctx, "DeleteOutbox", func() error { return d.Store.DeleteOutbox(ctx, ids) })
}

func (d *database) PruneUsedIDs(ctx context.Context, now time.Time) (int64, error) {
	return around(ctx, d, "PruneUsedIDs", func() (int64, error) { return d.Store.PruneUsedIDs(ctx, now) })
}

func (d *database) Find(ctx context.Context, lookups []store.Lookup) ([]store.Found, error) {
	return around(ctx, d, "Find", func() ([]store.Found, error) { return d.Store.Find(ctx, lookups) })
}

func (d *database) SetInFlight(ctx context.Context, b store.InFlight) error {
	return d.do(ctx, "SetInFlight", func() error { return d.Store.SetInFlight(ctx, b) })
}

func (d *database) ClearInFlight(ctx context.Context, worker, stream string, sequence uint64) error {
	return d.do(ctx, "ClearInFlight", func() error { return d.Store.ClearInFlight(ctx, worker, stream, sequence) })
}

func (d *database) InFlight(ctx context.Context, worker string) ([]store.InFlight, error) {
	return around(ctx, d, "InFlight", func() ([]store.InFlight, error) { return d.Store.InFlight(ctx, worker) })
}

func (d *database) DeadLetter(ctx context.Context, sequence uint64) (store.DeadLetter, error) {
	return around(ctx, d, "DeadLetter", func() (store.DeadLetter, error) { return d.Store.DeadLetter(ctx, sequence) })
}

func (d *database) UpsertDeadLetters(ctx context.Context, rows []store.DeadLetter) error {
	return d.do(ctx, "UpsertDeadLetters", func() error { return d.Store.UpsertDeadLetters(ctx, rows) })
}

func (d *database) Audit(ctx context.Context, e store.AuditEntry) error {
	return d.do(ctx, "Audit", func() error { return d.Store.Audit(ctx, e) })
}

func (d *database) DirectoryRevision(ctx context.Context) (int64, error) {
	return around(ctx, d, "DirectoryRevision", func() (int64, error) { return d.Store.DirectoryRevision(ctx) })
}

func (d *database) Directory(ctx context.Context) (store.Directory, error) {
	return around(ctx, d, "Directory", func() (store.Directory, error) { return d.Store.Directory(ctx) })
}

// A provider is a source's provider with a point before it.
type provider struct {
	providers.Provider
	hooks *hooks
}

func (p *provider) Verify(ctx context.Context, e providers.Envelope) (providers.CreateUser, error) {
	if err := p.hooks.at(ctx, Call{Point: BeforeVerify, Envelope: e}); err != nil {
		return providers.CreateUser{}, err
	}
	return p.Provider.Verify(ctx, e)
}

// VerifyToken implements [providers.TokenVerifier] for the providers that do; nobody asks the others.
func (p *provider) VerifyToken(ctx context.Context, token string, at time.Time, trace *providers.Trace) (providers.Principal, error) {
	v, ok := p.Provider.(providers.TokenVerifier)
	if !ok {
		return providers.Principal{}, fmt.Errorf("%T proves no tokens", p.Provider)
	}
	return v.VerifyToken(ctx, token, at, trace)
}

// ReloadKeys implements providers.KeyHolder, for a provider that has keys.
func (p *provider) ReloadKeys(ctx context.Context) error {
	if holder, ok := p.Provider.(providers.KeyHolder); ok {
		return holder.ReloadKeys(ctx)
	}
	return nil
}

// ReadKeys implements providers.KeyHolder.
func (p *provider) ReadKeys(ctx context.Context) error {
	if holder, ok := p.Provider.(providers.KeyHolder); ok {
		return holder.ReadKeys(ctx)
	}
	return nil
}

// KeysReadAt implements providers.KeyHolder.
func (p *provider) KeysReadAt() (string, time.Time) {
	if holder, ok := p.Provider.(providers.KeyHolder); ok {
		return holder.KeysReadAt()
	}
	return "", time.Time{}
}

func (h *hooks) factory(inner providers.Factory) providers.Factory {
	return func(src providers.Source, env providers.Environment) (providers.Provider, error) {
		if err := h.at(context.Background(), Call{Point: BeforeFactory, Source: src}); err != nil {
			return nil, err
		}
		p, err := inner(src, env)
		if err != nil {
			return nil, err
		}
		return &provider{Provider: p, hooks: h}, nil
	}
}

// A broker is what the worker reads of the broker beside its lanes.
type broker struct {
	worker.Broker
	hooks *hooks
}

func (b *broker) DeadLetter(ctx context.Context, sequence uint64) (record.Stored, error) {
	if err := b.hooks.at(ctx, Call{Point: BeforeBroker, Method: "DeadLetter"}); err != nil {
		return record.Stored{}, err
	}
	return b.Broker.DeadLetter(ctx, sequence)
}

func (b *broker) Stranded(ctx context.Context, limit int) ([]record.Stored, time.Time, error) {
	if err := b.hooks.at(ctx, Call{Point: BeforeBroker, Method: "Stranded"}); err != nil {
		return nil, time.Time{}, err
	}
	found, created, err := b.Broker.Stranded(ctx, limit)
	strays := b.hooks.takeStrays()
	if err != nil || len(strays) == 0 {
		return found, created, err
	}
	state, err := stream.ReadState(ctx, b.hooks.conn)
	if err != nil {
		return nil, time.Time{}, err
	}
	for _, s := range state.Streams {
		if s.Name == stream.StreamEvents {
			created = s.Created
		}
	}
	return append(found, strays...), created, nil
}

func (b *broker) Remove(ctx context.Context, sequence uint64) error {
	if err := b.hooks.at(ctx, Call{Point: BeforeBroker, Method: "Remove"}); err != nil {
		return err
	}
	return b.Broker.Remove(ctx, sequence)
}
