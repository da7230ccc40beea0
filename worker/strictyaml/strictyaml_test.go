package strictyaml_test

import (
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/worker/strictyaml"
)

func TestHostileDocumentsAreRefused(t *testing.T) {
	for name, tc := range map[string]struct{ doc, want string }{
		"anchor":               {"a: &x 1\nb: 2\n", `f.yaml:1:4: anchors and aliases are not accepted (write the value out)`},
		"alias":                {"a: 1\nb: *x\n", `f.yaml:2:4: anchors and aliases are not accepted (write the value out)`},
		"merge key":            {"a: 1\nb: {<<: {c: 1}}\n", `f.yaml:2:5: merge keys are not accepted (write the values out)`},
		"tag":                  {"a: !!binary aGk=\n", `f.yaml:1:4: tags are not accepted (remove it)`},
		"directive":            {"%YAML 1.1\n---\na: 1\n", `f.yaml:1:1: directives are not accepted (remove it)`},
		"second document":      {"---\na: 1\n---\nb: 2\n", `f.yaml:3:1: only one document is read (use one file for each)`},
		"complex key":          {"? [a, b]\n: 1\n", `f.yaml:1:1: complex keys are not accepted (write it as key: value)`},
		"tab in indentation":   {"a:\n\tb: 1\n", `f.yaml:2:1: YAML does not allow a tab in indentation (use spaces)`},
		"bad UTF-8":            {"a: b\nc: \"d\xff\"\n", `f.yaml:2:6: the file is not valid UTF-8 (save it as UTF-8)`},
		"overlong UTF-8":       {"a: \xc0\xaf\n", `f.yaml:1:4: the file is not valid UTF-8 (save it as UTF-8)`},
		"NUL":                  {"a: b\x00c\n", `f.yaml:1:5: the file holds the control character U+0000 (remove it)`},
		"escape sequence":      {"a: \x1b[2J\n", `f.yaml:1:4: the file holds the control character U+001B (remove it)`},
		"byte order mark mid":  {"a: b\ufeffc\n", `f.yaml:1:5: the file holds the control character U+FEFF (remove it)`},
		"line separator":       {"a: b\u2028c: d\n", `f.yaml:1:5: the file holds the control character U+2028 (remove it)`},
		"deep flow lists":      {"a: " + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000), `f.yaml:1:36: nested too deeply (nest less)`},
		"deep flow mappings":   {"a: " + strings.Repeat("{a: ", 50_000), `f.yaml:1:132: nested too deeply (nest less)`},
		"deep list in a line":  {strings.Repeat("- ", 50_000) + "a", `f.yaml:1:65: nested too deeply (nest less)`},
		"deep mappings":        {deep(400), `f.yaml:258:258: nested too deeply (nest less)`},
		"mappings in one line": {strings.Repeat("a: ", 50_000), `f.yaml:1:98: nested too deeply (nest less)`},
		"too many keys":        {strings.Repeat("a: b\n", 2000), `f.yaml:1001:2: a mapping has more than 1000 keys (use a list)`},
		"too many flow keys":   {"a: {" + strings.Repeat("b: c, ", 2000) + "}", `f.yaml:1:6006: a mapping has more than 1000 keys (use a list)`},
		"too large":            {strings.Repeat("# padding\n", 500_000), `f.yaml: the file is too large: 5000000 bytes (at most 4 MiB are read)`},
		"unclosed list":        {"a: [1, 2\nb: 3\n", ``},
		"unclosed quote":       {"a: \"b\nc: d\n", ``},
		"bad indentation":      {"a:\n  b: 1\n c: 2\n", ``},
	} {
		t.Run(name, func(t *testing.T) {
			d := strictyaml.Parse("f.yaml", []byte(tc.doc))
			err := d.Err()
			if err == nil {
				t.Fatal("the document is accepted, want an error")
			}
			first, _, _ := strings.Cut(err.Error(), "\n")
			if tc.want != "" && first != tc.want {
				t.Errorf("got  %s\nwant %s", first, tc.want)
			}
			if !strings.HasPrefix(first, "f.yaml") || len(first) > 300 {
				t.Errorf("not a message for people: %s", first)
			}
			if d.Root().Present() {
				t.Error("a document with faults of form still has a value")
			}
		})
	}
}

