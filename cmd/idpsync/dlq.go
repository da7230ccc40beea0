package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/replay"
	"github.com/idpsync/idpsync/worker/stream"
)

func newDLQCommand(a *app) *cobra.Command {
	return group("dlq", "Look at dead letters, the events that could not be processed; replay or discard them",
		newDLQListCommand(a),
		newDLQGroupsCommand(a),
		newDLQShowCommand(a),
		newDLQReplayCommand(a),
		newDLQDiscardCommand(a),
		newDLQWatchCommand(a),
	)
}

// A deadLetter is a dead letter as people read it. It holds no part of the event itself.
type deadLetter struct {
	Sequence    uint64    `json:"sequence"`
	Time        time.Time `json:"time"` // of the dead letter
	State       string    `json:"state"`
	Outcome     string    `json:"outcome,omitempty"` // of its replay
	Tenant      string    `json:"tenant"`
	Source      string    `json:"source"`
	Code        string    `json:"code"`
	Reason      string    `json:"reason,omitempty"`
	Class       string    `json:"class"`
	Fingerprint string    `json:"fingerprint"`
	EventID     string    `json:"event_id"`
	Subject     string    `json:"subject"`
	StoredAt    string    `json:"stored_at"` // of the event
	Hint        string    `json:"hint,omitempty"`
	Attempts    string    `json:"attempts"`
	Parent      string    `json:"parent,omitempty"`
	By          string    `json:"by,omitempty"` // who dealt with it; "said" before what the broker does not vouch for
	Bytes       int       `json:"bytes"`
	Counted     int       `json:"counted,omitempty"`   // of a summary: the events beyond the quota that it lists
	OtherKey    bool      `json:"other_key,omitempty"` // signed with a key that the deployment does not have, so nothing shows who wrote it
}

// shown is a dead letter as people read it.
func shown(l replay.Letter) deadLetter {
	d := deadLetter{
		Sequence: l.Sequence(), Time: l.Message.StoredAt, State: l.State, Outcome: l.Outcome, By: l.By, OtherKey: l.OtherKey,
		Tenant: l.Tenant, Source: l.Source, Code: string(l.Code), Reason: l.Reason, Class: l.Class, Fingerprint: l.Fingerprint,
		EventID: l.EventID, Subject: l.Subject, Hint: l.Hint, Attempts: strconv.Itoa(l.Attempts), Bytes: len(l.Message.Data), Counted: l.Counted,
	}
	if !l.StoredAt.IsZero() {
		d.StoredAt = l.StoredAt.Format(time.RFC3339Nano)
	}
	if l.Parent > 0 {
		d.Parent = strconv.FormatUint(l.Parent, 10)
	}
	return d
}

// shownAll are dead letters as people read them.
func shownAll(letters []replay.Letter) []deadLetter {
	all := make([]deadLetter, len(letters))
	for i, l := range letters {
		all[i] = shown(l)
	}
	return all
}

// event names the event of the dead letter, or says how many there are.
func (d deadLetter) event() string {
	if d.Counted > 0 {
		return fmt.Sprintf("(%d events)", d.Counted)
	}
	return d.EventID
}

// cause says in short what failed.
func (d deadLetter) cause() string { return replay.Cause(record.Code(d.Code), d.Reason) }

// A dlqSelection chooses dead letters by flags and arguments.
type dlqSelection struct {
	app    *app
	filter stream.Filter
	since  time.Duration
	all    bool
	chosen replay.Selection
}

func (s *dlqSelection) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.filter.Tenant, "tenant", "", "only of this tenant (UUID)")
	f.StringVar(&s.filter.Source, "source", "", "only of this source")
	f.StringVar(&s.filter.Word, "code", "", "only of this code, as in unauthenticated")
	f.StringVar(&s.chosen.Reason, "reason", "", "only of this failed check, as in expired")
	f.StringVar(&s.chosen.Fingerprint, "fingerprint", "", "only of this cause, as dlq groups shows it")
	f.Var((*age)(&s.since), "since", "only those that are at most that old")
	f.Var((*age)(&s.chosen.OlderThan), "older-than", "only those that are at least that old")
}

// named reports whether anything was chosen at all.
func (s *dlqSelection) named() bool {
	return s.all || len(s.chosen.Sequences) > 0 || s.filter.Tenant != "" || s.filter.Source != "" || s.filter.Word != "" ||
		s.chosen.Reason != "" || s.chosen.Fingerprint != "" || s.since > 0 || s.chosen.OlderThan > 0
}

