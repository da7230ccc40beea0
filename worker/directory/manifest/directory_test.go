package manifest_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/directory/manifest"
	"github.com/idpsync/idpsync/worker/policy"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

func checkPolicies(rows []store.Policy) error {
	files := make([]policy.File, len(rows))
	for i, r := range rows {
		files[i] = policy.File(r)
	}
	_, err := policy.Compile(files)
	return err
}

func TestTheShippedExampleIsGood(t *testing.T) {
	d, err := manifest.Load("../../../deploy/directory.example.yaml", manifest.Options{Kinds: kinds(), CheckPolicies: checkPolicies})
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Warnings) > 0 {
		t.Errorf("the example has the warnings %v, want none", d.Warnings)
	}
	if n := len(d.Directory.Sources); n != 4 {
		t.Errorf("the example declares %d sources, want 4", n)
	}
}

func TestTheWholeForm(t *testing.T) {
	if err := os.Chmod("testdata/keys/sp.key", 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := manifest.Load("testdata/whole.yaml", manifest.Options{Kinds: kinds(), CheckPolicies: checkPolicies})
	if err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, w := range d.Warnings {
		b.WriteString("warning: " + w.String() + "\n")
	}
	out, err := json.MarshalIndent(readable(d.Directory), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	b.Write(out)
	golden(t, "testdata/whole.golden", strings.ReplaceAll(b.String(), here, "<here>")+"\n")
}

// readable is a directory with the configuration of sources as JSON in place of its bytes.
func readable(d store.Directory) any {
	type source struct {
		TenantID, Name, Kind string
		Config               json.RawMessage
	}
	sources := []source{}
	for _, s := range d.Sources {
		sources = append(sources, source{s.TenantID, s.Name, s.Kind, s.Config})
	}
	return map[string]any{
		"tenants": d.Tenants, "roles": d.Roles, "organizations": d.Organizations, "sources": sources, "policies": d.Policies,
	}
}

// Each file of testdata/faults is refused with exactly the faults of its golden file, which shows them as people do.
func TestFaults(t *testing.T) {
	files, err := filepath.Glob("testdata/faults/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("there are %d files of faults with the error %v, want at least 5", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			_, err := manifest.Load(file, manifest.Options{Kinds: kinds(), CheckPolicies: checkPolicies})
			if _, ok := errors.AsType[strictyaml.Faults](err); !ok {
				t.Fatalf("loading ends with %v, want strictyaml.Faults", err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", err.Error()+"\n")
		})
	}
}

func TestAFileThatIsNotThere(t *testing.T) {
	for _, file := range []string{"testdata/none.yaml", "testdata"} {
		_, err := manifest.Load(file, manifest.Options{Kinds: kinds()})
		if err == nil || !strings.Contains(err.Error(), "cannot read "+file) {
			t.Errorf("loading %s ends with %v, want that it cannot be read", file, err)
		}
	}
}

func TestPrivateKeysOfOthersAreWarnedOf(t *testing.T) {
	folder := t.TempDir()
	for _, name := range []string{"sp.key", "sp.crt", "idp.xml"} {
		data, err := os.ReadFile(filepath.Join("testdata/keys", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o644); err != nil { //nolint:gosec // that is the point
			t.Fatal(err)
		}
	}
	d, err := manifest.Parse(filepath.Join(folder, "d.yaml"), []byte(tenant(`
      - {name: adfs, kind: saml, metadata_file: idp.xml, entity_id: https://sp.example, acs_url: https://sp.example/acs,
         key_file: sp.key, certificate_file: sp.crt, allow_sha1: true, trust_email: true, domains: [acme.example]}`)), manifest.Options{Kinds: kinds()})
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Warnings) != 2 || !strings.Contains(d.Warnings[0].String(), "SHA-1") && !strings.Contains(d.Warnings[1].String(), "SHA-1") {
		t.Errorf("the warnings are %v, want two, one of them of SHA-1", d.Warnings)
	}
	if !slices.ContainsFunc(d.Warnings, func(f strictyaml.Fault) bool { return strings.Contains(f.String(), "mode 0644") }) {
		t.Errorf("no word of the key's mode: %v", d.Warnings)
	}
}

// tenant is a file with one tenant, its roles user and admin, and these sources.
func tenant(sources string) string {
	return `tenants:
  - id: 2489E9AD-2EE2-8E00-8EC9-32D5F69181C0
    name: acme
    roles: [{name: user}, {name: admin}]
    sources:` + sources + "\n"
}

func TestCheckSourceIsAskedOfGoodSourcesOnly(t *testing.T) {
	var asked []string
	_, err := manifest.Parse("d.yaml", []byte(tenant(`
      - {name: good, kind: oidc, issuer: https://a.example, audiences: [x]}
      - {name: bad, kind: oidc, issuer: http://a.example, audiences: [x]}`)), manifest.Options{
		Kinds: kinds(),
		CheckSource: func(s providers.Source) ([]string, error) {
			asked = append(asked, s.Name)
			return nil, errors.New("its moon is in the wrong house")
		},
	})
	if !slices.Equal(asked, []string{"good"}) {
		t.Errorf("the sources %v were asked, want the good one alone", asked)
	}
	if err == nil || !strings.Contains(err.Error(), `d.yaml:6:16: source "good" cannot work: its moon is in the wrong house`) {
		t.Errorf("the error is %v, want what CheckSource said, with its place", err)
	}
}

// What is kept of a source must not depend on how its YAML is written, or every apply would be a change.
func TestConfigIsDeterministic(t *testing.T) {
	parse := func(sources string) []byte {
		t.Helper()
		d, err := manifest.Parse("d.yaml", []byte(tenant(sources)), manifest.Options{Kinds: kinds()})
		if err != nil {
			t.Fatal(err)
		}
		return d.Directory.Sources[0].Config
	}
	a := parse(`
      - name: x
        kind: oidc
        max_event_age: 48h
        mapping: {email: claims.email, roles: claims.groups, name: claims.name}
        audiences: [x]
        issuer: https://a.example`)
	for range 20 {
		b := parse(`
      - {kind: oidc, name: x, issuer: "https://a.example", audiences: ["x"], max_event_age: 2d, on_denied_role: reject,
         mapping: {roles: claims.groups, name: claims.name, email: claims.email}}`)
		if string(a) != string(b) {
			t.Fatalf("one source has two configurations, want one:\n%s\n%s", a, b)
		}
	}
	var s providers.Source
	if err := json.Unmarshal(a, &s); err != nil || s.MaxEventAge != 48*time.Hour || s.Mapping["roles"] != "claims.groups" {
		t.Errorf("the configuration is read as %+v with the error %v, want its age and mapping", s, err)
	}
}

// Mangled files are refused with faults or read as something; they never make the reader panic. Fuzzing with coverage is
// of no use here, as it would cover the libraries for expressions and databases too.
func TestMangledFiles(t *testing.T) {
	whole, err := os.ReadFile("testdata/whole.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const pieces = "{}[]:,-#&*!|>'\"%@` \n\t\\?~x0"
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	read := 0
	for i := range 200 {
		data := slices.Clone(whole)
		for range 1 + i%4 {
			data[random.IntN(len(data))] = pieces[random.IntN(len(pieces))]
		}
		d, err := manifest.Parse("testdata/d.yaml", data, manifest.Options{Kinds: kinds()})
		if err != nil {
			if _, ok := errors.AsType[strictyaml.Faults](err); !ok {
				t.Fatalf("a mangled file gives a %T, want strictyaml.Faults: %v\n%s", err, err, data)
			}
			continue
		}
		read++
		if changes := manifest.Diff(kinds(), d.Directory, manifest.Complete(d.Directory, d.Directory)); len(changes) > 0 {
			t.Fatalf("a directory differs from itself: %v\n%s", changes, data)
		}
	}
	if read == 0 || read == 200 {
		t.Errorf("%d of 200 mangled files were read, want some but not all", read)
	}
}
