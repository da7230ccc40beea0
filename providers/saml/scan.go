package saml

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/beevik/etree"
)

// limits bounds an XML document before a parser builds anything from it.
type limits struct {
	size       int // bytes
	depth      int // elements within each other
	elements   int
	attributes int // of all elements, namespace declarations included
	perElement int // attributes of one element
	scope      int // namespace declarations in scope at one place
	reference  int // bytes from an ampersand to its semicolon
}

// messageLimits are those of a Response and of a decrypted assertion.
var messageLimits = limits{size: 512 << 10, depth: 32, elements: 4096, attributes: 16384, perElement: 64, scope: 32, reference: 10}

const (
	xmlNamespace   = "http://www.w3.org/XML/1998/namespace"
	xmlnsNamespace = "http://www.w3.org/2000/xmlns/"
)

// A declaration binds a namespace prefix, "" for the default namespace.
type declaration struct {
	prefix, uri string
	depth       int // of the element that it stands on
}

// scan reads doc once and builds its tree. What it lets through is a plain subset of XML 1.0 with namespaces: UTF-8,
// ASCII names, elements, attributes, text, and references to characters and the predefined entities. A document type, an
// entity, a comment, a CDATA section or a processing instruction ends it, since each of them is a way to make two
// readers see two different values. The error is a *refusal.
//
// A fragment that was decrypted may use prefixes of the place it stood in; if it does, the declarations of that place,
// which are given as context, are put on its root.
func scan(doc string, lim limits, context []declaration) (*etree.Element, error) {
	s := scanner{doc: strings.TrimPrefix(doc, "\xef\xbb\xbf"), lim: lim, context: context}
	if len(doc) > lim.size {
		return nil, refuse(checkLimits, "the XML is larger than "+strconv.Itoa(lim.size)+" bytes")
	}
	if !utf8.ValidString(doc) {
		return nil, refuse(checkEncoding, "the XML is not UTF-8")
	}
	s.open = make([]string, 0, lim.depth)
	s.scope = make([]declaration, 0, lim.scope)
	if err := s.prolog(); err != nil {
		return nil, err
	}
	for s.pos < len(s.doc) {
		if err := s.text(); err != nil {
			return nil, err
		}
		if s.pos == len(s.doc) {
			break
		}
		if err := s.markup(); err != nil {
			return nil, err
		}
	}
	if len(s.open) > 0 || s.root == nil {
		return nil, s.malformed("it ends too early")
	}
	if s.inherits {
		for _, d := range context {
			declare(s.root, d)
		}
	}
	return s.root, nil
}

type attribute struct {
	prefix, local string
	uri           string
}

type scanner struct {
	doc        string
	pos        int
	lim        limits
	elements   int
	attributes int
	open       []string // qualified names of the open elements
	scope      []declaration
	context    []declaration
	inherits   bool // a prefix of the context is used
	attrs      []attribute

	root *etree.Element
	top  *etree.Element // the innermost open element
}

// xmlDeclaration is the only form of XML declaration (XML 1.0 section 2.8); its group is the encoding.
var xmlDeclaration = regexp.MustCompile(`^<\?xml[ \t\r\n]+version[ \t\r\n]*=[ \t\r\n]*(?:"1\.0"|'1\.0')` +
	`(?:[ \t\r\n]+encoding[ \t\r\n]*=[ \t\r\n]*(?:"([A-Za-z0-9._-]+)"|'([A-Za-z0-9._-]+)'))?` +
	`(?:[ \t\r\n]+standalone[ \t\r\n]*=[ \t\r\n]*(?:"(?:yes|no)"|'(?:yes|no)'))?[ \t\r\n]*\?>`)

// prolog reads the XML declaration, which may only say that the document is UTF-8.
func (s *scanner) prolog() error {
	if !s.at("<?xml") || len(s.doc) < 6 || !space(s.doc[5]) {
		return nil
	}
	found := xmlDeclaration.FindStringSubmatch(s.doc[:min(len(s.doc), 200)])
	if found == nil {
		return s.malformed("its XML declaration is not one of XML 1.0")
	}
	if encoding := found[1] + found[2]; encoding != "" && !strings.EqualFold(encoding, "UTF-8") {
		return refuse(checkEncoding, "the XML declares an encoding other than UTF-8")
	}
	s.pos = len(found[0])
	return nil
}

