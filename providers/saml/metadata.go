package saml

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/beevik/etree"
	"github.com/crewjam/saml"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/keyring"
)

// minRSABits is the shortest RSA key of an IdP's certificate that is trusted.
const minRSABits = 2048

// idpMetadata is what is kept of an IdP's metadata document.
type idpMetadata struct {
	entityID     string
	certificates []*x509.Certificate // for signing, in the document's order
	skipped      []string            // why others were left out, for the log
	validUntil   time.Time           // zero: not said
}

// parseMetadata reads an EntityDescriptor, or the one of an EntitiesDescriptor whose entityID is want. An empty want
// takes the only IdP of the document. The document's own signature is not checked: it is trusted for the way it came,
// from the operator's file or over TLS.
func parseMetadata(doc []byte, want string) (idpMetadata, error) {
	e, err := entityOf(doc, want)
	if err != nil {
		return idpMetadata{}, err
	}
	entities, err := readEntities(e.document())
	if err != nil || len(entities) != 1 {
		return idpMetadata{}, fmt.Errorf("the metadata of %q cannot be read: %w", e.id, err)
	}
	found := &entities[0]
	m := idpMetadata{entityID: found.EntityID, validUntil: found.ValidUntil}
	for _, role := range found.IDPSSODescriptors {
		if !strings.Contains(role.ProtocolSupportEnumeration, nsProtocol) {
			continue
		}
		m.validUntil = earlier(m.validUntil, role.ValidUntil)
		for _, key := range role.KeyDescriptors {
			if key.Use == "" || key.Use == "signing" {
				m.add(key)
			}
		}
	}
	if len(m.certificates) == 0 {
		return idpMetadata{}, fmt.Errorf("the metadata has no usable signing certificate (%s)", strings.Join(append(m.skipped, "use signing, RSA of 2048 bits or more, or ECDSA"), "; "))
	}
	return m, nil
}

// errOtherEntity says that metadata do not describe the identity provider that the source is pinned to.
var errOtherEntity = errors.New("the metadata are another identity provider's")

// othersThan names the identity providers that a document does describe, when they are few.
func othersThan(want string, entities []entity) string {
	const most = 3
	var names []string
	for _, e := range entities {
		if e.idp && e.id != want && len(e.id) <= 1024 {
			names = append(names, strconv.Quote(e.id))
		}
	}
	if len(names) == 0 || len(names) > most {
		return ""
	}
	return ", but of " + strings.Join(names, ", ")
}

func readEntities(doc []byte) ([]saml.EntityDescriptor, error) {
	var one saml.EntityDescriptor
	errOne := unmarshal(doc, &one)
	if errOne == nil {
		return []saml.EntityDescriptor{one}, nil
	}
	var many saml.EntitiesDescriptor
	if err := unmarshal(doc, &many); err != nil {
		return nil, errors.Join(errOne, err)
	}
	return flatten(many, time.Time{}, 0), nil
}

// earlier returns the first of two ends; the zero time, and none, is no end.
func earlier(end time.Time, other *time.Time) time.Time {
	if other == nil || other.IsZero() || !end.IsZero() && end.Before(*other) {
		return end
	}
	return *other
}

func unmarshal(doc []byte, v any) error {
	return xml.NewTokenDecoder(&metadataTokens{xml.NewDecoder(bytes.NewReader(doc))}).Decode(v)
}

// metadataTokens is the reader of metadata documents without what SAML does not use, document types, without what
// crewjam's types cannot read, the cacheDuration of roles, and without elements of other namespaces, which those types
// would take for the ones of the same name.
type metadataTokens struct{ decoder *xml.Decoder }

// signatureElements are those of XML Signature that are read; all others that are read are of the metadata namespace.
var signatureElements = []string{"KeyInfo", "X509Data", "X509Certificate"}

// Token implements xml.TokenReader.
func (r *metadataTokens) Token() (xml.Token, error) {
	for {
		token, err := r.decoder.Token()
		switch t := token.(type) {
		case xml.Directive:
			return nil, errors.New("it has a document type declaration")
		case xml.StartElement:
			wanted := nsMetadata
			if slices.Contains(signatureElements, t.Name.Local) {
				wanted = nsSignature
			}
			if t.Name.Space != wanted {
				if err := r.decoder.Skip(); err != nil {
					return nil, err
				}
				continue
			}
			t.Attr = slices.DeleteFunc(t.Attr, func(a xml.Attr) bool { return a.Name.Local == "cacheDuration" })
			return t, err
		}
		return token, err
	}
}

// flatten returns the entities of a group; what holds until the group's end holds no longer than that.
func flatten(group saml.EntitiesDescriptor, end time.Time, depth int) []saml.EntityDescriptor {
	end = earlier(end, group.ValidUntil)
	var all []saml.EntityDescriptor
	for _, e := range group.EntityDescriptors {
		e.ValidUntil = earlier(end, &e.ValidUntil)
		all = append(all, e)
	}
	if depth < 8 {
		for _, g := range group.EntitiesDescriptors {
			all = append(all, flatten(g, end, depth+1)...)
		}
	}
	return all
}

