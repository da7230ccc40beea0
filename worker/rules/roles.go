package rules

import (
	"slices"
	"strconv"
	"strings"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
)

// checkRoles resolves the roles and organizations that a request asks for against the tenant's directory, and refuses
// those that do not exist or that the principal may not grant. It is the same for every source and door.
//
// An unknown role, an ungrantable one and another tenant's look alike in the answer. With no role claim the source's
// default roles apply, else the tenant's, as far as the principal may grant them.
func checkRoles(t *Tenant, src *providers.Source, req *providers.CreateUser, d *Draft) *record.Rejection {
	if r := checkTenantRoles(t, src, req, d); r != nil {
		return r
	}
	return checkOrganizations(t, req, d)
}

func checkTenantRoles(t *Tenant, src *providers.Source, req *providers.CreateUser, d *Draft) *record.Rejection {
	if !req.Roles.Present {
		defaults := src.DefaultRoles
		if len(defaults) == 0 {
			defaults = t.DefaultRoles
		}
		for _, name := range defaults {
			if role, ok := t.RolesByName[name]; ok && slices.Contains(req.Principal.Grants, name) {
				d.Roles = append(d.Roles, role)
			}
		}
		return nil
	}
	var refused []string
	seen := map[string]bool{}
	for _, name := range req.Roles.Values {
		if seen[name] {
			continue
		}
		seen[name] = true
		role, ok := t.RolesByName[name]
		if !ok || !slices.Contains(req.Principal.Grants, name) {
			refused = append(refused, name)
			continue
		}
		d.Roles = append(d.Roles, role)
	}
	if len(refused) == 0 {
		return nil
	}
	slices.Sort(refused)
	if src.DropsUnknownRoles(req.Shape) {
		if len(req.Roles.Values) == 1 && joined(refused[0]) {
			return record.Invalid([]providers.Fault{{
				Field: fieldNames(req.Shape).roles, Code: "invalid", Message: `is one value with commas; send a list, or map it with .split(",")`,
			}})
		}
		d.Dropped = refused
		return nil
	}
	r := record.Reject(record.CodeInvalidRoles, "", "Some roles do not exist in this tenant or cannot be granted by this caller: "+someOf(refused)+".")
	r.Details["roles"] = refused
	r.Hint = "Declare the roles in the directory and list them in the grants of source or credential " + src.Name + ", then replay."
	return r
}

// joined reports whether a name seems to be several, which would all be lost if it were left out. That of a directory, as in
// CN=Admins,DC=acme,DC=example, is one.
func joined(name string) bool { return strings.Contains(name, ",") && !strings.Contains(name, "=") }

// someOf lists names for people; details have all of them.
func someOf(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + " and " + strconv.Itoa(len(names)-most) + " more"
}

// refusedOrganization is one entry of details.organizations of invalid_organizations. It does not say whether the
// organization or the role was at fault.
type refusedOrganization struct {
	Field          string `json:"field"`
	OrganizationID string `json:"organizationId"`
	RoleID         string `json:"roleId"`
}

func checkOrganizations(t *Tenant, req *providers.CreateUser, d *Draft) *record.Rejection {
	var refused []refusedOrganization
	seen := map[[2]string]bool{}
	for i, asked := range req.Organizations.Values {
		organizationID, roleID := strings.ToLower(asked.OrganizationID), strings.ToLower(asked.RoleID)
		org, known := t.Organizations[organizationID]
		role, assignable := t.RolesByID[roleID]
		if !known || !assignable || !slices.Contains(req.Principal.Grants, role.Name) {
			refused = append(refused, refusedOrganization{
				Field: "organizations[" + strconv.Itoa(i) + "]", OrganizationID: asked.OrganizationID, RoleID: asked.RoleID,
			})
			continue
		}
		if key := [2]string{organizationID, roleID}; !seen[key] {
			seen[key] = true
			d.Organizations = append(d.Organizations, OrganizationGrant{org, role, asked})
		}
	}
	if len(refused) == 0 {
		return nil
	}
	r := record.Reject(record.CodeInvalidOrganizations, "", "Some organizations or roles do not exist in this tenant or cannot be granted by this caller; details.organizations lists all of them.")
	r.Details["organizations"] = refused
	r.Hint = "Declare the organizations and their roles in the directory and list the roles in the grants of the caller, then replay."
	return r
}
