package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
)

const (
	probeInterval = 50 * time.Millisecond // between two logins of the quiet tenant
	probePatience = 90 * time.Second      // how long a login may take before it counts as unanswered
)

// A door is a way in which the quiet tenant logs in. It returns when the nth login has been answered; other answers than
// that it was created are errors.
type door func(ctx context.Context, n int) error

// A sample is how long the logins of a while took, the shortest first. One that had no answer counts with the time that it
// waited.
type sample struct {
	took       []time.Duration
	unanswered int
	refused    int   // answered, but not with an effect
	err        error // the first
}

func (s sample) percentile(p int) time.Duration {
	if len(s.took) == 0 {
		return 0
	}
	return s.took[min(len(s.took)*p/100, len(s.took)-1)]
}

func (s sample) worst() time.Duration { return s.percentile(100) }

// measure has the quiet tenant log in at a steady pace, whether or not earlier logins are done, until what goes on meanwhile
// has ended.
func measure(ctx context.Context, through door, meanwhile func(context.Context) error) (sample, error) {
	var s sample
	var mu sync.Mutex
	var logins sync.WaitGroup
	done := make(chan error, 1)
	go func() { done <- meanwhile(ctx) }()
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	var failed error
	for n, over := 0, false; !over; n++ {
		logins.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, probePatience)
			defer cancel()
			began := time.Now()
			err := through(ctx, n)
			mu.Lock()
			defer mu.Unlock()
			s.took = append(s.took, time.Since(began))
			switch {
			case err == nil:
				return
			case ctx.Err() != nil:
				s.unanswered++
			default:
				s.refused++
			}
			if s.err == nil {
				s.err = err
			}
		})
		select {
		case failed = <-done:
			over = true
		case <-tick.C:
		}
	}
	logins.Wait()
	slices.Sort(s.took)
	return s, errors.Join(failed, ctx.Err())
}

// errRefused is the answer to a login of the quiet tenant that had no effect.
var errRefused = errors.New("the login was refused")

// A streamDoor publishes logins and awaits their results.
type streamDoor struct {
	w       *world
	mu      sync.Mutex
	waiting map[string]chan string // outcome, by id of the event
	serial  int
}

// openStream begins to listen for the results of the quiet tenant; they end with the connection.
func openStream(w *world) (*streamDoor, error) {
	d := &streamDoor{w: w, waiting: map[string]chan string{}}
	_, err := w.nc.Subscribe(record.BranchResults.Of(globex, "okta", "*"), func(m *nats.Msg) {
		id := m.Header.Get(record.HeaderEventID)
		d.mu.Lock()
		answer := d.waiting[id]
		delete(d.waiting, id)
		d.mu.Unlock()
		if answer != nil {
			answer <- m.Header.Get(record.HeaderOutcome)
		}
	})
	if err != nil {
		return nil, err
	}
	return d, w.nc.Flush()
}

func (d *streamDoor) login(ctx context.Context, _ int) error {
	answer := make(chan string, 1)
	d.mu.Lock()
	d.serial++
	id := fmt.Sprintf("quiet-%d", d.serial)
	d.waiting[id] = answer
	d.mu.Unlock()
	token, err := signed(d.w.steady, id)
	if err != nil {
		return err
	}
	m := loginMessage(globex, "okta", id, token)
	for {
		short, cancel := context.WithTimeout(ctx, 3*time.Second)
		_, err = d.w.nc.RequestMsgWithContext(short, m)
		cancel()
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	select {
	case outcome := <-answer:
		if outcome != string(record.OutcomeCreated) {
			return fmt.Errorf("%w: %s", errRefused, outcome)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// byHTTP returns the door of commands by HTTP. A client that is turned away for the moment tries again, under the same key.
func byHTTP(w *world, client *http.Client) door {
	return func(ctx context.Context, n int) error {
		p := &person{tenant: globex, email: fmt.Sprintf("http-%d-%d@corp.example", time.Now().UnixNano(), n)}
		body, err := userBody(p)
		if err != nil {
			return err
		}
		e := &event{id: p.email, header: providers.Header{"Authorization": {"Bearer " + w.tokens[globex]}, "X-Tenant-ID": {globex}}}
		for {
			err := w.post(ctx, client, e, body)
			if err == nil || ctx.Err() != nil || errors.Is(err, errAnswer) {
				return err
			}
			pause(ctx, 100*time.Millisecond)
		}
	}
}
