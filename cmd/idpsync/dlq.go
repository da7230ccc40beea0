package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
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
	OtherKey    bool      `json:"other_key,omitempty"` // signed with a key that the deployment does not have, so nothing shows who wrote it

	stored stream.Stored
}

func readDeadLetter(m stream.Stored) deadLetter {
	h := m.Header
	return deadLetter{
		Sequence: m.Sequence, Time: m.StoredAt, State: store.DeadLetterOpen,
		Tenant: h.Get(record.DeadLetterTenant), Source: h.Get(record.DeadLetterSource),
		Code: h.Get(record.DeadLetterCode), Reason: h.Get(record.DeadLetterReason), Class: h.Get(record.DeadLetterClass),
		Fingerprint: h.Get(record.DeadLetterFingerprint), EventID: h.Get(record.DeadLetterEventID),
		Subject: h.Get(record.DeadLetterSubjectHeader), StoredAt: h.Get(record.DeadLetterTime), Hint: h.Get(record.DeadLetterHint),
		Attempts: h.Get(record.DeadLetterAttempts), Parent: h.Get(record.DeadLetterParent), Bytes: len(m.Data), stored: m,
	}
}

// cause says in short what failed.
func (d deadLetter) cause() string {
	if d.Reason == "" {
		return d.Code
	}
	return d.Code + " (" + d.Reason + ")"
}

// A dlqSelection chooses dead letters by flags and arguments.
type dlqSelection struct {
	app         *app
	filter      stream.Filter
	since       time.Duration
	before      time.Duration
	reason      string
	fingerprint string
	state       string
	all         bool
	sequences   []uint64
}

func (s *dlqSelection) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.filter.Tenant, "tenant", "", "only of this tenant (UUID)")
	f.StringVar(&s.filter.Source, "source", "", "only of this source")
	f.StringVar(&s.filter.Word, "code", "", "only of this code, as in unauthenticated")
	f.StringVar(&s.reason, "reason", "", "only of this failed check, as in expired")
	f.StringVar(&s.fingerprint, "fingerprint", "", "only of this cause, as dlq groups shows it")
	f.Var((*age)(&s.since), "since", "only those that are at most that old")
	f.Var((*age)(&s.before), "older-than", "only those that are at least that old")
}

// named reports whether anything was chosen at all.
func (s *dlqSelection) named() bool {
	return s.all || len(s.sequences) > 0 || s.filter.Tenant != "" || s.filter.Source != "" || s.filter.Word != "" ||
		s.reason != "" || s.fingerprint != "" || s.since > 0 || s.before > 0
}

func (s *dlqSelection) arguments(args []string) error {
	for _, arg := range args {
		seq, err := strconv.ParseUint(arg, 10, 64)
		if err != nil || seq == 0 {
			return fail(exitUsage, "idpsync dlq list shows the sequences", "%q is not a sequence number", arg)
		}
		s.sequences = append(s.sequences, seq)
	}
	slices.Sort(s.sequences)
	s.sequences = slices.Compact(s.sequences)
	return nil
}

// check refuses what no dead letter can be, lest it be taken for there being none.
func (s *dlqSelection) check() error {
	switch s.state {
	case store.DeadLetterOpen, store.DeadLetterReplayed, store.DeadLetterDiscarded, "all":
	default:
		return fail(exitUsage, "one of open, replayed, discarded, all", "--state cannot be %q", s.state)
	}
	return checkTenant(s.filter.Tenant)
}

