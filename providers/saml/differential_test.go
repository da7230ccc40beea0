package saml_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	crewjam "github.com/crewjam/saml"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/saml/idp"
)

// crewjamProvider is the same service provider in crewjam/saml, whose clock is a package variable.
func crewjamProvider(t testing.TB, w *world, at time.Time) *crewjam.ServiceProvider {
	t.Helper()
	crewjam.TimeNow = func() time.Time { return at }
	crewjam.Clock = dsig.NewFakeClockAt(at)
	t.Cleanup(func() { crewjam.TimeNow, crewjam.Clock = func() time.Time { return time.Now().UTC() }, nil })
	var metadata crewjam.EntityDescriptor
	check(t, xml.Unmarshal([]byte(own(&w.src).Metadata), &metadata))
	data, err := os.ReadFile(own(&w.src).KeyFile)
	check(t, err)
	block, _ := pem.Decode(data)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	check(t, err)
	acs, err := url.Parse(acsURL)
	check(t, err)
	return &crewjam.ServiceProvider{EntityID: entityID, AcsURL: *acs, IDPMetadata: &metadata, Key: key.(*rsa.PrivateKey)}
}

// second asks crewjam. A panic counts as a refusal.
func second(sp *crewjam.ServiceProvider, doc []byte) (assertion *crewjam.Assertion, err error) {
	defer func() {
		if recover() != nil {
			assertion, err = nil, errors.New("panic")
		}
	}()
	assertion, err = sp.ParseXMLResponse(doc, []string{request}, sp.AcsURL)
	if invalid, ok := errors.AsType[*crewjam.InvalidResponseError](err); ok {
		err = invalid.PrivateErr
	}
	return assertion, err
}

// beyondCrewjam are the Responses that crewjam cannot read, and why.
func beyondCrewjam(implementation, name string) bool {
	return strings.Contains(name, "aes256-gcm") || // it does not decrypt AES-GCM with 256 bits
		implementation == "pysaml2" && strings.HasPrefix(name, "encrypted") || // prefixes declared around the ciphertext
		strings.Contains(name, "ecdsa") || // it takes ASN.1 where XML Signature has r || s
		strings.HasSuffix(name, "key-info") || strings.HasSuffix(name, "key-value") // it needs the certificate to choose of two
}

func TestSecondOpinionOnAccepted(t *testing.T) {
	for implementation, f := range fixtures(t) {
		w := fixtureWorld(t, f)
		sp := crewjamProvider(t, w, f.Stored)
		for name, c := range f.Cases {
			t.Run(implementation+"/"+name, func(t *testing.T) {
				doc := f.response(t, name)
				ours, err := w.provider(t, func(s *providers.Source) { own(s).AllowSHA1 = c.AllowSHA1 }).Verify(t.Context(), w.login(t, doc))
				check(t, err)
				theirs, err := second(sp, doc)
				if beyondCrewjam(implementation, name) {
					if err == nil {
						t.Error("crewjam reads this now: take it out of beyondCrewjam")
					}
					return
				}
				check(t, err)
				if theirs.Subject.NameID.Value != ours.Identity.Subject || theirs.Issuer.Value != ours.Identity.Issuer {
					t.Errorf("crewjam read %q of %q, we read %+v", theirs.Subject.NameID.Value, theirs.Issuer.Value, ours.Identity)
				}
				for _, statement := range theirs.AttributeStatements {
					for _, a := range statement.Attributes {
						values := []string{}
						for _, v := range a.Values {
							values = append(values, v.Value)
						}
						want, _ := json.Marshal(values)
						got, _ := json.Marshal(ours.Attributes[a.Name])
						if string(want) != string(got) {
							t.Errorf("attribute %s: crewjam read %s, we read %s", a.Name, want, got)
						}
					}
				}
			})
		}
	}
}

// What crewjam refuses, we refuse; the opposite does not hold, and the log says where.
func TestSecondOpinionOnRejected(t *testing.T) {
	c := readCorpus(t)
	w := corpusWorld(t, c)
	p := w.provider(t)
	sp := crewjamProvider(t, w, c.Stored)
	for name := range c.Reason {
		doc, err := os.ReadFile(filepath.Join(rejected, name+".xml"))
		check(t, err)
		_, ours := p.Verify(t.Context(), w.login(t, doc))
		_, theirs := second(sp, doc)
		if ours == nil {
			t.Errorf("%s: accepted; crewjam says %v", name, theirs)
		}
		if theirs == nil {
			t.Logf("%s: crewjam accepts it, we do not: %s", name, reason(t, ours))
		}
	}
}

// Every small change of an honest Response that crewjam refuses is refused by us too. The certificate in the message is
// taken out first: crewjam wants it intact, and we go by the metadata alone.
func TestSecondOpinionOnMutations(t *testing.T) {
	w := newWorld(t)
	p := w.provider(t)
	sp := crewjamProvider(t, w, w.clock.Now())
	for _, mode := range []idp.Mode{idp.SignResponse, idp.SignAssertion, idp.SignBoth} {
		doc := edited(t, w.respond(t, func(r *idp.Request) { r.Mode = mode }), func(r *etree.Element) {
			for _, info := range r.FindElements("//KeyInfo") {
				remove(info)
			}
		})
		for at := 0; at < len(doc); at += 31 {
			for _, b := range []byte{'x', '<', ' ', doc[at] ^ 1} {
				mutant := append([]byte(nil), doc...)
				mutant[at] = b
				_, theirs := second(sp, mutant)
				if theirs == nil {
					continue
				}
				if user, err := w.verify(t, p, mutant); err == nil {
					t.Errorf("mode %d, byte %d to %q: accepted as %+v, crewjam says: %v", mode, at, b, user.Identity, theirs)
				}
			}
		}
	}
}
