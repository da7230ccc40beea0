package policy_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/idpsync/idpsync/worker/policy"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

var update = flag.Bool("update", false, "write golden files")

func refused(t *testing.T, files ...policy.File) strictyaml.Faults {
	t.Helper()
	set, err := policy.Compile(files)
	faults, ok := errors.AsType[strictyaml.Faults](err)
	if !ok || len(faults) == 0 || set != nil {
		t.Fatalf("compiling ends with %v, want faults and no set", err)
	}
	return faults
}

// Every fault of every file is told at once, with its place and what to do.
func TestFaults(t *testing.T) {
	files, err := policy.Load(os.DirFS("testdata"), "refused")
	if err != nil {
		t.Fatal(err)
	}
	got := refused(t, files...).Error() + "\n"
	golden := filepath.Join("testdata", "refused.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("faults differ from %s; run with -update and read the difference\n%s", golden, got)
	}
	for range 20 {
		if again := refused(t, files...).Error() + "\n"; again != got {
			t.Fatalf("faults come in another order:\n%s", again)
		}
	}
}

func TestBounds(t *testing.T) {
	forbid := func(condition string) string {
		return "forbid (principal, action, resource) when { " + condition + " };"
	}
	for _, c := range []struct{ name, text, says string }{
		{"File", strings.Repeat("// padding\n", 100_000), "more than 1048576 bytes"},
		{"Policy", forbid(strings.Repeat("true && ", 10_000) + "true"), "more than 65536 bytes"},
		{"Brackets", forbid(strings.Repeat("(", 100) + "true" + strings.Repeat(")", 100)), "nest more than 64"},
		{"UnclosedBrackets", forbid(strings.Repeat("(", 30_000)), "nest more than 64"},
		{"Id", `@id("` + strings.Repeat("x", 129) + `") ` + forbid("true"), "cannot be an id"},
		{"Notice", `@notice("` + strings.Repeat("x", 501) + `") ` + forbid("true"), "one line of text"},
		{"NUL", forbid("true") + "\x00;", "NUL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if faults := refused(t, policy.File{Name: "a.cedar", Text: c.text}); !strings.Contains(faults.Error(), c.says) {
				t.Errorf("the faults are %v, want %q", faults, c.says)
			}
		})
	}
}

// What the bounds let pass must not take the process down; the library recurses where these nest.
func TestLongExpressions(t *testing.T) {
	for name, condition := range map[string]string{
		"Not":        strings.Repeat("!", 60_000) + "true",
		"Negate":     strings.Repeat("-", 60_000) + "1 == 1",
		"And":        strings.Repeat("true && ", 8_000) + "true",
		"Or":         strings.Repeat("false || ", 7_000) + "true",
		"IfThenElse": strings.Repeat("if false then true else ", 2_500) + "true",
		"Access":     "context" + strings.Repeat(".a", 30_000),
		"Add":        strings.Repeat("1+", 30_000) + "1 > 0",
	} {
		t.Run(name, func(t *testing.T) {
			set, err := policy.Compile([]policy.File{{Name: "a.cedar", Text: "forbid (principal, action, resource) when { " + condition + " };"}})
			if err == nil {
				set.Authorize(t.Context(), login())
			}
		})
	}
}

func TestIDs(t *testing.T) {
	set, err := policy.Compile([]policy.File{
		{Name: "a.cedar", Text: `
forbid (principal, action, resource) when { false };
@id("named") forbid (principal, action, resource) when { false };

// The third of its file; a semicolon ; here is not a policy.
@notice("Never; seen.")
permit (principal, action, resource);`},
		{Name: "b.cedar", Text: "// nothing\n"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range set.Policies() {
		if !p.Builtin {
			got = append(got, p.ID)
		}
	}
	if s := strings.Join(got, " "); s != "a.cedar:1 a.cedar:3 named" {
		t.Errorf("the ids are %q, want a.cedar:1 a.cedar:3 named", s)
	}
	p, ok := set.Policy("a.cedar:3")
	if !ok || p.File != "a.cedar" || p.Line != 6 || p.Effect != "permit" || p.Notice != "Never; seen." || !strings.HasPrefix(p.Text, "@notice") || !strings.HasSuffix(p.Text, ";") {
		t.Errorf("the policy a.cedar:3 is %+v, want its file, line, effect, notice and text", p)
	}
	if _, ok := set.Policy("a.cedar:2"); ok {
		t.Error("a named policy has its number as a second id")
	}
}

func TestBuiltinPoliciesCannotBeReplaced(t *testing.T) {
	set, err := policy.Compile(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range set.Policies() {
		if !p.Builtin || !strings.HasPrefix(p.ID, policy.ReservedPrefix) {
			t.Errorf("%s is not marked as built in", p.ID)
		}
		text := `@id("` + p.ID + `") permit (principal, action, resource);`
		if faults := refused(t, policy.File{Name: "mine.cedar", Text: text}); !strings.Contains(faults.Error(), "reserved") {
			t.Errorf("the faults of %s are %v, want that the id is reserved", p.ID, faults)
		}
	}
	// Not by a file's name either.
	refused(t, policy.File{Name: "builtin.no-owner", Text: `permit (principal, action, resource);`})
}

func TestDuplicateIDsAcrossFiles(t *testing.T) {
	text := `@id("same") forbid (principal, action, resource);`
	faults := refused(t, policy.File{Name: "a.cedar", Text: "\n" + text}, policy.File{Name: "b.cedar", Text: text})
	if len(faults) != 1 || faults[0].File != "b.cedar" || !strings.Contains(faults[0].Message, "a.cedar:2") {
		t.Errorf("the faults are %v, want one, of b.cedar, that names a.cedar:2", faults)
	}
}

func TestLoad(t *testing.T) {
	fsys := fstest.MapFS{
		"p/b.cedar":         {Data: []byte("b")},
		"p/a.cedar":         {Data: []byte("a")},
		"p/README.md":       {Data: []byte("x")},
		"p/a.cedar~":        {Data: []byte("x")},
		"p/dir.cedar/c.txt": {Data: []byte("x")},
	}
	files, err := policy.Load(fsys, "p")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 2 || files[0] != (policy.File{Name: "a.cedar", Text: "a"}) || files[1] != (policy.File{Name: "b.cedar", Text: "b"}) {
		t.Errorf("the files are %+v, want a.cedar and b.cedar", files)
	}
	if _, err := policy.Load(fsys, "nowhere"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing folder gives the error %v, want %v", err, os.ErrNotExist)
	}
	fsys["p/c.cedar"] = &fstest.MapFile{Data: make([]byte, 1<<20+1)}
	if _, err := policy.Load(fsys, "p"); err == nil || !strings.Contains(err.Error(), "c.cedar") {
		t.Errorf("a file that is too large gives the error %v, want one that names c.cedar", err)
	}
}
