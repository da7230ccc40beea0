package stream

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/worker/record"
)

// A Failure is something of the broker that keeps a worker from doing its part. Its texts are for people, and name no tenant.
type Failure struct {
	Name string // broker, streams, permissions, results, dead_letters or embedded_broker
	What string // is the matter
	Hint string // what an operator can do

	// Degraded is that the worker does its part all the same: events are taken, decided and answered. It needs an operator, and
	// not that others take over.
	Degraded bool
}

// A Health is what a worker needs of the broker: what is the matter with it, and how far the streams are that could be read.
type Health struct {
	Failures []Failure
	Streams  []StreamState // in the order of their names
}

// deadLetterRoom is what must be left in the stream of dead letters: less than this hardly holds one.
const deadLetterRoom = 4 << 10

// ReadHealth looks at the broker, its streams and consumers, and at what it has refused lately. It returns by the end of ctx.
func ReadHealth(ctx context.Context, c *Conn) Health {
	if c.nc.IsClosed() {
		return Health{Failures: []Failure{{Name: "broker", What: "the connection has ended", Hint: "restart the worker"}}}
	}
	if !c.Connected() {
		return Health{Failures: []Failure{{Name: "broker", What: "there is no connection", Hint: hints[ErrUnreachable] + "; the worker reconnects by itself"}}}
	}
	l := look(ctx, c)
	h := Health{Streams: l.streams}
	refused, denied := c.troubles.standing(time.Now())
	if len(denied) > 0 {
		slices.Sort(denied)
		h.Failures = append(h.Failures, Failure{Name: "permissions", What: "the worker's user may not " + strings.Join(denied, "; "), Hint: hints[ErrPermission]})
	}
	switch {
	case len(l.silent) == l.asked && len(denied) == 0:
		h.Failures = append(h.Failures, Failure{Name: "broker", What: "JetStream does not answer", Hint: hints[ErrTimeout]})
	case len(l.silent) > 0 && len(denied) == 0:
		h.Failures = append(h.Failures, Failure{Name: "streams", What: strings.Join(l.silent, ", ") + ": no answer", Hint: "look at the broker's log; a stream with replicas may have no leader"})
	}
	if len(l.missing) > 0 {
		h.Failures = append(h.Failures, Failure{Name: "streams", What: strings.Join(l.missing, ", ") + ": missing", Hint: hints[ErrNotMigrated]})
	}
	return h.add(refused)
}

// add adds what streams refuse to take. Refused dead letters stop nothing: their events are answered, and they are kept in the
// database. Whoever waits for a refused result gets no answer.
func (h Health) add(refused map[record.Branch]unstored) Health {
	letters, isRefused := refused[record.BranchDeadLetters]
	i := slices.IndexFunc(h.Streams, func(s StreamState) bool { return s.Name == StreamDeadLetters })
	full := false
	if i >= 0 && h.Streams[i].MaxBytes > 0 {
		s := h.Streams[i]
		room := s.MaxBytes - int64(s.Bytes) //nolint:gosec // a limit bounds it
		full = room < deadLetterRoom || isRefused && errors.Is(letters.class, ErrStreamFull) && room < int64(letters.size)+deadLetterRoom
		isRefused = isRefused && (full || !errors.Is(letters.class, ErrStreamFull)) // it has room again
	}
	if full || isRefused && errors.Is(letters.class, ErrStreamFull) {
		h.Failures = append(h.Failures, Failure{
			Name: "dead_letters", What: StreamDeadLetters + " is full: rejected events are answered, and their dead letters kept in the database",
			Hint: "raise its limit: idpsync migrate --dead-letters-bytes …", Degraded: true,
		})
	} else if isRefused {
		h.Failures = append(h.Failures, Failure{
			Name: "dead_letters", What: StreamDeadLetters + " takes no messages, so that dead letters are kept in the database: " + classText(letters.class),
			Hint: hintOf(letters.class), Degraded: true,
		})
	}
	if r, ok := refused[record.BranchResults]; ok {
		h.Failures = append(h.Failures, Failure{Name: "results", What: StreamResults + " takes no messages: " + classText(r.class), Hint: hintOf(r.class)})
	}
	if r, ok := refused[record.BranchArchive]; ok {
		h.Failures = append(h.Failures, Failure{
			Name: "archive", What: StreamArchive + " takes no messages, so that they are kept in the database: " + classText(r.class), Hint: hintOf(r.class), Degraded: true,
		})
	}
	return h
}

func classText(class error) string {
	if class == nil {
		return "the broker refuses them"
	}
	return class.Error()
}

func hintOf(class error) string {
	if hint := hints[class]; hint != "" {
		return hint
	}
	return "look at the broker's log, and at the space on its disk"
}

// A looking is what came of asking for every stream and consumer.
type looking struct {
	mu              sync.Mutex
	asked           int
	streams         []StreamState
	missing, silent []string
}

// look asks for all of them at once.
func look(ctx context.Context, c *Conn) *looking {
	l := &looking{}
	var asking sync.WaitGroup
	ask := func(name string, get func() (*StreamState, error)) {
		l.asked++
		asking.Go(func() {
			state, err := get()
			l.mu.Lock()
			defer l.mu.Unlock()
			switch {
			case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrConsumerNotFound):
				l.missing = append(l.missing, name)
			case err != nil:
				l.silent = append(l.silent, name)
			case state != nil:
				l.streams = append(l.streams, *state)
			}
		})
	}
	for _, want := range (Topology{}).streams(0) {
		ask(want.Name, func() (*StreamState, error) {
			s, err := c.js.Stream(ctx, want.Name)
			if err != nil {
				return nil, err
			}
			state := streamState(s.CachedInfo())
			return &state, nil
		})
	}
	for _, want := range consumers() {
		ask(want.stream+"/"+want.config.Durable, func() (*StreamState, error) {
			_, err := c.js.Consumer(ctx, want.stream, want.config.Durable)
			return nil, err
		})
	}
	asking.Wait()
	slices.Sort(l.missing)
	slices.Sort(l.silent)
	slices.SortFunc(l.streams, func(a, b StreamState) int { return strings.Compare(a.Name, b.Name) })
	return l
}

// Closed reports whether the connection has ended for good, which it does by no misfortune.
func (c *Conn) Closed() bool { return c.nc.IsClosed() }
