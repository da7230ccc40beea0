package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

var update = flag.Bool("update", false, "write the transcripts anew")

// A transcript is a file of testdata: files to be there, then commands with what they print and their exit code.
//
//	-- directory.yaml --
//	tenants: []
//	-- commands --
//	$ IDPSYNC_DATA_DIR=x idpsync apply -f directory.yaml
//	nothing to change; the directory is at revision 0
//	[exit 0]
//
// The command seed puts users and events into the database, and seed identities some more identities. Standard output and standard error are shown as they come. What differs from run to run is replaced; see [steady].
type transcript struct {
	files    [][2]string
	commands []string
	text     string
}

func readTranscript(t *testing.T, name string) transcript {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	tr := transcript{text: string(data)}
	for _, part := range strings.Split("\n"+tr.text, "\n-- ")[1:] {
		file, content, ok := strings.Cut(part, " --\n")
		if !ok {
			t.Fatalf("%s: a part without a name", name)
		}
		if file != "commands" {
			tr.files = append(tr.files, [2]string{file, content + "\n"})
			continue
		}
		for line := range strings.SplitSeq(content, "\n") {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				tr.commands = append(tr.commands, command)
			}
		}
	}
	return tr
}

func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.transcript")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".transcript"), func(t *testing.T) {
			tr := readTranscript(t, file)
			file, err := filepath.Abs(file)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			t.Chdir(dir)
			var b strings.Builder
			for _, f := range tr.files {
				if err := os.MkdirAll(filepath.Dir(f[0]), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(f[0], []byte(f[1]), 0o600); err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&b, "-- %s --\n%s", f[0], f[1])
			}
			b.WriteString("-- commands --\n")
			for _, command := range tr.commands {
				fmt.Fprintf(&b, "$ %s\n%s\n", command, steady(play(t, command), dir))
			}
			got := b.String()
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if got != tr.text {
				t.Errorf("the transcript differs; -update writes it anew. Got:\n%s", got)
			}
		})
	}
}

// play runs one command line: variables, idpsync, arguments, and optionally < FILE.
func play(t *testing.T, line string) string {
	t.Helper()
	var environ []string
	words := split(line)
	for len(words) > 0 && strings.Contains(words[0], "=") {
		environ, words = append(environ, words[0]), words[1:]
	}
	switch strings.Join(words, " ") {
	case "seed":
		seed(t)
		return "[seeded]"
	case "seed identities":
		seedIdentities(t)
		return "[seeded]"
	}
	if len(words) == 0 || words[0] != "idpsync" {
		t.Fatalf("not a command: %s", line)
	}
	args, stdin := words[1:], ""
	if n := len(args); n >= 2 && args[n-2] == "<" {
		data, err := os.ReadFile(args[n-1])
		if err != nil {
			t.Fatal(err)
		}
		args, stdin = args[:n-2], string(data)
	}
	var out buffer
	code := run(t.Context(), args, environ, strings.NewReader(stdin), &out, &out)
	return fmt.Sprintf("%s[exit %d]", out.String(), code)
}

// split takes a line apart at spaces outside of single quotes.
func split(line string) []string {
	var words []string
	word, quoted, any := "", false, false
	for _, c := range line {
		switch {
		case c == '\'':
			quoted, any = !quoted, true
		case c == ' ' && !quoted:
			if any {
				words = append(words, word)
			}
			word, any = "", false
		default:
			word, any = word+string(c), true
		}
	}
	if any {
		words = append(words, word)
	}
	return words
}

// steady replaces what differs from run to run: times, tokens, the folder and who runs the test. Columns that follow
// are moved to two spaces.
func steady(s, dir string) string {
	s = strings.ReplaceAll(s, dir, "<dir>")
	s = strings.ReplaceAll(s, operator(), "<me>")
	for pattern, with := range map[string]string{
		`idpsync_[a-z2-7]{16}_[A-Za-z0-9_-]{43}`:                     "<token>",
		`\b[a-z2-7]{16}\b`:                                           "<id>",
		`\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`: "<time>",
		`(\S) {2,}`: "$1  ", // the width of columns
	} {
		s = regexp.MustCompile(pattern).ReplaceAllString(s, with)
	}
	return s
}

// A buffer is a bytes.Buffer that several goroutines may write to.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// idpsync runs the program as a test needs it: no terminal, no environment.
func idpsync(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, err buffer
	code = run(ctx, args, nil, strings.NewReader(""), &out, &err)
	return code, out.String(), err.String()
}
