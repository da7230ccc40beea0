package poison

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

// suspects is the worker under whose name the markers of suspects stand in the store. The marker of an event that is
// processed alone stands under the name of its worker.
const suspects = "?suspect"

// A Store keeps in-flight markers; *store.Store is one.
type Store interface {
	SetInFlight(ctx context.Context, m store.InFlight) error
	ClearInFlight(ctx context.Context, worker, stream string, sequence uint64) error
	InFlight(ctx context.Context, worker string) ([]store.InFlight, error)
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
	worker, boot string
	store        Store
	now          func() time.Time
	log          *slog.Logger
	slots        *slotFile // nil: none are kept
	crashes      []crash   // of the processes that were found dead

	mu   sync.Mutex
	left []store.InFlight // markers that could not be cleared, as the store was unavailable
}

// New returns the guard of a worker, and reads what dead workers of this host left behind.
func New(o Options) (g *Guard, err error) {
	g = &Guard{worker: o.Worker, boot: o.Boot, store: o.Store, now: o.Now, log: o.Log}
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

// Start makes the events that dead processes had in hand suspects, for every worker to see, and clears their markers at
// events of which they did not die, or of which they are the first to have died: an event may have been processed alone for
// another reason than suspicion, and one death may be chance.
func (g *Guard) Start(ctx context.Context) error {
	if len(g.crashes) == 0 {
		return nil
	}
	rows, err := g.store.InFlight(ctx, "")
	if err != nil {
		return err
	}
	suspected := map[message]bool{}
	for _, r := range rows {
		if r.Worker == suspects {
			suspected[message{r.Stream, r.Sequence}] = true
		}
	}
	for _, c := range g.crashes {
		held := map[message]bool{}
		for _, o := range c.origins {
			held[of(o)] = true
			g.log.Warn("a worker died while it processed this event; it is processed alone", "stream", o.Stream, "stream_seq", o.Sequence)
			if err := g.store.SetInFlight(ctx, store.InFlight{Worker: suspects, Stream: o.Stream, Sequence: o.Sequence, At: g.now()}); err != nil {
				return err
			}
		}
		for _, r := range rows {
			if r.Boot == "" || r.Boot != c.boot {
				continue
			}
			if m := (message{r.Stream, r.Sequence}); held[m] && suspected[m] {
				continue // the second time
			}
			if err := g.store.ClearInFlight(ctx, r.Worker, r.Stream, r.Sequence); err != nil {
				return err
			}
		}
		c.remove()
	}
	g.crashes = nil
	return nil
}

// A message is a stored message as markers name it.
type message struct {
	stream   string
	sequence uint64
}

func of(o record.Origin) message { return message{o.Stream, o.Sequence} }

// A Finding says what the markers tell of an event that is delivered again. The zero value is no suspicion.
type Finding struct {
	Suspect bool   // a worker died while it processed the event
	Killed  string // the worker that died while it processed the event alone: the event is a poison message
}

// Screen returns the findings on events, in their order.
func (g *Guard) Screen(ctx context.Context, origins []record.Origin) ([]Finding, error) {
	rows, err := g.store.InFlight(ctx, "")
	if err != nil {
		return nil, err
	}
	marked := map[message]Finding{}
	for _, r := range rows {
		m := message{r.Stream, r.Sequence}
		f := marked[m]
		if f.Suspect = true; r.Worker != suspects {
			f.Killed = r.Worker
		}
		marked[m] = f
	}
	findings := make([]Finding, len(origins))
	for i, o := range origins {
		findings[i] = marked[of(o)]
	}
	return findings, nil
}

// Mark sets the marker of an event that is about to be processed alone. It survives this process.
func (g *Guard) Mark(ctx context.Context, o record.Origin, tenant, source, eventID string) error {
	return g.store.SetInFlight(ctx, store.InFlight{
		Worker: g.worker, Boot: g.boot, Stream: o.Stream, Sequence: o.Sequence, Tenant: tenant, Source: source, EventID: eventID, At: g.now(),
	})
}

// Clear removes the markers of an event: that of a suspect, this worker's, and that of the worker that the event killed, or
// "". Those that cannot be removed now are tried again by Sweep: a marker that stays could have an innocent event rejected,
// or outlive its event.
func (g *Guard) Clear(ctx context.Context, o record.Origin, killed string) {
	for _, name := range []string{suspects, g.worker, killed} {
		if name != "" {
			g.clear(ctx, store.InFlight{Worker: name, Stream: o.Stream, Sequence: o.Sequence})
		}
	}
}

func (g *Guard) clear(ctx context.Context, m store.InFlight) {
	if err := g.store.ClearInFlight(ctx, m.Worker, m.Stream, m.Sequence); err != nil {
		g.log.Warn("in-flight marker not cleared; it is tried again", "stream_seq", m.Sequence, "error", err)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.left = append(g.left, m)
	}
}

// Sweep tries again to clear what could not be cleared.
func (g *Guard) Sweep(ctx context.Context) {
	g.mu.Lock()
	left := g.left
	g.left = nil
	g.mu.Unlock()
	for _, m := range left {
		g.clear(ctx, m)
	}
}
