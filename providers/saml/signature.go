package saml

import (
	"bytes"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"strings"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/keyring"
)

// strongSignatures are the signature methods that every source accepts, weakSignatures those that need allow_sha1.
var (
	strongSignatures = map[string]bool{
		dsig.RSASHA256SignatureMethod: true, dsig.RSASHA384SignatureMethod: true, dsig.RSASHA512SignatureMethod: true,
		dsig.ECDSASHA256SignatureMethod: true, dsig.ECDSASHA384SignatureMethod: true, dsig.ECDSASHA512SignatureMethod: true,
	}
	weakSignatures = map[string]bool{dsig.RSASHA1SignatureMethod: true}

	strongDigests = map[string]bool{
		"http://www.w3.org/2001/04/xmlenc#sha256": true, "http://www.w3.org/2001/04/xmldsig-more#sha384": true,
		"http://www.w3.org/2001/04/xmlenc#sha512": true,
	}
	weakDigests = map[string]bool{"http://www.w3.org/2000/09/xmldsig#sha1": true}

	canonicalizations = map[string]bool{
		string(dsig.CanonicalXML10ExclusiveAlgorithmId): true, string(dsig.CanonicalXML10ExclusiveWithCommentsAlgorithmId): true,
		string(dsig.CanonicalXML10RecAlgorithmId): true, string(dsig.CanonicalXML10WithCommentsAlgorithmId): true,
		string(dsig.CanonicalXML11AlgorithmId): true, string(dsig.CanonicalXML11WithCommentsAlgorithmId): true,
	}
)

// An envelope is a signature found directly in the element that it is to sign, of the one form that SAML knows.
type envelope struct {
	el       *etree.Element
	method   string
	embedded string // hex SHA-256 of the certificate in its KeyInfo; only a hint which of ours to try first
}

// signatureOf returns the signature that el carries, or nil. It checks the form strictly, so that the fields looked at
// here are the ones that the signature library goes by.
func signatureOf(el *etree.Element, allowSHA1 bool) (*envelope, error) {
	sig, single := only(el, nsSignature, "Signature")
	if !single {
		return nil, refuse(checkSignaturePlacement, "an element carries more than one signature")
	}
	if sig == nil {
		return nil, nil
	}
	parts, ok := sequence(sig, nsSignature, "SignedInfo", "SignatureValue", "KeyInfo?")
	if !ok {
		return nil, refuse(checkSignatureShape, "the Signature does not have the form of an enveloped signature")
	}
	info, ok := sequence(parts[0], nsSignature, "CanonicalizationMethod", "SignatureMethod", "Reference")
	if !ok {
		return nil, refuse(checkSignatureShape, "the SignedInfo does not have exactly one Reference")
	}
	ref, ok := sequence(info[2], nsSignature, "Transforms", "DigestMethod", "DigestValue")
	if !ok {
		return nil, refuse(checkSignatureShape, "the Reference does not have the form of an enveloped signature's")
	}
	id := attrValue(el, "ID")
	if id == "" || attrValue(info[2], "URI") != "#"+id {
		return nil, refuse(checkSignatureReference, "the signature does not refer to the element that carries it")
	}
	env := &envelope{el: sig, method: attrValue(info[1], "Algorithm")}
	if err := checkMethods(env.method, info, ref, allowSHA1); err != nil {
		return nil, err
	}
	if parts[2] != nil {
		env.embedded = embeddedCertificate(parts[2])
	}
	return env, nil
}

