package main

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/providers/seal"
	"github.com/idpsync/idpsync/store"
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
message had brought. What is none of these is residue. What had two effects, or two results that differ, is twice.

Workers may run meanwhile. What is found is looked at a second time, as an event under way may look like one that is lost.
Messages among results and dead letters that no worker wrote prove nothing; they are passed over and counted. With the
seal key at hand, dead letters must have a signature that holds.

It only reads. With --since, or when results have expired, messages are accounted for from the first one whose fate is
known on. The publisher's own list of ids (--expected) also finds what never arrived; it reads no event that waits, so that
the list is complete only when none does.

The exit code is 0 when nothing is lost and nothing twice, and 1 otherwise.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.config(cmd)
			if err != nil {
				return err
			}
			p := &proof{limit: limit}
			if p.since, err = a.since(since); err != nil {
				return err
			}
			if expected != "" {
				if p.expected, err = readExpected(expected); err != nil {
					return err
				}
			}
			return a.prove(cmd.Context(), c, p, asJSON)
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

// readExpected reads event ids, one in each line. Tenants are compared in lower case.
func readExpected(name string) (map[string]bool, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fail(exitUsage, "name a file that can be read with --expected", "%w", err)
	}
	defer func() { _ = f.Close() }()
	ids := map[string]bool{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		parts := strings.SplitN(line, "/", 3)
		if len(parts) != 3 || parts[2] == "" {
			return nil, fail(exitUsage, "write each line as tenant/source/event-id", "%s:%d: %q is no event id", name, n, line)
		}
		tenant, ok := parseUUID(parts[0])
		if !ok {
			return nil, fail(exitUsage, "idpsync get tenants shows the ids", "%s:%d: %q is not the id of a tenant", name, n, parts[0])
		}
		ids[record.EventName(store.EventKey{TenantID: tenant, Source: parts[1], EventID: parts[2]})] = false
	}
	if err := lines.Err(); err != nil {
		return nil, fail(exitFailure, "", "%s: %w", name, err)
	}
	return ids, nil
}

// provePause lets what is under way arrive before it is looked at again.
const provePause = 2 * time.Second

func (a *app) prove(ctx context.Context, c config, p *proof, asJSON bool) (err error) {
	if c.noDatabase() {
		return fail(exitUsage, "name the folder with --data-dir, or a database with --database-url", "there is no database in %s", c.DataDir)
	}
	st, err := a.openStore(ctx, c, a.logger(c))
	if err != nil {
		return err
	}
	defer closeStore(st, &err)
	conn, err := a.connect(ctx, c)
	if err != nil {
		return err
	}
	defer conn.Close()
	p.store, p.conn = st, conn
	if p.key, err = proofKey(c); err != nil {
		return err
	}
	p.progress = func(label string) *progress { return a.progress(label, 0) }

	account, err := p.take(ctx)
	if err != nil {
		return proofFailed(err)
	}
	if account.suspect() {
		timer := time.NewTimer(provePause)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		second, err := p.take(ctx)
		if err != nil {
			return proofFailed(err)
		}
		account = second.confirming(account)
	}
	if asJSON {
		err = printJSON(a.stdout, account.limited(p.limit))
	} else {
		err = account.print(a.stdout, p.limit)
	}
	if err == nil && account.suspect() {
		return silentError{exitFailure}
	}
	return err
}

// proofKey reads the seal key, which tells genuine dead letters from others. Without the file the form alone does.
func proofKey(c config) (record.Sealer, error) {
	key, err := seal.ReadFile(c.sealKeyPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fail(exitFailure, shareSealKeyHint, "%w", err)
	}
	return key, nil
}

func proofFailed(err error) error {
	return fail(exitFailure, "check that broker and database are reachable and migrated, then run it again", "nothing is proved: %w", err)
}
