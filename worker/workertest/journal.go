package workertest

import (
	"context"
	"encoding/json"
	"iter"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

// A Journal follows one stream from its beginning.
type Journal struct {
	d       *Deployment
	stop    func() // ends it, and waits
	mu      sync.Mutex
	all     []Record
	foreign uint64        // sequence of the last message that no worker wrote
	changed chan struct{} // closed and replaced at each record
}

// A Record is a result or a dead letter, as the broker stored it.
type Record struct {
	record.Stored
	EventID string
	Status  int            // of a result
	Outcome record.Outcome // of a result
	Code    record.Code    // of a rejection
	Reason  string         // of a rejection
	Body    map[string]any // of a result
}

type follow func(ctx context.Context, c *stream.Conn, f stream.Filter) iter.Seq2[record.Stored, error]

func newJournal(d *Deployment, open follow) *Journal {
	j := &Journal{d: d, changed: make(chan struct{})}
	ctx, cancel := context.WithCancel(d.Ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for m, err := range open(ctx, d.Conn, stream.Filter{Since: time.Now().Add(-time.Hour), Foreign: j.pass}) {
			if err != nil {
				if ctx.Err() == nil {
					d.T.Errorf("journal: %v", err)
				}
				return
			}
			j.add(readRecord(m))
		}
	}()
	j.stop = func() { cancel(); <-done }
	d.T.Cleanup(j.stop)
	return j
}

func readRecord(m record.Stored) Record {
	r := Record{Stored: m}
	if m.Stream == stream.StreamDeadLetters {
		r.EventID, _ = url.PathUnescape(m.Header.Get(record.DeadLetterEventID)) // what cannot be read is awaited in vain
		r.Code, r.Reason = record.Code(m.Header.Get(record.DeadLetterCode)), m.Header.Get(record.DeadLetterReason)
		return r
	}
	r.EventID = m.Header.Get(record.HeaderEventID)
	r.Status, _ = strconv.Atoi(m.Header.Get(record.HeaderStatus))
	r.Outcome = record.Outcome(m.Header.Get(record.HeaderOutcome))
	_ = json.Unmarshal(m.Data, &r.Body) // what cannot be read stays nil, and fails the test that looks at it
	if code, ok := r.Body["code"].(string); ok {
		r.Code = record.Code(code)
	}
	if details, ok := r.Body["details"].(map[string]any); ok {
		r.Reason, _ = details["reason"].(string)
	}
	return r
}

func (j *Journal) add(r Record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.all = append(j.all, r)
	close(j.changed)
	j.changed = make(chan struct{})
}

// pass notes a message that no worker wrote, which is no record.
func (j *Journal) pass(m record.Stored) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.foreign = m.Sequence
	close(j.changed)
	j.changed = make(chan struct{})
}

// All returns what was stored so far and has arrived here.
func (j *Journal) All() []Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.all)
}

// Where returns the records so far that match.
func (j *Journal) Where(match func(Record) bool) []Record {
	return slices.DeleteFunc(j.All(), func(r Record) bool { return !match(r) })
}

// Of returns the records so far of an event.
func (j *Journal) Of(eventID string) []Record {
	return j.Where(func(r Record) bool { return r.EventID == eventID })
}

// Await waits until n records match and returns them.
func (j *Journal) Await(n int, what string, match func(Record) bool) []Record {
	j.d.T.Helper()
	for {
		j.mu.Lock()
		changed := j.changed
		j.mu.Unlock()
		if found := j.Where(match); len(found) >= n {
			return found
		}
		select {
		case <-changed:
		case <-j.d.Ctx.Done():
			j.d.T.Fatalf("waited in vain for %d records: %s; there are %d of %d", n, what, len(j.Where(match)), len(j.All()))
		}
	}
}

// Caught waits until the journal holds all that its stream does.
func (j *Journal) caught(name string) {
	j.d.T.Helper()
	for _, s := range j.d.State().Streams {
		if s.Name == name && s.LastSeq > 0 {
			j.awaitSequence(s.LastSeq)
		}
	}
}

