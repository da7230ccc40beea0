package main

import (
	"os"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
)

// Whoever would have events asked for after the ledger has forgotten them is refused, on either side.
func TestTheLedgerIsKeptForLongEnough(t *testing.T) {
	t.Chdir(t.TempDir())
	slow := strings.TrimSuffix(oneTenant, "\n") + `
    sources:
      - {name: workday, kind: feed, grants: [], max_event_age: 150d}
`
	if err := os.WriteFile("d.yaml", []byte(slow), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"migrate --only schema", kit.ExitOK, "schema (sqlite)"},
		{"apply -f d.yaml --yes", kit.ExitUsage, "source workday has max_event_age 150d, and the ledger is kept for 100d only"},
		{"migrate --only schema --ledger-age 12h", kit.ExitUsage, "is not a time from 1d"},
		{"migrate --only schema --audit-age 1d", kit.ExitUsage, "is not a time from 30d"},
		{"migrate --only streams --ledger-age 200d", kit.ExitUsage, "are kept in the database"},
		{"migrate --only schema --ledger-age 200d --dry-run", kit.ExitPending, "would keep the ledger for 200d"},
		{"migrate --only schema --ledger-age 200d", kit.ExitOK, "keeps the ledger for 200d and the audit for 730d"},
		{"apply -f d.yaml --yes", kit.ExitOK, ""},
		{"migrate --only schema --ledger-age 140d", kit.ExitUsage, "source workday has max_event_age 150d, and the ledger is kept for 140d only"},
		{"migrate --only schema --json", kit.ExitOK, `"ledger": "200d"`},
	} {
		code, stdout, stderr := idpsync(t.Context(), strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(stdout+stderr, c.says) {
			t.Errorf("idpsync %s ends with exit %d and %s%s, want %d and %q", c.args, code, stdout, stderr, c.code, c.says)
		}
	}
}
