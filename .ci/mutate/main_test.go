package main

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module writes a module with one rule, a test within its package and one from outside, and returns its folder.
func module(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":                "module example.com/m\n\ngo 1.26\n",
		"rules/rule.go":         "package rules\n\n// Old reports whether somebody may enter.\nfunc Old(age int) bool {\n\tif age < 18 {\n\t\treturn false\n\t}\n\treturn true\n}\n\nfunc twice() bool { return true }\n",
		"rules/rule_test.go":    "package rules\n\nimport \"testing\"\n\nfunc TestOld(t *testing.T) {\n\tfor _, c := range []struct{ age int; want bool }{{17, false}, {18, true}} {\n\t\tif Old(c.age) != c.want { t.Error(c.age) }\n\t}\n}\n\nfunc TestNothing(t *testing.T) { _ = twice() }\n\nfunc TestFails(t *testing.T) { t.Error() }\n\nfunc TestParts(t *testing.T) {\n\tt.Run(\"a\", func(t *testing.T) { if Old(3) { t.Error() } })\n\tt.Run(\"b\", func(t *testing.T) { t.Error() })\n}\n",
		"rules/outside_test.go": "package rules_test\n\nimport (\n\t\"testing\"\n\n\t\"example.com/m/rules\"\n)\n\nfunc TestOutside(t *testing.T) {\n\tif rules.Old(1) { t.Error() }\n}\n",
		"rules/testdata/x.go":   "package x\n\nvar _ = \"if age < 18 {\"\n",
		"other/go.mod":          "module example.com/other\n",
		"other/rule.go":         "package other\n\nvar _ = \"if age < 18 {\"\n",
	} {
		name = filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// contents are the texts of all files of a folder.
func contents(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(at string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(at)
		all[at] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestMutationsAreKilledOrReported(t *testing.T) {
	const rule = "  in rules\n  - if age < 18 {\n"
	for name, test := range map[string]struct {
		list string
		says string // in the error; "" for none
		out  string // in what is written
	}{
		"killed":                  {"Anybody may enter\n" + rule + "  + if age < 0 {\n  tests TestOld\n", "", "1 killed"},
		"killed from outside":     {"Anybody may enter\n" + rule + "  + if age < 0 {\n  tests TestOutside\n", "", "killed    Anybody may enter (TestOutside)"},
		"killed by one of two":    {"Anybody may enter\n" + rule + "  + if age < 0 {\n  tests TestNothing TestOld\n", "", "(TestOld)"},
		"killed by a subtest":     {"Anybody may enter\n" + rule + "  + if age < 0 {\n  tests TestParts/a\n", "", "(TestParts/a)"},
		"of several lines":        {"Anybody may enter\n" + rule + "  - return false\n  + if age < 18 {\n  + return true\n  tests TestOld\n", "", "1 killed"},
		"survives":                {"Anybody may enter\n" + rule + "  + if age < 0 {\n  tests TestNothing\n", "survives, as none of these fails: TestNothing", "SURVIVES"},
		"survives for a reason":   {"Anybody may enter\n" + rule + "  + if age < 0 {\n  tests TestNothing\n  survives nobody asks\n", "", "survives: Anybody may enter: nobody asks"},
		"a reason come to nought": {"Anybody may enter\n" + rule + "  + if age < 0 {\n  tests TestOld\n  survives nobody asks\n", "remove the line that says why", ""},
		"does not compile":        {"Anybody may enter\n" + rule + "  + if age {\n  tests TestOld\n", "does not compile", "faulty"},
		"not found":               {"Anybody may enter\n  in rules\n  - if age < 21 {\n  + if age < 0 {\n  tests TestOld\n", "not found in rules", ""},
		"found elsewhere":         {"Anybody may enter\n  in other\n  - if age < 18 {\n  + if age < 0 {\n  tests TestOld\n", "not found in other", ""},
		"found twice":             {"Anybody may enter\n  in rules\n  - return true\n  + return false\n  tests TestOld\n", "found 2 times in rules", ""},
		"no such test":            {"Anybody may enter\n" + rule + "  + if age < 0 {\n  tests TestOlder\n", "no test called TestOlder", ""},
		"no such subtest":         {"Anybody may enter\n" + rule + "  + if age < 0 {\n  tests TestParts/c\n", "no test TestParts/c", ""},
		"a test that fails":       {"Anybody may enter\n" + rule + "  + if age < 0 {\n  tests TestFails\n", "do not pass without a mutation", ""},
		"an empty list":           {"# nothing\n", "no mutation", ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := module(t)
			file, temporary := filepath.Join(t.TempDir(), "list"), t.TempDir()
			t.Setenv("TMPDIR", temporary)
			if err := os.WriteFile(file, []byte(test.list), 0o600); err != nil {
				t.Fatal(err)
			}
			before := contents(t, root)
			var out strings.Builder
			err := check(context.Background(), root, file, "", &out)
			if said := errorText(err); (test.says == "") != (err == nil) || !strings.Contains(said, test.says) || !strings.Contains(out.String(), test.out) {
				t.Errorf("the check ends with the error %q and writes\n%swant the error to say %q, and %q to be written", said, out.String(), test.says, test.out)
			}
			if !maps.Equal(before, contents(t, root)) {
				t.Error("the check changed the working tree")
			}
			if left := contents(t, temporary); len(left) > 0 {
				t.Errorf("the check left %d temporary files, want none", len(left))
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestListsAreReadStrictly(t *testing.T) {
	const good = "One\n  in a\n  - b\n  + c\n  tests TestA TestB/c\n  survives for now\n\n# a remark\nTwo\n\tin a\n\t-   b\n\t- d\n\ttests TestA\n"
	mutations, err := parse(good)
	if err != nil || len(mutations) != 2 {
		t.Fatalf("a list of two is read as %d mutations with the error %v", len(mutations), err)
	}
	one, two := mutations[0], mutations[1]
	if one.name != "One" || one.line != 1 || one.folder != "a" || one.survives != "for now" || !slices.Equal(one.old, []string{"b"}) || !slices.Equal(one.new, []string{"c"}) || !slices.Equal(one.tests, []string{"TestA", "TestB/c"}) {
		t.Errorf("the first is read as %+v", one)
	}
	if two.name != "Two" || two.line != 9 || two.survives != "" || !slices.Equal(two.old, []string{"b", "d"}) || len(two.new) != 0 {
		t.Errorf("the second is read as %+v", two)
	}
	for text, says := range map[string]string{
		"  in a\n":                                  "begins with its name",
		"One\n  in a\n  - b\n":                      "lines in, - and tests",
		"One\n  - b\n  tests T\n":                   "lines in, - and tests",
		"One\n  in a\n  tests T\n":                  "lines in, - and tests",
		"One\n  in a\n  - b\n  + b\n  tests T\n":    "new text is the old one",
		"One\n  in a\n  - b\n  tests T\n  with x\n": `"with" is none of`,
		good + good:                                 "stands here twice",
	} {
		if _, err := parse(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q is read with the error %v, want one that says %q", text, err, says)
		}
	}
}
