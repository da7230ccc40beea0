package saml_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/idpsync/idpsync/providers/providertest"
	"github.com/idpsync/idpsync/providers/saml/idp"
)

var update = flag.Bool("update", false, "make the corpus of testdata/rejected anew")

// A corpus is testdata/rejected: hostile Responses, the metadata of the IdP that they pretend to come from, and the
// reason that each must be refused for.
type corpus struct {
	Stored time.Time         `json:"stored"`
	Reason map[string]string `json:"reasons"`
}

const rejected = "testdata/rejected"

func readCorpus(t testing.TB) corpus {
	t.Helper()
	var c corpus
	data, err := os.ReadFile(filepath.Join(rejected, "corpus.json"))
	check(t, err)
	check(t, json.Unmarshal(data, &c))
	files, err := filepath.Glob(filepath.Join(rejected, "*.xml"))
	check(t, err)
	if len(files) != len(c.Reason)+1 { // and the metadata
		t.Fatalf("there are %d files for %d reasons, want one more than reasons, the metadata", len(files), len(c.Reason))
	}
	return c
}

func corpusWorld(t testing.TB, c corpus) *world {
	t.Helper()
	w := newWorld(t)
	w.clock.Advance(c.Stored.Sub(w.clock.Now()))
	metadata, err := os.ReadFile(filepath.Join(rejected, "metadata.xml"))
	check(t, err)
	own(&w.src).Metadata = string(metadata)
	return w
}

func TestHostileResponses(t *testing.T) {
	if *update {
		writeCorpus(t)
	}
	c := readCorpus(t)
	w := corpusWorld(t, c)
	p := w.provider(t)
	for name, want := range c.Reason {
		t.Run(name, func(t *testing.T) {
			doc, err := os.ReadFile(filepath.Join(rejected, name+".xml"))
			check(t, err)
			e := w.login(t, doc)
			user, err := p.Verify(t.Context(), e)
			if err == nil {
				t.Fatalf("accepted as %+v", user.Identity)
			}
			if got := reason(t, err); got != want {
				t.Errorf("reason %q, want %q: %v", got, want, err)
			}
			if user.Identity != nil || user.Email != "" {
				t.Errorf("the refusal carries a user: %+v", user)
			}
			named := false
			for _, c := range e.Trace.Checks() {
				named = named || !c.OK && c.Name == want
			}
			if !named {
				t.Errorf("the trace does not name the check: %+v", e.Trace.Checks())
			}
		})
	}
}

// A forgery is how one hostile Response is made.
type forgery struct {
	reason string
	mode   idp.Mode
	sha1   bool
	edit   func(response, assertion *etree.Element) // before signing
	text   func(doc string) string                  // after signing
	tree   func(response *etree.Element)            // after signing
	change func(*idp.Request)
}

func writeCorpus(t *testing.T) {
	t.Helper()
	w := newWorld(t)
	other := newIdP(t, idpID, w.clock) // says the same name, and has another key
	files := map[string][]byte{}
	c := corpus{Stored: w.clock.Now(), Reason: map[string]string{}}
	put := func(name, reason string, doc []byte) { files[name], c.Reason[name] = doc, reason }

	for _, wrapping := range idp.Wrappings() {
		doc, err := idp.Wrap(w.respond(t, func(r *idp.Request) { r.Mode = wrapping.Signs() }), wrapping, "mallory")
		check(t, err)
		want := "assertion_count"
		if wrapping == idp.WrapAssertionInObject {
			want = "signature_placement"
		}
		put(string(wrapping), want, doc)
	}
	for name, f := range forgeries(t, w, other) {
		doc := w.respond(t, func(r *idp.Request) {
			r.Mode, r.Edit = f.mode, f.edit
			if f.sha1 {
				r.SignatureMethod = dsig.RSASHA1SignatureMethod
			}
			if f.change != nil {
				f.change(r)
			}
		})
		if f.tree != nil {
			doc = edited(t, doc, f.tree)
		}
		if f.text != nil {
			doc = []byte(f.text(string(doc)))
		}
		put(name, f.reason, doc)
	}
	stranger, err := other.Respond(w.ask())
	check(t, err)
	put("other-idp-same-name", "unknown_key", stranger)
	neighbour, err := newIdP(t, "https://idp.other-tenant.example/metadata", w.clock).Respond(w.ask(func(r *idp.Request) { r.Mode = idp.SignBoth }))
	check(t, err)
	put("other-tenants-idp", "unknown_key", neighbour)

	old, err := filepath.Glob(filepath.Join(rejected, "*.xml"))
	check(t, err)
	for _, path := range old {
		check(t, os.Remove(path))
	}
	check(t, os.MkdirAll(rejected, 0o755))
	check(t, os.WriteFile(filepath.Join(rejected, "metadata.xml"), w.idp.Metadata(), 0o644))
	for name, doc := range files {
		check(t, os.WriteFile(filepath.Join(rejected, name+".xml"), doc, 0o644))
	}
	data, err := json.MarshalIndent(c, "", "  ")
	check(t, err)
	check(t, os.WriteFile(filepath.Join(rejected, "corpus.json"), append(data, '\n'), 0o644))
}

// edited changes the tree of a Response that was signed.
func edited(t testing.TB, doc []byte, change func(*etree.Element)) []byte {
	t.Helper()
	tree := etree.NewDocument()
	check(t, tree.ReadFromBytes(doc))
	change(tree.Root())
	out, err := tree.WriteToBytes()
	check(t, err)
	return out
}

func replace(old, replacement string) func(string) string {
	return func(doc string) string {
		if !strings.Contains(doc, old) {
			panic("the Response does not hold " + old)
		}
		return strings.ReplaceAll(doc, old, replacement)
	}
}

func prefix(text string) func(string) string {
	return func(doc string) string { return text + doc }
}

// TestCorpusTime keeps the corpus and the clock of the tests together.
func TestCorpusTime(t *testing.T) {
	if c := readCorpus(t); !c.Stored.Equal(providertest.Epoch) {
		t.Errorf("the corpus was stored at %v, the tests begin at %v", c.Stored, providertest.Epoch)
	}
}
