package policy

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/cedar-policy/cedar-go"
	xast "github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/idpsync/idpsync/worker/directory/strictyaml"
)

var (
	uuidForm   = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	sourceForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/[a-z0-9-]{1,63}$`)
)

// lint finds what the library's check lets pass: comparisons that fail whenever they are made, and entities that no
// request can ever hold. A forbid of such an entity would be there to read and never apply.
func (s *schema) lint(p *xast.Policy) []finding {
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
			case xast.NodeTypeEquals:
				out = append(out, s.equality(n.BinaryNode)...)
			case xast.NodeTypeNotEquals:
				out = append(out, s.equality(n.BinaryNode)...)
			case xast.NodeTypeLessThan:
				out = append(out, s.comparison(n.BinaryNode)...)
			case xast.NodeTypeLessThanOrEqual:
				out = append(out, s.comparison(n.BinaryNode)...)
			case xast.NodeTypeGreaterThan:
				out = append(out, s.comparison(n.BinaryNode)...)
			case xast.NodeTypeGreaterThanOrEqual:
				out = append(out, s.comparison(n.BinaryNode)...)
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

// equality finds a field of the context that is compared with an entity of another type, which is never equal.
func (s *schema) equality(n xast.BinaryNode) []finding {
	for _, side := range [][2]xast.IsNode{{n.Left, n.Right}, {n.Right, n.Left}} {
		uid, ok := literalOf(side[1])
		if !ok {
			continue
		}
		field, declared := s.contextField(side[0])
		if t, ok := declared.(resolved.EntityType); ok && cedar.EntityType(t) != uid.Type {
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
func (s *schema) comparison(n xast.BinaryNode) []finding {
	left, right := s.comparable(n.Left), s.comparable(n.Right)
	if left == "" || right == "" || left == right {
		return nil
	}
	field, _ := s.contextField(n.Left)
	if field == "" {
		field, _ = s.contextField(n.Right)
	}
	return []finding{{
		message: fmt.Sprintf("a %s cannot be compared with a %s", left, right),
		word:    field,
		hint:    `durations are written duration("36h") or duration("7d")`,
	}}
}

// comparable returns the type of an expression that can be compared by order, or "" when it is not plain to see.
func (s *schema) comparable(n xast.IsNode) string {
	switch n := n.(type) {
	case xast.NodeValue:
		if _, ok := n.Value.(cedar.Long); ok {
			return "Long"
		}
	case xast.NodeTypeAdd, xast.NodeTypeSub, xast.NodeTypeMult, xast.NodeTypeNegate:
		return "Long"
	case xast.NodeTypeIfThenElse:
		return s.comparable(n.Then)
	case xast.NodeTypeExtensionCall:
		switch n.Name {
		case "duration", "toTime", "durationSince":
			return "duration"
		case "datetime", "toDate", "offset":
			return "datetime"
		case "toMilliseconds", "toSeconds", "toMinutes", "toHours", "toDays":
			return "Long"
		}
	case xast.NodeTypeAccess:
		switch _, declared := s.contextField(n); t := declared.(type) {
		case resolved.LongType:
			return "Long"
		case resolved.ExtensionType:
			return string(t)
		}
	}
	return ""
}

// contextField returns the name and declared type of a field of the context, or "" when the expression is not one.
func (s *schema) contextField(n xast.IsNode) (string, resolved.IsType) {
	access, ok := n.(xast.NodeTypeAccess)
	if !ok {
		return "", nil
	}
	if v, ok := access.Arg.(xast.NodeTypeVariable); !ok || v.Name != "context" {
		return "", nil
	}
	a, ok := s.resolved.Actions[actionCreate].AppliesTo.Context[access.Value]
	if !ok {
		return "", nil
	}
	return string(access.Value), a.Type
}
