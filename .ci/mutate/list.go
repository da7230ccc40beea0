package main

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A mutation is one change that some test has to notice.
type mutation struct {
	name     string
	line     int    // of the list
	folder   string // in which the old text stands once
	old, new []string
	tests    []string // names, with subtests behind a slash
	survives string   // why it is known to survive; "" when it must not

	file     string   // in which the old text was found, relative to the module
	text     string   // of that file, with the new text
	packages []string // of the tests, as ./folder
	left     []string // files of other tests in these, which need not be built
}

func (m *mutation) testNames() string { return strings.Join(m.tests, " ") }

// parse reads a list; mutations.txt tells its form.
func parse(text string) ([]mutation, error) {
	var out []mutation
	names := map[string]bool{}
	var m *mutation
	end := func() error {
		switch {
		case m == nil:
			return nil
		case m.folder == "" || len(m.old) == 0 || len(m.tests) == 0:
			return fmt.Errorf("line %d: %s: it takes the lines in, - and tests", m.line, m.name)
		case slices.Equal(m.old, m.new):
			return fmt.Errorf("line %d: %s: the new text is the old one", m.line, m.name)
		}
		return nil
	}
	for i, line := range strings.Split(text, "\n") {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest = strings.TrimSpace(rest)
		switch {
		case word == "" || line[0] == '#':
			continue
		case line[0] != ' ' && line[0] != '\t':
			if err := end(); err != nil {
				return nil, err
			}
			name := strings.TrimSpace(line)
			if names[name] {
				return nil, fmt.Errorf("line %d: %s: the name stands here twice", i+1, name)
			}
			names[name] = true
			out = append(out, mutation{name: name, line: i + 1})
			m = &out[len(out)-1]
			continue
		case m == nil:
			return nil, fmt.Errorf("line %d: a mutation begins with its name, at the beginning of a line", i+1)
		}
		switch word {
		case "in":
			m.folder = rest
		case "-":
			m.old = append(m.old, rest)
		case "+":
			m.new = append(m.new, rest)
		case "tests":
			m.tests = append(m.tests, strings.Fields(rest)...)
		case "survives":
			m.survives = rest
		default:
			return nil, fmt.Errorf("line %d: %q is none of in, -, +, tests and survives", i+1, word)
		}
	}
	return out, end()
}

// A tree is the source of a module. Paths are relative to its root, with slashes.
type tree struct {
	files    map[string]string     // texts of the program's, by path
	tests    map[string][]testFile // that have a test of this name
	external map[string][]string   // files of the tests of a package that see it from outside, by package
}

// A testFile is a file of tests.
type testFile struct {
	in       string // package, as ./folder
	external bool
}

var (
	testFunction    = regexp.MustCompile(`(?m)^func (Test\w*)\(`)
	externalPackage = regexp.MustCompile(`(?m)^package \w+_test$`)
)

// readTree reads the Go files of a module. Folders that the go command passes over, and modules within it, are none of it.
func readTree(root string) (*tree, error) {
	t := &tree{files: map[string]string{}, tests: map[string][]testFile{}, external: map[string][]string{}}
	err := filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if at == root {
				return nil
			}
			_, err := os.Stat(filepath.Join(at, "go.mod"))
			if err == nil || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(at) != ".go" {
			return nil
		}
		text, err := os.ReadFile(at) //nolint:gosec // the files are those of this checkout
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, at)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if !strings.HasSuffix(name, "_test.go") {
			t.files[name] = string(text)
			return nil
		}
		file := testFile{in: "./" + path.Dir(name), external: externalPackage.Match(text)}
		if file.external {
			t.external[file.in] = append(t.external[file.in], name)
		}
		for _, f := range testFunction.FindAllStringSubmatch(string(text), -1) {
			t.tests[f[1]] = append(t.tests[f[1]], file)
		}
		return nil
	})
	return t, err
}

// place finds out which file a mutation changes, and which packages have its tests.
func (t *tree) place(m *mutation) error {
	quoted := make([]string, len(m.old))
	for i, line := range m.old {
		quoted[i] = regexp.QuoteMeta(line)
	}
	old := regexp.MustCompile(strings.Join(quoted, `[ \t]*\n[ \t]*`))
	var found []string
	for name, text := range t.files {
		if m.folder != "." && !strings.HasPrefix(name, strings.TrimSuffix(m.folder, "/")+"/") {
			continue
		}
		for _, at := range old.FindAllStringIndex(text, -1) {
			found = append(found, fmt.Sprintf("%s:%d", name, 1+strings.Count(text[:at[0]], "\n")))
			m.file, m.text = name, text[:at[0]]+strings.Join(m.new, "\n")+text[at[1]:]
		}
	}
	slices.Sort(found)
	switch len(found) {
	case 0:
		return fmt.Errorf("its old text is not found in %s: say what stands there now", m.folder)
	case 1:
	default:
		return fmt.Errorf("its old text is found %d times in %s, want once: make it longer (%s)", len(found), m.folder, strings.Join(found, ", "))
	}
	outside := map[string]bool{} // packages of which an external test is asked
	for _, test := range m.tests {
		name, _, _ := strings.Cut(test, "/")
		if len(t.tests[name]) == 0 {
			return fmt.Errorf("there is no test called %s", name)
		}
		for _, f := range t.tests[name] {
			if !slices.Contains(m.packages, f.in) {
				m.packages = append(m.packages, f.in)
			}
			outside[f.in] = outside[f.in] || f.external
		}
	}
	slices.Sort(m.packages)
	for _, p := range m.packages {
		if !outside[p] {
			m.left = append(m.left, t.external[p]...)
		}
	}
	return nil
}
