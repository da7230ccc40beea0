package manifest

import (
	"errors"
	"fmt"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/mapping"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

// mapping reads and compiles the CEL expressions of a source, one for each field of a user. An empty expression
// switches the default of its kind off.
func (r *reader) mapping(m *strictyaml.Mapping, s *providers.Source) {
	v := m.Get("mapping")
	if s.Kind == providers.KindFeed && s.Format != "scim" {
		if v.Present() {
			m.Key("mapping").Fail("set format: scim, or remove the mapping", "a feed in format user has no mapping: its events are the user already")
		}
		return
	}
	exprs := v.Mapping()
	places := map[string]strictyaml.Value{}
	whole := true
	for _, field := range exprs.Names() {
		value := exprs.Get(field)
		places[field] = value
		if !value.IsText() {
			value.Fail("put it in quotes", "the expression of %s must be text", field)
			whole = false
			continue
		}
		if s.Mapping == nil {
			s.Mapping = map[string]string{}
		}
		s.Mapping[field] = value.Text()
	}
	if s.Kind == "" || !whole {
		return
	}
	at := func(p mapping.Problem) strictyaml.Value {
		place, ok := places[p.Field]
		switch {
		case !ok:
			return m.Key(p.Field)
		case p.Column > 0:
			return place.Within(p.Column - 1)
		}
		return exprs.Key(p.Field)
	}
	compiled, err := mapping.CompileSource(*s)
	lint, ok := errors.AsType[*mapping.LintError](err)
	switch {
	case err == nil:
		lint = &mapping.LintError{Problems: compiled.Lint(*s)}
		for _, p := range compiled.Warnings() {
			r.warn(at(p), p.Hint, "source %q, %s: %s", s.Name, p.Field, p.Message)
		}
	case !ok:
		v.Fail("", "the mapping of source %q does not compile: %v", s.Name, err)
		return
	}
	for _, p := range lint.Problems {
		what := p.Field
		if _, mapped := places[p.Field]; !mapped && !m.Has(p.Field) {
			what = fmt.Sprintf("source %q", s.Name)
		}
		at(p).Fail(p.Hint, "%s: %s", what, p.Message)
	}
}
