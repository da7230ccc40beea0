package proof_test

import (
	"context"
	"crypto/rand"
	"errors"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/seal"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/proof"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

const tenant = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0"

var begin = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// A site is a broker and a database, each as lists in memory. Events go through its stream and leave what a worker would.
type site struct {
	t       *testing.T
	last    uint64   // sequence in the stream of events
	waiting []uint64 // of it
	results []record.Stored
	letters []record.Stored
	erased  []uint64 // sequences of dead letters
	parked  []store.Waiting
	outbox  []string
	counted []store.Counted
	repeats []store.Repeat
	rows    []store.Event
	sealer  record.Sealer
	failure error  // of reading results
	looked  func() // called when results are read
	history time.Time
	marks   []store.Mark
	made    map[string]time.Time // when streams were created, but for those that were at the beginning
}

func newSite(t *testing.T) *site {
	path := filepath.Join(t.TempDir(), "seal.key")
	key, _, err := seal.EnsureFile(path, rand.Reader)
	if err != nil {
		t.Fatalf("no seal key can be made: %v", err)
	}
	return &site{t: t, sealer: key}
}

func (s *site) origin(seq uint64) record.Origin {
	return record.Origin{Stream: stream.StreamEvents, Created: begin, Sequence: seq}
}

// next is a message that was stored and has left the stream.
func (s *site) next() record.Origin {
	s.last++
	return s.origin(s.last)
}

func (s *site) publish(a record.Answer, id string) {
	a.Status, a.Body, a.At = 201, []byte(`{}`), begin.Add(time.Hour)
	out := a.Result(tenant, "okta", id)
	out.Header["Nats-Msg-Id"] = []string{out.ID}
	s.results = append(s.results, record.Stored{Sequence: uint64(len(s.results) + 1), Subject: out.Subject, Header: out.Header, Data: out.Data, StoredAt: a.At})
}

// row is the ledger's row of an effect.
func (s *site) row(o record.Origin, id, scope string) store.Event {
	return store.Event{
		TenantID: tenant, Source: "okta", EventID: id, Scope: scope, Origin: o.String(), StoredAt: begin.Add(time.Minute), At: begin.Add(time.Hour),
		Outcome: string(record.OutcomeCreated), Result: []byte(`{}`), Status: 201,
	}
}

// effect is an event that had its effect, and its result.
func (s *site) effect(id, scope string) {
	s.rows = append(s.rows, s.row(s.next(), id, scope))
	s.publish(record.Answer{Outcome: record.OutcomeCreated, Scope: scope}, id)
}

// reject is an event that was rejected, with a dead letter.
func (s *site) reject(id string) {
	o := s.next()
	s.letter(o, id)
	s.publish(record.Answer{Outcome: record.OutcomeRejected, CameIn: o.String(), Decided: record.Decided{DeadLetter: record.DeadLetterID(o, 0)}}, id)
}

func (s *site) letter(o record.Origin, id string) {
	s.t.Helper()
	out, err := record.DeadLetter{Origin: o, StoredAt: begin.Add(time.Minute), EventID: id, Tenant: tenant, Source: "okta", Code: record.CodeMalformed}.
		Write(s.sealer, providers.Header{}, []byte("x"))
	if err != nil {
		s.t.Fatalf("a dead letter cannot be written: %v", err)
	}
	s.letters = append(s.letters, record.Stored{Sequence: uint64(len(s.letters) + 1), Subject: out.Subject, Header: out.Header, Data: out.Data, StoredAt: begin.Add(time.Hour)})
}

func (s *site) options() proof.Options { return proof.Options{Store: s, Broker: s, Sealer: s.sealer} }

func (s *site) Holding(_ context.Context, name string) (stream.Holding, error) {
	h := stream.Holding{Created: begin, First: 1, FirstAt: begin}
	if made, ok := s.made[name]; ok {
		h.Created = made
	}
	switch name {
	case stream.StreamEvents:
		h.Last = s.last
		for seq := uint64(1); seq <= s.last; seq++ {
			if !slices.Contains(s.waiting, seq) {
				h.Gaps = append(h.Gaps, seq)
			}
		}
	case stream.StreamResults:
		h.Last = uint64(len(s.results))
	default:
		h.Last, h.Gaps = uint64(len(s.letters)+len(s.erased)), s.erased
	}
	return h, nil
}

func (s *site) Stranded(context.Context) ([]uint64, error) { return nil, nil }

func (s *site) Results(context.Context, time.Time, func()) iter.Seq2[record.Stored, error] {
	if s.looked != nil {
		s.looked()
	}
	return list(s.results, s.failure)
}

func (s *site) DeadLetters(context.Context, time.Time, func()) iter.Seq2[record.Stored, error] {
	return list(s.letters, nil)
}

func list(messages []record.Stored, err error) iter.Seq2[record.Stored, error] {
	messages = slices.Clone(messages)
	return func(yield func(record.Stored, error) bool) {
		for _, m := range messages {
			if !yield(m, nil) {
				return
			}
		}
		if err != nil {
			yield(record.Stored{}, err)
		}
	}
}

func (s *site) ParkedAfter(_ context.Context, id int64, _ int) ([]store.Waiting, error) {
	return s.parked[min(int(id), len(s.parked)):], nil
}

func (s *site) CountedAfter(_ context.Context, attempt string, _ int) ([]store.Counted, error) {
	return s.counted[slices.IndexFunc(s.counted, func(c store.Counted) bool { return c.Attempt == attempt })+1:], nil
}

func (s *site) OutboxAfter(_ context.Context, id string, _ int) ([]string, error) {
	return s.outbox[slices.Index(s.outbox, id)+1:], nil
}

func (s *site) RepeatsAfter(_ context.Context, _ time.Time, origin string, _ int) ([]store.Repeat, error) {
	return s.repeats[slices.IndexFunc(s.repeats, func(r store.Repeat) bool { return r.Origin == origin })+1:], nil
}

func (s *site) Events(_ context.Context, f store.EventFilter) ([]store.Event, error) {
	return s.rows[slices.IndexFunc(s.rows, func(e store.Event) bool { return e.Key() == f.After })+1:], nil
}

func (s *site) Event(_ context.Context, key store.EventKey) (store.Event, error) {
	for _, row := range s.rows {
		if row.Key() == key {
			return row, nil
		}
	}
	return store.Event{}, store.ErrNotFound
}

// exists is an event that changed nothing, of a user whose picture the ledger leaves out. Results larger than limit do too.
func (s *site) exists(id, name string, limit int) *store.Event {
	u := store.User{ID: tenant, TenantID: tenant, Name: name, Avatar: "data:image/png;base64,AAAA", Revision: 3}
	a := record.Answer{Outcome: record.OutcomeExists, Status: 200, At: begin.Add(time.Hour)}
	a.SetUnchanged(providers.ShapeLogin, &u, limit)
	a.SetPicture(u.Avatar)
	row := s.row(s.next(), id, "")
	row.Outcome, row.Status, row.Result, row.ResultHeaders = string(a.Outcome), a.Status, a.Kept(), record.Marshal(a.Decided)
	s.rows = append(s.rows, row)
	out := a.Result(tenant, "okta", id)
	out.Header["Nats-Msg-Id"] = []string{out.ID}
	s.results = append(s.results, record.Stored{Sequence: uint64(len(s.results) + 1), Subject: out.Subject, Header: out.Header, Data: out.Data, StoredAt: a.At})
	return &s.rows[len(s.rows)-1]
}

func (s *site) Marks(context.Context) ([]store.Mark, error) { return s.marks, nil }

func (s *site) Retention(context.Context) (store.Retention, error) {
	return store.Retention{HistoryFrom: s.history}, nil
}

func (s *site) take(o proof.Options) *proof.Account {
	s.t.Helper()
	a, err := proof.Take(s.t.Context(), o)
	if err != nil {
		s.t.Fatalf("no account can be taken: %v", err)
	}
	return a
}

// check compares findings, which are of events of one tenant and source.
func (s *site) check(what string, a *proof.Account, unaccounted, duplicated []string) {
	s.t.Helper()
	for _, of := range []struct {
		name  string
		got   []proof.Finding
		count int
		want  []string
	}{{"unaccounted for", a.Unaccounted, a.UnaccountedCount, unaccounted}, {"duplicated", a.Duplicated, a.DuplicatedCount, duplicated}} {
		var got []string
		for _, f := range of.got {
			got = append(got, f.ID+" "+f.What)
		}
		if !slices.Equal(got, of.want) || of.count != len(of.want) {
			s.t.Errorf("%s: %d are %s: %q, want %q", what, of.count, of.name, got, of.want)
		}
	}
	if want := len(unaccounted)+len(duplicated) == 0; a.Holds() != want {
		s.t.Errorf("%s: the account holds: %t, want %t", what, a.Holds(), want)
	}
}

// TestEveryMessageIsAccountedFor has one message of each sort, with event ids that hold what separates parts of ids.
func TestEveryMessageIsAccountedFor(t *testing.T) {
	s := newSite(t)
	s.effect("a/0/b", "credential/hr")
	s.reject("IDPSYNC_EVENTS/1/2")
	s.publish(record.Answer{Outcome: record.OutcomeRejected, CameIn: s.next().String()}, "repeat")
	s.repeats = []store.Repeat{{Origin: s.next().String()}}
	s.parked = []store.Waiting{{ID: 1, Key: s.next().String(), Tenant: tenant, Source: "okta", EventID: "parked"}}
	s.waiting = []uint64{s.next().Sequence}
	s.publish(record.Answer{Outcome: record.OutcomeRejected, CameIn: "received/1800000000000000000"}, "request") // no message brought it
	a := s.take(s.options())
	s.check("one of each", a, nil, nil)
	e := a.Events
	if e.Stored != 6 || e.Effects != 1 || e.DeadLetters != 1 || e.Refused != 1 || e.SentAgain != 1 || e.Parked != 1 || e.Waiting != 1 || e.Untraced != 0 {
		t.Errorf("got the events %+v, want six that are stored, and one of each sort", e)
	}
	if a.Results != 4 || a.DeadLetters != 1 || a.Ledger.Told != 1 {
		t.Errorf("got %d results, %d dead letters and %d rows with their result, want 4, 1 and 1", a.Results, a.DeadLetters, a.Ledger.Told)
	}

	o := s.options()
	for _, id := range []string{"a/0/b", "IDPSYNC_EVENTS/1/2", "repeat", "parked", "request"} {
		o.Expected = append(o.Expected, store.EventKey{TenantID: tenant, Source: "okta", EventID: id})
	}
	if a := s.take(o); a.Expected.Events != 5 || a.Expected.Found != 5 {
		t.Errorf("%d of %d events on the publisher's list are found, want 5 of 5", a.Expected.Found, a.Expected.Events)
	}
}

func TestWhatDoesNotAddUpIsFound(t *testing.T) {
	name := tenant + "/okta/"
	for what, test := range map[string]struct {
		spoil                   func(s *site)
		unaccounted, duplicated []string
	}{
		"a message that left no trace": {func(s *site) { s.next() }, []string{"IDPSYNC_EVENTS/1793491200/2 left the stream, and nothing tells what became of it"}, nil},
		"an effect without a result": {
			func(s *site) { s.rows = append(s.rows, s.row(s.next(), "x", "")) },
			[]string{name + "x had its effect, and its result was never published"},
			nil,
		},
		"a result that is owed": {func(s *site) { s.rows, s.outbox = append(s.rows, s.row(s.next(), "x", "")), []string{name + "x/0"} }, nil, nil},
		"a result without an effect": {
			func(s *site) { s.publish(record.Answer{Outcome: record.OutcomeCreated}, "x") },
			[]string{name + "x has a result, and the ledger knows nothing of its effect"},
			nil,
		},
		"a dead letter without a result": {func(s *site) { s.letter(s.next(), "x/y") }, []string{name + "x/y dead letter 1 has no rejected result"}, nil},
		"a result without its dead letter": {
			func(s *site) { s.reject("x"); s.letters = nil },
			[]string{name + "x was rejected, and its dead letter IDPSYNC_EVENTS/1793491200/2/0 is not there"},
			nil,
		},
		"two results of one event": {
			func(s *site) { s.publish(record.Answer{Outcome: record.OutcomeUpdated, Attempt: 1}, "good") },
			[]string{name + "good has a result, and the ledger knows nothing of its effect"},
			[]string{name + "good has two results: " + name + "good/0 and " + name + "good/1"},
		},
		"an effect and a dead letter": {
			func(s *site) { s.letter(s.origin(1), "good") },
			[]string{name + "good dead letter 1 has no rejected result"},
			[]string{name + "good had an effect and a dead letter in the same attempt"},
		},
		"an effect and a rejection": {
			func(s *site) {
				s.publish(record.Answer{Outcome: record.OutcomeRejected, CameIn: s.next().String()}, "good")
			},
			nil,
			[]string{name + "good had an effect, and was rejected as a repeat afterwards"},
		},
		"two effects of one message": {
			func(s *site) { s.effect("x", ""); s.rows[1].Origin = s.rows[0].Origin; s.last-- },
			nil,
			[]string{name + "x is the second event that the message IDPSYNC_EVENTS/1793491200/1 brought"},
		},
		"a sequence that was given out twice": {
			func(s *site) {
				s.effect("x", "")
				again := s.origin(1)
				again.At = begin.Add(time.Second)
				s.rows[1].Origin = again.String()
				s.last--
			},
			nil, nil,
		},
		"another result than the ledger's": {
			func(s *site) { s.rows[0].Result = []byte(`{"id":1}`) },
			nil,
			[]string{name + "good has a result that is not the one of the ledger"},
		},
		"two results under one id": {
			func(s *site) {
				again := s.results[0]
				again.Data = []byte(`[]`)
				s.results = append(s.results, again)
			},
			nil,
			[]string{name + "good has two results that differ under the id " + name + "good/0"},
		},
		"a dead letter whose message is not done": {func(s *site) { s.letter(s.next(), "x"); s.waiting = []uint64{2} }, nil, nil},
		"a dead letter that somebody erased":      {func(s *site) { s.reject("x"); s.letters, s.erased = nil, []uint64{1} }, nil, nil},
		"a user who was forgotten":                {func(s *site) { s.rows[0].Result, s.results = nil, nil }, nil, nil},
		"a rejected request under an id with effect": {
			func(s *site) {
				s.publish(record.Answer{Outcome: record.OutcomeRejected, CameIn: "received/1800000000000000000"}, "good")
			},
			nil, nil,
		},
		"a message of a stream that was there before": {
			func(s *site) {
				s.effect("x", "")
				s.last--
				s.rows[1].Origin = record.Origin{Stream: stream.StreamEvents, Created: begin.Add(-time.Hour), Sequence: 1}.String()
			},
			nil, nil,
		},
		"a message of another stream": {
			func(s *site) {
				s.effect("x", "")
				s.last--
				s.rows[1].Origin = record.Origin{Stream: "OTHER", Created: begin, Sequence: 1}.String()
			},
			nil, nil,
		},
		"a user who was created twice": {
			func(s *site) { s.effect("x", ""); s.rows[0].UserID, s.rows[1].UserID = "u1", "u1" },
			nil,
			[]string{name + "x created user u1, as " + name + "good did"},
		},
	} {
		s := newSite(t)
		s.effect("good", "")
		test.spoil(s)
		s.check(what, s.take(s.options()), test.unaccounted, test.duplicated)
	}
}

func TestMessagesThatNoWorkerWroteProveNothing(t *testing.T) {
	s := newSite(t)
	s.effect("good", "")
	s.publish(record.Answer{Outcome: record.OutcomeRejected}, "x") // no rejection without what was rejected
	s.letter(s.origin(1), "forged")
	s.letters[0].Data = []byte("another")
	a := s.take(s.options())
	s.check("forged messages", a, nil, nil)
	if a.Foreign.Results != 1 || a.Foreign.DeadLetters != 1 {
		t.Errorf("%d results and %d dead letters are passed over, want 1 and 1", a.Foreign.Results, a.Foreign.DeadLetters)
	}
}

// TestSinceLeavesOutWhatWasStoredBefore has an effect and a dead letter of one minute.
func TestSinceLeavesOutWhatWasStoredBefore(t *testing.T) {
	for after, want := range map[time.Duration]uint64{0: 2, 30 * time.Second: 2, 2 * time.Minute: 0} {
		s := newSite(t)
		s.reject("x")
		s.effect("good", "")
		o := s.options()
		o.Since = begin.Add(after)
		a := s.take(o)
		s.check("since "+after.String(), a, nil, nil)
		if a.Events.Stored != want {
			t.Errorf("since %v of the stream, %d messages are accounted for, want %d", after, a.Events.Stored, want)
		}
	}
}

// TestMissingEventsMayBeAmongThoseThatWait has two events of a list that nothing is known of.
func TestMissingEventsMayBeAmongThoseThatWait(t *testing.T) {
	for waiting, want := range map[int]struct{ unknown, unaccounted int }{0: {0, 2}, 1: {0, 2}, 2: {2, 0}, 9: {2, 0}} {
		s := newSite(t)
		s.effect("1", "")
		for range waiting {
			s.waiting = append(s.waiting, s.next().Sequence)
		}
		o := s.options()
		for _, id := range []string{"1", "2", "3"} {
			o.Expected = append(o.Expected, store.EventKey{TenantID: tenant, Source: "okta", EventID: id})
		}
		a := s.take(o)
		if e := a.Expected; e.Events != 3 || e.Found != 1 || e.Unknown != want.unknown || a.UnaccountedCount != want.unaccounted {
			t.Errorf("with %d events that wait, %d of %d are found, %d unknown and %d unaccounted for; want 1 of 3, %d and %d",
				waiting, e.Found, e.Events, e.Unknown, a.UnaccountedCount, want.unknown, want.unaccounted)
		}
	}
}

// TestWhatArrivesMeanwhileIsNotLost has a result that is published only after the first look.
func TestWhatArrivesMeanwhileIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.rows = append(s.rows, s.row(s.next(), "late", ""), s.row(s.next(), "lost", ""))
		looks, began := 0, time.Now()
		s.looked = func() {
			if looks++; looks == 2 {
				s.publish(record.Answer{Outcome: record.OutcomeCreated}, "late")
				s.publish(record.Answer{Outcome: record.OutcomeCreated}, "under way") // its row comes later
			}
		}
		a, err := proof.Confirmed(t.Context(), s.options())
		if err != nil {
			t.Fatalf("nothing is confirmed: %v", err)
		}
		s.check("the second look", a, []string{tenant + "/okta/lost had its effect, and its result was never published"}, nil)
		if looks != 2 || time.Since(began) == 0 {
			t.Errorf("it looked %d times within %v, want twice with a pause between them", looks, time.Since(began))
		}

		ended, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := proof.Confirmed(ended, s.options()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("when the context ends between the looks the error is %v, want %v", err, context.DeadlineExceeded)
		}
	})
}