// add takes the certificates of a KeyDescriptor. Of a chain, the authorities are left out: only the IdP's own key may
// sign for it.
func (m *idpMetadata) add(key saml.KeyDescriptor) {
	var certs []*x509.Certificate
	for _, data := range key.KeyInfo.X509Data.X509Certificates {
		der, err := decodeBase64(data.Data)
		if err != nil {
			m.skipped = append(m.skipped, "a certificate is not base64")
			continue
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			m.skipped = append(m.skipped, "a certificate cannot be parsed")
			continue
		}
		certs = append(certs, cert)
	}
	for _, cert := range certs {
		switch {
		case len(certs) > 1 && cert.BasicConstraintsValid && cert.IsCA && issued(cert, certs):
			m.skipped = append(m.skipped, "a certificate is the authority of another")
		case !strong(cert):
			m.skipped = append(m.skipped, "a key is too weak or of an unknown kind")
		default:
			m.certificates = append(m.certificates, cert)
		}
	}
}

func issued(authority *x509.Certificate, certs []*x509.Certificate) bool {
	for _, c := range certs {
		if c != authority && bytes.Equal(c.RawIssuer, authority.RawSubject) && c.CheckSignatureFrom(authority) == nil {
			return true
		}
	}
	return false
}

func strong(cert *x509.Certificate) bool {
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() >= minRSABits && keyring.Weak(key) == ""
	case *ecdsa.PublicKey:
		return true
	}
	return false
}

// Metadata returns the SAML metadata of our own service provider, to be given to the IdP: entityID, the assertion
// consumer service, and the certificate for encryption when the source has one.
func Metadata(src providers.Source) ([]byte, error) {
	own := configOf(src)
	if own.EntityID == "" || own.ACSURL == "" {
		return nil, errors.New("entity_id and acs_url are required")
	}
	doc := etree.NewDocument()
	doc.CreateProcInst("xml", `version="1.0" encoding="UTF-8"`)
	entity := doc.CreateElement("md:EntityDescriptor")
	entity.CreateAttr("xmlns:md", nsMetadata)
	entity.CreateAttr("entityID", own.EntityID)
	role := entity.CreateElement("md:SPSSODescriptor")
	role.CreateAttr("protocolSupportEnumeration", nsProtocol)
	role.CreateAttr("WantAssertionsSigned", "true")
	if own.CertificateFile != "" {
		der, err := readCertificate(own.CertificateFile)
		if err != nil {
			return nil, err
		}
		key := role.CreateElement("md:KeyDescriptor")
		key.CreateAttr("use", "encryption")
		info := key.CreateElement("ds:KeyInfo")
		info.CreateAttr("xmlns:ds", nsSignature)
		info.CreateElement("ds:X509Data").CreateElement("ds:X509Certificate").SetText(base64.StdEncoding.EncodeToString(der))
		for _, algorithm := range []string{algGCM256, algGCM128, algCBC256, algCBC128, algOAEP} {
			key.CreateElement("md:EncryptionMethod").CreateAttr("Algorithm", algorithm)
		}
	}
	for _, format := range []saml.NameIDFormat{saml.PersistentNameIDFormat, saml.EmailAddressNameIDFormat, saml.UnspecifiedNameIDFormat} {
		role.CreateElement("md:NameIDFormat").SetText(string(format))
	}
	acs := role.CreateElement("md:AssertionConsumerService")
	acs.CreateAttr("Binding", saml.HTTPPostBinding)
	acs.CreateAttr("Location", own.ACSURL)
	acs.CreateAttr("index", "0")
	acs.CreateAttr("isDefault", "true")
	doc.Indent(2)
	out, err := doc.WriteToBytes()
	if err != nil {
		return nil, fmt.Errorf("write metadata: %w", err)
	}
	return out, nil
}

func readCertificate(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("certificate_file: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("certificate_file %s: no PEM block CERTIFICATE in it", path)
	}
	if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		return nil, fmt.Errorf("certificate_file %s: %w", path, err)
	}
	return block.Bytes, nil
}

func readKey(path string) (*rsa.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("key_file: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("key_file %s: no PEM block in it", path)
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("key_file %s: neither PKCS #1 nor unencrypted PKCS #8", path)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("key_file %s: assertions can only be encrypted for RSA keys", path)
	}
	return key, nil
}

// checkURL holds a metadata URL against the rule: https, or http on loopback.
func checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil {
		return errors.New("metadata_url is not an absolute URL")
	}
	if u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()) {
		return nil
	}
	return errors.New("metadata_url must be https; http is for loopback only")
}
