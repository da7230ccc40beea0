package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

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
				return fail(exitUsage, "one of created, exists, linked, updated, rejected", "--outcome cannot be %q", f.Word)
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
		return fail(exitUsage, "idpsync get tenants lists the ids", "--tenant %q is not the id of a tenant", id)
	}
	return nil
}

func (a *app) tail(ctx context.Context, conn *stream.Conn, read func(context.Context, *stream.Conn, stream.Filter) iter.Seq2[stream.Stored, error], f stream.Filter, asJSON bool) error {
	colours := a.colours(a.stdout)
	foreign := foreignCount{app: a, what: "results"}
	defer foreign.report()
	f.Foreign = foreign.add
	for m, err := range read(ctx, conn, f) {
		if err != nil {
			return fail(exitFailure, "run idpsync migrate if the streams do not exist", "%w", err)
		}
		r, err := readResult(m)
		if err != nil {
			foreign.add(m)
			continue
		}
		if asJSON {
			err = json.NewEncoder(a.stdout).Encode(r)
		} else {
			_, err = io.WriteString(a.stdout, r.line(colours)+"\n")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A result is a result message as people read it.
type result struct {
	Time     time.Time       `json:"time"`
	Tenant   string          `json:"tenant"`
	Source   string          `json:"source"`
	EventID  string          `json:"event_id"`
	Status   string          `json:"status"`
	Outcome  string          `json:"outcome"`
	Policies string          `json:"policies,omitempty"`
	Body     json.RawMessage `json:"body"`

	user  resultUser
	fault record.ErrorBody
}

// resultUser is what both shapes of a user have in common, and enough to say who it is.
type resultUser struct {
	ID           string   `json:"id"`
	Email        string   `json:"email"`
	Name         string   `json:"name"`
	DisplayName  string   `json:"displayName"`
	Roles        []string `json:"roles"`
	IsOwner      bool     `json:"is_owner"`
	IdentityName string   `json:"identityName"`

	Organizations []json.RawMessage `json:"organizations"`
}

// readResult reads a published result. Errors are of class [record.ErrResult].
func readResult(m stream.Stored) (result, error) {
	published, err := record.ReadResult(record.Stored(m))
	if err != nil {
		return result{}, err
	}
	r := resultOf(published.Reply, published.Body)
	r.Time, r.EventID = m.StoredAt, published.Event.EventID
	r.Tenant, r.Source = record.TenantToken(published.Event.TenantID), record.SourceToken(published.Event.Source)
	return r, nil
}

// resultOf is an answer as the result that it is.
func resultOf(reply record.Reply, body []byte) result {
	r := result{
		EventID: reply.EventID, Status: strconv.Itoa(reply.Status), Outcome: string(reply.Outcome), Policies: strings.Join(reply.Policies, ","),
		Body: json.RawMessage(body),
	}
	if !json.Valid(body) {
		r.Body = json.RawMessage("null")
		return r
	}
	if reply.Outcome == record.OutcomeRejected {
		_ = json.Unmarshal(body, &r.fault) // a body of another form shows no details
	} else {
		_ = json.Unmarshal(body, &r.user)
	}
	return r
}

// line tells the result in one line: when, what, who, from where, why.
func (r result) line(colours bool) string {
	mark, colour := "✓", "32"
	switch {
	case r.Outcome == string(record.OutcomeRejected):
		mark, colour = "✗", "31"
	case r.Outcome != string(record.OutcomeCreated):
		mark, colour = "•", "36"
	}
	head := fmt.Sprintf("%s %s %-8s", mark, r.Status, r.Outcome)
	if colours {
		head = "\x1b[" + colour + "m" + head + "\x1b[0m"
	}
	return fmt.Sprintf("%s  %s  %-10s %s", r.Time.Local().Format("15:04:05"), head, printable(r.Source), printable(r.why()))
}

// why says who it is about, or what was wrong.
func (r result) why() string {
	if r.Outcome == string(record.OutcomeRejected) {
		s := string(r.fault.Code)
		if reason, ok := r.fault.Details["reason"].(string); ok {
			s += " (" + reason + ")"
		}
		s += ": " + r.fault.Message
		if fields, ok := r.fault.Details["fields"].([]any); ok {
			for _, f := range fields {
				if f, ok := f.(map[string]any); ok {
					s += fmt.Sprintf(" %v: %v", f["field"], f["message"])
				}
			}
		}
		if len(r.fault.Notices) > 0 {
			s += fmt.Sprintf(" %q", r.fault.Notices)
		}
		return s + "  [event " + r.EventID + "]"
	}
	name := r.user.Name
	if name == "" {
		name = r.user.DisplayName
	}
	s := r.user.Email
	if name != "" && name != s {
		s += " · " + name
	}
	if len(r.user.Roles) > 0 {
		s += fmt.Sprintf(" · roles %v", r.user.Roles)
	}
	if r.user.IsOwner {
		s += " · owner"
	}
	return s + "  [event " + r.EventID + "]"
}
