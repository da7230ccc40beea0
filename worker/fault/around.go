package fault

import (
	"context"
	"fmt"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/record"
)

// Around puts the points around all parts of a worker, with one hook for all.
func Around(hook Hook) assemble.Around {
	return assemble.Around{
		Store:     func(st assemble.Store) assemble.Store { return &database{st, hook} },
		Publisher: func(p worker.Publisher) worker.Publisher { return &publisher{p, hook} },
		Broker:    func(b worker.Broker) worker.Broker { return &broker{b, hook} },
		Open:      hook.open,
		Factory:   hook.factory,
	}
}

// A publisher is a publisher with points around it.
type publisher struct {
	worker.Publisher
	hook Hook
}

func (p *publisher) Publish(ctx context.Context, msgs []record.Outgoing) []error {
	if err := p.hook(ctx, Call{Point: BeforePublish, Outgoing: msgs, Publisher: p.Publisher}); err != nil {
		return each(err, len(msgs))
	}
	errs := p.Publisher.Publish(ctx, msgs)
	if err := p.hook(ctx, Call{Point: AfterPublish, Outgoing: msgs}); err != nil {
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

// A database is a store with points around what the worker calls.
type database struct {
	assemble.Store
	hook Hook
}

// around runs one method between its points.
func around[T any](ctx context.Context, d *database, method string, call func() (T, error)) (T, error) {
	if err := d.hook(ctx, Call{Point: BeforeStore, Method: method}); err != nil {
		var none T
		return none, err
	}
	v, err := call()
	if err == nil {
		err = d.hook(ctx, Call{Point: AfterStore, Method: method})
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
		return d.hook(ctx, Call{Point: InTransaction, Method: "Batch", Tx: tx})
	}
}

func (d *database) Batch(ctx context.Context, fn func(context.Context, *store.Tx) error) error {
	return d.do(ctx, "Batch", func() error { return d.Store.Batch(ctx, d.inside(fn)) })
}

func (d *database) DryRun(ctx context.Context, fn func(context.Context, *store.Tx) error) error {
	return d.do(ctx, "DryRun", func() error { return d.Store.DryRun(ctx, fn) })
}

func (d *database) TryWrite(ctx context.Context) error {
	return d.do(ctx, "TryWrite", func() error { return d.Store.TryWrite(ctx) })
}

func (d *database) Park(ctx context.Context, rows []store.Parked) error {
	return d.do(ctx, "Park", func() error { return d.Store.Park(ctx, rows) })
}

func (d *database) Repark(ctx context.Context, rows []store.Parked) error {
	return d.do(ctx, "Repark", func() error { return d.Store.Repark(ctx, rows) })
}

func (d *database) ClaimParked(ctx context.Context, worker string, limit int, lease time.Duration) ([]store.Parked, error) {
	return around(ctx, d, "ClaimParked", func() ([]store.Parked, error) { return d.Store.ClaimParked(ctx, worker, limit, lease) })
}

func (d *database) DeleteParked(ctx context.Context, ids []int64) error {
	return d.do(ctx, "DeleteParked", func() error { return d.Store.DeleteParked(ctx, ids) })
}

func (d *database) ParkLetters(ctx context.Context, letters []store.Parked) error {
	return d.do(ctx, "ParkLetters", func() error { return d.Store.ParkLetters(ctx, letters) })
}

func (d *database) ClaimLetters(ctx context.Context, n int, now time.Time, lease time.Duration) ([]store.Parked, error) {
	return around(ctx, d, "ClaimLetters", func() ([]store.Parked, error) { return d.Store.ClaimLetters(ctx, n, now, lease) })
}

func (d *database) ReleaseLetters(ctx context.Context, letters []store.Parked) error {
	return d.do(ctx, "ReleaseLetters", func() error { return d.Store.ReleaseLetters(ctx, letters) })
}

func (d *database) CountLetters(ctx context.Context, quota store.LetterQuota, letters []store.Letter) ([]bool, error) {
	return around(ctx, d, "CountLetters", func() ([]bool, error) { return d.Store.CountLetters(ctx, quota, letters) })
}

func (d *database) Refusals(ctx context.Context, attempts []string) (map[string]store.Refusal, error) {
	return around(ctx, d, "Refusals", func() (map[string]store.Refusal, error) { return d.Store.Refusals(ctx, attempts) })
}

func (d *database) UncountLetters(ctx context.Context, ids []string) error {
	return d.do(ctx, "UncountLetters", func() error { return d.Store.UncountLetters(ctx, ids) })
}

func (d *database) UncountLettersBefore(ctx context.Context, t time.Time, n int) (int, error) {
	return around(ctx, d, "UncountLettersBefore", func() (int, error) { return d.Store.UncountLettersBefore(ctx, t, n) })
}

func (d *database) ClaimCounted(ctx context.Context, n int, before, now time.Time, lease time.Duration) ([]store.Counted, error) {
	return around(ctx, d, "ClaimCounted", func() ([]store.Counted, error) { return d.Store.ClaimCounted(ctx, n, before, now, lease) })
}

func (d *database) DeleteCounted(ctx context.Context, summary string) error {
	return d.do(ctx, "DeleteCounted", func() error { return d.Store.DeleteCounted(ctx, summary) })
}

func (d *database) Owe(ctx context.Context, results []store.Outbox) error {
	return d.do(ctx, "Owe", func() error { return d.Store.Owe(ctx, results) })
}

func (d *database) ClaimOutbox(ctx context.Context, worker string, age time.Duration, limit int, lease time.Duration) ([]store.Outbox, error) {
	return around(ctx, d, "ClaimOutbox", func() ([]store.Outbox, error) {
		return d.Store.ClaimOutbox(ctx, worker, age, limit, lease)
	})
}

func (d *database) DeleteOutbox(ctx context.Context, ids []string) error {
	return d.do(ctx, "DeleteOutbox", func() error { return d.Store.DeleteOutbox(ctx, ids) })
}

func (d *database) Prune(ctx context.Context, p store.Prunable, before time.Time, n int) (int64, error) {
	return around(ctx, d, "Prune", func() (int64, error) { return d.Store.Prune(ctx, p, before, n) })
}

func (d *database) BeginHistory(ctx context.Context, from time.Time) error {
	return d.do(ctx, "BeginHistory", func() error { return d.Store.BeginHistory(ctx, from) })
}

func (d *database) Find(ctx context.Context, lookups []store.Lookup) ([]store.Found, error) {
	return around(ctx, d, "Find", func() ([]store.Found, error) { return d.Store.Find(ctx, lookups) })
}

func (d *database) MarkInFlight(ctx context.Context, markers []store.InFlight) error {
	return d.do(ctx, "MarkInFlight", func() error { return d.Store.MarkInFlight(ctx, markers) })
}

func (d *database) ClearInFlight(ctx context.Context, events []string, run string) error {
	return d.do(ctx, "ClearInFlight", func() error { return d.Store.ClearInFlight(ctx, events, run) })
}

func (d *database) KeepInFlight(ctx context.Context, run string, now time.Time) error {
	return d.do(ctx, "KeepInFlight", func() error { return d.Store.KeepInFlight(ctx, run, now) })
}

func (d *database) PruneInFlight(ctx context.Context, before time.Time) (int64, error) {
	return around(ctx, d, "PruneInFlight", func() (int64, error) { return d.Store.PruneInFlight(ctx, before) })
}

func (d *database) InFlight(ctx context.Context, events ...string) ([]store.InFlight, error) {
	return around(ctx, d, "InFlight", func() ([]store.InFlight, error) { return d.Store.InFlight(ctx, events...) })
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
	hook Hook
}

func (p *provider) Verify(ctx context.Context, e providers.Envelope) (providers.CreateUser, error) {
	if err := p.hook(ctx, Call{Point: BeforeVerify, Envelope: e}); err != nil {
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

func (h Hook) factory(inner providers.Factory) providers.Factory {
	return func(src providers.Source, env providers.Environment) (providers.Provider, error) {
		if err := h(context.Background(), Call{Point: BeforeFactory, Source: src}); err != nil {
			return nil, err
		}
		p, err := inner(src, env)
		if err != nil {
			return nil, err
		}
		return &provider{p, h}, nil
	}
}

// A broker is what the worker reads of the broker beside its lanes, with a point before each method.
type broker struct {
	worker.Broker
	hook Hook
}

func (b *broker) DeadLetter(ctx context.Context, sequence uint64) (record.Stored, error) {
	if err := b.hook(ctx, Call{Point: BeforeBroker, Method: "DeadLetter"}); err != nil {
		return record.Stored{}, err
	}
	return b.Broker.DeadLetter(ctx, sequence)
}

func (b *broker) Original(ctx context.Context, domain, stream string, sequence uint64) (record.Stored, error) {
	if err := b.hook(ctx, Call{Point: BeforeBroker, Method: "Original"}); err != nil {
		return record.Stored{}, err
	}
	return b.Broker.Original(ctx, domain, stream, sequence)
}

func (b *broker) Stranded(ctx context.Context, limit int) ([]record.Stored, time.Time, error) {
	if err := b.hook(ctx, Call{Point: BeforeBroker, Method: "Stranded"}); err != nil {
		return nil, time.Time{}, err
	}
	return b.Broker.Stranded(ctx, limit)
}

func (b *broker) Remove(ctx context.Context, sequence uint64) error {
	if err := b.hook(ctx, Call{Point: BeforeBroker, Method: "Remove"}); err != nil {
		return err
	}
	return b.Broker.Remove(ctx, sequence)
}

// open puts points around the messages of a lane.
func (h Hook) open(open assemble.Open) assemble.Open {
	return func(ctx context.Context, lane string) (worker.Consumer, error) {
		if err := h(ctx, Call{Point: BeforeDelivery, Method: "open " + lane}); err != nil {
			return nil, err
		}
		c, err := open(ctx, lane)
		if err != nil {
			return nil, err
		}
		return &consumer{c, lane, h}, nil
	}
}

// A consumer is a lane with points before and after each message.
type consumer struct {
	worker.Consumer
	lane string
	hook Hook
}

// Next implements worker.Consumer. A lane that fails is closed; a message that was delivered stays with the broker's lease.
func (c *consumer) Next(ctx context.Context) (worker.Message, error) {
	if c.hook(ctx, Call{Point: BeforeDelivery, Method: c.lane}) != nil {
		return nil, worker.ErrConsumerClosed
	}
	m, err := c.Consumer.Next(ctx)
	if err != nil {
		return nil, err
	}
	if c.hook(ctx, Call{Point: AfterDelivery, Method: c.lane, Message: m}) != nil {
		return nil, worker.ErrConsumerClosed
	}
	return &message{m, c.hook}, nil
}

func (c *consumer) Drain() {
	_ = c.hook(context.Background(), Call{Point: BeforeDrain, Method: c.lane}) // the worker asks for no answer
	c.Consumer.Drain()
}

// A message is one delivery, with points around what the broker is told.
type message struct {
	worker.Message
	hook Hook
}

func (m *message) tell(ctx context.Context, c Call, tell func() error) error {
	c.Point, c.Message = BeforeTell, m
	if err := m.hook(ctx, c); err != nil {
		return err
	}
	if err := tell(); err != nil {
		return err
	}
	c.Point = AfterTell
	return m.hook(ctx, c)
}

func (m *message) Ack() error {
	return m.tell(context.Background(), Call{Method: "ack"}, m.Message.Ack)
}

func (m *message) AckSync(ctx context.Context) error {
	return m.tell(ctx, Call{Method: "ack", Waits: true}, func() error { return m.Message.AckSync(ctx) })
}

func (m *message) NakWithDelay(delay time.Duration) error {
	return m.tell(context.Background(), Call{Method: "nak", Delay: delay}, func() error { return m.Message.NakWithDelay(delay) })
}

func (m *message) InProgress() error {
	return m.tell(context.Background(), Call{Method: "in progress"}, m.Message.InProgress)
}

func (m *message) Term(reason string) error {
	return m.tell(context.Background(), Call{Method: "term"}, func() error { return m.Message.Term(reason) })
}
