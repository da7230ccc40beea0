package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	yaml "github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	maxSize   = 4 << 20 // bytes of a document
	maxDepth  = 32      // levels of nesting
	maxKeys   = 1000    // of one mapping; the parser's time grows with their square
	maxFaults = 100     // more help nobody
)

// A Document is one YAML file and the faults found in it so far. It is not safe for concurrent use.
type Document struct {
	file   string
	root   ast.Node
	faults Faults
	more   bool
}

// Parse reads a document. Faults of form leave it empty; [Document.Err] tells them.
func Parse(file string, data []byte) *Document {
	d := &Document{file: file}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if !d.plain(data) {
		return d
	}
	tokens := lexer.Tokenize(string(data))
	if !d.bounded(tokens) {
		return d
	}
	d.parse(tokens)
	return d
}

// Root returns the document's value, which is absent when the document is empty or could not be read.
func (d *Document) Root() Value { return Value{doc: d, node: d.root, line: 1, column: 1} }

// Err returns all faults as [Faults], or nil when there is none.
func (d *Document) Err() error {
	if len(d.faults) == 0 {
		return nil
	}
	return d.faults.sorted()
}

// Count is the number of faults so far.
func (d *Document) Count() int { return len(d.faults) }

// Add records a fault that was found elsewhere, as in a file that the document names.
func (d *Document) Add(f Fault) {
	if len(d.faults) < maxFaults {
		d.faults = append(d.faults, f)
		return
	}
	if !d.more {
		d.more = true
		d.faults = append(d.faults, Fault{File: "~", Message: "there are more faults", Hint: "mend these first"})
	}
}

func (d *Document) fail(line, column int, hint, format string, args ...any) {
	d.Add(Fault{File: d.file, Line: line, Column: column, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// plain refuses what no editor would have written, before any parser sees it.
func (d *Document) plain(data []byte) bool {
	if len(data) > maxSize {
		d.fail(0, 0, fmt.Sprintf("at most %d MiB are read", maxSize>>20), "the file is too large: %d bytes", len(data))
		return false
	}
	line, start := 1, 0
	column := func(i int) int { return utf8.RuneCount(data[start:i]) + 1 }
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			d.fail(line, column(i), "save it as UTF-8", "the file is not valid UTF-8")
			return false
		case r == '\n':
			line, start = line+1, i+1
		case r == '\t' && len(bytes.TrimLeft(data[start:i], " \t")) == 0:
			d.fail(line, column(i), "use spaces", "YAML does not allow a tab in indentation")
			return false
		case r < ' ' && r != '\t' && r != '\r', r == 0x7f, r == '\ufeff', r == '\u0085', r == '\u2028', r == '\u2029':
			d.fail(line, column(i), "remove it", "the file holds the control character %U", r)
			return false
		}
		i += size
	}
	return true
}

// bounded refuses what strict files have no use for, and depth that would take the parser's stack.
func (d *Document) bounded(tokens token.Tokens) bool {
	var flow, entries, line, values int
	documents := 0
	keys := keyCounter{}
	for _, t := range tokens {
		p := t.Position
		if p.Line != line {
			line, entries, values = p.Line, 0, 0
		}
		switch t.Type {
		case token.InvalidType:
			d.fail(p.Line, p.Column, "", "%s", t.Error)
		case token.AnchorType, token.AliasType:
			d.fail(p.Line, p.Column, "write the value out", "anchors and aliases are not accepted")
		case token.MergeKeyType:
			d.fail(p.Line, p.Column, "write the values out", "merge keys are not accepted")
		case token.TagType:
			d.fail(p.Line, p.Column, "remove it", "tags are not accepted")
		case token.DirectiveType:
			d.fail(p.Line, p.Column, "remove it", "directives are not accepted")
		case token.MappingKeyType:
			d.fail(p.Line, p.Column, "write it as key: value", "complex keys are not accepted")
		case token.DocumentHeaderType:
			if documents++; documents > 1 {
				d.fail(p.Line, p.Column, "use one file for each", "only one document is read")
			}
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			keys.leave(flow, -1)
			flow = max(flow-1, 0)
		case token.SequenceEntryType:
			entries++
			keys.leave(flow, p.Column)
		case token.MappingValueType:
			if t.Prev != nil && keys.add(flow, t.Prev.Position.Column) > maxKeys {
				d.fail(p.Line, p.Column, "use a list", "a mapping has more than %d keys", maxKeys)
				return false
			}
			if flow == 0 {
				values++
			}
		}
		// Outside of flow style each level of nesting starts further to the right or on the same line.
		deep := flow > maxDepth || entries > maxDepth || values > maxDepth ||
			flow == 0 && t.Type == token.SequenceEntryType && p.Column > 8*maxDepth
		if deep || p.IndentNum > 8*maxDepth {
			d.fail(p.Line, p.Column, "nest less", "nested too deeply")
		}
		if len(d.faults) > 0 && (deep || len(d.faults) >= maxFaults) {
			return false
		}
	}
	return len(d.faults) == 0
}

// keyCounter counts the keys of the mappings that are open: of block mappings by column, of flow mappings by level.
type keyCounter map[[2]int]int

func (k keyCounter) add(flow, column int) int {
	at := [2]int{flow, 0}
	if flow == 0 {
		k.leave(0, column)
		at[1] = column
	}
	k[at]++
	return k[at]
}

// leave forgets the mappings of a level of flow that begin to the right of column.
func (k keyCounter) leave(flow, column int) {
	for at := range k {
		if at[0] == flow && at[1] > column {
			delete(k, at)
		}
	}
}

func (d *Document) parse(tokens token.Tokens) {
	// A parser of somebody else's grammar reads operators' files here: a defect of it is a fault of the file.
	defer func() {
		if r := recover(); r != nil {
			d.fail(0, 0, "", "the file is not YAML that can be read: %v", r)
		}
	}()
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var syntax *yaml.SyntaxError
		if errors.As(err, &syntax) && syntax.Token != nil {
			p := syntax.Token.Position
			d.fail(p.Line, p.Column, "", "%s", firstLine(syntax.Message))
			return
		}
		d.fail(0, 0, "", "%s", firstLine(err.Error()))
		return
	}
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if d.root != nil {
			p := doc.Body.GetToken().Position
			d.fail(p.Line, p.Column, "use one file for each", "only one document is read")
			return
		}
		d.root = doc.Body
	}
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}
