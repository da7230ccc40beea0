package mapping

import (
	"slices"
	"strconv"
	"strings"

	"github.com/idpsync/idpsync/providers"
)

// Bounds of the lists that a source may send.
const (
	MaxRoles         = 200 // Microsoft Entra leaves the claim out above this number
	MaxOrganizations = 200
	maxRoleName      = 256 // bytes
)

// assign stores a value that is present, or returns the fault of its type.
func (e *entry) assign(v any, r *providers.CreateUser) *providers.Fault {
	switch e.want {
	case boolean:
		r.EmailVerified = v == true
		return nil
	case names:
		return assignRoles(v, r)
	case roleObjects:
		return assignOrganizations(v, r)
	}
	s, ok := v.(string)
	if !ok {
		return invalid(e.field, "must be a string, not "+kindOf(v))
	}
	switch e.field {
	case "subject":
		if r.Identity != nil {
			r.Identity = &providers.Identity{Issuer: r.Identity.Issuer, Subject: s}
		}
	case "email":
		r.Email = s
	case "name":
		r.Name = s
	case "identity_name":
		r.IdentityName = s
	case "display_name":
		r.DisplayName = s
	case "first_name":
		r.FirstName = s
	case "last_name":
		r.LastName = s
	case "avatar":
		r.Avatar = s
	}
	return nil
}

func assignRoles(v any, r *providers.CreateUser) *providers.Fault {
	var list []string
	switch v := v.(type) {
	case string: // one value, as AD FS sends a list of one
		if strings.Contains(v, ",") && !strings.Contains(v, "=") { // the name of a directory's group has commas of its own
			return invalid("roles", `is one string with commas; send a list, or map it with .split(",")`)
		}
		if fault := roleName("roles", v); fault != nil {
			return fault
		}
		list = []string{v}
	case []any:
		if len(v) > MaxRoles {
			return &providers.Fault{Field: "roles", Code: "too_long", Message: "has more than " + strconv.Itoa(MaxRoles) + " entries; map only those that are roles"}
		}
		list = make([]string, 0, len(v))
		for i, item := range v {
			field := "roles[" + strconv.Itoa(i) + "]"
			s, ok := item.(string)
			if !ok {
				return invalid(field, "must be a string, not "+kindOf(item))
			}
			if fault := roleName(field, s); fault != nil {
				return fault
			}
			list = append(list, s)
		}
	default:
		return invalid("roles", "must be a list of strings or one string, not "+kindOf(v))
	}
	r.Roles = providers.Claim[string]{Present: true, Values: list}
	return nil
}

func roleName(field, s string) *providers.Fault {
	switch {
	case strings.TrimSpace(s) == "":
		return invalid(field, "is empty")
	case len(s) > maxRoleName:
		return &providers.Fault{Field: field, Code: "too_long", Message: "is longer than " + strconv.Itoa(maxRoleName) + " bytes"}
	}
	return nil
}

func assignOrganizations(v any, r *providers.CreateUser) *providers.Fault {
	var items []any
	switch v := v.(type) {
	case map[string]any:
		items = []any{v}
	case []any:
		items = v
	default:
		return invalid("organizations", "must be a list of objects, not "+kindOf(v))
	}
	if len(items) > MaxOrganizations {
		return &providers.Fault{Field: "organizations", Code: "too_long", Message: "has more than " + strconv.Itoa(MaxOrganizations) + " entries"}
	}
	list := make([]providers.OrganizationRole, 0, len(items))
	for i, item := range items {
		field := "organizations[" + strconv.Itoa(i) + "]"
		object, ok := item.(map[string]any)
		if !ok {
			return invalid(field, "must be an object, not "+kindOf(item))
		}
		var o providers.OrganizationRole
		if o.OrganizationID, ok = object["organizationId"].(string); !ok {
			return invalid(field+".organizationId", "must be a string, not "+missingOr(object, "organizationId"))
		}
		if o.RoleID, ok = object["roleId"].(string); !ok {
			return invalid(field+".roleId", "must be a string, not "+missingOr(object, "roleId"))
		}
		if len(object) > 2 {
			return invalid(field, "must have organizationId and roleId, and nothing else")
		}
		list = append(list, o)
	}
	r.Organizations = providers.Claim[providers.OrganizationRole]{Present: true, Values: list}
	return nil
}

func missingOr(object map[string]any, name string) string {
	v, ok := object[name]
	if !ok {
		return "absent"
	}
	return kindOf(v)
}

func invalid(field, message string) *providers.Fault {
	return &providers.Fault{Field: field, Code: "invalid", Message: message}
}

// entraGroups is the SAML attribute of Entra's groups; above the limit one of this name with .link stands instead.
const entraGroups = "http://schemas.microsoft.com/ws/2008/06/identity/claims/groups"

// overage returns a message when the issuer left out, for its size, a claim that the mapping of roles reads. That is
// not absence: the user has more groups than fit.
func overage(e *entry, vars *Vars) string {
	const message = "the issuer left the groups claim out because it is too long; have it send only the groups of this application, or application roles"
	if left, ok := vars.Claims["_claim_names"].(map[string]any); ok {
		for name := range left {
			if slices.Contains(e.reads, name) {
				return message
			}
		}
	}
	if has, ok := vars.Claims["hasgroups"]; ok && has != false && slices.Contains(e.reads, "groups") {
		return message
	}
	for _, link := range []string{entraGroups + ".link", "http://schemas.microsoft.com/claims/groups.link"} {
		if _, ok := vars.Attributes[link]; ok && slices.Contains(e.reads, entraGroups) {
			return message
		}
	}
	return ""
}
