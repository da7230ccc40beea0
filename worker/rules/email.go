package rules

import (
	"errors"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Longest parts of an address: RFC 5321 sections 4.5.3.1.1, 4.5.3.1.2 and 4.5.3.1.3 (a path less its brackets).
const (
	maxLocalPart = 64
	maxDomain    = 253
	maxEmail     = 254
)

// An Email is an e-mail address with the forms in which it is compared.
type Email struct {
	Given  string // as the source wrote it
	Key    string // canonical form, for comparison only: local part NFC and case-folded, domain in ASCII
	Domain string // canonical domain
}

// ParseEmail reads a bare address (RFC 5322 addr-spec). Display names, quoted local parts, address literals, domains
// without a dot and invisible characters are refused, as they serve to disguise an address rather than to reach it.
func ParseEmail(s string) (Email, error) {
	switch {
	case s == "":
		return Email{}, errors.New("must not be empty")
	case len(s) > maxEmail*2 || utf8.RuneCountInString(s) > maxEmail:
		return Email{}, errors.New("is longer than 254 characters")
	case !utf8.ValidString(s):
		return Email{}, errors.New("is not valid UTF-8")
	}
	if t := strings.TrimRightFunc(s, unicode.IsSpace); t != s {
		return Email{}, errors.New("has a space at its end")
	}
	for _, r := range s {
		if !unicode.IsGraphic(r) || unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) {
			return Email{}, errors.New("holds a space or an invisible character")
		}
	}
	at := strings.LastIndexByte(s, '@')
	if at <= 0 || at == len(s)-1 {
		return Email{}, errors.New("is not an address of the form local@domain")
	}
	a, err := mail.ParseAddress(s)
	if err != nil || a.Name != "" || a.Address != s {
		return Email{}, errors.New("is not a bare e-mail address")
	}
	local, domain := s[:at], s[at+1:]
	if strings.ContainsAny(local, "\"@") {
		return Email{}, errors.New("has a quoted local part")
	}
	if len(local) > maxLocalPart {
		return Email{}, errors.New("has a local part longer than 64 octets")
	}
	domain, err = CanonicalDomain(domain)
	if err != nil {
		return Email{}, err
	}
	return Email{Given: s, Key: foldLocal(local) + "@" + domain, Domain: domain}, nil
}

// CanonicalDomain returns the ASCII form of a domain (IDNA2008 with the UTS 46 mapping), lower-case. It needs at least
// one dot; address literals, empty labels and underscores are refused.
func CanonicalDomain(domain string) (string, error) {
	ascii := domain
	if !plainDomain(domain) {
		var err error
		if ascii, err = idna.Lookup.ToASCII(norm.NFC.String(domain)); err != nil {
			return "", errors.New("has a domain that is not a valid host name")
		}
	}
	if len(ascii) > maxDomain {
		return "", errors.New("has a domain longer than 253 octets")
	}
	labels := strings.Split(ascii, ".")
	if len(labels) < 2 {
		return "", errors.New("has a domain without a dot")
	}
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return "", errors.New("has a domain with an empty or ill-formed label")
		}
	}
	if top := labels[len(labels)-1]; strings.Trim(top, "0123456789") == "" {
		return "", errors.New("has an address in place of a domain")
	}
	return ascii, nil
}

// plainDomain reports whether domain is in its canonical form already, which spares the mapping in most cases. Labels
// with hyphens in the third and fourth place go through IDNA, which decodes and checks them (RFC 5891 section 4.2.3.1).
func plainDomain(domain string) bool {
	for i := 0; i < len(domain); i++ {
		c := domain[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' {
			return false
		}
	}
	return !strings.Contains(domain, "--")
}

func foldLocal(local string) string {
	ascii := true
	for i := 0; i < len(local); i++ {
		if local[i] >= utf8.RuneSelf {
			ascii = false
			break
		}
	}
	if ascii {
		return strings.ToLower(local)
	}
	return fold(local)
}

// sameMailbox reports whether two addresses with one Key are certain to be one mailbox. Folding is made to keep twins
// apart from each other's name, and so takes letters for one that mail systems need not: K is also the Kelvin sign, s the
// long s, ss the sharp s. Whoever owns the one address must not be given what belongs to the other, so here letters
// outside of ASCII never stand for those inside.
func sameMailbox(a, b string) bool {
	x, y := composed(localPart(a)), composed(localPart(b))
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		if (x[i] < utf8.RuneSelf) != (y[i] < utf8.RuneSelf) || unicode.ToLower(x[i]) != unicode.ToLower(y[i]) {
			return false
		}
	}
	return true
}

// composed is NFC, but for the letters that it would turn into one of ASCII, which stay as they are.
func composed(s string) []rune {
	var out []rune
	for {
		i := strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf && len(norm.NFC.String(string(r))) == 1 })
		if i < 0 {
			return append(out, []rune(norm.NFC.String(s))...)
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		out = append(append(out, []rune(norm.NFC.String(s[:i]))...), r)
		s = s[i+size:]
	}
}

func localPart(address string) string { return address[:max(strings.LastIndexByte(address, '@'), 0)] }

// fold returns the form in which names are compared: NFC, case-folded, and NFC again, as folding may denormalise.
func fold(s string) string {
	return norm.NFC.String(cases.Fold().String(norm.NFC.String(s)))
}
