package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A runner runs tests of the module in root, and writes into scratch alone.
type runner struct{ root, scratch string }

// A verdict is what became of a mutation: it was killed by a test, or cannot be tried, or it survived.
type verdict struct{ killer, fault string }

func (v verdict) word() string {
	switch {
	case v.fault != "":
		return "faulty"
	case v.killer != "":
		return "killed"
	}
	return "SURVIVES"
}

func (v verdict) by() string {
	if v.killer == "" {
		return ""
	}
	return " (" + v.killer + ")"
}

// try tries one mutation; n tells it from the others.
func (r runner) try(ctx context.Context, n int, m mutation) verdict {
	changed := filepath.Join(r.scratch, strconv.Itoa(n)+".go")
	if err := os.WriteFile(changed, []byte(m.text), 0o600); err != nil {
		return verdict{fault: err.Error()}
	}
	overlay, err := r.overlay(strconv.Itoa(n), map[string]string{m.file: changed}, m.left)
	if err != nil {
		return verdict{fault: err.Error()}
	}
	o := r.test(ctx, []string{"-overlay", overlay, "-count=1", "-failfast", "-run", pattern(m.tests)}, m.packages)
	switch {
	case o.broken:
		return verdict{fault: "it does not compile, which says nothing of the tests:\n" + o.text}
	case o.failed != "":
		return verdict{killer: o.failed}
	case !o.ok:
		return verdict{fault: "the tests end without a word on why:\n" + o.text}
	}
	return verdict{}
}

// overlay tells the go command which files stand in for others, and which are not there at all: tests that see a package
// from outside have whatever imports it built anew, and linked, which takes far longer than a test.
func (r runner) overlay(name string, replaced map[string]string, left []string) (string, error) {
	root, err := filepath.Abs(r.root)
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for file, by := range replaced {
		replace[filepath.Join(root, filepath.FromSlash(file))] = by
	}
	for _, file := range left {
		replace[filepath.Join(root, filepath.FromSlash(file))] = ""
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return "", err
	}
	name = filepath.Join(r.scratch, name+".json")
	return name, os.WriteFile(name, text, 0o600)
}

// untouched runs all of the tests on the module as it is: what fails without a mutation would seem to notice each of them.
// The go command remembers that they passed.
func (r runner) untouched(ctx context.Context, mutations []mutation) error {
	type build struct{ packages, left string }
	groups := map[build][]mutation{} // that are built alike
	for _, m := range mutations {
		b := build{strings.Join(m.packages, " "), strings.Join(m.left, " ")}
		groups[b] = append(groups[b], m)
	}
	n := 0
	for _, group := range groups {
		var tests []string
		for _, m := range group {
			tests = append(tests, m.tests...)
		}
		slices.Sort(tests)
		tests = slices.Compact(tests)
		overlay, err := r.overlay("untouched"+strconv.Itoa(n), nil, group[0].left)
		if err != nil {
			return err
		}
		n++
		o := r.test(ctx, []string{"-overlay", overlay, "-run", pattern(tests)}, group[0].packages)
		if !o.ok {
			return fmt.Errorf("the tests of %s do not pass without a mutation:\n%s", strings.Join(group[0].packages, " "), o.text)
		}
		for _, name := range tests {
			if !o.passed[name] {
				return fmt.Errorf("%s has no test %s", strings.Join(group[0].packages, " "), name)
			}
		}
	}
	return nil
}

// pattern is the argument of -run for exactly these tests.
func pattern(tests []string) string {
	alternatives := make([]string, len(tests))
	for i, test := range tests {
		var parts []string
		for part := range strings.SplitSeq(test, "/") {
			parts = append(parts, "^"+regexp.QuoteMeta(part)+"$")
		}
		alternatives[i] = strings.Join(parts, "/")
	}
	return strings.Join(alternatives, "|")
}

// An outcome is what go test says.
type outcome struct {
	ok     bool
	broken bool            // something does not compile
	failed string          // the first test that failed, or "a test" when none is named
	passed map[string]bool // tests
	text   string          // all that was written
}

// test runs go test on packages. Without vet, which would refuse some mutations in place of a test.
func (r runner) test(ctx context.Context, flags, packages []string) outcome {
	words := slices.Concat([]string{"test", "-json", "-vet=off", "-timeout=3m"}, flags, packages)
	cmd := exec.CommandContext(ctx, "go", words...) //nolint:gosec // they are from the list beside this program
	cmd.Dir = r.root
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	o := outcome{ok: err == nil, passed: map[string]bool{}}
	var text strings.Builder
	failed := false
	for line := range strings.SplitSeq(stdout.String(), "\n") {
		var e struct{ Action, Test, Output, FailedBuild string }
		if json.Unmarshal([]byte(line), &e) != nil {
			text.WriteString(line)
			continue
		}
		text.WriteString(e.Output)
		switch {
		case e.Action == "build-fail" || e.FailedBuild != "":
			o.broken = true
		case e.Action == "pass" && e.Test != "":
			o.passed[e.Test] = true
		case e.Action == "fail" && e.Test != "" && o.failed == "":
			o.failed = e.Test
		case e.Action == "fail" && e.Test == "":
			failed = true
		}
	}
	if failed && o.failed == "" && !o.broken {
		o.failed = "the process ended"
	}
	text.WriteString(stderr.String())
	if err != nil && text.Len() == 0 {
		text.WriteString(err.Error())
	}
	o.text = text.String()
	return o
}
