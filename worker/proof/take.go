package proof

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

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
	traceCounted
	traceLost // its result tells of an effect that the ledger lacks, which is found already
)

// A taking is an account while it is taken.
type taking struct {
	Options
	account  *Account
	events   stream.Holding
	results  stream.Holding
	letters  stream.Holding
	from     uint64             // lowest sequence whose event is known to be in scope
	expected map[string]bool    // by event name, true once found
	traces   map[uint64]uint8   // by sequence
	parked   map[string]bool    // by origin
	brought  map[string]bool    // by origin: the ledger has an effect; a sequence may be given out twice
	owed     map[string]bool    // ids of results in the outbox
	effects  map[string]*effect // by id of the result
	last     map[string]string  // event name -> id of its result that is no rejection
	refused  map[string]bool    // attempts that have a rejected result
	lettered map[string]bool    // attempts that have a dead letter
	kept     map[string]bool    // attempts whose dead letter is parked
	promised map[string]string  // attempt whose dead letter a result names -> event name
}

// An effect is a published result that is no rejection.
type effect struct {
	event   store.EventKey
	attempt int
	body    record.BodySum
	at      time.Time
	origin  record.Origin // the stored message that brought it, if its result says so
	known   bool          // the ledger has it
}

// page is how many rows are read at a time.
const page = 2000

// slack is how far the clocks of workers and of the broker may be apart.
const slack = time.Minute

// takes bounds how often an account is taken again because old rows are being deleted.
const takes = 5

// Take takes an account. It only reads. An event that is under way meanwhile may be found unaccounted for; see [Confirmed].
func Take(ctx context.Context, o Options) (*Account, error) {
	for n := 1; ; n++ {
		a, err := takeOnce(ctx, o)
		if err != nil {
			return nil, err
		}
		r, err := o.Store.Retention(ctx)
		if err != nil || r.HistoryFrom.Equal(a.HistoryFrom) || n == takes {
			return a, err
		}
	}
}

