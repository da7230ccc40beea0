package saml_test

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"
	"testing"

	"github.com/beevik/etree"

	"github.com/idpsync/idpsync/providers/saml/idp"
)

const (
	nameID = ">ada-1815<"
	lol    = `<!DOCTYPE samlp:Response [<!ENTITY a "ada"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>`
)

// forgeries are the hostile Responses besides the wrappings.
func forgeries(t testing.TB, w *world, other *idp.IdP) map[string]forgery {
	t.Helper()
	embedded := base64.StdEncoding.EncodeToString(other.Certificate().Raw)
	ours := base64.StdEncoding.EncodeToString(w.idp.Certificate().Raw)
	stranger, err := other.Respond(w.ask())
	check(t, err)
	all := map[string]forgery{
		// Text that two readers see differently. The signature is good: canonicalisation drops comments.
		"nameid-comment":       {reason: "comment", text: replace(nameID, ">ada-<!-- -->1815<")},
		"nameid-comment-end":   {reason: "comment", text: replace(nameID, ">ada-1815<!-- --><")},
		"nameid-cdata":         {reason: "cdata", text: replace(nameID, "><![CDATA[ada-1815]]><")},
		"nameid-pi":            {reason: "processing_instruction", text: replace(nameID, ">ada-<?x y?>1815<")},
		"nameid-pi-signed":     {reason: "processing_instruction", edit: func(_, a *etree.Element) { subjectID(a).CreateProcInst("x", "y") }},
		"email-comment":        {reason: "comment", text: replace("ada@acme.example", "ada@acme<!---->.example")},
		"comment-in-prolog":    {reason: "comment", text: prefix("<!-- made by nobody -->")},
		"stylesheet":           {reason: "processing_instruction", text: prefix(`<?xml-stylesheet href="x.xsl"?>`)},
		"nameid-foreign":       {reason: "name_id", edit: func(_, a *etree.Element) { rename(subjectID(a), "evil", "urn:evil") }},
		"nameid-foreign-mixed": {reason: "name_id", edit: func(_, a *etree.Element) { foreignBeside(subjectID(a)) }},
		"nameid-absent":        {reason: "name_id", edit: func(_, a *etree.Element) { remove(subjectID(a)) }},
		"nameid-empty":         {reason: "name_id", edit: func(_, a *etree.Element) { subjectID(a).SetText("") }},
		"nameid-spaces":        {reason: "name_id", edit: func(_, a *etree.Element) { subjectID(a).SetText("\u00a0ada-1815\u00a0") }},
		"nameid-newline":       {reason: "name_id", edit: func(_, a *etree.Element) { subjectID(a).SetText("ada\n1815") }},
		"nameid-child":         {reason: "name_id", edit: func(_, a *etree.Element) { subjectID(a).CreateElement("saml:x").SetText("y") }},
		"nameid-twice":         {reason: "name_id", edit: func(_, a *etree.Element) { a.SelectElement("Subject").AddChild(subjectID(a).Copy()) }},
		"nameid-transient":     {reason: "name_id_format", change: func(r *idp.Request) { r.NameIDFormat = idp.FormatTransient }},
		"nameid-qualifier":     {reason: "name_id_qualifier", edit: func(_, a *etree.Element) { subjectID(a).CreateAttr("NameQualifier", "https://other.example") }},
		"nameid-sp-qualifier":  {reason: "name_id_qualifier", edit: func(_, a *etree.Element) { subjectID(a).CreateAttr("SPNameQualifier", "https://other.example") }},

		// Documents.
		"doctype":             {reason: "doctype", text: prefix(`<!DOCTYPE samlp:Response>`)},
		"doctype-external":    {reason: "doctype", text: prefix(`<!DOCTYPE samlp:Response SYSTEM "http://127.0.0.1:1/x.dtd">`)},
		"entity-file":         {reason: "doctype", text: then(prefix(`<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>`), replace(nameID, ">&x;<"))},
		"entity-parameter":    {reason: "doctype", text: prefix(`<!DOCTYPE r [<!ENTITY % x SYSTEM "http://127.0.0.1:1/x"> %x;]>`)},
		"entity-laughs":       {reason: "doctype", text: then(prefix(lol), replace(nameID, ">&c;<"))},
		"entity-undeclared":   {reason: "entity", text: replace(nameID, ">&ada;<")},
		"entity-html":         {reason: "entity", text: replace(nameID, ">ada&nbsp;1815<")},
		"reference-nul":       {reason: "xml", text: replace(nameID, ">ada&#0;1815<")},
		"reference-surrogate": {reason: "xml", text: replace(nameID, ">ada&#xD800;<")},
		"control-character":   {reason: "xml", text: replace(nameID, ">ada\x011815<")},
		"bad-utf8":            {reason: "encoding", text: replace(nameID, ">ada\xff1815<")},
		"latin1":              {reason: "encoding", text: prefix(`<?xml version="1.0" encoding="ISO-8859-1"?>`)},
		"utf7":                {reason: "encoding", text: prefix(`<?xml version="1.0" encoding='UTF-7'?>`)},
		"utf16":               {reason: "encoding", text: func(doc string) string { return "\xff\xfe" + strings.Join(strings.Split(doc, ""), "\x00") }},
		"two-roots":           {reason: "xml", text: func(doc string) string { return doc + doc }},
		"trailing-text":       {reason: "xml", text: func(doc string) string { return doc + "x" }},
		"truncated":           {reason: "xml", text: func(doc string) string { return doc[:len(doc)-10] }},
		"empty-document":      {reason: "xml", text: func(string) string { return " " }},
		"tag-mismatch":        {reason: "xml", text: replace("</saml:Issuer>", "</samlp:Issuer>")},
		"colon-name":          {reason: "xml", text: replace("<saml:Issuer>", "<:saml:Issuer>")},
		"unquoted-attribute":  {reason: "xml", text: replace(`Version="2.0"`, `Version=2.0`)},
		"prefix-undeclared":   {reason: "namespace", text: replace("<saml:NameID", "<evil:NameID")},
		"prefix-reserved":     {reason: "namespace", text: replace(`Version="2.0"`, `Version="2.0" xmlns:xml="urn:x"`)},
		"prefix-xmlns":        {reason: "namespace", text: replace(`Version="2.0"`, `Version="2.0" xmlns:xmlns="urn:x"`)},
		"prefix-emptied":      {reason: "namespace", text: replace(`Version="2.0"`, `Version="2.0" xmlns:saml=""`)},
		"attribute-twice":     {reason: "duplicate_attribute", text: replace(`Version="2.0"`, `Version="2.0" Version="2.0"`)},
		"attribute-aliases":   {reason: "duplicate_attribute", text: replace(`<saml:Subject>`, `<saml:Subject xmlns:a="urn:x" xmlns:b="urn:x" a:z="1" b:z="2">`)},

		// Shapes.
		"not-a-response":  {reason: "response", text: replace("samlp:Response", "samlp:LogoutResponse")},
		"saml1":           {reason: "response", text: replace("urn:oasis:names:tc:SAML:2.0:protocol", "urn:oasis:names:tc:SAML:1.0:protocol")},
		"assertion-alone": {reason: "response", text: alone},
		"no-assertion":    {reason: "assertion_count", mode: idp.SignNothing, tree: func(r *etree.Element) { remove(r.SelectElement("Assertion")) }},
		"two-assertions":  {reason: "assertion_count", edit: func(r, a *etree.Element) { second := a.Copy(); second.CreateAttr("ID", "_second"); r.AddChild(second) }},
		"assertion-misplaced": {reason: "assertion_count", mode: idp.SignAssertion, tree: func(r *etree.Element) {
			a := r.SelectElement("Assertion")
			r.RemoveChild(a)
			r.CreateElement("samlp:Extensions").AddChild(a)
		}},
		"assertion-foreign":    {reason: "assertion_count", edit: func(_, a *etree.Element) { rename(a, "evil", "urn:evil") }},
		"advice-unsigned":      {reason: "assertion_count", mode: idp.SignAssertion, tree: advice},
		"advice-signed":        {reason: "assertion_count", edit: func(r, _ *etree.Element) { advice(r) }},
		"duplicate-id":         {reason: "duplicate_id", tree: func(r *etree.Element) { r.SelectElement("Status").CreateAttr("ID", r.SelectAttrValue("ID", "")) }},
		"duplicate-id-case":    {reason: "duplicate_id", tree: func(r *etree.Element) { r.CreateAttr("Id", "_x") }},
		"duplicate-id-foreign": {reason: "duplicate_id", text: replace(`Version="2.0"`, `xmlns:e="urn:e" e:ID="_x" Version="2.0"`)},

		// Signatures.
		"unsigned":             {reason: "signature_missing", mode: idp.SignNothing},
		"signature-stripped":   {reason: "signature_missing", tree: func(r *etree.Element) { remove(r.SelectElement("Signature")) }},
		"tampered":             {reason: "signature", text: replace(nameID, ">mallory<")},
		"tampered-attribute":   {reason: "signature", mode: idp.SignAssertion, text: replace("ada@acme.example", "owner@acme.example")},
		"tampered-one-of-both": {reason: "signature", mode: idp.SignBoth, tree: func(r *etree.Element) { subjectID(r.SelectElement("Assertion")).SetText("mallory") }},
		"tampered-no-keyinfo": {reason: "signature", tree: func(r *etree.Element) {
			remove(r.FindElement("./Signature/KeyInfo"))
			r.CreateAttr("Destination", acsURL+"?")
		}},
		"signature-value":      {reason: "signature", tree: func(r *etree.Element) { r.FindElement("./Signature/SignatureValue").SetText("AAAA") }},
		"signature-not-base64": {reason: "signature", tree: func(r *etree.Element) { r.FindElement("./Signature/SignatureValue").SetText("%%%") }},
		"certificate-embedded": {reason: "unknown_key", text: func(string) string { return string(stranger) }},
		"certificate-borrowed": {reason: "signature", text: func(string) string { return strings.ReplaceAll(string(stranger), embedded, ours) }},
		"certificate-absent": {reason: "unknown_key", text: func(string) string {
			return string(edited(t, stranger, func(r *etree.Element) { remove(r.FindElement("./Signature/KeyInfo")) }))
		}},
		"signature-twice": {reason: "signature_placement", tree: func(r *etree.Element) { r.AddChild(r.SelectElement("Signature").Copy()) }},
		"signature-deep": {reason: "signature_placement", tree: func(r *etree.Element) {
			s := r.SelectElement("Signature")
			r.RemoveChild(s)
			r.SelectElement("Status").AddChild(s)
		}},
		"signature-object":  {reason: "signature_placement", tree: func(r *etree.Element) { r.SelectElement("Signature").CreateElement("ds:Object") }},
		"signature-foreign": {reason: "signature_placement", tree: func(r *etree.Element) { rename(r.SelectElement("Signature"), "evil", "urn:evil") }},
		"signedinfo-twice": {reason: "signature_shape", tree: func(r *etree.Element) {
			s := r.SelectElement("Signature")
			s.InsertChildAt(0, s.SelectElement("SignedInfo").Copy())
		}},
		"reference-twice": {reason: "signature_shape", tree: func(r *etree.Element) {
			s := r.FindElement("./Signature/SignedInfo")
			s.AddChild(s.SelectElement("Reference").Copy())
		}},
		"reference-none":      {reason: "signature_shape", tree: func(r *etree.Element) { remove(r.FindElement("./Signature/SignedInfo/Reference")) }},
		"reference-empty":     {reason: "signature_reference", tree: func(r *etree.Element) { signedReference(r).CreateAttr("URI", "") }},
		"reference-elsewhere": {reason: "signature_reference", tree: func(r *etree.Element) { signedReference(r).CreateAttr("URI", "#_other") }},
		"reference-xpointer":  {reason: "signature_reference", tree: func(r *etree.Element) { signedReference(r).CreateAttr("URI", "#xpointer(/)") }},
		"reference-url":       {reason: "signature_reference", tree: func(r *etree.Element) { signedReference(r).CreateAttr("URI", "http://127.0.0.1:1/x") }},
		"transform-xslt":      {reason: "transform", tree: func(r *etree.Element) { transform(r, 0, "http://www.w3.org/TR/1999/REC-xslt-19991116") }},
		"transform-xpath":     {reason: "transform", tree: func(r *etree.Element) { transform(r, 1, "http://www.w3.org/TR/1999/REC-xpath-19991116") }},
		"transform-base64":    {reason: "transform", tree: func(r *etree.Element) { transform(r, 1, "http://www.w3.org/2000/09/xmldsig#base64") }},
		"transform-missing": {reason: "transform", tree: func(r *etree.Element) {
			remove(r.FindElement("./Signature/SignedInfo/Reference/Transforms").ChildElements()[0])
		}},
		"transform-third": {reason: "transform", tree: func(r *etree.Element) {
			t := signedReference(r).SelectElement("Transforms").CreateElement("ds:Transform")
			t.CreateAttr("Algorithm", "http://www.w3.org/TR/1999/REC-xslt-19991116")
		}},
		"transform-parameter": {reason: "transform", tree: func(r *etree.Element) {
			r.FindElement("./Signature/SignedInfo/Reference/Transforms").ChildElements()[0].CreateElement("ds:XPath").SetText("not(//*)")
		}},
		"canonicalization-none": {reason: "algorithm", tree: func(r *etree.Element) { method(r, "CanonicalizationMethod", "urn:none") }},
		"signature-sha1":        {reason: "algorithm", sha1: true},
		"signature-hmac": {reason: "algorithm", tree: func(r *etree.Element) {
			method(r, "SignatureMethod", "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256")
		}},
		"signature-md5": {reason: "algorithm", tree: func(r *etree.Element) { method(r, "SignatureMethod", "http://www.w3.org/2001/04/xmldsig-more#rsa-md5") }},
		"signature-ecdsa": {reason: "signature", tree: func(r *etree.Element) {
			method(r, "SignatureMethod", "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256")
		}},
		"digest-md5": {reason: "algorithm", tree: func(r *etree.Element) {
			signedReference(r).SelectElement("DigestMethod").CreateAttr("Algorithm", "http://www.w3.org/2001/04/xmldsig-more#md5")
		}},

		// Encryption. What is forged inside cannot be signed; what is changed outside cannot be read.
		"encrypted-unsigned":       {reason: "signature_missing", mode: idp.SignNothing, change: sealedWith(idp.AES256GCM)},
		"encrypted-unsigned-cbc":   {reason: "decryption", mode: idp.SignNothing, change: sealedWith(idp.AES256CBC)},
		"encrypted-changed-gcm":    {reason: "decryption", mode: idp.SignAssertion, change: sealedWith(idp.AES256GCM), tree: flip},
		"encrypted-changed-cbc":    {reason: "decryption", mode: idp.SignAssertion, change: sealedWith(idp.AES128CBC), tree: flip},
		"encrypted-signed-changed": {reason: "signature", mode: idp.SignResponse, change: sealedWith(idp.AES128CBC), tree: flip},
		"encrypted-rsa15":          {reason: "encryption_algorithm", mode: idp.SignAssertion, change: sealedWith(idp.AES256GCM), text: replace("http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p", "http://www.w3.org/2001/04/xmlenc#rsa-1_5")},
		"encrypted-3des":           {reason: "encryption_algorithm", mode: idp.SignAssertion, change: sealedWith(idp.AES256GCM), text: replace(idp.AES256GCM, "http://www.w3.org/2001/04/xmlenc#tripledes-cbc")},
		"encrypted-other-mode":     {reason: "decryption", mode: idp.SignAssertion, change: sealedWith(idp.AES256GCM), text: replace(idp.AES256GCM, idp.AES256CBC)},
		"encrypted-other-size":     {reason: "decryption", mode: idp.SignAssertion, change: sealedWith(idp.AES256GCM), text: replace(idp.AES256GCM, idp.AES128GCM)},
		"encrypted-and-plain":      {reason: "assertion_count", mode: idp.SignAssertion, change: sealedWith(idp.AES256GCM), tree: func(r *etree.Element) { r.CreateElement("saml:Assertion") }},
	}
	return all
}

