package idp

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

// Name ID formats.
const (
	FormatPersistent  = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	FormatTransient   = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
	FormatEmail       = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
	FormatUnspecified = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"
)

// A Mode says what of a Response is signed.
type Mode int

// The modes.
const (
	SignResponse Mode = iota // the Response, and with it the assertion
	SignAssertion
	SignBoth
	SignNothing
)

// A Request says what to answer. EntityID, ACSURL and NameID are required; every other field has a default.
type Request struct {
	EntityID string // of the service provider
	ACSURL   string

	NameID       string
	NameIDFormat string // default persistent
	Attributes   []Attribute
	InResponseTo string // "" makes a response to no request

	Mode            Mode
	SignatureMethod string            // default RSA or ECDSA with SHA-256
	Encrypt         string            // an algorithm of XML Encryption for the assertion; "" leaves it plain
	Certificate     *x509.Certificate // of the service provider; required to encrypt
	KeyDigest       string            // digest of RSA-OAEP; default SHA-1, as most identity providers have it
	KeyMask         string            // mask generation of RSA-OAEP in its newer form; "" is the older form

	At       time.Time     // default the IdP's clock
	Validity time.Duration // from At to NotOnOrAfter; default five minutes
	Session  time.Duration // from At to SessionNotOnOrAfter; default eight hours

	// Edit changes the Response before anything is signed or encrypted.
	Edit func(response, assertion *etree.Element)
}

// An Attribute is one of an assertion's.
type Attribute struct {
	Name         string
	FriendlyName string
	Values       []string
}

// Respond makes a Response and returns it as XML, not yet in base64.
func (p *IdP) Respond(req Request) ([]byte, error) {
	p.mu.Lock()
	signer := p.current
	p.mu.Unlock()
	response, assertion, err := p.build(req)
	if err != nil {
		return nil, err
	}
	if req.Edit != nil {
		req.Edit(response, assertion)
	}
	if req.Mode == SignAssertion || req.Mode == SignBoth {
		if err := signer.sign(assertion, req.SignatureMethod); err != nil {
			return nil, err
		}
	}
	if req.Encrypt != "" {
		if err := encrypt(assertion, req, p.opts.Random); err != nil {
			return nil, err
		}
	}
	if req.Mode == SignResponse || req.Mode == SignBoth {
		if err := signer.sign(response, req.SignatureMethod); err != nil {
			return nil, err
		}
	}
	return serialize(response)
}

// build makes a Response without signatures.
func (p *IdP) build(req Request) (response, assertion *etree.Element, err error) {
	at := req.At
	if at.IsZero() {
		at = p.opts.Now()
	}
	validity, session := req.Validity, req.Session
	if validity == 0 {
		validity = 5 * time.Minute
	}
	if session == 0 {
		session = 8 * time.Hour
	}
	ids := make([]string, 3)
	for i := range ids {
		if ids[i], err = newID(p.opts.Random); err != nil {
			return nil, nil, err
		}
	}
	format := req.NameIDFormat
	if format == "" {
		format = FormatPersistent
	}
	until := instant(at.Add(validity))

	response = element("samlp:Response", "xmlns:samlp", "urn:oasis:names:tc:SAML:2.0:protocol", "xmlns:saml", "urn:oasis:names:tc:SAML:2.0:assertion",
		"ID", ids[0], "Version", "2.0", "IssueInstant", instant(at), "Destination", req.ACSURL)
	attribute(response, "InResponseTo", req.InResponseTo)
	response.AddChild(leaf("saml:Issuer", p.opts.EntityID))
	status := element("samlp:Status")
	status.AddChild(element("samlp:StatusCode", "Value", "urn:oasis:names:tc:SAML:2.0:status:Success"))
	response.AddChild(status)

	assertion = element("saml:Assertion", "xmlns:saml", "urn:oasis:names:tc:SAML:2.0:assertion",
		"ID", ids[1], "Version", "2.0", "IssueInstant", instant(at))
	assertion.AddChild(leaf("saml:Issuer", p.opts.EntityID))
	subject := element("saml:Subject")
	subject.AddChild(leaf("saml:NameID", req.NameID, "Format", format))
	confirmation := element("saml:SubjectConfirmation", "Method", "urn:oasis:names:tc:SAML:2.0:cm:bearer")
	data := element("saml:SubjectConfirmationData", "NotOnOrAfter", until, "Recipient", req.ACSURL)
	attribute(data, "InResponseTo", req.InResponseTo)
	confirmation.AddChild(data)
	subject.AddChild(confirmation)
	assertion.AddChild(subject)
	conditions := element("saml:Conditions", "NotBefore", instant(at.Add(-30*time.Second)), "NotOnOrAfter", until)
	restriction := element("saml:AudienceRestriction")
	restriction.AddChild(leaf("saml:Audience", req.EntityID))
	conditions.AddChild(restriction)
	assertion.AddChild(conditions)
	authn := element("saml:AuthnStatement", "AuthnInstant", instant(at), "SessionIndex", ids[2], "SessionNotOnOrAfter", instant(at.Add(session)))
	context := element("saml:AuthnContext")
	context.AddChild(leaf("saml:AuthnContextClassRef", "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"))
	authn.AddChild(context)
	assertion.AddChild(authn)
	if len(req.Attributes) > 0 {
		assertion.AddChild(statement(req.Attributes))
	}
	response.AddChild(assertion)
	return response, assertion, nil
}

