package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/worker/stream"
)

// A misfortune is one fault of a storm, from outside of the workers.
type misfortune struct {
	at     time.Duration
	name   string
	length time.Duration
	slot   int
	strike func(ctx context.Context) error
}

// A storm is all faults of a run from outside of the workers, in the order of their times.
type storm struct {
	w      *world
	faults []misfortune
	sole   map[string]*sync.Mutex // what only one fault at a time can happen to
	flood  func(context.Context) error
}

// faultEvery is the mean time between two faults.
const faultEvery = 2500 * time.Millisecond

func newStorm(o options, w *world, script *script) *storm {
	s := &storm{w: w, flood: func(ctx context.Context) error { return w.flood(ctx, script) }, sole: map[string]*sync.Mutex{"broker": {}, "database": {}, "issuer": {}, "full": {}}}
	if o.calm || o.poison {
		return s
	}
	rng := rand.New(rand.NewPCG(o.seed, 2))
	between := func(least, most time.Duration) time.Duration {
		return least + time.Duration(rng.Int64N(int64(most-least)))
	}
	longest := o.ackWait
	if longest == 0 {
		longest = stream.AckWait
	}
	// The long stops are few and certain: that a worker wakes up after another one got its messages is a case of its own.
	stops := 1 + int(o.duration/(4*time.Minute))
	for i := range stops {
		length := longest + between(time.Second, 8*time.Second)
		if length*2 < o.duration {
			s.add(misfortune{at: between(o.duration/10, o.duration-length), name: "stop beyond AckWait", length: length, slot: i % o.workers})
		}
	}
	kinds := []struct {
		weight      int
		name        string
		least, most time.Duration
	}{
		{24, "kill worker", 1, 2},
		{10, "terminate worker", 1, 2},
		{8, "stop worker", 300 * time.Millisecond, 6 * time.Second},
		{8, "kill broker", 50 * time.Millisecond, 4 * time.Second},
		{6, "kill leading broker", 50 * time.Millisecond, 4 * time.Second},
		{2, "kill two brokers", 50 * time.Millisecond, 4 * time.Second},
		{4, "stop broker", 300 * time.Millisecond, 4 * time.Second},
		{3, "stop leading broker", 300 * time.Millisecond, 8 * time.Second},
		{12, "kill database", 50 * time.Millisecond, 4 * time.Second},
		{5, "slow database link", time.Second, 6 * time.Second},
		{5, "slow broker link", time.Second, 6 * time.Second},
		{5, "cut database link", 50 * time.Millisecond, 5 * time.Second},
		{5, "cut broker link", 50 * time.Millisecond, 5 * time.Second},
		{4, "hold database link", 500 * time.Millisecond, 10 * time.Second},
		{4, "hold broker link", 500 * time.Millisecond, 10 * time.Second},
		{3, "half-open broker link", 1, 2},
		{2, "cut off from database", 18 * time.Second, 30 * time.Second},
		{4, "issuer down", 2 * time.Second, 15 * time.Second},
		{4, "issuer hangs", 2 * time.Second, 15 * time.Second},
		{4, "flood", 1, 2},
		{3, "dead letters full", 2 * time.Second, 6 * time.Second},
	}
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	for at := between(time.Second, 3*time.Second); at < o.duration-2*time.Second; at += between(faultEvery/4, faultEvery*7/4) {
		pick := rng.IntN(total)
		for _, k := range kinds {
			if pick -= k.weight; pick < 0 {
				s.add(misfortune{at: at, name: k.name, length: between(k.least, k.most), slot: rng.IntN(o.workers)})
				break
			}
		}
	}
	slices.SortStableFunc(s.faults, func(a, b misfortune) int { return int(a.at - b.at) })
	return s
}

func (s *storm) add(f misfortune) {
	w := s.w
	slow := min(f.length/20, 100*time.Millisecond)
	f.strike = map[string]func(ctx context.Context) error{
		"kill worker":           func(context.Context) error { return s.signal(f.slot, syscall.SIGKILL) },
		"terminate worker":      func(context.Context) error { return s.signal(f.slot, syscall.SIGTERM) },
		"stop worker":           func(ctx context.Context) error { return s.freeze(ctx, f) },
		"stop beyond AckWait":   func(ctx context.Context) error { return s.freeze(ctx, f) },
		"kill broker":           s.alone("broker", func(ctx context.Context) error { return s.node(f).crash(ctx, f.length) }),
		"kill leading broker":   s.alone("broker", func(ctx context.Context) error { return w.broker.leader(ctx).crash(ctx, f.length) }),
		"kill two brokers":      s.alone("broker", func(ctx context.Context) error { return s.killTwo(ctx, f) }),
		"stop broker":           s.alone("broker", func(ctx context.Context) error { return s.node(f).freeze(ctx, f.length) }),
		"stop leading broker":   s.alone("broker", func(ctx context.Context) error { return w.broker.leader(ctx).freeze(ctx, f.length) }),
		"kill database":         s.alone("database", func(ctx context.Context) error { return w.crashDatabase(ctx, f.length) }),
		"slow database link":    func(ctx context.Context) error { w.workers[f.slot].database.slow(ctx, slow, f.length); return nil },
		"slow broker link":      func(ctx context.Context) error { w.workers[f.slot].broker.slow(ctx, slow, f.length); return nil },
		"cut database link":     func(ctx context.Context) error { w.workers[f.slot].database.sever(ctx, f.length); return nil },
		"cut broker link":       func(ctx context.Context) error { w.workers[f.slot].broker.sever(ctx, f.length); return nil },
		"hold database link":    func(ctx context.Context) error { w.workers[f.slot].database.hold(ctx, f.length); return nil },
		"hold broker link":      func(ctx context.Context) error { w.workers[f.slot].broker.hold(ctx, f.length); return nil },
		"half-open broker link": func(context.Context) error { w.workers[f.slot].broker.swallow(); return nil },
		"cut off from database": func(ctx context.Context) error { w.workers[f.slot].database.hold(ctx, f.length); return nil },
		"issuer down":           s.alone("issuer", func(ctx context.Context) error { return s.issuerAway(ctx, f.length, w.shaky.SetDown) }),
		"issuer hangs":          s.alone("issuer", func(ctx context.Context) error { return s.issuerAway(ctx, f.length, w.holes[0].black.Store) }),
		"flood":                 func(ctx context.Context) error { return s.flood(ctx) },
		"dead letters full":     s.alone("full", func(ctx context.Context) error { return s.fullLetters(ctx, f.length) }),
	}[f.name]
	s.faults = append(s.faults, f)
}

