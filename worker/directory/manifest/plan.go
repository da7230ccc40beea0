package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/mapping"
	"github.com/idpsync/idpsync/store"
)

// A Plan is what applying a declaration to the directory in force would do.
type Plan struct {
	Directory store.Directory // as it would be
	Changes   Changes
	Steps     []store.Step // what else has to be done to rows of users, beside moving identities
	Warnings  []string

	before, after []providers.Source
	written       map[sourceKeyOf]bool // SAML sources whose issuer the declaration names itself
}

// sourceKeyOf names a source.
type sourceKeyOf struct{ tenant, name string }

// Moved is a declared source that has another trust anchor, another issuer or another kind, than identities which it made
// and which no declared source meets any more: their users cannot log in.
type Moved struct {
	Tenant     string
	Source     string
	From, To   store.Anchor
	Changed    bool     // the anchor of the source changes now, so that this has to be decided
	Shared     []string // other sources that have the old anchor, or leave it for another one
	Speaks     bool     // its logins can prove addresses of its domains, so that they can take users back
	Identities int64
}

// Move is the step that moves the identities of the source, or with anew ends them.
func (m Moved) Move(anew bool) store.IdentityMove {
	move := store.IdentityMove{Tenant: m.Tenant, From: m.From, To: m.To, Anew: anew}
	if len(m.Shared) > 0 || !m.Changed {
		move.Source = m.Source
	}
	return move
}

// Adopted is a declared source that would meet identities which another source made, under an issuer that it did not have
// before.
type Adopted struct {
	Tenant     string
	Source     string
	Issuer     string
	From       string // the source that made them
	Written    bool   // the declaration names the issuer itself; else the identity provider chose it
	Identities int64
}

// Orphaned is a number of identities that no declared source meets any more, and that no declared source made.
type Orphaned struct {
	Tenant     string
	Issuer     string
	Source     string // that made them
	Identities int64
}

// Identities says what the plan means for the identities that there are, in groups of one anchor and source.
func (p *Plan) Identities(groups []store.IdentityGroup) (moved []Moved, adopted []Adopted, orphaned []Orphaned) {
	for _, g := range groups {
		if g.Kind == "" { // they are told of by migrate, until their kind is known
			continue
		}
		from := store.Anchor{Kind: g.Kind, Issuer: g.Issuer}
		owners := having(p.after, g.TenantID, from)
		had := having(p.before, g.TenantID, from)
		s, declared := named(p.after, g.TenantID, g.Source)
		old, _ := named(p.before, g.TenantID, g.Source)
		switch {
		case declared && anchor(s) != from && isLogin(s.Kind) && (len(owners) == 0 || anchor(old) == from):
			_, speaks := reservation(s)
			moved = append(moved, Moved{
				Tenant: g.TenantID, Source: g.Source, From: from, To: anchor(s), Changed: anchor(old) != anchor(s),
				Shared: slices.Concat(owners, p.parting(g.TenantID, had, anchor(s))), Speaks: speaks, Identities: g.Identities,
			})
			continue
		case len(owners) == 0 && len(had) > 0:
			orphaned = append(orphaned, Orphaned{g.TenantID, g.Issuer, g.Source, g.Identities})
		}
		for _, name := range owners {
			if name == g.Source || slices.Contains(had, name) {
				continue
			}
			adopted = append(adopted, Adopted{
				Tenant: g.TenantID, Source: name, Issuer: g.Issuer, From: g.Source, Identities: g.Identities,
				Written: g.Kind != string(providers.KindSAML) || p.written[sourceKeyOf{g.TenantID, name}],
			})
		}
	}
	return moved, adopted, orphaned
}

// parting returns those of the named sources, which had one anchor, that leave it for another one than to.
func (p *Plan) parting(tenant string, had []string, to store.Anchor) []string {
	var names []string
	for _, name := range had {
		before, _ := named(p.before, tenant, name)
		after, declared := named(p.after, tenant, name)
		if declared && isLogin(after.Kind) && anchor(after) != anchor(before) && anchor(after) != to {
			names = append(names, name)
		}
	}
	return names
}

// having returns the names of the sources of a tenant that have the anchor.
func having(all []providers.Source, tenant string, a store.Anchor) []string {
	var names []string
	for _, s := range all {
		if s.Tenant == tenant && anchor(s) == a {
			names = append(names, s.Name)
		}
	}
	return names
}

func named(all []providers.Source, tenant, name string) (providers.Source, bool) {
	i := slices.IndexFunc(all, func(s providers.Source) bool { return s.Tenant == tenant && s.Name == name })
	if i < 0 {
		return providers.Source{}, false
	}
	return all[i], true
}

