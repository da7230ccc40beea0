package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

// A campaign is what one call of replay or discard does to the dead letters that it chose.
type campaign struct {
	app    *app
	d      *deployment
	id     string
	action string
	who    string
	why    string
	rate   float64
	canary int
	json   bool
}

func newDLQReplayCommand(a *app) *cobra.Command {
	s := dlqSelection{app: a}
	var plan, yes bool
	c := &campaign{app: a, action: record.OrderReplay}
	cmd := &cobra.Command{
		Use:   "replay [SEQUENCE...]",
		Short: "Process dead letters again, under today's configuration and policies",
		Long: `Process dead letters again: one, a cause, a filter, or all. Each is processed by a worker as the event that it was, with
its own id and the time at which it was stored first, so that a login that was valid then has not expired since. Nothing
of the event passes through this command; it sends pointers.

First a forecast says what would become of each now. With --plan that is all. With --canary the first few go ahead, and
the others only if those succeed. It may be stopped at any time and started again: what was replayed is not open any more.`,
		Example: `  idpsync dlq replay 17
  idpsync dlq replay --fingerprint 5f0c3b… --plan
  idpsync dlq replay --code invalid_roles --canary 5 --rate 100 --why 'role added, ticket 4711' --yes`,
	}
	s.flags(cmd)
	cmd.Flags().BoolVar(&s.all, "all", false, "all that are open")
	cmd.Flags().BoolVar(&plan, "plan", false, "only forecast what would become of each")
	cmd.Flags().Float64Var(&c.rate, "rate", 0, "at most so many a second; 0 for as fast as it goes")
	cmd.Flags().IntVar(&c.canary, "canary", 0, "replay so many first and go on only if none fails again")
	cmd.Flags().StringVar(&c.why, "why", "", "reason, for the audit")
	yesFlag(cmd, &yes)
	jsonFlag(cmd, &c.json)
	return a.dlqVerb(cmd, func(ctx context.Context, d *deployment, args []string) error {
		letters, err := a.choose(ctx, d, &s, args)
		if err != nil || len(letters) == 0 {
			return err
		}
		c.d, c.who = d, operator()
		forecast, err := c.forecast(ctx, letters)
		if err != nil {
			return err
		}
		if plan && c.json {
			return printJSON(a.stdout, forecast)
		}
		out := a.stdout
		if c.json {
			out = a.stderr
		}
		if err := forecast.print(out); err != nil || plan {
			return err
		}
		if err := a.confirm(yes, fmt.Sprintf("Replay %d dead letters?", len(letters))); err != nil {
			return err
		}
		return c.run(ctx, letters)
	})
}

func newDLQDiscardCommand(a *app) *cobra.Command {
	s := dlqSelection{app: a}
	var yes bool
	c := &campaign{app: a, action: record.OrderDiscard}
	cmd := &cobra.Command{
		Use:   "discard [SEQUENCE...]",
		Short: "Put dead letters aside that nobody will replay",
		Long: `Put dead letters aside: they stay in the stream until its retention ends, but count as dealt with. Who did it and why is
recorded.`,
		Example: "  idpsync dlq discard 17 --why 'test event'",
	}
	s.flags(cmd)
	cmd.Flags().BoolVar(&s.all, "all", false, "all that are open")
	cmd.Flags().StringVar(&c.why, "why", "", "reason, for the audit; required")
	yesFlag(cmd, &yes)
	jsonFlag(cmd, &c.json)
	return a.dlqVerb(cmd, func(ctx context.Context, d *deployment, args []string) error {
		if strings.TrimSpace(c.why) == "" {
			return fail(exitUsage, "add --why 'the reason'", "a discarded dead letter needs a reason")
		}
		letters, err := a.choose(ctx, d, &s, args)
		if err != nil || len(letters) == 0 {
			return err
		}
		for _, g := range groupDeadLetters(letters) {
			fmt.Fprintf(a.stderr, "%6d  %s  source %s\n", g.Count, deadLetter{Code: g.Code, Reason: g.Reason}.cause(), printable(g.Source))
		}
		if err := a.confirm(yes, fmt.Sprintf("Discard %d dead letters?", len(letters))); err != nil {
			return err
		}
		c.d, c.who = d, operator()
		return c.run(ctx, letters)
	})
}