// checkMethods holds the algorithms of a signature against what the source accepts.
func checkMethods(method string, info, ref []*etree.Element, allowSHA1 bool) error {
	if !canonicalizations[attrValue(info[0], "Algorithm")] {
		return refuseSaid(checkAlgorithm, "the canonicalization method is not supported", "", attrValue(info[0], "Algorithm"))
	}
	if !strongSignatures[method] && (!allowSHA1 || !weakSignatures[method]) || len(info[1].ChildElements()) > 0 {
		if weakSignatures[method] {
			return refuseHint(checkAlgorithm, "the signature uses RSA with SHA-1",
				"let the identity provider sign with RSA-SHA256, or set allow_sha1: true for this source if it cannot")
		}
		return refuseSaid(checkAlgorithm, "the signature method is not supported", "", method)
	}
	if digest := attrValue(ref[1], "Algorithm"); !strongDigests[digest] && (!allowSHA1 || !weakDigests[digest]) {
		return refuseSaid(checkAlgorithm, "the digest method is weak or not supported",
			"let the identity provider use SHA-256 digests, or set allow_sha1: true for this source if it cannot", digest)
	}
	transforms := ref[0].ChildElements()
	if len(transforms) != 2 {
		return refuse(checkTransform, "the Reference does not have exactly the enveloped-signature and a canonicalization transform")
	}
	for i, t := range transforms {
		algorithm := attrValue(t, "Algorithm")
		if !is(t, nsSignature, "Transform") || i == 0 && algorithm != string(dsig.EnvelopedSignatureAltorithmId) ||
			i == 1 && !canonicalizations[algorithm] {
			return refuse(checkTransform, "the Reference does not have exactly the enveloped-signature and a canonicalization transform")
		}
		for _, c := range t.ChildElements() {
			if i == 0 || !is(c, nsExcC14N, "InclusiveNamespaces") {
				return refuse(checkTransform, "a Transform has an unknown parameter")
			}
		}
	}
	return nil
}

// sequence returns the child elements of el if they are exactly the named ones in that order; a name that ends in a
// question mark may be missing, and then its place is nil.
func sequence(el *etree.Element, ns string, names ...string) ([]*etree.Element, bool) {
	kids := el.ChildElements()
	found := make([]*etree.Element, len(names))
	for i, name := range names {
		name, optional := strings.CutSuffix(name, "?")
		if len(kids) > 0 && is(kids[0], ns, name) {
			found[i], kids = kids[0], kids[1:]
		} else if !optional {
			return nil, false
		}
	}
	return found, len(kids) == 0
}

func embeddedCertificate(keyInfo *etree.Element) string {
	for _, data := range children(keyInfo, nsSignature, "X509Data") {
		for _, c := range children(data, nsSignature, "X509Certificate") {
			der, err := decodeBase64(c.Text())
			if err == nil {
				return thumbprint(der)
			}
		}
	}
	return ""
}

// A signedBy is an element as it was signed, and by which certificate.
type signedBy struct {
	el          *etree.Element
	certificate *knownCertificate
}

// verifyBy checks the signature that el carries, with the certificates that were the IdP's at the time at. It returns
// the element that was signed, as the signature library gives it back: nothing else may be read. el is changed.
//
// The KeyInfo of the message is taken out first: which keys are trusted is the metadata's word alone.
func (t *trust) verifyBy(h *history, el *etree.Element, env *envelope, at time.Time, slack time.Duration) (signedBy, keyring.Opinion) {
	if !h.ValidUntil.IsZero() && !at.Before(h.ValidUntil) {
		return signedBy{}, keyring.Opinion{Waits: true, Failure: &providers.Error{
			Class: providers.ErrUnavailable, Reason: "metadata_expired", RetryAfter: expiredRetry,
			Message: "the identity provider's metadata were valid until " + h.ValidUntil.UTC().Format(time.RFC3339) + ", before the event was stored",
			Hint:    "apply the identity provider's current metadata; the event is tried again",
		}}
	}
	if keyInfo, _ := only(env.el, nsSignature, "KeyInfo"); keyInfo != nil {
		env.el.RemoveChild(keyInfo)
	}
	// The library looks for the signature through a limited number of elements; where it stands makes no difference,
	// since it is not part of what it signs.
	el.RemoveChild(env.el)
	el.InsertChildAt(0, env.el)
	if value, _ := only(env.el, nsSignature, "SignatureValue"); value != nil {
		value.SetText(signatureValue(value.Text(), env.method))
	}
	tampered := false
	for _, c := range candidates(h, env.embedded, at, slack) {
		clock := at
		lapsed := at.Before(c.Use.x509.NotBefore) || at.After(c.Use.x509.NotAfter)
		if lapsed {
			clock = c.Use.x509.NotBefore
		}
		ctx := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: c.Use.roots})
		ctx.Clock = dsig.NewFakeClockAt(clock)
		signed, err := ctx.Validate(el)
		switch {
		case err != nil:
			// The key fits the SignedInfo, which then does not fit the element.
			tampered = tampered || err.Error() == "Signature could not be verified"
			continue
		case signed == nil:
			continue
		}
		opinion := standing(c, at, slack)
		if opinion.Failure == nil && lapsed && !t.own.AllowExpiredCertificates {
			opinion.Final = true
			opinion.Failure = refuseHint(checkCertificateExpired, "the identity provider's signing certificate was not valid when the event was stored",
				"let the identity provider renew its certificate, apply the new metadata, and log in again; or set allow_expired_certificates: true if its metadata is all that counts")
		}
		return signedBy{signed, c}, opinion
	}
	if tampered || knows(h, env.embedded) {
		return signedBy{}, keyring.Opinion{
			Final:   true,
			Failure: refuse(checkSignature, "the signature does not fit what it signs: the message was changed, or signed with another key"),
		}
	}
	return signedBy{}, keyring.Opinion{Waits: true, Failure: refuseHint(checkUnknownKey, "the "+el.Tag+" is signed with a key that is not in the identity provider's metadata",
		"if the identity provider changed its certificate, apply its new metadata and replay the dead letter")}
}

