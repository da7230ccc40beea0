package mapping

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// A path is a place below a variable that an expression names: emails, entry 0, value. An empty one is the variable as
// a whole.
type path []step

// A step is a key, or an entry of a list.
type step struct {
	key   string
	list  bool
	index int64
}

func (p path) equal(other path) bool { return slices.Equal(p, other) }

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// String returns the place as an expression over claims.
func (p path) String() string {
	var b strings.Builder
	b.WriteString("claims")
	for _, s := range p {
		if s.list {
			b.WriteString("[" + strconv.FormatInt(s.index, 10) + "]")
		} else {
			writeKey(&b, s.key)
		}
	}
	return b.String()
}

func writeKey(b *strings.Builder, key string) {
	if identifier.MatchString(key) {
		b.WriteString("." + key)
	} else {
		b.WriteString("[" + strconv.Quote(key) + "]")
	}
}

// String returns the selection as an expression.
func (c chain) String() string {
	var b strings.Builder
	b.WriteString(c.root)
	for _, key := range c.path {
		writeKey(&b, key)
	}
	return b.String()
}

// until returns the first n steps of the selection.
func (c chain) until(n int) chain { return chain{c.root, c.path[:n]} }

// sibling names the claim that would usually say whether this one was verified. An entry of a list has none.
func (p path) sibling() (string, bool) {
	out := slices.Clone(p)
	last := &out[len(out)-1]
	last.key += "_verified"
	return out.String(), !last.list
}

// place returns the place that an expression selects, plainly or by optionals, and nothing else.
func place(e ast.Expr, bound map[string]int, root string) (path, bool) {
	var p path
	for {
		switch e.Kind() {
		case ast.IdentKind:
			slices.Reverse(p)
			return p, e.AsIdent() == root && bound[root] == 0
		case ast.SelectKind:
			s := e.AsSelect()
			if s.IsTestOnly() {
				return nil, false
			}
			p, e = append(p, step{key: s.FieldName()}), s.Operand()
		case ast.CallKind:
			c := e.AsCall()
			switch c.FunctionName() {
			case operators.Index, operators.OptIndex, operators.OptSelect:
			default:
				return nil, false
			}
			args := c.Args()
			if len(args) != 2 || args[1].Kind() != ast.LiteralKind {
				return nil, false
			}
			switch v := args[1].AsLiteral().Value().(type) {
			case string:
				p = append(p, step{key: v})
			case int64:
				p = append(p, step{list: true, index: v})
			default:
				return nil, false
			}
			e = args[0]
		default:
			return nil, false
		}
	}
}

// origins returns the claims that the value of an expression may come from. What only chooses between them, the
// condition of a ternary or a filter, is none of them.
func origins(e ast.Expr) []path { return placesOf(e, "claims", true) }

// reads returns the claims whose values an expression looks at. To ask whether a claim is there is not to read it.
func reads(e ast.Expr) []path { return placesOf(e, "claims", false) }

func placesOf(e ast.Expr, root string, origins bool) []path {
	w := placeWalk{root: root, origins: origins, bound: map[string]int{}}
	w.walk(e)
	return w.found
}

type placeWalk struct {
	root    string
	origins bool
	bound   map[string]int // variables of the comprehensions around, which hide claims of their name
	found   []path
}

func (w *placeWalk) walk(e ast.Expr) {
	if p, ok := place(e, w.bound, w.root); ok {
		if !slices.ContainsFunc(w.found, p.equal) {
			w.found = append(w.found, p)
		}
		return
	}
	switch e.Kind() {
	case ast.SelectKind:
		if s := e.AsSelect(); !s.IsTestOnly() {
			w.walk(s.Operand())
		}
	case ast.CallKind:
		c := e.AsCall()
		args := c.Args()
		switch {
		case c.FunctionName() == operators.Conditional && w.origins:
			args = args[1:]
		case c.FunctionName() == "hasValue" && len(args) == 0:
			return
		}
		if c.IsMemberFunction() {
			w.walk(c.Target())
		}
		for _, arg := range args {
			w.walk(arg)
		}
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		w.walk(c.IterRange())
		w.walk(c.AccuInit())
		w.within([]ast.Expr{c.LoopCondition(), c.LoopStep()}, c.IterVar(), c.IterVar2(), c.AccuVar())
		w.within([]ast.Expr{c.Result()}, c.AccuVar())
	case ast.ListKind:
		for _, item := range e.AsList().Elements() {
			w.walk(item)
		}
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			w.walk(entry.AsMapEntry().Key())
			w.walk(entry.AsMapEntry().Value())
		}
	}
}

// within walks expressions in which these variables are bound.
func (w *placeWalk) within(exprs []ast.Expr, names ...string) {
	for _, name := range names {
		w.bound[name]++
	}
	for _, e := range exprs {
		w.walk(e)
	}
	for _, name := range names {
		w.bound[name]--
	}
}
