package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers/seal"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/proof"
	"github.com/idpsync/idpsync/worker/record"
)

func newProveCommand(a *app) *cobra.Command {
	var since, expected string
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "prove",
		Short: "Prove that no event was lost and none had two effects",
		Long: `Prove that no event was lost and none had two effects, by what broker and database hold and not by what any worker says.

Every message that IDPSYNC_EVENTS ever stored must wait there still, be parked, have a row in the ledger with exactly
one result, have a dead letter with a rejected result, have been an ordinary repeat, or have brought an event that another
message had brought. What is none of these is unaccounted for. What had two effects, or two results that differ, is duplicated.

Workers may run meanwhile. What is found is looked at a second time, as an event under way may look like one that is lost.
Messages among results and dead letters that no worker wrote prove nothing; they are passed over and counted. With the
seal key at hand, dead letters must have a signature that holds.

It says at its end in a sentence whether the account balances, and what to do next. It only reads. With --since, or when results have expired, messages are accounted for from the first one whose fate is
known on. The publisher's own list of ids (--expected) also finds what never arrived; it reads no event that waits, so that
the list is complete only when none does.

The exit code is 0 when nothing is unaccounted for and nothing duplicated, and 1 otherwise.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.config(cmd)
			if err != nil {
				return err
			}
			var o proof.Options
			if _, err = a.since(since); err != nil {
				return err
			}
			if expected != "" {
				if o.Expected, err = readExpected(expected); err != nil {
					return err
				}
			}
			account, err := a.prove(cmd.Context(), c, since, o)
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(a.stdout, proved{account.Limited(limit), account.Verdict()})
			} else {
				err = printAccount(a.stdout, account, limit)
			}
			if err == nil && !account.Holds() {
				return silentError{kit.ExitFailure}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&since, "since", "", "only events that were stored since: 24h, 7d, or 2026-01-31T12:00:00Z")
	f.StringVar(&expected, "expected", "", "file of what was published: tenant/source/event-id, one in each line (source admin for commands)")
	f.IntVar(&limit, "limit", 100, "most ids to list; all are counted")
	jsonFlag(cmd, &asJSON)
	a.addSettings(cmd, areaStore, areaBroker)
	return cmd
}

// proved is what prove prints with --json.
type proved struct {
	*proof.Account
	Verdict string `json:"verdict"`
}

// readExpected reads event ids, one in each line. Tenants are compared in lower case.
func readExpected(name string) ([]store.EventKey, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, kit.Fail(kit.ExitUsage, "name a file that can be read with --expected", "%w", err)
	}
	defer func() { _ = f.Close() }()
	keys := []store.EventKey{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		key, ok := record.ParseEventName(line)
		if !ok || key.EventID == "" {
			return nil, kit.Fail(kit.ExitUsage, "write each line as tenant/source/event-id", "%s:%d: %q is no event id", name, n, line)
		}
		tenant, ok := parseUUID(key.TenantID)
		if !ok {
			return nil, kit.Fail(kit.ExitUsage, "idpsync get tenants shows the ids", "%s:%d: %q is not the id of a tenant", name, n, key.TenantID)
		}
		key.TenantID = tenant
		keys = append(keys, key)
	}
	if err := lines.Err(); err != nil {
		return nil, kit.Fail(kit.ExitFailure, "", "%s: %w", name, err)
	}
	return keys, nil
}

// prove takes an account of broker and database. Since goes by the database's clock.
func (a *app) prove(ctx context.Context, c config, since string, o proof.Options) (account *proof.Account, err error) {
	if c.noDatabase() {
		return nil, kit.Fail(kit.ExitUsage, "name the folder with --data-dir, or a database with --database-url", "there is no database in %s", c.DataDir)
	}
	st, err := a.openStore(ctx, c, a.logger(c))
	if err != nil {
		return nil, err
	}
	defer closeStore(st, &err)
	if o.Since, err = a.since(since); err != nil {
		return nil, err
	}
	conn, err := a.connect(ctx, c)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if o.Sealer, err = proofKey(c); err != nil {
		return nil, err
	}
	o.Store, o.Broker = st, proof.Streams(conn)
	o.Progress = func(label string) (add, end func()) {
		bar := a.progress(label, 0)
		return func() { bar.Add(1) }, bar.Close
	}
	if account, err = proof.Confirmed(ctx, o); err != nil {
		return nil, kit.Fail(kit.ExitFailure, "check that broker and database are reachable and migrated, then run it again", "nothing is proved: %w", err)
	}
	return account, nil
}

// proofKey reads the seal key, which tells genuine dead letters from others. Without the file the form alone does.
func proofKey(c config) (record.Sealer, error) {
	key, err := seal.ReadFile(c.sealKeyPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, kit.Fail(kit.ExitFailure, shareSealKeyHint, "%w", err)
	}
	return key, nil
}

// owedLetters says how many dead letters are not where they belong.
func owedLetters(r *proof.Account) string {
	if r.LettersOwed == 0 {
		return ""
	}
	return fmt.Sprintf("and %d that are parked, as their stream refused them", r.LettersOwed)
}

// printAccount prints an account, with at most limit findings of each kind.
func printAccount(w io.Writer, r *proof.Account, limit int) error {
	e := r.Events
	rows := [][]string{
		{"stored by the broker", fmt.Sprint(e.Stored), fmt.Sprintf("%s %d to %d", r.Stream, e.From, e.To)},
		{"  waiting", fmt.Sprint(e.Waiting), "stored still, or in a worker's hands"},
		{"  parked", fmt.Sprint(e.Parked), "until what they need is reachable, or their dead letter can be stored"},
		{"  had an effect", fmt.Sprint(e.Effects), "a row in the ledger and its result"},
		{"  dead letter", fmt.Sprint(e.DeadLetters), "and a rejected result"},
		{"  counted", fmt.Sprint(e.Counted), "a rejected result, and a place in a summary"},
		{"  ordinary repeat", fmt.Sprint(e.Refused), "a rejected result alone"},
		{"  sent again", fmt.Sprint(e.SentAgain), "an event that another message had brought"},
		{"  without a trace", fmt.Sprint(e.Untraced), ""},
		{"ledger", fmt.Sprint(r.Ledger.Rows), fmt.Sprintf("%d with their result, %d whose result is owed, %d expired, %d erased",
			r.Ledger.Told, r.Ledger.Owed, r.Ledger.Expired, r.Ledger.Erased)},
		{"results", fmt.Sprint(r.Results), "distinct ids"},
		{"dead letters", fmt.Sprint(r.DeadLetters), owedLetters(r)},
	}
	if !r.HistoryFrom.IsZero() {
		rows = append(rows, []string{"history from", r.HistoryFrom.Format(time.RFC3339), "rows of the ledger from before are deleted, so that nothing is asked of events from before"})
	}
	if !r.GapAccepted.IsZero() {
		rows = append(rows, []string{"gap accepted", r.GapAccepted.Format(time.RFC3339), "an operator accepted that broker or database had lost events, so that nothing is asked of events from before"})
	}
	if f := r.Foreign; f.Results+f.DeadLetters > 0 {
		where := fmt.Sprintf("no worker wrote them: %d among the results, %d among the dead letters", f.Results, f.DeadLetters)
		rows = append(rows, []string{"passed over", fmt.Sprint(f.Results + f.DeadLetters), where})
	}
	if r.Expected != nil {
		found := fmt.Sprintf("%d found", r.Expected.Found)
		if r.Expected.Unknown > 0 {
			found += fmt.Sprintf("; %d may be among those that wait: prove it again when these are done", r.Expected.Unknown)
		}
		rows = append(rows, []string{"expected", fmt.Sprint(r.Expected.Events), found})
	}
	if err := printTable(w, []string{"WHAT", "COUNT", ""}, rows); err != nil {
		return err
	}
	for _, part := range []struct {
		name string
		all  []proof.Finding
	}{{"unaccounted", r.Unaccounted}, {"duplicated", r.Duplicated}} {
		fmt.Fprintf(w, "%s %d\n", part.name, len(part.all))
		for i, f := range part.all {
			if i == limit {
				fmt.Fprintf(w, "  and %d more; --limit shows them\n", len(part.all)-limit)
				break
			}
			fmt.Fprintf(w, "  %s  %s\n", kit.Printable(f.ID), f.What)
		}
	}
	fmt.Fprintln(w, r.Verdict())
	return nil
}
