package policy

import (
	"strings"
	"unicode/utf8"
)

// A position is a place in a file: line and column from 1, the column in characters.
type position struct{ line, column int }

// after returns the position behind text, when text begins at p.
func (p position) after(text string) position {
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		return position{p.line + strings.Count(text, "\n"), utf8.RuneCountInString(text[i+1:]) + 1}
	}
	return position{p.line, p.column + utf8.RuneCountInString(text)}
}

// at returns the position of a place that is p when counted from the beginning of a text that itself begins at start.
func (p position) at(start position) position {
	if p.line <= 1 {
		return position{start.line, start.column + p.column - 1}
	}
	return position{start.line + p.line - 1, p.column}
}

// A statement is one policy of a file as it is written, from its first token to its semicolon.
type statement struct {
	text  string
	code  string // text with comments and the insides of strings blanked, byte for byte as long
	start position
	depth int // of the deepest bracket
}

// statements cuts a file into its policies, so that a fault in one does not hide those of the others. Only strings and
// comments can hold a semicolon that does not end a policy.
func statements(text string) []statement {
	code := blank(text)
	var out []statement
	at := position{1, 1}
	for from := 0; from < len(code); {
		to := len(code)
		if i := strings.IndexByte(code[from:], ';'); i >= 0 {
			to = from + i + 1
		}
		lead := len(code[from:to]) - len(strings.TrimLeft(code[from:to], " \t\r\n"))
		at = at.after(text[from : from+lead])
		from += lead
		if from < to {
			body := strings.TrimRight(code[from:to], " \t\r\n")
			out = append(out, statement{
				text: text[from : from+len(body)], code: body, start: at, depth: depth(body),
			})
			at = at.after(text[from:to])
		}
		from = to
	}
	return out
}

// blank replaces comments and the insides of strings by spaces. Line breaks stay, and so does the length in bytes.
func blank(text string) string {
	b := []byte(text)
	wipe := func(from, to int) {
		for i := from; i < to; i++ {
			if b[i] != '\n' {
				b[i] = ' '
			}
		}
	}
	for i := 0; i < len(text); {
		switch {
		case strings.HasPrefix(text[i:], "//"):
			end := lengthTo(text[i:], "\n")
			wipe(i, i+end)
			i += end
		case strings.HasPrefix(text[i:], "/*"):
			end := 2 + lengthTo(text[i+2:], "*/")
			end = min(end+2, len(text)-i)
			wipe(i, i+end)
			i += end
		case text[i] == '"':
			j := i + 1
			for j < len(text) && text[j] != '"' && text[j] != '\n' {
				if text[j] == '\\' && j+1 < len(text) && text[j+1] != '\n' {
					j++
				}
				j++
			}
			wipe(i+1, min(j, len(text)))
			i = j + 1
		default:
			i++
		}
	}
	return string(b)
}

// lengthTo returns how far s goes before end, or its whole length.
func lengthTo(s, end string) int {
	if i := strings.Index(s, end); i >= 0 {
		return i
	}
	return len(s)
}

// depth returns how deep brackets nest.
func depth(code string) int {
	deepest, now := 0, 0
	for i := range len(code) {
		switch code[i] {
		case '(', '[', '{':
			now++
			deepest = max(deepest, now)
		case ')', ']', '}':
			now--
		}
	}
	return deepest
}

// find returns the position of a word of the statement's code, or of the statement when it does not occur.
func (s statement) find(word string) position {
	if word == "" {
		return s.start
	}
	for from := 0; ; {
		i := strings.Index(s.code[from:], word)
		if i < 0 {
			break
		}
		i += from
		if !wordAt(s.code, i-1) && !wordAt(s.code, i+len(word)) {
			return s.start.after(s.text[:i])
		}
		from = i + 1
	}
	// A string's inside is blank in code, so an entity such as Door::"fax" is looked for as it is written.
	if strings.ContainsRune(word, '"') {
		if i := strings.Index(s.text, word); i >= 0 {
			return s.start.after(s.text[:i])
		}
	}
	return s.start
}

func wordAt(s string, i int) bool {
	if i < 0 || i >= len(s) {
		return false
	}
	c := s[i]
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
