package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/record"
)

// Orders stores orders where workers take them from.
type Orders interface {
	Publish(ctx context.Context, m record.Outgoing) error
}

// A Campaign has workers replay or discard dead letters, at a rate and after a canary.
type Campaign struct {
	Orders   Orders
	States   States
	ID       string  // what belongs together
	Action   string  // [record.OrderReplay] or [record.OrderDiscard]
	Operator string  // in the subjects of orders, where the broker vouches for it
	Who      string  // as the operator says
	Why      string  // the same
	Rate     float64 // at most so many dead letters a second; 0: as fast as it goes
	Canary   int     // so many first, and the others only if none of these fails again; 0: all at once

	Done    func(n int)    // called with how many more are dealt with; may be nil
	Waiting func(open int) // called now and then with how many are still with the workers; may be nil
}

// Outcomes counts what became of dead letters: an outcome, the code of a second failure, or discarded.
type Outcomes map[string]int

// discarded is what became of a dead letter that was put aside.
const discarded = "discarded"

// Total is how many were dealt with.
func (o Outcomes) Total() int {
	n := 0
	for _, count := range o {
		n += count
	}
	return n
}

// Failures is how many failed again.
func (o Outcomes) Failures() int {
	n := 0
	for word, count := range o {
		switch record.Outcome(word) {
		case record.OutcomeCreated, record.OutcomeExists, record.OutcomeLinked, record.OutcomeUpdated, discarded:
		default:
			n += count
		}
	}
	return n
}

// A CanaryError is returned when some of the first dead letters failed again. The others stay as they are.
type CanaryError struct{ Failed, Of int }

func (e *CanaryError) Error() string {
	return fmt.Sprintf("%d of the first %d failed again, so the others stay as they are", e.Failed, e.Of)
}

// An OrderError is returned when an order was not taken. Earlier ones are carried out.
type OrderError struct {
	Subject string
	Err     error
}

func (e *OrderError) Error() string { return "the order was not taken: " + e.Err.Error() }

// Unwrap returns what the broker said.
func (e *OrderError) Unwrap() error { return e.Err }

const (
	maxOrder  = 100                   // dead letters of one order, at most [record.MaxOrder]
	askEvery  = 50 * time.Millisecond // for states of the campaign
	lookEvery = time.Second           // at each dead letter by itself
	warnAfter = 15 * time.Second      // without an end of an order
	warnAgain = time.Minute
)

// Run has all of the dead letters, which are in the order of their sequences, dealt with. When ctx ends, orders that were
// sent are still carried out. What was dealt with until then is returned with every error.
func (c *Campaign) Run(ctx context.Context, letters []Letter) (Outcomes, error) {
	outcomes := Outcomes{}
	if c.Canary > 0 && c.Canary < len(letters) {
		if err := c.send(ctx, letters[:c.Canary], outcomes); err != nil {
			return outcomes, err
		}
		if failed := outcomes.Failures(); failed > 0 {
			return outcomes, &CanaryError{failed, c.Canary}
		}
		letters = letters[c.Canary:]
	}
	return outcomes, c.send(ctx, letters, outcomes)
}

// send sends orders of a size that fits the rate, each once the one before is done.
func (c *Campaign) send(ctx context.Context, letters []Letter, outcomes Outcomes) error {
	size := maxOrder
	if c.Rate > 0 {
		size = min(maxOrder, max(1, int(c.Rate/5))) // five orders a second keep an even pace
	}
	for chunk := range slices.Chunk(letters, size) {
		begin := time.Now()
		bySubject := map[string][]uint64{}
		for _, l := range chunk {
			subject := record.ReplaySubject(l.Tenant, c.Operator)
			bySubject[subject] = append(bySubject[subject], l.Sequence())
		}
		for _, subject := range slices.Sorted(maps.Keys(bySubject)) {
			if err := c.order(ctx, subject, bySubject[subject]); err != nil {
				return err
			}
		}
		if err := c.await(ctx, chunk, outcomes); err != nil {
			return err
		}
		if c.Rate > 0 {
			due := time.Duration(float64(len(chunk)) / c.Rate * float64(time.Second))
			if err := clock.Pause(ctx, due-time.Since(begin)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Campaign) order(ctx context.Context, subject string, sequences []uint64) error {
	body, err := json.Marshal(record.Order{Action: c.Action, Sequences: sequences, Campaign: c.ID, Who: c.Who, Why: c.Why})
	if err != nil {
		return err
	}
	if err := c.Orders.Publish(ctx, record.Outgoing{Subject: subject, Data: body}); err != nil {
		return &OrderError{subject, err}
	}
	return nil
}

// await waits until workers have dealt with all of a chunk.
func (c *Campaign) await(ctx context.Context, chunk []Letter, outcomes Outcomes) error {
	open := map[uint64]bool{}
	for _, l := range chunk {
		open[l.Sequence()] = true
	}
	begin := time.Now()
	warn, look := begin.Add(warnAfter), begin.Add(lookEvery)
	for len(open) > 0 {
		rows, err := c.States.DeadLetters(ctx, store.DeadLetterFilter{After: chunk[0].Sequence() - 1, Campaign: c.ID, Limit: 10 * maxOrder})
		if err != nil {
			return err
		}
		if now := time.Now(); now.After(look) {
			look = now.Add(lookEvery)
			others, err := c.look(ctx, open)
			if err != nil {
				return err
			}
			rows = append(rows, others...)
		}
		for _, r := range rows {
			word := r.Outcome
			switch {
			case !open[r.Sequence]:
				continue
			case r.State == store.DeadLetterDiscarded:
				word = discarded
			case r.State != store.DeadLetterReplayed:
				continue
			}
			delete(open, r.Sequence)
			outcomes[word]++
			if c.Done != nil {
				c.Done(1)
			}
		}
		if len(open) == 0 {
			return nil
		}
		if now := time.Now(); now.After(warn) {
			warn = now.Add(warnAgain)
			if c.Waiting != nil {
				c.Waiting(len(open))
			}
		}
		if err := clock.Pause(ctx, askEvery); err != nil {
			return err
		}
	}
	return nil
}

// look reads the states of dead letters one by one. Those that somebody else's order came to first belong to another campaign.
func (c *Campaign) look(ctx context.Context, open map[uint64]bool) ([]store.DeadLetter, error) {
	var rows []store.DeadLetter
	for seq := range open {
		r, err := c.States.DeadLetter(ctx, seq)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}
