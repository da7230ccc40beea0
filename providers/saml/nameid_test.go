package saml_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the digest of RSA-OAEP in XML Encryption
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/beevik/etree"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/saml/idp"
)

// encryptedID is an EncryptedID that holds the text, for the key of testdata.
func encryptedID(t *testing.T, plain string) *etree.Element {
	t.Helper()
	public, ok := readCertificate(t, "testdata/sp.crt").PublicKey.(*rsa.PublicKey)
	if !ok {
		t.Fatal("testdata/sp.crt holds no RSA key")
	}
	secret := make([]byte, 16)
	block, err := aes.NewCipher(secret)
	check(t, err)
	gcm, err := cipher.NewGCM(block)
	check(t, err)
	nonce := make([]byte, gcm.NonceSize())
	wrapped, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, public, secret, nil) //nolint:gosec // as above
	check(t, err)
	doc := etree.NewDocument()
	check(t, doc.ReadFromString(fmt.Sprintf(`<saml:EncryptedID xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"><xenc:EncryptedData xmlns:xenc="http://www.w3.org/2001/04/xmlenc#">`+
		`<xenc:EncryptionMethod Algorithm="http://www.w3.org/2009/xmlenc11#aes128-gcm"/><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><xenc:EncryptedKey>`+
		`<xenc:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"/><xenc:CipherData><xenc:CipherValue>%s</xenc:CipherValue></xenc:CipherData>`+
		`</xenc:EncryptedKey></ds:KeyInfo><xenc:CipherData><xenc:CipherValue>%s</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData></saml:EncryptedID>`,
		base64.StdEncoding.EncodeToString(wrapped), base64.StdEncoding.EncodeToString(gcm.Seal(nonce, nonce, []byte(plain), nil)))))
	return doc.Root()
}

// An encrypted NameID must hold one NameID and nothing else, beside no other, and no attribute of the plain one is forgotten.
func TestEncryptedID(t *testing.T) {
	const ns = ` xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"`
	for name, c := range map[string]struct {
		plain string
		more  func(subject *etree.Element)
		want  string
	}{
		"a NameID":                  {plain: `<saml:NameID` + ns + `>ada-1815</saml:NameID>`},
		"with the prefix around it": {plain: `<saml:NameID>ada-1815</saml:NameID>`},
		"indented":                  {plain: "<saml:NameID" + ns + ">\n  ada-1815\n</saml:NameID>"},
		"of another namespace":      {plain: `<saml:NameID xmlns:saml="urn:evil">ada-1815</saml:NameID>`, want: "name_id"},
		"an assertion":              {plain: `<saml:Assertion` + ns + `><saml:NameID>ada-1815</saml:NameID></saml:Assertion>`, want: "name_id"},
		"within another element":    {plain: `<saml:Subject` + ns + `><saml:NameID>ada-1815</saml:NameID></saml:Subject>`, want: "name_id"},
		"two of them":               {plain: `<saml:NameID` + ns + `>ada-1815</saml:NameID><saml:NameID` + ns + `>eve</saml:NameID>`, want: "name_id"},
		"with a comment":            {plain: `<saml:NameID` + ns + `>ada-1815<!---->.eve</saml:NameID>`, want: "name_id"},
		"with a child":              {plain: `<saml:NameID` + ns + `>ada-<b>1815</b></saml:NameID>`, want: "name_id"},
		"with an entity":            {plain: `<!DOCTYPE x [<!ENTITY e "ada">]><saml:NameID` + ns + `>&e;</saml:NameID>`, want: "name_id"},
		"empty":                     {plain: `<saml:NameID` + ns + `> </saml:NameID>`, want: "name_id"},
		"nothing but a comment":     {plain: `<!-- -->`, want: "name_id"},
		"transient":                 {plain: `<saml:NameID` + ns + ` Format="` + idp.FormatTransient + `">ada-1815</saml:NameID>`, want: "name_id_format"},
		"of another provider":       {plain: `<saml:NameID` + ns + ` Format="` + idp.FormatPersistent + `" NameQualifier="https://other.example">ada-1815</saml:NameID>`, want: "name_id_qualifier"},
		"encrypted again":           {plain: `<saml:EncryptedID` + ns + `/>`, want: "name_id"},
		"beside a plain one":        {plain: `<saml:NameID` + ns + `>eve</saml:NameID>`, more: func(s *etree.Element) { s.CreateElement("saml:NameID").SetText("ada-1815") }, want: "name_id"},
		"beside another":            {plain: `<saml:NameID` + ns + `>eve</saml:NameID>`, more: func(s *etree.Element) { s.AddChild(s.SelectElement("EncryptedID").Copy()) }, want: "name_id"},
		"with another key":          {plain: `<saml:NameID` + ns + `>ada-1815</saml:NameID>`, more: breakCipher, want: "decryption"},
	} {
		w := newWorld(t)
		p := w.provider(t)
		doc := w.respond(t, func(r *idp.Request) {
			r.Edit = func(_, a *etree.Element) {
				subject := a.SelectElement("Subject")
				subject.RemoveChild(subjectID(a))
				subject.InsertChildAt(0, encryptedID(t, c.plain))
				if c.more != nil {
					c.more(subject)
				}
			}
		})
		user, err := w.verify(t, p, doc)
		if got := reason(t, err); got != c.want {
			t.Errorf("%s: reason %q, want %q: %v", name, got, c.want, err)
		}
		if c.want == "" && err == nil && user.Identity.Subject != "ada-1815" {
			t.Errorf("%s: the subject is %q, want the one that was encrypted", name, user.Identity.Subject)
		}
	}
}

