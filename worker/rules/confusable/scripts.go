package confusable

import (
	"cmp"
	"math/bits"
	"slices"
	"unicode/utf8"
)

// A scriptSet is a set of scripts, and of writing systems that consist of several; scriptNames names its bits.
type scriptSet [3]uint64

// A scriptSpan says that the characters from lo to hi have the scripts scriptSets[set].
type scriptSpan struct {
	lo, hi rune
	set    uint16
}

func (s scriptSet) and(t scriptSet) scriptSet {
	return scriptSet{s[0] & t[0], s[1] & t[1], s[2] & t[2]}
}
func (s scriptSet) empty() bool      { return s == scriptSet{} }
func (s scriptSet) has(bit int) bool { return s[bit/64]&(1<<(bit%64)) != 0 }

// besideLatin reports whether the set has a writing system that Latin letters may stand in.
func (s scriptSet) besideLatin() bool {
	return s.has(japanese) || s.has(hanWithBopomofo) || s.has(korean)
}

// name returns the name of the set's first script.
func (s scriptSet) name() string {
	for i, word := range s {
		if word != 0 {
			return scriptNames[i*64+bits.TrailingZeros64(word)]
		}
	}
	return ""
}

// HighlyRestrictive reports whether the scripts and digits of s are those of one writing system: see Mixes.
func HighlyRestrictive(s string) bool { return Mixes(s) == "" }

// Mixes says in a few words what s mixes beyond the highly restrictive level of UTS #39 section 5.2, such as "Cyrillic and
// Latin letters", and returns "" when it does not. That level permits ASCII, one script, and Latin together with those of
// Japanese, of Korean, or Han with Bopomofo. Characters that many scripts share, such as digits, spaces and punctuation,
// count for all of them, those that a few share count for these (Script_Extensions). Digits of two decimal systems are
// mixed too (section 5.3).
//
// It judges one identifier. An address is several: the local part and each label of the domain in its Unicode form. What
// is shown beside an identifier, such as a person's name, may well be in two scripts.
func Mixes(s string) string {
	i := 0
	for i < len(s) && s[i] < utf8.RuneSelf {
		i++
	}
	if i == len(s) {
		return ""
	}
	whole, rest := scriptSets[0], scriptSets[0] // of all characters, and of those that are not Latin
	var zero, digit rune
	for _, r := range s {
		if z := zeroOf(r); z != 0 && zero == 0 {
			zero, digit = z, r
		} else if z != 0 && z != zero {
			return "digits of two number systems (" + string(digit) + " and " + string(r) + ")"
		}
		set := scriptsOf(r)
		whole = whole.and(set)
		if !set.has(latin) {
			rest = rest.and(set)
		}
	}
	if !whole.empty() || rest.besideLatin() {
		return ""
	}
	return mixture(s)
}

// mixture names two scripts that s must not mix. s is known to mix some.
func mixture(s string) string {
	var seen []scriptSet
	for _, r := range s {
		set := scriptsOf(r)
		if slices.Contains(seen, set) {
			continue
		}
		for _, before := range seen {
			covered := before.has(latin) && set.besideLatin() || set.has(latin) && before.besideLatin()
			if before.and(set).empty() && !covered {
				first, second := before.name(), set.name()
				if second < first {
					first, second = second, first
				}
				return first + " and " + second + " letters"
			}
		}
		seen = append(seen, set)
	}
	return "letters of several scripts"
}

func scriptsOf(r rune) scriptSet {
	i, found := slices.BinarySearchFunc(scriptSpans[:], r, func(span scriptSpan, r rune) int { return cmp.Compare(span.lo, r) })
	if !found {
		i--
	}
	if i < 0 || r > scriptSpans[i].hi {
		return scriptSet{unknown / 64: 1 << (unknown % 64)}
	}
	return scriptSets[scriptSpans[i].set]
}

// zeroOf returns the zero of the decimal system that r is a digit of, or 0.
func zeroOf(r rune) rune {
	i, found := slices.BinarySearch(zeros[:], r)
	if found {
		return zeros[i]
	}
	if i > 0 && r <= zeros[i-1]+9 {
		return zeros[i-1]
	}
	return 0
}
