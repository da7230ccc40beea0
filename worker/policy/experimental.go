package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cedar-policy/cedar-go"
	xast "github.com/cedar-policy/cedar-go/x/exp/ast"
	xschema "github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"github.com/idpsync/idpsync/worker/record"
)

// The library has the trees of policies, and schemas, only in packages that it calls experimental: any release may change
// them. Whatever is used of them is in this file, so that such a release is dealt with here and the rest of the package stays.

// A schema checks policies.
type schema struct {
	resolved  *resolved.Schema
	validator *validate.Validator
}

func newSchema() (*schema, error) {
	var s xschema.Schema
	s.SetFilename("idpsync.cedarschema")
	if err := s.UnmarshalCedar([]byte(schemaText)); err != nil {
		return nil, fmt.Errorf("read the Cedar schema: %w", err)
	}
	r, err := s.Resolve()
	if err != nil {
		return nil, fmt.Errorf("resolve the Cedar schema: %w", err)
	}
	return &schema{resolved: r, validator: validate.New(r, validate.WithStrict())}, nil
}

// validate returns what the library has against a policy: nil, an error, or a join of errors.
func (s *schema) validate(p *tree) error { return s.validator.Policy("", p) }

// request checks what is about to be asked, for tests of the conversion.
func (s *schema) request(req cedar.Request, entities cedar.EntityMap) error {
	return errors.Join(s.validator.Request(req), s.validator.Entities(entities))
}

// enum returns the members of a closed list of the schema; ok is false for types that are none.
func (s *schema) enum(typ cedar.EntityType) (members []cedar.EntityUID, ok bool) {
	e, ok := s.resolved.Enums[typ]
	return e.Values, ok
}

// typeNames returns the names of all entity types, in order.
func (s *schema) typeNames() []string {
	var out []string
	for t := range maps.Keys(s.resolved.Entities) {
		out = append(out, string(t))
	}
	for t := range maps.Keys(s.resolved.Enums) {
		out = append(out, string(t))
	}
	slices.Sort(out)
	return out
}

// attributeNames returns the names of the attributes of an entity type, in order.
func (s *schema) attributeNames(typ cedar.EntityType) []string {
	return names(s.resolved.Entities[typ].Shape)
}

// contextNames returns the names of the fields of the context, in order.
func (s *schema) contextNames() []string { return names(s.context()) }

func (s *schema) context() resolved.RecordType {
	return s.resolved.Actions[actionOf(record.ActionCreate)].AppliesTo.Context // the same for all actions
}

func names(r resolved.RecordType) []string {
	var out []string
	for name := range r {
		out = append(out, string(name))
	}
	slices.Sort(out)
	return out
}

// A tree is a policy that was parsed, and an expression a part of its conditions.
type (
	tree       = xast.Policy
	expression = xast.IsNode
)

func treeOf(p *cedar.Policy) *tree { return (*tree)(p.AST()) }

// scopeActions returns the actions that the scope of a policy names; all is true when it names none.
func scopeActions(p *cedar.Policy) (actions []cedar.EntityUID, all bool) {
	switch sc := treeOf(p).Action.(type) {
	case xast.ScopeTypeEq:
		return []cedar.EntityUID{sc.Entity}, false
	case xast.ScopeTypeIn:
		return []cedar.EntityUID{sc.Entity}, false
	case xast.ScopeTypeInSet:
		return sc.Entities, false
	}
	return nil, true
}

// scopeEntities returns the principal and the resource that the scope of a policy names, where it names one.
func scopeEntities(p *tree) []cedar.EntityUID {
	var out []cedar.EntityUID
	for _, scope := range []any{p.Principal, p.Resource} {
		switch sc := scope.(type) {
		case xast.ScopeTypeEq:
			out = append(out, sc.Entity)
		case xast.ScopeTypeIn:
			out = append(out, sc.Entity)
		case xast.ScopeTypeIsIn:
			out = append(out, sc.Entity)
		}
	}
	return out
}

// walk visits every expression of a policy's conditions, each before its parts.
func walk(p *tree, visit func(expression)) {
	for _, c := range p.Conditions {
		xast.Inspect(xast.NewNode(c.Body), func(n expression) bool {
			visit(n)
			return true
		})
	}
}

// literalOf returns the entity that an expression names, if that is all that it does.
func literalOf(n expression) (cedar.EntityUID, bool) {
	v, ok := n.(xast.NodeValue)
	if !ok {
		return cedar.EntityUID{}, false
	}
	uid, ok := v.Value.(cedar.EntityUID)
	return uid, ok
}

// ownerOf returns what an expression reads an attribute or a tag from, if it reads one.
func ownerOf(n expression) (expression, bool) {
	switch n := n.(type) {
	case xast.NodeTypeAccess:
		return n.Arg, true
	case xast.NodeTypeGetTag:
		return n.Left, true
	}
	return nil, false
}

// equalityOf returns the sides of == and !=.
func equalityOf(n expression) (left, right expression, ok bool) {
	switch n := n.(type) {
	case xast.NodeTypeEquals:
		return n.Left, n.Right, true
	case xast.NodeTypeNotEquals:
		return n.Left, n.Right, true
	}
	return nil, nil, false
}

// comparisonOf returns the sides of <, <=, > and >=.
func comparisonOf(n expression) (left, right expression, ok bool) {
	switch n := n.(type) {
	case xast.NodeTypeLessThan:
		return n.Left, n.Right, true
	case xast.NodeTypeLessThanOrEqual:
		return n.Left, n.Right, true
	case xast.NodeTypeGreaterThan:
		return n.Left, n.Right, true
	case xast.NodeTypeGreaterThanOrEqual:
		return n.Left, n.Right, true
	}
	return nil, nil, false
}

// contextField returns the name and declared type of a field of the context, or "" when the expression is not one.
func (s *schema) contextField(n expression) (string, resolved.IsType) {
	access, ok := n.(xast.NodeTypeAccess)
	if !ok {
		return "", nil
	}
	if v, ok := access.Arg.(xast.NodeTypeVariable); !ok || v.Name != "context" {
		return "", nil
	}
	a, ok := s.context()[access.Value]
	if !ok {
		return "", nil
	}
	return string(access.Value), a.Type
}

// entityField is contextField for fields that hold an entity: its type is that of the entity.
func (s *schema) entityField(n expression) (field string, typ cedar.EntityType, ok bool) {
	field, declared := s.contextField(n)
	t, ok := declared.(resolved.EntityType)
	return field, cedar.EntityType(t), ok
}

// comparable returns the type of an expression that can be compared by order, or "" when it is not plain to see.
func (s *schema) comparable(n expression) string {
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
