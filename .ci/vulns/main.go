// Vulns looks for known vulnerabilities in the functions that the binary calls, with no network but the Go module proxy: the
// reports of the Go vulnerability database are a module, golang.org/x/vulndb, which is brought into the form that govulncheck
// reads. Findings that do not matter here are listed in vulns.accepted with a reason each; any other one is a failure.
//
//	go run -C .ci ./vulns
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	module   = "golang.org/x/vulndb@latest"
	accepted = "vulns.accepted"
	binary   = "./cmd/idpsync"
)

func main() {
	if err := check(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "vulns:", err)
		os.Exit(1)
	}
}

// check runs in the folder .ci.
func check(ctx context.Context, out io.Writer) (err error) {
	reasons, err := readAccepted(accepted)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "vulns")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	source, made, err := fetch(ctx, scratch)
	if err != nil {
		return err
	}
	database := filepath.Join(scratch, "db")
	n, err := convert(filepath.Join(source, "data", "osv"), database, made)
	if err != nil {
		return fmt.Errorf("convert the reports of %s: %w", source, err)
	}
	fmt.Fprintf(out, "%d reports of %s\n", n, made.Format(time.DateOnly))
	found, err := scan(ctx, database, out)
	if err != nil {
		return err
	}
	return judge(found, reasons, out)
}

// fetch downloads the module of reports and says when it was made. It runs outside of any module, so that none is changed.
func fetch(ctx context.Context, folder string) (dir string, made time.Time, err error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir, cmd.Stderr = folder, os.Stderr
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	answer, err := cmd.Output()
	var m struct{ Dir, Version, Error string }
	if e := json.Unmarshal(answer, &m); e != nil || m.Dir == "" {
		return "", made, fmt.Errorf("download %s: %w; the module proxy (go env GOPROXY) must be reachable", module, errors.Join(err, e, errors.New(m.Error)))
	}
	parts := strings.Split(m.Version, "-") // v0.0.0-20261105234957-e22db6528018
	if len(parts) == 3 {
		made, err = time.Parse("20060102150405", parts[1])
	}
	return m.Dir, made, err
}

// A report is what is used of a report in the OSV format.
type report struct {
	ID       string    `json:"id"`
	Modified time.Time `json:"modified"`
	Aliases  []string  `json:"aliases"`
	Affected []struct {
		Package struct{ Name string }
		Ranges  []struct {
			Events []struct{ Fixed string }
		}
	}
}

type (
	indexedModule struct {
		Path  string                `json:"path"`
		Vulns []indexedModuleReport `json:"vulns"`
	}
	indexedModuleReport struct {
		ID       string    `json:"id"`
		Modified time.Time `json:"modified"`
		Fixed    string    `json:"fixed,omitempty"`
	}
	indexedReport struct {
		ID       string    `json:"id"`
		Modified time.Time `json:"modified"`
		Aliases  []string  `json:"aliases,omitempty"`
	}
)

// convert writes the reports of a folder as a database of https://go.dev/doc/security/vuln/database.
func convert(from, to string, made time.Time) (int, error) {
	files, err := filepath.Glob(filepath.Join(from, "*.json"))
	if err != nil || len(files) == 0 {
		return 0, errors.Join(err, errors.New("there are none"))
	}
	for _, folder := range []string{"ID", "index"} {
		if err := os.MkdirAll(filepath.Join(to, folder), 0o700); err != nil {
			return 0, err
		}
	}
	modules := map[string][]indexedModuleReport{}
	var reports []indexedReport
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return 0, err
		}
		var r report
		if err := json.Unmarshal(text, &r); err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(to, "ID", r.ID+".json"), text, 0o600); err != nil {
			return 0, err
		}
		reports = append(reports, indexedReport{r.ID, r.Modified, r.Aliases})
		for _, a := range r.Affected {
			one := indexedModuleReport{ID: r.ID, Modified: r.Modified}
			for _, g := range a.Ranges {
				for _, e := range g.Events {
					if e.Fixed != "" {
						one.Fixed = e.Fixed // ranges are in order, the last fix is the one to have
					}
				}
			}
			modules[a.Package.Name] = append(modules[a.Package.Name], one)
		}
	}
	index := []indexedModule{}
	for _, path := range slices.Sorted(maps.Keys(modules)) {
		index = append(index, indexedModule{path, modules[path]})
	}
	for name, v := range map[string]any{"db": map[string]time.Time{"modified": made}, "modules": index, "vulns": reports} {
		text, err := json.Marshal(v)
		if err != nil {
			return 0, err
		}
		if err := os.WriteFile(filepath.Join(to, "index", name+".json"), text, 0o600); err != nil {
			return 0, err
		}
	}
	return len(reports), nil
}

