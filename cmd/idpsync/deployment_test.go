package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
)

// A second worker must get the first one's key. One that made a key of its own would leave a file behind that somebody
// keeps for the deployment's.
func TestOnlyTheFirstOfADatabaseMakesASealKey(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "login.json"), []byte(`{}`), 0o600); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(folder, sealKeyFile)
	explain := func() program {
		return runProgram(t, "", "explain", "--data-dir", folder, "--file", filepath.Join(folder, "login.json"),
			"--subject", "idpsync.login.2489e9ad-2ee2-8e00-8ec9-32d5f69181c0.okta")
	}
	if p := runProgram(t, "", "apply", "--data-dir", folder, "-f", "../../deploy/directory.example.yaml", "--yes"); p.code != kit.ExitOK {
		t.Fatalf("apply ends with exit %d and %s%s, want %d", p.code, p.stdout, p.stderr, kit.ExitOK)
	}
	if p := explain(); p.code != kit.ExitOK || !strings.Contains(p.stderr, "a new seal key was made") {
		t.Fatalf("the first ends with exit %d and %s%s, want %d and that it made a seal key", p.code, p.stdout, p.stderr, kit.ExitOK)
	}
	first, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if p := explain(); p.code != kit.ExitFailure || !strings.Contains(p.stderr, key) || !strings.Contains(p.stderr, "--seal-key-file") {
		t.Errorf("without the key explain ends with exit %d and %s%s, want %d, the path of the key and --seal-key-file", p.code, p.stdout, p.stderr, kit.ExitFailure)
	}
	if _, err := os.Stat(key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("looking for a key of its own gives the error %v, want %v", err, fs.ErrNotExist)
	}
	if err := os.WriteFile(key, first, 0o600); err != nil {
		t.Fatal(err)
	}
	if p := explain(); p.code != kit.ExitOK || p.stderr != "" {
		t.Errorf("with the key explain ends with exit %d and %s%s, want %d and no errors", p.code, p.stdout, p.stderr, kit.ExitOK)
	}
}
