package strictyaml

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Fault is one thing that is wrong with a document, and where.
type Fault struct {
	File    string
	Line    int // from 1; 0: the file as a whole
	Column  int // from 1, in characters
	Message string
	Hint    string // what to write instead; optional
}

// String renders the fault as file:line:column: message (hint).
func (f Fault) String() string {
	s := f.File
	if f.Line > 0 {
		s = fmt.Sprintf("%s:%d:%d", f.File, f.Line, f.Column)
	}
	s += ": " + f.Message
	if f.Hint != "" {
		s += " (" + f.Hint + ")"
	}
	return s
}

// Faults is every fault of a document, by position.
type Faults []Fault

// Error lists all faults, one to a line.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.String()
	}
	return strings.Join(lines, "\n")
}

// sorted returns the faults by file and position, in the order of discovery where these are equal.
func (f Faults) sorted() Faults {
	out := slices.Clone(f)
	slices.SortStableFunc(out, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return out
}

// Closest returns the candidate that word is most likely a slip of, or "" when none is near.
func Closest(word string, candidates []string) string {
	best, least := "", len([]rune(word))/3+2
	for _, c := range candidates {
		if strings.EqualFold(c, word) || strings.EqualFold(strings.ReplaceAll(word, "-", "_"), c) {
			return c
		}
		if d := distance(strings.ToLower(word), strings.ToLower(c)); d < least {
			best, least = c, d
		}
	}
	return best
}

// DidYouMean is the hint for a word that is not among the candidates.
func DidYouMean(word string, candidates []string) string {
	if c := Closest(word, candidates); c != "" {
		return fmt.Sprintf("did you mean %q?", c)
	}
	return "known: " + strings.Join(candidates, ", ")
}

// distance counts the edits between two words (Levenshtein), up to a length that a person may have meant.
func distance(a, b string) int {
	ra, rb := []rune(a), []rune(b)
	if len(ra) > 64 || len(rb) > 64 {
		return 64
	}
	row := make([]int, len(rb)+1)
	for j := range row {
		row[j] = j
	}
	for i, x := range ra {
		diagonal := row[0]
		row[0] = i + 1
		for j, y := range rb {
			cost := 1
			if x == y {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(rb)]
}
