package record

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/idpsync/idpsync/providers"
)

// deadLetterCarried says how many bytes at the beginning of a sealed body are the event's original headers.
const deadLetterCarried = DeadLetterPrefix + "Headers-In-Body"

// maxOpenHeaders bounds the original headers that a dead letter has as headers of its own, in bytes. The broker stores
// no message with more than 64 KiB of headers, a prefix before each name makes many small ones several times as large,
// and sealing adds to the rest.
const maxOpenHeaders = 16 << 10

// headersTravel reports whether the headers of an event come back from a stream exactly as they are, when they are
// published again as headers of a dead letter. Senders in other languages write names that our client does not, and
// values that it trims; either would keep the event from becoming a dead letter that its signature holds for.
func headersTravel(h providers.Header) bool {
	size := 0
	for name, values := range h {
		if !headerName(name) {
			return false
		}
		for _, v := range values {
			if onWire(v) != v {
				return false
			}
			size += len(DeadLetterOriginalPrefix) + len(name) + len(v) + len(": \r\n")
		}
	}
	return size <= maxOpenHeaders
}

// headerName reports whether a client writes a header of this name: a token of RFC 9110 section 5.6.2.
func headerName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return name != ""
}

// onWire is what is read of a header value after it was written.
func onWire(v string) string { return strings.Trim(OneLine(v), " \t") }

// packHeaders writes headers so that any byte of them comes back: netstrings of a name, the number of its values, and
// these.
func packHeaders(h providers.Header) []byte {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	var b []byte
	put := func(s string) {
		b = strconv.AppendInt(b, int64(len(s)), 10)
		b = append(append(b, ':'), s...)
	}
	for _, name := range names {
		put(name)
		put(strconv.Itoa(len(h[name])))
		for _, v := range h[name] {
			put(v)
		}
	}
	return b
}

var errCarried = errors.New("its original headers cannot be read")

// unpackHeaders reads what packHeaders wrote.
func unpackHeaders(packed string) (providers.Header, error) {
	h := providers.Header{}
	get := func() (string, bool) {
		length, rest, ok := strings.Cut(packed, ":")
		n, err := strconv.ParseUint(length, 10, 31)
		if !ok || err != nil || int(n) > len(rest) {
			return "", false
		}
		packed = rest[n:]
		return rest[:n], true
	}
	for packed != "" {
		name, ok := get()
		count, also := get()
		n, err := strconv.ParseUint(count, 10, 31)
		if !ok || !also || err != nil {
			return nil, errCarried
		}
		values := []string{}
		for range n {
			v, ok := get()
			if !ok {
				return nil, errCarried
			}
			values = append(values, v)
		}
		h[name] = values
	}
	return h, nil
}

// carriedHeaders takes the original headers off the opened body of a dead letter, if it has them there.
func carriedHeaders(header providers.Header, body []byte) (providers.Header, []byte, error) {
	size := header.Get(deadLetterCarried)
	if size == "" {
		return nil, body, nil
	}
	n, err := strconv.ParseUint(size, 10, 31)
	if err != nil || int(n) > len(body) {
		return nil, nil, errCarried
	}
	h, err := unpackHeaders(string(body[:n]))
	return h, body[n:], err
}
