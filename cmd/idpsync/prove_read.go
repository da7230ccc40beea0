package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

// The traces that a stored message can have left.
const (
	traceParked = 1 << iota
	traceEffect
	traceLetter
	traceRefused
	traceRepeat
)

// A proof takes accounts. What an event leaves behind is read in the order that is the reverse of nobody's hurry: first
// what is not done yet, then what is. So an event that was done when the first was read has left all its traces when the
// last is.
type proof struct {
	store    *store.Store
	conn     *stream.Conn
	key      record.Sealer // nil: there is none
	since    time.Time
	limit    int
	expected map[string]bool // event keys, true once found
	progress func(label string) *progress

	account *account
	events  stream.Holding
	results stream.Holding
	letters stream.Holding
	prefix  string           // of origins in the stream as it is now
	traces  map[uint64]uint8 // by sequence
	from    uint64           // lowest sequence whose event is known to be in scope
	parked  map[string]bool  // origins
	owed    map[string]bool  // ids of results in the outbox
	effects map[string]*effect
	last    map[string]string // event key -> id of its result that is no rejection
	refused map[string]string // attempt/origin -> event key of a rejected result
	buried  map[string]bool   // origin/attempt of dead letters
	promise map[string]string // origin/attempt of dead letters that results name -> event key
}

// An effect is a published result that is no rejection.
type effect struct {
	body  [sha256.Size]byte
	known bool // the ledger has it
}

// provePage is how many rows are read at a time.
const provePage = 2000

// slack is how far the clocks of workers and of the broker may be apart.
const slack = time.Minute

