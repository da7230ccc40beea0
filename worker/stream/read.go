package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
)

// Filter chooses messages of a stream. The zero value chooses all.
type Filter struct {
	Tenant string    // UUID in any case
	Source string    //
	Word   string    // outcome of results, code of dead letters
	Since  time.Time // stored at or after
	After  uint64    // sequence above
	Limit  int       // at most so many; 0 for all

	// Foreign is told of the messages that no worker wrote, which are passed over; nil tells no one.
	Foreign func(record.Stored)
}

// subject returns the filter as a subject of a branch.
func (f Filter) subject(branch record.Branch) string {
	token := func(s string) string {
		if s == "" {
			return "*"
		}
		return strings.Map(func(r rune) rune {
			if r <= ' ' || r == '.' || r == '*' || r == '>' {
				return '_' // such a token is stored nowhere
			}
			return r
		}, strings.ToLower(s))
	}
	if f.Tenant == "" && f.Source == "" && f.Word == "" {
		return branch.All()
	}
	return branch.Of(token(f.Tenant), token(f.Source), token(f.Word))
}

// DeadLetters returns the dead letters that f chooses, oldest first, and ends with the last one that was there when it
// began. An error ends it too and comes last.
func DeadLetters(ctx context.Context, c *Conn, f Filter) iter.Seq2[record.Stored, error] {
	return read(ctx, c, StreamDeadLetters, f.subject(record.BranchDeadLetters), f, false, record.IsDeadLetter)
}

// WatchDeadLetters is [DeadLetters] that goes on with new ones until ctx ends, which is no error.
func WatchDeadLetters(ctx context.Context, c *Conn, f Filter) iter.Seq2[record.Stored, error] {
	return read(ctx, c, StreamDeadLetters, f.subject(record.BranchDeadLetters), f, true, record.IsDeadLetter)
}

// Results returns the results that f chooses, oldest first, and ends with the last one that was there when it began.
func Results(ctx context.Context, c *Conn, f Filter) iter.Seq2[record.Stored, error] {
	return read(ctx, c, StreamResults, f.subject(record.BranchResults), f, false, record.IsResult)
}

// Tail is [Results] that goes on with new ones until ctx ends, which is no error. With neither Since nor After it begins
// with the next one.
func Tail(ctx context.Context, c *Conn, f Filter) iter.Seq2[record.Stored, error] {
	return read(ctx, c, StreamResults, f.subject(record.BranchResults), f, true, record.IsResult)
}

// scan returns what s holds on the filters from one sequence to another, both included, filter by filter.
func scan(ctx context.Context, s jetstream.Stream, filters []string, from, to uint64) iter.Seq2[record.Stored, error] {
	name := s.CachedInfo().Config.Name
	return func(yield func(record.Stored, error) bool) {
		for _, filter := range filters {
			for seq := max(from, 1); seq <= to; seq++ {
				m, err := s.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(filter))
				if errors.Is(err, jetstream.ErrMsgNotFound) {
					break
				}
				if err != nil {
					yield(record.Stored{}, wrap("read "+name, err))
					return
				}
				if m.Sequence > to {
					break
				}
				seq = m.Sequence
				if !yield(storedOf(name, m), nil) {
					return
				}
			}
		}
	}
}

// DeadLetter returns one dead letter, or an error of class [ErrNotFound]. A message that no worker wrote is of class
// [ErrForeign].
func DeadLetter(ctx context.Context, c *Conn, seq uint64) (record.Stored, error) {
	m, err := get(ctx, c, StreamDeadLetters, seq)
	if err == nil && !record.IsDeadLetter(m) {
		return record.Stored{}, &Error{Op: fmt.Sprintf("read %s %d", StreamDeadLetters, seq), Class: ErrForeign, Hint: hints[ErrForeign]}
	}
	return m, err
}

// GetEvent returns one event that is stored, whether it waits, is being worked on or is stranded; or an error of class
// [ErrNotFound].
func GetEvent(ctx context.Context, c *Conn, seq uint64) (record.Stored, error) {
	return get(ctx, c, StreamEvents, seq)
}