// find returns the dead letters that are chosen, oldest first, with their states.
func (s *dlqSelection) find(ctx context.Context, d *deployment, now time.Time) ([]deadLetter, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	states, err := deadLetterStates(ctx, d.Store)
	if err != nil {
		return nil, err
	}
	if s.since > 0 {
		s.filter.Since = now.Add(-s.since)
	}
	foreign := foreignCount{app: s.app, what: "dead letters"}
	defer foreign.report()
	s.filter.Foreign = foreign.add
	letters := []deadLetter{}
	for m, err := range stream.DeadLetters(ctx, d.Conn, s.filter) {
		if err != nil {
			return nil, fail(exitFailure, "run idpsync migrate if the streams do not exist", "%w", err)
		}
		forged, otherKey := foreign.forged(d.Key, m)
		if forged {
			continue
		}
		l := readDeadLetter(m)
		l.OtherKey = otherKey
		if row, ok := states[l.Sequence]; ok {
			l.State, l.Outcome, l.By = row.State, row.Outcome, row.Who
		}
		if s.matches(l, now) {
			letters = append(letters, l)
		}
	}
	return letters, nil
}

func (s *dlqSelection) matches(l deadLetter, now time.Time) bool {
	switch {
	case s.state != "all" && l.State != s.state,
		s.reason != "" && l.Reason != s.reason,
		s.fingerprint != "" && l.Fingerprint != s.fingerprint,
		s.before > 0 && now.Sub(l.Time) < s.before,
		len(s.sequences) > 0 && !slices.Contains(s.sequences, l.Sequence):
		return false
	}
	return true
}

// deadLetterStates reads the states of all entries that somebody has dealt with.
func deadLetterStates(ctx context.Context, st *store.Store) (map[uint64]store.DeadLetter, error) {
	states := map[uint64]store.DeadLetter{}
	f := store.DeadLetterFilter{Limit: 1000}
	for {
		rows, err := st.DeadLetters(ctx, f)
		if err != nil {
			return nil, fmt.Errorf("states of dead letters: %w", err)
		}
		for _, r := range rows {
			states[r.Sequence] = r
			f.After = r.Sequence
		}
		if len(rows) < f.Limit {
			return states, nil
		}
	}
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
	cmd.Flags().StringVar(&s.state, "state", store.DeadLetterOpen, "open, replayed, discarded or all")
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
			return printJSON(a.stdout, letters)
		}
		if len(letters) == 0 {
			fmt.Fprintln(a.stderr, "no dead letters")
			return nil
		}
		rows := make([][]string, len(letters))
		for i, l := range letters {
			state := l.State
			if l.Outcome != "" {
				state += ": " + l.Outcome
			}
			if l.OtherKey {
				state += " (other key)"
			}
			rows[i] = []string{strconv.FormatUint(l.Sequence, 10), l.Time.Local().Format("2006-01-02 15:04:05"), state, l.Tenant, l.Source, l.cause(), l.EventID, l.Fingerprint, dash(l.By)}
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

func groupDeadLetters(letters []deadLetter) []dlqGroup {
	at := map[string]int{}
	var groups []dlqGroup
	for _, l := range letters {
		i, ok := at[l.Fingerprint]
		if !ok {
			i = len(groups)
			at[l.Fingerprint] = i
			groups = append(groups, dlqGroup{Fingerprint: l.Fingerprint, Tenant: l.Tenant, Source: l.Source, Code: l.Code, Reason: l.Reason, First: l.Time})
		}
		g := &groups[i]
		g.Count++
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
	cmd.Flags().StringVar(&s.state, "state", store.DeadLetterOpen, "open, replayed, discarded or all")
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
				g.Count, printable(l.cause()), printable(g.Tenant), printable(g.Source), g.Fingerprint,
				g.First.Local().Format("2006-01-02 15:04:05"), g.Last.Local().Format("2006-01-02 15:04:05"), g.Example)
			if g.Hint != "" {
				fmt.Fprintf(a.stdout, "        %s\n", printable(g.Hint))
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
		s.state = "all"
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
			if forged, _ := foreign.forged(d.Key, m); forged {
				continue
			}
			if l := readDeadLetter(m); s.matches(l, a.now()) {
				fmt.Fprintf(a.stdout, "%s  %d  %s  tenant %s, source %s, event %s, fingerprint %s\n", l.Time.Local().Format("15:04:05"), l.Sequence,
					printable(l.cause()), printable(l.Tenant), printable(l.Source), printable(l.EventID), l.Fingerprint)
			}
		}
		return nil
	})
}
