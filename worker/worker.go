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

	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/directory"
	"github.com/idpsync/idpsync/worker/gate"
	"github.com/idpsync/idpsync/worker/original"
	"github.com/idpsync/idpsync/worker/outage"
	"github.com/idpsync/idpsync/worker/poison"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/retention"
)

// DefaultLoops is the number of batches of one tenant in one lane that are processed at a time.
const DefaultLoops = 4

// DefaultResultSize is the largest result with an unchanged picture, in bytes, when Config sets none.
const DefaultResultSize = 64 << 10

// tenantBatches is how many batches of events a worker holds of one tenant in one lane: those in hand, and as many that wait.
const tenantBatches = 2 * DefaultLoops

// Config is how a worker works. A zero value of any field but the first ones has the default beside it.
type Config struct {
	Name    string // of this worker, unique among those of a deployment
	Version string
	Open    func(ctx context.Context, lane string) (Consumer, error) // opens the consumer of a lane; required
	Broker  Broker                                                   // required
	Sealer  record.Sealer                                            // required
	Vouches bool                                                     // the broker's permissions bind operators to the subjects of their orders
	Slots   string                                                   // folder for what this host's workers work on, as evidence of crashes; "" keeps nothing

	Batch    int           // events in one transaction; 500
	Loops    int           // batches of one tenant processed at a time, in each lane; DefaultLoops
	Parallel int           // goroutines that verify one batch; the number of processors
	Linger   time.Duration // how long a feed batch waits to be filled; 5 ms (logins do not wait)
	AckWait  time.Duration // of the consumers; 25 s

	// ResultSize is the largest published result that repeats a picture which the event did not change, in bytes; 64 KiB.
	// Larger ones leave it out.
	ResultSize int

	HashWorkers      int                                 // passwords hashed at a time, 19 MiB each; half the processors
	HashQueue        int                                 // events that wait for it; 256
	Unseal           func(sealed string) ([]byte, error) // opens sealed passwords; nil: there is no key
	Archive          bool                                // there is a stream of events that had their effect; see archive.go
	DurablePasswords bool                                // accept passwords in the clear in what the broker stores
	WeakHashes       bool                                // accept imported hashes below the least cost

	LoginBudget      time.Duration // how long a login or command may wait for its source; 1 h
	FeedBudget       time.Duration // the same for feeds; 24 h
	Patience         time.Duration // how long the database may be away before the worker gives back what it holds; 15 s
	LetterQuota      int           // dead letters of one tenant and source that are kept; 10,000
	LetterQuotaBytes int64         // the same in bytes; 256 MiB

	TrustedDomains original.Trust // JetStream domains that are believed when they say when they stored an event; none

	DrainTimeout  time.Duration // how long stopping may take; 20 s
	RelayInterval time.Duration // between looks at the parked events; 500 ms
	Refresh       time.Duration // between looks at the directory's revision; 1 s
	PruneInterval time.Duration // between rounds in which one worker deletes old rows; 10 min

	Now       func() time.Time // the time that all workers share, see package clock; time.Now
	BrokerNow func() time.Time // the time by the broker's clock, which stamps what it stores; Now
	Rand      io.Reader        // crypto/rand
	Log       *slog.Logger     // discards
	Metrics   Metrics          // discards
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
	set(&c.ResultSize, DefaultResultSize)
	set(&c.HashWorkers, max(1, runtime.GOMAXPROCS(0)/2))
	set(&c.HashQueue, 256)
	set(&c.LetterQuota, 10_000)
	if c.LetterQuotaBytes <= 0 {
		c.LetterQuotaBytes = 256 << 20
	}
	setTime(&c.Linger, 5*time.Millisecond)
	setTime(&c.AckWait, 25*time.Second)
	setTime(&c.LoginBudget, time.Hour)
	setTime(&c.FeedBudget, 24*time.Hour)
	setTime(&c.Patience, 15*time.Second)
	setTime(&c.DrainTimeout, 20*time.Second)
	setTime(&c.RelayInterval, 500*time.Millisecond)
	setTime(&c.Refresh, time.Second)
	setTime(&c.PruneInterval, 10*time.Minute)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.BrokerNow == nil {
		c.BrokerNow = c.Now
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
	directories *directory.Cache
	authorizer  Authorizer
	metrics     Metrics
	log         *slog.Logger
	now         func() time.Time

	guard     *poison.Guard
	pruner    *retention.Pruner
	database  *outage.Watch
	leases    *leases
	logins    *lane
	feeds     *lane
	hashing   chan *event
	erasing   chan *event
	aside     *aside
	turns     chan struct{} // of bringBack
	stopped   chan struct{}
	orders    clock.Sparing                 // of the log of refused orders
	alongside func(f func())                // runs f beside the lanes, which wait for it; set by Run
	originals original.Domains              // by how they are named in headers
	reads     func(f func(context.Context)) // runs f beside the lanes; nil outside of Run
	atArrival clock.Sparing                 // of the log of events that are judged at their arrival
	letters   *gate.Gate                    // before the stream of dead letters
	results   *gate.Gate                    // before the stream of results
	archive   *gate.Gate                    // before the archive; nil when there is none

	rejections rejections // in the log
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
		cfg: cfg, store: st, directories: directories, authorizer: authorizer,
		metrics: cfg.Metrics, log: cfg.Log, now: cfg.Now,
		database: outage.New(outage.Options{Store: st, Patience: cfg.Patience, Changed: cfg.Metrics.Paused, Log: cfg.Log}), leases: newLeases(tenantBatches * cfg.Batch),
		hashing: make(chan *event, cfg.HashQueue), erasing: make(chan *event, eraseQueue), aside: newAside(), turns: make(chan struct{}, asideTurns),
		stopped: make(chan struct{}),
	}
	w.originals = original.New(cfg.TrustedDomains.Names(), cfg.Broker.Original, cfg.Now)
	w.letters = gate.New(gate.Options{Name: "deadletters", What: "dead letters", Publisher: publisher, Timeout: letterTimeout, Now: cfg.Now, Log: cfg.Log, Metrics: cfg.Metrics})
	w.results = gate.New(gate.Options{Name: "results", What: "results", Publisher: publisher, Now: cfg.Now, Log: cfg.Log, Metrics: cfg.Metrics})
	if cfg.Archive {
		w.archive = gate.New(gate.Options{Name: "archive", What: "archived events", Publisher: publisher, Timeout: archiveTimeout, Now: cfg.Now, Log: cfg.Log, Metrics: cfg.Metrics})
	}
	w.guard, err = poison.New(poison.Options{
		// One slot for each goroutine that can verify at a time: those of both lanes, what each processes alone, replays and
		// what was set aside. Any more wait for a slot.
		Folder: cfg.Slots, Slots: (2*(cfg.Loops+2) + 1 + asideTurns) * cfg.Parallel,
		Worker: cfg.Name, Boot: boot.String(), Store: st, Now: cfg.Now, Log: cfg.Log,
	})
	w.pruner = retention.New(retention.Options{
		Worker: cfg.Name, Interval: cfg.PruneInterval, Store: st, Broker: cfg.Broker,
		MaxEventAge: func() time.Duration { return directories.Current().MaxEventAge() },
		Markers:     func(ctx context.Context) (int64, error) { return w.guard.Prune(ctx) },
		Away:        w.database.Open, Now: cfg.Now, Log: cfg.Log,
	})
	w.logins = newLane(w, record.LaneLogins, 0)
	w.feeds = newLane(w, record.LaneFeeds, cfg.Linger)
	return w, err
}

