package directory

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
	Moved     []Moved      // sources whose identities have to be moved or ended for their users not to be locked out
	Steps     []store.Step // what else has to be done to rows of users, beside moving identities
	Warnings  []string
}

// Moved is a declared source that gets another trust anchor: another issuer, or another kind.
type Moved struct {
	Tenant   string
	Source   string
	From, To store.Anchor
	Shared   []string // other sources that keep the old anchor
}

// Move is the step that moves the identities of the source, or with anew ends them.
func (m Moved) Move(anew bool) store.IdentityMove {
	move := store.IdentityMove{Tenant: m.Tenant, From: m.From, To: m.To, Anew: anew}
	if anew && len(m.Shared) > 0 {
		move.Source = m.Source
	}
	return move
}

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
	for _, s := range after {
		i := slices.IndexFunc(before, func(b providers.Source) bool { return b.Tenant == s.Tenant && b.Name == s.Name })
		var old providers.Source
		if i >= 0 {
			old = before[i]
			p.moved(old, s, after)
		}
		if old.Kind == s.Kind && old.TrustEmail == s.TrustEmail && slices.Equal(old.Domains, s.Domains) && maps.Equal(old.Mapping, s.Mapping) {
			continue
		}
		if r, ok := reservation(s); ok {
			p.Steps = append(p.Steps, r)
		}
	}
	return p, nil
}

// moved notes a source whose trust anchor changes.
func (p *Plan) moved(old, s providers.Source, all []providers.Source) {
	from, to := anchor(old), anchor(s)
	if from.Issuer == "" || from == to || s.Kind == providers.KindFeed && old.Kind == providers.KindFeed {
		return
	}
	m := Moved{Tenant: s.Tenant, Source: s.Name, From: from, To: to}
	for _, other := range all {
		if other.Tenant == s.Tenant && anchor(other) == from {
			m.Shared = append(m.Shared, other.Name)
		}
	}
	p.Moved = append(p.Moved, m)
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
