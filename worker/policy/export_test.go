package policy

import (
	"maps"

	"github.com/cedar-policy/cedar-go"

	"github.com/idpsync/idpsync/worker/record"
)

// CompileUnchecked compiles without the schema's check, for policies that a set must survive all the same.
func CompileUnchecked(files []File) (*Set, error) {
	s, err := newSchema()
	if err != nil {
		return nil, err
	}
	return compile(files, s, func(*cedar.Policy) []finding { return nil })
}

// LibraryAllows is what the library by itself says to CreateUser.
func (s *Set) LibraryAllows(req record.AuthorizationRequest) (bool, error) {
	v, err := s.view(req)
	if err != nil {
		return false, err
	}
	decision, _ := cedar.Authorize(s.asked[actionOf(record.ActionCreate)], v, cedar.Request{
		Principal: v.principal.UID, Action: actionOf(record.ActionCreate), Resource: v.tenant.UID, Context: v.context,
	})
	return decision == cedar.Allow, nil
}

// WithPanic returns a set like s in which one policy makes the library panic.
func (s *Set) WithPanic() *Set {
	broken := *s
	create := actionOf(record.ActionCreate)
	broken.asked = maps.Clone(s.asked)
	broken.asked[create] = append(rules{{Policy: Policy{ID: "panics"}}}, s.asked[create]...)
	return &broken
}

// Conforms checks all questions of a request against the schema.
func (s *Set) Conforms(req record.AuthorizationRequest) error {
	checks, err := newSchema()
	if err != nil {
		return err
	}
	v, err := s.view(req)
	if err != nil {
		return err
	}
	check := func(action, resource cedar.EntityUID) error {
		entities := cedar.EntityMap{}
		for _, e := range []*cedar.Entity{v.principal, v.tenant, v.home, &v.attributes, v.role, v.organization} {
			if e != nil {
				entities[e.UID] = *e
			}
		}
		return checks.request(cedar.Request{Principal: v.principal.UID, Action: action, Resource: resource, Context: v.context}, entities)
	}
	if err := check(actionOf(req.Action), v.tenant.UID); err != nil {
		return err
	}
	if req.Linking {
		if err := check(actionLink, v.tenant.UID); err != nil {
			return err
		}
	}
	for _, r := range req.Roles {
		v.grant(s.known.role(r.Tenant, r.ID, r.Name, ""), nil)
		if err := check(actionGrant, v.role.UID); err != nil {
			return err
		}
	}
	for _, o := range req.Organizations {
		v.grant(s.known.role(o.Tenant, o.RoleID, o.RoleName, o.OrganizationID), s.known.organization(o.Tenant, o.OrganizationID, o.OrganizationName))
		if err := check(actionGrant, v.role.UID); err != nil {
			return err
		}
	}
	return nil
}

// Known is how many principals are kept.
func (s *Set) Known() int { return len(s.known.principals.entities) }
