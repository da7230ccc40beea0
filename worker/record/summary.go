package record

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// MaxSummary bounds the events of one summary, and so its size: some 10 bytes for each.
const MaxSummary = 5000

// maxSummaryText bounds what is unpacked of a summary, in bytes.
const maxSummaryText = MaxSummary * 256

// ReasonOverQuota is the reason in summaries: more events of one tenant and source were refused than dead letters are kept of.
const ReasonOverQuota = "over_quota"

// CountedLetter stands in a result in place of the id of a dead letter, when a summary lists the event.
const CountedLetter = "counted"

// A Summary is the dead letter of events beyond the quota of dead letters, which were refused and answered. It lists where
// they were stored; what they said is not kept, so that it cannot be replayed. It holds no secret and is signed, not sealed.
type Summary struct {
	Name     string // of the first attempt: the same events make the same summary
	Attempts []string
	Tenant   string
	Source   string // "" for sources that nobody declared
	Code     Code
	Reasons  map[string]int // how many events failed which check
	First    time.Time      // when the first of them was counted
	Last     time.Time
	Worker   string
	Version  string
}

const summaryPrefix = deadLetterIDPrefix + "summary/"

// Write makes the record of the summary.
func (s Summary) Write(v Sealer) (Outgoing, error) {
	var body bytes.Buffer
	packer := gzip.NewWriter(&body)
	if _, err := io.WriteString(packer, strings.Join(s.Attempts, "\n")); err != nil {
		return Outgoing{}, fmt.Errorf("pack a summary: %w", err)
	}
	if err := packer.Close(); err != nil {
		return Outgoing{}, fmt.Errorf("pack a summary: %w", err)
	}
	d := DeadLetter{
		Origin: AttemptOrigin(s.Name), StoredAt: s.First, Tenant: s.Tenant, Source: s.Source, Attempts: 1, FirstFailed: s.First, LastFailed: s.Last,
		Worker: s.Worker, Version: s.Version, Counted: len(s.Attempts),
	}
	r := Reject(s.Code, ReasonOverQuota, fmt.Sprintf("%d events beyond the quota of dead letters were refused and answered. What they said is not kept, only where they were stored.", len(s.Attempts)))
	r.Details["events"], r.Details["reasons"] = len(s.Attempts), s.Reasons
	r.Hint = "Find out who sends them, or raise dead_letter_quota. They cannot be replayed; whoever needs them sends them again."
	d.Refused(r)
	out := Outgoing{Subject: DeadLetterSubject(d.Tenant, d.Source, d.Code), ID: summaryPrefix + s.Name, Header: d.header(v, body.Bytes()), Data: body.Bytes()}
	sign(v, &out)
	return out, nil
}

// ErrSummary is returned for a dead letter that cannot be replayed, as it is a [Summary].
var ErrSummary = errors.New("a summary of events that are not kept")

// ReadSummary returns the names of the attempts that a summary lists; see [AttemptOrigin]. Errors are of class [ErrRecord].
func ReadSummary(m Stored) ([]string, error) {
	unpacker, err := gzip.NewReader(bytes.NewReader(m.Data))
	if err != nil {
		return nil, fmt.Errorf("%w: its list of events cannot be read: %w", ErrRecord, err)
	}
	text, err := io.ReadAll(io.LimitReader(unpacker, maxSummaryText))
	if err != nil {
		return nil, fmt.Errorf("%w: its list of events cannot be read: %w", ErrRecord, err)
	}
	return strings.Split(string(text), "\n"), nil
}
