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

// A SourceKey is one signing key or certificate that a source's issuer has published. Thumbprint and Variant together are
// unique within tenant, source and issuer.
type SourceKey struct {
	ID         string // JWK kid, or "" ; for a certificate the hex SHA-256 of its DER form
	Thumbprint string
	Variant    string // tells entries of one JWK apart
	PublicKey  string // names the public key, as bans do; "" in a row of an older version whose key has none yet
	Algorithm  string
	Material   []byte
	FirstSeen  time.Time
	LastSeen   time.Time
	RetiredAt  time.Time // zero while published
}

// A KeyHistory is what is known of the keys of one issuer by one source.
type KeyHistory struct {
	Keys       []SourceKey // sorted by thumbprint and variant
	Bans       []KeyBan    // of the issuer
	AskedAt    time.Time   // when the newest answer was asked for; zero: there is none
	ValidUntil time.Time   // of the newest answer; zero: it does not say
	Revision   int64       // grows with each change
}

// A KeyHistoryID names a history.
type KeyHistoryID struct {
	Tenant string `db:"tenant_id"`
	Source string
	Issuer string
}

// A KeyObservation is what an issuer answered.
type KeyObservation struct {
	Keys       []SourceKey // exactly these are published; their times are not looked at
	At         time.Time   // when the issuer was asked
	ValidUntil time.Time   // zero: it does not say
}

type keyRow struct {
	ID         string `db:"key_id"`
	Thumbprint string
	Variant    string
	PublicKey  string `db:"public_key"`
	Algorithm  string
	Material   blob
	FirstSeen  stamp `db:"first_seen"`
	LastSeen   stamp `db:"last_seen"`
	RetiredAt  stamp `db:"retired_at"`
}

const (
	keyColumns = `key_id, thumbprint, variant, public_key, algorithm, material, first_seen, last_seen, retired_at`
	selectKeys = `select ` + keyColumns + ` from source_keys where tenant_id = ? and source = ? and issuer = ? order by thumbprint, variant`
)

func (r keyRow) key() SourceKey {
	return SourceKey{r.ID, r.Thumbprint, r.Variant, r.PublicKey, r.Algorithm, r.Material, r.FirstSeen.Time, r.LastSeen.Time, r.RetiredAt.Time}
}

func sourceKeys(rows []keyRow) []SourceKey {
	keys := make([]SourceKey, len(rows))
	for i, r := range rows {
		keys[i] = r.key()
	}
	return keys
}

// KeyHistory returns what is known of the issuer by the source. That nothing is known is not an error.
func (s *Store) KeyHistory(ctx context.Context, tenant, source, issuer string) (KeyHistory, error) {
	var h KeyHistory
	tenant = strings.ToLower(tenant)
	err := s.view(ctx, func(tx *sqlx.Tx) error {
		var heads []struct {
			AskedAt    stamp `db:"asked_at"`
			ValidUntil stamp `db:"valid_until"`
			Revision   int64
		}
		err := tx.SelectContext(ctx, &heads, tx.Rebind(`select asked_at, valid_until, revision from key_histories
			where tenant_id = ? and source = ? and issuer = ?`), tenant, source, issuer)
		if err != nil {
			return err
		}
		for _, r := range heads {
			h.AskedAt, h.ValidUntil, h.Revision = r.AskedAt.Time, r.ValidUntil.Time, r.Revision
		}
		var rows []keyRow
		if err := tx.SelectContext(ctx, &rows, tx.Rebind(selectKeys), tenant, source, issuer); err != nil {
			return err
		}
		h.Keys = sourceKeys(rows)
		h.Bans, err = keyBans(ctx, tx, issuer)
		return err
	})
	return h, err
}

// KeysRevision returns the number of the last change to any key history or ban; it is cheap enough to ask every second.
func (s *Store) KeysRevision(ctx context.Context) (int64, error) {
	var n int64
	return n, s.get(ctx, &n, "directory", `select keys_revision from directory`)
}

// ChangedKeyHistories lists the histories that changed after the revision since.
func (s *Store) ChangedKeyHistories(ctx context.Context, since int64) ([]KeyHistoryID, error) {
	var ids []KeyHistoryID
	err := s.selectAll(ctx, &ids, `select tenant_id, source, issuer from key_histories where revision > ? order by tenant_id, source, issuer`, since)
	return ids, err
}

// ClaimKeyRead hands the reading of an issuer to the worker until its lease ends, unless the newest answer is younger than
// every, or another worker has it in hand. Times are those of the database's clock.
func (s *Store) ClaimKeyRead(ctx context.Context, id KeyHistoryID, worker string, every, lease time.Duration) (bool, error) {
	claimed := false
	err := s.update(ctx, func(tx *sqlx.Tx) error {
		now, err := s.clock(ctx, tx)
		if err != nil {
			return err
		}
		n, err := changed(tx.ExecContext(ctx, tx.Rebind(`update key_histories set claimed_by = ?, claimed_until = ?
			where tenant_id = ? and source = ? and issuer = ? and asked_at <= ? and (claimed_until is null or claimed_until <= ?)`),
			worker, at(now.Add(lease)), strings.ToLower(id.Tenant), id.Source, id.Issuer, at(now.Add(-every)), at(now)))
		claimed = n > 0
		return err
	})
	return claimed, err
}

