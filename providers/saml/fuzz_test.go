package saml_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/idpsync/idpsync/providers"
)

// FuzzVerify: whatever the bytes, there is no panic, and no user but the ones that the fixtures' IdPs signed.
func FuzzVerify(f *testing.F) {
	type target struct {
		w       *world
		p       providers.Provider
		subject string
	}
	var targets []target
	for _, fixture := range fixtures(f) {
		w := fixtureWorld(f, fixture)
		targets = append(targets, target{w, w.provider(f), fixture.Subject})
		for name := range fixture.Cases {
			f.Add(fixture.response(f, name))
		}
	}
	c := readCorpus(f)
	w := corpusWorld(f, c)
	targets = append(targets, target{w, w.provider(f), ""})
	for name := range c.Reason {
		doc, err := os.ReadFile(filepath.Join(rejected, name+".xml"))
		check(f, err)
		f.Add(doc)
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		for _, target := range targets {
			user, err := target.w.verify(t, target.p, doc)
			if err == nil && (target.subject == "" || user.Identity.Subject != target.subject) {
				t.Errorf("a mangled response made a user of %+v, want the subject %q or an error", user.Identity, target.subject)
			}
			if err != nil && reason(t, err) == "panic" {
				t.Errorf("Verify panics, want a reason: %v", err)
			}
		}
	})
}
