package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestConvertIndexesReportsByModule(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "db")
	const text = `{"id":"GO-2026-0001","modified":"2026-01-02T00:00:00Z","aliases":["CVE-1"],"affected":[
		{"package":{"name":"stdlib","ecosystem":"Go"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"1.25.9"},{"introduced":"1.26.0"},{"fixed":"1.26.9"}]}]},
		{"package":{"name":"example.com/m","ecosystem":"Go"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}]}]}`
	if err := os.WriteFile(filepath.Join(from, "GO-2026-0001.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := convert(from, to, time.Date(2026, 2, 3, 0, 0, 0, 0, time.UTC))
	if err != nil || n != 1 {
		t.Fatalf("%d reports were converted with the error %v, want 1", n, err)
	}
	for name, want := range map[string]string{
		"index/db.json":        `{"modified":"2026-02-03T00:00:00Z"}`,
		"index/modules.json":   `[{"path":"example.com/m","vulns":[{"id":"GO-2026-0001","modified":"2026-01-02T00:00:00Z"}]},{"path":"stdlib","vulns":[{"id":"GO-2026-0001","modified":"2026-01-02T00:00:00Z","fixed":"1.26.9"}]}]`,
		"index/vulns.json":     `[{"id":"GO-2026-0001","modified":"2026-01-02T00:00:00Z","aliases":["CVE-1"]}]`,
		"ID/GO-2026-0001.json": text,
	} {
		got, err := os.ReadFile(filepath.Join(to, filepath.FromSlash(name)))
		if err != nil || !json.Valid(got) || string(got) != want {
			t.Errorf("%s holds %s with the error %v, want %s", name, got, err, want)
		}
	}
	if _, err := convert(t.TempDir(), t.TempDir(), time.Time{}); err == nil {
		t.Error("a folder without reports is converted, want an error: nothing would ever be found in it")
	}
}

func TestJudgeFailsOnWhatIsNotAcceptedAndOnWhatIsNotFound(t *testing.T) {
	one := map[string]finding{"GO-2026-0001": {"GO-2026-0001", "a flaw", "v1.26.9", "net/http.Get"}}
	for name, test := range map[string]struct {
		found   map[string]finding
		reasons map[string]string
		fails   bool
	}{
		"nothing":             {nil, nil, false},
		"not accepted":        {one, nil, true},
		"accepted":            {one, map[string]string{"GO-2026-0001": "not reached"}, false},
		"another one":         {one, map[string]string{"GO-2026-0002": "not reached"}, true},
		"accepted, and fixed": {nil, map[string]string{"GO-2026-0001": "not reached"}, true},
	} {
		var out strings.Builder
		if err := judge(test.found, test.reasons, &out); (err != nil) != test.fails {
			t.Errorf("%s: the check ends with the error %v, want a failure: %v\n%s", name, err, test.fails, out.String())
		}
	}
}

func TestAcceptedFindingsHaveReasons(t *testing.T) {
	if _, err := readAccepted("../" + accepted); err != nil {
		t.Errorf("the list in the repository cannot be read: %v", err)
	}
	name := filepath.Join(t.TempDir(), accepted)
	for text, ok := range map[string]bool{"# none\n\n": true, "GO-2026-0001 not reached\n": true, "GO-2026-0001\n": false, "CVE-2026-1 not reached\n": false} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readAccepted(name); (err == nil) != ok {
			t.Errorf("%q is read with the error %v, want it read: %v", text, err, ok)
		}
	}
}
