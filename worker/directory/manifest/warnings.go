package manifest

import (
	"cmp"
	"slices"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

// A placedSource is a source as it was read, with the place of its declaration and the name of its tenant.
type placedSource struct {
	providers.Source
	at     *strictyaml.Mapping
	tenant string
}

// warningsOf tells what can be applied and should not stay. It walks a document that has no faults a second time, so that
// the rules about several tenants and those about one source are in one place.
func (r *reader) warningsOf(tenants strictyaml.Value) {
	var all []placedSource
	for _, item := range tenants.List() {
		tenant := item.Mapping()
		r.warnOfRoles(tenant.Get("roles"))
		for _, item := range tenant.Get("sources").List() {
			s := placedSource{r.read[len(all)], item.Mapping(), tenant.Get("name").Text()}
			r.warnOfSharedTokens(s, all)
			if kind, _ := r.kinds.Of(s.Kind); kind.Warn != nil {
				kind.Warn(form{s.at, r}, s.Source)
			}
			r.warnOfDomains(s)
			all = append(all, s)
		}
	}
	slices.SortStableFunc(r.warnings, func(a, b strictyaml.Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// warnOfRoles finds names that stand for a role of the tenant and for one of its organizations: grants list names, so that
// who may grant the one may grant the other.
func (r *reader) warnOfRoles(v strictyaml.Value) {
	scopes := map[string]string{}
	for _, item := range v.List() {
		m := item.Mapping()
		name, scope := m.Get("name").Text(), cmp.Or(m.Get("scope").Text(), store.ScopeTenant)
		if other := scopes[name]; other != "" && other != scope {
			r.warn(m.Get("name"), "give one of them another name", "role %q is one of the tenant and one of its organizations, and grants of the name let both be granted", name)
		}
		scopes[name] = scope
	}
}

// warnOfSharedTokens finds sources of other tenants that one token or assertion satisfies too. Which tenant it is for is
// then decided by whoever publishes it, and not by the identity provider.
func (r *reader) warnOfSharedTokens(s placedSource, others []placedSource) {
	kind, _ := r.kinds.Of(s.Kind)
	if kind.Shared == nil {
		return
	}
	for _, other := range others {
		if other.tenant == s.tenant || other.Kind != s.Kind {
			continue
		}
		for _, shared := range kind.Shared(s.Source, other.Source) {
			r.warn(s.at.Get(shared.Key), shared.Hint, "source %q of tenant %s and source %q of tenant %s take the same %s", other.Name, other.tenant, s.Name, s.tenant, shared.What)
		}
	}
}

func (r *reader) warnOfDomains(s placedSource) {
	kind, _ := r.kinds.Of(s.Kind)
	switch {
	case !kind.Login() && (!s.TrustEmail || len(s.Domains) == 0):
		r.warn(s.at.Get("name"), "set trust_email: true and the domains whose addresses it vouches for",
			"feed %q speaks for no domain: the addresses of its users are not reserved, so that others may have the same", s.Name)
	case kind.Login() && len(s.Domains) == 0:
		r.warn(s.at.Get("name"), "list the domains whose addresses it may speak for",
			"source %q has no domains: its logins take no provisioned user, link to none, and make no user the owner", s.Name)
	}
}
