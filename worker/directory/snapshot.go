package directory

import (
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/rules"
)

// A Directory is one revision of the declared tenants, organizations, roles and sources, with a provider for each
// source. It does not change.
type Directory struct {
	Revision int64
	tenants  map[string]*Tenant
	policies []store.Policy
}

// Tenant returns the tenant of the lower-case UUID id, or nil.
func (d *Directory) Tenant(id string) *Tenant { return d.tenants[id] }

// Tenants returns how many tenants there are.
func (d *Directory) Tenants() int { return len(d.tenants) }

// A Tenant is a tenant with all that belongs to it.
type Tenant struct {
	rules.Tenant

	sources map[string]*Source
}

// Source returns the source called name, or nil.
func (t *Tenant) Source(name string) *Source { return t.sources[name] }

// A Source is a configured source with its provider. A source whose configuration does not work stays listed, with
// the reason in Err, so that its events can be told apart from those of a source that nobody declared.
type Source struct {
	providers.Source
	Provider providers.Provider
	Err      error

	kind   *providers.Descriptor
	config []byte
}

// Carries reports whether the source may send events of the shape.
func (s *Source) Carries(shape providers.Shape) bool { return s.kind.Carries(shape) }

// MaxAge is the greatest age of an event at first processing.
func (s *Source) MaxAge() time.Duration {
	if s.MaxEventAge > 0 {
		return s.MaxEventAge
	}
	return providers.DefaultMaxEventAge
}
