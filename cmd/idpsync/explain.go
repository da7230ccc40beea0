package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/policy"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

func newExplainCommand(a *app) *cobra.Command {
	x := &explainer{app: a}
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Say step by step what becomes of an event, and why",
		Long: `Take an event through the very pipeline of the worker, in a transaction that is rolled back, and show every step:
each verification check, each mapped field with the expression that it came from, each validation and role check, which
user it is about, the policies that decide with their text, what would be written, and the answer.

The event is a file, a dead letter, or one that the ledger has. Of the last kind only the record is shown, as the ledger
keeps no payloads.`,
		Example: `  idpsync explain --file login.json --subject idpsync.login.2489e9ad-2ee2-8e00-8ec9-32d5f69181c0.okta
  idpsync explain --dead-letter 17
  idpsync explain --event 2489e9ad-2ee2-8e00-8ec9-32d5f69181c0/okta/login-1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case x.file == "" && x.letter == 0 && x.event == "":
				return kit.Fail(kit.ExitUsage, "see idpsync help explain", "nothing to explain: name a --file, a --dead-letter or an --event")
			case x.file != "" && x.subject == "":
				return kit.Fail(kit.ExitUsage, "as in idpsync.login.<tenant>.<source>", "--file needs a --subject, which names tenant and source")
			}
			c, err := a.config(cmd)
			if err != nil {
				return err
			}
			return x.run(cmd.Context(), c, a.logger(c))
		},
	}
	cmd.Flags().StringVar(&x.file, "file", "", "the event's body; - for standard input")
	cmd.Flags().StringVar(&x.subject, "subject", "", "with --file: the subject on which it would be published")
	cmd.Flags().StringArrayVar(&x.headers, "header", nil, "with --file: a header, as in 'X-Tenant-ID: …'; may be repeated")
	cmd.Flags().StringVar(&x.storedAt, "stored-at", "", "with --file: when it was stored (RFC 3339); default now")
	cmd.Flags().StringVar(&x.door, "door", "", "with --file: the way by which it would come, stream, rpc or http; default that of the subject")
	cmd.Flags().Uint64Var(&x.letter, "dead-letter", 0, "sequence of a dead letter")
	cmd.Flags().StringVar(&x.event, "event", "", "an event of the ledger, as TENANT/SOURCE/ID")
	cmd.Flags().StringVar(&x.scope, "scope", "", "with --event: whose it is, as in credential/hr-import, when several senders used its id")
	cmd.MarkFlagsMutuallyExclusive("file", "dead-letter", "event")
	jsonFlag(cmd, &x.json)
	a.addSettings(cmd, areaStore, areaBroker)
	return cmd
}

type explainer struct {
	app      *app
	file     string
	subject  string
	headers  []string
	storedAt string
	door     string
	letter   uint64
	event    string
	scope    string
	json     bool
}

func (x *explainer) run(ctx context.Context, c config, log *slog.Logger) error {
	d, err := x.app.deployOffline(ctx, c, log, x.letter > 0)
	if err != nil {
		return err
	}
	defer d.Close()
	if x.event != "" {
		return x.record(ctx, d)
	}
	preview := worker.Preview{Subject: x.subject, Header: providers.Header{}, Explain: true, EventID: "explain", StoredAt: x.app.now()}
	if x.letter > 0 {
		m, err := stream.DeadLetter(ctx, d.Conn, x.letter)
		if err != nil {
			return kit.Fail(kit.ExitPending, "idpsync dlq list shows what is there", "%w", err)
		}
		preview = worker.Preview{Letter: &m, Explain: true}
	} else if err := x.read(&preview); err != nil {
		return err
	}
	forecasts, err := d.Worker.Forecast(ctx, []worker.Preview{preview})
	if errors.Is(err, record.ErrRecord) {
		return kit.Fail(kit.ExitFailure, "use the data directory, and so the seal key, of the deployment", "%w", err)
	}
	if err != nil {
		return err
	}
	return x.print(d.Policies.Set(), forecasts[0])
}

func (x *explainer) read(p *worker.Preview) (err error) {
	if x.file == "-" {
		p.Data, err = io.ReadAll(io.LimitReader(x.app.stdin, 64<<20))
	} else {
		p.Data, err = os.ReadFile(x.file)
	}
	if err != nil {
		return kit.Fail(kit.ExitUsage, "name a file that can be read with --file", "%w", err)
	}
	for _, h := range x.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return kit.Fail(kit.ExitUsage, "write it as 'Name: value'", "--header %q has no colon", h)
		}
		name = strings.TrimSpace(name)
		p.Header[name] = append(p.Header[name], strings.TrimSpace(value))
	}
	switch p.Door = providers.Door(x.door); p.Door {
	case "", providers.DoorStream, providers.DoorRPC, providers.DoorHTTP:
	default:
		return kit.Fail(kit.ExitUsage, "one of stream, rpc, http", "--door cannot be %q", x.door)
	}
	if x.storedAt != "" {
		if p.StoredAt, err = time.Parse(time.RFC3339, x.storedAt); err != nil {
			return kit.Fail(kit.ExitUsage, "as in 2026-11-21T08:00:00Z", "--stored-at: %w", err)
		}
	}
	return nil
}

// An explanation is a forecast with the texts of the policies that decided.
type explanation struct {
	worker.Forecast
	Body        json.RawMessage `json:"body,omitempty"`
	PolicyTexts []policy.Policy `json:"policy_texts,omitempty"`
}

func (x *explainer) print(set *policy.Set, f worker.Forecast) error {
	e := explanation{Forecast: f}
	if json.Valid(f.Body) {
		e.Body = f.Body
	}
	for _, id := range f.Policies {
		if p, ok := set.Policy(id); ok {
			e.PolicyTexts = append(e.PolicyTexts, p)
		}
	}
	if x.json {
		return printJSON(x.app.stdout, e)
	}
	return e.tree(x.app.stdout, x.app.colours(x.app.stdout))
}

// quiet reports whether there is nothing to say of a check but that it held.
func quiet(c providers.Check) bool { return c.OK && c.Detail == "" }

// tree prints the explanation step by step. The sections of standards that checks come from are shown where there is
// more to say than that they held; --json has all.
func (e explanation) tree(w io.Writer, colours bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "event      %s\nsubject    %s\nstored at  %s\n", kit.Printable(e.EventID), kit.Printable(e.Subject), e.StoredAt.UTC().Format(time.RFC3339))
	if e.Replayed {
		b.WriteString("judged as  a replay\n")
	}
	b.WriteString("\n")
	step := ""
	for i := 0; i < len(e.Checks); i++ {
		c := e.Checks[i]
		heading := ""
		if c.Step != step {
			step, heading = c.Step, c.Step
		}
		mark := "✓"
		if !c.OK {
			mark = "✗"
		}
		if colours {
			mark = map[bool]string{true: "\x1b[32m", false: "\x1b[31m"}[c.OK] + mark + "\x1b[0m"
		}
		line := kit.Printable(c.Name)
		if quiet(c) { // with all like it that follow, as far as the line goes
			for ; i+1 < len(e.Checks) && e.Checks[i+1].Step == step && quiet(e.Checks[i+1]) && len(line) < 80; i++ {
				line += ", " + kit.Printable(e.Checks[i+1].Name)
			}
		} else {
			line = fmt.Sprintf("%-18s %s", line, kit.Printable(c.Detail))
			if c.Spec != "" {
				line += "  [" + c.Spec + "]"
			}
		}
		fmt.Fprintf(&b, "%-9s %s %s\n", heading, mark, strings.TrimRight(line, " "))
	}
	for _, p := range e.PolicyTexts {
		fmt.Fprintf(&b, "\npolicy %s (%s:%d)\n  %s\n", p.ID, p.File, p.Line, strings.ReplaceAll(strings.TrimSpace(p.Text), "\n", "\n  "))
	}
	b.WriteString("\nanswer\n")
	switch {
	case e.Waits != "":
		fmt.Fprintf(&b, "  it would wait: %s\n", e.Waits)
	default:
		repeat := ""
		if e.Repeat {
			repeat = " (again: it had its effect before)"
		}
		fmt.Fprintf(&b, "  %d %s%s\n", e.Status, e.Outcome, repeat)
		if e.Code != "" {
			fmt.Fprintf(&b, "  %s\n", strings.TrimSpace(string(e.Code)+" "+e.Reason))
		}
		if len(e.Body) > 0 {
			fmt.Fprintf(&b, "  %s\n", kit.Printable(string(e.Body)))
		}
		if e.Hint != "" {
			fmt.Fprintf(&b, "  hint: %s\n", e.Hint)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// record shows what the ledger says of an event.
func (x *explainer) record(ctx context.Context, d *deployment) error {
	key, ok := record.ParseEventName(x.event)
	if !ok {
		return kit.Fail(kit.ExitUsage, "as in 2489e9ad-2ee2-8e00-8ec9-32d5f69181c0/okta/login-1", "--event %q is not TENANT/SOURCE/ID", x.event)
	}
	rows, err := d.Store.Events(ctx, store.EventFilter{Tenant: key.TenantID, Source: key.Source, EventID: key.EventID})
	if err != nil {
		return err
	}
	if scope := cmp.Or(x.scope, key.Scope); scope != "" {
		rows = slices.DeleteFunc(rows, func(e store.Event) bool { return e.Scope != scope })
	}
	switch len(rows) {
	case 0:
		return kit.Fail(kit.ExitPending, "a rejected event is among the dead letters: idpsync dlq list", "the ledger has no such event")
	case 1:
	default:
		scopes := make([]string, len(rows))
		for i, row := range rows {
			scopes[i] = dash(kit.Printable(row.Scope))
		}
		return kit.Fail(kit.ExitUsage, "say whose with --scope", "%d senders used this event id: %s", len(rows), strings.Join(scopes, ", "))
	}
	row := rows[0]
	e := explanation{
		Forecast: worker.Forecast{
			Tenant: row.TenantID, Source: row.Source, EventID: row.EventID, StoredAt: row.StoredAt, Outcome: record.Outcome(row.Outcome),
			Status: row.Status, Policies: row.Policies,
			Checks: []providers.Check{
				{Step: "ledger", Name: "processed", OK: true, Detail: row.At.UTC().Format(time.RFC3339Nano)},
				{Step: "ledger", Name: "door", OK: true, Detail: row.Door},
				{Step: "ledger", Name: "user", OK: true, Detail: row.UserID},
				{Step: "ledger", Name: "attempt", OK: true, Detail: strconv.Itoa(row.Attempt)},
			},
		},
	}
	if row.Scope != "" {
		e.Checks = append(e.Checks, providers.Check{Step: "ledger", Name: "scope", OK: true, Detail: row.Scope})
	}
	if row.Credential != "" {
		e.Checks = append(e.Checks, providers.Check{Step: "ledger", Name: "credential", OK: true, Detail: row.Credential})
	}
	if json.Valid(row.Result) {
		e.Forecast.Body = row.Result
	}
	return x.print(d.Policies.Set(), e.Forecast)
}
