package gap_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/gap"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

const tenant = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0"

var begin = time.Date(2026, 11, 1, 0, 0, 0, 123456789, time.UTC)

// A pair is a broker with one stream and a database, as lists in memory.
type pair struct {
	marks   []store.Mark
	last    uint64
	created time.Time
	results []record.Stored
	unread  error
	rows    map[string]bool // by event id
	history time.Time
}

func (p *pair) Marks(context.Context) ([]store.Mark, error) { return p.marks, nil }

func (p *pair) Retention(context.Context) (store.Retention, error) {
	return store.Retention{HistoryFrom: p.history}, nil
}

func (p *pair) Event(_ context.Context, key store.EventKey) (store.Event, error) {
	if p.rows[key.EventID] {
		return store.Event{}, nil
	}
	return store.Event{}, store.ErrNotFound
}

func (p *pair) Streams(context.Context) ([]stream.StreamState, error) {
	return []stream.StreamState{{Name: stream.StreamResults, Created: p.created, LastSeq: p.last, Messages: p.last}}, nil
}

func (p *pair) LastEffects(_ context.Context, after uint64) ([]record.Stored, error) {
	var behind []record.Stored
	for _, r := range p.results {
		if r.Sequence > after {
			behind = append(behind, r)
		}
	}
	return behind, p.unread
}

// publish adds a result of an event that had an effect.
func (p *pair) publish(id string) {
	p.last++
	a := record.Answer{Status: 201, Outcome: record.OutcomeCreated, Body: []byte(`{}`), At: begin.Add(time.Hour)}
	out := a.Result(tenant, "okta", id)
	out.Header["Nats-Msg-Id"] = []string{out.ID}
	p.results = append(p.results, record.Stored{Sequence: p.last, Subject: out.Subject, Header: out.Header, Data: out.Data, StoredAt: a.At})
}

func TestFind(t *testing.T) {
	seen := store.Mark{Stream: stream.StreamResults, Created: begin.Truncate(time.Microsecond), Last: 2, SeenAt: begin.Add(time.Hour)}
	for name, test := range map[string]struct {
		change func(p *pair)
		want   string // part of what is found; "": nothing
		side   string
	}{
		"nothing has changed":                      {func(*pair) {}, "", ""},
		"a deployment that is new":                 {func(p *pair) { *p = pair{created: begin} }, "", ""},
		"a stream that gave out more":              {func(p *pair) { p.publish("c"); p.rows["c"] = true }, "", ""},
		"an upgrade from a version without marks":  {func(p *pair) { p.marks = nil }, "", ""},
		"a stream that is behind":                  {func(p *pair) { p.last = 1 }, "its last sequence is 1; the database knows that it had given out 2", gap.SideBroker},
		"a stream that was made anew":              {func(p *pair) { p.created = begin.Add(time.Minute) }, "it was created at 2026-11-01 00:01:00Z", gap.SideBroker},
		"an effect that the ledger lacks":          {func(p *pair) { p.publish("c") }, "result 3 of 2026-11-01T01:00:00Z tells of an effect", gap.SideDatabase},
		"a database that is empty":                 {func(p *pair) { p.marks, p.rows = nil, nil }, "tells of an effect", gap.SideDatabase},
		"an effect before the history":             {func(p *pair) { p.publish("c"); p.history = begin.Add(2 * time.Hour) }, "", ""},
		"a message that no worker wrote":           {func(p *pair) { p.publish("c"); p.results[2].Header["Nats-Msg-Id"] = []string{"forged"} }, "", ""},
		"an effect that was seen and has no row":   {func(p *pair) { p.rows["b"] = false }, "", ""},
		"both are behind, and the stream was made": {func(p *pair) { p.created, p.rows = begin.Add(time.Minute), nil }, "it was created at", gap.SideBroker + " and " + gap.SideDatabase},
	} {
		t.Run(name, func(t *testing.T) {
			p := &pair{created: begin, marks: []store.Mark{seen}, rows: map[string]bool{"a": true, "b": true}}
			p.publish("a")
			p.publish("b")
			test.change(p)
			g, err := gap.Find(t.Context(), p, p)
			if err != nil || g.Found() != (test.want != "") || !strings.Contains(g.Text(), test.want) || g.Sides() != test.side {
				t.Errorf("got %q of the sides %q with the error %v, want %q of %q", g.Text(), g.Sides(), err, test.want, test.side)
			}
			if len(g.Marks) != 1 || g.Marks[0].Last != p.last {
				t.Errorf("what an operator would accept is %+v, want the stream as it was found, at %d", g.Marks, p.last)
			}
		})
	}
}

// Whoever may not read results learns so, and still learns of the streams.
func TestResultsThatCannotBeRead(t *testing.T) {
	p := &pair{created: begin, unread: errors.New("permission missing")}
	p.publish("a")
	if g, err := gap.Find(t.Context(), p, p); err != nil || g.Found() || !errors.Is(g.Unread, p.unread) {
		t.Errorf("got %+v and the error %v, want no gap, and that results were not read", g, err)
	}
}
