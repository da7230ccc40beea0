package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/stream"
)

func newDLQCommand(a *app) *cobra.Command {
	return group("dlq", "Look at dead letters: the events that could not be processed",
		newDLQListCommand(a),
		newDLQShowCommand(a),
	)
}

// A deadLetter is a dead letter as people read it. It holds no part of the event itself.
type deadLetter struct {
	Sequence    uint64            `json:"sequence"`
	Time        time.Time         `json:"time"` // of the dead letter
	Tenant      string            `json:"tenant"`
	Source      string            `json:"source"`
	Code        string            `json:"code"`
	Reason      string            `json:"reason,omitempty"`
	Class       string            `json:"class"`
	Fingerprint string            `json:"fingerprint"`
	EventID     string            `json:"event_id"`
	Subject     string            `json:"subject"`
	StoredAt    string            `json:"stored_at"` // of the event
	Hint        string            `json:"hint,omitempty"`
	Attempts    string            `json:"attempts"`
	Headers     map[string]string `json:"headers,omitempty"`
	Error       json.RawMessage   `json:"error,omitempty"`
	Bytes       int               `json:"bytes"`
}

func readDeadLetter(m stream.Stored) deadLetter {
	h := m.Header
	return deadLetter{
		Sequence: m.Sequence, Time: m.StoredAt, Tenant: h.Get(worker.DeadLetterTenant), Source: h.Get(worker.DeadLetterSource),
		Code: h.Get(worker.DeadLetterCode), Reason: h.Get(worker.DeadLetterReason), Class: h.Get(worker.DeadLetterClass),
		Fingerprint: h.Get(worker.DeadLetterFingerprint), EventID: h.Get(worker.DeadLetterEventID),
		Subject: h.Get(worker.DeadLetterSubjectHeader), StoredAt: h.Get(worker.DeadLetterTime), Hint: h.Get(worker.DeadLetterHint),
		Attempts: h.Get(worker.DeadLetterAttempts), Bytes: len(m.Data),
	}
}

func newDLQListCommand(a *app) *cobra.Command {
	var f stream.Filter
	var since time.Duration
	var fingerprint string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List dead letters",
		Example: "  idpsync dlq list --code unauthenticated --since 24h",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.config(cmd)
			if err != nil {
				return err
			}
			conn, err := a.connect(cmd.Context(), c)
			if err != nil {
				return err
			}
			defer conn.Close()
			if since > 0 {
				f.Since = a.now().Add(-since)
			}
			letters := []deadLetter{}
			for m, err := range stream.DeadLetters(cmd.Context(), conn, f) {
				if err != nil {
					return fail(exitFailure, "run idpsync migrate if the streams do not exist", "%w", err)
				}
				if d := readDeadLetter(m); fingerprint == "" || d.Fingerprint == fingerprint {
					letters = append(letters, d)
				}
			}
			if asJSON {
				return printJSON(a.stdout, letters)
			}
			if len(letters) == 0 {
				fmt.Fprintln(a.stderr, "no dead letters")
				return nil
			}
			rows := make([][]string, len(letters))
			for i, d := range letters {
				rows[i] = []string{
					strconv.FormatUint(d.Sequence, 10), d.Time.Local().Format("2006-01-02 15:04:05"), d.Tenant, d.Source, d.Code, d.Reason, d.EventID, d.Fingerprint,
				}
			}
			return printTable(a.stdout, []string{"SEQUENCE", "TIME", "TENANT", "SOURCE", "CODE", "REASON", "EVENT", "FINGERPRINT"}, rows)
		},
	}
	cmd.Flags().StringVar(&f.Tenant, "tenant", "", "only of this tenant (UUID)")
	cmd.Flags().StringVar(&f.Source, "source", "", "only of this source")
	cmd.Flags().StringVar(&f.Word, "code", "", "only of this code, as in unauthenticated")
	cmd.Flags().StringVar(&fingerprint, "fingerprint", "", "only of this cause")
	cmd.Flags().DurationVar(&since, "since", 0, "only those of that long ago or younger")
	cmd.Flags().IntVar(&f.Limit, "limit", 0, "at most so many; 0 for all")
	jsonFlag(cmd, &asJSON)
	a.addSettings(cmd, areaBroker, areaStore)
	return cmd
}

func newDLQShowCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "show SEQUENCE",
		Short:   "Show one dead letter: what failed, why, and what to do",
		Long:    "Show one dead letter with its record and the failed check. Tokens, assertions and passwords are not shown.",
		Example: "  idpsync dlq show 17",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			seq, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil {
				return fail(exitUsage, "idpsync dlq list shows the sequences", "%q is not a sequence number", args[0])
			}
			c, err := a.config(cmd)
			if err != nil {
				return err
			}
			conn, err := a.connect(cmd.Context(), c)
			if err != nil {
				return err
			}
			defer conn.Close()
			m, err := stream.DeadLetter(cmd.Context(), conn, seq)
			if err != nil {
				return fail(exitPending, "idpsync dlq list shows what is there", "%w", err)
			}
			d := readDeadLetter(m)
			d.Headers = map[string]string{}
			for name, values := range m.Header {
				if strings.HasPrefix(name, worker.DeadLetterPrefix) && name != worker.DeadLetterDetail {
					d.Headers[name] = strings.Join(values, ", ")
				}
			}
			if detail := m.Header.Get(worker.DeadLetterDetail); json.Valid([]byte(detail)) {
				d.Error = json.RawMessage(detail)
			}
			if asJSON {
				return printJSON(a.stdout, d)
			}
			return a.showDeadLetter(d)
		},
	}
	jsonFlag(cmd, &asJSON)
	a.addSettings(cmd, areaBroker, areaStore)
	return cmd
}

func (a *app) showDeadLetter(d deadLetter) error {
	var body worker.ErrorBody
	if len(d.Error) > 0 {
		_ = json.Unmarshal(d.Error, &body) // a record of another form shows no message
	}
	lines := [][2]string{
		{"dead letter", strconv.FormatUint(d.Sequence, 10)},
		{"event", d.EventID},
		{"subject", d.Subject},
		{"stored at", d.StoredAt},
		{"failed", d.Code + " " + d.Reason},
		{"message", body.Message},
		{"what to do", d.Hint},
		{"class", d.Class},
		{"fingerprint", d.Fingerprint},
		{"body", fmt.Sprintf("%d bytes, not shown", d.Bytes)},
	}
	for _, l := range lines {
		if strings.TrimSpace(l[1]) != "" {
			fmt.Fprintf(a.stdout, "%-12s %s\n", l[0], printable(l[1]))
		}
	}
	names := make([]string, 0, len(d.Headers))
	for name := range d.Headers {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprintln(a.stdout, "\nrecord")
	for _, name := range names {
		fmt.Fprintf(a.stdout, "  %-34s %s\n", printable(name), printable(d.Headers[name]))
	}
	return nil
}
