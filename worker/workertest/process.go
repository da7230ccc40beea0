package workertest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/directory"
	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/policy"
	"github.com/idpsync/idpsync/worker/stream"
)

// A Process is one worker of a deployment, as a process of its own would have it: with its own connections, its own
// directory in memory and its own policies.
type Process struct {
	*worker.Worker
	Name        string
	Directories *directory.Cache
	Policies    *policy.Holder
	Metrics     *Metrics
	NakDelay    time.Duration // the longest that a nak waits; set it before Run

	d          *Deployment
	conn       *stream.Conn
	hooks      hooks
	deliveries deliveries
	lines      lines
	cancel     context.CancelFunc
	done       chan error
	ended      bool
}

// config returns the configuration that processes begin with: batches are small and intervals short, and nothing else
// differs from the defaults.
func (d *Deployment) config() worker.Config {
	return worker.Config{
		Version: "test", Batch: 100, Now: d.Clock.Now, Rand: rand.Reader, Log: d.log, Vouches: true,
		RelayInterval: 20 * time.Millisecond, Refresh: 20 * time.Millisecond, AckWait: stream.AckWait,
	}
}

// Mortal configures a process that is going to die: it does not try for long to finish what it has.
func Mortal(c *worker.Config) { c.DrainTimeout = 20 * time.Millisecond }

// Process makes a worker that does not run yet.
func (d *Deployment) Process(configure ...func(*worker.Config)) *Process {
	d.T.Helper()
	return d.ProcessWith(d.database, configure...)
}

// ProcessWith makes a worker that reaches the database in a way of its own.
func (d *Deployment) ProcessWith(database store.Options, configure ...func(*worker.Config)) *Process {
	d.T.Helper()
	d.processes++
	p := &Process{Name: fmt.Sprintf("worker-%d", d.processes), d: d, Metrics: newMetrics(), NakDelay: quickNak, hooks: hooks{died: make(chan struct{}), conn: d.Conn}}
	cfg := d.config()
	for _, c := range configure {
		c(&cfg)
	}
	if cfg.Name == "" {
		cfg.Name = p.Name
	}
	p.Name = cfg.Name
	log := slog.New(logbook{cfg.Log.Handler(), &p.lines}).With("worker", p.Name)
	cfg.Log, cfg.Metrics = log, p.Metrics
	around := p.hooks.around()
	around.Clock = d.Clock.Ask
	points := around.Open
	around.Open = func(open assemble.Open) assemble.Open { return points(p.recording(open)) }
	broker := d.broker(p.Name, log)
	made, err := assemble.New(d.Ctx, assemble.Options{
		DataDir: d.folder, Store: database, SealKey: d.keyFile, HTTP: d.http, Who: "workertest", Worker: cfg, Kinds: d.kinds, Around: around,
		Broker: &broker,
	})
	if err != nil {
		d.T.Fatalf("assemble %s: %v", p.Name, err)
	}
	d.T.Cleanup(made.Close)
	p.Worker, p.Directories, p.Policies, p.conn = made.Worker, made.Directories, made.Policies, made.Conn
	return p
}

// Start makes a worker and runs it.
func (d *Deployment) Start(configure ...func(*worker.Config)) *Process {
	d.T.Helper()
	return d.Process(configure...).Run()
}

// Run begins to work, until Stop, Kill, or the end of the test.
func (p *Process) Run() *Process {
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.d.Ctx))
	p.cancel, p.done = cancel, make(chan error, 1)
	go func() { p.done <- p.Worker.Run(ctx) }()
	p.d.T.Cleanup(func() {
		if !p.ended {
			p.On(nil)
			if err := p.Stop(); err != nil {
				p.d.T.Errorf("%s: %v", p.Name, err)
			}
		}
	})
	return p
}

// AwaitKeys waits until the process has taken over the keys that the store knows.
func (p *Process) AwaitKeys() {
	p.d.T.Helper()
	known, err := p.d.Store.KnownKeys(p.d.Ctx, "")
	if err != nil {
		p.d.T.Fatal(err)
	}
	for _, k := range known {
		p.d.Eventually("for the keys of "+k.Source, func() bool {
			src := p.Directories.Current().Tenant(k.Tenant).Source(k.Source)
			_, at := src.Provider.(providers.KeyHolder).KeysReadAt()
			return !at.IsZero()
		})
	}
}

// On sets what happens at the points of this process from now on; nil lets everything pass.
func (p *Process) On(hook fault.Hook) { p.hooks.set(hook) }

// Die ends the process as far as anybody outside can tell: from now on it reaches nothing. It is for hooks; the test
// then calls Kill.
func (p *Process) Die() error {
	p.hooks.die()
	return ErrDead
}

// Died is closed once the process has died.
func (p *Process) Died() <-chan struct{} { return p.hooks.died }

// AwaitDeath waits until a hook has called Die, then ends the process.
func (p *Process) AwaitDeath() {
	p.d.T.Helper()
	select {
	case <-p.Died():
	case <-p.d.Ctx.Done():
		p.d.T.Fatalf("%s did not come to the point at which it was to die", p.Name)
	}
	p.Kill()
}

// Shutdown tells the process to stop, as SIGTERM does, and returns at once.
func (p *Process) Shutdown() { p.cancel() }

// Stop ends the process as SIGTERM does, and returns what Run returned.
func (p *Process) Stop() error {
	p.d.T.Helper()
	p.ended = true
	p.cancel()
	return p.wait()
}

// Wait waits until Run has returned, and returns what it did.
func (p *Process) wait() error {
	p.d.T.Helper()
	select {
	case err := <-p.done:
		return err
	case <-time.After(patience):
		return errors.New("the worker did not stop")
	}
}

// Kill ends the process, best one that is [Mortal], as kill -9 does: nothing is drained or told. The broker's leases on what it held are ended
// too, as they would be after AckWait.
func (p *Process) Kill() {
	p.d.T.Helper()
	p.ended = true
	p.hooks.die()
	p.cancel()
	_ = p.wait() // a dead process has nothing to say
	p.release()
}

// release lets the broker deliver again what the process had and did not dispose of.
func (p *Process) release() {
	p.d.T.Helper()
	p.deliveries.mu.Lock()
	defer p.deliveries.mu.Unlock()
	for _, c := range p.deliveries.open { // what the client had prefetched was delivered, too
		c.Drain()
		for {
			m, err := c.Next(p.d.Ctx)
			if err != nil {
				break
			}
			p.deliveries.all = append(p.deliveries.all, &message{Message: m})
		}
	}
	p.deliveries.open = nil
	for _, m := range p.deliveries.all {
		if len(m.delivery().Told) == 0 {
			if err := m.Message.NakWithDelay(0); err != nil {
				p.d.T.Errorf("release a message: %v", err)
			}
		}
	}
	if _, err := p.conn.RTT(); err != nil { // the broker has them
		p.d.T.Errorf("release messages: %v", err)
	}
}

// Deliveries returns what the process was handed so far, in order.
func (p *Process) Deliveries() []Delivery {
	p.deliveries.mu.Lock()
	defer p.deliveries.mu.Unlock()
	out := make([]Delivery, len(p.deliveries.all))
	for i, m := range p.deliveries.all {
		out[i] = m.delivery()
	}
	return out
}

// AwaitDeliveries waits until the process has been handed n messages.
func (p *Process) AwaitDeliveries(n int) {
	p.d.T.Helper()
	p.d.Eventually(fmt.Sprintf("for %d deliveries", n), func() bool { return len(p.Deliveries()) >= n })
}