// deep nests n mappings, each one column further to the right.
func deep(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestManyAliasesCostNothing(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 10; i++ {
		prev := string(rune('0' + i - 1))
		b.WriteString("a" + string(rune('0'+i)) + ": &a" + string(rune('0'+i)) + " [" + strings.Repeat("*a"+prev+", ", 9) + "]\n")
	}
	if err := strictyaml.Parse("bomb.yaml", []byte(b.String())).Err(); err == nil {
		t.Fatal("a bomb of aliases is accepted, want an error")
	}
}

func TestAllFaultsAreReportedInOrder(t *testing.T) {
	const doc = `name: 12
names: [a, 1, null]
colour: red
on: "true"
age: 5
list: one
sub: text
name: again
sub2:
  inner: x
  innner: y
`
	d := strictyaml.Parse("f.yaml", []byte(doc))
	m := d.Root().Mapping()
	m.Get("name").Text()
	for _, v := range m.Get("names").List() {
		v.Text()
	}
	m.Get("on").Bool()
	m.Get("age").Duration()
	m.Get("list").List()
	m.Get("sub").Mapping().Close()
	sub := m.Get("sub2").Mapping()
	sub.Get("inner").Text()
	sub.Require("outer", "give one")
	sub.Close()
	m.Require("colours", "")
	m.Close()
	want := `f.yaml:1:1: colours is missing
f.yaml:1:7: name must be text, not a number (put it in quotes)
f.yaml:2:8: names[2] must be text, not empty
f.yaml:2:12: names[1] must be text, not a number (put it in quotes)
f.yaml:3:1: unknown key "colour" (did you mean "colours"?)
f.yaml:4:5: on must be true or false (write true or false without quotes)
f.yaml:5:6: age is not a duration: "5" (write it as 90s, 15m, 36h or 7d)
f.yaml:6:7: list must be a list, not text (write it as [a, b])
f.yaml:7:6: sub must be a mapping, not text (write it as key: value)
f.yaml:8:1: duplicate key "name"; the first is in line 1 (keep one of them)
f.yaml:10:3: outer is missing (give one)
f.yaml:11:3: unknown key "innner" (did you mean "inner"?)`
	if got := d.Err().Error(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestValues(t *testing.T) {
	const doc = "\xef\xbb\xbf" + `# comment
text: plain words   # comment
quoted: "a: b"
literal: |
  two
  lines
number: 500
yes: true
long: 7d
short: 1h30m
list:
  - a
  - b
`
	d := strictyaml.Parse("f.yaml", []byte(doc))
	m := d.Root().Mapping()
	check := func(name string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	check("text", m.Get("text").Text(), "plain words")
	check("quoted", m.Get("quoted").Text(), "a: b")
	check("literal", m.Get("literal").Text(), "two\nlines\n")
	check("number", m.Get("number").Scalar(), "500")
	check("yes", m.Get("yes").Bool(), true)
	check("long", m.Get("long").Duration(), 7*24*time.Hour)
	check("short", m.Get("short").Duration(), 90*time.Minute)
	check("list", len(m.Get("list").List()), 2)
	check("absent", m.Get("absent").Present(), false)
	check("absent text", m.Get("absent").Text(), "")
	check("absent mapping", len(m.Get("absent").Mapping().Names()), 0)
	m.Close()
	if err := d.Err(); err != nil {
		t.Error(err)
	}
}

func TestEmptyDocumentIsAbsent(t *testing.T) {
	for _, doc := range []string{"", "\n\n", "# only a comment\n", "---\n"} {
		d := strictyaml.Parse("f.yaml", []byte(doc))
		if d.Root().Present() || d.Err() != nil {
			t.Errorf("%q is read as present: %v, with the error %v, want it absent", doc, d.Root().Present(), d.Err())
		}
	}
}

func TestFaultsAreBounded(t *testing.T) {
	var b strings.Builder
	for range 10_000 {
		b.WriteString("- 1\n")
	}
	d := strictyaml.Parse("f.yaml", []byte(b.String()))
	for _, v := range d.Root().List() {
		v.Text()
	}
	lines := strings.Split(d.Err().Error(), "\n")
	if len(lines) != 101 || !strings.Contains(lines[100], "there are more faults") {
		t.Errorf("there are %d lines, the last %q, want 101, the last that there are more", len(lines), lines[len(lines)-1])
	}
}

func TestClosest(t *testing.T) {
	known := []string{"issuer", "audiences", "algorithms", "metadata_file"}
	for word, want := range map[string]string{
		"isuer": "issuer", "Issuer": "issuer", "audience": "audiences", "metadata-file": "metadata_file", "colour": "", "": "",
	} {
		if got := strictyaml.Closest(word, known); got != want {
			t.Errorf("Closest(%q) = %q, want %q", word, got, want)
		}
	}
}

// FuzzParse finds that no document makes the reader panic, hang or speak of a place that is not there.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"a: 1\nb: [1, {c: d}]\n", "- a\n- b: |\n    x\n", "a: &x *x\n", "? a\n: b\n", "\"\\u0000\": 1", "a: !<x> y", "{a: b, a: c}", "a:\n- b\n -c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d := strictyaml.Parse("f", []byte(s))
		walk(d.Root(), 0)
		if faults, ok := d.Err().(strictyaml.Faults); ok {
			for _, fault := range faults {
				if fault.Line < 0 || fault.Line > strings.Count(s, "\n")+strings.Count(s, "\r")+2 {
					t.Errorf("the fault is in line %d of %q, want one of its lines", fault.Line, s)
				}
			}
		}
	})
}

func walk(v strictyaml.Value, depth int) {
	if depth > 64 {
		panic("deeper than the reader allows")
	}
	v.Text()
	v.Scalar()
	v.Bool()
	v.Duration()
	for _, item := range v.List() {
		walk(item, depth+1)
	}
	m := v.Mapping()
	for _, name := range m.Names() {
		walk(m.Get(name), depth+1)
	}
	m.Close()
}
