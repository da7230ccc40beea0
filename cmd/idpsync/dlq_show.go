package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/replay"
	"github.com/idpsync/idpsync/worker/stream"
)

func newDLQShowCommand(a *app) *cobra.Command {
	var asJSON, unseal, raw bool
	var why string
	cmd := &cobra.Command{
		Use:   "show SEQUENCE",
		Short: "Show one dead letter: what failed, why, and what to do",
		Long: `Show one dead letter with its record, the checks that its event fails now, and what would become of it now. Tokens,
assertions and passwords are not shown. With --unseal the event itself is, as it was sent; that is recorded with your
name and reason. On a terminal its control characters are escaped, as they could rewrite what you see; --raw shows them, and
so does output into a file or a pipe.`,
		Example: "  idpsync dlq show 17\n  idpsync dlq show 17 --unseal --why 'ticket 4711'",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().BoolVar(&unseal, "unseal", false, "show the event as it was sent, secrets and all; audited")
	cmd.Flags().StringVar(&why, "why", "", "with --unseal: the reason")
	cmd.Flags().BoolVar(&raw, "raw", false, "with --unseal: control characters as they are, also on a terminal")
	jsonFlag(cmd, &asJSON)
	return a.dlqVerb(cmd, func(ctx context.Context, d *deployment, args []string) error {
		var s dlqSelection
		if err := s.arguments(args); err != nil {
			return err
		}
		m, err := stream.DeadLetter(ctx, d.Conn, s.chosen.Sequences[0])
		if err != nil {
			return kit.Fail(kit.ExitPending, "idpsync dlq list shows what is there", "%w", err)
		}
		letter, genuine := replay.Read(d.Key, m)
		if !genuine {
			return kit.Fail(kit.ExitFailure, "idpsync dlq list shows the dead letters of this deployment", "message %d is no dead letter that a worker wrote: its signature does not hold", m.Sequence)
		}
		if unseal {
			return a.unseal(ctx, d, letter, why, raw || !isTerminal(a.stdout), asJSON)
		}
		shown := shownDeadLetter{deadLetter: shown(letter), Record: map[string]string{}}
		row, err := d.Store.DeadLetter(ctx, m.Sequence)
		switch {
		case err == nil:
			shown.State, shown.Outcome = row.State, row.Outcome
			shown.By, shown.Why = row.Who, row.Why
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		for name, values := range m.Header {
			if strings.HasPrefix(name, record.DeadLetterPrefix) && name != record.DeadLetterDetail {
				shown.Record[name] = strings.Join(values, ", ")
			}
		}
		if json.Valid([]byte(letter.Detail)) {
			shown.Error = json.RawMessage(letter.Detail)
		}
		forecasts, err := d.Worker.Forecast(ctx, []worker.Preview{{Letter: &letter.Message, Explain: true}})
		switch {
		case errors.Is(err, record.ErrSummary):
			shown.Now = "nothing can be replayed: " + record.ErrSummary.Error()
		case errors.Is(err, record.ErrRecord):
			shown.Now = "refused: " + err.Error()
		case err != nil:
			return err
		default:
			shown.Forecast = &forecasts[0]
			shown.Now = forecastWord(forecasts[0])
		}
		if asJSON {
			return printJSON(a.stdout, shown)
		}
		return a.showDeadLetter(shown)
	})
}

type shownDeadLetter struct {
	deadLetter
	Why      string            `json:"why,omitempty"`
	Error    json.RawMessage   `json:"error,omitempty"`
	Now      string            `json:"now"`
	Forecast *worker.Forecast  `json:"forecast,omitempty"`
	Record   map[string]string `json:"record"`
}

func (d shownDeadLetter) body() string {
	if d.Counted > 0 {
		return fmt.Sprintf("%d bytes: where the events were stored", d.Bytes)
	}
	return fmt.Sprintf("%d bytes, sealed", d.Bytes)
}

func (a *app) showDeadLetter(d shownDeadLetter) error {
	var body record.ErrorBody
	if len(d.Error) > 0 {
		_ = json.Unmarshal(d.Error, &body) // a record of another form shows no message
	}
	details := ""
	if delete(body.Details, "reason"); len(body.Details) > 0 {
		text, err := json.Marshal(body.Details)
		if err != nil {
			return err
		}
		details = string(text)
	}
	for _, l := range [][2]string{
		{"dead letter", strconv.FormatUint(d.Sequence, 10)},
		{"state", strings.TrimSpace(d.State + " " + d.Outcome)},
		{"by", d.By},
		{"why", d.Why},
		{"event", d.event()},
		{"subject", d.Subject},
		{"stored at", d.StoredAt},
		{"failed", d.cause()},
		{"message", body.Message},
		{"details", details},
		{"now", d.Now},
		{"what to do", d.Hint},
		{"class", d.Class},
		{"fingerprint", d.Fingerprint},
		{"replay of", d.Parent},
		{"body", d.body()},
	} {
		if strings.TrimSpace(l[1]) != "" {
			fmt.Fprintf(a.stdout, "%-12s %s\n", l[0], kit.Printable(l[1]))
		}
	}
	if d.Forecast != nil && d.Forecast.Request != nil {
		request, err := json.Marshal(d.Forecast.Request)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.stdout, "\nrequest, without its secrets\n  %s\n", kit.Printable(string(request)))
	}
	if d.Forecast != nil {
		fmt.Fprintln(a.stdout, "\nchecks that were made just now")
		for _, c := range d.Forecast.Checks {
			mark := "✓"
			if !c.OK {
				mark = "✗"
			}
			fmt.Fprintf(a.stdout, "  %s %-10s %-22s %s\n", mark, c.Step, kit.Printable(c.Name), kit.Printable(c.Detail))
		}
	}
	names := make([]string, 0, len(d.Record))
	for name := range d.Record {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprintln(a.stdout, "\nrecord")
	for _, name := range names {
		fmt.Fprintf(a.stdout, "  %-34s %s\n", kit.Printable(name), kit.Printable(d.Record[name]))
	}
	return nil
}

// unseal shows the event of a dead letter as it was sent, once that is on record.
func (a *app) unseal(ctx context.Context, d *deployment, l replay.Letter, why string, raw, asJSON bool) error {
	if strings.TrimSpace(why) == "" {
		return kit.Fail(kit.ExitUsage, "add --why 'the reason'", "unsealing is recorded, so it needs a reason")
	}
	o, err := record.Unseal(d.Key, l.Message.Header, l.Message.Data)
	if err != nil {
		return kit.Fail(kit.ExitFailure, "use the data directory, and so the seal key, of the deployment", "%w", err)
	}
	detail, err := json.Marshal(map[string]string{"why": why})
	if err != nil {
		return err
	}
	if err := d.Store.Audit(ctx, store.AuditEntry{
		At: a.now(), Tenant: l.Tenant, Who: record.Operator{Said: operator()}.String(), Action: "deadletter.unseal",
		Object: strconv.FormatUint(l.Sequence(), 10), Detail: detail,
	}); err != nil {
		return kit.Fail(kit.ExitFailure, "", "it is not shown, as it could not be recorded: %w", err)
	}
	if asJSON {
		return printJSON(a.stdout, unsealed{o.Subject, o.Header, o.Data})
	}
	fmt.Fprintf(a.stdout, "subject: %s\n", kit.Printable(o.Subject))
	names := make([]string, 0, len(o.Header))
	for name := range o.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range o.Header[name] {
			fmt.Fprintf(a.stdout, "%s: %s\n", kit.Printable(name), kit.Printable(v))
		}
	}
	body := string(o.Data)
	if !raw {
		body = escaped(body)
	}
	_, err = fmt.Fprintf(a.stdout, "\n%s\n", body)
	return err
}

// unsealed is the event of a dead letter as --json prints it. The body is in base64, as it may be of any form.
type unsealed struct {
	Subject string           `json:"subject"`
	Header  providers.Header `json:"header"`
	Body    []byte           `json:"body"`
}

// escaped makes a text harmless for a terminal and keeps it readable: lines and tabs stay, and what else moves the cursor,
// colours, hides or turns text around appears as an escape.
func escaped(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n' || r == '\t' || unicode.IsGraphic(r):
			b.WriteRune(r)
		case r < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		i += size
	}
	return b.String()
}

// forecastWord is a forecast in a word or two, the same for the same kind of end.
func forecastWord(f worker.Forecast) string {
	switch {
	case f.Waits != "":
		return "waits (" + f.Waits + ")"
	case f.Code != "":
		return strings.TrimSpace("still " + string(f.Code) + " " + f.Reason)
	case f.Repeat:
		return "already " + string(f.Outcome)
	default:
		return string(f.Outcome)
	}
}
