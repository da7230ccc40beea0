package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// Forget deletes a user with identities and grants, and empties the results that the ledger keeps of the user's events;
// it returns how many those were. Their rows stay, so that an event that comes again still has no second effect, but its
// Result is nil. Dead letters and parked events are not looked at. A user who does not exist is [ErrNotFound].
func (s *Store) Forget(ctx context.Context, tenant, userID, who string, when time.Time) (int64, error) {
	if !isUUID(tenant) || !isUUID(userID) {
		return 0, fmt.Errorf("user %s of tenant %s: %w", userID, tenant, ErrNotFound)
	}
	tenant, userID = strings.ToLower(tenant), strings.ToLower(userID)
	var emptied int64
	err := s.update(ctx, func(tx *sqlx.Tx) error {
		count := func(query string) (int64, error) {
			return changed(tx.ExecContext(ctx, tx.Rebind(query), tenant, userID))
		}
		n, err := count(`delete from users where tenant_id = ? and id = ?`)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("user %s of tenant %s: %w", userID, tenant, ErrNotFound)
		}
		empty := `''`
		if !s.postgres() {
			empty = `x''`
		}
		if emptied, err = count(`update events set result = ` + empty + `, result_headers = ` + empty + ` where tenant_id = ? and user_id = ?`); err != nil {
			return err
		}
		return audit(ctx, tx, AuditEntry{At: when, Tenant: tenant, Who: who, Action: "user.forget", Object: userID})
	})
	return emptied, err
}
