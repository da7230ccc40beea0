package workertest

import (
	"maps"
	"sync"
	"time"

	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/directory"
)

// Metrics notes what a worker counts.
type Metrics struct {
	mu      sync.Mutex
	stages  map[string][]int
	skews   map[string]time.Duration
	sourced map[string]int
	paused  bool
	changed chan struct{} // closed and replaced at each change of paused
}

var _ worker.Metrics = (*Metrics)(nil)

func newMetrics() *Metrics {
	return &Metrics{stages: map[string][]int{}, skews: map[string]time.Duration{}, sourced: map[string]int{}, changed: make(chan struct{})}
}

// Stage implements worker.Metrics.
func (m *Metrics) Stage(name string, events int, _ time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stages[name] = append(m.stages[name], events)
}

// Outcome implements worker.Metrics.
func (m *Metrics) Outcome(string, string, string, string) {}

// Parked implements worker.Metrics.
func (m *Metrics) Parked(int) {}

// Counted implements worker.Metrics.
func (m *Metrics) Counted(int) {}

// Kept implements worker.Metrics.
func (m *Metrics) Kept(string, int) {}

// Refusing implements worker.Metrics.
func (m *Metrics) Refusing(string, bool) {}

// TrustExpires implements [worker.Metrics].
func (m *Metrics) TrustExpires([]directory.TrustEnd) {}

// ClockSkew implements [worker.Metrics].
func (m *Metrics) ClockSkew(of string, ahead time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.skews[of] = ahead
}

// ClockSkew returns by how much the worker's host is ahead of another clock, as it was told last.
func (p *Process) ClockSkew(of string) time.Duration {
	p.Metrics.mu.Lock()
	defer p.Metrics.mu.Unlock()
	return p.Metrics.skews[of]
}

// Sourced implements worker.Metrics.
func (m *Metrics) Sourced(by string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sourced[by]++
}

// JudgedBy returns how many events were judged by each time that a sourced event may be judged by.
func (m *Metrics) JudgedBy() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.sourced)
}

// Paused implements worker.Metrics.
func (m *Metrics) Paused(paused bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.paused = paused
	close(m.changed)
	m.changed = make(chan struct{})
}

// Batches returns the sizes of the batches that went through a stage so far.
func (m *Metrics) Batches(stage string) []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]int(nil), m.stages[stage]...)
}

// AwaitPaused waits until the worker has stopped pulling because its database is away, or goes on.
func (p *Process) AwaitPaused(paused bool) {
	p.d.T.Helper()
	for {
		p.Metrics.mu.Lock()
		is, changed := p.Metrics.paused, p.Metrics.changed
		p.Metrics.mu.Unlock()
		if is == paused {
			return
		}
		select {
		case <-changed:
		case <-p.d.Ctx.Done():
			p.d.T.Fatalf("%s did not come to paused = %v", p.Name, paused)
		}
	}
}
