// Package gap finds out whether broker and database still belong together. They do not when one of them lost its disk, or was
// restored from a copy that is older than the other: then events may be lost, or be about to have their effect again, and a
// worker that went on would hide it.
//
// Workers write marks into the database while they run: when each stream was created, and its last sequence. A stream that is
// behind its mark, or was created at another time, has lost messages. In the other direction results tell: a worker publishes a
// result once its effect is committed, so that a database which does not know the last effects has lost what it knew. Neither
// is ever so in normal life: a worker may be killed at any point, a stream may be purged or empty, rows may be pruned, and a
// deployment may be new.
package gap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

// Store is the part of the database that is compared.
type Store interface {
	Marks(ctx context.Context) ([]store.Mark, error)
	Retention(ctx context.Context) (store.Retention, error)
	Event(ctx context.Context, key store.EventKey) (store.Event, error)
}

// Broker is the part of the broker that is compared.
type Broker interface {
	// Streams returns the state of all streams, in the order of their names.
	Streams(ctx context.Context) ([]stream.StreamState, error)
	// LastEffects returns the last results that are no rejections, of those behind a sequence.
	LastEffects(ctx context.Context, after uint64) ([]record.Stored, error)
}

// Streams compares the streams of a connection.
func Streams(c *stream.Conn) Broker { return streams{c} }

type streams struct{ conn *stream.Conn }

func (s streams) Streams(ctx context.Context) ([]stream.StreamState, error) {
	return stream.ReadStreams(ctx, s.conn)
}

func (s streams) LastEffects(ctx context.Context, after uint64) ([]record.Stored, error) {
	return stream.LastEffects(ctx, s.conn, after)
}

// StreamsAlone compares the streams of a connection whose user may not read results: it finds no database that is behind.
func StreamsAlone(c *stream.Conn) Broker { return streamsAlone{streams{c}} }

type streamsAlone struct{ streams }

func (streamsAlone) LastEffects(context.Context, uint64) ([]record.Stored, error) { return nil, nil }

// Which side of the two is behind.
const (
	SideBroker   = "broker"
	SideDatabase = "database"
)

// A Finding says of one stream that it and the database do not belong together.
type Finding struct {
	Side   string    `json:"side"`   // which is behind: [SideBroker] or [SideDatabase]
	Stream string    `json:"stream"` //
	What   string    `json:"what"`   // what was found
	Lost   string    `json:"lost"`   // what may be lost
	Since  time.Time `json:"since"`  // when a worker last saw them together; zero: it is not known
}

// A Gap is what was found, and where the streams were.
type Gap struct {
	Findings []Finding    `json:"findings"`
	Marks    []store.Mark `json:"-"` // that an operator accepts with the gap
	// Unread is why the database's side was not compared; nil when it was. The other side was.
	Unread error `json:"-"`
}

// Found reports whether there is a gap.
func (g Gap) Found() bool { return len(g.Findings) > 0 }

// Text is what was found, in one line.
func (g Gap) Text() string {
	parts := make([]string, len(g.Findings))
	for i, f := range g.Findings {
		parts[i] = f.Stream + ": " + f.What
	}
	return "the " + g.Sides() + " has lost what the other knows: " + strings.Join(parts, "; ")
}

// Sides names what is behind.
func (g Gap) Sides() string {
	var sides []string
	for _, f := range g.Findings {
		if !slices.Contains(sides, f.Side) {
			sides = append(sides, f.Side)
		}
	}
	return strings.Join(sides, " and ")
}

// Find compares database and broker. It reads a few rows and messages, and writes nothing. Marks are read before the streams,
// so that a worker which raises them meanwhile makes no stream look behind.
func Find(ctx context.Context, st Store, b Broker) (Gap, error) {
	var g Gap
	marks, err := st.Marks(ctx)
	if err != nil {
		return g, fmt.Errorf("read the marks of the streams: %w", err)
	}
	states, err := b.Streams(ctx)
	if err != nil {
		return g, err
	}
	for _, s := range states {
		g.Marks = append(g.Marks, store.Mark{Stream: s.Name, Created: s.Created, Last: s.LastSeq})
	}
	g.Findings = Behind(marks, states)
	var results store.Mark
	if i := slices.IndexFunc(marks, func(m store.Mark) bool { return m.Stream == stream.StreamResults }); i >= 0 {
		results = marks[i]
	}
	if slices.ContainsFunc(g.Findings, func(f Finding) bool { return f.Stream == stream.StreamResults }) {
		results.Last = 0 // its sequences are others
	}
	return g, g.compareEffects(ctx, st, b, results, states)
}