func (p *proof) take(ctx context.Context) (*account, error) {
	p.account = &account{Stream: stream.StreamEvents, Since: p.since}
	p.traces, p.parked, p.owed = map[uint64]uint8{}, map[string]bool{}, map[string]bool{}
	p.effects, p.last, p.refused = map[string]*effect{}, map[string]string{}, map[string]string{}
	p.buried, p.promise = map[string]bool{}, map[string]string{}
	for key := range p.expected {
		p.expected[key] = false
	}
	for _, step := range []func(context.Context) error{
		p.readStreams, p.readStranded, p.readParked, p.readOutbox, p.readResults, p.readLetters, p.readRepeats, p.readLedger, p.readUnknown,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	p.checkLetters()
	p.checkSequences()
	p.checkExpected()
	return p.account, nil
}

func (p *proof) readStreams(ctx context.Context) (err error) {
	if p.events, err = stream.ReadHolding(ctx, p.conn, stream.StreamEvents); err != nil {
		return err
	}
	if p.results, err = stream.ReadHolding(ctx, p.conn, stream.StreamResults); err != nil {
		return err
	}
	p.letters, err = stream.ReadHolding(ctx, p.conn, stream.StreamDeadLetters)
	p.prefix = fmt.Sprintf("%s/%d/", stream.StreamEvents, p.events.Created.Unix())
	p.from = p.events.Last + 1
	if p.whole() {
		p.from = 1
	}
	return err
}

// floor is the time from which on everything is still there to be read.
func (p *proof) floor() time.Time {
	floor := p.since
	for _, h := range []stream.Holding{p.results, p.letters} {
		if h.First > 1 && h.FirstAt.After(floor) {
			floor = h.FirstAt
		}
	}
	return floor
}

// whole reports whether every event since the beginning can be accounted for.
func (p *proof) whole() bool { return p.floor().IsZero() }

func (p *proof) readStranded(ctx context.Context) error {
	stranded, err := stream.StrandedSequences(ctx, p.conn)
	for _, seq := range stranded {
		p.account.Stranded++
		p.account.residue(p.prefix+strconv.FormatUint(seq, 10), "stranded: stored, and never delivered again")
	}
	return err
}

func (p *proof) readParked(ctx context.Context) error {
	return pagesOf(ctx, func(ctx context.Context, last store.Waiting) ([]store.Waiting, error) {
		return p.store.ParkedAfter(ctx, last.ID, provePage)
	}, func(w store.Waiting) {
		p.account.Parked++
		p.parked[w.Key] = true
		p.trace(w.Key, traceParked)
		p.found(store.EventKey{TenantID: w.Tenant, Source: w.Source, EventID: w.EventID})
	})
}

func (p *proof) readOutbox(ctx context.Context) error {
	return pagesOf(ctx, func(ctx context.Context, last string) ([]string, error) {
		return p.store.OutboxAfter(ctx, last, provePage)
	},
		func(id string) {
			p.account.Outbox++
			p.owed[id] = true
		})
}

// pagesOf reads a list to its end.
func pagesOf[T any](ctx context.Context, read func(ctx context.Context, last T) ([]T, error), each func(T)) error {
	var last T
	for {
		page, err := read(ctx, last)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, row := range page {
			each(row)
		}
		last = page[len(page)-1]
	}
}

// trace notes that a stored message has left a trace. Messages of a stream that was since created anew have none to leave.
func (p *proof) trace(origin string, kind uint8) {
	if seq, ok := p.sequence(origin); ok {
		p.traces[seq] |= kind
	}
}

func (p *proof) sequence(origin string) (uint64, bool) {
	digits, ok := strings.CutPrefix(origin, p.prefix)
	if !ok {
		return 0, false
	}
	seq, err := strconv.ParseUint(digits, 10, 64)
	return seq, err == nil
}

// begin lowers the first sequence of the account to that of an event in scope.
func (p *proof) begin(origin string, stored time.Time) {
	if seq, ok := p.sequence(origin); ok && !stored.Before(p.floor()) {
		p.from = min(p.from, seq)
	}
}

// underway reports whether a message is not done with yet.
func (p *proof) underway(origin string) bool {
	seq, ok := p.sequence(origin)
	return p.parked[origin] || ok && (seq > p.events.Last || p.events.Has(seq))
}

// found notes an event of the publisher's list, which knows nothing of scopes.
func (p *proof) found(key store.EventKey) {
	key.Scope = ""
	name := record.EventName(key)
	if _, ok := p.expected[name]; ok {
		p.expected[name] = true
	}
}

// foundName is found by what the id of a result calls the event.
func (p *proof) foundName(name string) {
	if key, ok := record.ParseEventName(name); ok {
		p.found(key)
	}
}

// cutLast cuts n parts off the end of an id. An event id may hold slashes itself.
func cutLast(id string, n int) (head, tail string) {
	at := len(id)
	for ; n > 0; n-- {
		at = strings.LastIndexByte(id[:at], '/')
		if at < 0 {
			return "", id
		}
	}
	return id[:at], id[at+1:]
}

func (p *proof) earlier() time.Time {
	if p.since.IsZero() {
		return p.since
	}
	return p.since.Add(-slack)
}

func (p *proof) readResults(ctx context.Context) error {
	bar := p.progress("results")
	defer bar.Close()
	for m, err := range stream.Results(ctx, p.conn, stream.Filter{Since: p.earlier(), Foreign: func(stream.Stored) { p.account.Foreign.Results++ }}) {
		if err != nil {
			return err
		}
		bar.Add(1)
		id := m.Header.Get("Nats-Msg-Id")
		if m.Header.Get(record.HeaderOutcome) == string(record.OutcomeRejected) {
			key, attempt := cutLast(id, 4) // attempt, and the three parts of the origin
			_, origin := cutLast(id, 3)
			if _, again := p.refused[attempt]; !again {
				p.account.Results++
			}
			p.refused[attempt] = key
			p.trace(origin, traceRefused)
			p.foundName(key)
			if letter := m.Header.Get(record.HeaderDeadLetter); letter != "" {
				p.promise[strings.TrimPrefix(letter, "dl/")] = key
			} else if p.last[key] != "" { // the ledger would have answered, or refused another content under the same id
				p.account.twice(key, "had an effect, and was rejected as a repeat afterwards")
			}
			continue
		}
		key, _ := cutLast(id, 1)
		sum := sha256.Sum256(m.Data)
		switch before := p.effects[id]; {
		case before == nil:
			p.account.Results++
			p.effects[id] = &effect{body: sum}
			if other := p.last[key]; other != "" {
				p.account.twice(key, "has two results: %s and %s", other, id)
			}
			p.last[key] = id
		case before.body != sum:
			p.account.twice(key, "has two results that differ under the id %s", id)
		}
	}
	return nil
}

func (p *proof) readLetters(ctx context.Context) error {
	bar := p.progress("dead letters")
	defer bar.Close()
	foreign := func(stream.Stored) { p.account.Foreign.DeadLetters++ }
	for m, err := range stream.DeadLetters(ctx, p.conn, stream.Filter{Since: p.earlier(), Foreign: foreign}) {
		if err != nil {
			return err
		}
		bar.Add(1)
		if p.key != nil {
			if authentic, otherKey := record.Authentic(p.key, record.Stored(m)); !authentic && !otherKey {
				foreign(m)
				continue
			}
		}
		origin, attempt := m.Header.Get(record.DeadLetterOrigin), letterAttempt(m.Header)
		if p.buried[origin+"/"+attempt] {
			continue // one that was published again after the broker's memory of ids; readers take it for the same
		}
		p.account.DeadLetters++
		p.buried[origin+"/"+attempt] = true
		p.trace(origin, traceLetter)
		id, err := url.PathUnescape(m.Header.Get(record.DeadLetterEventID))
		if err != nil {
			id = m.Header.Get(record.DeadLetterEventID)
		}
		key := store.EventKey{TenantID: m.Header.Get(record.DeadLetterTenant), Source: m.Header.Get(record.DeadLetterSource), EventID: id}
		p.found(key)
		if stored, err := time.Parse(time.RFC3339Nano, m.Header.Get(record.DeadLetterTime)); err == nil {
			p.begin(origin, stored)
		}
		if _, told := p.refused[attempt+"/"+origin]; !told && !p.underway(origin) && !m.StoredAt.Before(p.floor()) {
			p.account.residue(record.EventName(key), "dead letter %d has no rejected result", m.Sequence)
		}
	}
	return nil
}

// letterAttempt is the replay count of a dead letter.
func letterAttempt(h providers.Header) string {
	if n := h.Get(record.DeadLetterReplayCount); n != "" {
		return n
	}
	return "0"
}

func (p *proof) readRepeats(ctx context.Context) error {
	return pagesOf(ctx, func(ctx context.Context, last store.Repeat) ([]store.Repeat, error) {
		return p.store.RepeatsAfter(ctx, p.earlier(), last.Origin, provePage)
	}, func(r store.Repeat) { p.trace(r.Origin, traceRepeat) })
}

func (p *proof) readLedger(ctx context.Context) error {
	bar := p.progress("ledger")
	defer bar.Close()
	createdBy := map[string]string{}
	return pagesOf(ctx, func(ctx context.Context, last store.Event) ([]store.Event, error) {
		f := store.EventFilter{Limit: provePage, Since: p.earlier(), After: last.Key()}
		return p.store.Events(ctx, f)
	}, func(row store.Event) {
		bar.Add(1)
		p.account.Ledger.Rows++
		p.row(row)
		if row.Outcome == string(record.OutcomeCreated) && row.UserID != "" {
			key := record.EventName(row.Key())
			if other := createdBy[row.UserID]; other != "" {
				p.account.twice(key, "created user %s, as %s did", row.UserID, other)
			}
			createdBy[row.UserID] = key
		}
	})
}

// row accounts for a row of the ledger.
func (p *proof) row(row store.Event) {
	l, key := &p.account.Ledger, record.EventName(row.Key())
	id := key + "/" + strconv.Itoa(row.Attempt)
	if row.Origin != "" {
		if seq, ok := p.sequence(row.Origin); ok && p.traces[seq]&traceEffect != 0 {
			p.account.twice(key, "is the second event that the message %s brought", row.Origin)
		}
		p.trace(row.Origin, traceEffect)
		p.begin(row.Origin, row.StoredAt)
		if p.buried[row.Origin+"/"+strconv.Itoa(row.Attempt)] {
			p.account.twice(key, "had an effect and a dead letter in the same attempt")
		}
	}
	p.found(row.Key())
	told := p.effects[id]
	if told != nil {
		told.known = true
	}
	switch {
	case told != nil && len(row.Result) == 0: // the ledger keeps nothing of a user who was forgotten
		l.Told++
	case told != nil:
		l.Told++
		if told.body != sha256.Sum256(row.Result) {
			p.account.twice(key, "has a result that is not the one of the ledger")
		}
	case p.owed[id], p.underway(row.Origin):
		l.Owed++
	case len(row.Result) == 0:
		l.Erased++
	case row.At.Before(p.floor().Add(slack)) && !p.whole():
		l.Expired++
	default:
		p.account.residue(key, "had its effect, and its result was never published")
	}
}

// readUnknown looks up the effects that results tell of and that the ledger's part that was read does not have.
func (p *proof) readUnknown(ctx context.Context) error {
	for _, id := range slices.Sorted(maps.Keys(p.effects)) {
		if p.effects[id].known {
			continue
		}
		key, attempt := cutLast(id, 1)
		if of, ok := record.ParseEventName(key); ok && !p.since.IsZero() {
			row, err := p.store.Event(ctx, of)
			if err == nil && strconv.Itoa(row.Attempt) == attempt {
				continue
			} else if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		p.account.residue(key, "has a result, and the ledger knows nothing of its effect")
	}
	return nil
}

// checkLetters finds the dead letters that results name and that are not there. Those that somebody erased left a gap.
func (p *proof) checkLetters() {
	erased := len(p.letters.Gaps)
	for _, name := range slices.Sorted(maps.Keys(p.promise)) {
		if p.buried[name] {
			continue
		}
		if erased--; erased >= 0 {
			continue
		}
		if p.letters.First > 1 { // its time is not known any more
			continue
		}
		p.account.residue(p.promise[name], "was rejected, and its dead letter %s is not there", name)
	}
}

// checkSequences accounts for every message that the stream ever stored.
func (p *proof) checkSequences() {
	e := &p.account.Events
	e.From, e.To = min(p.from, p.events.Last), p.events.Last
	for seq := p.from; seq <= p.events.Last; seq++ {
		e.Stored++
		t := p.traces[seq]
		switch {
		case p.events.Has(seq):
			e.Waiting++
		case t&traceParked != 0:
			e.Parked++
		case t&traceEffect != 0:
			e.Effects++
		case t&traceLetter != 0:
			e.DeadLetters++
		case t&traceRefused != 0:
			e.Refused++
		case t&traceRepeat != 0:
			e.SentAgain++
		default:
			e.Untraced++
			p.account.residue(p.prefix+strconv.FormatUint(seq, 10), "left the stream, and nothing tells what became of it")
		}
	}
}

// checkExpected finds the events on the publisher's list that nothing is known of. Those that wait in the broker are not
// read, as they hold tokens: where as many wait as are missing, nothing can be said yet.
func (p *proof) checkExpected() {
	if p.expected == nil {
		return
	}
	missing := map[string]bool{}
	for key, found := range p.expected {
		if !found {
			missing[key] = true
		}
	}
	p.account.Expected = &expected{Events: len(p.expected), Found: len(p.expected) - len(missing)}
	if uint64(len(missing)) <= p.account.Events.Waiting {
		p.account.Expected.Unknown = len(missing)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(missing)) {
		p.account.residue(key, "was published, says the list, and nothing is known of it")
	}
}
