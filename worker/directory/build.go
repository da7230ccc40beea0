package directory

import (
	"bytes"
	"encoding/json"
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
	if _, ok := d.factories[providers.KindCommand]; ok {
		for _, t := range next.tenants {
			admin := store.Source{TenantID: t.ID, Name: providers.AdminSource, Kind: string(providers.KindCommand), Config: []byte("{}")}
			t.sources[providers.AdminSource] = d.source(t.ID, admin, old)
		}
	}
	return next
}

// checkAnchors stops the SAML sources whose identities could be those of another source: apply refuses them, but a
// database may have been filled by an older version or by other means.
func (d *Cache) checkAnchors(t *Tenant) {
	for name, s := range t.sources {
		if s.Kind != providers.KindSAML || s.Err != nil {
			continue
		}
		var err error
		if s.Issuer == "" {
			err = fmt.Errorf("source %s is not pinned to the entityID of its identity provider; run idpsync migrate, or apply the directory again", name)
		}
		for _, other := range t.sources {
			if other.Name != name && s.Clashes(other.Source) {
				err = fmt.Errorf("sources %s and %s have the same issuer %s; remove one of them", name, other.Name, s.Issuer)
			}
		}
		if err == nil {
			continue
		}
		if c, ok := s.Provider.(io.Closer); ok {
			err = errors.Join(err, c.Close())
		}
		t.sources[name] = &Source{Source: s.Source, Err: err, config: s.config}
		d.log.Error("source cannot work; its events wait", "tenant", t.ID, "source", name, "error", err)
	}
}

func (d *Cache) source(tenant string, row store.Source, old *Directory) *Source {
	if t := old.tenants[tenant]; t != nil {
		if s := t.sources[row.Name]; s != nil && string(s.Kind) == row.Kind && s.Err == nil && bytes.Equal(s.config, row.Config) {
			return s
		}
	}
	s := &Source{config: row.Config}
	if err := json.Unmarshal(row.Config, &s.Source); err != nil {
		s.Err = fmt.Errorf("configuration of source %s: %w", row.Name, err)
	}
	s.Tenant, s.Name, s.Kind = tenant, row.Name, providers.Kind(row.Kind)
	factory, ok := d.factories[s.Kind]
	if !ok && s.Err == nil {
		s.Err = fmt.Errorf("source %s is of kind %q, which this worker does not know; upgrade the worker", row.Name, row.Kind)
	}
	if s.Err == nil {
		if s.Provider, s.Err = factory(s.Source, d.env); s.Err != nil {
			s.Provider = nil
		}
	}
	if s.Err != nil {
		d.log.Error("source cannot work; its events wait", "tenant", tenant, "source", row.Name, "error", s.Err)
	}
	return s
}

// forStrangers makes the provider that verifies the commands of tenants which the directory does not have.
func (d *Cache) forStrangers() providers.Provider {
	factory, ok := d.factories[providers.KindCommand]
	if !ok {
		return nil
	}
	p, err := factory(providers.Source{Name: providers.AdminSource, Kind: providers.KindCommand}, d.env)
	if err != nil {
		d.log.Error("commands cannot be verified", "error", err)
		return nil
	}
	return p
}
