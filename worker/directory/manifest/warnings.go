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
			r.warnOfIssuer(s)
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
	for _, other := range others {
		if other.tenant == s.tenant || other.Kind != s.Kind {
			continue
		}
		if sameAssertions(other.Source, s.Source) {
			r.warn(s.at.Get("name"), "give each tenant an entity_id or acs_url of its own; one login could be published to either",
				"source %q of tenant %s and source %q of tenant %s take the same assertions", other.Name, other.tenant, s.Name, s.tenant)
		}
		if s.Kind != providers.KindOIDC || s.Issuer != other.Issuer {
			continue
		}
		for _, audience := range s.Audiences {
			if slices.Contains(other.Audiences, audience) {
				r.warn(s.at.Get("issuer"), "give each tenant a client id of its own; one login could be published to either",
					"source %q of tenant %s and source %q of tenant %s take the same tokens: issuer %s, audience %q", other.Name, other.tenant, s.Name, s.tenant, s.Issuer, audience)
			}
		}
	}
}

func (r *reader) warnOfIssuer(s placedSource) {
	if s.Kind != providers.KindOIDC {
		return
	}
	if issuerTemplate(s.Issuer) {
		r.warn(s.at.Get("issuer"), "write the issuer of one directory, as in https://login.microsoftonline.com/<directory id>/v2.0",
			"source %q: %s stands for many directories: no token names it as its iss, so that every login is refused", s.Name, s.Issuer)
	}
	if s.Commands && publicIssuer(s.Issuer) {
		r.warn(s.at.Get("commands"), "take commands from an issuer of your own, or with credentials: idpsync credential create",
			"anyone can get a token of %s, and with commands: true it may carry commands with all grants of source %q", s.Issuer, s.Name)
	}
}

func (r *reader) warnOfDomains(s placedSource) {
	switch {
	case s.Kind == providers.KindFeed && (!s.TrustEmail || len(s.Domains) == 0):
		r.warn(s.at.Get("name"), "set trust_email: true and the domains whose addresses it vouches for",
			"feed %q speaks for no domain: the addresses of its users are not reserved, so that others may have the same", s.Name)
	case s.Kind != providers.KindFeed && len(s.Domains) == 0:
		r.warn(s.at.Get("name"), "list the domains whose addresses it may speak for",
			"source %q has no domains: its logins take no provisioned user, link to none, and make no user the owner", s.Name)
	}
}