// Behind finds the streams that lost what the database knows. The marks must have been read before the states.
func Behind(marks []store.Mark, states []stream.StreamState) []Finding {
	const form = "2006-01-02 15:04:05Z07:00"
	var all []Finding
	for _, s := range states {
		i := slices.IndexFunc(marks, func(m store.Mark) bool { return m.Stream == s.Name })
		if i < 0 {
			continue
		}
		m := marks[i]
		f := Finding{Side: SideBroker, Stream: s.Name, Lost: lostIn[s.Name], Since: m.SeenAt}
		switch {
		case m.Created.UnixMicro() != s.Created.UnixMicro():
			f.What = fmt.Sprintf("it was created at %s; the database knows one of %s, which had given out sequence %d",
				s.Created.UTC().Format(form), m.Created.UTC().Format(form), m.Last)
		case s.LastSeq < m.Last:
			f.What = fmt.Sprintf("its last sequence is %d; the database knows that it had given out %d", s.LastSeq, m.Last)
		default:
			continue
		}
		all = append(all, f)
	}
	return all
}

// WentBack finds the streams of which the database knew more before. It has gone back to an earlier state then, unless an operator
// has accepted a gap in between.
func WentBack(before, now []store.Mark) []Finding {
	var all []Finding
	for _, b := range before {
		i := slices.IndexFunc(now, func(m store.Mark) bool { return m.Stream == b.Stream })
		if i >= 0 && (now[i].Last >= b.Last && now[i].Created.Equal(b.Created) || !now[i].AcceptedAt.Equal(b.AcceptedAt)) {
			continue
		}
		f := Finding{Side: SideDatabase, Stream: b.Stream, Since: b.SeenAt, Lost: lostInDatabase, What: fmt.Sprintf("the database knew that it had given out sequence %d, and does not any more", b.Last)}
		all = append(all, f)
	}
	return all
}

// lostInDatabase says what is lost with the newest rows of the database.
const lostInDatabase = "users, grants and the ledger of what was processed since, and events that were parked"

// lostIn says what is lost with the messages of a stream.
var lostIn = map[string]string{
	stream.StreamEvents:      "events that waited; senders have them acknowledged",
	stream.StreamResults:     "results; their effects are in the database",
	stream.StreamDeadLetters: "dead letters, with the events in them",
	stream.StreamReplays:     "orders to replay that waited",
	stream.StreamAdvisories:  "what the broker said of deliveries that ended without an ack; nothing needs it",
}

// compareEffects finds out whether the ledger lacks an effect of which a result tells, behind those that a worker of this
// database has seen.
func (g *Gap) compareEffects(ctx context.Context, st Store, b Broker, results store.Mark, states []stream.StreamState) error {
	i := slices.IndexFunc(states, func(s stream.StreamState) bool { return s.Name == stream.StreamResults })
	if i < 0 || states[i].LastSeq <= results.Last || states[i].Messages == 0 {
		return nil
	}
	kept, err := st.Retention(ctx)
	if err != nil {
		return fmt.Errorf("read how long the ledger is kept: %w", err)
	}
	effects, err := b.LastEffects(ctx, results.Last)
	if err != nil {
		g.Unread = err
		return nil
	}
	for _, m := range effects {
		r, err := record.ReadResult(m)
		if err != nil || r.StoredAt.Before(kept.HistoryFrom) || r.At.Before(kept.HistoryFrom) {
			continue
		}
		_, err = st.Event(ctx, r.Event)
		if err == nil {
			continue
		}
		if !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("look for an effect in the ledger: %w", err)
		}
		g.Findings = append(g.Findings, Finding{
			Side: SideDatabase, Stream: stream.StreamResults, Since: results.SeenAt, Lost: lostInDatabase,
			What: fmt.Sprintf("result %d of %s tells of an effect that the ledger does not have", m.Sequence, m.StoredAt.UTC().Format(time.RFC3339)),
		})
		return nil // one shows it
	}
	return nil
}
