package mapping

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/ext"

	"github.com/idpsync/idpsync/providers"
)

const (
	maxExpression  = 4096   // bytes of one expression
	costLimit      = 50_000 // of one evaluation, in CEL's cost units
	interruptEvery = 100    // loop iterations between looks at the context
	maxRange       = 1000   // elements that lists.range may make
)

// A Mapping is the compiled mapping of one source. It is safe for concurrent use.
type Mapping struct {
	login   bool // of a source of logins
	entries []entry
	trusted bool     // trust_email: its addresses are proved whatever the claims say
	proof   proof    // by its claims
	subject string   // why the subject may change; empty when it does not
	address string   // where e-mail addresses come from, in words
	reads   []string // the names that expressions name; nil: they may read any
}

// Reads returns the names that the expressions name, which are all that they read of the claims; false when one of them may
// read any.
func (m *Mapping) Reads() (names []string, only bool) { return m.reads, m.reads != nil }

// readsOf returns the names that the expressions name; nil when one of them takes claims as a whole.
func readsOf(entries []entry) []string {
	names := []string{}
	for _, e := range entries {
		if slices.ContainsFunc(placesOf(e.tree.Expr(), "claims", false), func(p path) bool { return len(p) == 0 || p[0].list }) {
			return nil
		}
		names = append(names, e.reads...)
	}
	return names
}

// An entry maps one field.
type entry struct {
	field   string
	want    result
	source  string
	program cel.Program
	short   shortcut // for a default expression; else nil
	plain   bool     // the expression is nothing but chains[0]
	chains  []chain  // every selection below a variable
	reads   []string // every key that the expression names, for overage markers
	tree    *ast.AST // while the mapping is compiled
}

// A chain is a selection of keys below a variable: claims.realm_access.roles.
type chain struct {
	root string
	path []string
}

// A Problem is one fault of a mapping, found before any event.
type Problem struct {
	Field   string // of the mapping, as in email; or a key of the source: link_by_email, trust_email
	Column  int    // of the expression, from 1; 0 when it is not about a place
	Message string
	Hint    string // what to do next; optional
}

// String returns field, column, message and hint.
func (p Problem) String() string {
	s := "mapping." + p.Field
	if p.Field == "link_by_email" || p.Field == "trust_email" {
		s = p.Field
	}
	if p.Column > 0 {
		s += ":" + strconv.Itoa(p.Column)
	}
	s += ": " + p.Message
	if p.Hint != "" {
		s += " (" + p.Hint + ")"
	}
	return s
}

// A LintError holds every fault of a mapping.
type LintError struct{ Problems []Problem }

// Error lists the problems, one on each line.
func (e *LintError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Compile compiles the mapping of a source of the given kind; a field that it does not map has the default of the kind's
// vocabulary. It takes milliseconds, so it is done once per source. What compiles can be used; [Mapping.Lint] says what
// should not be applied all the same. The error is a *[LintError] with all faults.
func Compile(kind *providers.Descriptor, src providers.Source) (*Mapping, error) {
	if kind.Mapping == nil {
		return nil, &LintError{[]Problem{{Field: "kind", Message: fmt.Sprintf("a source of kind %q has no mapping", kind.Kind)}}}
	}
	env, err := cel.NewCustomEnv(append(variables(kind.Mapping),
		cel.StdLib(), cel.OptionalTypes(), ext.Strings(), ext.Sets(), ext.Lists(ext.ListsMaxRangeSize(maxRange)),
		ext.TwoVarComprehensions(), listFunction(), cel.ParserExpressionSizeLimit(maxExpression), cel.DefaultUTCTimeZone(true),
	)...)
	if err != nil {
		return nil, fmt.Errorf("building the CEL environment: %w", err)
	}
	m := &Mapping{login: kind.Login(), trusted: trusts(src)}
	problems := unknownFields(src.Mapping)
	for _, f := range fields {
		expr, own := src.Mapping[f.name]
		if !own {
			expr = kind.Mapping.Defaults[f.name]
		}
		if strings.TrimSpace(expr) == "" {
			continue
		}
		e, found := compileField(env, kind, f.name, f.want, expr)
		problems = append(problems, found...)
		if len(found) == 0 {
			m.entries = append(m.entries, e)
		}
	}
	if len(problems) > 0 {
		return nil, &LintError{problems}
	}
	m.proof = proofOf(env, kind, src, m.entry("email"), m.entry("email_verified"))
	m.reads = readsOf(m.entries)
	m.address = addressWords(m.entry("email"))
	if e := m.entry("subject"); e != nil {
		m.subject = subjectWarning(e.tree.Expr())
	}
	if m.trusted || !m.proof.counts {
		m.entries = slices.DeleteFunc(m.entries, func(e entry) bool { return e.want == boolean }) // it has no say
	}
	for i := range m.entries {
		m.entries[i].tree = nil
	}
	return m, nil
}

// entry returns the entry of a field, or nil when it is not mapped.
func (m *Mapping) entry(field string) *entry {
	i := slices.IndexFunc(m.entries, func(e entry) bool { return e.field == field })
	if i < 0 {
		return nil
	}
	return &m.entries[i]
}

func unknownFields(exprs map[string]string) []Problem {
	var problems []Problem
	for field := range exprs {
		if slices.ContainsFunc(fields, func(f struct {
			name string
			want result
		},
		) bool {
			return f.name == field
		}) {
			continue
		}
		p := Problem{Field: field, Message: "is not a field that can be mapped", Hint: "the fields are " + fieldNames()}
		if strings.Contains(strings.ToLower(field), "owner") {
			p.Message = "an owner is never taken from a claim"
			p.Hint = "set the tenant's owner in the directory"
		}
		problems = append(problems, p)
	}
	slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Field, b.Field) })
	return problems
}

