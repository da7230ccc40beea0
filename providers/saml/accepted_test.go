package saml_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/saml"
)

// A fixture is a folder of Responses that another implementation made; see its make script.
type fixture struct {
	MadeWith string            `json:"made_with"`
	Stored   time.Time         `json:"stored"`
	Subject  string            `json:"subject"`
	Email    string            `json:"email"`
	Name     string            `json:"name"`
	Mapping  map[string]string `json:"mapping"`
	Cases    map[string]struct {
		AllowSHA1 bool `json:"allow_sha1"`
	} `json:"cases"`

	metadata string
	dir      string
}

func fixtures(t testing.TB) map[string]fixture {
	t.Helper()
	paths, err := filepath.Glob("testdata/accepted/*/fixture.json")
	check(t, err)
	all := make(map[string]fixture)
	for _, path := range paths {
		f := fixture{dir: filepath.Dir(path)}
		data, err := os.ReadFile(path)
		check(t, err)
		check(t, json.Unmarshal(data, &f))
		metadata, err := os.ReadFile(filepath.Join(f.dir, "metadata.xml"))
		check(t, err)
		f.metadata = string(metadata)
		all[filepath.Base(f.dir)] = f
	}
	if len(all) < 2 {
		t.Fatalf("found %d implementations, want at least two", len(all))
	}
	return all
}

func (f fixture) response(t testing.TB, name string) []byte {
	t.Helper()
	doc, err := os.ReadFile(filepath.Join(f.dir, name+".xml"))
	check(t, err)
	return doc
}

// fixtureWorld is a world at the time of a fixture, with our key of testdata.
func fixtureWorld(t testing.TB, f fixture) *world {
	t.Helper()
	w := newWorld(t)
	w.clock.Advance(f.Stored.Sub(w.clock.Now()))
	w.src.Mapping, own(&w.src).Metadata = f.Mapping, f.metadata
	return w
}

func TestOtherImplementations(t *testing.T) {
	for implementation, f := range fixtures(t) {
		w := fixtureWorld(t, f)
		for name, c := range f.Cases {
			t.Run(implementation+"/"+name, func(t *testing.T) {
				e := w.login(t, f.response(t, name))
				user, err := w.provider(t, func(s *providers.Source) { own(s).AllowSHA1 = c.AllowSHA1 }).Verify(t.Context(), e)
				if err != nil {
					t.Fatalf("Verify: %v", err)
				}
				if user.Identity.Subject != f.Subject || user.Email != f.Email || user.Name != f.Name {
					t.Errorf("subject %q, email %q, name %q; want %q, %q, %q", user.Identity.Subject, user.Email, user.Name, f.Subject, f.Email, f.Name)
				}
				if c.AllowSHA1 {
					_, err := w.provider(t).Verify(t.Context(), e)
					if got := reason(t, err); got != "algorithm" {
						t.Errorf("without allow_sha1: reason %q, want algorithm", got)
					}
				}
			})
		}
	}
}

// The metadata that the other implementations were given is what Metadata prints.
func TestMetadata(t *testing.T) {
	got, err := saml.Metadata(providers.Source{Config: &saml.Config{EntityID: entityID, ACSURL: acsURL, CertificateFile: "testdata/sp.crt"}})
	check(t, err)
	want, err := os.ReadFile("testdata/sp-metadata.xml")
	check(t, err)
	if string(got) != string(want) {
		t.Errorf("Metadata:\n%s\nwant:\n%s", got, want)
	}
}
