package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// A Credential is what an administrator or a feed proves itself with.
type Credential struct {
	ID         string // public part
	Tenant     string // lower-case UUID
	Name       string // a renewal is another credential of the same name in the same tenant
	Purpose    string // what it may be used for; "" for one that was made before credentials had a purpose
	SecretHash []byte // SHA-256 of the secret part
	Grants     []string
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
	RevokedAt  time.Time // zero: not revoked
	LastUsedAt time.Time // zero: never
}

const selectCredentials = `select id, tenant_id, name, purpose, secret_hash, grants, created_at, expires_at, revoked_at, last_used_at from credentials`

type credentialRow struct {
	ID         string
	Tenant     string `db:"tenant_id"`
	Name       string
	Purpose    string
	SecretHash blob `db:"secret_hash"`
	Grants     list
	CreatedAt  stamp `db:"created_at"`
	ExpiresAt  stamp `db:"expires_at"`
	RevokedAt  stamp `db:"revoked_at"`
	LastUsedAt stamp `db:"last_used_at"`
}

func (r credentialRow) credential() Credential {
	return Credential{r.ID, r.Tenant, r.Name, r.Purpose, r.SecretHash, r.Grants, r.CreatedAt.Time, r.ExpiresAt.Time, r.RevokedAt.Time, r.LastUsedAt.Time}
}

// CreateCredential stores a new credential. An id that exists is [ErrRaced], an unknown tenant [ErrConstraint].
func (s *Store) CreateCredential(ctx context.Context, c Credential, who string) error {
	c.Tenant = strings.ToLower(c.Tenant)
	return s.update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, tx.Rebind(`insert into credentials (id, tenant_id, name, purpose, secret_hash, grants, created_at, expires_at, revoked_at,
			last_used_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`), c.ID, c.Tenant, c.Name, c.Purpose, blob(c.SecretHash), list(c.Grants), at(c.CreatedAt),
			maybe(c.ExpiresAt), maybe(c.RevokedAt), maybe(c.LastUsedAt))
		if err != nil {
			return err
		}
		return changedCredentials(ctx, tx, AuditEntry{At: c.CreatedAt, Tenant: c.Tenant, Who: who, Action: "credential.create", Object: c.ID})
	})
}

// Credential returns the credential of the given id, revoked and expired ones too, or ErrNotFound.
func (s *Store) Credential(ctx context.Context, id string) (Credential, error) {
	var r credentialRow
	err := s.get(ctx, &r, "credential "+id, selectCredentials+` where id = ?`, id)
	return r.credential(), err
}

// Credentials lists the credentials of a tenant, or of all when tenant is "", in the order of their creation.
func (s *Store) Credentials(ctx context.Context, tenant string) ([]Credential, error) {
	var w where
	if tenant != "" {
		w.uuid("tenant_id = ?", tenant)
	}
	if w.bad {
		return nil, nil
	}
	var rows []credentialRow
	err := s.selectAll(ctx, &rows, selectCredentials+w.String()+` order by created_at, id`, w.args...)
	all := make([]Credential, len(rows))
	for i, r := range rows {
		all[i] = r.credential()
	}
	return all, err
}

// RevokeCredential ends a credential. One that is revoked keeps its first time; one that does not exist is ErrNotFound.
func (s *Store) RevokeCredential(ctx context.Context, id, who string, when time.Time) error {
	return s.update(ctx, func(tx *sqlx.Tx) error {
		var tenant string
		err := tx.GetContext(ctx, &tenant, tx.Rebind(`update credentials set revoked_at = ? where id = ? and revoked_at is null returning tenant_id`), at(when), id)
		if errors.Is(err, sql.ErrNoRows) { // revoked before, or never there
			err := tx.GetContext(ctx, &tenant, tx.Rebind(`select tenant_id from credentials where id = ?`), id)
			if errors.Is(err, sql.ErrNoRows) {
				return fmt.Errorf("credential %s: %w", id, ErrNotFound)
			}
			return err
		}
		if err != nil {
			return err
		}
		return changedCredentials(ctx, tx, AuditEntry{At: when, Tenant: tenant, Who: who, Action: "credential.revoke", Object: id})
	})
}

// changedCredentials counts the revision on and records the entry.
func changedCredentials(ctx context.Context, tx *sqlx.Tx, e AuditEntry) error {
	if _, err := tx.ExecContext(ctx, `update directory set credentials_revision = credentials_revision + 1`); err != nil {
		return err
	}
	return audit(ctx, tx, e)
}

// TouchCredentials notes when credentials were last used, by id; an earlier time than the one noted changes nothing.
func (s *Store) TouchCredentials(ctx context.Context, used map[string]time.Time) error {
	ids := make([]string, 0, len(used))
	for id := range used {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return s.update(ctx, func(tx *sqlx.Tx) error {
		query := tx.Rebind(`update credentials set last_used_at = ? where id = ? and (last_used_at is null or last_used_at < ?)`)
		for _, id := range ids {
			if _, err := tx.ExecContext(ctx, query, at(used[id]), id, at(used[id])); err != nil {
				return err
			}
		}
		return nil
	})
}
