package worker

import (
	"context"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
)

// A KeyStore is where the key history is kept; *store.Store is one.
type KeyStore interface {
	SourceKeys(ctx context.Context, tenant, source, issuer string) ([]store.SourceKey, error)
	ObserveSourceKeys(ctx context.Context, tenant, source, issuer string, published []store.SourceKey, at time.Time) error
}

// NewKeys returns the key history over a store.
func NewKeys(st KeyStore) providers.Keys { return storedKeys{st} }

type storedKeys struct{ store KeyStore }

// Keys implements [providers.Keys].
func (k storedKeys) Keys(ctx context.Context, tenant, source, issuer string) ([]providers.Key, error) {
	rows, err := k.store.SourceKeys(ctx, tenant, source, issuer)
	if err != nil {
		return nil, err
	}
	keys := make([]providers.Key, len(rows))
	for i, r := range rows {
		keys[i] = providers.Key(r)
	}
	return keys, nil
}

// Observe implements [providers.Keys].
func (k storedKeys) Observe(ctx context.Context, tenant, source, issuer string, published []providers.Key, at time.Time) error {
	rows := make([]store.SourceKey, len(published))
	for i, p := range published {
		rows[i] = store.SourceKey(p)
	}
	return k.store.ObserveSourceKeys(ctx, tenant, source, issuer, rows, at)
}