// nextKeysRevision counts on. It locks the directory's row until the transaction ends, so that histories change one after
// the other, and not while the directory does.
func nextKeysRevision(ctx context.Context, tx *sqlx.Tx) (int64, error) {
	var n int64
	return n, tx.GetContext(ctx, &n, `update directory set keys_revision = keys_revision + 1 returning keys_revision`)
}

// ObserveSourceKeys records what an issuer published at the time of the observation: unknown keys are added, known ones have
// LastSeen moved there and RetiredAt cleared, and those not among them have RetiredAt set to it unless it is set.
// Of an older observation than the last one only what is not contradicted is taken: a key that nobody knew becomes known
// as retired, and FirstSeen may move back. Several may observe at once. What is observed of a source that is not declared
// is not kept: the answer may come after the source was withdrawn, and with it its history.
func (s *Store) ObserveSourceKeys(ctx context.Context, tenant, source, issuer string, o KeyObservation) error {
	tenant, when := strings.ToLower(tenant), at(o.At)
	return s.update(ctx, func(tx *sqlx.Tx) error {
		revision, err := nextKeysRevision(ctx, tx)
		if err != nil {
			return err
		}
		var declared int
		err = tx.GetContext(ctx, &declared, tx.Rebind(`select count(*) from sources where tenant_id = ? and name = ? and removed_at is null`), tenant, source)
		if err != nil || declared == 0 {
			return err
		}
		var asked []stamp
		err = tx.SelectContext(ctx, &asked, tx.Rebind(`select asked_at from key_histories where tenant_id = ? and source = ? and issuer = ?`), tenant, source, issuer)
		if err != nil {
			return err
		}
		var rows []keyRow
		if err := tx.SelectContext(ctx, &rows, tx.Rebind(selectKeys), tenant, source, issuer); err != nil {
			return err
		}
		var last time.Time
		if len(asked) > 0 {
			last = asked[0].Time
		}
		now, err := s.clock(ctx, tx)
		if err != nil {
			return err
		}
		keys := sourceKeys(rows)
		last = notAfter(now, when, last, keys)
		replaced := outgrown(keys, o.Keys)
		for _, k := range append(replaced, observe(keys, o.Keys, last, when)...) {
			if err := putKey(ctx, tx, tenant, source, issuer, k); err != nil {
				return err
			}
		}
		for _, k := range replaced {
			_, err := tx.ExecContext(ctx, tx.Rebind(`delete from source_keys where tenant_id = ? and source = ? and issuer = ? and thumbprint = ? and variant = ''`),
				tenant, source, issuer, k.Thumbprint)
			if err != nil {
				return err
			}
		}
		if when.Before(last) {
			_, err = tx.ExecContext(ctx, tx.Rebind(`update key_histories set revision = ? where tenant_id = ? and source = ? and issuer = ?`), revision, tenant, source, issuer)
			return err
		}
		_, err = tx.ExecContext(ctx, tx.Rebind(`insert into key_histories (tenant_id, source, issuer, asked_at, valid_until, revision) values (?, ?, ?, ?, ?, ?)
			on conflict (tenant_id, source, issuer) do update set asked_at = excluded.asked_at, valid_until = excluded.valid_until, revision = excluded.revision`),
			tenant, source, issuer, when, maybe(o.ValidUntil), revision)
		return err
	})
}

// notAfter corrects times that are still to come, which a clock wrote that has been set right since: nothing newer would
// ever be taken. It returns the corrected time of the last observation.
func notAfter(now, when, last time.Time, known []SourceKey) time.Time {
	if when.After(now) {
		now = when
	}
	correct := func(t *time.Time) {
		if t.After(now) {
			*t = now
		}
	}
	for i := range known {
		correct(&known[i].FirstSeen)
		correct(&known[i].LastSeen)
		correct(&known[i].RetiredAt)
	}
	correct(&last)
	return last
}

func putKey(ctx context.Context, tx *sqlx.Tx, tenant, source, issuer string, k SourceKey) error {
	_, err := tx.ExecContext(ctx, tx.Rebind(`insert into source_keys (tenant_id, source, issuer, thumbprint, variant, public_key, key_id, algorithm,
		material, first_seen, last_seen, retired_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		on conflict (tenant_id, source, issuer, thumbprint, variant) do update set public_key = excluded.public_key, key_id = excluded.key_id,
		algorithm = excluded.algorithm, material = excluded.material, first_seen = excluded.first_seen, last_seen = excluded.last_seen,
		retired_at = excluded.retired_at`),
		tenant, source, issuer, k.Thumbprint, k.Variant, k.PublicKey, k.ID, k.Algorithm, blob(k.Material), at(k.FirstSeen), at(k.LastSeen), maybe(k.RetiredAt))
	return err
}

