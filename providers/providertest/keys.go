package providertest

import (
	"context"
	"sync"
	"time"

	"github.com/idpsync/idpsync/providers"
)

// Keys is a key history in memory, with the semantics that providers.Keys asks for. The zero value is ready.
type Keys struct {
	mu      sync.Mutex
	issuers map[issuerID]*history
	reads   int
	err     error
}

type issuerID struct{ tenant, source, issuer string }

type history struct {
	keys map[string]providers.Key // by thumbprint
	last time.Time                // the newest observation
}

var _ providers.Keys = (*Keys)(nil)

// Keys implements providers.Keys.
func (k *Keys) Keys(ctx context.Context, tenant, source, issuer string) ([]providers.Key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reads++
	if err := k.fault(ctx); err != nil {
		return nil, err
	}
	h := k.issuers[issuerID{tenant, source, issuer}]
	if h == nil {
		return nil, nil
	}
	all := make([]providers.Key, 0, len(h.keys))
	for _, key := range h.keys {
		all = append(all, key)
	}
	return all, nil
}

// Observe implements providers.Keys.
func (k *Keys) Observe(ctx context.Context, tenant, source, issuer string, published []providers.Key, at time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.fault(ctx); err != nil {
		return err
	}
	id := issuerID{tenant, source, issuer}
	h := k.issuers[id]
	if h == nil {
		if k.issuers == nil {
			k.issuers = make(map[issuerID]*history)
		}
		h = &history{keys: make(map[string]providers.Key)}
		k.issuers[id] = h
	}
	late := at.Before(h.last)
	seen := make(map[string]bool, len(published))
	for _, p := range published {
		seen[p.Thumbprint] = true
		key, known := h.keys[p.Thumbprint]
		switch {
		case !known:
			key = p
			key.FirstSeen, key.LastSeen, key.RetiredAt = at, at, time.Time{}
			if late { // a newer answer was without it
				key.RetiredAt = h.last
			}
		case !late:
			key.ID, key.Algorithm, key.Material = p.ID, p.Algorithm, p.Material
			key.LastSeen, key.RetiredAt = at, time.Time{}
		default:
			if at.Before(key.FirstSeen) {
				key.FirstSeen = at
			}
			if at.After(key.LastSeen) {
				key.LastSeen = at
			}
		}
		h.keys[p.Thumbprint] = key
	}
	if late {
		return nil
	}
	h.last = at
	for thumbprint, key := range h.keys {
		if !seen[thumbprint] && key.RetiredAt.IsZero() {
			key.RetiredAt = at
			h.keys[thumbprint] = key
		}
	}
	return nil
}

// Reads returns how often the history was read.
func (k *Keys) Reads() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.reads
}

// Fail makes every call return err, until Fail(nil).
func (k *Keys) Fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
}

func (k *Keys) fault(ctx context.Context) error {
	if k.err != nil {
		return k.err
	}
	return ctx.Err()
}
