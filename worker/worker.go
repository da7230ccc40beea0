package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/directory"
	"github.com/idpsync/idpsync/worker/record"
)

// Lanes: the names of the durable consumers.
const (
	LaneLogins = "logins" // logins and commands
	LaneFeeds  = "feeds"
)

// DefaultLoops is the number of batches of one lane that are processed at a time.
const DefaultLoops = 4

// Store is what the worker needs of the store; *store.Store is one.
type Store interface {
	Batch(ctx context.Context, fn func(context.Context, *store.Tx) error) error
	DryRun(ctx context.Context, fn func(context.Context, *store.Tx) error) error
	Park(ctx context.Context, rows []store.Parked) error
	Repark(ctx context.Context, rows []store.Parked) error
	ClaimParked(ctx context.Context, worker string, limit int, now time.Time, lease time.Duration) ([]store.Parked, error)
	DeleteParked(ctx context.Context, ids []int64) error
	IsParked(ctx context.Context, key string) (bool, error)
	ClaimOutbox(ctx context.Context, worker string, olderThan time.Time, limit int, now time.Time, lease time.Duration) ([]store.Outbox, error)
	DeleteOutbox(ctx context.Context, ids []string) error
	PruneUsedIDs(ctx context.Context, now time.Time) (int64, error)
	Find(ctx context.Context, lookups []store.Lookup) ([]store.Found, error)
	SetInFlight(ctx context.Context, b store.InFlight) error
	ClearInFlight(ctx context.Context, worker, stream string, sequence uint64) error
	InFlight(ctx context.Context, worker string) ([]store.InFlight, error)
	DeadLetterState
}

// Metrics counts what the worker does. Implementations are safe for concurrent use.
type Metrics interface {
	Stage(name string, events int, took time.Duration) // prepare, commit, deliver
	Outcome(source, door, outcome, code string)
	Parked(events int)
	Paused(paused bool) // the database is away
	TrustExpires(ends []directory.TrustEnd)
}

// Config is how a worker works. A zero value of any field but the first ones has the default beside it.
type Config struct {
	Name    string // of this worker, unique among those of a deployment
	Version string
	Open    func(ctx context.Context, lane string) (Consumer, error) // opens the consumer of a lane; required
	Broker  Broker                                                   // required
	Sealer  record.Sealer                                            // required
	Vouches bool                                                     // the broker's permissions bind operators to the subjects of their orders
	Crumbs  string                                                   // folder for what is known of a crash; "" keeps nothing

	Batch    int           // events in one transaction; 500
	Loops    int           // batches of one lane processed at a time; DefaultLoops
	Parallel int           // goroutines that verify one batch; the number of processors
	Linger   time.Duration // how long a feed batch waits to be filled; 5 ms (logins do not wait)
	AckWait  time.Duration // of the consumers; 60 s

	HashWorkers      int                                 // passwords hashed at a time, 19 MiB each; half the processors
	HashQueue        int                                 // events that wait for it; 256
	Unseal           func(sealed string) ([]byte, error) // opens sealed passwords; nil: there is no key
	DurablePasswords bool                                // accept passwords in the clear in what the broker stores
	WeakHashes       bool                                // accept imported hashes below the least cost

	LoginBudget   time.Duration // how long a login or command may wait for its source; 1 h
	FeedBudget    time.Duration // the same for feeds; 24 h
	DrainTimeout  time.Duration // how long stopping may take; 20 s
	RelayInterval time.Duration // between looks at the parked events; 500 ms
	Refresh       time.Duration // between looks at the directory's revision; 1 s

	Now     func() time.Time // time.Now
	Rand    io.Reader        // crypto/rand
	Log     *slog.Logger     // discards
	Metrics Metrics          // discards
}