func TestWhatCannotBeReadProvesNothing(t *testing.T) {
	s := newSite(t)
	s.effect("good", "")
	s.failure = errors.New("the broker is away")
	if a, err := proof.Confirmed(t.Context(), s.options()); !errors.Is(err, s.failure) {
		t.Errorf("an account %+v with the error %v, want the error %v", a, err, s.failure)
	}
}

func TestLimitedKeepsTheCounts(t *testing.T) {
	s := newSite(t)
	for range 3 {
		s.next()
	}
	a := s.take(s.options())
	if l := a.Limited(1); len(l.Unaccounted) != 1 || l.UnaccountedCount != 3 || len(a.Unaccounted) != 3 || l.Duplicated == nil {
		t.Errorf("limited to 1 finding, the account has %d of %d and duplicated %v; want 1 of 3 and an empty list", len(l.Unaccounted), l.UnaccountedCount, l.Duplicated)
	}
}

// The ledger keeps no picture of events that changed nothing, and the results of some have none either.
func TestAnswersWithoutPicturesAreTheSame(t *testing.T) {
	s := newSite(t)
	s.exists("whole", `Ann ,"avatar":"x"`, 1000)
	s.exists("short", "Bob", 100)
	s.check("whole and short", s.take(s.options()), nil, nil)
	for _, limit := range []int{100, 1000} {
		s := newSite(t)
		row := s.exists("e", "Eve", limit)
		row.Result = slices.Concat([]byte(" "), row.Result)
		s.check("another answer", s.take(s.options()), nil, []string{tenant + "/okta/e has a result that is not the one of the ledger"})
	}
}

