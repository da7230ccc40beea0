package replay

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

// A Letter is a dead letter, and what was done about it.
type Letter struct {
	record.DeadLetter
	Message  record.Stored // the dead letter as the stream holds it
	State    string        // open, as long as nobody has dealt with it
	Outcome  string        // of its replay
	By       string        // who dealt with it
	OtherKey bool          // it is signed with a key that the deployment does not have, so that nothing shows who wrote it
}

// Sequence is that of the dead letter in its stream, by which orders name it.
func (l Letter) Sequence() uint64 { return l.Message.Sequence }

// Cause says in short what failed.
func (l Letter) Cause() string { return Cause(l.Code, l.Reason) }

// Cause is a code with the check that failed, if one did.
func Cause(code record.Code, reason string) string {
	if reason == "" {
		return string(code)
	}
	return string(code) + " (" + reason + ")"
}

// Read reads a dead letter. It is not genuine when a key that the deployment has shows that no worker wrote it.
func Read(sealer record.Sealer, m record.Stored) (l Letter, genuine bool) {
	authentic, otherKey := record.Authentic(sealer, m)
	d, _ := record.ReadDeadLetter(m.Header) // operators see of it what can be read
	return Letter{DeadLetter: d, Message: m, State: store.DeadLetterOpen, OtherKey: otherKey}, authentic || otherKey
}

// States are what the store says of the dead letters that somebody has dealt with.
type States interface {
	DeadLetter(ctx context.Context, sequence uint64) (store.DeadLetter, error)
	DeadLetters(ctx context.Context, f store.DeadLetterFilter) ([]store.DeadLetter, error)
}

// A Selection chooses dead letters. The zero value chooses all.
type Selection struct {
	State       string
	Reason      string // the check that failed
	Fingerprint string
	OlderThan   time.Duration // at least that old; 0: also one that the broker's clock has stored in our future
	Sequences   []uint64
}

// Matches reports whether a dead letter is chosen.
func (s Selection) Matches(l Letter, now time.Time) bool {
	return (s.State == "" || l.State == s.State) && (s.Reason == "" || l.Reason == s.Reason) &&
		(s.Fingerprint == "" || l.Fingerprint == s.Fingerprint) && (s.OlderThan <= 0 || now.Sub(l.Message.StoredAt) >= s.OlderThan) &&
		(len(s.Sequences) == 0 || slices.Contains(s.Sequences, l.Sequence()))
}

// Choose returns the messages of the stream of dead letters that are chosen, with their states. Foreign, which may be nil, is
// called for each that no worker wrote; such messages are passed over.
func Choose(ctx context.Context, messages iter.Seq2[record.Stored, error], sealer record.Sealer, states States, s Selection, now time.Time, foreign func()) ([]Letter, error) {
	known, err := readStates(ctx, states)
	if err != nil {
		return nil, err
	}
	letters := []Letter{}
	for m, err := range messages {
		if err != nil {
			return nil, err
		}
		l, genuine := Read(sealer, m)
		if !genuine {
			if foreign != nil {
				foreign()
			}
			continue
		}
		if row, ok := known[l.Sequence()]; ok {
			l.State, l.Outcome, l.By = row.State, row.Outcome, row.Who
		}
		if s.Matches(l, now) {
			letters = append(letters, l)
		}
	}
	return letters, nil
}

// statesPage is how many states are read at a time.
const statesPage = 1000

func readStates(ctx context.Context, states States) (map[uint64]store.DeadLetter, error) {
	known := map[uint64]store.DeadLetter{}
	f := store.DeadLetterFilter{Limit: statesPage}
	for {
		rows, err := states.DeadLetters(ctx, f)
		if err != nil {
			return nil, fmt.Errorf("states of dead letters: %w", err)
		}
		for _, r := range rows {
			known[r.Sequence] = r
			f.After = r.Sequence
		}
		if len(rows) < f.Limit {
			return known, nil
		}
	}
}
