package workertest

import (
	"context"
	"log/slog"
	"sync"
)

// A logbook keeps the words of the warnings and errors that a process logs.
type logbook struct {
	slog.Handler
	lines *lines
}

type lines struct {
	mu  sync.Mutex
	all []string
}

// Handle implements slog.Handler.
func (l logbook) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		l.lines.mu.Lock()
		l.lines.all = append(l.lines.all, r.Level.String()+" "+r.Message)
		l.lines.mu.Unlock()
	}
	return l.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (l logbook) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logbook{l.Handler.WithAttrs(attrs), l.lines}
}

// WithGroup implements slog.Handler.
func (l logbook) WithGroup(name string) slog.Handler {
	return logbook{l.Handler.WithGroup(name), l.lines}
}

// Complaints returns the words of all warnings and errors that the process has logged, without their attributes.
func (p *Process) Complaints() []string {
	p.lines.mu.Lock()
	defer p.lines.mu.Unlock()
	return append([]string(nil), p.lines.all...)
}