// Rows of the ledger from before the history begins are deleted, whether their results are there or not.
func TestNothingIsAskedOfEventsFromBeforeTheHistory(t *testing.T) {
	s := newSite(t)
	for range 3 {
		s.next() // had an effect; row and result are gone
	}
	s.publish(record.Answer{Outcome: record.OutcomeCreated}, "row-gone")
	s.results[0].StoredAt = begin.Add(time.Minute)
	s.history = begin.Add(2 * time.Minute)
	s.effect("later", "")
	s.rows[0].StoredAt = begin.Add(time.Hour)
	a := s.take(s.options())
	s.check("events from before the history", a, nil, nil)
	if a.Events.From != 4 || a.Events.Stored != 1 || !a.HistoryFrom.Equal(s.history) {
		t.Errorf("the account is of %d events from sequence %d and history from %v, want one from 4, and %v", a.Events.Stored, a.Events.From, a.HistoryFrom, s.history)
	}
	s.history = time.Time{}
	if a := s.take(s.options()); a.Holds() {
		t.Error("without a beginning of the history the account holds, want the events from before it found missing")
	}
}

// Rows may be deleted while they are read; then the account is taken again.
func TestAnAccountIsTakenAgainWhenTheHistoryMoves(t *testing.T) {
	s := newSite(t)
	s.next()
	s.effect("later", "")
	s.rows[0].StoredAt = begin.Add(time.Hour)
	s.looked = func() { s.history = begin.Add(time.Minute) }
	s.check("the history moved meanwhile", s.take(s.options()), nil, nil)
}

