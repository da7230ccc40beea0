// Command chaostest proves by trial that idpsync loses nothing and duplicates nothing.
//
// It runs several workers as processes on a cluster of three brokers and a real PostgreSQL, sends events of every sort by every
// door, has dead letters replayed, and ends, stops, starts and cuts off whatever it can meanwhile. When all is quiet again it compares what it published with what
// is there: in the tables, in the streams, and by the library of idpsync prove. Nothing of the worker's own word is believed.
//
//	go run ./worker/chaostest --duration 10m --events 200000 --seed 7
//
// The seed, which is printed, gives the same events in the same order and the same faults at the same times again. What
// the machine makes of them differs from run to run, so that a failure may need several.
//
// With scenes as its first argument it measures instead what the trouble of one tenant, link or database costs the logins of
// another tenant, and prints a table. See --help there.
//
// With --sabotage the worker is broken on purpose, and the run succeeds when that is found. With --poison one
// event ends every worker that touches it.
//
// It needs the environment variable IDPSYNC_TEST_POSTGRES with the URL of a server that .ci/postgres has started and
// that may be ended at any time; make chaos sees to it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

type options struct {
	duration time.Duration
	drain    time.Duration
	events   int
	seed     uint64
	workers  int
	nodes    int
	skew     time.Duration
	ackWait  time.Duration
	sabotage string
	poison   bool
	calm     bool
	keep     bool
	postgres string
	out      io.Writer

	plain     bool   // no worker has points in it
	directory string // what is declared; "" is that of a storm
	holes     int    // issuers that can go on without an answer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "scenes" {
		if err := runScenes(ctx, os.Args[2:]); err != nil {
			fmt.Fprintf(os.Stderr, "scenes: %v\n", err)
			os.Exit(1)
		}
		return
	}
	o := options{postgres: os.Getenv("IDPSYNC_TEST_POSTGRES"), out: os.Stdout}
	flag.DurationVar(&o.duration, "duration", 10*time.Minute, "how long events are published and faults are made")
	flag.DurationVar(&o.drain, "drain", 6*time.Minute, "how long everything may take to be done afterwards")
	flag.IntVar(&o.events, "events", 200_000, "events to publish")
	flag.Uint64Var(&o.seed, "seed", 0, "seed of events and faults; 0 chooses one")
	flag.IntVar(&o.workers, "workers", 3, "worker processes; the first has no points in it")
	flag.IntVar(&o.nodes, "nodes", 3, "nodes of the broker; every stream is replicated to all of them")
	flag.DurationVar(&o.skew, "skew", time.Hour, "how far the clocks of some workers are ahead or behind")
	flag.DurationVar(&o.ackWait, "ack-wait", 0, "change AckWait of the consumers, so that what a dead worker held comes back sooner; 0 leaves it")
	flag.StringVar(&o.sabotage, "sabotage", "", "break the worker on purpose: one of "+strings.Join(sabotages(), ", "))
	flag.BoolVar(&o.poison, "poison", false, "one event ends every worker that touches it; no other faults")
	flag.BoolVar(&o.calm, "calm", false, "make no faults")
	flag.BoolVar(&o.keep, "keep", false, "keep the folder with the logs even when all is well")
	flag.Parse()
	if o.seed == 0 {
		o.seed = rand.Uint64N(1_000_000) + 1
	}
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "chaos: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.postgres == "" {
		return errors.New("IDPSYNC_TEST_POSTGRES is not set; run make chaos")
	}
	if err := o.check(); err != nil {
		return err
	}
	fmt.Fprintf(o.out, "seed %d, %d events in %v, %d workers on %d nodes of the broker%s\n", o.seed, o.events, o.duration, o.workers, o.nodes, o.variant())
	return inFolder(o.out, o.keep, func(folder string) error { return o.storm(ctx, folder) })
}

// inFolder runs something in a folder of its own, which stays when it fails, or is to be kept.
func inFolder(out io.Writer, keep bool, do func(folder string) error) error {
	folder, err := os.MkdirTemp("", "idpsync-chaos-")
	if err != nil {
		return err
	}
	if err := do(folder); err != nil || keep {
		fmt.Fprintf(out, "logs are in %s\n", folder)
		return err
	}
	return os.RemoveAll(folder)
}

func (o options) storm(ctx context.Context, folder string) (err error) {
	began := time.Now()
	p, err := build(ctx, folder, "")
	if err != nil {
		return err
	}
	fmt.Fprintf(o.out, "built in %v\n", time.Since(began).Round(time.Second))
	w, err := newWorld(ctx, o, p, folder)
	if err != nil {
		return errors.Join(err, w.close())
	}
	defer func() { err = errors.Join(err, w.close()) }()

	script := newScript(o, w)
	storm := newStorm(o, w, script)
	began = time.Now()
	if err := w.perform(ctx, script, storm); err != nil {
		return err
	}
	published := time.Since(began)
	fmt.Fprintf(o.out, "published in %v; faults: %s\n", published.Round(time.Second), w.tally)
	drained := w.drained(ctx, o.drain)
	if drained == nil {
		drained = w.replayLast(ctx, o.drain)
	}
	fmt.Fprintf(o.out, "drained after %v\n", (time.Since(began) - published).Round(time.Second))
	stopped := w.stopWorkers(ctx)

	if o.sabotage == noLedger {
		if err := showLedger(ctx, w.db); err != nil {
			return err
		}
	}
	v := newVerdict(o.out)
	v.note("drain", drained)
	v.note("stop", stopped)
	if err := v.check(ctx, w, script); err != nil {
		return err
	}
	if err := v.prove(ctx, w, script); err != nil {
		return err
	}
	w.complaints(o.out)
	return v.judge(o, w)
}

func (o options) variant() string {
	switch {
	case o.sabotage != "":
		return ", sabotage " + o.sabotage
	case o.poison:
		return ", one of them poison"
	default:
		return ""
	}
}