// text reads character data up to the next tag.
func (s *scanner) text() error {
	start, plain := s.pos, true
	for s.pos < len(s.doc) {
		c := s.doc[s.pos]
		if c == '<' {
			break
		}
		switch {
		case c == '\r':
			plain = false
			s.pos++
		case space(c):
			s.pos++
		case len(s.open) == 0:
			return s.malformed("it has text outside its root element")
		case c == '&':
			plain = false
			if err := s.reference(); err != nil {
				return err
			}
		case c == ']' && s.at("]]>"):
			return s.malformed("it has a stray end of a CDATA section")
		default:
			if err := s.char(); err != nil {
				return err
			}
		}
	}
	if s.top != nil && s.pos > start {
		value := s.doc[start:s.pos]
		if !plain {
			value = expand(value, false)
		}
		s.top.CreateText(value)
	}
	return nil
}

// markup reads what begins with a less-than sign.
func (s *scanner) markup() error {
	switch {
	case s.at("</"):
		return s.endTag()
	case s.at("<?"):
		return refuse(checkProcInst, "the XML has a processing instruction")
	case s.at("<!--"):
		return refuse(checkComment, "the XML has a comment")
	case s.at("<![CDATA["):
		return refuse(checkCDATA, "the XML has a CDATA section")
	case s.at("<!DOCTYPE"):
		return refuse(checkDoctype, "the XML has a document type declaration")
	case s.at("<!"):
		return s.malformed("it has a declaration")
	}
	return s.startTag()
}

func (s *scanner) endTag() error {
	s.pos += len("</")
	start := s.pos
	if _, _, err := s.qname(); err != nil {
		return err
	}
	name := s.doc[start:s.pos]
	s.skipSpace()
	if !s.at(">") || len(s.open) == 0 || s.open[len(s.open)-1] != name {
		return s.malformed("an end tag does not match")
	}
	s.pos++
	s.close()
	return nil
}

// close leaves the innermost element.
func (s *scanner) close() {
	depth := len(s.open)
	s.open = s.open[:depth-1]
	s.top = s.top.Parent()
	for len(s.scope) > 0 && s.scope[len(s.scope)-1].depth == depth {
		s.scope = s.scope[:len(s.scope)-1]
	}
}

func (s *scanner) startTag() error {
	if len(s.open) == 0 && s.root != nil {
		return s.malformed("it has a second root element")
	}
	if s.elements++; s.elements > s.lim.elements {
		return refuse(checkLimits, "the XML has more than "+strconv.Itoa(s.lim.elements)+" elements")
	}
	if len(s.open) == s.lim.depth {
		return refuse(checkLimits, "the XML is nested deeper than "+strconv.Itoa(s.lim.depth)+" elements")
	}
	s.pos++
	start := s.pos
	prefix, local, err := s.qname()
	if err != nil {
		return err
	}
	s.open = append(s.open, s.doc[start:s.pos])
	s.attrs = s.attrs[:0]
	el := &etree.Element{Space: prefix, Tag: local}
	if s.top != nil {
		s.top.AddChild(el)
	} else {
		s.root = el
	}
	s.top = el
	for {
		spaced := s.skipSpace()
		if s.at("/>") {
			s.pos += len("/>")
			if err := s.resolve(prefix); err != nil {
				return err
			}
			s.close()
			return nil
		}
		if s.at(">") {
			s.pos++
			return s.resolve(prefix)
		}
		if !spaced {
			return s.malformed("a tag is not closed")
		}
		if err := s.attribute(); err != nil {
			return err
		}
	}
}

func (s *scanner) attribute() error {
	if s.attributes++; s.attributes > s.lim.attributes {
		return refuse(checkLimits, "the XML has more than "+strconv.Itoa(s.lim.attributes)+" attributes")
	}
	if len(s.attrs) == s.lim.perElement {
		return refuse(checkLimits, "an element has more than "+strconv.Itoa(s.lim.perElement)+" attributes")
	}
	start := s.pos
	prefix, local, err := s.qname()
	if err != nil {
		return err
	}
	name := s.doc[start:s.pos]
	s.skipSpace()
	if !s.at("=") {
		return s.malformed("an attribute has no value")
	}
	s.pos++
	s.skipSpace()
	value, plain, err := s.quoted()
	if err != nil {
		return err
	}
	if prefix == "xmlns" || name == "xmlns" {
		if prefix == "" {
			local = ""
		}
		if !plain {
			return refuse(checkNamespace, "a namespace name holds a reference or a line end")
		}
		if err := s.declare(local, value); err != nil {
			return err
		}
	} else {
		s.attrs = append(s.attrs, attribute{prefix: prefix, local: local})
	}
	if !plain {
		value = expand(value, true)
	}
	s.top.CreateAttr(name, value)
	return nil
}

