package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

const policySuffix = ".cedar"

// policies reads the policy files of the folder that the file names.
func (r *reader) policies(v strictyaml.Value) {
	if !v.Present() {
		return
	}
	name := v.Text()
	if name == "" {
		if v.IsText() {
			v.Fail("name a folder, or leave the key out", "policies is empty")
		}
		return
	}
	policies, err := LoadPolicies(r.beside(name))
	if err != nil {
		v.Fail("a folder of "+policySuffix+" files", "%v", err)
		return
	}
	if len(policies) == 0 {
		r.warn(v, "leave the key out if that is meant", "%s holds no %s file; only the built-in policies decide", name, policySuffix)
	}
	if r.options.CheckPolicies != nil {
		err := r.options.CheckPolicies(policies)
		if faults, ok := errors.AsType[strictyaml.Faults](err); ok {
			for _, f := range faults {
				f.File = filepath.Join(r.beside(name), f.File)
				r.doc.Add(f)
			}
		} else if err != nil {
			v.Fail("mend the policies; those in force stay", "the policies cannot be used: %v", err)
		}
	}
	if r.options.WarnOfPolicies != nil {
		for _, w := range r.options.WarnOfPolicies(policies) {
			w.File = filepath.Join(r.beside(name), w.File)
			r.warnings = append(r.warnings, w)
		}
	}
	r.out.Policies = policies
}

// LoadPolicies reads the *.cedar files of a folder, sorted by name. Other files are not looked at.
func LoadPolicies(folder string) ([]store.Policy, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			err = e.Err
		}
		return nil, fmt.Errorf("cannot read %s: %w", folder, err)
	}
	var out []store.Policy
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), policySuffix) {
			continue
		}
		file := filepath.Join(folder, e.Name())
		data, err := strictyaml.ReadFile(file, 1<<20)
		if err != nil {
			return nil, err
		}
		if !utf8.Valid(data) {
			return nil, fmt.Errorf("%s is not valid UTF-8", file)
		}
		out = append(out, store.Policy{Name: e.Name(), Text: string(data)})
	}
	slices.SortFunc(out, func(a, b store.Policy) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
