package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// formatTime writes a time as RFC 3339 in UTC, to the microsecond that both databases keep.
func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z07:00") }

// Marshal encodes a value of our own, which cannot fail, without the escapes that JSON does not ask for.
func Marshal(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("marshal %T: %v", v, err))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// percentEncode writes what the CloudEvents HTTP and NATS bindings ask for in header values: printable ASCII, the rest
// and the per cent sign percent-encoded.
func percentEncode(s string) string {
	plain := true
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '%' || s[i] == '"' {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '%' || c == '"' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// OneLine makes a text fit for a header.
func OneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' || r == 0 {
			return ' '
		}
		return r
	}, s)
}