func (s *dlqSelection) arguments(args []string) error {
	for _, arg := range args {
		seq, err := strconv.ParseUint(arg, 10, 64)
		if err != nil || seq == 0 {
			return kit.Fail(kit.ExitUsage, "idpsync dlq list shows the sequences", "%q is not a sequence number", arg)
		}
		s.chosen.Sequences = append(s.chosen.Sequences, seq)
	}
	slices.Sort(s.chosen.Sequences)
	s.chosen.Sequences = slices.Compact(s.chosen.Sequences)
	return nil
}

// check refuses what no dead letter can be, lest it be taken for there being none.
func (s *dlqSelection) check() error {
	switch s.chosen.State {
	case store.DeadLetterOpen, store.DeadLetterReplayed, store.DeadLetterDiscarded, allStates:
	default:
		return kit.Fail(kit.ExitUsage, "one of open, replayed, discarded, all", "--state cannot be %q", s.chosen.State)
	}
	return checkTenant(s.filter.Tenant)
}

// allStates chooses dead letters whatever was done about them.
const allStates = "all"

// find returns the dead letters that are chosen, oldest first, with their states.
func (s *dlqSelection) find(ctx context.Context, d *deployment, now time.Time) ([]replay.Letter, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if s.since > 0 {
		s.filter.Since = now.Add(-s.since)
	}
	foreign := foreignCount{app: s.app, what: "dead letters"}
	defer foreign.report()
	s.filter.Foreign = foreign.add
	messages := func(yield func(record.Stored, error) bool) {
		for m, err := range stream.DeadLetters(ctx, d.Conn, s.filter) {
			if err != nil {
				err = kit.Fail(kit.ExitFailure, "run idpsync migrate if the streams do not exist", "%w", err)
			}
			if !yield(m, err) {
				return
			}
		}
	}
	return replay.Choose(ctx, messages, d.Key, d.Store, s.selection(), now, foreign.one)
}

// selection is what is chosen beside what the broker filters.
func (s *dlqSelection) selection() replay.Selection {
	chosen := s.chosen
	if chosen.State == allStates {
		chosen.State = ""
	}
	return chosen
}

// dlqVerb makes a verb that needs store and broker, and closes them after it.
func (a *app) dlqVerb(cmd *cobra.Command, run func(ctx context.Context, d *deployment, args []string) error) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.config(cmd)
		if err != nil {
			return err
		}
		d, err := a.deployOffline(cmd.Context(), c, a.logger(c), true)
		if err != nil {
			return err
		}
		defer d.Close()
		return run(cmd.Context(), d, args)
	}
	a.addSettings(cmd, areaBroker, areaStore)
	return cmd
}

func newDLQListCommand(a *app) *cobra.Command {
	s := dlqSelection{app: a}
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List dead letters",
		Example: "  idpsync dlq list --code unauthenticated --since 24h",
		Args:    cobra.NoArgs,
	}
	s.flags(cmd)
	cmd.Flags().StringVar(&s.chosen.State, "state", store.DeadLetterOpen, "open, replayed, discarded or all")
	cmd.Flags().IntVar(&limit, "limit", 0, "the latest so many; 0 for all")
	jsonFlag(cmd, &asJSON)
	return a.dlqVerb(cmd, func(ctx context.Context, d *deployment, _ []string) error {
		letters, err := s.find(ctx, d, a.now())
		if err != nil {
			return err
		}
		if limit > 0 && len(letters) > limit {
			letters = letters[len(letters)-limit:]
		}
		if asJSON {
			return printJSON(a.stdout, shownAll(letters))
		}
		if len(letters) == 0 {
			fmt.Fprintln(a.stderr, "no dead letters")
			return nil
		}
		rows := make([][]string, len(letters))
		for i, l := range shownAll(letters) {
			state := l.State
			if l.Outcome != "" {
				state += ": " + l.Outcome
			}
			if l.OtherKey {
				state += " (other key)"
			}
			rows[i] = []string{strconv.FormatUint(l.Sequence, 10), l.Time.Local().Format("2006-01-02 15:04:05"), state, l.Tenant, l.Source, l.cause(), l.event(), l.Fingerprint, dash(l.By)}
		}
		return printTable(a.stdout, []string{"SEQUENCE", "TIME", "STATE", "TENANT", "SOURCE", "CAUSE", "EVENT", "FINGERPRINT", "BY"}, rows)
	})
}

