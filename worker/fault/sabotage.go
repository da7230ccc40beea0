package fault

import (
	"context"
	"fmt"
	"time"

	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/record"
)

// A Sabotage breaks a worker on purpose, in a way in which such programs are usually broken, to show that a run finds it.
type Sabotage struct {
	Name string
	What string

	around assemble.Around
}

// Sabotages lists those that go around the parts of a worker.
func Sabotages() []Sabotage {
	return []Sabotage{
		{"ack-first", "every message is acknowledged as soon as it is in hand", assemble.Around{Open: ackFirst}},
		{"publish-late", "results are called stored at once, and published after the messages are acknowledged", assemble.Around{
			Publisher: func(p worker.Publisher) worker.Publisher { return late{p} },
		}},
	}
}

func sabotageNamed(name string) (Sabotage, error) {
	for _, s := range Sabotages() {
		if s.Name == name {
			return s, nil
		}
	}
	return Sabotage{}, fmt.Errorf("there is no sabotage %q", name)
}

// outside puts the sabotage around points: it stands for a fault of the worker, and the worker is outside of them.
func (s Sabotage) outside(points assemble.Around) assemble.Around {
	if open := s.around.Open; open != nil {
		inner := points.Open
		points.Open = func(o assemble.Open) assemble.Open { return open(inner(o)) }
	}
	if publisher := s.around.Publisher; publisher != nil {
		inner := points.Publisher
		points.Publisher = func(p worker.Publisher) worker.Publisher { return publisher(inner(p)) }
	}
	return points
}

func ackFirst(open assemble.Open) assemble.Open {
	return func(ctx context.Context, lane string) (worker.Consumer, error) {
		c, err := open(ctx, lane)
		if err != nil {
			return nil, err
		}
		return hasty{c}, nil
	}
}

type hasty struct{ worker.Consumer }

func (h hasty) Next(ctx context.Context) (worker.Message, error) {
	m, err := h.Consumer.Next(ctx)
	if err != nil {
		return nil, err
	}
	_ = m.Ack() // a program that does this looks at no error either
	return m, nil
}

// lateBy is far longer than it takes to acknowledge a batch.
const lateBy = 200 * time.Millisecond

type late struct{ worker.Publisher }

func (l late) Publish(ctx context.Context, msgs []record.Outgoing) []error {
	if deadLetters(msgs) {
		return l.Publisher.Publish(ctx, msgs)
	}
	time.AfterFunc(lateBy, func() {
		_ = l.Publisher.Publish(context.WithoutCancel(ctx), msgs) // whoever believes them stored asks no more
	})
	return make([]error, len(msgs))
}