func get(ctx context.Context, c *Conn, name string, seq uint64) (record.Stored, error) {
	op := "read " + name
	s, err := c.js.Stream(ctx, name)
	if err != nil {
		return record.Stored{}, wrap(op, err)
	}
	m, err := s.GetMsg(ctx, seq)
	if err != nil {
		return record.Stored{}, wrap(op, err)
	}
	return storedOf(name, m), nil
}

func storedOf(name string, m *jetstream.RawStreamMsg) record.Stored {
	return record.Stored{Stream: name, Sequence: m.Sequence, Subject: m.Subject, Header: providers.Header(m.Header), Data: m.Data, StoredAt: m.Time}
}

// SecureDelete removes one event from IDPSYNC_EVENTS and overwrites it. That it was not there any more is no error.
func SecureDelete(ctx context.Context, c *Conn, seq uint64) error {
	return secureDelete(ctx, c, StreamEvents, seq)
}

// SecureDeleteDeadLetter removes one dead letter and overwrites it. That it was not there any more is no error.
func SecureDeleteDeadLetter(ctx context.Context, c *Conn, seq uint64) error {
	return secureDelete(ctx, c, StreamDeadLetters, seq)
}

// SecureDeleteResult removes one result and overwrites it. That it was not there any more is no error.
func SecureDeleteResult(ctx context.Context, c *Conn, seq uint64) error {
	return secureDelete(ctx, c, StreamResults, seq)
}

func secureDelete(ctx context.Context, c *Conn, name string, seq uint64) error {
	op := "delete from " + name
	s, err := c.handle(ctx, name)
	if err != nil {
		return wrap(op, err)
	}
	err = s.SecureDeleteMsg(ctx, seq)
	var api *jetstream.APIError
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound), errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil
	case errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) && !present(ctx, s, seq):
		return nil
	}
	return wrap(op, err)
}

// handle returns a stream of that name without asking the broker for it each time. What it caches of the stream is old.
func (c *Conn) handle(ctx context.Context, name string) (jetstream.Stream, error) {
	c.mu.Lock()
	s := c.streams[name]
	c.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s, err := c.js.Stream(ctx, name)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams[name] = s
	return s, nil
}

func present(ctx context.Context, s jetstream.Stream, seq uint64) bool {
	_, err := s.GetMsg(ctx, seq)
	return !errors.Is(err, jetstream.ErrMsgNotFound)
}

// An Advisory is what the broker said about a delivery that ended without an ack.
type Advisory struct {
	Sequence   uint64 // in IDPSYNC_ADVISORIES
	Kind       AdvisoryKind
	Stream     string
	Consumer   string
	Event      uint64 // sequence in Stream
	Deliveries uint64
	Reason     string // of a termination
	At         time.Time
}

// AdvisoryKind tells the kinds of advisories apart.
type AdvisoryKind string

// The kinds of advisories.
const (
	AdvisoryMaxDeliveries AdvisoryKind = "max_deliveries" // the message is stranded
	AdvisoryTerminated    AdvisoryKind = "terminated"     // a worker ended it
)

// Advisories returns the advisories that f chooses; its Tenant, Source and Word are not used. They are hints: one may be
// missing although it happened.
func Advisories(ctx context.Context, c *Conn, f Filter) iter.Seq2[Advisory, error] {
	return func(yield func(Advisory, error) bool) {
		for m, err := range read(ctx, c, StreamAdvisories, "$JS.EVENT.ADVISORY.CONSUMER.>", f, false, nil) {
			if err != nil {
				yield(Advisory{}, err)
				return
			}
			var a struct {
				Stream     string    `json:"stream"`
				Consumer   string    `json:"consumer"`
				StreamSeq  uint64    `json:"stream_seq"`
				Deliveries uint64    `json:"deliveries"`
				Reason     string    `json:"reason"`
				Time       time.Time `json:"timestamp"`
			}
			if json.Unmarshal(m.Data, &a) != nil {
				continue
			}
			kind := AdvisoryTerminated
			if strings.Contains(m.Subject, ".MAX_DELIVERIES.") {
				kind = AdvisoryMaxDeliveries
			}
			if !yield(Advisory{m.Sequence, kind, a.Stream, a.Consumer, a.StreamSeq, a.Deliveries, a.Reason, a.Time}, nil) {
				return
			}
		}
	}
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, s)
}
