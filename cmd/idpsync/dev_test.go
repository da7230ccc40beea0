package main

import (
	"crypto/rand"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/cmd/idpsync/demo"
	"github.com/idpsync/idpsync/cmd/idpsync/kit"
)

// TestDevOnce runs the demo twice in one folder and compares what it shows with a golden file.
func TestDevOnce(t *testing.T) {
	folder := t.TempDir()
	for range 2 {
		p := runProgram(t, "", "dev", "--once", "--data-dir", folder)
		if p.code != kit.ExitOK || p.stderr != "" {
			t.Fatalf("dev ends with exit %d, want %d and no errors\n%s%s", p.code, kit.ExitOK, p.stdout, p.stderr)
		}
		golden(t, filepath.Join("testdata", "dev.golden"), steadyDemo(p.stdout, folder))
	}
}

// steadyDemo replaces what differs from run to run.
func steadyDemo(s, folder string) string {
	s = strings.ReplaceAll(s, folder, "<folder>")
	for pattern, with := range map[string]string{
		`127\.0\.0\.1:\d+`:                      "<address>",
		`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*Z`: "<time>",
		`\d+m\d+s`:                              "<age>",
	} {
		s = regexp.MustCompile(pattern).ReplaceAllString(s, with)
	}
	return s
}

// A demo begins only in a folder that is its own, and beside one that runs in another.
func TestDevTakesNoOtherFolder(t *testing.T) {
	folder := t.TempDir()
	mine := filepath.Join(folder, "dev", "thesis.txt")
	if err := os.MkdirAll(filepath.Dir(mine), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(mine, []byte("the only copy"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := runProgram(t, "", "dev", "--once", "--data-dir", folder)
	if p.code != kit.ExitRefused || !strings.Contains(p.stderr, "--data-dir") {
		t.Errorf("dev in somebody else's folder ends with exit %d, want %d and the flag --data-dir\n%s", p.code, kit.ExitRefused, p.stderr)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
	if p := runProgram(t, "", "dev", "--once", "--data-dir", t.TempDir(), "--nats-url", "nats://127.0.0.1:1"); p.code != kit.ExitUsage {
		t.Errorf("dev with another broker ends with exit %d, want %d\n%s", p.code, kit.ExitUsage, p.stderr)
	}
}

// newDemo starts the world of a demo.
func newDemo(t *testing.T) *demo.Demo {
	t.Helper()
	a := &app{environ: map[string]string{}, stdin: strings.NewReader(""), stdout: io.Discard, stderr: t.Output(), now: time.Now, random: rand.Reader}
	c, err := resolve(nil, "--data-dir", t.TempDir(), "--log-level", "error")
	if err != nil {
		t.Fatal(err)
	}
	m, err := demo.Start(t.Context(), a.demo(c, true))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Errorf("got error %v from stopping the demo, want none", err)
		}
	})
	return m
}

// TestLinesToTryByHand starts the demo as people do, and pastes every line that it prints into a shell.
func TestLinesToTryByHand(t *testing.T) {
	t.Parallel()
	// A copy of this binary is called idpsync, and two more stand in for curl and nats, which need not be there.
	bin := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name := range standIns {
		if err := os.Symlink(self, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	me := filepath.Join(bin, "idpsync")
	data, err := os.ReadFile(self) //nolint:gosec // this very binary
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(me, data, 0o700); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	environ := []string{mainEnv + "=1", "PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH")}
	folder := filepath.Join(t.TempDir(), "it's a folder")

	s := newSite(t)
	out, faults := newTap(), newTap()
	child := exec.Command(me, "dev", "--data-dir", folder, "--nats-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	child.Env, child.Stdout, child.Stderr = environ, out, faults
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	defer func() {
		if !ended {
			_ = child.Process.Kill()
			_ = child.Wait()
		}
	}()
	text := out.await(t, s.ctx, `(?s)Lines to try by hand.*Ctrl-C`)[0]

	elsewhere := t.TempDir()
	whys := strings.Split(text, "\n  # ")[1:]
	for _, why := range whys {
		title, rest, _ := strings.Cut(why, "\n  ")
		line, _, _ := strings.Cut(rest, "\n")
		shell := exec.CommandContext(s.ctx, "sh", "-c", line)
		shell.Env, shell.Dir = environ, elsewhere
		got, err := shell.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s\n%s", title, err, line, got)
		}
		if title == "what the policy forbids" != strings.Contains(string(got), "Contractors are invited") && !strings.Contains(line, "dlq") {
			t.Errorf("a line of %q prints the notice for contractors wrongly or not at all\n%s\n%s", title, line, got)
		}
	}
	if len(whys) < 15 {
		t.Errorf("there are %d lines to try, want at least 15", len(whys))
	}
	for _, name := range []string{"Grace Hopper", "Victor Lang", "Xenia Roth", "Yuki Mori", "Anton Berg", "Wanda Novak", "Zoe Martin", "Bruno Silva"} {
		out.await(t, s.ctx, `201 created.*`+name)
	}
	if err := child.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err = child.Wait()
	ended = true
	if err != nil || faults.String() != "" {
		t.Errorf("the demo ends with the error %v, want none and nothing said\n%s", err, faults)
	}
}
