package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/idpsync/idpsync/worker/rules/confusable"
)

// NameSkeleton returns what names that look alike have in common (UTS 39 section 4). It is text to be compared and never
// shown; that of a long name is a digest of it, since a skeleton may be many times as long as the name.
func NameSkeleton(name string) string {
	s := strings.Join(strings.Fields(confusable.Skeleton(name)), " ") // spaces at the ends are not seen, nor how many there are
	if len(s) > maxSkeleton {
		sum := sha256.Sum256([]byte(s))
		return hex.EncodeToString(sum[:])
	}
	return s
}

// maxSkeleton bounds a stored skeleton, in bytes: it is part of a unique key.
const maxSkeleton = 512

// checkScripts refuses text that mixes scripts as no language does, and characters that only stand for others, since both
// serve to look like somebody else (UTS 39 section 5.2, the highly restrictive level). The labels of a domain are looked
// at one by one; ASCII needs no look.
func checkScripts(text, domain string) error {
	if scripts := confusable.Mixes(text); scripts != "" {
		return errors.New("mixes " + scripts)
	}
	if norm.NFKC.String(text) != text {
		return errors.New("holds characters that only stand for others, such as full-width letters")
	}
	if !strings.Contains(domain, "xn--") {
		return nil
	}
	for label := range strings.SplitSeq(domain, ".") {
		shown, err := idna.Display.ToUnicode(label)
		if err != nil {
			return errors.New("has a domain that cannot be shown")
		}
		if scripts := confusable.Mixes(shown); scripts != "" {
			return errors.New("has a domain that mixes " + scripts)
		}
	}
	return nil
}

// NameKey returns the form in which identity names are compared within a tenant: compatibility-normalised, so that
// full-width twins meet, and case-folded. The name itself is kept as given.
func NameKey(name string) string {
	return norm.NFKC.String(cases.Fold().String(norm.NFKC.String(name)))
}
