package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

func listTenants(d store.Directory, _ map[string]string) listing {
	type item struct {
		ID           string   `json:"id"`
		Name         string   `json:"name"`
		Owner        string   `json:"owner,omitempty"`
		DefaultRoles []string `json:"default_roles,omitempty"`
		Sources      int      `json:"sources"`
		Roles        int      `json:"roles"`
	}
	items := []item{}
	l := listing{heading: []string{"ID", "NAME", "OWNER", "DEFAULT ROLES", "ROLES", "ORGANIZATIONS", "SOURCES"}}
	for _, t := range d.Tenants {
		mine := only(d, t.ID)
		items = append(items, item{t.ID, t.Name, t.Owner, t.DefaultRoles, len(mine.Sources), len(mine.Roles)})
		l.rows = append(l.rows, []string{
			t.ID, t.Name, dash(t.Owner), names(t.DefaultRoles),
			fmt.Sprint(len(mine.Roles)), fmt.Sprint(len(mine.Organizations)), fmt.Sprint(len(mine.Sources)),
		})
	}
	l.items = items
	return l
}

func listRoles(d store.Directory, tenants map[string]string) listing {
	type item struct {
		Tenant string `json:"tenant"`
		ID     string `json:"id"`
		Name   string `json:"name"`
		Scope  string `json:"scope"`
	}
	items := []item{}
	l := listing{heading: []string{"TENANT", "NAME", "SCOPE", "ID"}}
	for _, r := range d.Roles {
		items = append(items, item{r.TenantID, r.ID, r.Name, r.Scope})
		l.rows = append(l.rows, []string{tenants[r.TenantID], r.Name, r.Scope, r.ID})
	}
	l.items = items
	return l
}

func listOrganizations(d store.Directory, tenants map[string]string) listing {
	type item struct {
		Tenant string `json:"tenant"`
		ID     string `json:"id"`
		Name   string `json:"name"`
	}
	items := []item{}
	l := listing{heading: []string{"TENANT", "NAME", "ID"}}
	for _, o := range d.Organizations {
		items = append(items, item{o.TenantID, o.ID, o.Name})
		l.rows = append(l.rows, []string{tenants[o.TenantID], o.Name, o.ID})
	}
	l.items = items
	return l
}

func listSources(d store.Directory, tenants map[string]string) listing {
	type item struct {
		Tenant string          `json:"tenant"`
		Name   string          `json:"name"`
		Kind   string          `json:"kind"`
		Config json.RawMessage `json:"config"`
	}
	items := []item{}
	l := listing{heading: []string{"TENANT", "NAME", "KIND", "FROM", "GRANTS", "DOMAINS", "SUBJECT"}}
	for _, s := range d.Sources {
		items = append(items, item{s.TenantID, s.Name, s.Kind, s.Config})
		var c providers.Source
		from := "unreadable configuration"
		if err := json.Unmarshal(s.Config, &c); err == nil {
			from = origins(c, providers.Kind(s.Kind))
		}
		to := record.Address{Action: record.ActionCreate, Shape: providers.ShapeLogin, Door: providers.DoorStream, Tenant: s.TenantID, Source: s.Name}
		if s.Kind == string(providers.KindFeed) {
			to.Shape = providers.ShapeFeed
		}
		l.rows = append(l.rows, []string{
			tenants[s.TenantID], s.Name, s.Kind, from, names(c.Grants), names(c.Domains), record.EventSubject(to),
		})
	}
	l.items = items
	return l
}

// origins says where the events of a source come from.
func origins(c providers.Source, kind providers.Kind) string {
	switch {
	case kind == providers.KindOIDC:
		return c.Issuer
	case c.MetadataURL != "":
		return c.MetadataURL
	case kind == providers.KindSAML:
		return fmt.Sprintf("metadata (%d bytes)", len(c.Metadata))
	default:
		return "format " + c.Format
	}
}

func listPolicies(d store.Directory, _ map[string]string) listing {
	type item struct {
		Name string `json:"name"`
		Text string `json:"text"`
	}
	items := []item{}
	l := listing{heading: []string{"NAME", "LINES", "BYTES"}}
	for _, p := range d.Policies {
		items = append(items, item(p))
		l.rows = append(l.rows, []string{p.Name, fmt.Sprint(strings.Count(strings.TrimRight(p.Text, "\n"), "\n") + 1), fmt.Sprint(len(p.Text))})
	}
	l.items = items
	return l
}