// choose returns the open dead letters that flags and arguments name.
func (a *app) choose(ctx context.Context, d *deployment, s *dlqSelection, args []string) ([]deadLetter, error) {
	if err := s.arguments(args); err != nil {
		return nil, err
	}
	if !s.named() {
		return nil, fail(exitUsage, "name sequences, a filter, or --all", "no dead letters are chosen")
	}
	s.state = store.DeadLetterOpen
	letters, err := s.find(ctx, d, a.now())
	if err != nil {
		return nil, err
	}
	if len(letters) == 0 {
		return nil, fail(exitPending, "idpsync dlq list --state all shows those that were dealt with", "no open dead letter is among those that are chosen")
	}
	return letters, nil
}

// A dlqForecast says what would become of dead letters now.
type dlqForecast struct {
	Total    int             `json:"total"`
	Words    map[string]int  `json:"outcomes"`
	Letters  []dlqPrediction `json:"letters"`
	Unusable int             `json:"unusable"` // records that no worker of this deployment wrote
}

type dlqPrediction struct {
	Sequence uint64 `json:"sequence"`
	EventID  string `json:"event_id"`
	Was      string `json:"was"`
	Now      string `json:"now"`
}

// forecastChunk bounds what one rolled-back transaction holds.
const forecastChunk = 2000

func (c *campaign) forecast(ctx context.Context, letters []deadLetter) (dlqForecast, error) {
	f := dlqForecast{Total: len(letters), Words: map[string]int{}}
	bar := c.app.progress("forecast", int64(len(letters)))
	defer bar.Close()
	for chunk := range slices.Chunk(letters, forecastChunk) {
		var previews []worker.Preview
		var of []deadLetter
		for _, l := range chunk {
			if _, err := record.Unseal(c.d.Key, l.stored.Header, l.stored.Data); err != nil {
				f.add(l, "refused: not a record of this deployment")
				f.Unusable++
				continue
			}
			letter := record.Stored(l.stored)
			previews, of = append(previews, worker.Preview{Letter: &letter}), append(of, l)
		}
		forecasts, err := c.d.Worker.Forecast(ctx, previews)
		if err != nil {
			return f, err
		}
		for i, one := range forecasts {
			f.add(of[i], forecastWord(one))
		}
		bar.Add(int64(len(chunk)))
	}
	return f, nil
}

func (f *dlqForecast) add(l deadLetter, word string) {
	f.Words[word]++
	f.Letters = append(f.Letters, dlqPrediction{l.Sequence, l.EventID, l.cause(), word})
}

func (f *dlqForecast) print(w io.Writer) error {
	if f.Total <= 20 {
		rows := make([][]string, len(f.Letters))
		for i, l := range f.Letters {
			rows[i] = []string{strconv.FormatUint(l.Sequence, 10), l.EventID, l.Was, l.Now}
		}
		if err := printTable(w, []string{"SEQUENCE", "EVENT", "WAS", "NOW"}, rows); err != nil {
			return err
		}
	}
	return printCounts(w, fmt.Sprintf("forecast for %d dead letters", f.Total), f.Words)
}

func printCounts(w io.Writer, title string, counts map[string]int) error {
	words := make([]string, 0, len(counts))
	for word := range counts {
		words = append(words, word)
	}
	slices.SortFunc(words, func(x, y string) int {
		if d := counts[y] - counts[x]; d != 0 {
			return d
		}
		return strings.Compare(x, y)
	})
	fmt.Fprintln(w, title)
	for _, word := range words {
		if _, err := fmt.Fprintf(w, "%8d  %s\n", counts[word], printable(word)); err != nil {
			return err
		}
	}
	return nil
}

// maxBurst bounds the dead letters of one order.
const maxBurst = 100

// run sends the orders and follows what becomes of them.
func (c *campaign) run(ctx context.Context, letters []deadLetter) error {
	var id [8]byte
	if _, err := io.ReadFull(c.app.random, id[:]); err != nil {
		return err
	}
	c.id = hex.EncodeToString(id[:])
	total := len(letters)
	bar := c.app.progress(c.action, int64(total))
	outcomes := map[string]int{}
	finish := func(err error) error {
		bar.Close()
		return c.summary(total, outcomes, err)
	}
	if c.canary > 0 && c.canary < len(letters) {
		if err := c.send(ctx, letters[:c.canary], outcomes, bar); err != nil {
			return finish(err)
		}
		if failed := failures(outcomes); failed > 0 {
			return finish(fail(exitFailure, "look at one: idpsync dlq list; then mend the cause", "%d of the first %d failed again, so the others stay as they are", failed, c.canary))
		}
		letters = letters[c.canary:]
	}
	return finish(c.send(ctx, letters, outcomes, bar))
}