// awaitSequence waits until the message of a sequence has been read, whoever wrote it.
func (j *Journal) awaitSequence(seq uint64) {
	j.d.T.Helper()
	for {
		j.mu.Lock()
		changed, last := j.changed, j.foreign
		if n := len(j.all); n > 0 {
			last = max(last, j.all[n-1].Sequence)
		}
		j.mu.Unlock()
		if last >= seq {
			return
		}
		select {
		case <-changed:
		case <-j.d.Ctx.Done():
			j.d.T.Fatalf("waited in vain for the message of sequence %d; the last one that was read is %d", seq, last)
		}
	}
}

// Await returns the first result of an event.
func (d *Deployment) Await(eventID string) Record {
	d.T.Helper()
	return d.Results.Await(1, "result of "+eventID, func(r Record) bool { return r.EventID == eventID })[0]
}

// AwaitLetter returns the first dead letter of an event.
func (d *Deployment) AwaitLetter(eventID string) Record {
	d.T.Helper()
	return d.Letters.Await(1, "dead letter of "+eventID, func(r Record) bool { return r.EventID == eventID })[0]
}

// ResultsOf waits until nothing is under way and returns every result of an event.
func (d *Deployment) ResultsOf(eventID string) []Record {
	d.T.Helper()
	d.Settle()
	d.Results.caught(stream.StreamResults)
	return d.Results.Of(eventID)
}

// LettersOf waits until nothing is under way and returns every dead letter of an event.
func (d *Deployment) LettersOf(eventID string) []Record {
	d.T.Helper()
	d.Settle()
	d.Letters.caught(stream.StreamDeadLetters)
	return d.Letters.Of(eventID)
}

// AllResults waits until nothing is under way and returns every result.
func (d *Deployment) AllResults() []Record {
	d.T.Helper()
	d.Settle()
	d.Results.caught(stream.StreamResults)
	return d.Results.All()
}

// AllLetters waits until nothing is under way and returns every dead letter.
func (d *Deployment) AllLetters() []Record {
	d.T.Helper()
	d.Settle()
	d.Letters.caught(stream.StreamDeadLetters)
	return d.Letters.All()
}

// Source is the source of a result, by its subject.
func (r Record) Source() string {
	if tokens := strings.Split(r.Subject, "."); len(tokens) == 5 {
		return tokens[3]
	}
	return ""
}

// LoginSubject is the subject of logins of a source.
func LoginSubject(tenant, source string) string { return "idpsync.login." + tenant + "." + source }

// FeedSubject is the subject of a feed.
func FeedSubject(tenant, source string) string { return "idpsync.feed." + tenant + "." + source }

// Publish stores an event under an id of its sender, as a CloudEvent in binary mode, and returns its stream sequence.
func (d *Deployment) Publish(subject, id string, body []byte) uint64 {
	d.T.Helper()
	return d.PublishWith(subject, id, body, nil)
}

// PublishWith is Publish with further headers.
func (d *Deployment) PublishWith(subject, id string, body []byte, header providers.Header) uint64 {
	d.T.Helper()
	h := providers.Header{}
	if id != "" {
		h = providers.Header{"ce-id": {id}, "ce-source": {"/test"}, "ce-type": {"test.event"}, "ce-specversion": {"1.0"}}
	}
	for name, values := range header {
		h[name] = values
	}
	seq, err := stream.PublishEvent(d.Ctx, d.Conn, record.Outgoing{Subject: subject, Header: h, Data: body})
	if err != nil {
		d.T.Fatal(err)
	}
	return seq
}

// Operator is the operator in the subjects of orders.
const Operator = "alice"

// Order stores an operator's order to replay or discard dead letters of a tenant.
func (d *Deployment) Order(tenant string, o record.Order) {
	d.T.Helper()
	body, err := json.Marshal(o)
	if err != nil {
		d.T.Fatal(err)
	}
	if _, err := stream.PublishEvent(d.Ctx, d.Conn, record.Outgoing{Subject: record.ReplaySubject(tenant, Operator), Data: body}); err != nil {
		d.T.Fatal(err)
	}
}

// Replay orders dead letters of Acme to be replayed.
func (d *Deployment) Replay(campaign string, sequences ...uint64) {
	d.T.Helper()
	d.Order(Acme, record.Order{Action: record.OrderReplay, Sequences: sequences, Campaign: campaign, Who: "op@acme.example", Why: "repaired"})
}
