package saml_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers"
)

// The forms that metadata take in the field: signed, with durations, with descriptors of other protocols, with
// extensions, and with certificates in lines.
func TestMetadataForms(t *testing.T) {
	w := newWorld(t)
	cert := base64.StdEncoding.EncodeToString(w.idp.Certificate().Raw)
	lines := "\n"
	for rest := cert; rest != ""; {
		n := min(64, len(rest))
		lines, rest = lines+"          "+rest[:n]+"\n", rest[n:]
	}
	other := base64.StdEncoding.EncodeToString(newIdP(t, idpID, w.clock).Certificate().Raw)
	key := func(use, cert string) string {
		return `<KeyDescriptor` + use + `><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:KeyName>k</ds:KeyName><ds:X509Data><ds:X509Certificate>` +
			cert + `</ds:X509Certificate></ds:X509Data></ds:KeyInfo></KeyDescriptor>`
	}
	const saml2 = `protocolSupportEnumeration="urn:oasis:names:tc:SAML:1.1:protocol urn:oasis:names:tc:SAML:2.0:protocol"`
	role := func(attributes, body string) string {
		return `<IDPSSODescriptor ` + attributes + `>` + body + `<SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="https://idp.example/sso"/></IDPSSODescriptor>`
	}
	entity := func(attributes, body string) string {
		return `<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="` + idpID + `"` + attributes + `>` + body + `</EntityDescriptor>`
	}
	const signature = `<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"><SignedInfo><CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>` +
		`<SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"/><Reference URI="#_m"><DigestValue>AAAA</DigestValue></Reference></SignedInfo><SignatureValue>AAAA</SignatureValue></Signature>`
	const federation = `<RoleDescriptor xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:fed="http://docs.oasis-open.org/wsfed/federation/200706" ` +
		`xsi:type="fed:SecurityTokenServiceType" protocolSupportEnumeration="http://docs.oasis-open.org/wsfed/federation/200706"><fed:ClaimTypesOffered/></RoleDescriptor>`
	const extensions = `<Extensions xmlns:shibmd="urn:mace:shibboleth:metadata:1.0"><shibmd:Scope regexp="false">acme.example</shibmd:Scope></Extensions>`
	for name, doc := range map[string]string{
		"plain":                   entity("", role(saml2, key(` use="signing"`, cert))),
		"no use":                  entity("", role(saml2, key("", cert))),
		"lines":                   entity("", role(saml2, key(` use="signing"`, lines))),
		"comments":                "<?xml version=\"1.0\"?><!-- x -->" + entity("", role(saml2, "<!-- y -->"+key(` use="signing"`, cert))),
		"signed, federation":      entity(` ID="_m"`, signature+federation+role(saml2, key(` use="signing"`, cert))),
		"validity":                entity(` validUntil="2036-01-01T00:00:00Z" cacheDuration="PT6H"`, role(saml2, key(` use="signing"`, cert))),
		"validity of the role":    entity("", role(saml2+` validUntil="2036-01-01T00:00:00.000Z" cacheDuration="PT6H"`, key(` use="signing"`, cert))),
		"extensions":              entity("", extensions+role(saml2, extensions+key(` use="signing"`, cert))),
		"encryption key":          entity("", role(saml2, key(` use="encryption"`, other)+key(` use="signing"`, cert))),
		"several":                 entity("", role(saml2, key(` use="signing"`, other)+key(` use="signing"`, cert))),
		"one that is no good":     entity("", role(saml2, key(` use="signing"`, "AAAA")+key(` use="signing"`, cert))),
		"two certificates in one": entity("", role(saml2, key(` use="signing"`, other+`</ds:X509Certificate><ds:X509Certificate>`+cert))),
		"contacts": entity("", role(saml2, key(` use="signing"`, cert))+`<Organization><OrganizationName xml:lang="en">A</OrganizationName></Organization>`+
			`<ContactPerson contactType="technical"><EmailAddress>mailto:a@acme.example</EmailAddress></ContactPerson><ContactPerson contactType="support"/>`),
	} {
		t.Run(name, func(t *testing.T) {
			p := w.provider(t, func(s *providers.Source) { own(s).Metadata = doc })
			if _, err := w.verify(t, p, w.respond(t)); err != nil {
				t.Errorf("Verify: %v", err)
			}
		})
	}
	for name, doc := range map[string]string{
		"SAML 1.1 only":       entity("", role(`protocolSupportEnumeration="urn:oasis:names:tc:SAML:1.1:protocol"`, key(` use="signing"`, cert))),
		"encryption key only": entity("", role(saml2, key(` use="encryption"`, cert))),
		"attribute authority": entity("", strings.ReplaceAll(role(saml2, key(` use="signing"`, cert)), "IDPSSODescriptor", "AttributeAuthorityDescriptor")),
	} {
		t.Run(name, func(t *testing.T) { w.refusesMetadata(t, doc) })
	}
}