func statement(attributes []Attribute) *etree.Element {
	list := element("saml:AttributeStatement")
	for _, a := range attributes {
		el := element("saml:Attribute", "Name", a.Name, "NameFormat", "urn:oasis:names:tc:SAML:2.0:attrname-format:uri")
		attribute(el, "FriendlyName", a.FriendlyName)
		for _, v := range a.Values {
			el.AddChild(leaf("saml:AttributeValue", v, "xmlns:xs", "http://www.w3.org/2001/XMLSchema",
				"xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance", "xsi:type", "xs:string"))
		}
		list.AddChild(el)
	}
	return list
}

// sign puts an enveloped signature into el, after its Issuer (SAML core 5.4.2, and the schema's order).
func (s pair) sign(el *etree.Element, method string) error {
	ctx, err := dsig.NewSigningContext(s.key, [][]byte{s.cert.Raw})
	if err != nil {
		return fmt.Errorf("sign %s: %w", el.Tag, err)
	}
	ctx.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	if method != "" {
		if err := ctx.SetSignatureMethod(method); err != nil {
			return fmt.Errorf("sign %s: %w", el.Tag, err)
		}
	}
	// Canonicalising changes the element that it is given.
	signature, err := ctx.ConstructSignature(el.Copy(), true)
	if err != nil {
		return fmt.Errorf("sign %s: %w", el.Tag, err)
	}
	if err := standardValue(signature, s.key); err != nil {
		return fmt.Errorf("sign %s: %w", el.Tag, err)
	}
	el.InsertChildAt(1, signature)
	return nil
}

func serialize(root *etree.Element) ([]byte, error) {
	doc := etree.NewDocument()
	doc.SetRoot(root)
	doc.WriteSettings.CanonicalText = true
	doc.WriteSettings.CanonicalAttrVal = true
	data, err := doc.WriteToBytes()
	if err != nil {
		return nil, fmt.Errorf("write XML: %w", err)
	}
	return data, nil
}

// element makes an element from its qualified name and pairs of attribute names and values.
func element(name string, attributes ...string) *etree.Element {
	el := etree.NewElement(name)
	for pair := range slices.Chunk(attributes, 2) {
		el.CreateAttr(pair[0], pair[1])
	}
	return el
}

func leaf(name, text string, attributes ...string) *etree.Element {
	el := element(name, attributes...)
	el.SetText(text)
	return el
}

func attribute(el *etree.Element, name, value string) {
	if value != "" {
		el.CreateAttr(name, value)
	}
}

func instant(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func newID(random io.Reader) (string, error) {
	b := make([]byte, 16)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", fmt.Errorf("make an ID: %w", err)
	}
	return "_" + hex.EncodeToString(b), nil
}
