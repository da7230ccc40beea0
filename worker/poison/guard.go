package poison

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

const (
	// staleAfter is after how much silence a run is presumed dead, if nothing proves that it is.
	staleAfter = 2 * time.Minute
	// keepFor is after how long markers go whose events never came again.
	keepFor = 24 * time.Hour
)

// A Store keeps in-flight markers; *store.Store is one.
type Store interface {
	MarkInFlight(ctx context.Context, markers []store.InFlight) error
	ClearInFlight(ctx context.Context, events []string, run string) error
	KeepInFlight(ctx context.Context, run string, now time.Time) error
	PruneInFlight(ctx context.Context, before time.Time) (int64, error)
	InFlight(ctx context.Context, events ...string) ([]store.InFlight, error)
}

// Options are what a [Guard] is made of.
type Options struct {
	Folder string // for the slots of this host's workers; "" keeps none
	Slots  int    // goroutines that may work on events at a time
	Worker string // name of this worker, unique in its deployment
	Boot   string // id of this run
	Store  Store
	Now    func() time.Time
	Log    *slog.Logger
}

// A Guard keeps the evidence of crashes. Make one with New. It is safe for concurrent use.
type Guard struct {
	worker, run string
	store       Store
	now         func() time.Time
	log         *slog.Logger
	slots       *slotFile // nil: none are kept
	crashes     []crash   // of the processes that were found dead

	mu    sync.Mutex
	left  map[string]string // runs, or "" for all, whose markers of an event could not be cleared
	heard map[key]sign
}

// A key names a marker.
type key struct{ event, run string }

// A sign is when a run was heard of, by its clock and by ours.
type sign struct{ at, seen time.Time }

// New returns the guard of a worker, and reads what dead workers of this host left behind.
func New(o Options) (g *Guard, err error) {
	g = &Guard{worker: o.Worker, run: o.Boot, store: o.Store, now: o.Now, log: o.Log, left: map[string]string{}, heard: map[key]sign{}}
	if o.Folder != "" {
		g.slots, g.crashes, err = openSlots(o.Folder, o.Boot, o.Slots)
	}
	return g, err
}

// Close removes this process's slots, as it ends in peace.
func (g *Guard) Close() {
	if g.slots != nil {
		g.slots.close()
	}
}

// Slot gives the calling goroutine a slot, until it is released.
func (g *Guard) Slot() Slot {
	if g.slots == nil {
		return Slot{}
	}
	return Slot{g.slots, <-g.slots.free}
}

// Start notes of which events the dead processes of this host died, for every worker to see, and clears their other markers.
func (g *Guard) Start(ctx context.Context) error {
	if len(g.crashes) == 0 {
		return nil
	}
	rows, err := g.store.InFlight(ctx)
	if err != nil {
		return err
	}
	for _, c := range g.crashes {
		held := map[string]bool{}
		var died []store.InFlight
		for _, o := range c.origins {
			if name := o.String(); !held[name] {
				held[name] = true
				died = append(died, store.InFlight{Event: name, Run: c.boot, Died: true, At: g.now()})
				g.log.Warn("a worker died while it processed this event; it is processed alone", "stream", o.Stream, "stream_seq", o.Sequence)
			}
		}
		if err := g.store.MarkInFlight(ctx, died); err != nil {
			return err
		}
		var others []string
		for _, r := range rows {
			if r.Run == c.boot && !held[r.Event] {
				others = append(others, r.Event)
			}
		}
		if err := g.clear(ctx, others, c.boot); err != nil {
			return err
		}
		c.remove()
	}
	g.crashes = nil
	return nil
}

// A Finding says what the markers tell of an event that is delivered again. The zero value is no suspicion.
type Finding struct {
	Marked  bool   // there are markers of other runs, to be cleared when the event is decided
	Suspect bool   // a worker may have died of the event: it has to be processed alone
	Wait    bool   // another worker may have the event in hand, alone: it has to be tried later
	Killed  string // name of a worker that died of the event, at which another one had died before: the event is a poison message
}

// Screen returns the findings on events, in their order.
func (g *Guard) Screen(ctx context.Context, origins []record.Origin) ([]Finding, error) {
	names := make([]string, len(origins))
	for i, o := range origins {
		names[i] = o.String()
	}
	if len(names) == 0 {
		return nil, nil
	}
	rows, err := g.store.InFlight(ctx, names...)
	if err != nil {
		return nil, err
	}
	g.hear(rows, false)
	of := map[string][]store.InFlight{}
	for _, r := range rows {
		if r.Run != g.run { // this run lives
			of[r.Event] = append(of[r.Event], r)
		}
	}
	findings := make([]Finding, len(origins))
	for i, name := range names {
		findings[i] = find(of[name], g.silent)
	}
	return findings, nil
}

