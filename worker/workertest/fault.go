package workertest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

// ErrDead is what a dead process meets at every point.
var ErrDead = errors.New("the process is dead")

// hooks holds the hook of a process and knows whether it is dead.
type hooks struct {
	mu   sync.Mutex
	hook fault.Hook
	dead bool
	died chan struct{}
	conn *stream.Conn // an outsider's, for stranded

	stranded []record.Stored
}

// LooksStranded makes an event look stranded to the process once, when it asks the broker next.
func (p *Process) LooksStranded(event record.Stored) {
	p.hooks.mu.Lock()
	defer p.hooks.mu.Unlock()
	p.hooks.stranded = append(p.hooks.stranded, event)
}

func (h *hooks) takeStranded() []record.Stored {
	h.mu.Lock()
	defer h.mu.Unlock()
	stranded := h.stranded
	h.stranded = nil
	return stranded
}

func (h *hooks) set(hook fault.Hook) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hook = hook
}

func (h *hooks) die() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.dead {
		h.dead = true
		close(h.died)
	}
}

func (h *hooks) at(ctx context.Context, c fault.Call) error {
	h.mu.Lock()
	hook, dead := h.hook, h.dead
	h.mu.Unlock()
	if dead {
		return ErrDead
	}
	if hook == nil {
		return nil
	}
	if err := hook(ctx, c); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dead {
		return ErrDead
	}
	return nil
}

// around puts the points around the parts of a process, and the stranded into what it reads of the broker.
func (h *hooks) around() assemble.Around {
	around := fault.Around(h.at)
	points := around.Broker
	around.Broker = func(b worker.Broker) worker.Broker { return points(&broker{b, h}) }
	return around
}

// A broker shows events as stranded that are not.
type broker struct {
	worker.Broker
	hooks *hooks
}

func (b *broker) Stranded(ctx context.Context, limit int) ([]record.Stored, time.Time, error) {
	found, created, err := b.Broker.Stranded(ctx, limit)
	stranded := b.hooks.takeStranded()
	if err != nil || len(stranded) == 0 {
		return found, created, err
	}
	state, err := stream.ReadState(ctx, b.hooks.conn)
	if err != nil {
		return nil, time.Time{}, err
	}
	for _, s := range state.Streams {
		if s.Name == stream.StreamEvents {
			created = s.Created
		}
	}
	return append(found, stranded...), created, nil
}
