package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/retention"
)

// Broker returns what a worker asks of the broker beside its lanes, over the connection.
func Broker(c *Conn) worker.Broker { return broker{c} }

type broker struct{ conn *Conn }

// DeadLetter implements [worker.Broker].
func (b broker) DeadLetter(ctx context.Context, sequence uint64) (record.Stored, error) {
	m, err := DeadLetter(ctx, b.conn, sequence)
	switch {
	case errors.Is(err, ErrNotFound):
		err = fmt.Errorf("%w: %w", record.ErrNoMessage, err)
	case errors.Is(err, ErrForeign):
		err = fmt.Errorf("%w: %w", record.ErrRecord, err)
	}
	return m, err
}

// OldestDeadLetter implements [worker.Broker].
func (b broker) OldestDeadLetter(ctx context.Context) (time.Time, error) {
	s, err := b.conn.js.Stream(ctx, StreamDeadLetters)
	if err != nil {
		return time.Time{}, wrap("read the stream of dead letters", err)
	}
	state := s.CachedInfo().State
	if state.Msgs == 0 {
		return state.LastTime, nil
	}
	return state.FirstTime, nil
}

// OldestPending implements [worker.Broker].
func (b broker) OldestPending(ctx context.Context) (time.Time, error) {
	var oldest time.Time
	for _, name := range []string{StreamEvents, StreamReplays} {
		s, err := b.conn.js.Stream(ctx, name)
		if err != nil {
			return time.Time{}, wrap("read state of "+name, err)
		}
		i := s.CachedInfo()
		first := i.TimeStamp
		if i.State.Msgs > 0 {
			first = i.State.FirstTime
		}
		if oldest.IsZero() || first.Before(oldest) {
			oldest = first
		}
	}
	return oldest, nil
}

// Clock returns the broker's time, by which it stamps what it stores.
func Clock(ctx context.Context, c *Conn) (time.Time, error) {
	s, err := c.js.Stream(ctx, StreamEvents)
	if err != nil {
		return time.Time{}, wrap("read the clock of the broker", err)
	}
	return s.CachedInfo().TimeStamp, nil
}

// Stranded implements [worker.Broker].
func (b broker) Stranded(ctx context.Context, limit int) ([]record.Stored, time.Time, error) {
	found, err := Stranded(ctx, b.conn, limit)
	if err != nil || len(found) == 0 {
		return nil, time.Time{}, err
	}
	s, err := b.conn.js.Stream(ctx, StreamEvents)
	if err != nil {
		return nil, time.Time{}, wrap("read state of "+StreamEvents, err)
	}
	return found, s.CachedInfo().Created, nil
}

// Keeps implements [worker.Broker].
func (b broker) Keeps(ctx context.Context) (retention.Keeps, error) {
	var k retention.Keeps
	for name, age := range map[string]*time.Duration{StreamResults: &k.Results, StreamDeadLetters: &k.DeadLetters} {
		s, err := b.conn.js.Stream(ctx, name)
		if err != nil {
			return k, wrap("read settings of "+name, err)
		}
		i := s.CachedInfo()
		*age, k.Now = i.Config.MaxAge, i.TimeStamp
	}
	if a, ok := b.conn.Archive(ctx); ok {
		k.Archive = a.MaxAge
	}
	return k, nil
}

// Waiting implements [worker.Broker].
func (b broker) Waiting(ctx context.Context, lane string) (map[string]int, error) {
	s, err := b.conn.js.Stream(ctx, StreamEvents)
	if err != nil {
		return nil, wrap("read state of "+StreamEvents, err)
	}
	byTenant := map[string]int{}
	for _, filter := range record.Routes().Filters(lane) {
		i, err := s.Info(ctx, jetstream.WithSubjectFilter(filter))
		if err != nil {
			return nil, wrap("count the events of "+StreamEvents, err)
		}
		for subject, n := range i.State.Subjects {
			address, _ := record.ParseSubject(subject)
			byTenant[address.Tenant] += int(n) //nolint:gosec // the limits of the stream bound it
		}
	}
	return byTenant, nil
}

// Remove implements [worker.Broker].
func (b broker) Remove(ctx context.Context, sequence uint64) error {
	return SecureDelete(ctx, b.conn, sequence)
}