// find is the table in the documentation of the package. The markers are those of an event by other runs.
func find(markers []store.InFlight, silent func(store.InFlight) bool) (f Finding) {
	var proved, provedAlone, presumedAlone, shared int
	var killed string
	for _, m := range markers {
		f.Marked = true
		switch {
		case m.Died:
			proved++
			if m.Alone {
				provedAlone++
				killed = m.Worker
			}
		case m.Alone && silent(m):
			presumedAlone++
			killed = m.Worker
		case m.Alone:
			f.Wait = true
		default:
			shared++
		}
	}
	switch {
	case provedAlone > 0 && proved > 1, provedAlone+presumedAlone > 1:
		return Finding{Marked: true, Killed: killed}
	case f.Wait:
	default:
		f.Suspect = proved > 0 || presumedAlone > 0 || shared > 1
	}
	return f
}

// hear notes which runs were heard of; all says that the rows are those of all events. Clocks of workers differ, so that only
// a change of what another one wrote counts, and the time at which it was seen here.
func (g *Guard) hear(rows []store.InFlight, all bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, before := g.now(), g.heard
	if all {
		g.heard = map[key]sign{}
	}
	for _, r := range rows {
		k := key{r.Event, r.Run}
		s, known := before[k]
		if !known || !s.at.Equal(r.At) {
			s = sign{r.At, now}
		}
		g.heard[k] = s
	}
}

// silent reports whether the run of a marker has not been heard of for long.
func (g *Guard) silent(m store.InFlight) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.now().Sub(g.heard[key{m.Event, m.Run}].seen) >= staleAfter
}

// An Event is what a marker says of an event, beside its run.
type Event struct {
	Origin                  record.Origin
	Tenant, Source, EventID string
}

// Mark sets the markers of events that are about to be processed, one of them alone or all of them together. They survive this
// process.
func (g *Guard) Mark(ctx context.Context, alone bool, events ...Event) error {
	markers := make([]store.InFlight, 0, len(events))
	seen := map[string]bool{}
	for _, e := range events {
		if name := e.Origin.String(); !seen[name] {
			seen[name] = true
			markers = append(markers, store.InFlight{
				Event: name, Run: g.run, Worker: g.worker, Alone: alone, Tenant: e.Tenant, Source: e.Source, EventID: e.EventID, At: g.now(),
			})
		}
	}
	return g.store.MarkInFlight(ctx, markers)
}

// Clear removes all markers of events that killed nobody, or are done with. Those that cannot be removed now are tried again by
// Sweep.
func (g *Guard) Clear(ctx context.Context, origins []record.Origin) { g.clearOf(ctx, origins, "") }

// GiveUp removes the markers of this run at events that it leaves undecided. What other runs left stays.
func (g *Guard) GiveUp(ctx context.Context, origins []record.Origin) { g.clearOf(ctx, origins, g.run) }

func (g *Guard) clearOf(ctx context.Context, origins []record.Origin, run string) {
	names := make([]string, len(origins))
	for i, o := range origins {
		names[i] = o.String()
	}
	if err := g.clear(ctx, names, run); err != nil {
		g.log.Warn("in-flight markers not cleared; it is tried again", "count", len(names), "error", err)
	}
}

// clear clears markers, and keeps in mind those that could not be cleared.
func (g *Guard) clear(ctx context.Context, events []string, run string) error {
	err := g.store.ClearInFlight(ctx, events, run)
	if err != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, name := range events {
			if former, ok := g.left[name]; !ok || former != "" {
				g.left[name] = run
			}
		}
	}
	return err
}

// Sweep tells the other workers that this run lives, notes which of the others do, and tries again to clear what could not be
// cleared. Call it every few seconds.
func (g *Guard) Sweep(ctx context.Context) {
	g.mu.Lock()
	left := g.left
	g.left = map[string]string{}
	g.mu.Unlock()
	byRun := map[string][]string{}
	for name, run := range left {
		byRun[run] = append(byRun[run], name)
	}
	for run, names := range byRun {
		_ = g.clear(ctx, names, run) // tried again by the next sweep
	}
	rows, err := g.store.InFlight(ctx)
	if err != nil {
		g.log.Warn("in-flight markers not read", "error", err)
		return
	}
	g.hear(rows, true)
	if slices.ContainsFunc(rows, func(r store.InFlight) bool { return r.Run == g.run }) {
		if err := g.store.KeepInFlight(ctx, g.run, g.now()); err != nil {
			g.log.Warn("in-flight markers not kept", "error", err)
		}
	}
}

// Prune removes the markers of events that never came again.
func (g *Guard) Prune(ctx context.Context) (int64, error) {
	return g.store.PruneInFlight(ctx, g.now().Add(-keepFor))
}
