package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFailuresWithoutWordsAreFound(t *testing.T) {
	for body, silent := range map[string]bool{
		`t.Errorf("%+v", x)`:                                              true,
		`t.Errorf("%s: %v", name, x)`:                                     true,
		`t.Errorf("%d states, %v", n, err)`:                               true,
		`t.Errorf("%-5.2f %[1]q %%", x)`:                                  true,
		`t.Fatalf("%s", r.Data)`:                                          true,
		`t.Fatalf(format, x)`:                                             true,
		`t.Error(err)`:                                                    true,
		`t.Error(load("the file of keys"))`:                               true,
		`const format = "%s: %v"; t.Fatalf(format, x)`:                    true,
		`tb.Fatal(x)`:                                                     true,
		`if err == nil { t.Fatal(err) }`:                                  true,
		`if err != nil { t.Fatal(x) }`:                                    true,
		`if err != nil || n != 1 { t.Fatal(err) }`:                        true,
		`if err != nil { for { t.Fatal(err) } }`:                          true,
		`if err != nil { } else { t.Fatal(err) }`:                         true,
		`t.Run("one", func(t *testing.T) { t.Error(x) })`:                 true,
		`t.Errorf("got %v, want %v", x, y)`:                               false,
		`t.Error("the key is kept:", err)`:                                false,
		`t.Error("the key " + name + " is kept")`:                         false,
		`const format = "the state is " + "%v"; t.Fatalf(format, x)`:      false,
		"t.Errorf(`the state is %v`, x)":                                  false,
		`if err != nil { t.Fatal(err) }`:                                  false,
		`if err := load("a"); err != nil { t.Error(err) }`:                false,
		`if err != nil { t.Log(err); t.Error(err) }`:                      false,
		`if err != nil { t.Fatalf("%s: %v", name, err) }`:                 false,
		`if failure != nil { t.Fatal(failure) }`:                          false,
		`t.Log(x); r.Error(x); _ = t.Error(); t.Helper(); fmt.Errorf("")`: false,
	} {
		_, found, err := judge("a_test.go", []byte("package a\nfunc TestA(t *testing.T) {\n"+body+"\n}\n"))
		if err != nil {
			t.Errorf("%s can't be read: %v", body, err)
		}
		if (len(found) == 1) != silent || len(found) > 1 {
			t.Errorf("%s has the findings %q, want one: %v", body, found, silent)
		}
		for _, f := range found {
			if !strings.HasPrefix(f, "a_test.go:3:") {
				t.Errorf("%s has the finding %q, want its file and line first", body, f)
			}
		}
	}
}

func TestCheckReadsTestsAndTheirHelpers(t *testing.T) {
	root := t.TempDir()
	const text = "package a\nfunc help(t testing.TB) {\nt.Error(x)\n}\n"
	for _, name := range []string{"a/a_test.go", "a/atest/help.go", ".ci/b/b_test.go", "a/a.go", "a/testdata/c_test.go"} {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	if err := check(root, &out); err == nil {
		t.Error("a folder with silent failures passes, want an error")
	}
	if said := out.String(); strings.Count(said, "\n") != 4 || !strings.HasSuffix(said, "3 of 3 failures of tests say nothing\n") {
		t.Errorf("the check prints\n%s\nwant three findings, of the tests and of the helper, and their number", said)
	}
	if err := check(t.TempDir(), &out); err == nil {
		t.Error("a folder without tests passes, want an error: nothing would ever be found in it")
	}
}