// outgrown gives the known keys of an older version, which knew of no variants, the variant under which their entry is
// published again, and returns them as they are then. Their times stay, whether the observation changes them or not.
func outgrown(known, published []SourceKey) []SourceKey {
	var out []SourceKey
	for i := range known {
		k := &known[i]
		if k.Variant != "" {
			continue
		}
		for _, p := range published {
			if p.Variant != "" && p.Thumbprint == k.Thumbprint && p.ID == k.ID && p.Algorithm == k.Algorithm {
				p.FirstSeen, p.LastSeen, p.RetiredAt = k.FirstSeen, k.LastSeen, k.RetiredAt
				*k = p
				out = append(out, p)
				break
			}
		}
	}
	return out
}

// An entry names a key within a history.
type entry struct{ thumbprint, variant string }

func (k SourceKey) entry() entry { return entry{k.Thumbprint, k.Variant} }

// observe returns the keys that the observation changes or adds; last is when the newest one so far was asked for.
func observe(known, published []SourceKey, last, when time.Time) []SourceKey {
	before := make(map[entry]SourceKey, len(known))
	for _, k := range known {
		before[k.entry()] = k
		for _, t := range []time.Time{k.LastSeen, k.RetiredAt} {
			if t.After(last) {
				last = t
			}
		}
	}
	var changed []SourceKey
	seen := make(map[entry]bool, len(published))
	for _, p := range published {
		if seen[p.entry()] {
			continue
		}
		seen[p.entry()] = true
		old, ok := before[p.entry()]
		k := old
		if !ok {
			k = SourceKey{
				ID: p.ID, Thumbprint: p.Thumbprint, Variant: p.Variant, PublicKey: p.PublicKey, Algorithm: p.Algorithm, Material: p.Material,
				FirstSeen: when, LastSeen: when,
			}
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
			k.ID, k.PublicKey, k.Algorithm, k.Material = p.ID, p.PublicKey, p.Algorithm, p.Material
		}
		if !k.RetiredAt.After(when) {
			k.RetiredAt = time.Time{}
		}
		if !k.same(old) {
			changed = append(changed, k)
		}
	}
	for _, k := range known {
		if !seen[k.entry()] && k.RetiredAt.IsZero() && !when.Before(k.LastSeen) {
			k.RetiredAt = when
			changed = append(changed, k)
		}
	}
	slices.SortFunc(changed, func(a, b SourceKey) int {
		return cmp.Or(cmp.Compare(a.Thumbprint, b.Thumbprint), cmp.Compare(a.Variant, b.Variant))
	})
	return changed
}

func (k SourceKey) same(o SourceKey) bool {
	return k.ID == o.ID && k.PublicKey == o.PublicKey && k.Algorithm == o.Algorithm && bytes.Equal(k.Material, o.Material) &&
		k.FirstSeen.Equal(o.FirstSeen) && k.LastSeen.Equal(o.LastSeen) && k.RetiredAt.Equal(o.RetiredAt)
}

// SourceIssuers returns the issuers under which the source has made identities or shown keys, sorted.
func (s *Store) SourceIssuers(ctx context.Context, tenant, source string) ([]string, error) {
	var issuers []string
	err := s.selectAll(ctx, &issuers, `select issuer from identities where tenant_id = ? and source = ?
		union select issuer from source_keys where tenant_id = ? and source = ? order by 1`, strings.ToLower(tenant), source, strings.ToLower(tenant), source)
	return issuers, err
}

// A KnownKey is a key with the history that it belongs to.
type KnownKey struct {
	KeyHistoryID
	SourceKey
}

// KnownKeys lists the keys of all histories, or of one tenant's, sorted by tenant, source, issuer and when they were seen
// first.
func (s *Store) KnownKeys(ctx context.Context, tenant string) ([]KnownKey, error) {
	var w where
	if tenant != "" {
		w.uuid("tenant_id = ?", tenant)
	}
	if w.bad {
		return nil, nil
	}
	var rows []struct {
		KeyHistoryID
		keyRow
	}
	err := s.selectAll(ctx, &rows, `select tenant_id, source, issuer, `+keyColumns+` from source_keys`+w.String()+
		` order by tenant_id, source, issuer, first_seen, thumbprint, variant`, w.args...)
	keys := make([]KnownKey, len(rows))
	for i, r := range rows {
		keys[i] = KnownKey{r.KeyHistoryID, r.key()}
	}
	return keys, err
}
