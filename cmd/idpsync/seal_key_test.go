package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
)

func TestALostSealKeyIsReplacedDeliberately(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	do := func(args ...string) (int, string) {
		var out strings.Builder
		code := run(t.Context(), append(args, "--data-dir", dir), nil, strings.NewReader(""), &out, &out)
		return code, out.String()
	}
	if code, out := do("explain", "--event", acme+"/okta/none"); code != kit.ExitPending { // makes database and key
		t.Fatalf("explain in an empty folder ends with exit %d and %s, want %d", code, out, kit.ExitPending)
	}
	if code, out := do("seal", "--replace-lost-key", "--yes"); code != kit.ExitOK || !strings.Contains(out, "nothing is to be replaced") {
		t.Errorf("replacing a key that is not lost ends with exit %d and %s, want %d and that nothing is to be replaced", code, out, kit.ExitOK)
	}
	_, before := do("seal", "--public")
	if err := os.Remove(filepath.Join(dir, sealKeyFile)); err != nil {
		t.Fatal(err)
	}
	if code, out := do("explain", "--event", acme+"/okta/none"); code != kit.ExitFailure || !strings.Contains(out, "--replace-lost-key") {
		t.Error("started without the deployment's key, or does not say what to do:", code, out)
	}
	if code, out := do("seal", "--replace-lost-key"); code != kit.ExitRefused {
		t.Errorf("replacing without being asked ends with exit %d and %s, want %d", code, out, kit.ExitRefused)
	}
	if code, out := do("seal", "--replace-lost-key", "--yes"); code != kit.ExitOK {
		t.Fatalf("replacing the lost key ends with exit %d and %s, want %d", code, out, kit.ExitOK)
	}
	if _, after := do("seal", "--public"); after == before || !strings.HasPrefix(after, "X") {
		t.Errorf("the key was %q and is %q, want another one", before, after)
	}
	if code, out := do("explain", "--event", acme+"/okta/none"); code != kit.ExitPending {
		t.Errorf("explain with the new key ends with exit %d and %s, want %d", code, out, kit.ExitPending)
	}
	if _, out := do("get", "audit"); !strings.Contains(out, "sealkey.replace") {
		t.Error("not audited:", out)
	}
}
