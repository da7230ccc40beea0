package strictyaml

import (
	"strconv"

	"github.com/goccy/go-yaml/ast"
)

// A Mapping is a mapping of which the reader names the keys that it knows. It is read by asking for each of them, then
// calling [Mapping.Close], which reports all others.
type Mapping struct {
	Value

	keys   []entry
	known  []string
	byName map[string]int
}

type entry struct {
	name  string
	key   Value
	value Value
}

// Mapping reads the value as a mapping; an empty one when it is absent or of another kind.
func (v Value) Mapping() *Mapping {
	m := &Mapping{Value: v, byName: map[string]int{}}
	switch n := v.node.(type) {
	case nil:
	case *ast.MappingNode:
		for _, value := range n.Values {
			m.add(value)
		}
	case *ast.MappingValueNode:
		m.add(n)
	default:
		v.Fail("write it as key: value", "%s must be a mapping, not %s", v.label(), kind(n))
	}
	return m
}

func (m *Mapping) add(n *ast.MappingValueNode) {
	t := n.Key.GetToken()
	name := t.Value
	if s, ok := n.Key.(*ast.StringNode); ok {
		name = s.Value
	}
	key := Value{doc: m.doc, node: n.Key, name: name, line: t.Position.Line, column: t.Position.Column}
	if first, ok := m.byName[name]; ok {
		key.Fail("keep one of them", "duplicate key %q; the first is in line %s", name, strconv.Itoa(m.keys[first].key.line))
		return
	}
	m.byName[name] = len(m.keys)
	m.keys = append(m.keys, entry{name: name, key: key, value: m.doc.value(n.Value, name, key.line, key.column)})
}

// Get returns the value of a key that the reader knows; absent when the mapping does not have it.
func (m *Mapping) Get(name string) Value {
	m.known = append(m.known, name)
	if i, ok := m.byName[name]; ok {
		return m.keys[i].value
	}
	return Value{doc: m.doc, name: name, line: m.line, column: m.column}
}

// Require is Get for a key that must be there.
func (m *Mapping) Require(name, hint string) Value {
	v := m.Get(name)
	if !v.Present() && m.Present() {
		m.Fail(hint, "%s is missing", name)
	}
	return v
}

// Has reports whether a key is there.
func (m *Mapping) Has(name string) bool {
	_, ok := m.byName[name]
	return ok
}

// Key returns the position of a key, to report a fault of its being there.
func (m *Mapping) Key(name string) Value {
	if i, ok := m.byName[name]; ok {
		return m.keys[i].key
	}
	return m.Value
}

// Names returns the keys that are there, in the order of the document.
func (m *Mapping) Names() []string {
	names := make([]string, len(m.keys))
	for i, e := range m.keys {
		names[i] = e.name
	}
	return names
}

// Close reports the keys that nobody asked for.
func (m *Mapping) Close() {
	asked := make(map[string]bool, len(m.known))
	for _, k := range m.known {
		asked[k] = true
	}
	for _, e := range m.keys {
		if !asked[e.name] {
			e.key.Fail(DidYouMean(e.name, m.known), "unknown key %q", e.name)
		}
	}
}
