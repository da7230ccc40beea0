package saml

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// declarationOf matches an XML declaration, which says in which encoding a document is.
var declarationOf = regexp.MustCompile(`^<\?xml[ \t\r\n][^>]*\?>`)

var encodingOf = regexp.MustCompile(`[ \t\r\n]encoding[ \t\r\n]*=[ \t\r\n]*["']([A-Za-z0-9._-]+)["']`)

// utf8Metadata returns a metadata document in UTF-8, without byte order mark and XML declaration. PowerShell writes UTF-16
// when a download is redirected to a file, and old directories have Latin-1; a byte order mark goes before what is
// declared, as XML 1.0 appendix F has it.
func utf8Metadata(doc []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(doc, []byte("\xff\xfe")), bytes.HasPrefix(doc, []byte("<\x00")):
		return fromUTF16(doc, binary.LittleEndian)
	case bytes.HasPrefix(doc, []byte("\xfe\xff")), bytes.HasPrefix(doc, []byte("\x00<")):
		return fromUTF16(doc, binary.BigEndian)
	}
	marked := bytes.HasPrefix(doc, []byte("\xef\xbb\xbf"))
	doc = bytes.TrimPrefix(doc, []byte("\xef\xbb\xbf"))
	declaration := declarationOf.Find(doc)
	rest := doc[len(declaration):]
	name := "utf-8"
	if m := encodingOf.FindSubmatch(declaration); m != nil && !marked {
		name = strings.ToLower(string(m[1]))
	}
	switch name {
	case "iso-8859-1", "latin1", "iso_8859-1", "l1":
		return fromLatin1(rest), nil
	case "utf-8", "utf8", "us-ascii", "ascii":
		if !utf8.Valid(rest) {
			return nil, fmt.Errorf("the metadata say that they are %s and are not; save the document as UTF-8", strings.ToUpper(name))
		}
		return rest, nil
	}
	return nil, fmt.Errorf("the metadata are in the encoding %s, which is not read; save the document as UTF-8", name)
}

func fromUTF16(doc []byte, order binary.ByteOrder) ([]byte, error) {
	if len(doc)%2 != 0 {
		return nil, fmt.Errorf("the metadata are UTF-16 that ends within a character; save the document as UTF-8")
	}
	units := make([]uint16, len(doc)/2)
	for i := range units {
		units[i] = order.Uint16(doc[2*i:])
	}
	text := strings.TrimPrefix(string(utf16.Decode(units)), "\ufeff")
	if strings.ContainsRune(text, utf8.RuneError) {
		return nil, fmt.Errorf("the metadata are no valid UTF-16; save the document as UTF-8")
	}
	return []byte(text[len(declarationOf.FindString(text)):]), nil
}

// fromLatin1 makes UTF-8 of ISO 8859-1, whose bytes are the first characters of Unicode.
func fromLatin1(doc []byte) []byte {
	out := make([]byte, 0, len(doc)+len(doc)/8)
	for _, c := range doc {
		out = utf8.AppendRune(out, rune(c))
	}
	return out
}
