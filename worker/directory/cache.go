package directory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/clock"
)

// A Store is where the directory and what is known of keys are kept; *store.Store is one.
type Store interface {
	DirectoryRevision(ctx context.Context) (int64, error)
	Directory(ctx context.Context) (store.Directory, error)
	KeysRevision(ctx context.Context) (int64, error)
	ChangedKeyHistories(ctx context.Context, since int64) ([]store.KeyHistoryID, error)
	ClaimKeyRead(ctx context.Context, id store.KeyHistoryID, worker string, every, lease time.Duration) (bool, error)
}

// Cache keeps the newest directory in memory and follows its changes. It is safe for concurrent use.
type Cache struct {
	store    Store
	kinds    providers.Kinds
	env      providers.Environment
	policies func([]store.Policy) error
	log      *slog.Logger
	now      func() time.Time

	unknown []*Source // the built-in sources of tenants that are not there

	current atomic.Pointer[Directory]
	checked atomic.Int64 // when current was last known to be the newest, Unix nanoseconds
	mu      sync.Mutex   // one reload at a time
}

// NewCache makes a Cache that holds nothing until Reload. Sources of other kinds than these stay listed as not working.
// The policies function receives the policy files of each new revision; when it fails, the policies in force stay.
func NewCache(st Store, kinds providers.Kinds, env providers.Environment, policies func([]store.Policy) error) *Cache {
	d := &Cache{store: st, kinds: kinds, env: env, policies: policies, log: env.Log, now: env.Now}
	d.env.Tokens = d
	if d.env.Breakers == nil {
		d.env.Breakers = &providers.Breakers{}
	}
	d.unknown = d.builtIn("")
	d.current.Store(&Directory{Revision: -1, tenants: map[string]*Tenant{}})
	return d
}

// Current returns the newest directory known.
func (d *Cache) Current() *Directory { return d.current.Load() }

// Fresh returns a directory that is not older than the time at: before an event is refused for something that the
// directory lacks, it must have been lacking when the event was stored.
func (d *Cache) Fresh(ctx context.Context, at time.Time) (*Directory, error) {
	if d.checked.Load() > at.UnixNano() {
		return d.Current(), nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.checked.Load() > at.UnixNano() { // somebody else has just asked
		return d.Current(), nil
	}
	if err := d.reload(ctx); err != nil {
		return nil, err
	}
	return d.Current(), nil
}

// Reload reads the directory if the store has a newer revision. Sources whose configuration did not change keep their
// providers, and so what those have in memory.
func (d *Cache) Reload(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.reload(ctx)
}

func (d *Cache) reload(ctx context.Context) error {
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
func (d *Cache) retire(old, next *Directory) {
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

// MaxEventAge is the greatest age that an event of any source may have at first processing.
func (d *Directory) MaxEventAge() time.Duration {
	age := providers.DefaultMaxEventAge
	for _, t := range d.tenants {
		for _, s := range t.sources {
			age = max(age, s.MaxAge())
		}
	}
	return age
}

// Close closes all providers. It is called when nobody uses them any more.
func (d *Cache) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.retire(d.Current(), &Directory{})
}

// Follow reloads the directory every interval until ctx ends.
func (d *Cache) Follow(ctx context.Context, interval time.Duration) {
	failed, away := "", false
	for range clock.Ticks(ctx, interval) {
		failure := ""
		if err := d.Reload(ctx); err != nil && ctx.Err() == nil {
			failure = err.Error()
			was := away
			if away = errors.Is(err, store.ErrUnavailable); failure != failed && !(was && away) { // not again every interval
				d.log.Warn("directory not reloaded; the last one stays in force", "error", err)
			}
		}
		failed, away = failure, away && failure != ""
	}
}

// VerifyUnknownTenant verifies an event of a built-in source, so a command, of a tenant that the directory does not have, as if
// the tenant were there. Of other events nothing can be verified without a source.
func (d *Cache) VerifyUnknownTenant(ctx context.Context, env providers.Envelope) error {
	for _, s := range d.unknown {
		if s.Carries(env.Shape) {
			_, err := s.Provider.Verify(ctx, env)
			return err
		}
	}
	return nil
}

// ProveSender proves by the headers of a command alone who sent it, with the checks that come first when it is verified.
// Whether the tenant is there makes no difference, but to the tokens of its sources.
func (d *Cache) ProveSender(ctx context.Context, env providers.Envelope) error {
	_, err := providers.OfCommands(d.env, env.Shape).Principal(ctx, env)
	return err
}
