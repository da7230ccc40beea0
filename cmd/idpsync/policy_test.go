package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/worker/policy"
)

// policyVerb runs `idpsync policy …` and returns its exit code and streams.
func policyVerb(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"policy"}, args...), nil, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

const exampleFolder = "../../deploy/policies/examples"

func TestPolicyTest(t *testing.T) {
	cases := filepath.Join(exampleFolder, "cases.yaml")
	if code, out, errs := policyVerb(t, "test", cases, "--policies", exampleFolder); code != kit.ExitOK || !strings.Contains(out, " 0 failed") {
		t.Errorf("policy test ends with exit %d, want %d and no failed case\n%s%s", code, kit.ExitOK, out, errs)
	}
	// Without the folder the built-in policies decide alone, which is not what the cases expect.
	code, out, _ := policyVerb(t, "test", cases)
	if code != kit.ExitFailure || !strings.Contains(out, "cases.yaml:") || !strings.Contains(out, "decision: expected deny, found allow") {
		t.Errorf("policy test without the folder ends with exit %d, want %d and the case that differs\n%s", code, kit.ExitFailure, out)
	}
	code, out, _ = policyVerb(t, "test", cases, "--json")
	var report policy.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != kit.ExitFailure || report.Failed == 0 || report.Passed == 0 {
		t.Errorf("policy test --json ends with exit %d and is read with the error %v, want %d with cases that passed and failed\n%s", code, err, kit.ExitFailure, out)
	}
	for name, args := range map[string][]string{
		"no file":      {"test", filepath.Join(t.TempDir(), "none.yaml")},
		"no arguments": {"test"},
		"no folder":    {"test", cases, "--policies", filepath.Join(t.TempDir(), "none")},
		"empty folder": {"test", cases, "--policies", t.TempDir()},
	} {
		if code, _, errs := policyVerb(t, args...); code != kit.ExitUsage || !strings.Contains(errs, "hint: ") {
			t.Errorf("%s: policy test ends with exit %d, want %d and a hint\n%s", name, code, kit.ExitUsage, errs)
		}
	}
}

func TestPolicyCheck(t *testing.T) {
	if code, out, errs := policyVerb(t, "check", exampleFolder); code != kit.ExitOK || !strings.Contains(out, "no faults") {
		t.Errorf("policy check ends with exit %d, want %d and no faults\n%s%s", code, kit.ExitOK, out, errs)
	}
	folder := t.TempDir()
	file := filepath.Join(folder, "broken.cedar")
	text := "permit (principal, action, resource);\nforbid (principal, action, resource) when { context.dor == Door::\"http\" };\nforbid (principal);\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errs := policyVerb(t, "check", folder)
	for _, want := range []string{file + ":2:53: ", `did you mean "door"?`, file + ":3:", "hint: "} {
		if code != kit.ExitFailure || !strings.Contains(errs, want) {
			t.Errorf("policy check ends with exit %d, want %d and %q in\n%s", code, kit.ExitFailure, want, errs)
		}
	}
}

func TestPolicyShow(t *testing.T) {
	if code, out, _ := policyVerb(t, "show"); code != kit.ExitOK || !strings.Contains(out, "builtin.own-tenant") {
		t.Errorf("policy show ends with exit %d, want %d and the built-in policies\n%s", code, kit.ExitOK, out)
	}
	if code, out, _ := policyVerb(t, "show", "verified-email", "--policies", exampleFolder); code != kit.ExitOK || !strings.Contains(out, `@id("verified-email")`) {
		t.Errorf("policy show of one policy ends with exit %d, want %d and its text\n%s", code, kit.ExitOK, out)
	}
	if code, _, errs := policyVerb(t, "show", "nothing"); code != kit.ExitPending || !strings.Contains(errs, "hint: ") {
		t.Errorf("policy show of an unknown policy ends with exit %d, want %d and a hint\n%s", code, kit.ExitPending, errs)
	}
	if code, out, _ := policyVerb(t, "schema"); code != kit.ExitOK || out != policy.Schema() {
		t.Errorf("policy schema ends with exit %d, want %d and the schema\n%s", code, kit.ExitOK, out)
	}
}
