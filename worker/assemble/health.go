package assemble

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/gap"
	"github.com/idpsync/idpsync/worker/stream"
)

// A Failure is what keeps a worker from doing its part, or what an operator has to see to all the same: a name, what is the
// matter, and what can be done about it.
type Failure = stream.Failure

// A Check looks at one thing that a worker cannot do without. Look returns by the end of its context, and is called by one
// goroutine at a time.
type Check struct {
	Name string
	Look func(context.Context) []Failure
}

// Checks are what a worker needs to take events. That of the database writes how far the streams are, which is worth knowing
// when either of the two is restored one day.
func (d *Deployment) Checks() []Check {
	m := &marks{}
	all := []Check{
		{"broker", func(ctx context.Context) []Failure {
			known := m.known() // before the streams are asked
			h := stream.ReadHealth(ctx, d.Conn)
			m.note(h.Streams)
			return append(h.Failures, failureOf(gap.Behind(known, h.Streams))...)
		}},
		{"database", func(ctx context.Context) []Failure {
			err := d.Store.Ping(ctx)
			var lost []gap.Finding
			if err == nil {
				lost, err = m.write(ctx, d.Store)
			}
			switch {
			case errors.Is(ctx.Err(), context.Canceled):
				return nil
			case err == nil && d.Worker.DatabaseAway():
				return []Failure{{Name: "database", What: "did not serve the worker, which tries again", Hint: "see the log: database away"}}
			case err == nil:
				return failureOf(lost)
			}
			d.log.Debug("database check failed", "error", err)
			what, hint := store.Explain(err)
			return []Failure{{Name: "database", What: what, Hint: hint}}
		}},
	}
	if d.Server != nil {
		sick := 0
		all = append(all, Check{"embedded_broker", func(ctx context.Context) []Failure {
			failing := d.Server.Health()
			if len(failing) == 0 {
				sick = 0
			} else if sick++; sick > 1 && ctx.Err() == nil { // not what passes by itself
				return d.reviveServer(ctx, failing)
			}
			return failing
		}})
	}
	return all
}

// GapHint is what an operator does about a broker and a database that do not fit together.
const GapHint = "idpsync recover shows what to do; deploy/RUNBOOK.md has a page for it: broker and database do not fit together"

// failureOf is what findings are to /readyz. A worker that finds them while it works goes on: what it holds is judged by what
// is there. One that finds them when it starts does not begin.
func failureOf(findings []gap.Finding) []Failure {
	if len(findings) == 0 {
		return nil
	}
	return []Failure{{Name: "gap", What: gap.Gap{Findings: findings}.Text(), Hint: GapHint}}
}

// marks are how far the streams were at the last look at them.
type marks struct {
	mu     sync.Mutex
	all    []store.Mark
	stored []store.Mark // what the database knew at the last look
}

// known is what the database knew of the streams at the last look at it.
func (m *marks) known() []store.Mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stored
}

// write writes the marks into the database, unless that knew more at the last look. What it knew then stays in mind until an
// operator has accepted that; meanwhile the marks stay as they are, for other workers to see.
func (m *marks) write(ctx context.Context, st *store.Store) ([]gap.Finding, error) {
	now, err := st.Marks(ctx)
	if err != nil {
		return nil, err
	}
	if lost := gap.WentBack(m.known(), now); len(lost) > 0 {
		return lost, nil
	}
	latest := m.latest()
	if err := st.Mark(ctx, latest); err != nil {
		return nil, err
	}
	for _, l := range latest { // as the database knows them now
		if i := slices.IndexFunc(now, func(k store.Mark) bool { return k.Stream == l.Stream && k.Created.UnixMicro() == l.Created.UnixMicro() }); i >= 0 {
			now[i].Last = max(now[i].Last, l.Last)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stored = now
	return nil, nil
}

func (m *marks) note(streams []stream.StreamState) {
	if len(streams) == 0 {
		return
	}
	all := make([]store.Mark, len(streams))
	for i, s := range streams {
		all[i] = store.Mark{Stream: s.Name, Created: s.Created, Last: s.LastSeq}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = all
}

func (m *marks) latest() []store.Mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.all
}

// reviveTimeout bounds how long the embedded broker may take to read its streams when it is started again.
const reviveTimeout = 5 * time.Minute

// reviveServer starts the embedded broker again when its disk was full and has space again, and returns what is failing then.
func (d *Deployment) reviveServer(ctx context.Context, failing []Failure) []Failure {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reviveTimeout)
	defer cancel()
	revived, err := d.Server.Revive(ctx)
	switch {
	case err != nil:
		d.log.Warn("the embedded broker is not started again", "what", failing[0].What, "error", err)
	case revived:
		return d.Server.Health()
	}
	return failing
}

// Ended says what only a restart of the process mends, or "". The connection to a broker is no such thing: it comes back by itself.
func (d *Deployment) Ended() string {
	switch {
	case d.Conn.Closed():
		return "the connection to the broker has ended for good"
	case d.Server != nil && d.Server.Down():
		return "the embedded broker does not start again; see the log"
	}
	return ""
}
