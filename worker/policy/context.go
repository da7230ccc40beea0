package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go"

	"github.com/idpsync/idpsync/worker/record"
)

// Bounds of the attributes of one request. A mapping chooses them, so more is a mistake in it.
const (
	maxAttributes     = 256  // names
	maxAttributeItems = 1024 // values of one name
	maxAttributeDepth = 8
)

// attributesUID is the one entity of its type that a request has.
var attributesUID = cedar.NewEntityUID(typeAttributes, "event")

// context builds the context of a request and the entity that carries its attributes.
func (s *Set) context(req record.AuthorizationRequest, attributes *cedar.Entity) (cedar.Record, error) {
	m := make(cedar.RecordMap, 24)
	for _, e := range []struct {
		field cedar.String
		typ   cedar.EntityType
		id    string
	}{
		{"source_kind", typeSourceKind, string(req.SourceKind)},
		{"door", typeDoor, string(req.Door)},
		{"shape", typeShape, string(req.Shape)},
		{"auth_provider", typeAuthProvider, req.AuthProvider},
	} {
		if !slices.Contains(s.members[e.typ], e.id) {
			return cedar.Record{}, fmt.Errorf("the schema has no %s %q", e.typ, e.id)
		}
		m[e.field] = cedar.NewEntityUID(e.typ, cedar.String(e.id))
	}
	m["source"] = cedar.String(req.Source)
	if req.Issuer != "" {
		m["issuer"] = cedar.String(req.Issuer)
	}
	m["email_domain"] = cedar.String(req.EmailDomain)
	m["email_verified"] = cedar.Boolean(req.EmailVerified)
	m["existing"] = cedar.Boolean(req.Existing || req.Linking)
	m["owner"] = cedar.Boolean(req.Owner)
	m["replayed"] = cedar.Boolean(req.Replayed)
	m["age"] = cedar.NewDuration(req.Age)

	m["requested_roles"] = roleNames(req.Roles)
	m["requested_organizations"], m["requested_organization_roles"] = organizationRoles(req.Organizations)
	m["user_roles"] = roleNames(req.UserRoles)
	m["user_organizations"], m["user_organization_roles"] = organizationRoles(req.UserOrganizations)

	m["attributes"] = attributesUID
	*attributes = cedar.Entity{UID: attributesUID}
	if len(req.Attributes) > 0 {
		if err := claims(req.Attributes, m, attributes); err != nil {
			return cedar.Record{}, err
		}
	}
	return cedar.NewRecord(m), nil
}

// none is the set that most requests have most of.
var none cedar.Value = cedar.NewSet()

func roleNames(roles []record.RequestedRole) cedar.Value {
	if len(roles) == 0 {
		return none
	}
	names := make([]cedar.Value, len(roles))
	for i, r := range roles {
		names[i] = cedar.String(r.Name)
	}
	return cedar.NewSet(names...)
}

// organizationRoles returns the organizations, and the names of the roles in them.
func organizationRoles(in []record.RequestedOrganization) (organizations, roles cedar.Value) {
	if len(in) == 0 {
		return none, none
	}
	uids, names := make([]cedar.Value, len(in)), make([]cedar.Value, len(in))
	for i, o := range in {
		uids[i] = cedar.NewEntityUID(typeOrganization, cedar.String(o.OrganizationID))
		names[i] = cedar.String(o.RoleName)
	}
	return cedar.NewSet(uids...), cedar.NewSet(names...)
}

// claims turns the attributes into tags, and those with a name of their own in the context into that.
//
// Nothing is left out in silence: a forbid that asks for what was left out would not apply. What has no form is an error.
func claims(in map[string]any, context cedar.RecordMap, attributes *cedar.Entity) error {
	flat := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if err := spread(flat, name, in[name], 0); err != nil {
			return err
		}
	}
	if len(flat) > maxAttributes {
		return fmt.Errorf("the request has %d attributes, more than %d", len(flat), maxAttributes)
	}
	tags := make(cedar.RecordMap, len(flat))
	for name, values := range flat {
		tags[cedar.String(name)] = stringSet(values)
	}
	attributes.Tags = cedar.NewRecord(tags)
	if acr := flat["acr"]; len(acr) == 1 {
		context["acr"] = cedar.String(acr[0])
	} else if len(acr) > 1 {
		return fmt.Errorf("attribute acr has more than one value")
	}
	if amr, ok := flat["amr"]; ok {
		context["amr"] = stringSet(amr)
	}
	return nil
}

// spread adds the values of one attribute. An object's members become attributes of their own, joined by dots; null is
// as good as absent.
func spread(flat map[string][]string, name string, value any, depth int) error {
	if depth > maxAttributeDepth {
		return fmt.Errorf("attribute %s nests more than %d deep", name, maxAttributeDepth)
	}
	if object, ok := value.(map[string]any); ok {
		for _, member := range slices.Sorted(maps.Keys(object)) {
			if err := spread(flat, name+"."+member, object[member], depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	if value == nil {
		return nil
	}
	if _, taken := flat[name]; taken {
		return fmt.Errorf("two attributes are called %s", name)
	}
	values := []string{}
	switch list := value.(type) {
	case []any:
		for _, item := range list {
			s, err := text(item)
			if err != nil {
				return fmt.Errorf("attribute %s: %w", name, err)
			}
			values = append(values, s)
		}
	case []string:
		values = append(values, list...)
	default:
		s, err := text(value)
		if err != nil {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
		values = append(values, s)
	}
	if len(values) > maxAttributeItems {
		return fmt.Errorf("attribute %s has %d values, more than %d", name, len(values), maxAttributeItems)
	}
	flat[name] = values
	return nil
}

// text writes a value as policies compare it: numbers as JSON does, lists and objects within a list as compact JSON.
func text(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int:
		return strconv.Itoa(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case uint64:
		return strconv.FormatUint(v, 10), nil
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return strconv.FormatInt(int64(v), 10), nil
		}
	case json.Number:
		return v.String(), nil
	case map[string]any, []any, []string:
		// below
	default:
		return "", fmt.Errorf("a value of Go type %T cannot be compared by policies", value)
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return "", fmt.Errorf("value cannot be written as JSON: %w", err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}