// errMissed says that a fault found nothing to happen to.
var errMissed = fmt.Errorf("nothing there")

func (s *storm) signal(slot int, sig syscall.Signal) error {
	if !s.w.workers[slot].end(sig) {
		return errMissed
	}
	return nil
}

func (s *storm) freeze(ctx context.Context, f misfortune) error {
	if !s.w.workers[f.slot].freeze(func() { pause(ctx, f.length) }) {
		return errMissed
	}
	return nil
}

func (s *storm) alone(what string, strike func(context.Context) error) func(context.Context) error {
	m := s.sole[what]
	return func(ctx context.Context) error {
		if !m.TryLock() {
			return errMissed
		}
		defer m.Unlock()
		return strike(ctx)
	}
}

func (s *storm) node(f misfortune) *node {
	return s.w.broker.nodes[f.slot%len(s.w.broker.nodes)]
}

// killTwo leaves the cluster without a majority for a while.
func (s *storm) killTwo(ctx context.Context, f misfortune) error {
	nodes := s.w.broker.nodes
	if len(nodes) < 3 {
		return errMissed
	}
	other := nodes[(f.slot+1)%len(nodes)]
	done := make(chan error, 1)
	go func() { done <- other.crash(ctx, f.length/2) }()
	return errors.Join(s.node(f).crash(ctx, f.length), <-done)
}

// issuerAway rotates the keys of an issuer that then cannot be asked for them.
func (s *storm) issuerAway(ctx context.Context, length time.Duration, away func(bool)) error {
	away(true)
	defer away(false)
	if err := s.w.shaky.Rotate(true); err != nil {
		return err
	}
	pause(ctx, length)
	return nil
}

// fullLetters leaves the stream of dead letters room for a few only.
func (s *storm) fullLetters(ctx context.Context, length time.Duration) error {
	js, err := jetstream.New(s.w.nc)
	if err != nil {
		return err
	}
	var before int64
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	before, err = limitLetters(short, js, func(have uint64) int64 { return int64(have) + 16<<10 })
	cancel()
	if err != nil {
		s.w.log.Info("dead letters not made full", "error", err)
		if before == 0 {
			return errMissed
		}
	}
	pause(ctx, length)
	for { // the broker may be away
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		_, err := limitLetters(short, js, func(uint64) int64 { return before })
		cancel()
		if err == nil {
			return nil
		}
		s.w.log.Info("dead letters not given room; trying again", "error", err)
		<-time.After(200 * time.Millisecond)
	}
}

// limitLetters changes how many bytes the stream of dead letters may hold, and returns the earlier number; 0 when it could not
// be read.
func limitLetters(ctx context.Context, js jetstream.JetStream, room func(have uint64) int64) (before int64, err error) {
	st, err := js.Stream(ctx, stream.StreamDeadLetters)
	if err != nil {
		return 0, err
	}
	config := st.CachedInfo().Config
	before, config.MaxBytes = config.MaxBytes, room(st.CachedInfo().State.Bytes)
	_, err = js.UpdateStream(ctx, config)
	return before, err
}

// blow makes the faults at their times until the last is over. A harness that can't start the broker or the database
// again is an error.
func (s *storm) blow(ctx context.Context) error {
	began := time.Now()
	var running sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for _, f := range s.faults {
		pause(ctx, f.at-time.Since(began))
		if ctx.Err() != nil {
			break
		}
		running.Go(func() {
			err := f.strike(ctx)
			s.w.log.Info("fault", "at", f.at.Round(time.Millisecond), "name", f.name, "slot", f.slot, "length", f.length.Round(time.Millisecond), "error", err)
			switch {
			case errors.Is(err, errMissed):
			case err != nil:
				mu.Lock()
				failed = fmt.Errorf("%s: %w", f.name, err)
				mu.Unlock()
			default:
				s.w.tally.add(f.name)
			}
		})
	}
	running.Wait()
	return failed
}

func (s *storm) String() string {
	names := make([]string, len(s.faults))
	for i, f := range s.faults {
		names[i] = fmt.Sprintf("%v %s %d", f.at.Round(time.Millisecond), f.name, f.slot)
	}
	return strings.Join(names, "\n")
}
