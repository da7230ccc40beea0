package replay_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/seal"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/replay"
)

const (
	acme   = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	globex = "3489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
)

var stored = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func newSealer(t *testing.T) record.Sealer {
	t.Helper()
	key, _, err := seal.EnsureFile(filepath.Join(t.TempDir(), "seal.key"), rand.Reader)
	if err != nil {
		t.Fatalf("no seal key can be made: %v", err)
	}
	return key
}

// message is a dead letter as its stream holds it.
func message(t *testing.T, s record.Sealer, seq uint64, d record.DeadLetter) record.Stored {
	t.Helper()
	d.Origin, d.StoredAt, d.Subject = record.Origin{Stream: "IDPSYNC_EVENTS", Created: stored, Sequence: seq}, stored, "idpsync.login."+d.Tenant+".okta"
	out, err := d.Write(s, providers.Header{}, []byte("{}"))
	if err != nil {
		t.Fatalf("a dead letter cannot be written: %v", err)
	}
	return record.Stored{Sequence: seq, Subject: out.Subject, Header: out.Header, Data: out.Data, StoredAt: stored.Add(time.Duration(seq) * time.Minute)}
}

// workers carry out orders after a while, each dead letter with its own end, and keep states of them.
type workers struct {
	t      *testing.T
	takes  time.Duration
	ends   map[uint64]string // outcome of a replay; created when there is none, never for "never"
	rows   map[uint64]store.DeadLetter
	due    map[uint64]time.Time
	orders []order
	refuse error
}

type order struct {
	record.Order
	subject string
	at      time.Duration // since the beginning
}

func newWorkers(t *testing.T) *workers {
	return &workers{t: t, ends: map[uint64]string{}, rows: map[uint64]store.DeadLetter{}, due: map[uint64]time.Time{}}
}

func (w *workers) Publish(_ context.Context, m record.Outgoing) error {
	if w.refuse != nil {
		return w.refuse
	}
	o, _, _, err := record.ReadOrder(m.Subject, m.Data, true)
	if err != nil {
		w.t.Errorf("the order %s on %s cannot be read: %v", m.Data, m.Subject, err)
	}
	w.orders = append(w.orders, order{o, m.Subject, time.Since(began)})
	for _, seq := range o.Sequences {
		row := store.DeadLetter{Sequence: seq, Campaign: o.Campaign, State: store.DeadLetterReplayed, Outcome: "created"}
		if end := w.ends[seq]; end != "" {
			row.Outcome = end
		}
		if o.Action == record.OrderDiscard {
			row.State, row.Outcome = store.DeadLetterDiscarded, ""
		}
		if row.Outcome == "never" {
			continue
		}
		if _, theirs := w.rows[seq]; !theirs {
			w.rows[seq], w.due[seq] = row, time.Now().Add(w.takes)
		}
	}
	return nil
}

func (w *workers) DeadLetter(_ context.Context, seq uint64) (store.DeadLetter, error) {
	if row, ok := w.rows[seq]; ok && !time.Now().Before(w.due[seq]) {
		return row, nil
	}
	return store.DeadLetter{}, store.ErrNotFound
}

func (w *workers) DeadLetters(ctx context.Context, f store.DeadLetterFilter) ([]store.DeadLetter, error) {
	rows := []store.DeadLetter{}
	for _, seq := range slices.Sorted(maps.Keys(w.rows)) {
		row, err := w.DeadLetter(ctx, seq)
		if err == nil && seq > f.After && (f.Campaign == "" || row.Campaign == f.Campaign) && len(rows) < f.Limit {
			rows = append(rows, row)
		}
	}
	return rows, ctx.Err()
}

// began is when the test at hand began. Time stands still in it but for what is waited for.
var began time.Time

// letters are n dead letters, of two tenants in turn.
func letters(n int) []replay.Letter {
	all := make([]replay.Letter, n)
	for i := range all {
		all[i] = replay.Letter{Message: record.Stored{Sequence: uint64(i + 1)}}
		all[i].Tenant = []string{acme, globex}[i%2]
	}
	return all
}

func (w *workers) campaign() *replay.Campaign {
	return &replay.Campaign{Orders: w, States: w, ID: "c1", Action: record.OrderReplay, Operator: "alice", Who: "alice", Why: "repaired"}
}