func (c Config) withDefaults() (Config, error) {
	if c.Open == nil || c.Name == "" || c.Broker == nil || c.Sealer == nil {
		return c, errors.New("worker: Config.Name, Open, Broker and Sealer are required")
	}
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	setTime := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&c.Batch, 500)
	set(&c.Loops, DefaultLoops)
	set(&c.Parallel, runtime.GOMAXPROCS(0))
	set(&c.HashWorkers, max(1, runtime.GOMAXPROCS(0)/2))
	set(&c.HashQueue, 256)
	setTime(&c.Linger, 5*time.Millisecond)
	setTime(&c.AckWait, time.Minute)
	setTime(&c.LoginBudget, time.Hour)
	setTime(&c.FeedBudget, 24*time.Hour)
	setTime(&c.DrainTimeout, 20*time.Second)
	setTime(&c.RelayInterval, 500*time.Millisecond)
	setTime(&c.Refresh, time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = noMetrics{}
	}
	return c, nil
}

// A Worker takes events from the lanes and the front doors through the pipeline. Make one with New.
type Worker struct {
	cfg         Config
	store       Store
	publisher   Publisher
	directories *directory.Cache
	authorizer  Authorizer
	metrics     Metrics
	log         *slog.Logger
	now         func() time.Time

	boot        string // id of this run
	crumbs      *crumbs
	dead        []corpse // processes whose crumbs were found
	left        leftCrumbs
	breaker     *breaker
	leases      *leases
	submissions chan *event
	hashing     chan *event
	erasing     chan *event
	aside       *aside
	stopped     chan struct{}
	orders      sparing // of the log of refused orders
}

