package directory

import (
	"errors"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/mapping"
	"github.com/idpsync/idpsync/worker/directory/strictyaml"
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
	_, err := mapping.CompileSource(*s)
	if err == nil {
		return
	}
	lint, ok := errors.AsType[*mapping.LintError](err)
	if !ok {
		v.Fail("", "the mapping of source %q does not compile: %v", s.Name, err)
		return
	}
	for _, p := range lint.Problems {
		place, ok := places[p.Field]
		switch {
		case !ok:
			m.Key(p.Field).Fail(p.Hint, "%s: %s", p.Field, p.Message)
		case p.Column > 0:
			place.Within(p.Column-1).Fail(p.Hint, "%s: %s", p.Field, p.Message)
		default:
			exprs.Key(p.Field).Fail(p.Hint, "%s: %s", p.Field, p.Message)
		}
	}
}
