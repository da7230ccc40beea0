package main

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/record"
)

// TestDevOnce runs the demo twice in one folder and compares what it shows with a golden file.
func TestDevOnce(t *testing.T) {
	folder := t.TempDir()
	for range 2 {
		p := runProgram(t, "", "dev", "--once", "--data-dir", folder)
		if p.code != exitOK || p.stderr != "" {
			t.Fatalf("exit %d\n%s%s", p.code, p.stdout, p.stderr)
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
	if p.code != exitRefused || !strings.Contains(p.stderr, "--data-dir") {
		t.Errorf("exit %d\n%s", p.code, p.stderr)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
	if p := runProgram(t, "", "dev", "--once", "--data-dir", t.TempDir(), "--nats-url", "nats://127.0.0.1:1"); p.code != exitUsage {
		t.Errorf("with another broker: exit %d\n%s", p.code, p.stderr)
	}
}

// TestDevSaysWhenASampleComesOutOtherwise spoils one sample of each door.
func TestDevSaysWhenASampleComesOutOtherwise(t *testing.T) {
	m, out := newDemo(t)
	scenes := []scene{m.oidcScene(), m.httpScene(), m.policyScene()}
	scenes[0].samples, scenes[1].samples, scenes[2].samples = scenes[0].samples[:1], scenes[1].samples[:1], scenes[2].samples[:1]
	scenes[0].samples[0].want = "exists"
	scenes[1].samples[0].want = "user_exists"
	scenes[2].samples[0].notice = "Welcome."
	failed, err := m.play(t.Context(), scenes)
	if err != nil || failed != 3 {
		t.Errorf("%d failed, %v", failed, err)
	}
	for _, says := range []string{
		"NOT as announced: wanted exists, got created", "NOT as announced: wanted user_exists, got created",
		`NOT as announced: wanted the notice "Welcome."`, "3 samples, 0 as announced, 3 not",
	} {
		if !strings.Contains(out.String(), says) {
			t.Errorf("%q is missing:\n%s", says, out)
		}
	}
}

// newDemo starts the world of a demo.
func newDemo(t *testing.T) (*demo, *tap) {
	t.Helper()
	out := newTap()
	a := &app{environ: map[string]string{}, stdin: strings.NewReader(""), stdout: out, stderr: t.Output(), now: time.Now, random: rand.Reader}
	c, err := resolve(nil, "--data-dir", t.TempDir(), "--log-level", "error")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.forDev(true); err != nil {
		t.Fatal(err)
	}
	m, err := a.startDemo(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.stop(); err != nil {
			t.Error(err)
		}
	})
	return m, out
}

// TestForecastSaysWhatRunDoes asks for each sample of the demo what would become of it, then sends it.
func TestForecastSaysWhatRunDoes(t *testing.T) {
	m, _ := newDemo(t)
	p, stop := m.player(t.Context())
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	ways := map[door]providers.Door{doorStream: providers.DoorStream, doorRPC: providers.DoorRPC, doorHTTP: providers.DoorHTTP}
	seen := map[string]bool{}
	for _, scene := range m.scenes() {
		for _, s := range scene.samples {
			t.Run(strings.ReplaceAll(s.id+" "+s.title, "/", " "), func(t *testing.T) {
				sending, err := p.prepare(s)
				if err != nil {
					t.Fatal(err)
				}
				forecasts, err := m.deploy.Worker.Forecast(t.Context(), []worker.Preview{{
					Subject: sending.subject, Header: sending.header, Data: sending.body, StoredAt: time.Now(), EventID: s.id, Door: ways[s.door], Explain: true,
				}})
				if err != nil {
					t.Fatal(err)
				}
				f := forecasts[0]
				r, err := p.send(t.Context(), sending)
				if err != nil {
					t.Fatal(err)
				}
				if fault := s.check(r); fault != "" {
					t.Error(fault)
				}
				told := readForecast(f)
				if told.verdict() != r.verdict() || told.Status != r.Status || told.EventID != r.EventID {
					t.Errorf("the forecast says %s %s, and run %s %s", told.Status, told.verdict(), r.Status, r.verdict())
				}
				if strings.Join(f.Policies, ",") != r.Policies {
					t.Errorf("the forecast names the policies %q, and run %q", f.Policies, r.Policies)
				}
				if f.Outcome == record.OutcomeRejected && steadyDemo(string(f.Body), "-") != steadyDemo(string(r.Body), "-") {
					t.Errorf("the forecast says %s, and run %s", f.Body, r.Body)
				}
				if f.Repeat != sending.again {
					t.Errorf("the forecast takes it for a repeat: %t", f.Repeat)
				}
				failing := 0
				for _, c := range f.Checks {
					if !c.OK {
						failing++
					}
				}
				if (f.Outcome == record.OutcomeRejected) != (failing > 0) {
					t.Errorf("%s, with %d failed checks: %+v", f.Outcome, failing, f.Checks)
				}
				seen[r.Outcome] = true
			})
		}
	}
	for _, outcome := range []string{"created", "exists", "linked", "rejected"} {
		if !seen[outcome] {
			t.Errorf("no sample is %s", outcome)
		}
	}
}

// readForecast reads a forecast as the result that it foresees.
func readForecast(f worker.Forecast) result {
	return resultOf(record.Reply{Outcome: f.Outcome, Status: f.Status, EventID: f.EventID}, f.Body)
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
	demo := exec.Command(me, "dev", "--data-dir", folder, "--nats-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	demo.Env, demo.Stdout, demo.Stderr = environ, out, faults
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	defer func() {
		if !ended {
			_ = demo.Process.Kill()
			_ = demo.Wait()
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
			t.Errorf("%s\n%s", line, got)
		}
	}
	if len(whys) < 15 {
		t.Errorf("only %d lines", len(whys))
	}
	for _, name := range []string{"Grace Hopper", "Victor Lang", "Xenia Roth", "Yuki Mori", "Anton Berg", "Wanda Novak", "Zoe Martin", "Bruno Silva"} {
		out.await(t, s.ctx, `201 created.*`+name)
	}
	if err := demo.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err = demo.Wait()
	ended = true
	if err != nil || faults.String() != "" {
		t.Errorf("the demo ended with %v\n%s", err, faults)
	}
}

func TestStartedAt(t *testing.T) {
	bin := t.TempDir()
	path := filepath.Join(bin, "idpsync")
	if err := os.WriteFile(path, nil, 0o700); err != nil { //nolint:gosec // it must look like a program
		t.Fatal(err)
	}
	if got := startedAt(path); got != path {
		t.Errorf("not on the path: %s", got)
	}
	t.Setenv("PATH", bin)
	if got := startedAt(path); got != "idpsync" {
		t.Errorf("on the path: %s", got)
	}
	if got := startedAt("/home/ann/my programs/idpsync"); got != "'/home/ann/my programs/idpsync'" {
		t.Errorf("with a space: %s", got)
	}
	built := "/tmp/go-build1234/b001/exe/idpsync"
	if got := startedAt(built); got != "go run github.com/idpsync/idpsync/cmd/idpsync" {
		t.Errorf("by go run, elsewhere: %s", got)
	}
	t.Chdir(moduleRoot)
	if got := startedAt(built); got != "go run ./cmd/idpsync" {
		t.Errorf("by go run: %s", got)
	}
}
