package wire

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/idpsync/idpsync/providers"
)

// ReasonDuplicate is the reason when two names of an object are the same, or are the same but for their case.
const ReasonDuplicate = "duplicate_claim"

// Claims reads a JSON object whose members are not all known, such as the payload of an ID Token. Values are nil,
// bool, string, int64 (a number without fraction or exponent that fits), float64 (any other number), []any and
// map[string]any.
//
// No name may appear twice at any depth, and no two names of the outermost object may be equal under Unicode simple
// case folding, since some decoders take `Sub` for `sub`. Both faults have the reason [ReasonDuplicate].
func Claims(data []byte, limits Limits) (map[string]any, error) {
	return readObject(data, limits, 1, nil)
}

// ClaimsRead is Claims where only some names of the outermost object are read by anybody: those, in their form under [Fold],
// for which read is true. Others may differ in case only, as it makes no difference.
func ClaimsRead(data []byte, limits Limits, read func(folded string) bool) (map[string]any, error) {
	return readObject(data, limits, 1, read)
}

// Resource is Claims for formats whose attribute names are case-insensitive at every depth (RFC 7643 section 2.1): two
// names that are equal under folding are refused at any depth.
func Resource(data []byte, limits Limits) (map[string]any, error) {
	return readObject(data, limits, 1<<30, nil)
}

// readObject refuses names that are equal under folding in objects less than foldDepth levels deep.
func readObject(data []byte, limits Limits, foldDepth int, read func(string) bool) (map[string]any, error) {
	if err := precheck(data, limits, true); err != nil {
		return nil, err
	}
	// Duplicates are found by the maps themselves, so the decoder need not look for them as well.
	r := reader{dec: jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowDuplicateNames(true)), foldDepth: foldDepth, read: read}
	tok, err := r.dec.ReadToken()
	if err != nil {
		return nil, readFault(err)
	}
	if tok.Kind() != '{' {
		return nil, malformed("", "must be a JSON object")
	}
	m, err := r.object(0)
	if err != nil {
		return nil, err
	}
	if _, err := r.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, malformed("", "goes on after its end")
	}
	return m, nil
}

func readFault(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return malformed("", "ends too early")
	}
	return explain(err)
}

type reader struct {
	dec       *jsontext.Decoder
	foldDepth int
	read      func(folded string) bool // nil: every name is read
}

// object reads what follows an opening brace. Depth is bounded by precheck.
func (r *reader) object(depth int) (map[string]any, error) {
	m := make(map[string]any, 16)
	fold := false
	for {
		tok, err := r.dec.ReadToken()
		if err != nil {
			return nil, readFault(err)
		}
		if tok.Kind() == '}' {
			break
		}
		name := tok.String()
		if _, twice := m[name]; twice {
			return nil, r.duplicate("appears twice")
		}
		fold = fold || !lowerASCII(name)
		v, err := r.value(depth)
		if err != nil {
			return nil, err
		}
		m[name] = v
	}
	// Names in plain lower case can only meet one that is not, so most objects need no second look.
	if fold && depth < r.foldDepth {
		seen := make(map[string]struct{}, len(m))
		for name := range m {
			f := Fold(name)
			if _, twice := seen[f]; twice && (r.read == nil || r.read(f)) {
				return nil, &providers.Error{
					Class: providers.ErrMalformed, Reason: ReasonDuplicate, Field: printable(f),
					Message: "two members are called " + printable(f) + ", in different case",
				}
			}
			seen[f] = struct{}{}
		}
	}
	return m, nil
}

func (r *reader) array(depth int) ([]any, error) {
	list := []any{}
	for r.dec.PeekKind() != ']' {
		v, err := r.value(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return nil, readFault(err)
	}
	return list, nil
}

func (r *reader) value(depth int) (any, error) {
	tok, err := r.dec.ReadToken()
	if err != nil {
		return nil, readFault(err)
	}
	switch tok.Kind() {
	case 'n':
		return nil, nil
	case 't':
		return true, nil
	case 'f':
		return false, nil
	case '"':
		return tok.String(), nil
	case '0':
		return r.number(tok.String())
	case '{':
		return r.object(depth + 1)
	case '[':
		return r.array(depth + 1)
	}
	return nil, malformed(path(r.dec.StackPointer()), "is not a JSON value")
}

func (r *reader) number(s string) (any, error) {
	if !strings.ContainsAny(s, ".eE") {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return n, nil
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return nil, malformed(path(r.dec.StackPointer()), "is a number out of range")
	}
	return f, nil
}

func (r *reader) duplicate(message string) error {
	field := path(r.dec.StackPointer())
	return &providers.Error{Class: providers.ErrMalformed, Reason: ReasonDuplicate, Field: field, Message: field + " " + message}
}

// Fold returns the form of s in which two strings are equal if and only if strings.EqualFold says so: every rune is
// replaced by the least rune of its orbit under Unicode simple case folding.
func Fold(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		if 'A' <= least && least <= 'Z' {
			least += 'a' - 'A' // reads better in a message, and is as unique
		}
		return least
	}, s)
}

func lowerASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; 'A' <= c && c <= 'Z' || c >= 0x80 {
			return false
		}
	}
	return true
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) }