func subjectID(assertion *etree.Element) *etree.Element {
	return assertion.FindElement("./Subject/NameID")
}

func remove(el *etree.Element) { el.Parent().RemoveChild(el) }

func rename(el *etree.Element, prefix, ns string) {
	el.Space = prefix
	el.CreateAttr("xmlns:"+prefix, ns)
}

func foreignBeside(el *etree.Element) {
	forged := el.Copy()
	forged.SetText("mallory")
	rename(forged, "evil", "urn:evil")
	subject := el.Parent()
	subject.RemoveChild(el)
	subject.InsertChildAt(0, forged)
	confirmation := subject.SelectElement("SubjectConfirmation")
	confirmation.InsertChildAt(0, el)
}

func advice(response *etree.Element) {
	assertion := response.SelectElement("Assertion")
	forged := assertion.Copy()
	forged.CreateAttr("ID", "_advice")
	if s := forged.SelectElement("Signature"); s != nil {
		forged.RemoveChild(s)
	}
	subjectID(forged).SetText("mallory")
	assertion.CreateElement("saml:Advice").AddChild(forged)
}

func signedReference(r *etree.Element) *etree.Element {
	return r.FindElement("./Signature/SignedInfo/Reference")
}

func transform(r *etree.Element, i int, algorithm string) {
	r.FindElement("./Signature/SignedInfo/Reference/Transforms").ChildElements()[i].CreateAttr("Algorithm", algorithm)
}

