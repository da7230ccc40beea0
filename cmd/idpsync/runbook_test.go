package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers/oidc/issuer"
)

const runbookPage = moduleRoot + "/deploy/RUNBOOK.md"

var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// runbook returns the commands of a page of the runbook, block by block, as they are written there.
func runbook(t *testing.T, title string) []string {
	t.Helper()
	page, err := os.ReadFile(runbookPage)
	if err != nil {
		t.Fatal(err)
	}
	_, page2, found := strings.Cut(string(page), "\n## "+title+"\n")
	if !found {
		t.Fatalf("the runbook has no page %q", title)
	}
	section, _, _ := strings.Cut(page2, "\n## ")
	var blocks []string
	for _, m := range shellBlock.FindAllStringSubmatch(section, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// perform runs a block of the runbook in a shell, as an operator does.
func (s *site) perform(t *testing.T, block string, variables ...string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(s.ctx, "bash", "-euo", "pipefail", "-c", `idpsync() { `+mainEnv+`=1 "$SELF" "$@"; }`+"\n"+block)
	cmd.Env = append(s.environment("SELF="+self, "PATH="+os.Getenv("PATH")), variables...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the runbook's commands\n%s\nfail: %v\n%s%s", block, err, out, stderr.String())
	}
	return string(out)
}

func TestRunbookOfALeakedKey(t *testing.T) {
	t.Parallel()
	blocks := runbook(t, "A key of an identity provider has leaked")
	if len(blocks) != 4 {
		t.Fatalf("the page has %d blocks of commands; want those that list, ban, look and unban", len(blocks))
	}
	s := embeddedSite(t)
	s.worker()
	conn := s.nats()
	leaked := s.issuer.Keys()[0]
	if r := s.login(t, conn, acme, "before", "ada", nil); r.status != 201 {
		t.Fatalf("a login before the leak is answered %d %s; want 201", r.status, r.body)
	}

	listed := s.perform(t, blocks[0])
	var keys []keyItem
	if err := json.Unmarshal([]byte(s.must("keys", "list", "--json")), &keys); err != nil || len(keys) != 1 {
		t.Fatalf("%d keys are listed, %v; want the issuer's one:\n%s", len(keys), err, listed)
	}
	if !strings.Contains(listed, keys[0].Key) || !strings.Contains(listed, leaked.ID) {
		t.Errorf("the list does not show the key %s with its kid %s:\n%s", keys[0].Key, leaked.ID, listed)
	}
	variables := []string{"KEY=" + keys[0].Key, "SOURCE=" + keys[0].Source}

	s.perform(t, blocks[1], variables...)
	forge := func(id string) reply {
		t.Helper()
		claims := s.issuer.Claims("mallory", "idpsync")
		claims["email"], claims["email_verified"], claims["name"] = "mallory@acme.example", true, "Mallory"
		body, err := kit.Login(s.issuer.Sign(claims, issuer.WithKey(leaked)))
		if err != nil {
			t.Fatal(err)
		}
		return s.event(t, conn, "idpsync.login."+acme+".okta", id, body)
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	refused := forge("forged-0")
	for i := 1; refused.status != 401 && i < 10; i++ { // running workers know within seconds
		<-tick.C
		refused = forge(fmt.Sprintf("forged-%d", i))
	}
	if refused.status != 401 || refused.fault(t).Details["reason"] != "key_banned" {
		t.Errorf("a login by the leaked key is answered %d %s after two seconds; want 401 key_banned", refused.status, refused.body)
	}
	if err := s.issuer.Rotate(false); err != nil {
		t.Fatal(err)
	}
	if r := s.login(t, conn, acme, "rotated", "grace", nil); r.status != 201 {
		t.Errorf("a login by the new key is answered %d %s; want 201", r.status, r.body)
	}

	seen := s.perform(t, blocks[2], variables...)
	for _, want := range []string{"before", `"state": "banned"`, "key.ban", keys[0].Key} {
		if !strings.Contains(seen, want) {
			t.Errorf("what the page looks at does not show %q:\n%s", want, seen)
		}
	}
	s.perform(t, blocks[3], variables...)
	if left := s.must("keys", "list"); strings.Contains(left, "banned") {
		t.Errorf("after unban the key is still listed as banned:\n%s", left)
	}
}

func TestKeysVerbsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := embeddedSite(t)
	const unseen = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"keys", "list"}, kit.ExitOK, "no keys"},
		{[]string{"keys", "ban", "nothing", "--yes"}, kit.ExitPending, "no issuer was seen publishing the key nothing"},
		{[]string{"keys", "ban", unseen, "--from", "yesterday", "--yes"}, kit.ExitUsage, "--from cannot be"},
		{[]string{"keys", "ban", unseen, "--yes"}, kit.ExitPending, "--issuer"},
		{[]string{"keys", "ban", unseen, "--issuer", "https://a.example"}, kit.ExitRefused, "--yes"},
		{[]string{"keys", "ban", unseen, "--issuer", "https://a.example", "--yes"}, kit.ExitOK, "banned; running workers"},
		{[]string{"keys", "ban", unseen, "--yes"}, kit.ExitOK, "nothing to do"},
		{[]string{"keys", "list"}, kit.ExitOK, unseen},
		{[]string{"keys", "unban", unseen, "--yes"}, kit.ExitOK, "the ban has ended"},
		{[]string{"keys", "unban", unseen, "--issuer", "https://a.example", "--yes"}, kit.ExitPending, "no issuer was seen"},
	} {
		p := s.do("", c.args...)
		if p.code != c.code || !strings.Contains(p.stdout+p.stderr, c.want) {
			t.Errorf("idpsync %s: exit %d\n%s%s; want exit %d and %q", strings.Join(c.args, " "), p.code, p.stdout, p.stderr, c.code, c.want)
		}
	}
}

// Each failure in the table of the runbook names the tests that show what happens then.
func TestFailuresOfTheRunbookAreTested(t *testing.T) {
	page, err := os.ReadFile(runbookPage)
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(page), "## What fails, and what happens then")
	if !found {
		t.Fatal("the runbook has no table of failures")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	tests := map[string]bool{}
	eachFile(t, parser.SkipObjectResolution, func(f sourceFile) {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && f.test {
				tests[fn.Name.Name] = true
			}
		}
	})
	rows := 0
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| What fails") || strings.HasPrefix(line, "| ---") {
			continue
		}
		rows++
		named := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(line, -1)
		if len(named) == 0 {
			t.Errorf("no test is named in the row %s", line)
		}
		for _, m := range named {
			if !tests[m[1]] {
				t.Errorf("there is no test %s, named in the row %s", m[1], line)
			}
		}
	}
	if rows < 10 {
		t.Errorf("the table has %d rows, want at least 10", rows)
	}
}
