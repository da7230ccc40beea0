package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/policy"
	"github.com/idpsync/idpsync/worker/record"
)

func newPolicyDiffCommand(a *app) *cobra.Command {
	var folder, since, tenant string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff --new DIR",
		Short: "Say which recent events other policies would have decided otherwise",
		Long: `Ask the policies of a folder about the events that the ledger has, each as it was asked then, and show those that they
would decide otherwise: whole requests, and single roles. Nothing is changed. With a difference the exit code is 3.`,
		Example: "  idpsync policy diff --new policies.next --since 24h",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVar(&folder, "new", "", "folder of *.cedar files; required")
	cmd.Flags().StringVar(&since, "since", "24h", "events processed since: a duration, or a time")
	cmd.Flags().StringVar(&tenant, "tenant", "", "only of this tenant (UUID or name)")
	jsonFlag(cmd, &asJSON)
	a.addSettings(cmd, areaStore)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if folder == "" {
			return kit.Fail(kit.ExitUsage, "name the folder of the policies to compare with", "--new is missing")
		}
		next, err := compilePolicies(folder)
		if err != nil {
			return err
		}
		if _, err := a.since(since); err != nil {
			return err
		}
		return a.withStore(cmd, func(ctx context.Context, st *store.Store, d store.Directory) error {
			from, err := a.since(since) // by the database's clock
			if err != nil {
				return err
			}
			id, err := tenantID(d, tenant)
			if err != nil {
				return err
			}
			p := policyDiff{app: a, next: next}
			if err := p.walk(ctx, st, store.EventFilter{Tenant: id, Since: from, Limit: 1000}); err != nil {
				return err
			}
			return p.print(asJSON)
		})
	}
	return cmd
}

// A changedDecision is an event that other policies would have decided otherwise.
type changedDecision struct {
	At       time.Time `json:"at"`
	Tenant   string    `json:"tenant"`
	Source   string    `json:"source"`
	EventID  string    `json:"event_id"`
	Outcome  string    `json:"outcome"` // then
	Then     []string  `json:"then"`    // ids of the policies that decided
	Now      string    `json:"now"`     // deny, partial or error
	Policies []string  `json:"policies"`
	Notices  []string  `json:"notices"`
	Roles    []string  `json:"roles,omitempty"` // that would be denied
}

type policyDiff struct {
	app       *app
	next      *policy.Set
	asked     int
	unknown   int
	decisions []changedDecision
}

// walk asks the new policies about each event. All events of the ledger were allowed, so what is not allowed now is a
// difference; roles that were dropped then are not asked about again.
func (p *policyDiff) walk(ctx context.Context, st *store.Store, f store.EventFilter) error {
	bar := p.app.progress("events", 0)
	defer bar.Close()
	for {
		rows, err := st.Events(ctx, f)
		if err != nil {
			return err
		}
		for i := range rows {
			p.ask(ctx, &rows[i])
			f.After = rows[i].Key()
		}
		bar.Add(int64(len(rows)))
		if len(rows) < f.Limit {
			return nil
		}
	}
}

func (p *policyDiff) ask(ctx context.Context, row *store.Event) {
	req, ok := record.RecordedRequest(row)
	if !ok {
		p.unknown++
		return
	}
	p.asked++
	d := p.next.Authorize(ctx, req)
	verdict := policy.VerdictOf(d)
	if verdict == policy.VerdictAllow {
		return
	}
	c := changedDecision{
		At: row.At, Tenant: row.TenantID, Source: row.Source, EventID: row.EventID, Outcome: row.Outcome, Then: row.Policies,
		Now: string(verdict), Policies: d.Policies, Notices: d.Notices,
	}
	for _, g := range d.Denied {
		c.Roles = append(c.Roles, g.Role)
		c.Policies = append(c.Policies, g.Policies...)
		c.Notices = append(c.Notices, g.Notices...)
	}
	p.decisions = append(p.decisions, c)
}

func (p *policyDiff) print(asJSON bool) error {
	w := p.app.stdout
	if asJSON {
		if err := printJSON(w, map[string]any{"asked": p.asked, "not_recorded": p.unknown, "changed": append([]changedDecision{}, p.decisions...)}); err != nil {
			return err
		}
	} else {
		rows := make([][]string, len(p.decisions))
		for i, c := range p.decisions {
			rows[i] = []string{
				c.At.UTC().Format(time.RFC3339), c.Source, c.EventID, c.Outcome, c.Now, strings.Join(c.Roles, ","),
				strings.Join(c.Policies, ","), strings.Join(c.Notices, " "),
			}
		}
		if len(rows) > 0 {
			if err := printTable(w, []string{"TIME", "SOURCE", "EVENT", "THEN", "NOW", "ROLES", "POLICIES", "NOTICES"}, rows); err != nil {
				return err
			}
		}
		fmt.Fprintf(w, "%d events asked about, %d would be decided otherwise", p.asked, len(p.decisions))
		if p.unknown > 0 {
			fmt.Fprintf(w, ", %d have no record of what was asked", p.unknown)
		}
		fmt.Fprintln(w)
	}
	if len(p.decisions) > 0 {
		return silentError{kit.ExitPending}
	}
	return nil
}