func method(r *etree.Element, tag, algorithm string) {
	r.FindElement("./Signature/SignedInfo/"+tag).CreateAttr("Algorithm", algorithm)
}

func sealedWith(algorithm string) func(*idp.Request) {
	return func(r *idp.Request) { r.Encrypt = algorithm }
}

// flip changes one bit in the middle of the ciphertext of the assertion.
func flip(r *etree.Element) {
	value := r.FindElement("./EncryptedAssertion/EncryptedData/CipherData/CipherValue")
	data, err := base64.StdEncoding.DecodeString(value.Text())
	if err != nil {
		panic(err)
	}
	data[len(data)/2] ^= 1
	value.SetText(base64.StdEncoding.EncodeToString(data))
}

func alone(doc string) string {
	start, end := strings.Index(doc, "<saml:Assertion"), strings.Index(doc, "</samlp:Response>")
	return doc[start:end]
}

func then(first, second func(string) string) func(string) string {
	return func(doc string) string { return first(second(doc)) }
}

// bombs are documents of about 500 KB that cost a careless reader seconds or gigabytes. They are made when they are
// needed, since they would only fill the repository.
func bombs(doc string) map[string]string {
	status := func(text string) string { return replace("<samlp:Status>", text+"<samlp:Status>")(doc) }
	return map[string]string{
		"size":       replace(nameID, ">"+strings.Repeat("ada-1815 ", 60000)+"<")(doc),
		"text":       replace(nameID, ">"+strings.Repeat("ada-1815 ", 56000)+"<")(doc),
		"references": replace(nameID, ">"+strings.Repeat("&#97;", 100000)+"<")(doc),
		"depth":      status(strings.Repeat("<a>", 60000) + strings.Repeat("</a>", 60000)),
		"elements":   status(strings.Repeat("<a/>", 120000)),
		"attributes": status("<a " + many(40000, func(i string) string { return "b" + i + `="" ` }) + "/>"),
		"namespaces": status("<a " + many(18000, func(i string) string { return "xmlns:n" + i + `="urn:` + i + `" ` }) + "/>"),
		"spread":     status(many(20000, func(i string) string { return "<n" + i + ` xmlns="urn:` + i + `"/>` })),
		"limits": status(strings.Repeat("<x>", 29) + many(4000, func(i string) string {
			return `<y xmlns:a="urn:a` + i + `" xmlns:b="urn:b` + i + `" a:c="" b:d="1">` + strings.Repeat("z", 50) + "</y>"
		}) + strings.Repeat("</x>", 29)),
	}
}

func many(n int, one func(i string) string) string {
	var b bytes.Buffer
	for i := range n {
		b.WriteString(one(strconv.Itoa(i)))
	}
	return b.String()
}