// within runs a test in which time passes only by waiting.
func within(t *testing.T, run func(t *testing.T, w *workers)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		began = time.Now()
		run(t, newWorkers(t))
	})
}

func TestOrdersNameTheDeadLettersOfOneTenantEach(t *testing.T) {
	within(t, func(t *testing.T, w *workers) {
		done := 0
		c := w.campaign()
		c.Done = func(n int) { done += n }
		outcomes, err := c.Run(t.Context(), letters(3))
		if err != nil || !maps.Equal(outcomes, replay.Outcomes{"created": 3}) || done != 3 {
			t.Errorf("the campaign ends with %v, %d done and the error %v; want 3 created, 3 and none", outcomes, done, err)
		}
		want := []order{
			{record.Order{Action: record.OrderReplay, Sequences: []uint64{1, 3}, Campaign: "c1", Who: "alice", Why: "repaired"}, "idpsync.replay." + acme + ".alice", 0},
			{record.Order{Action: record.OrderReplay, Sequences: []uint64{2}, Campaign: "c1", Who: "alice", Why: "repaired"}, "idpsync.replay." + globex + ".alice", 0},
		}
		if got, want := text(t, w.orders), text(t, want); got != want {
			t.Errorf("the orders are\n%s\nwant\n%s", got, want)
		}
	})
}

// text is a list of orders for comparing.
func text(t *testing.T, orders []order) string {
	t.Helper()
	s := ""
	for _, o := range orders {
		body, err := json.Marshal(o.Order)
		if err != nil {
			t.Fatalf("an order has no JSON form: %v", err)
		}
		s += o.subject + " " + string(body) + " at " + o.at.String() + "\n"
	}
	return s
}

func TestOrdersFitTheRate(t *testing.T) {
	for _, test := range []struct {
		rate   float64
		takes  time.Duration
		n      int
		orders int
		most   time.Duration
	}{
		{0, 0, 250, 3, 0},                                          // of 100 at most
		{100, 0, 100, 5, time.Second},                              // five a second
		{2, 0, 6, 6, 3 * time.Second},                              // one at a time
		{2, 400 * time.Millisecond, 6, 6, 3 * time.Second},         // what the worker needs is no pause
		{100, 4 * time.Second, 40, 2, 2 * 4100 * time.Millisecond}, // slower than the rate
	} {
		within(t, func(t *testing.T, w *workers) {
			w.takes = test.takes
			c := w.campaign()
			c.Rate = test.rate
			all := letters(test.n)
			for i := range all {
				all[i].Tenant = acme
			}
			outcomes, err := c.Run(t.Context(), all)
			took := time.Since(began)
			if err != nil || outcomes.Total() != test.n || len(w.orders) != test.orders {
				t.Errorf("at a rate of %v, %d of %d are done by %d orders with the error %v; want all by %d", test.rate, outcomes.Total(), test.n, len(w.orders), err, test.orders)
			}
			var least time.Duration
			if test.rate > 0 {
				least = time.Duration(float64(test.n) / test.rate * float64(time.Second))
			}
			if took < least || took > test.most {
				t.Errorf("at a rate of %v, %d dead letters that take %v take %v, want %v to %v", test.rate, test.n, test.takes, took, least, test.most)
			}
		})
	}
}

func TestTheCanaryKeepsTheOthersBack(t *testing.T) {
	for name, test := range map[string]struct {
		canary int
		ends   map[uint64]string
		want   replay.Outcomes
		failed int // of the canary; 0: it goes on
	}{
		"the canary succeeds":        {2, map[uint64]string{1: "linked", 4: "unauthenticated"}, replay.Outcomes{"linked": 1, "created": 2, "unauthenticated": 1}, 0},
		"the canary fails":           {2, map[uint64]string{2: "unauthenticated"}, replay.Outcomes{"created": 1, "unauthenticated": 1}, 1},
		"no more than the canary":    {4, map[uint64]string{2: "unauthenticated"}, replay.Outcomes{"created": 3, "unauthenticated": 1}, 0},
		"without a canary":           {0, map[uint64]string{1: "forbidden"}, replay.Outcomes{"created": 3, "forbidden": 1}, 0},
		"every outcome that is none": {3, map[uint64]string{1: "exists", 2: "updated", 3: "linked"}, replay.Outcomes{"exists": 1, "updated": 1, "linked": 1, "created": 1}, 0},
	} {
		within(t, func(t *testing.T, w *workers) {
			w.ends = test.ends
			c := w.campaign()
			c.Canary = test.canary
			outcomes, err := c.Run(t.Context(), letters(4))
			var canary *replay.CanaryError
			if errors.As(err, &canary) != (test.failed > 0) || canary != nil && *canary != (replay.CanaryError{Failed: test.failed, Of: test.canary}) {
				t.Errorf("%s: the error is %v, want one of %d that failed", name, err, test.failed)
			}
			if !maps.Equal(outcomes, test.want) {
				t.Errorf("%s: what became of them is %v, want %v", name, outcomes, test.want)
			}
		})
	}
}

