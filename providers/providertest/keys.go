package providertest

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/idpsync/idpsync/providers"
)

// Keys is a key history in memory, with the semantics that providers.Keys asks for. The zero value is ready.
type Keys struct {
	mu      sync.Mutex
	clock   *Clock // nil stands at [Epoch]
	issuers map[issuerID]*history
	bans    map[string][]providers.KeyBan // by issuer
	reads   int
	err     error
}

type issuerID struct{ tenant, source, issuer string }

type history struct {
	keys  map[entry]providers.Key
	last  time.Time // the newest observation
	until time.Time // what it said of itself
	count int64     // of changes
}

type entry struct{ thumbprint, variant string }

var _ providers.Keys = (*Keys)(nil)

// Clock implements providers.Keys by the clock of the environment.
func (k *Keys) Clock(ctx context.Context, atLeast time.Time) (time.Time, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.fault(ctx); err != nil {
		return time.Time{}, err
	}
	now := Epoch
	if k.clock != nil {
		now = k.clock.Now()
	}
	if now.Before(atLeast) {
		return atLeast, nil
	}
	return now, nil
}

// Keys implements providers.Keys.
func (k *Keys) Keys(ctx context.Context, tenant, source, issuer string) (providers.KeyHistory, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reads++
	if err := k.fault(ctx); err != nil {
		return providers.KeyHistory{}, err
	}
	out := providers.KeyHistory{Bans: slices.Clone(k.bans[issuer])}
	h := k.issuers[issuerID{tenant, source, issuer}]
	if h == nil {
		return out, nil
	}
	out.AskedAt, out.ValidUntil, out.Revision = h.last, h.until, h.count
	for _, key := range h.keys {
		out.Keys = append(out.Keys, key)
	}
	slices.SortFunc(out.Keys, func(a, b providers.Key) int {
		return cmp.Or(cmp.Compare(a.Thumbprint, b.Thumbprint), cmp.Compare(a.Variant, b.Variant))
	})
	return out, nil
}

// Ban bans a public key of an issuer for the events stored at from or later; the zero time bans it for all.
func (k *Keys) Ban(issuer, publicKey string, from time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.bans == nil {
		k.bans = make(map[string][]providers.KeyBan)
	}
	k.bans[issuer] = append(k.bans[issuer], providers.KeyBan{PublicKey: publicKey, From: from})
	for id, h := range k.issuers {
		if id.issuer == issuer {
			h.count++
		}
	}
}

// Withdraw ends the histories of a source, as withdrawing it does.
func (k *Keys) Withdraw(source string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, h := range k.issuers {
		if id.source == source {
			*h = history{keys: make(map[entry]providers.Key), count: h.count + 1}
		}
	}
}

// Observe implements providers.Keys.
func (k *Keys) Observe(ctx context.Context, tenant, source, issuer string, o providers.KeyObservation) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.fault(ctx); err != nil {
		return err
	}
	at := o.At
	id := issuerID{tenant, source, issuer}
	h := k.issuers[id]
	if h == nil {
		if k.issuers == nil {
			k.issuers = make(map[issuerID]*history)
		}
		h = &history{keys: make(map[entry]providers.Key)}
		k.issuers[id] = h
	}
	h.count++
	late := at.Before(h.last)
	seen := make(map[entry]bool, len(o.Keys))
	for _, p := range o.Keys {
		name := entry{p.Thumbprint, p.Variant}
		seen[name] = true
		key, known := h.keys[name]
		switch {
		case !known:
			key = p
			key.FirstSeen, key.LastSeen, key.RetiredAt = at, at, time.Time{}
			if late { // a newer answer was without it
				key.RetiredAt = h.last
			}
		case !late:
			key.ID, key.PublicKey, key.Algorithm, key.Material = p.ID, p.PublicKey, p.Algorithm, p.Material
			key.LastSeen, key.RetiredAt = at, time.Time{}
		default:
			if at.Before(key.FirstSeen) {
				key.FirstSeen = at
			}
			if at.After(key.LastSeen) {
				key.LastSeen = at
			}
		}
		h.keys[name] = key
	}
	if late {
		return nil
	}
	h.last, h.until = at, o.ValidUntil
	for name, key := range h.keys {
		if !seen[name] && key.RetiredAt.IsZero() {
			key.RetiredAt = at
			h.keys[name] = key
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
