package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

	config []byte
}

// maxAge is the greatest age of an event at first processing.
func (s *Source) maxAge() time.Duration {
	if s.MaxEventAge > 0 {
		return s.MaxEventAge
	}
	return providers.DefaultMaxEventAge
}

// A DirectoryStore is where the directory is kept.
type DirectoryStore interface {
	DirectoryRevision(ctx context.Context) (int64, error)
	Directory(ctx context.Context) (store.Directory, error)
}

// Directories keeps the newest directory in memory and follows its changes. It is safe for concurrent use.
type Directories struct {
	store     DirectoryStore
	factories map[providers.Kind]providers.Factory
	env       providers.Environment
	policies  func([]store.Policy) error
	log       *slog.Logger
	now       func() time.Time

	strangers providers.Provider // verifies commands of tenants that are not there; nil: there is no command provider

	current atomic.Pointer[Directory]
	checked atomic.Int64 // when current was last known to be the newest, Unix nanoseconds
	mu      sync.Mutex   // one reload at a time
}

// NewDirectories makes a Directories that holds nothing until Reload. The policies function receives the policy files
// of each new revision; when it fails, the policies in force stay.
func NewDirectories(st DirectoryStore, factories map[providers.Kind]providers.Factory, env providers.Environment, policies func([]store.Policy) error) *Directories {
	d := &Directories{store: st, factories: factories, env: env, policies: policies, log: env.Log, now: env.Now}
	d.env.Tokens = d
	if d.env.Breakers == nil {
		d.env.Breakers = &providers.Breakers{}
	}
	d.strangers = d.forStrangers()
	d.current.Store(&Directory{Revision: -1, tenants: map[string]*Tenant{}})
	return d
}

// Current returns the newest directory known.
func (d *Directories) Current() *Directory { return d.current.Load() }

// Fresh returns a directory that is not older than the time at: before an event is refused for something that the
// directory lacks, it must have been lacking when the event was stored.
func (d *Directories) Fresh(ctx context.Context, at time.Time) (*Directory, error) {
	if d.checked.Load() > at.UnixNano() {
		return d.Current(), nil
	}
	if err := d.Reload(ctx); err != nil {
		return nil, err
	}
	return d.Current(), nil
}

// Reload reads the directory if the store has a newer revision. Sources whose configuration did not change keep their
// providers, and so what those have in memory.
func (d *Directories) Reload(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	started := d.now()
	revision, err := d.store.DirectoryRevision(ctx)
	if err != nil {
		return fmt.Errorf("read the directory's revision: %w", err)
	}
	old := d.Current()
	if revision == old.Revision {
		d.checked.Store(started.UnixNano())
		return nil
	}
	rows, err := d.store.Directory(ctx)
	if err != nil {
		return fmt.Errorf("read the directory: %w", err)
	}
	next := d.build(rows, old)
	if d.policies != nil && (old.Revision < 0 || !slices.Equal(old.policies, next.policies)) {
		if err := d.policies(next.policies); err != nil {
			if old.Revision < 0 { // there are no old ones, and a forbid that is not in force lets in
				return fmt.Errorf("policies of the directory do not load: %w", err)
			}
			d.log.Error("policies of the new directory do not load; the old ones stay in force", "revision", next.Revision, "error", err)
		}
	}
	d.current.Store(next)
	d.retire(old, next)
	d.checked.Store(started.UnixNano())
	if old.Revision >= 0 {
		d.log.Info("directory changed", "revision", next.Revision, "tenants", len(next.tenants))
	}
	return nil
}

// retire closes the providers that the next directory does not use any more. An event that one of them has in hand
// waits and comes back to its successor.
func (d *Directories) retire(old, next *Directory) {
	for id, t := range old.tenants {
		for name, s := range t.sources {
			var successor *Source
			if t := next.Tenant(id); t != nil {
				successor = t.Source(name)
			}
			if successor == s {
				continue
			}
			if c, ok := s.Provider.(io.Closer); ok {
				if err := c.Close(); err != nil {
					d.log.Warn("provider not closed", "tenant", id, "source", name, "error", err)
				}
			}
		}
	}
}

// Close closes all providers. It is called when nobody uses them any more.
func (d *Directories) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.retire(d.Current(), &Directory{})
}

// Follow reloads the directory every interval until ctx ends.
func (d *Directories) Follow(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	failed := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		failure := ""
		if err := d.Reload(ctx); err != nil && ctx.Err() == nil {
			failure = err.Error()
			if failure != failed { // not again every interval
				d.log.Warn("directory not reloaded; the last one stays in force", "error", err)
			}
		}
		failed = failure
	}
}

func (d *Directories) build(rows store.Directory, old *Directory) *Directory {
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
func (d *Directories) checkAnchors(t *Tenant) {
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

func (d *Directories) source(tenant string, row store.Source, old *Directory) *Source {
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