func takeOnce(ctx context.Context, o Options) (*Account, error) {
	p := newTaking(o)
	for _, step := range []func(context.Context) error{
		p.readHistory, p.readStreams, p.readStranded, p.readParked, p.readCounted, p.readOutbox, p.readResults, p.readLetters, p.readRepeats, p.readLedger, p.readUnknown,
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

func newTaking(o Options) *taking {
	p := &taking{
		Options: o, account: &Account{Stream: stream.StreamEvents, Since: o.Since, Unaccounted: []Finding{}, Duplicated: []Finding{}},
		traces: map[uint64]uint8{}, parked: map[string]bool{}, brought: map[string]bool{}, owed: map[string]bool{}, effects: map[string]*effect{},
		last: map[string]string{}, refused: map[string]bool{}, lettered: map[string]bool{}, kept: map[string]bool{}, promised: map[string]string{},
	}
	if o.Expected != nil {
		p.expected = map[string]bool{}
		for _, key := range o.Expected {
			p.expected[unscoped(key)] = false
		}
	}
	return p
}

// unscoped is the name of an event for its publisher, who knows nothing of scopes.
func unscoped(key store.EventKey) string {
	key.Scope = ""
	return record.EventName(key)
}

// progress begins the reading of a list.
func (p *taking) progress(label string) (add, end func()) {
	if p.Progress == nil {
		return func() {}, func() {}
	}
	return p.Progress(label)
}

// readHistory finds out from when on there is anything to account for.
func (p *taking) readHistory(ctx context.Context) error {
	r, err := p.Store.Retention(ctx)
	if err != nil {
		return err
	}
	p.account.HistoryFrom = r.HistoryFrom
	marks, err := p.Store.Marks(ctx)
	for _, m := range marks {
		if m.AcceptedAt.After(p.account.GapAccepted) {
			p.account.GapAccepted = m.AcceptedAt
		}
	}
	return err
}

// begins is the time before which rows and messages may be gone that an account would miss: they are older than the ledger is
// kept, or were lost with a database or a broker, and an operator has accepted that.
func (p *taking) begins() time.Time {
	if p.account.GapAccepted.After(p.account.HistoryFrom) {
		return p.account.GapAccepted
	}
	return p.account.HistoryFrom
}

func (p *taking) readStreams(ctx context.Context) (err error) {
	if p.events, err = p.Broker.Holding(ctx, stream.StreamEvents); err != nil {
		return err
	}
	if p.results, err = p.Broker.Holding(ctx, stream.StreamResults); err != nil {
		return err
	}
	p.letters, err = p.Broker.Holding(ctx, stream.StreamDeadLetters)
	p.from = p.events.Last + 1
	if p.whole() {
		p.from = 1
	}
	return err
}

// floor is the time from which on everything is still there to be read.
func (p *taking) floor() time.Time {
	floor := p.Since
	if p.begins().After(floor) {
		floor = p.begins()
	}
	for _, h := range []stream.Holding{p.results, p.letters} {
		if h.First > 1 && h.FirstAt.After(floor) {
			floor = h.FirstAt
		}
		if h.Created.After(p.events.Created.Add(slack)) && h.Created.After(floor) { // it was made anew, and is younger than the events
			floor = h.Created
		}
	}
	return floor
}

// former reports whether a row is of a time before the stream of results was made as it is: its result was in the one that was there
// before, or nowhere.
func (p *taking) former(row store.Event, origin record.Origin) bool {
	return !p.ours(origin) && row.At.Before(p.results.Created.Add(slack))
}

// whole reports whether every event since the beginning can be accounted for.
func (p *taking) whole() bool { return p.floor().IsZero() }

func (p *taking) readStranded(ctx context.Context) error {
	stranded, err := p.Broker.Stranded(ctx)
	for _, seq := range stranded {
		p.account.Stranded++
		p.account.unaccounted(p.origin(seq), "stranded: stored, and never delivered again")
	}
	return err
}

func (p *taking) readParked(ctx context.Context) error {
	return pagesOf(ctx, func(ctx context.Context, last store.Waiting) ([]store.Waiting, error) {
		return p.Store.ParkedAfter(ctx, last.ID, page)
	}, func(w store.Waiting) {
		p.account.Parked++
		origin := record.ParseOrigin(w.Key)
		if attempt, ok := record.ParseOwedLetter(w.Key); ok {
			p.account.LettersOwed++
			p.kept[attempt] = true
			origin = record.AttemptOrigin(attempt)
		}
		p.parked[w.Key] = true
		p.trace(origin, traceParked)
		p.found(store.EventKey{TenantID: w.Tenant, Source: w.Source, EventID: w.EventID})
	})
}

// readCounted reads the events beyond the quota of dead letters that no summary lists yet.
func (p *taking) readCounted(ctx context.Context) error {
	return pagesOf(ctx, func(ctx context.Context, last store.Counted) ([]store.Counted, error) {
		return p.Store.CountedAfter(ctx, last.Attempt, page)
	}, func(c store.Counted) { p.trace(record.AttemptOrigin(c.Attempt), traceCounted) })
}

func (p *taking) readOutbox(ctx context.Context) error {
	return pagesOf(ctx, func(ctx context.Context, last string) ([]string, error) {
		return p.Store.OutboxAfter(ctx, last, page)
	},
		func(id string) {
			p.account.Outbox++
			if record.ArchivedID(id) {
				return // its result is another message
			}
			p.owed[id] = true
			if attempt, origin, ok := record.RejectedAttempt(id); ok {
				p.refused[attempt] = true
				p.trace(origin, traceRefused)
			}
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

// origin is what findings call a message of the stream of events.
func (p *taking) origin(seq uint64) string {
	return record.Origin{Stream: stream.StreamEvents, Created: p.events.Created, Sequence: seq}.String()
}

// ours reports whether a message was stored in the stream as it is now, and not in one that was there before it.
func (p *taking) ours(origin record.Origin) bool {
	return origin.In(stream.StreamEvents, p.events.Created)
}

// trace notes that a stored message has left a trace.
func (p *taking) trace(origin record.Origin, kind uint8) {
	if p.ours(origin) {
		p.traces[origin.Sequence] |= kind
	}
}

// begin lowers the first sequence of the account to that of an event in scope. An event that another stream stored first has an
// earlier time than that at which it arrived here, which is what counts.
func (p *taking) begin(origin record.Origin, stored time.Time) {
	if !origin.At.IsZero() {
		stored = origin.At
	}
	if p.ours(origin) && !stored.Before(p.floor()) {
		p.from = min(p.from, origin.Sequence)
	}
}

// underway reports whether a message is not done with yet.
func (p *taking) underway(origin record.Origin) bool {
	return p.parked[origin.String()] || p.ours(origin) && (origin.Sequence > p.events.Last || p.events.Has(origin.Sequence))
}

// found notes an event of the publisher's list.
func (p *taking) found(key store.EventKey) {
	name := unscoped(key)
	if _, ok := p.expected[name]; ok {
		p.expected[name] = true
	}
}

// earlier is the time from which on lists are read, so that none begins behind an event in scope.
func (p *taking) earlier() time.Time {
	if p.Since.IsZero() {
		return p.Since
	}
	return p.Since.Add(-slack)
}

func (p *taking) readResults(ctx context.Context) error {
	add, end := p.progress("results")
	defer end()
	foreign := func() { p.account.Foreign.Results++ }
	for m, err := range p.Broker.Results(ctx, p.earlier(), foreign) {
		if err != nil {
			return err
		}
		add()
		r, err := record.ReadResult(m)
		switch {
		case err != nil:
			foreign()
		case r.Outcome == record.OutcomeRejected:
			p.rejected(r)
		default:
			p.effect(r)
		}
	}
	return nil
}

// rejected accounts for a rejected result.
func (p *taking) rejected(r record.Result) {
	attempt := r.ID // of a request, which no other result is about
	if r.Origin.Stored() {
		attempt = record.AttemptName(r.Origin, r.Attempt)
	}
	if !p.refused[attempt] {
		p.account.Results++
	}
	p.refused[attempt] = true
	p.trace(r.Origin, traceRefused)
	p.found(r.Event)
	switch {
	case r.DeadLetter == record.CountedLetter:
	case r.DeadLetter != "" && (r.StoredAt.Before(p.begins()) || r.StoredAt.Before(p.letters.Created)): // it is lost with its stream
	case r.DeadLetter != "":
		p.promised[record.ParseDeadLetterID(r.DeadLetter)] = r.Name()
	case r.Origin.Stored() && p.last[r.Name()] != "" && !p.effects[p.last[r.Name()]].at.Before(p.begins()): // the ledger would have answered, or refused another content under the same id
		p.account.duplicated(r.Name(), "had an effect, and was rejected as a repeat afterwards")
	}
}

// effect accounts for a result that is no rejection.
func (p *taking) effect(r record.Result) {
	sum := r.Sum()
	switch before := p.effects[r.ID]; {
	case before == nil:
		p.account.Results++
		p.effects[r.ID] = &effect{event: r.Event, attempt: r.Attempt, body: sum, at: r.StoredAt, origin: r.Brought}
		if other := p.last[r.Name()]; other != "" && !p.effects[other].at.Before(p.begins()) {
			p.account.duplicated(r.Name(), "has two results: %s and %s", other, r.ID)
		}
		p.last[r.Name()] = r.ID
	case before.body != sum && before.at.Before(p.begins()): // its effect was lost, and it had another one
		before.body, before.at = sum, r.StoredAt
	case before.body != sum:
		p.account.duplicated(r.Name(), "has two results that differ under the id %s", r.ID)
	}
}

func (p *taking) readLetters(ctx context.Context) error {
	add, end := p.progress("dead letters")
	defer end()
	foreign := func() { p.account.Foreign.DeadLetters++ }
	for m, err := range p.Broker.DeadLetters(ctx, p.earlier(), foreign) {
		if err != nil {
			return err
		}
		add()
		if p.Sealer != nil {
			if authentic, otherKey := record.Authentic(p.Sealer, m); !authentic && !otherKey {
				foreign()
				continue
			}
		}
		p.letter(m)
	}
	return nil
}

// letter accounts for a dead letter.
func (p *taking) letter(m record.Stored) {
	d, _ := record.ReadDeadLetter(m.Header) // what cannot be read of it stays empty, and leaves no trace
	if d.Counted > 0 {
		p.summary(m, d)
		return
	}
	attempt := record.AttemptName(d.Origin, d.Replays)
	if p.lettered[attempt] {
		return // one that was published again after the broker's memory of ids; readers take it for the same
	}
	p.account.DeadLetters++
	p.lettered[attempt] = true
	p.trace(d.Origin, traceLetter)
	key := store.EventKey{TenantID: d.Tenant, Source: d.Source, EventID: d.EventID}
	p.found(key)
	if !d.StoredAt.IsZero() {
		p.begin(d.Origin, d.StoredAt)
	}
	if !p.refused[attempt] && !p.underway(d.Origin) && !m.StoredAt.Before(p.floor()) {
		p.account.unaccounted(record.EventName(key), "dead letter %d has no rejected result", m.Sequence)
	}
}

// summary accounts for the events that a summary lists.
func (p *taking) summary(m record.Stored, d record.DeadLetter) {
	attempts, err := record.ReadSummary(m)
	if err != nil {
		p.account.Foreign.DeadLetters++
		return
	}
	p.account.Summaries++
	for _, attempt := range attempts {
		origin := record.AttemptOrigin(attempt)
		p.trace(origin, traceCounted)
		p.begin(origin, d.StoredAt)
		if !p.refused[attempt] && !p.underway(origin) && !d.StoredAt.Before(p.floor()) {
			p.account.unaccounted(attempt, "is counted in summary %d, and has no rejected result", m.Sequence)
		}
	}
}

func (p *taking) readRepeats(ctx context.Context) error {
	return pagesOf(ctx, func(ctx context.Context, last store.Repeat) ([]store.Repeat, error) {
		return p.Store.RepeatsAfter(ctx, p.earlier(), last.Origin, page)
	}, func(r store.Repeat) { p.trace(record.ParseOrigin(r.Origin), traceRepeat) })
}

func (p *taking) readLedger(ctx context.Context) error {
	add, end := p.progress("ledger")
	defer end()
	createdBy := map[string]string{}
	return pagesOf(ctx, func(ctx context.Context, last store.Event) ([]store.Event, error) {
		f := store.EventFilter{Limit: page, Since: p.earlier(), After: last.Key()}
		return p.Store.Events(ctx, f)
	}, func(row store.Event) {
		add()
		p.account.Ledger.Rows++
		p.row(row)
		if row.Outcome == string(record.OutcomeCreated) && row.UserID != "" {
			key := record.EventName(row.Key())
			if other := createdBy[row.UserID]; other != "" {
				p.account.duplicated(key, "created user %s, as %s did", row.UserID, other)
			}
			createdBy[row.UserID] = key
		}
	})
}

// row accounts for a row of the ledger.
func (p *taking) row(row store.Event) {
	l, key, origin := &p.account.Ledger, record.EventName(row.Key()), record.ParseOrigin(row.Origin)
	id := record.ResultID(row.Key(), row.Attempt)
	if row.Origin != "" {
		if p.brought[row.Origin] {
			p.account.duplicated(key, "is the second event that the message %s brought", row.Origin)
		}
		p.brought[row.Origin] = true
		p.trace(origin, traceEffect)
		p.begin(origin, row.StoredAt)
		if attempt := record.AttemptName(origin, row.Attempt); p.lettered[attempt] || p.kept[attempt] {
			p.account.duplicated(key, "had an effect and a dead letter in the same attempt")
		}
	}
	p.found(row.Key())
	published := p.effects[id]
	if published != nil {
		published.known = true
	}
	switch {
	case published != nil && len(row.Result) == 0: // the ledger keeps nothing of a user who was forgotten
		l.Told++
	case published != nil:
		l.Told++
		if !published.body.Of(&row) {
			p.account.duplicated(key, "has a result that is not the one of the ledger")
		}
	case p.owed[id], p.underway(origin):
		l.Owed++
	case len(row.Result) == 0:
		l.Erased++
	case row.At.Before(p.floor().Add(slack)) && !p.whole(), p.former(row, origin):
		l.Expired++
	default:
		p.account.unaccounted(key, "had its effect, and its result was never published")
	}
}

// readUnknown looks up the effects that results tell of and that the ledger's part that was read does not have.
func (p *taking) readUnknown(ctx context.Context) error {
	for _, id := range slices.Sorted(maps.Keys(p.effects)) {
		published := p.effects[id]
		if published.known || published.at.Before(p.begins()) {
			continue
		}
		if !p.Since.IsZero() {
			row, err := p.Store.Event(ctx, published.event)
			if err == nil && row.Attempt == published.attempt {
				continue
			} else if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		p.account.unaccounted(record.EventName(published.event), "has a result, and the ledger knows nothing of its effect")
		p.trace(published.origin, traceLost)
	}
	return nil
}

// checkLetters finds the dead letters that results name and that are not there. Those that somebody erased left a gap.
func (p *taking) checkLetters() {
	erased := len(p.letters.Gaps)
	for _, name := range slices.Sorted(maps.Keys(p.promised)) {
		if p.lettered[name] || p.kept[name] {
			continue
		}
		if erased--; erased >= 0 {
			continue
		}
		if p.letters.First > 1 { // its time is not known any more
			continue
		}
		p.account.unaccounted(p.promised[name], "was rejected, and its dead letter %s is not there", name)
	}
}

// checkSequences accounts for every message that the stream ever stored.
func (p *taking) checkSequences() {
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
		case t&traceCounted != 0:
			e.Counted++
		case t&traceRefused != 0:
			e.Refused++
		case t&traceRepeat != 0:
			e.SentAgain++
		case t&traceLost != 0:
			e.Untraced++ // one event is one finding
		default:
			e.Untraced++
			p.account.unaccounted(p.origin(seq), "left the stream, and nothing tells what became of it")
		}
	}
}

// checkExpected finds the events on the publisher's list that nothing is known of. Those that wait in the broker are not
// read, as they hold tokens: where as many wait as are missing, nothing can be said yet.
func (p *taking) checkExpected() {
	if p.expected == nil {
		return
	}
	missing := map[string]bool{}
	for key, found := range p.expected {
		if !found {
			missing[key] = true
		}
	}
	p.account.Expected = &Expected{Events: len(p.expected), Found: len(p.expected) - len(missing)}
	if uint64(len(missing)) <= p.account.Events.Waiting {
		p.account.Expected.Unknown = len(missing)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(missing)) {
		p.account.unaccounted(key, "was published, says the list, and nothing is known of it")
	}
}
