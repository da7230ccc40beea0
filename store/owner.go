package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// SetOwner makes a user the owner of the tenant in place of whoever is; with "" nobody is. It returns the id of the owner
// before, or "". A user who does not exist is [ErrNotFound].
func (s *Store) SetOwner(ctx context.Context, tenant, userID, who string, when time.Time) (string, error) {
	tenant, userID = strings.ToLower(tenant), strings.ToLower(userID)
	if !isUUID(tenant) || userID != "" && !isUUID(userID) {
		return "", fmt.Errorf("user %s of tenant %s: %w", userID, tenant, ErrNotFound)
	}
	var before []string
	err := s.update(ctx, func(tx *sqlx.Tx) error {
		before = nil
		if err := tx.SelectContext(ctx, &before, tx.Rebind(`select id from users where tenant_id = ? and is_owner`), tenant); err != nil {
			return err
		}
		set := tx.Rebind(`update users set is_owner = ?, revision = revision + 1, updated_at = ? where tenant_id = ? and id = ?`)
		for _, id := range before {
			if _, err := tx.ExecContext(ctx, set, false, at(when), tenant, id); err != nil {
				return err
			}
		}
		if userID != "" {
			n, err := changed(tx.ExecContext(ctx, set, true, at(when), tenant, userID))
			if err != nil {
				return err
			}
			if n == 0 {
				return fmt.Errorf("user %s of tenant %s: %w", userID, tenant, ErrNotFound)
			}
		}
		return audit(ctx, tx, AuditEntry{At: when, Tenant: tenant, Who: who, Action: "user.owner", Object: userID, Detail: detail(map[string]any{"before": strings.Join(before, ",")})})
	})
	return strings.Join(before, ","), err
}
