package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// A progress shows how far long work is, on a terminal only. Its methods are safe for concurrent use.
type progress struct {
	w     io.Writer // nil: nothing is shown
	now   func() time.Time
	label string
	total int64 // 0: not known

	mu      sync.Mutex
	done    int64
	started time.Time
	drawn   time.Time
}

// progress begins a bar on standard error. Total is how much there is to do, 0 when nobody knows.
func (a *app) progress(label string, total int64) *progress {
	p := &progress{now: a.now, label: label, total: total, started: a.now()}
	if isTerminal(a.stderr) {
		p.w = a.stderr
	}
	return p
}

// Add notes that n more are done.
func (p *progress) Add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	if now := p.now(); p.w != nil && now.Sub(p.drawn) >= 100*time.Millisecond {
		p.drawn = now
		p.draw()
	}
}

// Close removes the bar, so that what is printed next has the line for itself.
func (p *progress) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.w = nil
	}
}

func (p *progress) draw() {
	const width = 30
	rate := ""
	if s := p.drawn.Sub(p.started).Seconds(); s > 0 {
		rate = fmt.Sprintf(" %.0f/s", float64(p.done)/s)
	}
	if p.total <= 0 {
		fmt.Fprintf(p.w, "\r\x1b[K%s %d%s", p.label, p.done, rate)
		return
	}
	full := int(min(p.done, p.total) * width / p.total)
	fmt.Fprintf(p.w, "\r\x1b[K%s [%s%s] %d/%d%s", p.label, strings.Repeat("=", full), strings.Repeat(" ", width-full), p.done, p.total, rate)
}
