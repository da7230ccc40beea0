package confusable

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// A prototype says that the character from looks like n bytes of prototypeText, which begin at the offset to.
type prototype struct {
	from rune
	to   uint16
	n    uint8
}

// Skeleton returns what a name looks like: names with one skeleton are confusable (UTS #39 section 4), whether they are
// equal or not. It is for comparing alone, never to be shown, and can be many times longer than the name.
// Skeleton(Skeleton(s)) is Skeleton(s).
//
// The standard's skeleton tells capital letters from small ones. Names are compared case-folded, so this one must not,
// and folding once is not enough: a zero looks like a capital O, whose folded form is the o that looks like itself. The
// steps (NFD, leave out what is not shown, replace each character by what it looks like, NFD; then fold the case and
// NFKC) are therefore repeated until nothing changes.
//
// Both a name as it was given and its folded form may be passed. The name as given tells more, since some letters look
// alike as capitals alone: TOM in Cyrillic capitals has the skeleton of tom, but small Cyrillic letters have another. That
// is why folding does not come before the first look.
//
// A capital I looks like a small l. Were it always taken for one, Neil and NELL would meet, as NEIL and nell do not look
// alike but fold. So it is one only within a word that has small letters beside it, where names rarely have a capital:
// right after a small letter, or between a letter and a small one. paypaI has the skeleton of paypal, and AIice that of
// Alice. What looks like a capital I is treated as one.
func Skeleton(s string) string {
	if skeleton, ok := skeletonOfASCII(s); ok {
		return skeleton
	}
	// Two rounds are the rule; no single character needs more than four.
	for range 16 {
		next := fold(look(s))
		if next == s {
			break
		}
		s = next
	}
	return s
}

// fold is NFKC of the case-folded string. The folded form of Cherokee letters is the capital one, but cases.Fold gives a
// capital letter its small one all the same, so that the two never meet; as small letters they do.
func fold(s string) string {
	return norm.NFKC.String(strings.ToLower(cases.Fold().String(s)))
}

// look is the skeleton as UTS #39 defines it, but for the capital I.
func look(s string) string {
	var out strings.Builder
	out.Grow(len(s) + 8)
	var before rune // the character before, without marks
	runes := []rune(norm.NFD.String(s))
	for i, r := range runes {
		if isIgnorable(r) || r == '\u0307' && (before == 'i' || before == 'j') { // a second dot, which is drawn on the first
			continue
		}
		p := prototypeOf(r)
		switch {
		case p == "l" && unicode.IsUpper(r) && !withinWord(before, following(runes[i+1:])):
			out.WriteByte('i')
		case p != "":
			out.WriteString(p)
		default:
			out.WriteRune(r)
		}
		if !unicode.Is(unicode.Mn, r) {
			before = r
		}
	}
	return norm.NFD.String(out.String())
}

// withinWord reports whether a capital I between two characters is taken for a small l.
func withinWord(before, after rune) bool {
	return unicode.IsLower(before) || unicode.IsLetter(before) && unicode.IsLower(after)
}

// following returns the first character that is shown and no mark, or 0.
func following(runes []rune) rune {
	for _, r := range runes {
		if !isIgnorable(r) && !unicode.Is(unicode.Mn, r) {
			return r
		}
	}
	return 0
}

// skeletonOfASCII does without tables what Skeleton does. It leaves a name to them that has letters of other scripts, or
// the percent sign, which looks like three characters that are none of ASCII.
func skeletonOfASCII(s string) (string, bool) {
	same := true
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= utf8.RuneSelf || c == '%':
			return "", false
		case 'A' <= c && c <= 'Z' || c == 'm' || c == '0' || c == '1' || c == '|' || c == '"' || c == '`':
			same = false
		}
	}
	if same {
		return s, true
	}
	out := make([]byte, 0, len(s)+8)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case 'm', 'M':
			out = append(out, "rn"...)
		case '0':
			out = append(out, 'o')
		case '1', '|':
			out = append(out, 'l')
		case 'I':
			var before, after rune
			if i > 0 {
				before = rune(s[i-1])
			}
			if i+1 < len(s) {
				after = rune(s[i+1])
			}
			if withinWord(before, after) {
				out = append(out, 'l')
			} else {
				out = append(out, 'i')
			}
		case '"':
			out = append(out, "''"...)
		case '`':
			out = append(out, '\'')
		default:
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			out = append(out, c)
		}
	}
	return string(out), true
}

func prototypeOf(r rune) string {
	i, found := slices.BinarySearchFunc(prototypes[:], r, func(p prototype, r rune) int { return cmp.Compare(p.from, r) })
	if !found {
		return ""
	}
	p := prototypes[i]
	return prototypeText[p.to : int(p.to)+int(p.n)]
}

// isIgnorable reports whether a character has the property Default_Ignorable_Code_Point.
func isIgnorable(r rune) bool {
	i, found := slices.BinarySearchFunc(ignorable[:], r, func(span [2]rune, r rune) int { return cmp.Compare(span[0], r) })
	return found || i > 0 && r <= ignorable[i-1][1]
}
