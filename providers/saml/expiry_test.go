package saml_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/providertest"
	"github.com/idpsync/idpsync/providers/saml/idp"
)

const (
	onEntity = "entity"
	onRole   = "role"
	onGroup  = "group"
)

// ending returns the IdP's metadata with a validUntil at one of its places.
func (w *world) ending(place string, end time.Time) string {
	doc := string(w.idp.Metadata())
	until := `validUntil="` + end.UTC().Format(time.RFC3339) + `" `
	switch place {
	case onEntity:
		return strings.Replace(doc, "entityID=", until+"entityID=", 1)
	case onRole:
		return strings.Replace(doc, "protocolSupportEnumeration=", until+"protocolSupportEnumeration=", 1)
	}
	_, entity, _ := strings.Cut(doc, "?>")
	return `<EntitiesDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" ` + until + `>` + entity + `</EntitiesDescriptor>`
}

// Metadata past their validUntil are not used for what is stored later; it waits for current ones.
func TestMetadataPastValidUntil(t *testing.T) {
	for _, place := range []string{onEntity, onRole, onGroup} {
		t.Run(place, func(t *testing.T) {
			w := newWorld(t)
			own(&w.src).Metadata = w.ending(place, w.clock.Now().Add(time.Hour))
			p := w.provider(t)
			before := w.login(t, w.respond(t))
			_, err := p.Verify(t.Context(), before)
			check(t, err)
			w.clock.Advance(time.Hour)
			for name, p := range map[string]providers.Provider{"running": p, "restarted": w.provider(t)} {
				_, err := w.verify(t, p, w.respond(t))
				failure, _ := errors.AsType[*providers.Error](err)
				if reason(t, err) != "metadata_expired" || !errors.Is(err, providers.ErrUnavailable) || failure.Hint == "" {
					t.Errorf("%s: %v; want metadata_expired, which waits, with a hint", name, err)
				}
				if _, err := p.Verify(t.Context(), before); err != nil {
					t.Errorf("%s: an event stored before the end: %v; want it accepted", name, err)
				}
			}
		})
	}
}

// A document that came by URL ends too, even while the identity provider is away and would be believed for longer.
func TestServedMetadataPastValidUntil(t *testing.T) {
	s := newServed(t)
	end := s.clock.Now().Add(20 * time.Minute)
	doc := s.ending(onEntity, end)
	s.answers(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(doc)) })
	p := s.provider(t)
	s.want(t, p, s.respond(t), "")
	s.answers(broken)
	s.clock.Advance(19 * time.Minute)
	s.want(t, p, s.respond(t), "")
	s.clock.Advance(time.Minute)
	if err := s.want(t, p, s.respond(t), "metadata"); !errors.Is(err, providers.ErrUnavailable) {
		t.Errorf("past validUntil: %v; want unavailable", err)
	}
	if got := p.(providertest.Patient).Provider.(providers.Expirer).TrustExpires(); !got.Equal(end) {
		t.Errorf("trust expires %v; want validUntil, %v", got, end)
	}
}

func TestReview(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		lifetime, validity time.Duration // 0: no validUntil
		allow              bool
		refused, warned    string
	}{
		"good":                             {lifetime: 365 * day},
		"valid for long":                   {lifetime: 365 * day, validity: 60 * day},
		"valid for weeks":                  {lifetime: 365 * day, validity: 20 * day, warned: "validUntil"},
		"past validUntil":                  {lifetime: 365 * day, validity: -time.Second, refused: "valid until"},
		"certificate for weeks":            {lifetime: 20 * day, warned: "certificate"},
		"expired certificate":              {lifetime: -time.Hour, warned: "every login is refused"},
		"expired certificate, allowed":     {lifetime: -time.Hour, allow: true},
		"past validUntil, allowed nothing": {lifetime: -time.Hour, validity: -time.Second, allow: true, refused: "valid until"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			made := w.clock.Now().Add(-2 * time.Hour)
			p, err := idp.New(idp.Options{EntityID: idpID, Now: func() time.Time { return made }, Lifetime: c.lifetime + 2*time.Hour})
			check(t, err)
			w.idp = p
			doc := string(p.Metadata())
			if c.validity != 0 {
				doc = w.ending(onEntity, w.clock.Now().Add(c.validity))
			}
			provider := w.provider(t, func(s *providers.Source) { own(s).Metadata, own(s).AllowExpiredCertificates = doc, c.allow })
			warnings, err := provider.(providertest.Patient).Provider.(providers.Reviewer).Review(w.clock.Now())
			if (err != nil) != (c.refused != "") || err != nil && !strings.Contains(err.Error(), c.refused) {
				t.Errorf("Review: %v; want %q in the error", err, c.refused)
			}
			if said := strings.Join(warnings, "; "); (said != "") != (c.warned != "") || !strings.Contains(said, c.warned) {
				t.Errorf("Review warns %q; want %q in it", said, c.warned)
			}
			if c.lifetime < 0 && c.validity == 0 {
				want := "certificate_expired"
				if c.allow {
					want = ""
				}
				if _, err := w.verify(t, provider, w.respond(t)); reason(t, err) != want {
					t.Errorf("Verify: %v; want reason %q", err, want)
				}
			}
		})
	}
}

// Elements of other namespaces are no keys, whatever their name.
func TestForeignKeyDescriptors(t *testing.T) {
	w := newWorld(t)
	stranger := newIdP(t, idpID, w.clock)
	cert := base64.StdEncoding.EncodeToString(stranger.Certificate().Raw)
	key := func(md, ds string) string {
		return `<x:KeyDescriptor xmlns:x="` + md + `" use="signing"><ds:KeyInfo xmlns:ds="` + ds + `"><ds:X509Data><ds:X509Certificate>` + cert +
			`</ds:X509Certificate></ds:X509Data></ds:KeyInfo></x:KeyDescriptor>`
	}
	const md, ds = "urn:oasis:names:tc:SAML:2.0:metadata", "http://www.w3.org/2000/09/xmldsig#"
	for name, c := range map[string]struct {
		extra string
		want  string
	}{
		"our namespaces":                {key(md, ds), ""},
		"descriptor of another":         {key("urn:evil", ds), "unknown_key"},
		"key info of another":           {key(md, "urn:evil"), "unknown_key"},
		"descriptor in XML Signature's": {key(ds, ds), "unknown_key"},
		"role of another":               {`<x:IDPSSODescriptor xmlns:x="urn:evil">` + key(md, ds) + `</x:IDPSSODescriptor>`, "unknown_key"},
		"inside an extension":           {`<x:Thing xmlns:x="urn:evil">` + key(md, ds) + `</x:Thing>`, "unknown_key"},
	} {
		t.Run(name, func(t *testing.T) {
			doc := string(w.idp.Metadata())
			at := strings.Index(doc, "KeyDescriptor")
			at = strings.LastIndexByte(doc[:at], '<')
			p := w.provider(t, func(s *providers.Source) { own(s).Metadata = doc[:at] + c.extra + doc[at:] })
			if _, err := w.verify(t, p, mustRespond(t, stranger, w.ask())); reason(t, err) != c.want {
				t.Errorf("signed with the key of the foreign element: %v; want reason %q", err, c.want)
			}
			w.keys.Withdraw("adfs")
		})
	}
}
