package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
)

const exampleConfig = "../../deploy/idpsync.example.yaml"

// The shipped configuration says what holds without it.
func TestExampleConfigurationIsTheDefault(t *testing.T) {
	fromFile, err := resolve(nil, "--config", exampleConfig)
	if err != nil {
		t.Fatal(err)
	}
	defaults, err := resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(fromFile, defaults) {
		t.Errorf("the example differs from the defaults:\n%+v\n%+v", fromFile, defaults)
	}
}

// It shows every setting, those without a default behind a #, and what stands behind the # would be taken.
func TestExampleConfigurationShowsEverySetting(t *testing.T) {
	data, err := os.ReadFile(exampleConfig)
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^#?([a-z_]+): *([^#\n]*)`).FindAllStringSubmatch(string(data), -1) {
		shown[m[1]] = strings.TrimSpace(m[2])
	}
	for _, s := range settings() {
		text, ok := shown[s.key]
		if !ok {
			t.Errorf("%s is not shown", s.key)
			continue
		}
		delete(shown, s.key)
		var c config
		if err := s.set(&c, text); err != nil {
			t.Errorf("%s: %q %v", s.key, text, err)
		}
		if s.value == "" != strings.Contains(string(data), "\n#"+s.key+":") {
			t.Errorf("%s: a # stands before a setting that has no default, and before no other", s.key)
		}
	}
	if len(shown) > 0 {
		t.Errorf("there are no such settings: %v", shown)
	}
}

// The shipped directory can be applied, and every source of it works.
func TestExampleDirectoryCanBeApplied(t *testing.T) {
	example, err := filepath.Abs("../../deploy/directory.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if code, _, stderr := idpsync(t.Context(), "apply", "-f", example, "--yes"); code != kit.ExitOK || stderr != "" {
		t.Fatalf("apply of the example ends with exit %d and %s, want %d and no errors", code, stderr, kit.ExitOK)
	}
	code, stdout, _ := idpsync(t.Context(), "apply", "-f", example)
	if code != kit.ExitOK || !strings.HasPrefix(stdout, "nothing to change") {
		t.Errorf("a second apply ends with exit %d and %s, want %d and nothing to change", code, stdout, kit.ExitOK)
	}
}
