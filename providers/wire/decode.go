package wire

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/idpsync/idpsync/providers"
)

// Limits bounds a document before it is decoded. A field that is zero has the value of [DefaultLimits].
type Limits struct {
	Size  int // bytes
	Depth int // objects and arrays within each other
}

// DefaultLimits holds any document that an event of ours may be: a user with the largest avatar, or a login.
var DefaultLimits = Limits{Size: 1 << 20, Depth: 32}

// ReasonJSON is the reason of every error of this package, unless a function says otherwise.
const ReasonJSON = "json"

// Decode reads one document of ours into v, a pointer to a struct with json tags, strictly: see the package comment.
// A null is refused wherever it stands, since none of our documents gives it a meaning.
func Decode(data []byte, v any, limits Limits) error {
	if err := precheck(data, limits, false); err != nil {
		return err
	}
	if err := json.Unmarshal(data, v, json.RejectUnknownMembers(true)); err != nil {
		return explain(err)
	}
	return nil
}

// DecodeOpen is Decode for documents of other people's making, which may hold more than v knows: unknown members are
// passed over, and null leaves a field as it is. Duplicate names and bad UTF-8 are refused, names match exactly.
func DecodeOpen(data []byte, v any, limits Limits) error {
	if err := precheck(data, limits, true); err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return explain(err)
	}
	return nil
}

// precheck bounds size and depth, and finds nulls, in one pass that allocates nothing. It does not judge the grammar;
// what it counts is right for every document that the decoder accepts afterwards.
func precheck(data []byte, limits Limits, nulls bool) error {
	size, depth := limits.Size, limits.Depth
	if size <= 0 {
		size = DefaultLimits.Size
	}
	if depth <= 0 {
		depth = DefaultLimits.Depth
	}
	if len(data) > size {
		return malformed("", "is larger than "+strconv.Itoa(size)+" bytes")
	}
	level := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			end := stringEnd(data, i)
			if end < 0 {
				return nil // unterminated: the decoder says so, with the path
			}
			i = end
		case '{', '[':
			if level++; level > depth {
				return malformed("", "is nested deeper than "+strconv.Itoa(depth)+" levels")
			}
		case '}', ']':
			level--
		case 'n':
			if !nulls && bytes.HasPrefix(data[i:], []byte("null")) {
				return nullFault(data)
			}
		}
	}
	return nil
}

// stringEnd returns the index of the quote that closes the string opened at i, or -1.
func stringEnd(data []byte, i int) int {
	for i++; ; i++ {
		j := bytes.IndexByte(data[i:], '"')
		if j < 0 {
			return -1
		}
		i += j
		k := i - 1
		for data[k] == '\\' {
			k--
		}
		if (i-k)%2 == 1 { // an even number of backslashes before it
			return i
		}
	}
}

// nullFault names the path of the first null, or the first fault of the grammar before it.
func nullFault(data []byte) error {
	dec := jsontext.NewDecoder(bytes.NewBuffer(data))
	for {
		tok, err := dec.ReadToken()
		if err != nil {
			return explain(err)
		}
		if tok.Kind() == 'n' {
			return malformed(path(dec.StackPointer()), "is null; leave the member out instead")
		}
	}
}

// explain turns an error of the JSON library into one that quotes no value.
func explain(err error) error {
	if syn, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		field := path(syn.JSONPointer)
		switch {
		case errors.Is(err, jsontext.ErrDuplicateName):
			return malformed(field, "appears twice")
		case strings.Contains(syn.Err.Error(), "UTF-8"), strings.Contains(syn.Err.Error(), "surrogate"):
			return malformed(field, "is not valid UTF-8")
		case strings.Contains(syn.Err.Error(), "after top-level value"):
			return malformed("", "goes on after its end")
		}
		return malformed(field, "is not valid JSON, near byte "+strconv.FormatInt(syn.ByteOffset, 10))
	}
	if sem, ok := errors.AsType[*json.SemanticError](err); ok {
		field := path(sem.JSONPointer)
		if errors.Is(err, json.ErrUnknownName) {
			return malformed(field, "is not a known member; names are case-sensitive")
		}
		return malformed(field, "must not be "+kindName(sem.JSONKind))
	}
	return malformed("", "cannot be read as JSON")
}

func kindName(k jsontext.Kind) string {
	switch k {
	case '{':
		return "an object here"
	case '[':
		return "an array here"
	case '"':
		return "a string of this form here"
	case '0':
		return "a number here"
	case 't', 'f':
		return "a boolean here"
	case 'n':
		return "null here"
	}
	return "of this type"
}

func malformed(field, message string) *providers.Error {
	subject := field
	if subject == "" {
		subject = "the document"
	}
	return &providers.Error{Class: providers.ErrMalformed, Reason: ReasonJSON, Field: field, Message: subject + " " + message}
}

// path writes a JSON pointer as people do: organizations[1].roleId. Names are the sender's, so they are cut to a
// bounded length and freed of what does not print.
func path(p jsontext.Pointer) string {
	const most = 128
	var b strings.Builder
	for name := range p.Tokens() {
		if _, err := strconv.ParseUint(name, 10, 32); err == nil && b.Len() > 0 {
			b.WriteString("[" + name + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(printable(name))
		if b.Len() > most {
			return b.String()[:most] + "…"
		}
	}
	return b.String()
}

func printable(name string) string {
	const most = 64
	var b strings.Builder
	for _, r := range name {
		if b.Len() >= most {
			b.WriteString("…")
			break
		}
		if r > unicode.MaxASCII || !unicode.IsPrint(r) {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}
