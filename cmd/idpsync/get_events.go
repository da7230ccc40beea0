package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

// eventItem is a row of the ledger without the body of its result, which holds a person's data.
type eventItem struct {
	TenantID   string   `json:"tenant_id"`
	Source     string   `json:"source"`
	EventID    string   `json:"event_id"`
	Scope      string   `json:"scope,omitempty"`
	Credential string   `json:"credential,omitempty"`
	Outcome    string   `json:"outcome"`
	Status     int      `json:"status"`
	UserID     string   `json:"user_id,omitempty"`
	Door       string   `json:"door"`
	Attempt    int      `json:"attempt"`
	Policies   []string `json:"policies,omitempty"`
	StoredAt   *string  `json:"stored_at"`
	At         *string  `json:"at"`
}

func newGetEventsCommand(a *app) *cobra.Command {
	var tenant, source, credential, outcome, since string
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "events",
		Short: "List the events that had an effect, latest first",
		Long: `List the events that had an effect, latest first: the ledger. Rejected events are not in it; idpsync dlq list
lists those.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd, func(ctx context.Context, st *store.Store, d store.Directory) error {
				f := store.EventFilter{Source: source, Credential: credential, Outcome: outcome, Limit: limit, Newest: true}
				var err error
				if f.Since, err = a.since(since); err != nil {
					return err
				}
				if f.Tenant, err = tenantID(d, tenant); err != nil {
					return err
				}
				events, err := st.Events(ctx, f)
				if err != nil {
					return kit.Fail(kit.ExitFailure, "check that the database is reachable", "events cannot be read: %w", err)
				}
				return a.print(listEvents(events, tenantNames(d), limit), asJSON)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&tenant, "tenant", "", "id or name of one tenant")
	f.StringVar(&source, "source", "", "only events of this source; admin for commands")
	f.StringVar(&credential, "credential", "", "only events that this credential sent, by its id")
	f.StringVar(&outcome, "outcome", "", "only this outcome: created, exists, linked, updated")
	f.StringVar(&since, "since", "", "only events processed since: 24h, 7d, or 2026-01-31T12:00:00Z")
	f.IntVar(&limit, "limit", store.DefaultLimit, "most events to list")
	jsonFlag(cmd, &asJSON)
	a.addSettings(cmd, areaStore)
	return cmd
}

func listEvents(events []store.Event, tenants map[string]string, limit int) listing {
	items := []eventItem{}
	l := listing{what: "events", heading: []string{"AT", "TENANT", "SOURCE", "EVENT ID", "CREDENTIAL", "OUTCOME", "STATUS", "USER", "DOOR"}}
	for _, e := range events {
		items = append(items, eventItem{
			e.TenantID, e.Source, e.EventID, e.Scope, e.Credential, e.Outcome, e.Status, e.UserID, e.Door, e.Attempt, e.Policies, stamp(e.StoredAt), stamp(e.At),
		})
		l.rows = append(l.rows, []string{
			when(e.At, "-"), dash(tenants[e.TenantID]), e.Source, e.EventID, dash(e.Credential), e.Outcome, fmt.Sprint(e.Status), dash(e.UserID), dash(e.Door),
		})
	}
	if len(items) == limit {
		l.more = "--limit N shows more, --since and --source fewer"
	}
	l.items = items
	return l
}

func newGetAuditCommand(a *app) *cobra.Command {
	var tenant, who, action, since string
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use: "audit", Short: "List who changed what, latest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd, func(ctx context.Context, st *store.Store, d store.Directory) error {
				f := store.AuditFilter{Who: who, Action: action, Limit: limit}
				var err error
				if f.Since, err = a.since(since); err != nil {
					return err
				}
				if f.Tenant, err = tenantID(d, tenant); err != nil {
					return err
				}
				entries, err := st.AuditEntries(ctx, f)
				if err != nil {
					return kit.Fail(kit.ExitFailure, "check that the database is reachable", "the audit cannot be read: %w", err)
				}
				return a.print(listAudit(entries, tenantNames(d)), asJSON)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&tenant, "tenant", "", "id or name of one tenant")
	f.StringVar(&who, "who", "", "only what this person or worker did")
	f.StringVar(&action, "action", "", "only this action, as in directory.apply")
	f.StringVar(&since, "since", "", "only since: 24h, 7d, or 2026-01-31T12:00:00Z")
	f.IntVar(&limit, "limit", store.DefaultLimit, "most entries to list")
	jsonFlag(cmd, &asJSON)
	a.addSettings(cmd, areaStore)
	return cmd
}

func listAudit(entries []store.AuditEntry, tenants map[string]string) listing {
	type item struct {
		ID     int64           `json:"id"`
		At     *string         `json:"at"`
		Tenant string          `json:"tenant,omitempty"`
		Who    string          `json:"who"`
		Action string          `json:"action"`
		Object string          `json:"object,omitempty"`
		Detail json.RawMessage `json:"detail,omitempty"`
	}
	items := []item{}
	l := listing{what: "audit entries", heading: []string{"AT", "WHO", "ACTION", "TENANT", "OBJECT", "DETAIL"}}
	for _, e := range entries {
		items = append(items, item{e.ID, stamp(e.At), e.Tenant, e.Who, e.Action, e.Object, e.Detail})
		l.rows = append(l.rows, []string{when(e.At, "-"), e.Who, e.Action, dash(tenants[e.Tenant]), dash(e.Object), dash(string(e.Detail))})
	}
	l.items = items
	return l
}

// since reads a time, or how long ago it was; the zero time for "".
func (a *app) since(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := strictyaml.ParseDuration(s); err == nil && d > 0 {
		return a.now().Add(-d), nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	return time.Time{}, kit.Fail(kit.ExitUsage, "24h, 7d, or a time such as 2026-01-31T12:00:00Z", "--since cannot be %q", s)
}

// tenantID finds a tenant by name. An id that the directory does not have may be that of a withdrawn tenant.
func tenantID(d store.Directory, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	if id, ok := parseUUID(name); ok {
		return id, nil
	}
	t, err := resolveTenant(d, name)
	return t.ID, err
}