// send sends orders of a size that fits the rate, each once the one before is done.
func (c *campaign) send(ctx context.Context, letters []deadLetter, outcomes map[string]int, bar *progress) error {
	burst := maxBurst
	if c.rate > 0 {
		burst = min(maxBurst, max(1, int(c.rate/5)))
	}
	for chunk := range slices.Chunk(letters, burst) {
		begin := time.Now()
		byTenant := map[string][]uint64{}
		for _, l := range chunk {
			subject := record.ReplaySubject(l.Tenant, c.d.cfg.operatorName())
			byTenant[subject] = append(byTenant[subject], l.Sequence)
		}
		for subject, sequences := range byTenant {
			if err := c.order(ctx, subject, sequences); err != nil {
				return err
			}
		}
		if err := c.await(ctx, chunk, outcomes, bar); err != nil {
			return err
		}
		if c.rate > 0 {
			rest := time.Duration(float64(len(chunk))/c.rate*float64(time.Second)) - time.Since(begin)
			if err := sleep(ctx, rest); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *campaign) order(ctx context.Context, subject string, sequences []uint64) error {
	body, err := json.Marshal(record.Order{Action: c.action, Sequences: sequences, Campaign: c.id, Who: c.who, Why: c.why})
	if err != nil {
		return err
	}
	_, err = stream.PublishEvent(ctx, c.d.Conn, record.Outgoing{
		Subject: subject, Header: providers.Header{}, Data: body,
	})
	if err != nil {
		return fail(exitFailure, "ask for the right to publish on "+subject+", or name yourself as the broker does with --operator", "the order was not taken: %w", err)
	}
	return nil
}

// await waits until a worker has dealt with all of a chunk.
func (c *campaign) await(ctx context.Context, chunk []deadLetter, outcomes map[string]int, bar *progress) error {
	open := map[uint64]bool{}
	for _, l := range chunk {
		open[l.Sequence] = true
	}
	warned, asked := time.Now().Add(15*time.Second), time.Now().Add(time.Second)
	for len(open) > 0 {
		rows, err := c.d.Store.DeadLetters(ctx, store.DeadLetterFilter{After: chunk[0].Sequence - 1, Campaign: c.id, Limit: 10 * maxBurst})
		if err != nil {
			return err
		}
		if now := time.Now(); now.After(asked) { // somebody else's order may have come first
			asked = now.Add(time.Second)
			for seq := range open {
				r, err := c.d.Store.DeadLetter(ctx, seq)
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
				rows = append(rows, r)
			}
		}
		for _, r := range rows {
			if !open[r.Sequence] || r.State == store.DeadLetterOpen {
				continue
			}
			delete(open, r.Sequence)
			word := r.Outcome
			if r.State == store.DeadLetterDiscarded {
				word = "discarded"
			}
			outcomes[word]++
			bar.Add(1)
		}
		if len(open) == 0 {
			return nil
		}
		if now := time.Now(); now.After(warned) {
			warned = now.Add(time.Minute)
			fmt.Fprintf(c.app.stderr, "%d dead letters are still with the workers; is one running? is what they wait for there?\n", len(open))
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// failures counts the outcomes that are codes of errors.
func failures(outcomes map[string]int) int {
	n := 0
	for word, count := range outcomes {
		switch record.Outcome(word) {
		case record.OutcomeCreated, record.OutcomeExists, record.OutcomeLinked, record.OutcomeUpdated, "discarded":
		default:
			n += count
		}
	}
	return n
}

func (c *campaign) summary(total int, outcomes map[string]int, err error) error {
	done := 0
	for _, n := range outcomes {
		done += n
	}
	if c.json {
		if e := printJSON(c.app.stdout, map[string]any{"campaign": c.id, "total": total, "done": done, "outcomes": outcomes}); e != nil {
			return e
		}
	} else if e := printCounts(c.app.stdout, fmt.Sprintf("%s %s: %d of %d done", c.action, c.id, done, total), outcomes); e != nil {
		return e
	}
	if errors.Is(err, context.Canceled) {
		return fail(exitRefused, "start it again to go on; what is done is not open any more", "stopped; orders that were sent are still carried out")
	}
	if err == nil && failures(outcomes) > 0 {
		err = fail(exitFailure, "idpsync dlq list shows them; idpsync dlq show names the dead letter that each comes from", "%d failed again", failures(outcomes))
	}
	return err
}
