package store

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// A SourceKey is one signing key or certificate that a source's issuer has published.
type SourceKey struct {
	ID         string // JWK kid, or "" ; for a certificate the hex SHA-256 of its DER form
	Thumbprint string // unique within tenant, source and issuer
	Algorithm  string
	Material   []byte
	FirstSeen  time.Time
	LastSeen   time.Time
	RetiredAt  time.Time // zero while published
}

type keyRow struct {
	ID         string `db:"key_id"`
	Thumbprint string
	Algorithm  string
	Material   blob
	FirstSeen  stamp `db:"first_seen"`
	LastSeen   stamp `db:"last_seen"`
	RetiredAt  stamp `db:"retired_at"`
}

const selectKeys = `select key_id, thumbprint, algorithm, material, first_seen, last_seen, retired_at from source_keys
	where tenant_id = ? and source = ? and issuer = ? order by thumbprint`

func sourceKeys(rows []keyRow) []SourceKey {
	keys := make([]SourceKey, len(rows))
	for i, r := range rows {
		keys[i] = SourceKey{r.ID, r.Thumbprint, r.Algorithm, r.Material, r.FirstSeen.Time, r.LastSeen.Time, r.RetiredAt.Time}
	}
	return keys
}

// SourceKeys returns all keys ever observed for the issuer by the source, sorted by thumbprint. None is not an error.
func (s *Store) SourceKeys(ctx context.Context, tenant, source, issuer string) ([]SourceKey, error) {
	var rows []keyRow
	err := s.selectAll(ctx, &rows, selectKeys, strings.ToLower(tenant), source, issuer)
	return sourceKeys(rows), err
}

// ObserveSourceKeys records that the issuer published exactly these keys at the time at: unknown ones are added, known
// ones have LastSeen moved to at and RetiredAt cleared, and those not among them have RetiredAt set to at unless it is set.
// Of an older observation than the last one only what is not contradicted is taken: a key that nobody knew becomes known
// as retired, and FirstSeen may move back. Several may observe at once. The times in published are not looked at.
func (s *Store) ObserveSourceKeys(ctx context.Context, tenant, source, issuer string, published []SourceKey, when time.Time) error {
	tenant, when = strings.ToLower(tenant), at(when)
	return s.update(ctx, func(tx *sqlx.Tx) error {
		if s.postgres() { // one observer of a tenant at a time; foreign keys to it do not wait
			if _, err := tx.ExecContext(ctx, `select 1 from tenants where id = $1 for no key update`, tenant); err != nil {
				return err
			}
		}
		var rows []keyRow
		if err := tx.SelectContext(ctx, &rows, tx.Rebind(selectKeys), tenant, source, issuer); err != nil {
			return err
		}
		for _, k := range observe(sourceKeys(rows), published, when) {
			_, err := tx.ExecContext(ctx, tx.Rebind(`insert into source_keys (tenant_id, source, issuer, thumbprint, key_id, algorithm, material,
				first_seen, last_seen, retired_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
				on conflict (tenant_id, source, issuer, thumbprint) do update set key_id = excluded.key_id, algorithm = excluded.algorithm,
				material = excluded.material, first_seen = excluded.first_seen, last_seen = excluded.last_seen, retired_at = excluded.retired_at`),
				tenant, source, issuer, k.Thumbprint, k.ID, k.Algorithm, blob(k.Material), at(k.FirstSeen), at(k.LastSeen), maybe(k.RetiredAt))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// observe returns the keys that the observation changes or adds.
func observe(known, published []SourceKey, when time.Time) []SourceKey {
	var last time.Time // of all observations so far
	before := make(map[string]SourceKey, len(known))
	for _, k := range known {
		before[k.Thumbprint] = k
		for _, t := range []time.Time{k.LastSeen, k.RetiredAt} {
			if t.After(last) {
				last = t
			}
		}
	}
	var changed []SourceKey
	seen := make(map[string]bool, len(published))
	for _, p := range published {
		if seen[p.Thumbprint] {
			continue
		}
		seen[p.Thumbprint] = true
		old, ok := before[p.Thumbprint]
		k := old
		if !ok {
			k = SourceKey{ID: p.ID, Thumbprint: p.Thumbprint, Algorithm: p.Algorithm, Material: p.Material, FirstSeen: when, LastSeen: when}
			if when.Before(last) { // the last observation did not have it
				k.RetiredAt = last
			}
			changed = append(changed, k)
			continue
		}
		if when.Before(k.FirstSeen) {
			k.FirstSeen = when
		}
		if when.After(k.LastSeen) {
			k.LastSeen = when
		}
		if !when.Before(last) { // the newest word
			k.ID, k.Algorithm, k.Material = p.ID, p.Algorithm, p.Material
		}
		if !k.RetiredAt.After(when) {
			k.RetiredAt = time.Time{}
		}
		if !k.same(old) {
			changed = append(changed, k)
		}
	}
	for _, k := range known {
		if !seen[k.Thumbprint] && k.RetiredAt.IsZero() && !when.Before(k.LastSeen) {
			k.RetiredAt = when
			changed = append(changed, k)
		}
	}
	slices.SortFunc(changed, func(a, b SourceKey) int { return cmp.Compare(a.Thumbprint, b.Thumbprint) })
	return changed
}

func (k SourceKey) same(o SourceKey) bool {
	return k.ID == o.ID && k.Algorithm == o.Algorithm && bytes.Equal(k.Material, o.Material) &&
		k.FirstSeen.Equal(o.FirstSeen) && k.LastSeen.Equal(o.LastSeen) && k.RetiredAt.Equal(o.RetiredAt)
}

// SourceIssuers returns the issuers under which the source has made identities or shown keys, sorted.
func (s *Store) SourceIssuers(ctx context.Context, tenant, source string) ([]string, error) {
	var issuers []string
	err := s.selectAll(ctx, &issuers, `select issuer from identities where tenant_id = ? and source = ?
		union select issuer from source_keys where tenant_id = ? and source = ? order by 1`, strings.ToLower(tenant), source, strings.ToLower(tenant), source)
	return issuers, err
}
