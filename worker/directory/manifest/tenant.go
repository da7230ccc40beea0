package manifest

import (
	"slices"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/rules"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

// tenantRoles are the names of a tenant's roles by scope.
type tenantRoles map[string][]string

func (t tenantRoles) all() []string {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(t[store.ScopeTenant], t[store.ScopeOrganization]))))
}

func (r *reader) tenants(v strictyaml.Value) {
	ids, names, organizations, roles := unique{}, unique{}, unique{}, unique{}
	for _, item := range v.List() {
		m := item.Mapping()
		t := store.Tenant{}
		if v := m.Require("id", "every tenant has a UUID; uuidgen makes one"); v.Present() {
			t.ID = id(v, "the tenant")
			ids.add(v, "tenant", t.ID)
		}
		v := m.Get("name")
		t.Name = name(v, "the tenant")
		names.add(v, "tenant", t.Name)
		r.owner(m.Get("owner"), &t)
		declared := r.roles(m.Get("roles"), t.ID, roles)
		t.DefaultRoles = defaultRoles(m.Get("default_roles"), declared[store.ScopeTenant], nil)
		r.organizations(m.Get("organizations"), t.ID, organizations)
		r.sources(m.Get("sources"), t.ID, declared)
		m.Close()
		r.out.Tenants = append(r.out.Tenants, t)
	}
}

func (r *reader) owner(v strictyaml.Value, t *store.Tenant) {
	if !v.Present() {
		return
	}
	s := v.Text()
	email, err := rules.ParseEmail(s)
	if err != nil {
		if v.IsText() {
			v.Fail("the e-mail address of a person", "owner %q %v", s, err)
		}
		return
	}
	t.Owner, t.OwnerKey = email.Given, email.Key
}

// roles reads a tenant's roles; ids are those of all tenants so far.
func (r *reader) roles(v strictyaml.Value, tenant string, ids unique) tenantRoles {
	declared := tenantRoles{}
	names := map[string]unique{store.ScopeTenant: {}, store.ScopeOrganization: {}}
	for _, item := range v.List() {
		m := item.Mapping()
		role := store.Role{TenantID: tenant, Scope: store.ScopeTenant}
		if v := m.Get("scope"); v.Present() {
			switch s := v.Text(); s {
			case store.ScopeTenant, store.ScopeOrganization:
				role.Scope = s
			default:
				v.Fail("tenant (the default) or organization", "unknown scope %q", s)
			}
		}
		nameValue := m.Get("name")
		role.Name = name(nameValue, "the role")
		if v := m.Get("id"); v.Present() {
			role.ID = id(v, "the role")
			ids.add(v, "role", role.ID)
		}
		m.Close()
		if names[role.Scope].add(nameValue, "role", role.Name) {
			declared[role.Scope] = append(declared[role.Scope], role.Name)
		}
		r.out.Roles = append(r.out.Roles, role)
	}
	return declared
}

func (r *reader) organizations(v strictyaml.Value, tenant string, ids unique) {
	names := unique{}
	for _, item := range v.List() {
		m := item.Mapping()
		o := store.Organization{TenantID: tenant}
		if v := m.Require("id", "every organization has a UUID; uuidgen makes one"); v.Present() {
			o.ID = id(v, "the organization")
			ids.add(v, "organization", o.ID)
		}
		v := m.Get("name")
		o.Name = name(v, "the organization")
		names.add(v, "organization", o.Name)
		m.Close()
		r.out.Organizations = append(r.out.Organizations, o)
	}
}

// defaultRoles reads roles that are granted when a source says nothing of roles. They are tenant roles, and among the
// grants when these are given.
func defaultRoles(v strictyaml.Value, declared []string, grants *[]string) []string {
	out, places := texts(v)
	for i, role := range out {
		switch {
		case !slices.Contains(declared, role):
			places[i].Fail(rolesHint(role, declared), "the tenant has no role %q", role)
		case grants != nil && !slices.Contains(*grants, role):
			places[i].Fail("add it to grants, or remove it here", "default role %q is not among the grants", role)
		}
	}
	return out
}

func rolesHint(role string, declared []string) string {
	if near := strictyaml.Closest(role, declared); near != "" {
		return strictyaml.DidYouMean(role, declared)
	}
	return "declare it under the tenant's roles"
}

// Complete gives the roles of a declared directory that have no id the one that their name has in have. A role that is
// new stays without one: the store finds or derives it, the same wherever the file is applied.
func Complete(have, want store.Directory) store.Directory {
	type key struct{ tenant, scope, name string }
	known := make(map[key]string, len(have.Roles))
	for _, role := range have.Roles {
		known[key{role.TenantID, role.Scope, role.Name}] = role.ID
	}
	taken := map[string]bool{}
	for _, role := range want.Roles {
		taken[role.ID] = true
	}
	want.Roles = slices.Clone(want.Roles)
	for i := range want.Roles {
		role := &want.Roles[i]
		if id := known[key{role.TenantID, role.Scope, role.Name}]; role.ID == "" && !taken[id] {
			role.ID = id
		}
	}
	return want
}
