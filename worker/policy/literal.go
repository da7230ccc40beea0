package policy

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/cedar-policy/cedar-go"
	xast "github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/idpsync/idpsync/worker/directory/strictyaml"
)

var (
	uuidForm   = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	sourceForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/[a-z0-9-]{1,63}$`)
)

// literals finds entities that no request can ever hold. The schema's types cannot tell, and a forbid of such an entity
// would be there to read and never apply.
func (s *schema) literals(p *xast.Policy) []finding {
	var out []finding
	entity := func(uid cedar.EntityUID) {
		if f := s.literal(uid); f.message != "" {
			out = append(out, f)
		}
	}
	for _, scope := range []any{p.Principal, p.Resource} {
		switch sc := scope.(type) {
		case xast.ScopeTypeEq:
			entity(sc.Entity)
		case xast.ScopeTypeIn:
			entity(sc.Entity)
		case xast.ScopeTypeIsIn:
			entity(sc.Entity)
		}
	}
	for _, c := range p.Conditions {
		xast.Inspect(xast.NewNode(c.Body), func(n xast.IsNode) bool {
			switch n := n.(type) {
			case xast.NodeValue:
				if uid, ok := n.Value.(cedar.EntityUID); ok {
					entity(uid)
				}
			case xast.NodeTypeAccess:
				if uid, ok := literalOf(n.Arg); ok {
					out = append(out, unknowable(uid))
				}
			case xast.NodeTypeGetTag:
				if uid, ok := literalOf(n.Left); ok {
					out = append(out, unknowable(uid))
				}
			}
			return true
		})
	}
	return out
}

func literalOf(n xast.IsNode) (cedar.EntityUID, bool) {
	v, ok := n.(xast.NodeValue)
	if !ok {
		return cedar.EntityUID{}, false
	}
	uid, ok := v.Value.(cedar.EntityUID)
	return uid, ok
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
		enum, ok := s.resolved.Enums[uid.Type]
		if !ok {
			return finding{}
		}
		for _, v := range enum.Values {
			if v == uid {
				return finding{}
			}
		}
		f.message = fmt.Sprintf("%s never matches: %s has no such member", uid, uid.Type)
		f.hint = strictyaml.DidYouMean(id, s.members(uid.Type))
	}
	return f
}