func breakCipher(subject *etree.Element) {
	value := subject.FindElement("./EncryptedID/EncryptedData/CipherData/CipherValue")
	value.SetText("BBBB" + value.Text()[4:])
}

// Where the subject is mapped, an encrypted NameID that cannot be read is passed over, and never a subject.
func TestEncryptedIDIsPassedOverWhereTheSubjectIsMapped(t *testing.T) {
	for name, change := range map[string]func(*providers.Source){
		"without a key":                func(s *providers.Source) { own(s).KeyFile, own(s).CertificateFile = "", "" },
		"with a key that does not fit": func(*providers.Source) {},
	} {
		w := newWorld(t)
		p := w.provider(t, change, func(s *providers.Source) { s.Mapping = map[string]string{"subject": `attributes["mail"][0]`} })
		user, err := w.verify(t, p, w.respond(t, func(r *idp.Request) {
			r.Edit = func(_, a *etree.Element) {
				subject := a.SelectElement("Subject")
				subject.RemoveChild(subjectID(a))
				subject.InsertChildAt(0, encryptedID(t, "<x/>"))
				breakCipher(subject)
			}
		}))
		if err != nil || user.Identity.Subject != "ada@acme.example" {
			t.Errorf("%s: %+v, %v; want the mapped subject", name, user.Identity, err)
		}
	}
}

// Two name spaces of one identity provider may hold one name for two people, who must not become one; and nobody can choose
// a NameID that is taken for a name in another name space.
func TestNameQualifiersAreNameSpaces(t *testing.T) {
	type id struct{ qualifier, format, value string }
	subject := func(i id, changes ...func(*providers.Source)) (string, string) {
		w := newWorld(t)
		p := w.provider(t, changes...)
		user, err := w.verify(t, p, w.respond(t, func(r *idp.Request) {
			r.NameID, r.NameIDFormat = i.value, i.format
			r.Edit = func(_, a *etree.Element) {
				if i.qualifier != "" {
					subjectID(a).CreateAttr("NameQualifier", i.qualifier)
				}
			}
		}))
		if err != nil {
			return "", reason(t, err)
		}
		return user.Identity.Subject, ""
	}
	seen := map[string]id{}
	for _, i := range []id{
		{"", idp.FormatUnspecified, "bob"},
		{"a.example", idp.FormatUnspecified, "bob"},
		{"b.example", idp.FormatUnspecified, "bob"},
		{"https://other.example/idp", idp.FormatEmail, "bob"},
		{"", idp.FormatUnspecified, "a.example bob"},
		{"", idp.FormatUnspecified, " a.example bob "},
		{"a.example", idp.FormatUnspecified, "c bob"},
	} {
		s, refused := subject(i)
		if refused != "" {
			t.Errorf("%+v is refused as %s, want a subject", i, refused)
			continue
		}
		if other, taken := seen[s]; taken && !(i.value == " a.example bob " && other.value == "a.example bob") { // white space is trimmed
			t.Errorf("%+v and %+v are one subject %q, want two", i, other, s)
		}
		seen[s] = i
	}
	if s, _ := subject(id{idpID, idp.FormatUnspecified, "bob"}); s != "bob" {
		t.Errorf("in the provider's own name space the subject is %q, want bob", s)
	}
	for _, i := range []id{
		{"https://other.example/idp", idp.FormatPersistent, "bob"}, {"a b", idp.FormatUnspecified, "bob"}, {"a\u00a0b", idp.FormatUnspecified, "bob"}, {"a\tb", idp.FormatUnspecified, "bob"},
	} {
		if s, refused := subject(i); refused != "name_id_qualifier" {
			t.Errorf("%+v is the subject %q with the reason %q, want name_id_qualifier", i, s, refused)
		}
	}
	mapped := func(s *providers.Source) { s.Mapping = map[string]string{"subject": `attributes["mail"][0]`} }
	if s, refused := subject(id{"https://other.example/idp", idp.FormatPersistent, "bob"}, mapped); s != "ada@acme.example" {
		t.Errorf("where the subject is mapped it is %q with the reason %q, want the attribute", s, refused)
	}
}
