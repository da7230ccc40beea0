package saml

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"
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

// scan reads doc once, byte by byte, without building a tree. What it lets through is a plain subset of XML 1.0 with
// namespaces: UTF-8, ASCII names, elements, attributes, text, and references to characters and the predefined entities.
// A document type, an entity, a comment, a CDATA section or a processing instruction ends it, since each of them is a
// way to make two readers see two different values. The error is a *refusal.
//
// Prefixes that doc itself does not declare may be those of context, as in a fragment that was decrypted; inherits says
// that it uses one.
func scan(doc []byte, lim limits, context []declaration) (inherits bool, err error) {
	s := scanner{doc: doc, lim: lim, context: context}
	err = s.run()
	return s.inherits, err
}

type declaration struct {
	prefix, uri string
	depth       int
}

type attribute struct {
	prefix, local string
	uri           string
}

type scanner struct {
	doc        []byte
	pos        int
	lim        limits
	elements   int
	attributes int
	open       []string // qualified names of the open elements
	scope      []declaration
	context    []declaration // of the place that a fragment stood in
	inherits   bool
	attrs      []attribute
}

func (s *scanner) run() error {
	if len(s.doc) > s.lim.size {
		return refuse(checkLimits, "the XML is larger than "+strconv.Itoa(s.lim.size)+" bytes")
	}
	if !utf8.Valid(s.doc) {
		return refuse(checkEncoding, "the XML is not UTF-8")
	}
	s.open = make([]string, 0, s.lim.depth)
	s.scope = make([]declaration, 0, s.lim.scope)
	s.doc = bytes.TrimPrefix(s.doc, []byte("\xef\xbb\xbf"))
	if err := s.prolog(); err != nil {
		return err
	}
	for s.pos < len(s.doc) {
		if err := s.text(); err != nil {
			return err
		}
		if s.pos == len(s.doc) {
			break
		}
		if err := s.markup(); err != nil {
			return err
		}
	}
	if len(s.open) > 0 || s.elements == 0 {
		return s.malformed("it ends too early")
	}
	return nil
}

// prolog reads the XML declaration, which may only say that the document is UTF-8.
func (s *scanner) prolog() error {
	if !s.at("<?xml") || len(s.doc) < 6 || !space(s.doc[5]) {
		return nil
	}
	end := bytes.Index(s.doc, []byte("?>"))
	if end < 0 || end > 200 {
		return s.malformed("its XML declaration does not end")
	}
	decl := strings.ToLower(string(s.doc[5:end]))
	s.pos = end + 2
	if i := strings.Index(decl, "encoding"); i >= 0 {
		value := strings.Trim(decl[i+len("encoding"):], " \t\r\n=")
		if len(value) < 7 || (value[1:6] != "utf-8") || value[0] != value[6] || (value[0] != '"' && value[0] != '\'') {
			return refuse(checkEncoding, "the XML declares an encoding other than UTF-8")
		}
	}
	return nil
}