// An event whose row a restored database lacks is one event, though result and message both miss it.
func TestALostEffectIsFoundOnce(t *testing.T) {
	s := newSite(t)
	s.publish(record.Answer{Outcome: record.OutcomeCreated, Origin: s.next().String()}, "lost")
	a := s.take(s.options())
	s.check("a lost effect", a, []string{tenant + "/okta/lost has a result, and the ledger knows nothing of its effect"}, nil)
	if a.Events.Untraced != 1 || a.Events.Effects != 0 {
		t.Errorf("got the events %+v, want one without a trace and no effect", a.Events)
	}
	if v := a.Verdict(); !strings.HasPrefix(v, "It does not balance: 1 unaccounted for, 0 duplicated.") || !strings.Contains(v, "idpsync recover") {
		t.Errorf("the verdict is %q, want that one event is unaccounted for, and what to do", v)
	}
}

// When the broker lost its disk, its streams are made anew: nothing is missed that was in those before.
func TestRowsFromBeforeTheStreamsWereMadeAreNotMissing(t *testing.T) {
	s := newSite(t)
	s.effect("before", "")
	s.rows = append(s.rows, s.row(record.Origin{}, "by request", ""))
	s.rows[0].Origin = record.Origin{Stream: stream.StreamEvents, Created: begin, Sequence: 1}.String()
	s.last, s.results = 0, nil
	anew := begin.Add(2 * time.Hour)
	s.made = map[string]time.Time{stream.StreamEvents: anew, stream.StreamResults: anew, stream.StreamDeadLetters: anew}
	after := s.row(record.Origin{Stream: stream.StreamEvents, Created: anew, Sequence: 1}, "after", "")
	after.At = anew.Add(time.Hour)
	s.rows, s.last = append(s.rows, after), 1
	s.publish(record.Answer{Outcome: record.OutcomeCreated}, "after")
	a := s.take(s.options())
	s.check("streams that were made anew", a, nil, nil)
	if a.Ledger.Expired != 2 || a.Ledger.Told != 1 || a.Events.Effects != 1 || a.Events.From != 1 {
		t.Errorf("got the ledger %+v and the events %+v, want two rows whose results were in other streams, and one effect with its result", a.Ledger, a.Events)
	}
	s.results = nil
	s.check("and its result is not there", s.take(s.options()), []string{tenant + "/okta/after had its effect, and its result was never published"}, nil)
}

