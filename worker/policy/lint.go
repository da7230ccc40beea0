package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"

	"github.com/idpsync/idpsync/worker/strictyaml"
)

var (
	uuidForm   = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	sourceForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/[a-z0-9-]{1,63}$`)
)

// lint finds what the library's check lets pass: comparisons that fail whenever they are made, and entities that no
// request can ever hold. A forbid of such an entity would be there to read and never apply.
func (s *schema) lint(p *tree) []finding {
	var out []finding
	entity := func(uid cedar.EntityUID) {
		if f := s.literal(uid); f.message != "" {
			out = append(out, f)
		}
	}
	for _, uid := range scopeEntities(p) {
		entity(uid)
	}
	walk(p, func(n expression) {
		if uid, ok := literalOf(n); ok {
			entity(uid)
		}
		if owner, ok := ownerOf(n); ok {
			if uid, ok := literalOf(owner); ok {
				out = append(out, unknowable(uid))
			}
		}
		if left, right, ok := equalityOf(n); ok {
			out = append(out, s.equality(left, right)...)
		}
		if left, right, ok := comparisonOf(n); ok {
			out = append(out, s.comparison(left, right)...)
		}
	})
	return out
}

// unknowable is the finding of an attribute that is read from an entity by name: a request knows only its own entities,
// so this would be an error, and a denial, of every other one.
func unknowable(uid cedar.EntityUID) finding {
	return finding{
		message: fmt.Sprintf("%s is named in the policy, so its attributes cannot be read", uid),
		word:    uid.String(),
		hint:    "read those of principal, resource or context instead",
	}
}

func (s *schema) literal(uid cedar.EntityUID) finding {
	id := string(uid.ID)
	f := finding{word: uid.String()}
	switch uid.Type {
	case typeTenant, typeOrganization, typeRole:
		if uuidForm.MatchString(id) {
			return finding{}
		}
		f.message = fmt.Sprintf("%s never matches: its id is a UUID in lower case", uid)
		f.hint = "the name is an attribute, as in resource.name == \"…\""
		if lower := strings.ToLower(id); uuidForm.MatchString(lower) {
			f.hint = fmt.Sprintf("write %s", cedar.NewEntityUID(uid.Type, cedar.String(lower)))
		}
	case typeSource:
		if sourceForm.MatchString(id) {
			return finding{}
		}
		f.message = fmt.Sprintf("%s never matches: the id of a source is its tenant's UUID in lower case, a slash and its name", uid)
		f.hint = fmt.Sprintf("write Source::\"<tenant>/%s\", or context.source == %q for every tenant", id, id)
		if lower := strings.ToLower(id); sourceForm.MatchString(lower) {
			f.hint = fmt.Sprintf("write %s", cedar.NewEntityUID(uid.Type, cedar.String(lower)))
		}
	default:
		members, ok := s.enum(uid.Type)
		if !ok || slices.Contains(members, uid) {
			return finding{}
		}
		f.message = fmt.Sprintf("%s never matches: %s has no such member", uid, uid.Type)
		f.hint = strictyaml.DidYouMean(id, s.members(uid.Type))
	}
	return f
}

// equality finds a field of the context that is compared with an entity of another type, which is never equal.
func (s *schema) equality(left, right expression) []finding {
	for _, side := range [][2]expression{{left, right}, {right, left}} {
		uid, ok := literalOf(side[1])
		if !ok {
			continue
		}
		if field, t, ok := s.entityField(side[0]); ok && t != uid.Type {
			return []finding{{
				message: fmt.Sprintf("context.%s is never equal to %s: it is a %s", field, uid, t),
				word:    uid.String(),
				hint:    fmt.Sprintf("write %s::\"…\"", t),
			}}
		}
	}
	return nil
}

// comparison finds a comparison of values of different types, as of a duration with a number.
func (s *schema) comparison(left, right expression) []finding {
	typ, other := s.comparable(left), s.comparable(right)
	if typ == "" || other == "" || typ == other {
		return nil
	}
	field, _ := s.contextField(left)
	if field == "" {
		field, _ = s.contextField(right)
	}
	return []finding{{
		message: fmt.Sprintf("a %s cannot be compared with a %s", typ, other),
		word:    field,
		hint:    `durations are written duration("36h") or duration("7d")`,
	}}
}
