// Package faulttest ends a worker's own process at a named point of its way, as kill -9 does. A build of cmd/idpsync for
// chaos runs passes what its worker uses through this package; the product itself does not know of it.
package faulttest

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/directory"
	"github.com/idpsync/idpsync/worker/record"
)

// What the process is told by its environment.
const (
	// PointVariable is a point and how often the process passes it alive, as in "after-commit:17".
	PointVariable = "CHAOS_POINT"
	// PoisonVariable is the id of an event whose verification ends the process.
	PoisonVariable = "CHAOS_POISON"
)

// The points.
const (
	AfterPull     = "after-pull"      // the message is in hand, nothing of it is read
	InVerify      = "in-verify"       // its provider is at work
	InTransaction = "in-transaction"  // all is written, nothing is committed
	AfterCommit   = "after-commit"    // and nothing is published
	InPublish     = "in-publish"      // half of the batch is stored by the broker
	AfterLetters  = "after-letters"   // dead letters are stored, their results are not
	AfterResults  = "after-results"   // and nothing is acknowledged
	BeforeTerm    = "before-term"     // dead letter and result are stored, the event still waits
	BeforeAck     = "before-last-ack" // some of the batch is acknowledged
	AfterAck      = "after-ack"
	AfterPark     = "after-park"    // the event is parked and with the broker
	BeforeUnpark  = "before-unpark" // the parked event is done and still parked
	InDrain       = "in-drain"      // the first work after the process was told to stop
)

// Points lists all points.
func Points() []string {
	return []string{
		AfterPull, InVerify, InTransaction, AfterCommit, InPublish, AfterLetters, AfterResults, BeforeTerm, BeforeAck, AfterAck,
		AfterPark, BeforeUnpark, InDrain,
	}
}

// A trigger ends the process.
type trigger struct {
	point    string
	left     atomic.Int64
	poison   string
	draining atomic.Bool
}

func newTrigger(environ map[string]string) *trigger {
	t := &trigger{poison: environ[PoisonVariable]}
	if point, times, ok := strings.Cut(environ[PointVariable], ":"); ok {
		n, err := strconv.ParseInt(times, 10, 64)
		if err != nil {
			panic(fmt.Sprintf("%s: %v", PointVariable, err))
		}
		t.point = point
		t.left.Store(n + 1)
	}
	return t
}

// due reports whether the process is to end at this passage of the point.
func (t *trigger) due(point string) bool { return point == t.point && t.left.Add(-1) == 0 }

func (t *trigger) at(point string) {
	if t.due(point) {
		die()
	}
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // it takes a moment
}

// New is worker.New with points around what the worker uses.
func New(environ map[string]string, st *store.Store, p worker.Publisher, d *directory.Cache, a worker.Authorizer, c worker.Config) (*worker.Worker, error) {
	t := newTrigger(environ)
	open := c.Open
	c.Open = func(ctx context.Context, lane string) (worker.Consumer, error) {
		inner, err := open(ctx, lane)
		if err != nil {
			return nil, err
		}
		return &consumer{inner, t}, nil
	}
	return worker.New(&database{st, t}, &publisher{p, t}, d, a, c)
}

// Factories returns the factories with a point inside verification.
func Factories(environ map[string]string, all map[providers.Kind]providers.Factory) map[providers.Kind]providers.Factory {
	t := newTrigger(environ)
	wrapped := map[providers.Kind]providers.Factory{}
	for kind, factory := range all {
		wrapped[kind] = func(src providers.Source, env providers.Environment) (providers.Provider, error) {
			inner, err := factory(src, env)
			if err != nil {
				return nil, err
			}
			return &provider{inner, t}, nil
		}
	}
	return wrapped
}

type provider struct {
	providers.Provider
	t *trigger
}

func (p *provider) Verify(ctx context.Context, e providers.Envelope) (providers.CreateUser, error) {
	if p.t.poison != "" && e.EventID == p.t.poison {
		die()
	}
	p.t.at(InVerify)
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

type consumer struct {
	worker.Consumer
	t *trigger
}

func (c *consumer) Next(ctx context.Context) (worker.Message, error) {
	m, err := c.Consumer.Next(ctx)
	if err != nil {
		return nil, err
	}
	c.t.at(AfterPull)
	return &message{m, c.t}, nil
}

func (c *consumer) Drain() {
	c.t.draining.Store(true)
	c.Consumer.Drain()
}

type message struct {
	worker.Message
	t *trigger
}

func (m *message) AckSync(ctx context.Context) error {
	m.t.at(BeforeAck)
	err := m.Message.AckSync(ctx)
	m.t.at(AfterAck)
	return err
}

func (m *message) Term(reason string) error {
	m.t.at(BeforeTerm)
	return m.Message.Term(reason)
}

type publisher struct {
	worker.Publisher
	t *trigger
}

func (p *publisher) Publish(ctx context.Context, msgs []record.Outgoing) []error {
	if p.t.due(InPublish) {
		_ = p.Publisher.Publish(ctx, msgs[:(len(msgs)+1)/2])
		die()
	}
	errs := p.Publisher.Publish(ctx, msgs)
	if len(msgs) > 0 && strings.HasPrefix(msgs[0].Subject, "idpsync.deadletter.") {
		p.t.at(AfterLetters)
	} else {
		p.t.at(AfterResults)
	}
	return errs
}

type database struct {
	*store.Store
	t *trigger
}

var _ worker.Store = (*database)(nil)

func (d *database) Batch(ctx context.Context, fn func(context.Context, *store.Tx) error) error {
	if d.t.draining.Load() {
		d.t.at(InDrain)
	}
	err := d.Store.Batch(ctx, func(ctx context.Context, tx *store.Tx) error {
		err := fn(ctx, tx)
		d.t.at(InTransaction)
		return err
	})
	d.t.at(AfterCommit)
	return err
}

func (d *database) Park(ctx context.Context, rows []store.Parked) error {
	err := d.Store.Park(ctx, rows)
	d.t.at(AfterPark)
	return err
}

func (d *database) DeleteParked(ctx context.Context, ids []int64) error {
	d.t.at(BeforeUnpark)
	return d.Store.DeleteParked(ctx, ids)
}