// New returns a worker that is ready to Run. The store must be migrated, the streams and consumers must exist, and
// directories must have been loaded once.
func New(st Store, publisher Publisher, directories *directory.Cache, authorizer Authorizer, cfg Config) (*Worker, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	boot, err := uuid.NewRandomFromReader(cfg.Rand)
	if err != nil {
		return nil, fmt.Errorf("make an id for this run: %w", err)
	}
	w := &Worker{
		cfg: cfg, boot: boot.String(), store: st, publisher: publisher, directories: directories, authorizer: authorizer,
		metrics: cfg.Metrics, log: cfg.Log, now: cfg.Now,
		breaker: newBreaker(), leases: newLeases(),
		submissions: make(chan *event, cfg.Batch), hashing: make(chan *event, cfg.HashQueue), erasing: make(chan *event, eraseQueue), aside: newAside(),
		stopped: make(chan struct{}),
	}
	if cfg.Crumbs != "" {
		// One slot for each goroutine that can verify at a time: those of both lanes, their suspects, relay, replays and what was set aside.
		if w.crumbs, w.dead, err = openCrumbs(cfg.Crumbs, w.boot, (2*cfg.Loops+5)*cfg.Parallel); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// Run works until ctx ends, then drains: it stops pulling, finishes what it has, acknowledges, and returns nil. What is
// not finished within the drain timeout goes back to the broker and is reported as an error. Run is called once.
func (w *Worker) Run(ctx context.Context) error {
	hard, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	defer w.crumbs.close()
	if err := w.accuse(ctx, w.dead); err != nil {
		return fmt.Errorf("note what a dead worker had in hand: %w", err)
	}
	lanes := []*lane{
		{w: w, name: LaneLogins, batch: w.cfg.Batch, loops: w.cfg.Loops, queue: make(chan *event, w.cfg.Batch), again: make(chan *event, w.cfg.Batch), extra: w.submissions, log: w.log.With("lane", LaneLogins)},
		{w: w, name: LaneFeeds, batch: w.cfg.Batch, linger: w.cfg.Linger, loops: w.cfg.Loops, queue: make(chan *event, w.cfg.Batch), again: make(chan *event, w.cfg.Batch), log: w.log.With("lane", LaneFeeds)},
	}
	var background sync.WaitGroup
	aside, stopAside := context.WithCancel(hard)
	background.Go(func() { w.directories.Follow(aside, w.cfg.Refresh) })
	background.Go(func() { w.directories.FollowKeys(aside, w.cfg.Refresh, w.metrics.TrustExpires) })
	background.Go(func() { w.directories.RefreshKeys(aside, w.cfg.Name, w.cfg.Refresh, w.breaker.open) })
	background.Go(func() { w.keepAlive(aside) })
	background.Go(func() { w.sweep(aside) })

	finished := make(chan struct{})
	deadline := make(chan struct{})
	background.Go(func() {
		defer close(deadline)
		select {
		case <-finished:
			return
		case <-ctx.Done():
		}
		timer := time.NewTimer(w.cfg.DrainTimeout)
		defer timer.Stop()
		select {
		case <-finished:
		case <-timer.C:
			cut(errDrainTimeout)
		}
	})

	var running, hashing sync.WaitGroup
	hashed := make(chan struct{})
	for range w.cfg.HashWorkers {
		hashing.Go(func() { w.hash(hard, hashed) })
	}
	var erasing sync.WaitGroup
	erasing.Go(func() { w.eraser(hard) })
	for _, l := range lanes {
		running.Go(func() { l.run(ctx, hard) })
	}
	running.Go(func() { w.relay(ctx, hard) })
	running.Go(func() { w.replays(ctx, hard) })
	running.Wait()
	w.aside.group.Wait()
	close(hashed)
	hashing.Wait()
	close(w.erasing)
	erasing.Wait()
	close(w.stopped)
	close(finished)
	<-deadline
	stopAside()
	background.Wait()
	return w.giveBack(hard)
}

var errDrainTimeout = errors.New("drain timeout")

// giveBack returns what was not finished to the broker, to be delivered to somebody else at once.
func (w *Worker) giveBack(hard context.Context) error {
	left := w.leases.all()
	for _, e := range left {
		if err := e.message.NakWithDelay(0); err != nil {
			w.log.Debug("message not given back; the broker delivers it again after AckWait", "stream_seq", e.origin.Sequence, "error", err)
		}
	}
	w.leases.drop(left)
	if errors.Is(context.Cause(hard), errDrainTimeout) {
		return fmt.Errorf("stopping took longer than %v; %d events went back to the broker: %w", w.cfg.DrainTimeout, len(left), errDrainTimeout)
	}
	return nil
}

// process takes a batch through the pipeline. Events with a password to hash go on by themselves.
func (w *Worker) process(ctx context.Context, events []*event) {
	start := time.Now()
	w.prepareAll(ctx, events)
	w.metrics.Stage("prepare", len(events), time.Since(start))
	w.finish(ctx, w.divert(w.setAside(ctx, events)))
}

// finish commits and delivers prepared events. While the database is away it keeps them and tries again.
func (w *Worker) finish(ctx context.Context, events []*event) {
	if len(events) == 0 {
		return
	}
	prepared := time.Now()
	for try := 0; ; try++ {
		err := w.decide(ctx, events)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			w.acquit(ctx, events)
			return // the messages go back to the broker
		}
		if w.breaker.trip() {
			w.metrics.Paused(true)
			w.log.Error("database away; pulling stops until it is back", "error", err)
		}
		if pause(ctx, w.delay(min(try, 3), 0)) != nil {
			w.acquit(ctx, events)
			return
		}
	}
	if w.breaker.reset() {
		w.metrics.Paused(false)
		w.log.Info("database back; pulling goes on")
	}
	committed := time.Now()
	w.metrics.Stage("commit", len(events), committed.Sub(prepared))
	w.deliver(ctx, events)
	w.leases.drop(notErasing(events))
	w.metrics.Stage("deliver", len(events), time.Since(committed))
}

type noMetrics struct{}

func (noMetrics) Stage(string, int, time.Duration)           {}
func (noMetrics) Outcome(source, door, outcome, code string) {}
func (noMetrics) Parked(int)                                 {}
func (noMetrics) Paused(bool)                                {}
func (noMetrics) TrustExpires([]directory.TrustEnd)          {}
