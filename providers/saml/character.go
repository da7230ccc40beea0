package saml

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

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
	end := strings.IndexByte(s.doc[s.pos:min(len(s.doc), s.pos+s.lim.reference)], ';')
	if end < 2 {
		return refuse(checkEntity, "the XML has a reference to an entity that is not predefined")
	}
	name := s.doc[s.pos+1 : s.pos+end]
	switch r := referent(name); {
	case r == 0 && name[0] != '#':
		return refuse(checkEntity, "the XML has a reference to an entity that is not predefined")
	case r == 0:
		return s.malformed("it has a reference to a character that XML does not allow")
	}
	s.pos += end + 1
	return nil
}

// referent returns the character that a reference stands for, 0 when there is none.
func referent(name string) rune {
	switch name {
	case "lt":
		return '<'
	case "gt":
		return '>'
	case "amp":
		return '&'
	case "apos":
		return '\''
	case "quot":
		return '"'
	}
	digits, radix := strings.TrimPrefix(name, "#"), 10
	if digits == name {
		return 0
	}
	if hex, ok := strings.CutPrefix(digits, "x"); ok {
		digits, radix = hex, 16
	}
	n, err := strconv.ParseUint(digits, radix, 32)
	if err != nil || n > utf8.MaxRune || !allowed(rune(n)) {
		return 0
	}
	return rune(n)
}

func allowed(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xd7ff || r >= 0xe000 && r <= 0xfffd || r >= 0x10000
}

// expand resolves the references of a value that was read already, and normalises its line ends, and in an attribute
// its white space (XML 1.0 sections 2.11 and 3.3.3).
func expand(value string, attribute bool) string {
	var b strings.Builder
	b.Grow(len(value))
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case c == '&':
			end := i + strings.IndexByte(value[i:], ';')
			b.WriteRune(referent(value[i+1 : end]))
			i = end
			continue
		case c == '\r':
			if i+1 < len(value) && value[i+1] == '\n' {
				i++
			}
			c = '\n'
		}
		if attribute && space(c) {
			c = ' '
		}
		b.WriteByte(c)
	}
	return b.String()
}

func space(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
