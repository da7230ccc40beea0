package original

import (
	"maps"
	"slices"
)

// Trust says which JetStream domains are believed when they say when they stored an event: each with the ids of the tenants, in
// lower case, for whose events it is.
type Trust map[string][]string

// AllTenants stands for the ids of all tenants in [Trust].
const AllTenants = "*"

// Trusts reports whether a domain is believed about the events of a tenant.
func (t Trust) Trusts(domain, tenant string) bool {
	of := t[domain]
	return slices.Contains(of, AllTenants) || slices.Contains(of, tenant)
}

// Names are the names of the domains, in their order.
func (t Trust) Names() []string { return slices.Sorted(maps.Keys(t)) }
