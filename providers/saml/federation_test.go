package saml_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/providertest"
	"github.com/idpsync/idpsync/providers/saml"
)

// made makes the provider of a source that may be refused.
func (w *world) made(t *testing.T, change func(*providers.Source)) (*saml.Provider, error) {
	t.Helper()
	src := copyOf(w.src)
	change(&src)
	p, err := saml.New(src, w.env)
	if err != nil {
		return nil, err
	}
	made := p.(*saml.Provider)
	t.Cleanup(func() { _ = made.Close() }) // it has no error
	return made, nil
}

// What only looks like an entity of a federation is none, and what is odd in another one does not matter.
func TestEntitiesOfAFederation(t *testing.T) {
	w := newWorld(t)
	_, entity, _ := strings.Cut(string(w.idp.Metadata()), "?>\n")
	stranger := strings.Replace(string(newIdP(t, idpID, w.clock).Metadata()), `<?xml version="1.0" encoding="UTF-8"?>`+"\n", "", 1)
	const open, end = `<g:EntitiesDescriptor xmlns:g="urn:oasis:names:tc:SAML:2.0:metadata">`, `</g:EntitiesDescriptor>`
	odd := `<g:EntityDescriptor entityID="https://odd.example"><g:IDPSSODescriptor protocolSupportEnumeration="x"><g:ArtifactResolutionService index="?"/></g:IDPSSODescriptor></g:EntityDescriptor>`
	for name, c := range map[string]struct{ doc, refused string }{
		"one":                       {doc: open + entity + end},
		"in groups":                 {doc: open + open + entity + end + `<g:EntitiesDescriptor/>` + end},
		"beside an odd one":         {doc: open + odd + entity + odd + end},
		"twice":                     {doc: open + entity + stranger + end, refused: "several identity providers"},
		"a stranger in a comment":   {doc: open + "<!--" + stranger + "-->" + entity + end},
		"a stranger in CDATA":       {doc: open + "<g:Extensions><![CDATA[" + stranger + "]]></g:Extensions>" + entity + end},
		"a stranger within another": {doc: open + `<g:EntityDescriptor entityID="https://other.example"><g:Extensions>` + stranger + `</g:Extensions></g:EntityDescriptor>` + entity + end},
		"a stranger in extensions":  {doc: open + `<g:Extensions>` + stranger + `</g:Extensions>` + entity + end},
		"of another namespace":      {doc: strings.ReplaceAll(open, "urn:oasis:names:tc:SAML:2.0:metadata", "urn:evil") + entity + end, refused: "neither"},
		"a document type":           {doc: `<!DOCTYPE x>` + open + entity + end, refused: "document type"},
		"a document type inside":    {doc: open + strings.Replace(entity, "<IDPSSO", "<!DOCTYPE x><IDPSSO", 1) + end, refused: "document type"},
		"past the end of its group": {doc: strings.Replace(open, ">", ` validUntil="2020-01-01T00:00:00Z">`, 1) + entity + end, refused: "valid until"},
		"another one alone":         {doc: open + odd + end, refused: "https://odd.example"},
		"cut off":                   {doc: open + entity, refused: "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := w.made(t, func(s *providers.Source) { own(s).Metadata, s.Issuer = c.doc, idpID })
			if err == nil {
				_, err = p.Review(w.clock.Now())
			}
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("the metadata are read with the error %v, want one that says %q", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatalf("the metadata are refused: %v", err)
			}
			if _, err := w.verify(t, providertest.Patient{Provider: p}, w.respond(t)); err != nil {
				t.Errorf("a login of the entity is refused: %v", err)
			}
		})
	}
}

// Metadata are read in the encodings that tools write.
func TestMetadataEncodings(t *testing.T) {
	w := newWorld(t)
	_, entity, _ := strings.Cut(string(w.idp.Metadata()), "?>\n")
	entity = strings.Replace(entity, "<IDPSSO", "<Organization><OrganizationName xml:lang='de'>Universität</OrganizationName></Organization><IDPSSO", 1)
	wide := func(s string, order binary.ByteOrder) string {
		out := make([]byte, 0, 2*len(s))
		for _, u := range utf16.Encode([]rune(s)) {
			out = append(out, 0, 0)
			order.PutUint16(out[len(out)-2:], u)
		}
		return string(out)
	}
	declared := func(name string) string { return `<?xml version="1.0" encoding="` + name + `"?>` }
	latin := strings.ReplaceAll(entity, "ä", "\xe4")
	for name, c := range map[string]struct{ doc, refused string }{
		"UTF-8":                        {doc: declared("UTF-8") + entity},
		"none":                         {doc: entity},
		"UTF-8 with a mark":            {doc: "\ufeff" + declared("utf-8") + entity},
		"a mark before another word":   {doc: "\ufeff" + declared("ISO-8859-1") + entity},
		"UTF-16, little-endian":        {doc: wide("\ufeff"+declared("UTF-16")+entity, binary.LittleEndian)},
		"UTF-16, big-endian":           {doc: wide("\ufeff"+declared("utf-8")+entity, binary.BigEndian)},
		"UTF-16 without a mark":        {doc: wide(entity, binary.LittleEndian)},
		"Latin-1":                      {doc: declared("ISO-8859-1") + latin},
		"Latin-1 that says UTF-8":      {doc: declared("UTF-8") + latin, refused: "UTF-8"},
		"half a character":             {doc: wide(entity, binary.LittleEndian) + "x", refused: "UTF-16"},
		"an encoding that is not read": {doc: declared("EBCDIC-CP-US") + entity, refused: "ebcdic-cp-us"},
		"UTF-7":                        {doc: declared("UTF-7") + entity, refused: "utf-7"},
	} {
		p, err := w.made(t, func(s *providers.Source) { own(s).Metadata = c.doc })
		if (err != nil) != (c.refused != "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%s: the error is %v, want %q in it", name, err, c.refused)
			continue
		}
		if err != nil {
			continue
		}
		if _, err := w.verify(t, providertest.Patient{Provider: p}, w.respond(t)); err != nil {
			t.Errorf("%s: a login is refused: %v", name, err)
		}
	}
}
