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

// A failure is what keeps a worker from taking events, as /readyz shows it. It holds no data of any tenant.
type failure struct {
	Name string `json:"name"`
	What string `json:"what"`
	Hint string `json:"hint"`
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
	told     string // the names that the log knows of
}

func newHealth(now func() time.Time, log *slog.Logger) *health {
	return &health{now: now, log: log, found: map[string]finding{}, starting: &failure{"starting", "the worker is being started", "wait"}}
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
		h.found[c.Name] = finding{[]failure{{"starting", "the first look at the " + strings.ReplaceAll(c.Name, "_", " ") + " is under way", "wait"}}, h.now()}
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

// failing returns all that is the matter, in the order of names. It waits for nothing.
func (h *health) failing() []failure {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := []failure{}
	if h.starting != nil {
		all = append(all, *h.starting)
	}
	for name, f := range h.found {
		all = append(all, f.failures...)
		if len(f.failures) == 0 && h.now().Sub(f.at) > silentAfter {
			all = append(all, failure{name, "does not answer", "look at its load, and at the network in between"})
		}
	}
	slices.SortFunc(all, func(a, b failure) int { return strings.Compare(a.Name+a.What, b.Name+b.What) })
	return all
}

// tell writes to the log when the worker stops being ready, for other reasons than before, and when it is ready again.
func (h *health) tell() {
	failing := h.failing()
	var names, what []string
	for _, f := range failing {
		if f.Name == "starting" {
			return
		}
		names, what = append(names, f.Name), append(what, f.Name+": "+f.What+" ("+f.Hint+")")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := strings.Join(slices.Compact(names), " ")
	if now == h.told {
		return
	}
	h.told = now
	if now == "" {
		h.log.Info("ready again")
		return
	}
	h.log.Warn("not ready", "failing", strings.Join(what, "; "))
}

func failures(all []assemble.Failure) []failure {
	out := make([]failure, len(all))
	for i, f := range all {
		out[i] = failure(f)
	}
	return out
}