// text reads character data up to the next tag.
func (s *scanner) text() error {
	for s.pos < len(s.doc) {
		switch c := s.doc[s.pos]; {
		case c == '<':
			return nil
		case space(c):
			s.pos++
		case len(s.open) == 0:
			return s.malformed("it has text outside its root element")
		case c == '&':
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
	return nil
}

// char passes over one character that XML allows (XML 1.0 section 2.2).
func (s *scanner) char() error {
	c := s.doc[s.pos]
	if c < 0x20 && !space(c) {
		return s.malformed("it has a control character")
	}
	if c == 0xef && (s.at("\xef\xbf\xbe") || s.at("\xef\xbf\xbf")) {
		return s.malformed("it has a character that XML does not allow")
	}
	s.pos++
	return nil
}

// reference reads a reference to a character or to one of the predefined entities (XML 1.0 sections 4.1 and 4.6).
func (s *scanner) reference() error {
	end := bytes.IndexByte(s.doc[s.pos:min(len(s.doc), s.pos+s.lim.reference)], ';')
	if end < 2 {
		return refuse(checkEntity, "the XML has a reference to an entity that is not predefined")
	}
	name := string(s.doc[s.pos+1 : s.pos+end])
	s.pos += end + 1
	switch name {
	case "lt", "gt", "amp", "apos", "quot":
		return nil
	}
	digits, base := strings.CutPrefix(name, "#x")
	radix := 16
	if !base {
		if digits, base = strings.CutPrefix(name, "#"); !base {
			return refuse(checkEntity, "the XML has a reference to an entity that is not predefined")
		}
		radix = 10
	}
	n, err := strconv.ParseUint(digits, radix, 32)
	if err != nil || !allowed(rune(n)) || n > utf8.MaxRune {
		return s.malformed("it has a reference to a character that XML does not allow")
	}
	return nil
}

func allowed(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xd7ff || r >= 0xe000 && r <= 0xfffd || r >= 0x10000
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
	prefix, local, err := s.qname()
	if err != nil {
		return err
	}
	name := s.doc[start : start+qlen(prefix, local)]
	s.skipSpace()
	if !s.at(">") || len(s.open) == 0 || s.open[len(s.open)-1] != string(name) {
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
	for len(s.scope) > 0 && s.scope[len(s.scope)-1].depth == depth {
		s.scope = s.scope[:len(s.scope)-1]
	}
}

func (s *scanner) startTag() error {
	if len(s.open) == 0 && s.elements > 0 {
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
	s.open = append(s.open, string(s.doc[start:s.pos]))
	s.attrs = s.attrs[:0]
	empty := false
	for {
		spaced := s.skipSpace()
		if s.at("/>") {
			s.pos += len("/>")
			empty = true
			break
		}
		if s.at(">") {
			s.pos++
			break
		}
		if !spaced {
			return s.malformed("a tag is not closed")
		}
		if err := s.attribute(); err != nil {
			return err
		}
	}
	if err := s.resolve(prefix, local); err != nil {
		return err
	}
	if empty {
		s.close()
	}
	return nil
}

func (s *scanner) attribute() error {
	if s.attributes++; s.attributes > s.lim.attributes {
		return refuse(checkLimits, "the XML has more than "+strconv.Itoa(s.lim.attributes)+" attributes")
	}
	if len(s.attrs) == s.lim.perElement {
		return refuse(checkLimits, "an element has more than "+strconv.Itoa(s.lim.perElement)+" attributes")
	}
	prefix, local, err := s.qname()
	if err != nil {
		return err
	}
	s.skipSpace()
	if !s.at("=") {
		return s.malformed("an attribute has no value")
	}
	s.pos++
	s.skipSpace()
	if s.pos >= len(s.doc) || s.doc[s.pos] != '"' && s.doc[s.pos] != '\'' {
		return s.malformed("an attribute is not quoted")
	}
	quote := s.doc[s.pos]
	s.pos++
	start := s.pos
	declares := prefix == "xmlns" || prefix == "" && local == "xmlns"
	for {
		if s.pos >= len(s.doc) {
			return s.malformed("an attribute does not end")
		}
		c := s.doc[s.pos]
		if c == quote {
			break
		}
		switch {
		case c == '<':
			return s.malformed("an attribute holds a less-than sign")
		case c == '&':
			if declares {
				return refuse(checkNamespace, "a namespace name holds a reference")
			}
			if err := s.reference(); err != nil {
				return err
			}
		default:
			if err := s.char(); err != nil {
				return err
			}
		}
	}
	value := s.doc[start:s.pos]
	s.pos++
	if declares {
		if prefix == "" {
			local = ""
		}
		return s.declare(local, string(value))
	}
	s.attrs = append(s.attrs, attribute{prefix: prefix, local: local})
	return nil
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
func (s *scanner) resolve(prefix, _ string) error {
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
	return string(s.doc[start:s.pos]), nil
}

func qlen(prefix, local string) int {
	if prefix == "" {
		return len(local)
	}
	return len(prefix) + 1 + len(local)
}

func (s *scanner) skipSpace() bool {
	start := s.pos
	for s.pos < len(s.doc) && space(s.doc[s.pos]) {
		s.pos++
	}
	return s.pos > start
}

func (s *scanner) at(text string) bool {
	return len(s.doc)-s.pos >= len(text) && string(s.doc[s.pos:s.pos+len(text)]) == text
}

func (s *scanner) malformed(what string) error {
	return refuse(checkXML, "the XML is not well-formed: "+what+", near byte "+strconv.Itoa(s.pos))
}

func space(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
