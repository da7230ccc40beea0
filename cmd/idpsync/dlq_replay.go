package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/replay"
	"github.com/idpsync/idpsync/worker/stream"
)

// A dlqCampaign is a campaign with its flags.
type dlqCampaign struct {
	replay.Campaign
	app  *app
	json bool
}

func newDLQReplayCommand(a *app) *cobra.Command {
	s := dlqSelection{app: a}
	var plan, yes bool
	c := &dlqCampaign{app: a, Campaign: replay.Campaign{Action: record.OrderReplay}}
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
	cmd.Flags().Float64Var(&c.Rate, "rate", 0, "at most so many a second; 0 for as fast as it goes")
	cmd.Flags().IntVar(&c.Canary, "canary", 0, "replay so many first and go on only if none fails again")
	cmd.Flags().StringVar(&c.Why, "why", "", "reason, for the audit")
	yesFlag(cmd, &yes)
	jsonFlag(cmd, &c.json)
	return a.dlqVerb(cmd, func(ctx context.Context, d *deployment, args []string) error {
		letters, err := a.choose(ctx, d, &s, args)
		if err != nil || len(letters) == 0 {
			return err
		}
		bar := a.progress("forecast", int64(len(letters)))
		forecast, err := replay.Forecast(ctx, forecaster{d.Worker}, d.Key, letters, func(n int) { bar.Add(int64(n)) })
		bar.Close()
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
		if err := printPlan(out, forecast); err != nil || plan {
			return err
		}
		if err := a.confirm(yes, fmt.Sprintf("Replay %d dead letters?", len(letters))); err != nil {
			return err
		}
		return c.run(ctx, d, letters)
	})
}

func newDLQDiscardCommand(a *app) *cobra.Command {
	s := dlqSelection{app: a}
	var yes bool
	c := &dlqCampaign{app: a, Campaign: replay.Campaign{Action: record.OrderDiscard}}
	cmd := &cobra.Command{
		Use:   "discard [SEQUENCE...]",
		Short: "Put dead letters aside that nobody will replay",
		Long: `Put dead letters aside: they stay in the stream until its retention ends, but count as dealt with. Who did it and why is
recorded.`,
		Example: "  idpsync dlq discard 17 --why 'test event'",
	}
	s.flags(cmd)
	cmd.Flags().BoolVar(&s.all, "all", false, "all that are open")
	cmd.Flags().StringVar(&c.Why, "why", "", "reason, for the audit; required")
	yesFlag(cmd, &yes)
	jsonFlag(cmd, &c.json)
	return a.dlqVerb(cmd, func(ctx context.Context, d *deployment, args []string) error {
		if strings.TrimSpace(c.Why) == "" {
			return kit.Fail(kit.ExitUsage, "add --why 'the reason'", "a discarded dead letter needs a reason")
		}
		letters, err := a.choose(ctx, d, &s, args)
		if err != nil || len(letters) == 0 {
			return err
		}
		for _, g := range groupDeadLetters(letters) {
			fmt.Fprintf(a.stderr, "%6d  %s  source %s\n", g.Count, replay.Cause(record.Code(g.Code), g.Reason), kit.Printable(g.Source))
		}
		if err := a.confirm(yes, fmt.Sprintf("Discard %d dead letters?", len(letters))); err != nil {
			return err
		}
		return c.run(ctx, d, letters)
	})
}

// choose returns the open dead letters that flags and arguments name.
func (a *app) choose(ctx context.Context, d *deployment, s *dlqSelection, args []string) ([]replay.Letter, error) {
	if err := s.arguments(args); err != nil {
		return nil, err
	}
	if !s.named() {
		return nil, kit.Fail(kit.ExitUsage, "name sequences, a filter, or --all", "no dead letters are chosen")
	}
	s.chosen.State = store.DeadLetterOpen
	letters, err := s.find(ctx, d, a.now())
	if err != nil {
		return nil, err
	}
	if len(letters) == 0 {
		return nil, kit.Fail(kit.ExitPending, "idpsync dlq list --state all shows those that were dealt with", "no open dead letter is among those that are chosen")
	}
	return letters, nil
}

// A forecaster has a worker forecast dead letters, and says each forecast in a word or two.
type forecaster struct{ worker *worker.Worker }

func (f forecaster) Forecast(ctx context.Context, letters []record.Stored) ([]string, error) {
	previews := make([]worker.Preview, len(letters))
	for i := range letters {
		previews[i] = worker.Preview{Letter: &letters[i]}
	}
	forecasts, err := f.worker.Forecast(ctx, previews)
	if err != nil {
		return nil, err
	}
	words := make([]string, len(forecasts))
	for i, one := range forecasts {
		words[i] = forecastWord(one)
	}
	return words, nil
}

// orders publishes orders on a broker.
type orders struct{ conn *stream.Conn }

func (o orders) Publish(ctx context.Context, m record.Outgoing) error {
	_, err := stream.PublishEvent(ctx, o.conn, m)
	return err
}

func printPlan(w io.Writer, f replay.Plan) error {
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
		if _, err := fmt.Fprintf(w, "%8d  %s\n", counts[word], kit.Printable(word)); err != nil {
			return err
		}
	}
	return nil
}

// run has the dead letters dealt with, and says what became of them.
func (c *dlqCampaign) run(ctx context.Context, d *deployment, letters []replay.Letter) error {
	var id [8]byte
	if _, err := io.ReadFull(c.app.random, id[:]); err != nil {
		return err
	}
	c.ID, c.Who, c.Operator = hex.EncodeToString(id[:]), operator(), d.cfg.operatorName()
	c.Orders, c.States = orders{d.Conn}, d.Store
	bar := c.app.progress(c.Action, int64(len(letters)))
	c.Done = func(n int) { bar.Add(int64(n)) }
	c.Waiting = func(open int) {
		fmt.Fprintf(c.app.stderr, "%d dead letters are still with the workers; is one running? is what they wait for there?\n", open)
	}
	outcomes, err := c.Run(ctx, letters)
	bar.Close()
	return c.summary(len(letters), outcomes, err)
}

func (c *dlqCampaign) summary(total int, outcomes replay.Outcomes, err error) error {
	if c.json {
		summary := map[string]any{"campaign": c.ID, "total": total, "done": outcomes.Total(), "outcomes": outcomes}
		if e := printJSON(c.app.stdout, summary); e != nil {
			return e
		}
	} else if e := printCounts(c.app.stdout, fmt.Sprintf("%s %s: %d of %d done", c.Action, c.ID, outcomes.Total(), total), outcomes); e != nil {
		return e
	}
	var canary *replay.CanaryError
	var order *replay.OrderError
	switch {
	case errors.Is(err, context.Canceled):
		return kit.Fail(kit.ExitRefused, "start it again to go on; what is done is not open any more", "stopped; orders that were sent are still carried out")
	case errors.As(err, &canary):
		return kit.Fail(kit.ExitFailure, "look at one: idpsync dlq list; then fix the cause", "%w", err)
	case errors.As(err, &order):
		return kit.Fail(kit.ExitFailure, "ask for the right to publish on "+order.Subject+", or name yourself as the broker does with --operator", "%w", err)
	case err == nil && outcomes.Failures() > 0:
		return kit.Fail(kit.ExitFailure, "idpsync dlq list shows them; idpsync dlq show names the dead letter that each comes from", "%d failed again", outcomes.Failures())
	}
	return err
}
