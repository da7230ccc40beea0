package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cedar-policy/cedar-go"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
)

// A view is all that policies may look at while one request is decided. It is the library's entity store, for one
// question at a time.
type view struct {
	principal    *cedar.Entity
	tenant       *cedar.Entity // where the user is to be
	home         *cedar.Entity // the principal's own tenant
	attributes   cedar.Entity
	role         *cedar.Entity // of the present question
	organization *cedar.Entity
	context      cedar.Record
}

// Get implements the library's entity getter.
func (v *view) Get(uid cedar.EntityUID) (cedar.Entity, bool) {
	switch uid.Type {
	case typeSource, typeCredential:
		if uid == v.principal.UID {
			return *v.principal, true
		}
	case typeTenant:
		if uid == v.tenant.UID {
			return *v.tenant, true
		}
		if uid == v.home.UID {
			return *v.home, true
		}
	case typeRole:
		if v.role != nil && uid == v.role.UID {
			return *v.role, true
		}
	case typeOrganization:
		if v.organization != nil && uid == v.organization.UID {
			return *v.organization, true
		}
	case typeAttributes:
		if uid == v.attributes.UID {
			return v.attributes, true
		}
	}
	return cedar.Entity{}, false
}

// grant turns the view to the question of one role.
func (v *view) grant(role, organization *cedar.Entity) { v.role, v.organization = role, organization }

// view says a request in the words of the schema. An error means that it has none for it.
func (s *Set) view(req record.AuthorizationRequest) (*view, error) {
	if req.Tenant == "" || req.Principal.ID == "" {
		return nil, fmt.Errorf("the request names no tenant or no principal")
	}
	if req.Principal.Kind != providers.PrincipalSource && req.Principal.Kind != providers.PrincipalCredential {
		return nil, fmt.Errorf("the schema has no principal of kind %q", req.Principal.Kind)
	}
	v := &view{tenant: s.known.tenant(req.Tenant, req.TenantName)}
	v.home = v.tenant
	if req.PrincipalTenant != req.Tenant {
		v.home = s.known.tenant(req.PrincipalTenant, "")
	}
	v.principal = s.known.principal(req.PrincipalTenant, req.Principal)
	context, err := s.context(req, &v.attributes)
	if err != nil {
		return nil, err
	}
	v.context = context
	return v, nil
}

// maxKnown bounds each table of entities. Directories are smaller; one that is not only costs time.
const maxKnown = 4096

// known keeps the entities that are the same from request to request. It belongs to one set, so it begins anew with each.
type known struct {
	tenants       table[[2]string]
	organizations table[[3]string]
	roles         table[[4]string]
	principals    table[[4]string]
}

func newKnown() *known { return &known{} }

// A table is a bounded cache of entities that do not change. The zero table is ready for use.
type table[K comparable] struct {
	mu       sync.RWMutex
	entities map[K]*cedar.Entity
}

func (t *table[K]) get(key K, build func() *cedar.Entity) *cedar.Entity {
	t.mu.RLock()
	e := t.entities[key]
	t.mu.RUnlock()
	if e != nil {
		return e
	}
	e = build()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.entities == nil || len(t.entities) >= maxKnown {
		t.entities = make(map[K]*cedar.Entity)
	}
	t.entities[key] = e
	return e
}

func (k *known) tenant(id, name string) *cedar.Entity {
	return k.tenants.get([2]string{id, name}, func() *cedar.Entity {
		return &cedar.Entity{
			UID:        cedar.NewEntityUID(typeTenant, cedar.String(id)),
			Attributes: cedar.NewRecord(cedar.RecordMap{"name": cedar.String(name)}),
		}
	})
}

func (k *known) organization(tenant, id, name string) *cedar.Entity {
	return k.organizations.get([3]string{tenant, id, name}, func() *cedar.Entity {
		return &cedar.Entity{
			UID:        cedar.NewEntityUID(typeOrganization, cedar.String(id)),
			Parents:    cedar.NewEntityUIDSet(cedar.NewEntityUID(typeTenant, cedar.String(tenant))),
			Attributes: cedar.NewRecord(cedar.RecordMap{"name": cedar.String(name)}),
		}
	})
}

// role returns a role as it is granted in an organization, or in the tenant when that is "".
func (k *known) role(tenant, id, name, organization string) *cedar.Entity {
	return k.roles.get([4]string{tenant, id, name, organization}, func() *cedar.Entity {
		parents := []cedar.EntityUID{cedar.NewEntityUID(typeTenant, cedar.String(tenant))}
		attributes := cedar.RecordMap{"name": cedar.String(name)}
		if organization != "" {
			uid := cedar.NewEntityUID(typeOrganization, cedar.String(organization))
			parents = append(parents, uid)
			attributes["organization"] = uid
		}
		return &cedar.Entity{
			UID:        cedar.NewEntityUID(typeRole, cedar.String(id)),
			Parents:    cedar.NewEntityUIDSet(parents...),
			Attributes: cedar.NewRecord(attributes),
		}
	})
}

func (k *known) principal(tenant string, p providers.Principal) *cedar.Entity {
	grants := slices.Clone(p.Grants)
	slices.Sort(grants)
	var list strings.Builder // with lengths, so that no name can pass for two
	for _, g := range grants {
		list.WriteString(strconv.Itoa(len(g)))
		list.WriteByte(':')
		list.WriteString(g)
	}
	key := [4]string{string(p.Kind) + " " + tenant, p.ID, p.Name, list.String()}
	return k.principals.get(key, func() *cedar.Entity {
		id := p.ID
		if p.Kind == providers.PrincipalSource {
			id = tenant + "/" + p.ID // a name is a source's own only within its tenant
		}
		home := cedar.NewEntityUID(typeTenant, cedar.String(tenant))
		return &cedar.Entity{
			UID:     cedar.NewEntityUID(cedar.EntityType(p.Kind), cedar.String(id)),
			Parents: cedar.NewEntityUIDSet(home),
			Attributes: cedar.NewRecord(cedar.RecordMap{
				"name": cedar.String(p.Name), "tenant": home, "grants": stringSet(grants),
			}),
		}
	})
}

func stringSet(in []string) cedar.Set {
	values := make([]cedar.Value, len(in))
	for i, s := range in {
		values[i] = cedar.String(s)
	}
	return cedar.NewSet(values...)
}
