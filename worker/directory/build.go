package directory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/rules"
)

func (d *Cache) build(rows store.Directory, old *Directory) *Directory {
	next := &Directory{Revision: rows.Revision, tenants: make(map[string]*Tenant, len(rows.Tenants)), policies: rows.Policies}
	for _, t := range rows.Tenants {
		next.tenants[strings.ToLower(t.ID)] = &Tenant{
			Tenant: rules.Tenant{
				ID: strings.ToLower(t.ID), Name: t.Name, Owner: t.Owner, OwnerKey: t.OwnerKey, DefaultRoles: t.DefaultRoles,
				RolesByName: map[string]store.Role{}, RolesByID: map[string]store.Role{}, Organizations: map[string]store.Organization{},
			},
			sources: map[string]*Source{},
		}
	}
	for _, r := range rows.Roles {
		t := next.tenants[strings.ToLower(r.TenantID)]
		if t == nil {
			continue
		}
		if r.Scope == store.ScopeOrganization {
			t.RolesByID[strings.ToLower(r.ID)] = r
		} else {
			t.RolesByName[r.Name] = r
		}
	}
	for _, o := range rows.Organizations {
		if t := next.tenants[strings.ToLower(o.TenantID)]; t != nil {
			t.Organizations[strings.ToLower(o.ID)] = o
		}
	}
	for _, s := range rows.Sources {
		if t := next.tenants[strings.ToLower(s.TenantID)]; t != nil {
			t.sources[s.Name] = d.source(t.ID, s, old)
		}
	}
	for _, t := range next.tenants {
		d.checkAnchors(t)
	}
	for _, t := range next.tenants {
		for _, s := range d.builtInRows(t.ID) {
			t.sources[s.Name] = d.source(t.ID, s, old)
		}
	}
	return next
}

// checkAnchors stops the sources that name themselves and whose identities could be those of another source: apply refuses
// them, but a database may have been filled by an older version or by other means.
func (d *Cache) checkAnchors(t *Tenant) {
	for name, s := range t.sources {
		if !d.kinds.Pinned(s.Kind) || s.Err != nil {
			continue
		}
		var err error
		if s.Issuer == "" {
			err = fmt.Errorf("source %s is not pinned to the entityID of its identity provider; run idpsync migrate, or apply the directory again", name)
		}
		for _, other := range t.sources {
			if other.Name != name && d.kinds.Clash(s.Source, other.Source) {
				err = fmt.Errorf("sources %s and %s have the same issuer %s; remove one of them", name, other.Name, s.Issuer)
			}
		}
		if err == nil {
			continue
		}
		if c, ok := s.Provider.(io.Closer); ok {
			err = errors.Join(err, c.Close())
		}
		t.sources[name] = &Source{Source: s.Source, Err: err, kind: s.kind, config: s.config}
		d.log.Error("source cannot work; its events wait", "tenant", t.ID, "source", name, "error", err)
	}
}

func (d *Cache) source(tenant string, row store.Source, old *Directory) *Source {
	if t := old.tenants[tenant]; t != nil {
		if s := t.sources[row.Name]; s != nil && string(s.Kind) == row.Kind && s.Err == nil && bytes.Equal(s.config, row.Config) {
			return s
		}
	}
	kind, known := d.kinds.Of(providers.Kind(row.Kind))
	s := &Source{kind: kind, config: row.Config}
	var err error
	if s.Source, err = d.kinds.Source(tenant, row.Name, kind.Kind, row.Config); err != nil {
		s.Err = fmt.Errorf("configuration of source %s: %w", row.Name, err)
	}
	if !known && s.Err == nil {
		s.Err = fmt.Errorf("source %s is of kind %q, which this worker does not know; upgrade the worker", row.Name, row.Kind)
	}
	if s.Err == nil {
		if s.Provider, s.Err = kind.New(s.Source, d.env); s.Err != nil {
			s.Provider = nil
		}
	}
	if s.Err != nil {
		d.log.Error("source cannot work; its events wait", "tenant", tenant, "source", row.Name, "error", s.Err)
	}
	return s
}

// builtInRows are the sources that every tenant has, as if they were declared.
func (d *Cache) builtInRows(tenant string) []store.Source {
	var rows []store.Source
	for i := range d.kinds {
		if k := &d.kinds[i]; k.BuiltIn != "" {
			rows = append(rows, store.Source{TenantID: tenant, Name: k.BuiltIn, Kind: string(k.Kind), Config: []byte("{}")})
		}
	}
	return rows
}

// builtIn makes the built-in sources of a tenant; those that cannot work are left out.
func (d *Cache) builtIn(tenant string) []*Source {
	var all []*Source
	for _, row := range d.builtInRows(tenant) {
		if s := d.source(tenant, row, &Directory{}); s.Err == nil {
			all = append(all, s)
		}
	}
	return all
}
