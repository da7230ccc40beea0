package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// A KeyBan ends the use of a public key of an issuer, for every tenant and source that has this issuer, whatever is
// published. It outlives the sources.
type KeyBan struct {
	Issuer    string
	PublicKey string    // as in SourceKey
	From      time.Time // events stored before are not concerned; zero: all are
	At        time.Time // when it was banned
	Who, Why  string
}

type keyBanRow struct {
	Issuer    string
	PublicKey string `db:"public_key"`
	From      stamp  `db:"banned_from"`
	At        stamp
	Who, Why  string
}

const selectBans = `select issuer, public_key, banned_from, at, who, why from key_bans`

func bansOf(rows []keyBanRow) []KeyBan {
	bans := make([]KeyBan, len(rows))
	for i, r := range rows {
		bans[i] = KeyBan{r.Issuer, r.PublicKey, r.From.Time, r.At.Time, r.Who, r.Why}
	}
	return bans
}

func keyBans(ctx context.Context, tx *sqlx.Tx, issuer string) ([]KeyBan, error) {
	var rows []keyBanRow
	err := tx.SelectContext(ctx, &rows, tx.Rebind(selectBans+` where issuer = ? order by public_key`), issuer)
	return bansOf(rows), err
}

// KeyBans lists all bans.
func (s *Store) KeyBans(ctx context.Context) ([]KeyBan, error) {
	var rows []keyBanRow
	err := s.selectAll(ctx, &rows, selectBans+` order by issuer, public_key`)
	return bansOf(rows), err
}

// BanKey bans a key, or changes its ban.
func (s *Store) BanKey(ctx context.Context, b KeyBan) error {
	var c checker
	c.key("KeyBan", 0, "PublicKey", b.PublicKey)
	c.key("KeyBan", 0, "Issuer", b.Issuer)
	c.text("KeyBan", 0, "Why", b.Who, b.Why)
	if c.err != nil {
		return c.err
	}
	return s.update(ctx, func(tx *sqlx.Tx) error {
		if err := bansChanged(ctx, tx, b.Issuer); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, tx.Rebind(`insert into key_bans (issuer, public_key, banned_from, at, who, why) values (?, ?, ?, ?, ?, ?)
			on conflict (issuer, public_key) do update set banned_from = excluded.banned_from, at = excluded.at, who = excluded.who, why = excluded.why`),
			b.Issuer, b.PublicKey, maybe(b.From), at(b.At), b.Who, b.Why)
		if err != nil {
			return err
		}
		return auditKey(ctx, tx, "key.ban", b)
	})
}

// UnbanKey ends a ban; one that does not exist is ErrNotFound.
func (s *Store) UnbanKey(ctx context.Context, issuer, publicKey, who, why string, when time.Time) error {
	return s.update(ctx, func(tx *sqlx.Tx) error {
		if err := bansChanged(ctx, tx, issuer); err != nil {
			return err
		}
		n, err := changed(tx.ExecContext(ctx, tx.Rebind(`delete from key_bans where issuer = ? and public_key = ?`), issuer, publicKey))
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("ban of key %s: %w", publicKey, ErrNotFound)
		}
		return auditKey(ctx, tx, "key.unban", KeyBan{Issuer: issuer, PublicKey: publicKey, Who: who, Why: why, At: when})
	})
}

// bansChanged has every worker read the histories of the issuer again.
func bansChanged(ctx context.Context, tx *sqlx.Tx, issuer string) error {
	revision, err := nextKeysRevision(ctx, tx)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, tx.Rebind(`update key_histories set revision = ? where issuer = ?`), revision, issuer)
	return err
}

func auditKey(ctx context.Context, tx *sqlx.Tx, action string, b KeyBan) error {
	values := map[string]any{"issuer": b.Issuer, "why": b.Why}
	if !b.From.IsZero() {
		values["from"] = at(b.From).Format(time.RFC3339Nano)
	}
	return audit(ctx, tx, AuditEntry{At: b.At, Who: b.Who, Action: action, Object: b.PublicKey, Detail: detail(values)})
}