// quoted reads the value of an attribute; plain says that it stands for itself.
func (s *scanner) quoted() (value string, plain bool, err error) {
	if s.pos >= len(s.doc) || s.doc[s.pos] != '"' && s.doc[s.pos] != '\'' {
		return "", false, s.malformed("an attribute is not quoted")
	}
	quote := s.doc[s.pos]
	s.pos++
	start := s.pos
	plain = true
	for s.pos < len(s.doc) && s.doc[s.pos] != quote {
		switch c := s.doc[s.pos]; {
		case c == '<':
			return "", false, s.malformed("an attribute holds a less-than sign")
		case c == '&':
			plain = false
			if err := s.reference(); err != nil {
				return "", false, err
			}
		case c != ' ' && space(c):
			plain = false
			s.pos++
		default:
			if err := s.char(); err != nil {
				return "", false, err
			}
		}
	}
	if s.pos >= len(s.doc) {
		return "", false, s.malformed("an attribute does not end")
	}
	value = s.doc[start:s.pos]
	s.pos++
	return value, plain, nil
}

// declare takes a namespace declaration into scope (Namespaces in XML 1.0, sections 3 and 5).
func (s *scanner) declare(prefix, uri string) error {
	switch {
	case prefix == "xml", prefix == "xmlns", uri == xmlNamespace, uri == xmlnsNamespace:
		return refuse(checkNamespace, "a reserved namespace is declared")
	case prefix != "" && uri == "":
		return refuse(checkNamespace, "a namespace prefix is undeclared")
	case len(s.scope) == s.lim.scope:
		return refuse(checkLimits, "more than "+strconv.Itoa(s.lim.scope)+" namespace declarations are in scope at once")
	}
	depth := len(s.open)
	for i := len(s.scope) - 1; i >= 0 && s.scope[i].depth == depth; i-- {
		if s.scope[i].prefix == prefix {
			return refuse(checkDuplicateAttribute, "a namespace prefix is declared twice on one element")
		}
	}
	s.scope = append(s.scope, declaration{prefix, uri, depth})
	return nil
}

// resolve binds the prefixes of an element and its attributes, and finds attributes that are there twice.
func (s *scanner) resolve(prefix string) error {
	if _, ok := s.lookup(prefix); !ok {
		return refuse(checkNamespace, "an element's namespace prefix is not declared")
	}
	for i := range s.attrs {
		a := &s.attrs[i]
		if a.prefix != "" {
			uri, ok := s.lookup(a.prefix)
			if !ok {
				return refuse(checkNamespace, "an attribute's namespace prefix is not declared")
			}
			a.uri = uri
		}
		for _, b := range s.attrs[:i] {
			if b.local == a.local && b.uri == a.uri {
				return refuse(checkDuplicateAttribute, "an element has the same attribute twice")
			}
		}
	}
	return nil
}

func (s *scanner) lookup(prefix string) (string, bool) {
	for i := len(s.scope) - 1; i >= 0; i-- {
		if s.scope[i].prefix == prefix {
			return s.scope[i].uri, true
		}
	}
	for _, d := range s.context {
		if d.prefix == prefix {
			s.inherits = true
			return d.uri, true
		}
	}
	switch prefix {
	case "":
		return "", true
	case "xml":
		return xmlNamespace, true
	}
	return "", false
}

// qname reads a name of the form local or prefix:local.
func (s *scanner) qname() (prefix, local string, err error) {
	if local, err = s.ncname(); err != nil {
		return "", "", err
	}
	if s.at(":") {
		s.pos++
		prefix = local
		if local, err = s.ncname(); err != nil {
			return "", "", err
		}
	}
	return prefix, local, nil
}

func (s *scanner) ncname() (string, error) {
	start := s.pos
	for s.pos < len(s.doc) {
		c := s.doc[s.pos]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || s.pos > start && (c >= '0' && c <= '9' || c == '-' || c == '.') {
			s.pos++
			continue
		}
		break
	}
	if s.pos == start {
		return "", s.malformed("a name is not a plain ASCII name")
	}
	return s.doc[start:s.pos], nil
}

func (s *scanner) skipSpace() bool {
	start := s.pos
	for s.pos < len(s.doc) && space(s.doc[s.pos]) {
		s.pos++
	}
	return s.pos > start
}

func (s *scanner) at(text string) bool {
	return strings.HasPrefix(s.doc[s.pos:], text)
}

func (s *scanner) malformed(what string) error {
	return refuse(checkXML, "the XML is not well-formed: "+what+", near byte "+strconv.Itoa(s.pos))
}
