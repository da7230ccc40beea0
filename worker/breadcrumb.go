package worker

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

// An event that kills its worker is found in two steps. While events are verified, which is where hostile bytes meet
// parsers, each goroutine keeps the key of the one in its hands in a slot of a file. What the slots of a dead process
// name are the suspects of its crash: a handful. Each suspect is then processed alone, with a breadcrumb in the store,
// and one that is delivered again in spite of that is the culprit. All others were innocent and go on in batches.
//
// A worker may also die of something else, while an event that is processed alone waits for the database, say. So the
// slot is kept while such an event is decided, too, and a breadcrumb whose dead process had another event in its slots,
// or none, is taken away by whoever finds the file. Without the file, as when the disk is gone with its host, the
// breadcrumb stands.

// Workers under which breadcrumbs stand in the store; a breadcrumb of a suspect processed alone stands under its worker.
const suspectCrumb = "?suspect"

// slotSize bounds an origin's key in a slot, in bytes.
const slotSize = 128

// crumbs is the file of slots; the first holds the id of the process's run. A nil *crumbs keeps nothing.
type crumbs struct {
	file *os.File
	free chan int64
}

// A corpse is what a dead process left behind. Its file stays, locked by us, until it is buried.
type corpse struct {
	boot string
	keys []string // what it had in its slots
	file *os.File
}

// openCrumbs makes the slots of this process in dir, and returns what dead processes left there.
func openCrumbs(dir, boot string, slots int) (c *crumbs, dead []corpse, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("breadcrumbs: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.crumbs"))
	if err != nil {
		return nil, nil, fmt.Errorf("breadcrumbs: %w", err)
	}
	for _, name := range files {
		d, found, err := findCorpse(name)
		if err != nil {
			return nil, nil, fmt.Errorf("breadcrumbs: %w", err)
		}
		if found {
			dead = append(dead, d)
		}
	}
	f, err := os.CreateTemp(dir, "*.crumbs")
	if err != nil {
		return nil, nil, fmt.Errorf("breadcrumbs: %w", err)
	}
	if _, err := lockFile(f); err != nil {
		return nil, nil, fmt.Errorf("breadcrumbs: %w", err)
	}
	if _, err := f.WriteString(boot); err != nil {
		return nil, nil, fmt.Errorf("breadcrumbs: %w", err)
	}
	c = &crumbs{file: f, free: make(chan int64, slots)}
	for i := range slots {
		c.free <- int64(i + 1)
	}
	return c, dead, nil
}

// findCorpse reads a dead process's file. The file of a living one is locked and stays.
func findCorpse(name string) (d corpse, found bool, err error) {
	f, err := os.Open(name) //nolint:gosec // a file of our own
	if os.IsNotExist(err) {
		return d, false, nil
	}
	if err != nil {
		return d, false, err
	}
	defer func() {
		if !found {
			_ = f.Close()
		}
	}()
	if locked, err := lockFile(f); err != nil || !locked {
		return d, false, err
	}
	data, err := os.ReadFile(name) //nolint:gosec // a file of our own
	if os.IsNotExist(err) {
		return d, false, nil // another one has buried it meanwhile
	}
	if err != nil {
		return d, false, err
	}
	d.file = f
	for slot := range slices.Chunk(data, slotSize) {
		text := string(bytes.TrimRight(slot, "\x00"))
		if d.boot == "" {
			d.boot = text
		} else if text != "" {
			d.keys = append(d.keys, text)
		}
	}
	return d, true, nil
}

// bury removes the file of a dead process, once what it tells is kept elsewhere.
func (d corpse) bury() {
	_ = os.Remove(d.file.Name())
	_ = d.file.Close()
}

// take gives the calling goroutine a slot.
func (c *crumbs) take() int64 {
	if c == nil {
		return -1
	}
	return <-c.free
}

func (c *crumbs) put(slot int64) {
	if c != nil {
		c.free <- slot
	}
}

// mark writes the key of the event that is in hand. A file that cannot be written costs only evidence.
func (c *crumbs) mark(slot int64, e *event) {
	if c == nil || e.origin.Sequence == 0 {
		return
	}
	var b [slotSize]byte
	copy(b[:], e.origin.String())
	_, _ = c.file.WriteAt(b[:], slot*slotSize)
}

// clear empties a slot.
func (c *crumbs) clear(slot int64) {
	if c == nil {
		return
	}
	var b [slotSize]byte
	_, _ = c.file.WriteAt(b[:], slot*slotSize)
}

// close removes the file of a process that ends in peace.
func (c *crumbs) close() {
	if c == nil {
		return
	}
	_ = os.Remove(c.file.Name())
	_ = c.file.Close()
}

// accuse makes the events that dead processes had in hand suspects, for every worker to see, and takes away their
// breadcrumbs at events of which they did not die, or of which they are the first to have died: an event may have been
// processed alone for another reason than suspicion, and one death may be chance.
func (w *Worker) accuse(ctx context.Context, dead []corpse) error {
	if len(dead) == 0 {
		return nil
	}
	rows, err := w.store.InFlight(ctx, "")
	if err != nil {
		return err
	}
	suspected := map[string]bool{}
	for _, r := range rows {
		if r.Worker == suspectCrumb {
			suspected[crumbKey(r.Stream, r.Sequence)] = true
		}
	}
	for _, d := range dead {
		held := map[string]bool{}
		for _, key := range d.keys {
			o := record.ParseOrigin(key)
			held[crumbKey(o.Stream, o.Sequence)] = true
			w.log.Warn("a worker died with this event in hand; it is processed alone", "stream", o.Stream, "stream_seq", o.Sequence)
			if err := w.store.SetInFlight(ctx, store.InFlight{Worker: suspectCrumb, Stream: o.Stream, Sequence: o.Sequence, At: w.now()}); err != nil {
				return err
			}
		}
		for _, r := range rows {
			if r.Boot == "" || r.Boot != d.boot {
				continue
			}
			if key := crumbKey(r.Stream, r.Sequence); held[key] && suspected[key] {
				continue // the second time
			}
			if err := w.store.ClearInFlight(ctx, r.Worker, r.Stream, r.Sequence); err != nil {
				return err
			}
		}
		d.bury()
	}
	return nil
}