// standing is what becomes of a message whose signature holds by the certificate.
func standing(c *knownCertificate, at time.Time, slack time.Duration) keyring.Opinion {
	switch c.Standing(at, slack) {
	case keyring.Banned:
		return keyring.Opinion{Final: true, Failure: refuseHint(checkBannedKey, "the message is signed with a key that an operator banned",
			"The ban is shown by idpsync keys list --json. What was signed with a leaked key has to be signed anew.")}
	case keyring.Retired:
		return keyring.Opinion{Waits: true, Failure: refuseHint(checkRetiredKey, "the message is signed with a certificate that the identity provider no longer published "+
			"when the event was stored; it was retired at "+c.RetiredAt.UTC().Format(time.RFC3339),
			"if the certificate is still in use, publish it in the metadata again and replay the dead letter")}
	case keyring.NotSeen:
		return keyring.Opinion{Waits: true, Failure: refuseHint(checkKeySeen, "the message is signed with a certificate that the identity provider was last seen publishing "+
			c.LastSeen.UTC().Format(time.RFC3339)+", and the event was stored "+at.UTC().Format(time.RFC3339),
			"key_staleness of the source is how long before an event its certificate may have been seen last; idpsync keys list shows what was seen when")}
	}
	return keyring.Opinion{}
}

// signatureValue brings a SignatureValue into the form that the signature library reads: without white space and, for
// ECDSA, as the ASN.1 structure instead of the concatenation r || s that XML Signature 1.1 section 6.4.3 asks for. The
// value itself is not part of what is signed.
func signatureValue(encoded, method string) string {
	raw, err := decodeBase64(encoded)
	if err != nil {
		return encoded
	}
	if strings.Contains(method, "#ecdsa-") && len(raw)%2 == 0 {
		half := len(raw) / 2
		der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:half]), new(big.Int).SetBytes(raw[half:])})
		if rest, bad := asn1.Unmarshal(raw, new(struct{ R, S *big.Int })); err == nil && (bad != nil || len(rest) > 0) {
			raw = der
		}
	}
	return base64.StdEncoding.EncodeToString(raw)
}

func thumbprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// decodeBase64 reads base64 as XML documents hold it, with white space anywhere.
func decodeBase64(s string) ([]byte, error) {
	buf := make([]byte, 0, len(s))
	for i := range len(s) {
		if !space(s[i]) {
			buf = append(buf, s[i])
		}
	}
	n, err := base64.StdEncoding.Decode(buf, bytes.Clone(buf))
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}
