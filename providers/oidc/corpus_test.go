package oidc_test

import (
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/oidc"
	"github.com/idpsync/idpsync/providers/providertest"
)

var update = flag.Bool("update", false, "make testdata anew")

const corpusIssuer = "https://issuer.example"

// A specimen is one file of the corpus: an event and what must become of it.
type specimen struct {
	Made       string   `json:"made"`                 // how
	Class      string   `json:"class,omitempty"`      // malformed or unverified; "" in accepted
	Reason     string   `json:"reason,omitempty"`     // "" in accepted
	Algorithms []string `json:"algorithms,omitempty"` // of the source, when not RS256 alone
	Event      string   `json:"event"`                // the payload itself, which need not be JSON
}

// files serves a JWK Set at https://issuer.example, without a network.
type files struct{ jwks []byte }

func (f *files) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	switch r.URL.String() {
	case corpusIssuer + "/.well-known/openid-configuration":
		json.NewEncoder(w).Encode(map[string]string{"issuer": corpusIssuer, "jwks_uri": corpusIssuer + "/jwks.json"})
	case corpusIssuer + "/jwks.json":
		w.Write(f.jwks)
	default:
		return nil, errors.New("the test asks for " + r.URL.Host)
	}
	return w.Result(), nil
}

// TestCorpus verifies every specimen two hours after the first JWK Set and at the moment of the second, which is
// without the retired key. No specimen may be answered differently than it says.
func TestCorpus(t *testing.T) {
	if *update {
		writeCorpus(t)
	}
	clock := providertest.NewClock()
	clock.Advance(-2 * time.Hour)
	env, _, _ := providertest.Environment(t, clock)
	served := &files{}
	env.HTTP = &http.Client{Transport: served}
	source := providers.Source{Tenant: providertest.Tenant, Name: "okta", Kind: providers.KindOIDC, Issuer: corpusIssuer}

	open := func(algorithms []string) providers.Provider {
		src := source
		src.Config = &oidc.Config{Audiences: []string{client}, Algorithms: algorithms}
		p, err := oidc.New(src, env)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.(*oidc.Provider).Close() }) // it has no error
		return providertest.Patient{Provider: p}
	}
	// A token of no known key makes each provider ask, so that both sets enter the history.
	unknown := readSpecimen(t, "testdata/rejected/unknown-kid.json")
	for _, name := range []string{"testdata/jwks-before.json", "testdata/jwks.json"} {
		served.jwks = readFile(t, name)
		e := providertest.Envelope("okta", providers.ShapeLogin, []byte(unknown.Event), clock.Now())
		if _, err := open(nil).Verify(t.Context(), e); !errors.Is(err, providers.ErrUnverified) {
			t.Fatalf("asking for the keys of %s gives the error %v, want %v", name, err, providers.ErrUnverified)
		}
		if name == "testdata/jwks-before.json" {
			clock.Advance(2 * time.Hour)
		}
	}

	for _, folder := range []string{"accepted", "rejected"} {
		names, err := filepath.Glob("testdata/" + folder + "/*.json")
		if err != nil || len(names) == 0 {
			t.Fatalf("%s has no specimen: %v", folder, err)
		}
		for _, name := range names {
			t.Run(folder+"/"+strings.TrimSuffix(filepath.Base(name), ".json"), func(t *testing.T) {
				s := readSpecimen(t, name)
				e := providertest.Envelope("okta", providers.ShapeLogin, []byte(s.Event), clock.Now())
				e.Trace = &providers.Trace{}
				got, err := open(s.Algorithms).Verify(t.Context(), e)
				if folder == "accepted" {
					if err != nil || got.Identity == nil || got.Identity.Subject != "00u1" {
						t.Fatalf("Verify gives %+v with the error %v, want the subject 00u1", got, err)
					}
					return
				}
				failure, ok := errors.AsType[*providers.Error](err)
				if !ok {
					t.Fatalf("Verify = %+v, %v; want a rejection", got, err)
				}
				want := map[string]error{"malformed": providers.ErrMalformed, "unverified": providers.ErrUnverified}[s.Class]
				if failure.Class != want || failure.Reason != s.Reason {
					t.Errorf("rejected as %v; want %v: %s (%s)", failure, want, s.Reason, s.Made)
				}
				checks := e.Trace.Checks()
				if last := checks[len(checks)-1]; last.OK || last.Name != s.Reason {
					t.Errorf("the last check is %+v; want %s to fail", last, s.Reason)
				}
			})
		}
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func readSpecimen(t *testing.T, name string) specimen {
	t.Helper()
	var s specimen
	if err := json.Unmarshal(readFile(t, name), &s); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return s
}