func crumbKey(stream string, sequence uint64) string { return fmt.Sprintf("%s/%d", stream, sequence) }

// decide commits events. While one that is processed alone is decided, its key stands in a slot.
func (w *Worker) decide(ctx context.Context, events []*event) error {
	if len(events) == 1 && events[0].crumbs {
		slot := w.crumbs.take()
		defer w.crumbs.put(slot)
		w.crumbs.mark(slot, events[0])
		defer w.crumbs.clear(slot)
	}
	return w.commit(ctx, events)
}

// screen parts events that were delivered before into those that may share a batch and those to be processed alone. An
// event that was alone in the hands of a worker and came back is rejected as the culprit.
func (w *Worker) screen(ctx context.Context, events []*event) (together, alone []*event) {
	rows, err := w.store.InFlight(ctx, "")
	if err != nil {
		w.log.Warn("breadcrumbs not read; events are processed alone", "error", err)
		return nil, events
	}
	found := map[string]string{}
	for _, r := range rows {
		key := crumbKey(r.Stream, r.Sequence)
		if found[key] == "" || r.Worker != suspectCrumb {
			found[key] = r.Worker
		}
	}
	for _, e := range events {
		holder, known := found[crumbKey(e.origin.Stream, e.origin.Sequence)]
		switch {
		case known && holder != suspectCrumb:
			e.rejection = record.Reject(record.CodeInternal, "crashed_worker", "The event ended the worker that processed it.")
			e.rejection.Hint = "Report the event to the maintainers; replay it after an upgrade."
			e.crumbs, e.holder = true, holder
			w.log.Error("event ends workers; it becomes a dead letter", "stream_seq", e.origin.Sequence, "subject", e.subject, "worker", holder)
			together = append(together, e)
		case known, e.message != nil && e.message.Delivered() > loneDeliveries:
			alone = append(alone, e)
		default:
			together = append(together, e)
		}
	}
	return together, alone
}

// loneDeliveries is after how many deliveries an event is processed alone without any evidence, as when the disk with
// the slots is gone with its host.
const loneDeliveries = 3

// processAlone processes one event with a breadcrumb in the store that survives this process.
func (w *Worker) processAlone(ctx context.Context, e *event) {
	crumb := store.InFlight{
		Worker: w.cfg.Name, Boot: w.boot, Stream: e.origin.Stream, Sequence: e.origin.Sequence,
		Tenant: e.env.Tenant, Source: e.env.Source, EventID: e.env.EventID, At: w.now(),
	}
	if err := w.store.SetInFlight(ctx, crumb); err != nil {
		w.log.Warn("breadcrumb not kept; the event waits", "stream_seq", e.origin.Sequence, "error", err)
		e.wait = &wait{reason: "breadcrumb", cause: err}
	}
	e.crumbs = true
	// It waits here for keys that have to be read: where it is set aside, its breadcrumb would point at it for longer.
	events, start := []*event{e}, time.Now()
	w.prepareSettled(ctx, events)
	w.metrics.Stage("prepare", 1, time.Since(start))
	w.finish(ctx, w.divert(events))
}

// sweepCrumbs removes the breadcrumbs of events that are done.
func (w *Worker) sweepCrumbs(ctx context.Context, events []*event) {
	for _, e := range events {
		if !e.crumbs {
			continue
		}
		for _, name := range []string{suspectCrumb, w.cfg.Name, e.holder} {
			if name != "" {
				w.removeCrumb(ctx, store.InFlight{Worker: name, Stream: e.origin.Stream, Sequence: e.origin.Sequence})
			}
		}
	}
}

// removeCrumb removes a breadcrumb. When the store is unavailable, sweepLeftCrumbs tries again: a breadcrumb that stays
// could have an innocent event rejected, or outlive its event.
func (w *Worker) removeCrumb(ctx context.Context, crumb store.InFlight) {
	if err := w.store.ClearInFlight(ctx, crumb.Worker, crumb.Stream, crumb.Sequence); err != nil {
		w.log.Warn("breadcrumb not removed; it is tried again", "stream_seq", crumb.Sequence, "error", err)
		w.left.add(crumb)
	}
}

// sweepLeftCrumbs tries again to remove what could not be removed.
func (w *Worker) sweepLeftCrumbs(ctx context.Context) {
	for _, crumb := range w.left.takeAll() {
		w.removeCrumb(ctx, crumb)
	}
}

// leftCrumbs are breadcrumbs that could not be removed because the store was unavailable. It is safe for concurrent use.
type leftCrumbs struct {
	mu  sync.Mutex
	all []store.InFlight
}

func (l *leftCrumbs) add(crumb store.InFlight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, crumb)
}

func (l *leftCrumbs) takeAll() []store.InFlight {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all
	l.all = nil
	return all
}

// acquitTimeout bounds what a worker does for events when its time is up.
const acquitTimeout = time.Second

// acquit removes the breadcrumbs of events that a living worker is done with or gives up: they did not end it.
func (w *Worker) acquit(ctx context.Context, events []*event) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), acquitTimeout)
	defer cancel()
	w.sweepCrumbs(ctx, events)
}