// Run works until ctx ends, then drains: it stops pulling, finishes what it has, acknowledges, and returns nil. What is
// not finished within the drain timeout goes back to the broker and is reported as an error. Run is called once.
func (w *Worker) Run(ctx context.Context) error {
	hard, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	defer w.guard.Close()
	if err := w.guard.Start(ctx); err != nil {
		return fmt.Errorf("note which events a dead worker had in hand: %w", err)
	}
	lanes := []*lane{w.logins, w.feeds}
	var background sync.WaitGroup
	beside, stopBeside := context.WithCancel(hard)
	background.Go(func() { w.directories.Follow(beside, w.cfg.Refresh) })
	background.Go(func() { w.directories.FollowKeys(beside, w.cfg.Refresh, w.metrics.TrustExpires) })
	background.Go(func() { w.directories.RefreshKeys(beside, w.cfg.Name, w.cfg.Refresh, w.database.Open) })
	background.Go(func() { w.keepAlive(beside) })
	background.Go(func() { w.sweep(beside) })
	background.Go(func() { w.pruner.Run(beside) })
	background.Go(func() { w.database.Run(beside) })
	background.Go(func() { w.relayLetters(beside) })

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

	var feeding, running, returning, hashing sync.WaitGroup
	w.alongside = func(f func()) { returning.Go(f) }
	w.reads = func(f func(context.Context)) { w.alongside(func() { f(hard) }) }
	w.aside.begin = func(ready <-chan struct{}) { w.alongside(func() { w.bringBack(hard, ready) }) }
	hashed := make(chan struct{})
	for range w.cfg.HashWorkers {
		hashing.Go(func() { w.hash(hard, hashed) })
	}
	var erasing sync.WaitGroup
	erasing.Go(func() { w.eraseAll(hard) })
	for _, l := range lanes {
		feeding.Go(func() { l.feed(ctx, hard) })
		running.Go(func() { l.process(hard) })
	}
	feeding.Go(func() { w.relay(ctx) })
	running.Go(func() { w.replays(ctx, hard) })
	feeding.Wait()
	for _, l := range lanes {
		l.turns.Close()
	}
	running.Wait()
	returning.Wait()
	close(hashed)
	hashing.Wait()
	close(w.erasing)
	erasing.Wait()
	close(w.stopped)
	close(finished)
	<-deadline
	stopBeside()
	background.Wait()
	return w.giveBackLeft(hard)
}

var errDrainTimeout = errors.New("drain timeout")

// giveBackLeft returns what was not finished to the broker.
func (w *Worker) giveBackLeft(hard context.Context) error {
	left := w.leases.deliveries()
	w.giveUp(hard, left) // before another worker gets them
	w.giveBack(left)
	if errors.Is(context.Cause(hard), errDrainTimeout) {
		return fmt.Errorf("stopping took longer than %v; %d events went back to the broker: %w", w.cfg.DrainTimeout, len(left), errDrainTimeout)
	}
	return nil
}
