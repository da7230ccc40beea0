package assemble

import (
	"context"
	"errors"
	"sync"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/stream"
)

// A Failure is what keeps a worker from doing its part: a name, what is the matter, and what an operator can do about it.
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
			h := stream.ReadHealth(ctx, d.Conn)
			m.note(h.Streams)
			return h.Failures
		}},
		{"database", func(ctx context.Context) []Failure {
			err := d.Store.Ping(ctx)
			if err == nil {
				err = d.Store.Mark(ctx, m.latest())
			}
			switch {
			case errors.Is(ctx.Err(), context.Canceled):
				return nil
			case err == nil && d.Worker.DatabaseAway():
				return []Failure{{Name: "database", What: "did not serve the worker, which tries again", Hint: "see the log: database away"}}
			case err == nil:
				return nil
			}
			d.log.Debug("database check failed", "error", err)
			what, hint := store.Explain(err)
			return []Failure{{Name: "database", What: what, Hint: hint}}
		}},
	}
	if d.Server != nil {
		all = append(all, Check{"embedded_broker", func(context.Context) []Failure { return d.Server.Health() }})
	}
	return all
}

// marks are how far the streams were at the last look at them.
type marks struct {
	mu  sync.Mutex
	all []store.Mark
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