func isLogin(k providers.Kind) bool { return k == providers.KindOIDC || k == providers.KindSAML }

// NewPlan compares a declaration with the directory in force. The error says which sources of the result could not be
// told apart.
func NewPlan(have store.Directory, declared Declaration) (Plan, error) {
	p := Plan{Directory: Complete(have, declared.Directory)}
	before, err := sourcesOf(have)
	if err != nil {
		return p, err
	}
	if err := p.pin(before, declared.unread); err != nil {
		return p, err
	}
	after, err := sourcesOf(p.Directory)
	if err != nil {
		return p, err
	}
	if err := clashes(after); err != nil {
		return p, err
	}
	p.Changes = Diff(have, p.Directory)
	p.before, p.after, p.written = before, after, declared.written
	for _, s := range after {
		old, _ := named(before, s.Tenant, s.Name)
		if old.Kind == s.Kind && old.TrustEmail == s.TrustEmail && slices.Equal(old.Domains, s.Domains) && maps.Equal(old.Mapping, s.Mapping) {
			continue
		}
		if r, ok := reservation(s); ok {
			p.Steps = append(p.Steps, r)
		}
	}
	return p, nil
}

// pin gives the sources whose metadata could not be read now the entityID that was read when they were applied before.
func (p *Plan) pin(before []providers.Source, unread []unreadSource) error {
	var faults []error
	for i := range p.Directory.Sources {
		row := &p.Directory.Sources[i]
		n := slices.IndexFunc(unread, func(u unreadSource) bool { return u.tenant == row.TenantID && u.name == row.Name })
		if n < 0 {
			continue
		}
		s, err := sourceOf(*row)
		if err != nil {
			return err
		}
		k := slices.IndexFunc(before, func(b providers.Source) bool {
			return b.Tenant == s.Tenant && b.Name == s.Name && b.Kind == s.Kind && b.MetadataURL == s.MetadataURL && b.Issuer != ""
		})
		if k < 0 {
			faults = append(faults, fmt.Errorf("source %q: its metadata cannot be read, so its entityID is not known: %w", s.Name, unread[n].err))
			continue
		}
		s.Issuer = before[k].Issuer
		if row.Config, err = json.Marshal(s); err != nil {
			return fmt.Errorf("source %q: %w", s.Name, err)
		}
		p.Warnings = append(p.Warnings, fmt.Sprintf("source %q: its metadata cannot be read (%v); it keeps the entityID %s", s.Name, unread[n].err, s.Issuer))
	}
	return errors.Join(faults...)
}

// clashes finds sources of a tenant whose identities could not be told apart by their issuer.
func clashes(all []providers.Source) error {
	var faults []error
	for i, s := range all {
		for _, other := range all[:i] {
			if s.Tenant == other.Tenant && s.Clashes(other) {
				faults = append(faults, fmt.Errorf("sources %q and %q of tenant %s have the same issuer %s", other.Name, s.Name, s.Tenant, s.Issuer))
			}
		}
	}
	return errors.Join(faults...)
}

// reservation is what a source that speaks for domains reserves of the addresses of users who are there already.
func reservation(s providers.Source) (store.Reservation, bool) {
	r := store.Reservation{Tenant: s.Tenant, Source: s.Name, Domains: s.Domains, Proved: s.Kind != providers.KindFeed}
	switch {
	case len(s.Domains) == 0:
		return r, false
	case s.Kind == providers.KindFeed:
		return r, s.TrustEmail
	}
	m, err := mapping.CompileSource(s)
	return r, err == nil && m.Proves()
}

func anchor(s providers.Source) store.Anchor {
	return store.Anchor{Kind: string(s.Kind), Issuer: s.Issuer}
}

func sourcesOf(d store.Directory) ([]providers.Source, error) {
	all := make([]providers.Source, 0, len(d.Sources))
	for _, row := range d.Sources {
		s, err := sourceOf(row)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// sourceOf reads a row of the store.
func sourceOf(row store.Source) (providers.Source, error) {
	s := providers.Source{}
	if len(bytes.TrimSpace(row.Config)) > 0 {
		if err := json.Unmarshal(row.Config, &s); err != nil {
			return s, fmt.Errorf("configuration of source %s of tenant %s: %w", row.Name, row.TenantID, err)
		}
	}
	s.Tenant, s.Name, s.Kind = row.TenantID, row.Name, providers.Kind(row.Kind)
	return s, nil
}

// Anchor returns the trust anchor of a declared source.
func Anchor(row store.Source) (store.Anchor, error) {
	s, err := sourceOf(row)
	return anchor(s), err
}
