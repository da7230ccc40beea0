package saml

import (
	"slices"
	"strings"

	"github.com/beevik/etree"
)

// Namespaces of the elements that are read.
const (
	nsAssertion = "urn:oasis:names:tc:SAML:2.0:assertion"
	nsProtocol  = "urn:oasis:names:tc:SAML:2.0:protocol"
	nsMetadata  = "urn:oasis:names:tc:SAML:2.0:metadata"
	nsSignature = "http://www.w3.org/2000/09/xmldsig#"
	nsXMLEnc    = "http://www.w3.org/2001/04/xmlenc#"
	nsXMLEnc11  = "http://www.w3.org/2009/xmlenc11#"
	nsExcC14N   = "http://www.w3.org/2001/10/xml-exc-c14n#"
)

// A shape is what is found in a tree before any signature is checked. It serves to refuse, never to believe.
type shape struct {
	ids       map[string]struct{}
	assertion *etree.Element // the only Assertion or EncryptedAssertion
	encrypted bool
}

// walk looks at every element below el, whatever its namespace prefix. It refuses messages with more than one
// assertion, wherever the others hide, with signatures elsewhere than directly in what they sign, and with the same
// ID twice: all forms of signature wrapping need one of these.
func (s *shape) walk(el, root *etree.Element) error {
	if err := s.identify(el); err != nil {
		return err
	}
	parent := el.Parent()
	switch el.Tag {
	case "Response":
		if el != root {
			return refuse(checkAssertionCount, "a Response stands within the message")
		}
	case "Assertion", "EncryptedAssertion":
		switch {
		case s.assertion != nil:
			return refuse(checkAssertionCount, "the message has more than one assertion")
		case el != root && parent != root, el.NamespaceURI() != nsAssertion:
			return refuse(checkAssertionCount, "an assertion stands elsewhere than directly in the Response")
		}
		s.assertion, s.encrypted = el, el.Tag == "EncryptedAssertion"
	case "Signature":
		if el == root || parent != root && parent != s.assertion || el.NamespaceURI() != nsSignature {
			return refuse(checkSignaturePlacement, "a signature stands elsewhere than directly in the Response or its assertion")
		}
	case "Object":
		if el.NamespaceURI() == nsSignature {
			return refuse(checkSignaturePlacement, "a signature holds an Object; SAML signatures are enveloped")
		}
	}
	for _, token := range el.Child {
		if child, ok := token.(*etree.Element); ok {
			if err := s.walk(child, root); err != nil {
				return err
			}
		}
	}
	return nil
}

// identify notes the ID of an element. An attribute called ID, Id or id counts whatever its namespace, so that no two
// readers can pick different ones.
func (s *shape) identify(el *etree.Element) error {
	found := false
	for _, a := range el.Attr {
		if len(a.Key) != 2 || !strings.EqualFold(a.Key, "ID") || a.Space == "xmlns" {
			continue
		}
		if _, twice := s.ids[a.Value]; twice || found {
			return refuse(checkDuplicateID, "an ID appears twice")
		}
		found = true
		s.ids[a.Value] = struct{}{}
	}
	return nil
}

// is reports whether el has the given expanded name.
func is(el *etree.Element, ns, tag string) bool {
	return el != nil && el.Tag == tag && el.NamespaceURI() == ns
}

// children returns the child elements of the given expanded name.
func children(el *etree.Element, ns, tag string) []*etree.Element {
	var found []*etree.Element
	for _, token := range el.Child {
		if c, ok := token.(*etree.Element); ok && is(c, ns, tag) {
			found = append(found, c)
		}
	}
	return found
}

// only returns the child element of the given expanded name, or nil when there is none. It reports false when there
// is more than one.
func only(el *etree.Element, ns, tag string) (*etree.Element, bool) {
	found := children(el, ns, tag)
	if len(found) == 0 {
		return nil, true
	}
	return found[0], len(found) == 1
}

// attr returns the attribute of that name in no namespace.
func attr(el *etree.Element, key string) (string, bool) {
	for i := range el.Attr {
		if a := &el.Attr[i]; a.Key == key && a.Space == "" {
			return a.Value, true
		}
	}
	return "", false
}

func attrValue(el *etree.Element, key string) string {
	v, _ := attr(el, key)
	return v
}

// text returns the text of an element that has nothing but text. It reports false when there is anything else.
func text(el *etree.Element) (string, bool) {
	var whole string
	for i, token := range el.Child {
		data, ok := token.(*etree.CharData)
		if !ok {
			return "", false
		}
		if i == 0 {
			whole = data.Data
		} else {
			whole += data.Data
		}
	}
	return whole, true
}

// trimmed is text without the white space of XML around it, which whoever indents a document adds. A signature covers it, and
// no value that is read begins or ends with it.
func trimmed(el *etree.Element) (string, bool) {
	value, plain := text(el)
	return strings.Trim(value, " \t\r\n"), plain
}

// scopeOf returns the namespace declarations in scope at el, those of el included, the nearest of each prefix.
func scopeOf(el *etree.Element) []declaration {
	var scope []declaration
	for up := el; up != nil; up = up.Parent() {
		for _, a := range up.Attr {
			d := declaration{prefix: a.Key, uri: a.Value}
			switch {
			case a.Space == "" && a.Key == "xmlns":
				d.prefix = ""
			case a.Space != "xmlns":
				continue
			}
			if !slices.ContainsFunc(scope, func(n declaration) bool { return n.prefix == d.prefix }) {
				scope = append(scope, d)
			}
		}
	}
	return scope
}

// declare puts a namespace declaration on el, unless el has one of that prefix.
func declare(el *etree.Element, d declaration) {
	a := etree.Attr{Space: "xmlns", Key: d.prefix, Value: d.uri}
	if d.prefix == "" {
		a.Space, a.Key = "", "xmlns"
	}
	for _, own := range el.Attr {
		if own.Space == a.Space && own.Key == a.Key {
			return
		}
	}
	el.CreateAttr(a.FullKey(), a.Value)
}

// detach takes el out of its tree and declares on it every namespace that was in scope there, so that it canonicalises
// by itself as it did in place.
func detach(el *etree.Element) *etree.Element {
	parent := el.Parent()
	if parent == nil {
		return el
	}
	for _, d := range scopeOf(parent) {
		declare(el, d)
	}
	parent.RemoveChild(el)
	return el
}