// A finding is one vulnerability that the binary reaches, and where.
type finding struct {
	id, summary, fixed, symbol string
}

// scan runs govulncheck on the binary and returns what it calls.
func scan(ctx context.Context, database string, out io.Writer) (map[string]finding, error) {
	at := url.URL{Scheme: "file", Path: filepath.ToSlash(database)}
	cmd := exec.CommandContext(ctx, "go", "tool", "-modfile=.ci/go.mod", "govulncheck", "-format", "json", "-db", at.String(), binary)
	cmd.Dir, cmd.Stderr = "..", os.Stderr
	answer, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("govulncheck: %w", err)
	}
	found, summaries := map[string]finding{}, map[string]string{}
	for messages := json.NewDecoder(bytes.NewReader(answer)); ; {
		var m struct {
			Config *struct {
				GoVersion string `json:"go_version"`
			} `json:"config"`
			OSV *struct{ ID, Summary string } `json:"osv"`
			// The trace begins with the vulnerable symbol; without a function only its package or module is there.
			Finding *struct {
				OSV   string `json:"osv"`
				Fixed string `json:"fixed_version"`
				Trace []struct{ Module, Package, Function, Receiver string }
			} `json:"finding"`
		}
		if err := messages.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("govulncheck's answer: %w", err)
		}
		switch {
		case m.Config != nil:
			fmt.Fprintf(out, "%s, %s\n", binary, m.Config.GoVersion)
		case m.OSV != nil:
			summaries[m.OSV.ID] = m.OSV.Summary
		case m.Finding != nil && len(m.Finding.Trace) > 0 && m.Finding.Trace[0].Function != "":
			t := m.Finding.Trace[0]
			symbol := t.Package + "." + strings.TrimPrefix(t.Receiver+"."+t.Function, ".")
			found[m.Finding.OSV] = finding{m.Finding.OSV, "", m.Finding.Fixed, symbol}
		}
	}
	for id, f := range found {
		f.summary = summaries[id]
		found[id] = f
	}
	return found, nil
}

var acceptedLine = regexp.MustCompile(`^(GO-\d{4}-\d{4,})\s+(\S.*)$`)

// readAccepted reads the list of findings that do not matter here: an id and the reason in each line.
func readAccepted(name string) (map[string]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	reasons := map[string]string{}
	for n, lines := 1, bufio.NewScanner(f); lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		m := acceptedLine.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("%s:%d: want an id and a reason, as in GO-2026-1234 no request reaches it, as …", name, n)
		}
		reasons[m[1]] = m[2]
	}
	return reasons, nil
}

// judge compares what was found with what is accepted.
func judge(found map[string]finding, reasons map[string]string, out io.Writer) error {
	bad := 0
	for _, id := range slices.Sorted(maps.Keys(found)) {
		f := found[id]
		verdict := "NOT ACCEPTED"
		if reason := reasons[id]; reason != "" {
			verdict = "accepted: " + reason
		} else {
			bad++
		}
		fmt.Fprintf(out, "%s  %s\n    calls %s, fixed in %s\n    %s\n", id, f.summary, f.symbol, f.fixed, verdict)
	}
	for _, id := range slices.Sorted(maps.Keys(reasons)) {
		if _, still := found[id]; !still {
			bad++
			fmt.Fprintf(out, "%s  is accepted in .ci/%s and was not found: remove the line\n", id, accepted)
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d findings are not dealt with: raise the toolchain or the module, or give a reason in .ci/%s", bad, len(found), accepted)
	}
	if len(found) == 0 {
		fmt.Fprintln(out, "no known vulnerability is called")
		return nil
	}
	fmt.Fprintf(out, "%d findings, all accepted with a reason\n", len(found))
	return nil
}