// Results alone may have been made anew.
func TestOnlyResultsWereMadeAnew(t *testing.T) {
	s := newSite(t)
	s.effect("before", "")
	s.next() // of which nothing is left
	s.results = nil
	s.made = map[string]time.Time{stream.StreamResults: begin.Add(2 * time.Hour)}
	s.check("results that were made anew", s.take(s.options()), nil, nil)
}

// What an operator accepted as lost is not asked for, and what came later is.
func TestAnAcceptedGapIsNotAskedFor(t *testing.T) {
	s := newSite(t)
	s.next()                                                         // left no trace
	s.publish(record.Answer{Outcome: record.OutcomeCreated}, "lost") // has no row
	s.publish(record.Answer{Outcome: record.OutcomeRejected, CameIn: s.next().String(), Decided: record.Decided{DeadLetter: record.DeadLetterID(s.origin(s.last), 0)}}, "letter is gone")
	if a := s.take(s.options()); a.Holds() {
		t.Error("before the gap is accepted the account holds, want findings")
	}
	accepted := begin.Add(2 * time.Hour)
	s.marks = []store.Mark{{Stream: stream.StreamEvents, AcceptedAt: accepted}}
	a := s.take(s.options())
	s.check("an accepted gap", a, nil, nil)
	if !a.GapAccepted.Equal(accepted) {
		t.Errorf("the account says that a gap was accepted at %v, want %v", a.GapAccepted, accepted)
	}
	late := s.row(s.next(), "late", "")
	late.StoredAt, late.At = accepted.Add(time.Hour), accepted.Add(time.Hour)
	s.rows = append(s.rows, late)
	s.check("after an accepted gap", s.take(s.options()), []string{tenant + "/okta/late had its effect, and its result was never published"}, nil)
}

func TestTheVerdictSaysWhetherToComeAgain(t *testing.T) {
	s := newSite(t)
	s.effect("good", "")
	if v := s.take(s.options()).Verdict(); !strings.HasPrefix(v, "It balances: each event is accounted for once") {
		t.Errorf("the verdict is %q, want that it balances", v)
	}
	s.waiting = []uint64{s.next().Sequence}
	if v := s.take(s.options()).Verdict(); !strings.HasPrefix(v, "It balances so far") || !strings.Contains(v, "Run it again") {
		t.Errorf("the verdict is %q, want that it balances so far, and to run it again", v)
	}
}
