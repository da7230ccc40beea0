package kit

import (
	"fmt"
	"net"
	"strings"
	"unicode"
)

// Off is the address of a listener that is not wanted.
const Off = "off"

// MaxSent bounds what is sent or read as one message, in bytes.
const MaxSent = 64 << 20

// Printable replaces what could move a terminal's cursor or hide text.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return '·'
	}, s)
}

// Count renders a number of things: 1 fault, 2 faults.
func Count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	if stem, ok := strings.CutSuffix(thing, "y"); ok {
		thing = stem + "ie"
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// Loopback reports whether a host is this machine alone.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
