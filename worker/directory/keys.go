package directory

import (
	"context"
	"sync"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/clock"
)

// A KeyStore is where the key history is kept; *store.Store is one.
type KeyStore interface {
	KeyHistory(ctx context.Context, tenant, source, issuer string) (store.KeyHistory, error)
	ObserveSourceKeys(ctx context.Context, tenant, source, issuer string, o store.KeyObservation) error
	Now(ctx context.Context) (time.Time, error)
}

// NewKeys returns the key history over a store. broker tells the broker's time, which bounds the database's; nil: there is
// no broker.
func NewKeys(st KeyStore, broker func(context.Context) (time.Time, error)) providers.Keys {
	return storedKeys{st, broker}
}

type storedKeys struct {
	store  KeyStore
	broker func(context.Context) (time.Time, error)
}

// brokerClockTimeout bounds the question for the broker's time.
const brokerClockTimeout = 2 * time.Second

// Clock implements [providers.Keys] by the database's clock. Events are judged by the times at which the broker stored
// them, so what is asked now must not seem to be asked later than the broker's own time, nor before what it has stored.
func (k storedKeys) Clock(ctx context.Context, atLeast time.Time) (time.Time, error) {
	now, err := k.store.Now(ctx)
	if err != nil {
		return time.Time{}, err
	}
	if k.broker != nil {
		ctx, cancel := context.WithTimeout(ctx, brokerClockTimeout)
		defer cancel()
		if latest, err := k.broker(ctx); err == nil { // one that is away stores nothing either
			if now.After(latest) {
				now = latest
			}
			if atLeast.After(latest) {
				atLeast = latest
			}
		}
	}
	if now.Before(atLeast) {
		return atLeast, nil
	}
	return now, nil
}

// Keys implements [providers.Keys].
func (k storedKeys) Keys(ctx context.Context, tenant, source, issuer string) (providers.KeyHistory, error) {
	row, err := k.store.KeyHistory(ctx, tenant, source, issuer)
	if err != nil {
		return providers.KeyHistory{}, err
	}
	h := providers.KeyHistory{
		Keys: make([]providers.Key, len(row.Keys)), Bans: make([]providers.KeyBan, len(row.Bans)),
		AskedAt: row.AskedAt, ValidUntil: row.ValidUntil, Revision: row.Revision,
	}
	for i, r := range row.Keys {
		h.Keys[i] = providers.Key(r)
	}
	for i, b := range row.Bans {
		h.Bans[i] = providers.KeyBan{PublicKey: b.PublicKey, From: b.From}
	}
	return h, nil
}

// Observe implements [providers.Keys].
func (k storedKeys) Observe(ctx context.Context, tenant, source, issuer string, o providers.KeyObservation) error {
	row := store.KeyObservation{Keys: make([]store.SourceKey, len(o.Keys)), At: o.At, ValidUntil: o.ValidUntil}
	for i, p := range o.Keys {
		row.Keys[i] = store.SourceKey(p)
	}
	return k.store.ObserveSourceKeys(ctx, tenant, source, issuer, row)
}