func TestDiscardedDeadLettersHaveNotFailed(t *testing.T) {
	within(t, func(t *testing.T, w *workers) {
		c := w.campaign()
		c.Action, c.Canary = record.OrderDiscard, 1
		outcomes, err := c.Run(t.Context(), letters(3))
		if err != nil || !maps.Equal(outcomes, replay.Outcomes{"discarded": 3}) || outcomes.Failures() != 0 {
			t.Errorf("got %v with %d failures and the error %v, want 3 discarded and no failure", outcomes, outcomes.Failures(), err)
		}
	})
}

func TestWhatAnotherCampaignDealtWithIsDone(t *testing.T) {
	within(t, func(t *testing.T, w *workers) {
		w.rows[2] = store.DeadLetter{Sequence: 2, Campaign: "another", State: store.DeadLetterDiscarded}
		outcomes, err := w.campaign().Run(t.Context(), letters(2))
		if err != nil || !maps.Equal(outcomes, replay.Outcomes{"created": 1, "discarded": 1}) {
			t.Errorf("got %v with the error %v, want one created and one discarded", outcomes, err)
		}
	})
}

func TestWaitingIsSaidAndEndsWithTheContext(t *testing.T) {
	within(t, func(t *testing.T, w *workers) {
		w.ends = map[uint64]string{2: "never"}
		w.rows[2] = store.DeadLetter{Sequence: 2, Campaign: "c1", State: store.DeadLetterOpen} // what waits stays open
		var said []time.Duration
		c := w.campaign()
		c.Waiting = func(open int) {
			if said = append(said, time.Since(began).Truncate(time.Second)); open != 1 {
				t.Errorf("%d are said to be still with the workers, want 1", open)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		outcomes, err := c.Run(ctx, letters(2))
		if !errors.Is(err, context.DeadlineExceeded) || !maps.Equal(outcomes, replay.Outcomes{"created": 1}) {
			t.Errorf("got %v with the error %v, want one created and %v", outcomes, err, context.DeadlineExceeded)
		}
		if want := []time.Duration{15 * time.Second, 75 * time.Second}; !slices.Equal(said, want) {
			t.Errorf("it said after %v that it waits, want %v", said, want)
		}
	})
}

func TestAnOrderThatIsNotTakenEndsTheCampaign(t *testing.T) {
	within(t, func(t *testing.T, w *workers) {
		w.refuse = errors.New("no permission")
		outcomes, err := w.campaign().Run(t.Context(), letters(1))
		var refused *replay.OrderError
		if !errors.As(err, &refused) || !errors.Is(err, w.refuse) || refused.Subject != "idpsync.replay."+acme+".alice" || outcomes.Total() != 0 {
			t.Errorf("got %v with the error %v, want nothing and the subject on which the order was not taken", outcomes, err)
		}
	})
}

func TestChooseMatchesEveryPartOfTheSelection(t *testing.T) {
	s := newSealer(t)
	w := newWorkers(t)
	d := record.DeadLetter{Tenant: acme, Source: "okta", EventID: "a b/1", Code: record.CodeUnauthenticated, Reason: "expired", Fingerprint: "f1"}
	other := d
	other.Reason, other.Fingerprint = "signature", "f2"
	messages := []record.Stored{message(t, s, 1, d), message(t, s, 2, other), message(t, s, 3, d), message(t, newSealer(t), 4, d), message(t, s, 5, d)}
	messages[4].Data = []byte("forged")
	w.rows[3] = store.DeadLetter{Sequence: 3, State: store.DeadLetterReplayed, Outcome: "created", Who: "alice"}
	now := stored.Add(210 * time.Second) // the last ones are stored by a clock that is ahead
	for name, test := range map[string]struct {
		selection replay.Selection
		want      []uint64
	}{
		"all":           {replay.Selection{}, []uint64{1, 2, 3, 4}},
		"open":          {replay.Selection{State: store.DeadLetterOpen}, []uint64{1, 2, 4}},
		"a reason":      {replay.Selection{Reason: "expired"}, []uint64{1, 3, 4}},
		"a fingerprint": {replay.Selection{Fingerprint: "f2"}, []uint64{2}},
		"an age":        {replay.Selection{OlderThan: 90 * time.Second}, []uint64{1, 2}},
		"sequences":     {replay.Selection{Sequences: []uint64{2, 3, 9}}, []uint64{2, 3}},
		"several":       {replay.Selection{State: store.DeadLetterOpen, Reason: "expired", Sequences: []uint64{1, 2, 3}}, []uint64{1}},
	} {
		foreign := 0
		chosen, err := replay.Choose(t.Context(), sequence(messages, nil), s, w, test.selection, now, func() { foreign++ })
		var got []uint64
		for _, l := range chosen {
			got = append(got, l.Sequence())
			if l.OtherKey != (l.Sequence() == 4) || l.EventID != "a b/1" {
				t.Errorf("%s: dead letter %d is of event %q and of another key: %t; want a b/1, and that of 4 alone", name, l.Sequence(), l.EventID, l.OtherKey)
			}
			if l.Sequence() == 3 && (l.State != store.DeadLetterReplayed || l.Outcome != "created" || l.By != "alice") {
				t.Errorf("%s: dead letter 3 is %s: %s, by %q; want replayed: created, by alice", name, l.State, l.Outcome, l.By)
			}
		}
		if err != nil || !slices.Equal(got, test.want) || foreign != 1 {
			t.Errorf("%s: %v are chosen and %d passed over with the error %v, want %v and 1", name, got, foreign, err, test.want)
		}
	}
	away := errors.New("the broker is away")
	if _, err := replay.Choose(t.Context(), sequence(messages, away), s, w, replay.Selection{}, now, nil); !errors.Is(err, away) {
		t.Errorf("when the messages cannot be read the error is %v, want %v", err, away)
	}
}

func sequence(messages []record.Stored, err error) iter.Seq2[record.Stored, error] {
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

// words forecasts dead letters by their sequence.
type words map[uint64]string

func (w words) Forecast(_ context.Context, letters []record.Stored) ([]string, error) {
	said := make([]string, len(letters))
	for i, l := range letters {
		said[i] = w[l.Sequence]
	}
	return said, nil
}

func TestForecastAsksOnlyOfWhatCanBeOpened(t *testing.T) {
	s := newSealer(t)
	var all []replay.Letter
	for seq, sealer := range []record.Sealer{s, newSealer(t), s} {
		l, _ := replay.Read(s, message(t, sealer, uint64(seq+1), record.DeadLetter{Tenant: acme, EventID: "e", Code: record.CodeForbidden, Reason: "policy"}))
		all = append(all, l)
	}
	looked := 0
	p, err := replay.Forecast(t.Context(), words{1: "created", 2: "never asked", 3: "created"}, s, all, func(n int) { looked += n })
	refused := "refused: not a record of this deployment"
	if err != nil || p.Total != 3 || p.Unusable != 1 || looked != 3 || !maps.Equal(p.Words, map[string]int{"created": 2, refused: 1}) {
		t.Errorf("the plan for %d is %v with %d unusable after %d, and the error %v; want 2 created and 1 unusable of 3", p.Total, p.Words, p.Unusable, looked, err)
	}
	want := []replay.Prediction{{2, "e", "forbidden (policy)", refused}, {1, "e", "forbidden (policy)", "created"}, {3, "e", "forbidden (policy)", "created"}}
	if !slices.Equal(p.Letters, want) {
		t.Errorf("the predictions are %v, want %v", p.Letters, want)
	}
}
