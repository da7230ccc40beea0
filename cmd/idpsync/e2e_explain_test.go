package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
)

// TestExplainSaysWhyInOneScreen explains an event of each kind from a file, and the last of them as a dead letter too.
func TestExplainSaysWhyInOneScreen(t *testing.T) {
	m := newDemo(t)
	if err := m.Send(t.Context(), "login-2"); err != nil { // Ada, as she is known in the second
		t.Fatal(err)
	}
	var b strings.Builder
	file := filepath.Join(t.TempDir(), "event.json")
	for _, c := range []struct{ what, id string }{
		{"created", "login-3"}, {"conflicting", "login-4"}, {"forged", "login-6"}, {"forbidden", "policy-1"},
	} {
		subject, body, err := m.Event(c.id)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, body, 0o600); err != nil {
			t.Fatal(err)
		}
		got := runProgram(t, "", "explain", "--data-dir", m.Folder(), "--file", file, "--subject", subject, "--log-level", "error")
		if got.code != kit.ExitOK || got.stderr != "" {
			t.Fatalf("explain of a %s event ends with exit %d, want %d and no errors\n%s%s", c.what, got.code, kit.ExitOK, got.stdout, got.stderr)
		}
		if lines := strings.Count(got.stdout, "\n"); lines > 60 {
			t.Errorf("%s: the explanation has %d lines, want a screen of at most 60", c.what, lines)
		}
		b.WriteString("=== a " + c.what + " event ===\n\n" + steadyExplanation(got.stdout, m.Folder()) + "\n")
	}
	golden(t, filepath.Join("testdata", "explain.golden"), b.String())

	if err := m.Send(t.Context(), "policy-1"); err != nil {
		t.Fatal(err)
	}
	letter := runProgram(t, "", "explain", "--data-dir", m.Folder(), "--dead-letter", "1", "--log-level", "error")
	if letter.code != kit.ExitOK || !strings.Contains(letter.stdout, "demo.no-contractors") || !strings.Contains(letter.stdout, "403 rejected") {
		t.Errorf("explain of the dead letter ends with exit %d, want %d, 403 and the policy demo.no-contractors\n%s%s", letter.code, kit.ExitOK, letter.stdout, letter.stderr)
	}
}

// steadyExplanation replaces what differs from run to run.
func steadyExplanation(s, folder string) string {
	s = steadyDemo(s, folder)
	s = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`).ReplaceAllString(s, "<id>")
	return regexp.MustCompile(`kid "[0-9a-f]{16}"`).ReplaceAllString(s, `kid "<kid>"`)
}
