package main

import (
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/store"
)

const oneTenant = "tenants:\n  - id: 2489E9AD-2EE2-8E00-8EC9-32D5F69181C0\n    name: acme\n    roles: [{name: user}]\n"

// A meddler changes the directory when something is written to it: between the look and the write of apply.
type meddler struct {
	io.Writer
	meddle func()
	once   sync.Once
	always bool
}

func (m *meddler) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "to add") {
		if m.always {
			m.meddle()
		} else {
			m.once.Do(m.meddle)
		}
	}
	return m.Writer.Write(p)
}

// meddling applies a directory that grows by a tenant each time.
func meddling(t *testing.T, dataDir string) func() {
	n := 0
	return func() {
		n++
		st, err := store.Open(t.Context(), store.Options{Path: dataDir + "/" + sqliteFile})
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = st.Close() }()
		have, err := st.Directory(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		have.Tenants = append(have.Tenants, store.Tenant{ID: "00000000-0000-4000-8000-00000000000" + string(rune('0'+n)), Name: "intruder"})
		if _, err := st.ApplyDirectory(t.Context(), have.Revision, have, "somebody", time.Now()); err != nil {
			t.Error(err)
		}
	}
}

func TestApplyLooksAgainAfterSomebodyElse(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("d.yaml", []byte(oneTenant), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := idpsync(t.Context(), "migrate", "--only", "schema"); code != kit.ExitOK {
		t.Fatal("migrate fails with " + stderr)
	}
	var out, errs buffer
	code := run(t.Context(), []string{"apply", "-f", "d.yaml", "--yes"}, nil, strings.NewReader(""),
		&meddler{Writer: &out, meddle: meddling(t, "idpsync-data")}, &errs)
	if code != kit.ExitOK {
		t.Fatalf("apply ends with exit %d and %s, want %d: it looks again", code, errs.String(), kit.ExitOK)
	}
	if !strings.Contains(errs.String(), "changed by somebody else") {
		t.Errorf("apply prints %s, want that somebody else changed the directory", errs.String())
	}
	// The second look found the intruder, and what was shown last is what was written.
	if !strings.Contains(out.String(), "- tenant intruder") {
		t.Errorf("the new difference is not shown: %s", out.String())
	}
	_, tenants, _ := idpsync(t.Context(), "get", "tenants")
	if strings.Contains(tenants, "intruder") || !strings.Contains(tenants, "acme") {
		t.Errorf("the tenants are %s, want acme without the intruder", tenants)
	}
}

func TestApplyGivesUpWhenOthersDoNotStop(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("d.yaml", []byte(oneTenant), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := idpsync(t.Context(), "migrate", "--only", "schema"); code != kit.ExitOK {
		t.Fatal("migrate fails with " + stderr)
	}
	var out, errs buffer
	code := run(t.Context(), []string{"apply", "-f", "d.yaml", "--yes"}, nil, strings.NewReader(""),
		&meddler{Writer: &out, meddle: meddling(t, "idpsync-data"), always: true}, &errs)
	if code != kit.ExitRefused || !strings.Contains(errs.String(), "nothing was written") {
		t.Errorf("apply ends with exit %d and %s, want %d and that nothing was written", code, errs.String(), kit.ExitRefused)
	}
}

func TestApplyStopsWhenItsContextEnds(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("d.yaml", []byte(oneTenant), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code, _, stderr := idpsync(ctx, "apply", "-f", "d.yaml", "--yes"); code != kit.ExitFailure {
		t.Errorf("apply with an ended context ends with exit %d and %s, want %d", code, stderr, kit.ExitFailure)
	}
}

// A dry run leaves no trace, not even an empty database.
func TestDryRunOnNothingMakesNothing(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("d.yaml", []byte(oneTenant), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, stderr := idpsync(t.Context(), "apply", "-f", "d.yaml", "--dry-run"); code != kit.ExitPending || !strings.Contains(out, "+ tenant acme") {
		t.Errorf("the dry run ends with exit %d and %s%s, want %d and the tenant acme added", code, out, stderr, kit.ExitPending)
	}
	if _, err := os.Stat("idpsync-data"); !os.IsNotExist(err) {
		t.Errorf("a data directory was made: %v", err)
	}
}