func fieldNames() string {
	all := make([]string, len(fields))
	for i, f := range fields {
		all[i] = f.name
	}
	return strings.Join(all, ", ")
}

func compileField(env *cel.Env, kind *providers.Descriptor, field string, want result, expr string) (entry, []Problem) {
	if len(expr) > maxExpression {
		return entry{}, []Problem{{Field: field, Message: fmt.Sprintf("is longer than %d bytes", maxExpression)}}
	}
	if want == boolean && !kind.Mapping.Vouches {
		return entry{}, []Problem{{Field: field, Message: "cannot be mapped for a source of kind " + string(kind.Kind), Hint: "set trust_email: true and domains"}}
	}
	if field == "subject" && kind.Mapping.Subject != "" {
		return entry{}, []Problem{{Field: field, Message: "cannot be mapped for a source of kind " + string(kind.Kind), Hint: kind.Mapping.Subject}}
	}
	checked, issues := env.Compile(expr)
	if issues.Err() != nil {
		problems := make([]Problem, 0, len(issues.Errors()))
		for _, e := range issues.Errors() {
			problems = append(problems, Problem{Field: field, Column: e.Location.Column() + 1, Message: e.Message, Hint: hint(kind.Mapping, e.Message)})
		}
		return entry{}, problems
	}
	if !assignable(want, checked.OutputType()) {
		return entry{}, []Problem{{Field: field, Column: 1, Message: fmt.Sprintf("gives %s, but the field wants %s", checked.OutputType(), want)}}
	}
	program, err := env.Program(checked, cel.CostLimit(costLimit), cel.InterruptCheckFrequency(interruptEvery))
	if err != nil {
		return entry{}, []Problem{{Field: field, Message: err.Error()}}
	}
	tree := checked.NativeRep()
	native := tree.Expr()
	e := entry{field: field, want: want, source: expr, program: program, tree: tree, reads: keysOf(native), chains: chainsOf(native, kind.Mapping), short: shortcutOf(expr)}
	if whole, ok := selection(native); ok {
		e.plain, e.chains = true, []chain{whole}
	}
	if want == boolean && !readsVariable(native) {
		return entry{}, []Problem{{Field: field, Column: 1, Message: "must come from a claim", Hint: "an address is verified when the issuer says so, not when the mapping does"}}
	}
	return e, nil
}

func hint(v *providers.Vocabulary, message string) string {
	if strings.HasPrefix(message, "undeclared reference") {
		return v.Hint
	}
	if strings.HasPrefix(message, "Syntax error") {
		return "mappings are CEL expressions; a string stands in quotes, and a name with other signs than letters is written claims[\"…\"]"
	}
	return ""
}

// assignable reports whether a value of static type t can be what a field wants, once it is known.
func assignable(want result, t *cel.Type) bool {
	if t.Kind() == cel.OpaqueKind && t.TypeName() == "optional_type" {
		t = t.Parameters()[0]
	}
	switch t.Kind() {
	case cel.DynKind, cel.AnyKind:
		return true
	case cel.StringKind:
		return want == text || want == names
	case cel.BoolKind:
		return want == boolean
	case cel.ListKind:
		item := t.Parameters()[0].Kind()
		dyn := item == cel.DynKind || item == cel.AnyKind || item == cel.TypeParamKind
		return want == names && (dyn || item == cel.StringKind) || want == roleObjects && (dyn || item == cel.MapKind)
	case cel.MapKind:
		return want == roleObjects
	}
	return false
}

// selection returns the chain of an expression that is nothing but claims.a.b or claims["a"].b.
func selection(e ast.Expr) (chain, bool) {
	var keys []string
	for {
		switch e.Kind() {
		case ast.IdentKind:
			slices.Reverse(keys)
			return chain{e.AsIdent(), keys}, len(keys) > 0
		case ast.SelectKind:
			s := e.AsSelect()
			if s.IsTestOnly() {
				return chain{}, false
			}
			keys = append(keys, s.FieldName())
			e = s.Operand()
		case ast.CallKind:
			c := e.AsCall()
			if c.FunctionName() != operators.Index || len(c.Args()) != 2 {
				return chain{}, false
			}
			key, ok := stringLiteral(c.Args()[1])
			if !ok {
				return chain{}, false
			}
			keys = append(keys, key)
			e = c.Args()[0]
		default:
			return chain{}, false
		}
	}
}

// chainsOf returns every chain in the expression that starts at a variable of the source, not of a comprehension.
func chainsOf(e ast.Expr, v *providers.Vocabulary) []chain {
	var all []chain
	ast.PostOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		if c, ok := selection(e); ok {
			if slices.ContainsFunc(v.Variables, func(v providers.Variable) bool { return v.Name == c.root && v.Type != providers.VariableText }) {
				all = append(all, c)
			}
		}
	}))
	return all
}

func stringLiteral(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().Value().(string)
	return s, ok
}

// keysOf returns every name that the expression selects and every string in it.
func keysOf(e ast.Expr) []string {
	var keys []string
	ast.PostOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.SelectKind {
			keys = append(keys, e.AsSelect().FieldName())
		} else if s, ok := stringLiteral(e); ok {
			keys = append(keys, s)
		}
	}))
	return keys
}

func readsVariable(e ast.Expr) bool {
	found := false
	ast.PostOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		found = found || e.Kind() == ast.IdentKind
	}))
	return found
}
