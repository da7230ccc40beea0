package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jmoiron/sqlx"
)

// An AuditEntry records who did what.
type AuditEntry struct {
	ID     int64 // given by the store
	At     time.Time
	Tenant string // "" when it concerns none or all
	Who    string
	Action string // as in directory.apply, credential.revoke
	Object string
	Detail []byte // JSON; optional; holds no secret
}

// An AuditFilter selects audit entries, latest first.
type AuditFilter struct {
	Tenant, Who, Action string // "" means all
	Since               time.Time
	Limit               int   // 0 means DefaultLimit
	Before              int64 // id of the last entry of the page before; 0 means from the latest
}

// Audit records what somebody did.
func (s *Store) Audit(ctx context.Context, e AuditEntry) error {
	return s.update(ctx, func(tx *sqlx.Tx) error { return audit(ctx, tx, e) })
}

// audit records it within the transaction that does it.
func audit(ctx context.Context, tx *sqlx.Tx, e AuditEntry) error {
	_, err := tx.ExecContext(ctx, tx.Rebind(`insert into audit (at, tenant, who, action, object, detail) values (?, ?, ?, ?, ?, ?)`),
		at(e.At), e.Tenant, e.Who, e.Action, e.Object, blob(e.Detail))
	return err
}

// detail encodes the detail of an entry, whose values are texts and numbers of our own.
func detail(values map[string]any) []byte {
	b, err := json.Marshal(values)
	if err != nil {
		return nil
	}
	return b
}

// AuditEntries lists what was recorded.
func (s *Store) AuditEntries(ctx context.Context, f AuditFilter) ([]AuditEntry, error) {
	var w where
	w.eq("tenant", f.Tenant)
	w.eq("who", f.Who)
	w.eq("action", f.Action)
	if !f.Since.IsZero() {
		w.add("at >= ?", at(f.Since))
	}
	if f.Before > 0 {
		w.add("id < ?", f.Before)
	}
	var rows []struct {
		ID                          int64
		At                          stamp
		Tenant, Who, Action, Object string
		Detail                      blob
	}
	err := s.selectAll(ctx, &rows, `select id, at, tenant, who, action, object, detail from audit`+w.String()+` order by id desc limit ?`,
		append(w.args, limit(f.Limit))...)
	all := make([]AuditEntry, len(rows))
	for i, r := range rows {
		all[i] = AuditEntry{r.ID, r.At.Time, r.Tenant, r.Who, r.Action, r.Object, r.Detail}
	}
	return all, err
}
