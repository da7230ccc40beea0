package strictyaml

import (
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// A Value is one value of a document, or its absence.
type Value struct {
	doc          *Document
	node         ast.Node
	name         string // of the key, for messages
	line, column int    // where it is, or where it is missing
}

// Present reports whether the value is there. An explicit null is there, and is a fault when read.
func (v Value) Present() bool { return v.node != nil }

// IsText reports whether the value is text, be it empty.
func (v Value) IsText() bool {
	switch v.node.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		return true
	default:
		return false
	}
}

// IsEmptyList reports whether the value is [].
func (v Value) IsEmptyList() bool {
	n, ok := v.node.(*ast.SequenceNode)
	return ok && len(n.Values) == 0
}

// Position returns the line and column of the value.
func (v Value) Position() (line, column int) { return v.line, v.column }

// Fail records a fault at the value.
func (v Value) Fail(hint, format string, args ...any) {
	v.doc.fail(v.line, v.column, hint, format, args...)
}

// Text returns the value as text; "" when it is absent or not text.
func (v Value) Text() string {
	switch n := v.node.(type) {
	case nil:
		return ""
	case *ast.StringNode:
		return n.Value
	case *ast.LiteralNode:
		return n.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		v.Fail("put it in quotes", "%s must be text, not %s", v.label(), kind(v.node))
	default:
		v.wrong("text")
	}
	return ""
}

// Scalar returns the value as it is written, whatever its type; "" when it is absent or not a scalar.
func (v Value) Scalar() string {
	switch n := v.node.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value
	default:
		return v.Text()
	}
}

// Bool returns the value as a boolean; false when it is absent or not one.
func (v Value) Bool() bool {
	switch n := v.node.(type) {
	case nil:
	case *ast.BoolNode:
		return n.Value
	case *ast.StringNode:
		v.Fail("write true or false without quotes", "%s must be true or false", v.label())
	default:
		v.wrong("true or false")
	}
	return false
}

// Duration returns the value as a positive duration such as 36h or 7d; 0 when it is absent or not one.
func (v Value) Duration() time.Duration {
	if !v.Present() {
		return 0
	}
	text := v.Scalar()
	if text == "" {
		return 0
	}
	d, err := ParseDuration(text)
	if err != nil || d <= 0 {
		v.Fail("write it as 90s, 15m, 36h or 7d", "%s is not a duration: %q", v.label(), text)
		return 0
	}
	return d
}

// Within returns the value at a place inside its text, offset characters after its first, as far as this can be told:
// for text on one line without escapes.
func (v Value) Within(offset int) Value {
	n, ok := v.node.(*ast.StringNode)
	if !ok {
		return v
	}
	switch t := n.GetToken(); {
	case strings.Contains(t.Origin, "\n") && strings.Contains(strings.TrimSpace(t.Origin), "\n"):
	case t.Type == token.StringType:
		v.column += offset
	case t.Type == token.SingleQuoteType && !strings.Contains(n.Value, "'"), t.Type == token.DoubleQuoteType && !strings.ContainsAny(n.Value, "\"\\"):
		v.column += offset + 1
	}
	return v
}

// ParseDuration reads a duration in Go's form, and whole days as 7d.
func ParseDuration(s string) (time.Duration, error) {
	if n := len(s); n > 1 && s[n-1] == 'd' {
		if days, err := strconv.ParseUint(s[:n-1], 10, 16); err == nil {
			return time.Duration(days) * 24 * time.Hour, nil
		}
	}
	return time.ParseDuration(s)
}

// List returns the items of a list; none when it is absent or not a list.
func (v Value) List() []Value {
	switch n := v.node.(type) {
	case nil:
		return nil
	case *ast.SequenceNode:
		items := make([]Value, len(n.Values))
		for i, item := range n.Values {
			items[i] = v.doc.value(item, v.name+"["+strconv.Itoa(i)+"]", v.line, v.column)
		}
		return items
	default:
		if v.Present() {
			v.Fail("write it as [a, b]", "%s must be a list, not %s", v.label(), kind(v.node))
		}
		return nil
	}
}

func (v Value) label() string {
	if v.name == "" {
		return "the document"
	}
	return v.name
}

func (v Value) wrong(want string) {
	v.Fail("", "%s must be %s, not %s", v.label(), want, kind(v.node))
}

// value wraps a node; a nil or null one stands at the position of its key.
func (d *Document) value(n ast.Node, name string, line, column int) Value {
	v := Value{doc: d, node: n, name: name, line: line, column: column}
	if p := start(n); p != nil && n.Type() != ast.NullType {
		v.line, v.column = p.Line, p.Column
	}
	return v
}

// start finds where a node begins: the token of a block mapping is its first colon, so its first key is asked.
func start(n ast.Node) *token.Position {
	switch n := n.(type) {
	case nil:
		return nil
	case *ast.MappingValueNode:
		return n.Key.GetToken().Position
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return n.Values[0].Key.GetToken().Position
		}
	case *ast.LiteralNode:
		return n.Start.Position
	}
	if t := n.GetToken(); t != nil {
		return t.Position
	}
	return nil
}

func kind(n ast.Node) string {
	switch n.(type) {
	case *ast.NullNode:
		return "empty"
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.BoolNode:
		return "a boolean"
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	default:
		return "something else"
	}
}
