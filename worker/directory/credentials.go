package directory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
)

// Limits of what [Credentials] keeps.
const (
	maxCredentials   = 10_000           // entries, those of ids that are not there too
	credentialsStale = 10 * time.Second // without word from the store, entries are not believed for longer
	flushUsed        = 15 * time.Second
	maxReads         = 2 // at the same time, so that made-up ids leave the store's connections to others
)

// A CredentialStore is where credentials are kept; *store.Store is one.
type CredentialStore interface {
	CredentialsRevision(ctx context.Context) (int64, error)
	Credential(ctx context.Context, id string) (store.Credential, error)
	TouchCredentials(ctx context.Context, used map[string]time.Time) error
}

// Credentials looks credentials up in the store and remembers them until any credential changes. A revocation holds
// everywhere within an interval of Follow. It is safe for concurrent use.
type Credentials struct {
	store CredentialStore
	now   func() time.Time
	log   *slog.Logger
	reads chan struct{}

	mu       sync.Mutex
	revision int64
	checked  time.Time // when revision was last known to be the newest
	away     bool      // the store failed when it was last asked
	entries  map[string]*providers.Credential
	used     map[string]time.Time
}

var _ providers.Credentials = (*Credentials)(nil)

// NewCredentials makes a Credentials that reads the store each time, until it follows.
func NewCredentials(st CredentialStore, now func() time.Time, log *slog.Logger) *Credentials {
	return &Credentials{store: st, now: now, log: log, reads: make(chan struct{}, maxReads), revision: -1, entries: map[string]*providers.Credential{}, used: map[string]time.Time{}}
}

// Credential implements [providers.Credentials].
func (c *Credentials) Credential(ctx context.Context, id string) (providers.Credential, error) {
	c.mu.Lock()
	revision := c.revision
	entry, known := c.entries[id]
	known = known && c.now().Sub(c.checked) < credentialsStale
	c.mu.Unlock()
	if !known {
		row, err := c.read(ctx, id)
		switch {
		case err == nil:
			entry = &providers.Credential{
				ID: row.ID, Tenant: row.Tenant, Name: row.Name, Purpose: providers.Purpose(row.Purpose), SecretHash: row.SecretHash, Grants: row.Grants,
				ExpiresAt: row.ExpiresAt, RevokedAt: row.RevokedAt,
			}
		case errors.Is(err, store.ErrNotFound):
			entry = nil
		default:
			return providers.Credential{}, err
		}
		c.keep(id, entry, revision)
	}
	if entry == nil {
		return providers.Credential{}, providers.ErrNoCredential
	}
	return *entry, nil
}

// read reads a credential from the store, when it is its turn.
func (c *Credentials) read(ctx context.Context, id string) (store.Credential, error) {
	select {
	case c.reads <- struct{}{}:
		defer func() { <-c.reads }()
		return c.store.Credential(ctx, id)
	case <-ctx.Done():
		return store.Credential{}, fmt.Errorf("wait for a turn to read a credential: %w", ctx.Err())
	}
}

// keep remembers what was read, unless a credential changed while it was being read.
func (c *Credentials) keep(id string, entry *providers.Credential, revision int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.revision != revision || revision < 0 {
		return
	}
	if len(c.entries) >= maxCredentials {
		clear(c.entries)
	}
	c.entries[id] = entry
}

// Used implements [providers.Credentials].
func (c *Credentials) Used(id string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at.After(c.used[id]) {
		c.used[id] = at
	}
}

// Follow forgets what changed, looking at every interval, and notes in the store what was used, until ctx ends.
func (c *Credentials) Follow(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	flushed := c.now()
	for {
		c.refresh(ctx)
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			c.flush(last)
			cancel()
			return
		case <-tick.C:
		}
		if now := c.now(); now.Sub(flushed) >= flushUsed || now.Before(flushed) {
			flushed = now
			c.flush(ctx)
		}
	}
}

func (c *Credentials) refresh(ctx context.Context) {
	started := c.now()
	revision, err := c.store.CredentialsRevision(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil && !c.away { // once for each time that it goes away
			c.away = true
			c.log.Warn("credentials not refreshed; they are read one by one until the store is back", "error", err)
		}
		return
	}
	c.away = false
	if revision != c.revision {
		c.revision = revision
		clear(c.entries)
	}
	c.checked = started
}

// flush writes the times of use; those that cannot be written are kept for the next time.
func (c *Credentials) flush(ctx context.Context) {
	c.mu.Lock()
	used := c.used
	c.used = map[string]time.Time{}
	c.mu.Unlock()
	if len(used) == 0 {
		return
	}
	if err := c.store.TouchCredentials(ctx, used); err != nil {
		c.log.Warn("last use of credentials not noted; it is tried again", "error", err)
		for id, at := range used {
			c.Used(id, at)
		}
	}
}
