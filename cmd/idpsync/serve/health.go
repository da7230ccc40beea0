package serve

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/idpsync/idpsync/worker/assemble"
)

// Times of the checks behind /readyz. They run in the background, so that the answer takes no longer than reading what they
// found.
const (
	checkInterval = 2 * time.Second
	checkTimeout  = 4 * time.Second
	// silentAfter is how old a finding may be: a check that is older hangs in what it looks at.
	silentAfter = checkInterval + 2*checkTimeout
)

// A failure is what keeps a worker from taking events, or only from doing all of its part, as /readyz shows it. It holds no
// data of any tenant.
type failure struct {
	Name string `json:"name"`
	What string `json:"what"`
	Hint string `json:"hint"`

	Degraded bool `json:"-"`
}

// A finding is what a check found.
type finding struct {
	failures []failure
	at       time.Time
}

// health is what the checks found last. It is safe for concurrent use.
type health struct {
	now func() time.Time
	log *slog.Logger

	mu       sync.Mutex
	starting *failure // what the start waits for; nil once the worker runs
	found    map[string]finding
	told     told
}

// told is what the log knows of: the names of failures, and of what is degraded.
type told struct{ failing, degraded string }

func newHealth(now func() time.Time, log *slog.Logger) *health {
	return &health{now: now, log: log, found: map[string]finding{}, starting: &failure{Name: "starting", What: "the worker is being started", Hint: "wait"}}
}

// waits says what the start waits for.
func (h *health) waits(f failure) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.starting = &f
}

// follow runs the checks until ctx ends. Each has its own goroutine, as one that hangs must not hide what others find.
func (h *health) follow(ctx context.Context, checks []assemble.Check) {
	h.mu.Lock()
	h.starting = nil
	for _, c := range checks {
		h.found[c.Name] = finding{[]failure{{Name: "starting", What: "the first look at the " + strings.ReplaceAll(c.Name, "_", " ") + " is under way", Hint: "wait"}}, h.now()}
	}
	h.mu.Unlock()
	var running sync.WaitGroup
	for _, c := range checks {
		running.Go(func() { h.repeat(ctx, c) })
	}
	running.Wait()
}

func (h *health) repeat(ctx context.Context, c assemble.Check) {
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	for {
		bounded, cancel := context.WithTimeout(ctx, checkTimeout)
		found := c.Look(bounded)
		cancel()
		if ctx.Err() != nil {
			return
		}
		h.mu.Lock()
		h.found[c.Name] = finding{failures(found), h.now()}
		h.mu.Unlock()
		h.tell()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// state returns all that is the matter, in the order of names: what keeps the worker from taking events, and what does not. It
// waits for nothing.
func (h *health) state() (failing, degraded []failure) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []failure
	if h.starting != nil {
		all = append(all, *h.starting)
	}
	for name, f := range h.found {
		all = append(all, f.failures...)
		if len(f.failures) == 0 && h.now().Sub(f.at) > silentAfter {
			all = append(all, failure{Name: name, What: "does not answer", Hint: "look at its load, and at the network in between"})
		}
	}
	slices.SortFunc(all, func(a, b failure) int { return strings.Compare(a.Name+a.What, b.Name+b.What) })
	failing, degraded = []failure{}, []failure{}
	for _, f := range all {
		if f.Degraded {
			degraded = append(degraded, f)
		} else {
			failing = append(failing, f)
		}
	}
	return failing, degraded
}

// tell writes to the log when the worker stops being ready or does less than its part, for other reasons than before, and when
// it is ready again.
func (h *health) tell() {
	failing, degraded := h.state()
	if slices.ContainsFunc(failing, func(f failure) bool { return f.Name == "starting" }) {
		return
	}
	now := told{namesOf(failing), namesOf(degraded)}
	h.mu.Lock()
	before := h.told
	h.told = now
	h.mu.Unlock()
	switch {
	case now.failing == before.failing:
	case now.failing == "":
		h.log.Info("ready again")
	default:
		h.log.Warn("not ready", "failing", inWords(failing))
	}
	switch {
	case now.degraded == before.degraded:
	case now.degraded == "":
		h.log.Info("degraded no more")
	default:
		h.log.Warn("degraded", "degraded", inWords(degraded))
	}
}

func namesOf(all []failure) string {
	names := make([]string, len(all))
	for i, f := range all {
		names[i] = f.Name
	}
	return strings.Join(slices.Compact(names), " ")
}

func inWords(all []failure) string {
	words := make([]string, len(all))
	for i, f := range all {
		words[i] = f.Name + ": " + f.What + " (" + f.Hint + ")"
	}
	return strings.Join(words, "; ")
}

func failures(all []assemble.Failure) []failure {
	out := make([]failure, len(all))
	for i, f := range all {
		out[i] = failure(f)
	}
	return out
}
