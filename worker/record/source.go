package record

import (
	"bytes"
	"crypto/sha256"
	"strconv"
	"strings"
	"time"

	"github.com/idpsync/idpsync/providers"
)

// headerSource is what the broker adds to a message that a stream sources from another stream, in nats-server 2.10 and later:
// stream, sequence, filter and transform of the source, the message's subject there, and since 2.14 the stream's identity,
// with spaces between them.
const headerSource = "Nats-Stream-Source"

// A Source is the message of another stream that a stored message was copied from. Whoever publishes can claim one: the broker
// refuses the header of a publisher, but overlooks it in a line that follows a bare line feed. So it is a hint where to look.
type Source struct {
	Stream   string
	Domain   string // as [DomainHash] names it; "" for a stream of the same domain
	Sequence uint64
	Subject  string // that the message has there
}

// Sourced reports whether a stored message has a header of the broker's that says so, whether it can be read or not.
func Sourced(h providers.Header) bool { return len(h[headerSource]) > 0 }

// ParseSource reads where a stored message was copied from. Only the broker's own spelling counts: senders may write others.
func ParseSource(h providers.Header) (Source, bool) {
	values := h[headerSource]
	if len(values) != 1 {
		return Source{}, false
	}
	fields := strings.Split(values[0], " ")
	if len(fields) < 5 {
		return Source{}, false
	}
	names := strings.Split(fields[0], ":") // the stream, and for another domain its hash; a named consumer follows as C=…
	sequence, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil || sequence == 0 || names[0] == "" {
		return Source{}, false
	}
	s := Source{Stream: names[0], Sequence: sequence, Subject: fields[4]}
	if len(names) > 1 && !strings.HasPrefix(names[1], "C=") {
		s.Domain = names[1]
	}
	return s, true
}

// String is stream and sequence.
func (s Source) String() string { return s.Stream + "/" + strconv.FormatUint(s.Sequence, 10) }

// CopiedFrom reports whether a message with this subject, these headers and this body in the stream that was sourced is the one
// that was copied, with the given headers and body. Headers that the broker takes off when it copies do not count.
func (s Source) CopiedFrom(m Stored, header providers.Header, body []byte) bool {
	return m.Sequence == s.Sequence && m.Subject == s.Subject && bytes.Equal(m.Data, body) && sameHeaders(m.Header, header)
}

func sameHeaders(a, b providers.Header) bool {
	n := 0
	for name, values := range a {
		if takenOff(name) {
			continue
		}
		n++
		others, ok := b[name]
		if !ok || len(others) != len(values) {
			return false
		}
		for i := range values {
			if values[i] != others[i] {
				return false
			}
		}
	}
	for name := range b {
		if !takenOff(name) {
			n--
		}
	}
	return n == 0
}

// takenOff reports whether the broker takes a header off when it copies a message.
func takenOff(name string) bool {
	return name == headerSource || strings.HasPrefix(name, "Nats-Expected-") || strings.HasPrefix(name, "Nats-Batch-")
}

// UsedBy names the message in the cache of used ids, with when it was stored: sequences may be given out again.
func (s Source) UsedBy(domain string, at time.Time) string {
	return "sourced/" + domain + "/" + s.String() + "/" + strconv.FormatInt(at.UnixNano(), 10)
}

// DomainHash is what the broker writes for a JetStream domain into the header of what it sources from there: eight characters
// that it makes of the prefix of the domain's API.
func DomainHash(domain string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	sum := sha256.Sum256([]byte("$JS." + domain + ".API"))
	hash := make([]byte, 8)
	for i := range hash {
		hash[i] = digits[int(sum[i])%len(digits)]
	}
	return string(hash)
}
