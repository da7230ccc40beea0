package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
)

func TestEscapedTextMovesNoCursor(t *testing.T) {
	for in, want := range map[string]string{
		"{\"a\": \"é\"}\n\tb":    "{\"a\": \"é\"}\n\tb",
		"\x1b[2J\x1b]0;title\a":  `\x1b[2J\x1b]0;title\x07`,
		"a\rb\x7f\x00":           `a\x0db\x7f\x00`,
		"user\u202egnp.exe":      `user\u202egnp.exe`,
		"\u009b31m\u2028\u200b.": `\u009b31m\u2028\u200b.`,
		"\xff\xfeA\xc3":          `\xff\xfeA\xc3`,
	} {
		if got := escaped(in); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
}

// TestStartWarnsOfOpenSecrets starts workers whose seal key and whose HTTP API are open, and those where they are not.
func TestStartWarnsOfOpenSecrets(t *testing.T) {
	t.Parallel()
	const key, plain = "the seal key can be read or written by others", "listens beyond loopback without TLS"
	for name, test := range map[string]struct {
		mode   os.FileMode
		listen string
		want   []string
	}{
		"as it is made":             {0o600, "127.0.0.1:0", nil},
		"read-only":                 {0o400, "[::1]:0", nil},
		"mounted by a group":        {0o440, "127.0.0.1:0", nil},
		"readable by all":           {0o644, "127.0.0.1:0", []string{key}},
		"writable by the group":     {0o660, "127.0.0.1:0", []string{key}},
		"HTTP on all addresses":     {0o600, "0.0.0.0:0", []string{plain}},
		"HTTP on all of them, IPv6": {0o600, "[::]:0", []string{plain}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := embeddedSite(t)
			s.worker().stop()
			if err := os.Chmod(s.environ["IDPSYNC_DATA_DIR"]+"/"+sealKeyFile, test.mode); err != nil {
				t.Fatal(err)
			}
			r := s.worker("--http-listen", test.listen)
			r.stop()
			var got []string
			for _, warning := range []string{key, plain} {
				if strings.Contains(r.stderr.String(), warning) {
					got = append(got, warning)
				}
			}
			if strings.Join(got, "; ") != strings.Join(test.want, "; ") {
				t.Errorf("the worker warns of %q, want %q", got, test.want)
			}
		})
	}
}

// TestUnsealShowsAnEventAsItWasSent has the body as it is in a pipe, and whole in JSON.
func TestUnsealShowsAnEventAsItWasSent(t *testing.T) {
	t.Parallel()
	s := embeddedSite(t)
	s.worker()
	const body = "{\"id_token\":\"\x1b[31mred\u202e\"}"
	if p := s.do(body, "send", "login", "--tenant", acme, "--source", "okta", "--wait", "-"); p.code != kit.ExitFailure {
		t.Fatalf("a login of no token is sent with exit code %d:\n%s%s", p.code, p.stdout, p.stderr)
	}
	if p := s.do("", "dlq", "show", "1", "--unseal", "--why", "a test"); p.code != kit.ExitOK || !strings.Contains(p.stdout, body) {
		t.Errorf("in a pipe the event is shown with exit code %d as\n%q", p.code, p.stdout)
	}
	var shown unsealed
	p := s.do("", "dlq", "show", "1", "--unseal", "--why", "a test", "--json")
	if err := json.Unmarshal([]byte(p.stdout), &shown); err != nil || string(shown.Body) != body || shown.Subject == "" {
		t.Errorf("as JSON it is shown with exit code %d and the error %v as\n%s", p.code, err, p.stdout)
	}
}
