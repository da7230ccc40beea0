package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

func newTailCommand(a *app) *cobra.Command {
	var f stream.Filter
	var since time.Duration
	var asJSON, once bool
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Show results as they come",
		Long: `Show the results of events as workers publish them: who came in, from where, what happened, and why.
With --since it begins with those of that long ago; with --once it ends after those that are there. Messages that no
worker wrote are passed over, and counted at the end.`,
		Example: "  idpsync tail --tenant 2489e9ad-2ee2-8e00-8ec9-32d5f69181c0 --since 1h",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkTenant(f.Tenant); err != nil {
				return err
			}
			switch record.Outcome(f.Word) {
			case "", record.OutcomeCreated, record.OutcomeExists, record.OutcomeLinked, record.OutcomeUpdated, record.OutcomeRejected:
			default:
				return kit.Fail(kit.ExitUsage, "one of created, exists, linked, updated, rejected", "--outcome cannot be %q", f.Word)
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
			if since > 0 {
				f.Since = a.now().Add(-since)
			}
			read := stream.Tail
			if once {
				read = stream.Results
			}
			return a.tail(cmd.Context(), conn, read, f, asJSON)
		},
	}
	cmd.Flags().StringVar(&f.Tenant, "tenant", "", "only of this tenant (UUID)")
	cmd.Flags().StringVar(&f.Source, "source", "", "only of this source")
	cmd.Flags().StringVar(&f.Word, "outcome", "", "only of this outcome: created, exists, linked, updated or rejected")
	cmd.Flags().Var((*age)(&since), "since", "begin with results of that long ago")
	cmd.Flags().BoolVar(&once, "once", false, "end after the results that are there")
	jsonFlag(cmd, &asJSON)
	a.addSettings(cmd, areaBroker, areaStore)
	return cmd
}

// checkTenant refuses what is not the id of a tenant. Verbs that only read the broker know no names.
func checkTenant(id string) error {
	if _, ok := parseUUID(id); !ok && id != "" {
		return kit.Fail(kit.ExitUsage, "idpsync get tenants lists the ids", "--tenant %q is not the id of a tenant", id)
	}
	return nil
}

func (a *app) tail(ctx context.Context, conn *stream.Conn, read func(context.Context, *stream.Conn, stream.Filter) iter.Seq2[record.Stored, error], f stream.Filter, asJSON bool) error {
	colours := a.colours(a.stdout)
	foreign := foreignCount{app: a, what: "results"}
	defer foreign.report()
	f.Foreign = foreign.add
	for m, err := range read(ctx, conn, f) {
		if err != nil {
			return kit.Fail(kit.ExitFailure, "run idpsync migrate if the streams do not exist", "%w", err)
		}
		r, err := kit.ReadResult(m)
		if err != nil {
			foreign.add(m)
			continue
		}
		if asJSON {
			err = json.NewEncoder(a.stdout).Encode(r)
		} else {
			_, err = io.WriteString(a.stdout, line(r, colours)+"\n")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// line tells a result in one line: when, what, who, from where, why.
func line(r kit.Result, colours bool) string {
	mark, colour := r.Mark()
	head := fmt.Sprintf("%s %s %-8s", mark, r.Status, r.Outcome)
	if colours {
		head = "\x1b[" + colour + "m" + head + "\x1b[0m"
	}
	return fmt.Sprintf("%s  %s  %-10s %s", r.Time.Local().Format("15:04:05"), head, kit.Printable(r.Source), kit.Printable(why(r)))
}

// why says who it is about, or what was wrong.
func why(r kit.Result) string {
	if r.Outcome == string(record.OutcomeRejected) {
		s := string(r.Fault.Code)
		if reason, ok := r.Fault.Details["reason"].(string); ok {
			s += " (" + reason + ")"
		}
		s += ": " + r.Fault.Message
		if fields, ok := r.Fault.Details["fields"].([]any); ok {
			for _, f := range fields {
				if f, ok := f.(map[string]any); ok {
					s += fmt.Sprintf(" %v: %v", f["field"], f["message"])
				}
			}
		}
		if len(r.Fault.Notices) > 0 {
			s += fmt.Sprintf(" %q", r.Fault.Notices)
		}
		return s + "  [event " + r.EventID + "]"
	}
	s := r.User.Email
	if name := r.User.FullName(); name != "" && name != s {
		s += " · " + name
	}
	if len(r.User.Roles) > 0 {
		s += fmt.Sprintf(" · roles %v", r.User.Roles)
	}
	if r.User.IsOwner {
		s += " · owner"
	}
	return s + "  [event " + r.EventID + "]"
}