// FollowKeys has the providers take over what other workers learned of keys, and what operators banned, looking at every
// interval until ctx ends. From time to time it tells when the keys of sources end.
func (d *Cache) FollowKeys(ctx context.Context, interval time.Duration, ends func([]TrustEnd)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	known := int64(-1) // histories that an older version wrote have revision 0
	failed := false
	var told time.Time // when the ends of keys were told last
	for {
		if now := d.now(); now.Sub(told) >= tellEnds || now.Before(told) {
			told = now
			ends(d.trustEnds())
		}
		revision, err := d.takeOverKeys(ctx, known)
		if err == nil {
			known = revision
		} else if !failed && ctx.Err() == nil { // once for each time that the store goes away
			d.log.Warn("changes of keys not read; they are read when the store is back", "error", err)
		}
		failed = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// How issuers are read again.
const (
	keyReadLease = 30 * time.Second // of one reading; an issuer that does not answer is tried again when it ends
	keyReaders   = 8                // at a time
	keyReadRetry = 5 * time.Second  // after another worker was found to read it
)

// RefreshKeys reads each issuer again at half of its source's key_staleness, so that a first login after a quiet night
// finds keys that were seen lately. Of all workers the one that holds the lease does so; name is that of this one. Nothing
// is read while away reports that the store is.
func (d *Cache) RefreshKeys(ctx context.Context, name string, interval time.Duration, away func() bool) {
	var readers sync.WaitGroup
	defer readers.Wait()
	free := make(chan struct{}, keyReaders)
	next := map[store.KeyHistoryID]time.Time{}
	for range clock.Ticks(ctx, interval) {
		now := d.now()
		due := d.keysDue(now)
		for id := range next {
			if _, ok := due[id]; !ok {
				delete(next, id)
			}
		}
		for id, src := range due {
			if now.Before(next[id]) && !now.Before(next[id].Add(-keyReadRetry)) || away() {
				continue
			}
			select {
			case free <- struct{}{}:
			default:
				continue // at the next tick
			}
			next[id] = now.Add(keyReadRetry)
			readers.Go(func() {
				defer func() { <-free }()
				d.readKeys(ctx, name, id, src)
			})
		}
	}
}

// readKeys reads one issuer, if no other worker does.
func (d *Cache) readKeys(ctx context.Context, name string, id store.KeyHistoryID, src *Source) {
	half := src.Staleness() / 2
	claimed, err := d.store.ClaimKeyRead(ctx, id, name, half, min(half, keyReadLease))
	if err != nil || !claimed {
		if err != nil && ctx.Err() == nil {
			d.log.Debug("reading of keys not claimed", "source", src.Name, "error", err)
		}
		return
	}
	ctx, cancel := context.WithTimeout(ctx, keyReadLease)
	defer cancel()
	if err := src.Provider.(providers.KeyHolder).ReadKeys(ctx); err != nil {
		d.log.Debug("keys not read again", "tenant", id.Tenant, "source", src.Name, "error", err)
	}
}

// keysDue returns the sources whose issuers were read, and not within half of what they are believed for.
func (d *Cache) keysDue(now time.Time) map[store.KeyHistoryID]*Source {
	due := map[store.KeyHistoryID]*Source{}
	for id, t := range d.Current().tenants {
		for name, s := range t.sources {
			holder, ok := s.Provider.(providers.KeyHolder)
			if !ok {
				continue
			}
			if issuer, at := holder.KeysReadAt(); !at.IsZero() && now.Sub(at) >= s.Staleness()/2 {
				due[store.KeyHistoryID{Tenant: id, Source: name, Issuer: issuer}] = s
			}
		}
	}
	return due
}

// tellEnds is how often it is told when keys end.
const tellEnds = 15 * time.Second

// trustEnds returns when the keys of sources end, for those of which it is known.
func (d *Cache) trustEnds() []TrustEnd {
	var ends []TrustEnd
	for id, t := range d.Current().tenants {
		for name, s := range t.sources {
			if e, ok := s.Provider.(providers.Expirer); ok {
				if at := e.TrustExpires(); !at.IsZero() {
					ends = append(ends, TrustEnd{id, name, at})
				}
			}
		}
	}
	return ends
}

// takeOverKeys reloads the histories that changed after the revision since, and returns the newest revision.
func (d *Cache) takeOverKeys(ctx context.Context, since int64) (int64, error) {
	revision, err := d.store.KeysRevision(ctx)
	if err != nil || revision == since {
		return revision, err
	}
	changed, err := d.store.ChangedKeyHistories(ctx, since)
	if err != nil {
		return since, err
	}
	dir := d.Current()
	for _, id := range changed {
		tenant := dir.Tenant(id.Tenant)
		if tenant == nil {
			continue
		}
		src := tenant.Source(id.Source)
		if src == nil {
			continue
		}
		if holder, ok := src.Provider.(providers.KeyHolder); ok {
			if err := holder.ReloadKeys(ctx); err != nil {
				return since, err
			}
		}
	}
	return revision, nil
}

// A TrustEnd says when the keys of a source end.
type TrustEnd struct {
	Tenant, Source string
	At             time.Time
}