// A dlqGroup is all dead letters of one cause.
type dlqGroup struct {
	Fingerprint string    `json:"fingerprint"`
	Count       int       `json:"count"`
	Tenant      string    `json:"tenant"`
	Source      string    `json:"source"`
	Code        string    `json:"code"`
	Reason      string    `json:"reason,omitempty"`
	First       time.Time `json:"first"`
	Last        time.Time `json:"last"`
	Example     uint64    `json:"example"` // sequence of the latest
	Hint        string    `json:"hint,omitempty"`
}

func groupDeadLetters(letters []replay.Letter) []dlqGroup {
	at := map[string]int{}
	var groups []dlqGroup
	for _, l := range shownAll(letters) {
		i, ok := at[l.Fingerprint]
		if !ok {
			i = len(groups)
			at[l.Fingerprint] = i
			groups = append(groups, dlqGroup{Fingerprint: l.Fingerprint, Tenant: l.Tenant, Source: l.Source, Code: l.Code, Reason: l.Reason, First: l.Time})
		}
		g := &groups[i]
		g.Count += max(1, l.Counted)
		g.Last, g.Example, g.Hint = l.Time, l.Sequence, l.Hint
	}
	slices.SortStableFunc(groups, func(x, y dlqGroup) int { return y.Count - x.Count })
	return groups
}

func newDLQGroupsCommand(a *app) *cobra.Command {
	s := dlqSelection{app: a}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "groups",
		Short: "Group dead letters by cause, the largest group first",
		Args:  cobra.NoArgs,
	}
	s.flags(cmd)
	cmd.Flags().StringVar(&s.chosen.State, "state", store.DeadLetterOpen, "open, replayed, discarded or all")
	jsonFlag(cmd, &asJSON)
	return a.dlqVerb(cmd, func(ctx context.Context, d *deployment, _ []string) error {
		letters, err := s.find(ctx, d, a.now())
		if err != nil {
			return err
		}
		groups := groupDeadLetters(letters)
		if asJSON {
			return printJSON(a.stdout, groups)
		}
		if len(groups) == 0 {
			fmt.Fprintln(a.stderr, "no dead letters")
			return nil
		}
		for _, g := range groups {
			l := deadLetter{Code: g.Code, Reason: g.Reason}
			fmt.Fprintf(a.stdout, "%6d  %s  tenant %s, source %s\n        fingerprint %s, from %s to %s, example: idpsync dlq show %d\n",
				g.Count, kit.Printable(l.cause()), kit.Printable(g.Tenant), kit.Printable(g.Source), g.Fingerprint,
				g.First.Local().Format("2006-01-02 15:04:05"), g.Last.Local().Format("2006-01-02 15:04:05"), g.Example)
			if g.Hint != "" {
				fmt.Fprintf(a.stdout, "        %s\n", kit.Printable(g.Hint))
			}
		}
		return nil
	})
}

func newDLQWatchCommand(a *app) *cobra.Command {
	s := dlqSelection{app: a}
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Show dead letters as they come",
		Args:  cobra.NoArgs,
	}
	s.flags(cmd)
	return a.dlqVerb(cmd, func(ctx context.Context, d *deployment, _ []string) error {
		s.chosen.State = allStates
		if err := s.check(); err != nil {
			return err
		}
		foreign := foreignCount{app: a, what: "dead letters"}
		defer foreign.report()
		s.filter.Foreign = foreign.add
		for m, err := range stream.WatchDeadLetters(ctx, d.Conn, s.filter) {
			if err != nil {
				return err
			}
			letter, genuine := replay.Read(d.Key, m)
			if !genuine {
				foreign.one()
				continue
			}
			if l := shown(letter); s.selection().Matches(letter, a.now()) {
				fmt.Fprintf(a.stdout, "%s  %d  %s  tenant %s, source %s, event %s, fingerprint %s\n", l.Time.Local().Format("15:04:05"), l.Sequence,
					kit.Printable(l.cause()), kit.Printable(l.Tenant), kit.Printable(l.Source), kit.Printable(l.event()), l.Fingerprint)
			}
		}
		return nil
	})
}
