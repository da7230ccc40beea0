package policy

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/cedar-policy/cedar-go"

	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/record"
)

// The literals are the schema's; the actions have no groups, so an action is in itself alone.
var (
	actionLink  = cedar.NewEntityUID("Action", "LinkUser")
	actionGrant = cedar.NewEntityUID("Action", "GrantRole")
)

// actionOf is what is asked of the tenant for a request of the action.
func actionOf(a record.Action) cedar.EntityUID {
	return cedar.NewEntityUID("Action", cedar.String(a.Cedar()))
}

// asked returns all actions that policies are asked about.
func asked() []cedar.EntityUID {
	all := []cedar.EntityUID{actionLink, actionGrant}
	for _, a := range record.Actions() {
		all = append(all, actionOf(a))
	}
	return all
}

var _ worker.Authorizer = (*Set)(nil)

// rules is a list of policies in the order of their ids, which the library walks as they are.
type rules []*rule

// All implements the library's iterator.
func (rs rules) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, r := range rs {
			if !yield(cedar.PolicyID(r.ID), r.cedar) {
				return
			}
		}
	}
}

// applies reports whether the scope of a policy leaves room for an action. A policy that has none for it cannot match
// and cannot err, so it need not be asked.
func applies(p *cedar.Policy, action cedar.EntityUID) bool {
	actions, all := scopeActions(p)
	return all || slices.Contains(actions, action)
}

// Authorize implements [worker.Authorizer]: may the principal do what the request asks for in the tenant, as in create a
// user; if the request links, may it link the user; and then, for each role, may it grant it. When the action or the link is
// denied no role is asked about. A role that is denied leaves Allow as it is and is listed in Denied, in the order of the
// request; the caller rejects the request or drops those roles, as the source's on_denied_role says.
//
// Any error denies the whole request, also one that concerns a single role only.
func (s *Set) Authorize(_ context.Context, req record.AuthorizationRequest) record.Decision {
	return s.decide(req)
}

func (s *Set) decide(req record.AuthorizationRequest) (d record.Decision) {
	defer func() {
		if r := recover(); r != nil {
			d = broken(fmt.Sprintf("panic while policies were evaluated: %v", r))
		}
	}()
	v, err := s.view(req)
	if err != nil {
		return broken(err.Error())
	}
	d = record.Decision{Allow: true}
	first := s.ask(v, actionOf(req.Action), v.tenant.UID)
	if len(first.failed) > 0 {
		return first.failure()
	}
	if !first.allow {
		return record.Decision{Policies: sorted(first.policies), Notices: s.notices(first.policies)}
	}
	determining := first.policies
	if req.Linking {
		link := s.ask(v, actionLink, v.tenant.UID)
		if len(link.failed) > 0 {
			return link.failure()
		}
		determining = append(determining, link.policies...)
		if !link.allow {
			return record.Decision{Policies: sorted(determining), Notices: s.notices(determining)}
		}
	}
	for _, role := range req.Roles {
		v.grant(s.known.role(role.Tenant, role.ID, role.Name, ""), nil)
		a := s.ask(v, actionGrant, v.role.UID)
		if len(a.failed) > 0 {
			return a.failure()
		}
		if a.allow {
			determining = append(determining, a.policies...)
			continue
		}
		d.Denied = append(d.Denied, s.denied(a, role.Name, ""))
	}
	for _, o := range req.Organizations {
		v.grant(s.known.role(o.Tenant, o.RoleID, o.RoleName, o.OrganizationID), s.known.organization(o.Tenant, o.OrganizationID, o.OrganizationName))
		a := s.ask(v, actionGrant, v.role.UID)
		if len(a.failed) > 0 {
			return a.failure()
		}
		if a.allow {
			determining = append(determining, a.policies...)
			continue
		}
		d.Denied = append(d.Denied, s.denied(a, o.RoleName, o.OrganizationID))
	}
	d.Policies, d.Notices = sorted(determining), s.notices(determining)
	return d
}

// An answer is what the library said to one question.
type answer struct {
	allow    bool
	policies []string // that determined it
	failed   []string // ids of policies that could not be evaluated
	errors   []string
}

func (s *Set) ask(v *view, action, resource cedar.EntityUID) answer {
	decision, diagnostic := cedar.Authorize(s.asked[action], v, cedar.Request{
		Principal: v.principal.UID, Action: action, Resource: resource, Context: v.context,
	})
	a := answer{allow: decision == cedar.Allow, policies: make([]string, 0, len(diagnostic.Reasons))}
	for _, r := range diagnostic.Reasons {
		a.policies = append(a.policies, string(r.PolicyID))
	}
	for _, e := range diagnostic.Errors {
		a.failed = append(a.failed, string(e.PolicyID))
		a.errors = append(a.errors, string(e.PolicyID)+": "+e.Message)
	}
	return a
}

// failure is the denial that every evaluation error is.
func (a answer) failure() record.Decision {
	d := broken(a.errors...)
	d.Policies = sorted(a.failed)
	return d
}

// broken is the denial of a request that could not be decided.
func broken(reasons ...string) record.Decision {
	return record.Decision{PolicyError: true, Policies: []string{}, Notices: []string{}, Errors: sorted(reasons)}
}

func (s *Set) denied(a answer, role, organization string) record.DeniedGrant {
	return record.DeniedGrant{
		Role: role, OrganizationID: organization, Policies: sorted(a.policies), Notices: s.notices(a.policies),
	}
}

// notices returns the notices of policies, sorted and each once.
func (s *Set) notices(ids []string) []string {
	out := []string{}
	for _, id := range ids {
		if r := s.rules[id]; r != nil && r.Notice != "" {
			out = append(out, r.Notice)
		}
	}
	return sorted(out)
}

// sorted returns the elements in order and each once; never nil.
func sorted(in []string) []string {
	out := append(make([]string, 0, len(in)), in...)
	slices.Sort(out)
	return slices.Compact(out)
}
