package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"
)

// A picture that is replaced is kept, by the last revision of the user that had it, for as long as the ledger may speak of
// it: answers that did not change it leave it out.
const keepFormer = `insert into former_avatars (tenant_id, user_id, revision, avatar, at)
	select u.tenant_id, u.id, u.revision, u.avatar, r.updated_at from %s r
	join users u on u.tenant_id = r.tenant and u.id = r.id and u.revision = r.old where u.avatar <> '' and u.avatar <> r.avatar`

// former returns the updates that set a picture.
func (w Write) former() *columns {
	var rows []*UserUpdate
	for _, u := range sorted(w.Updates, compareUpdates) {
		if u.Avatar != nil {
			rows = append(rows, u)
		}
	}
	return formerColumns(rows)
}

func formerColumns(rows []*UserUpdate) *columns {
	c := newColumns(len(rows))
	c.uuid("tenant", func(i int) string { return rows[i].TenantID })
	c.uuid("id", func(i int) string { return rows[i].UserID })
	c.numbers("old", "bigint", func(i int) int64 { return rows[i].Revision })
	c.time("updated_at", func(i int) time.Time { return rows[i].UpdatedAt })
	c.text("avatar", func(i int) string { return *rows[i].Avatar })
	return c
}

// keepFormer is SQLite's way of doing it, row by row.
func (tx *Tx) keepFormer(ctx context.Context, c *columns) error {
	if c.n == 0 {
		return nil
	}
	st, err := tx.stmt(ctx, fmt.Sprintf(keepFormer, c.single()))
	if err != nil {
		return err
	}
	for i := range c.n {
		if _, err := st.ExecContext(ctx, c.row(i)...); err != nil {
			return err
		}
	}
	return nil
}

// Avatar returns the picture that a user had at a revision, or "" when there was none, or is none any more.
func (s *Store) Avatar(ctx context.Context, tenant, userID string, revision int64) (string, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	avatar, err := avatarAt(ctx, querier{postgres: s.postgres(), query: s.read.QueryContext}, s.read.Rebind, tenant, userID, revision)
	return avatar, classify(ctx, err)
}

// Avatar is [Store.Avatar] within the batch.
func (tx *Tx) Avatar(ctx context.Context, tenant, userID string, revision int64) (string, error) {
	avatar, err := avatarAt(ctx, querier{postgres: tx.s.postgres(), query: tx.tx.QueryContext}, tx.tx.Rebind, tenant, userID, revision)
	return avatar, classify(ctx, err)
}

func avatarAt(ctx context.Context, q querier, bind func(string) string, tenant, userID string, revision int64) (avatar string, err error) {
	if !isUUID(tenant) || !isUUID(userID) {
		return "", nil
	}
	tenant, userID = strings.ToLower(tenant), strings.ToLower(userID)
	query := bind(`select coalesce((select f.avatar from former_avatars f where f.tenant_id = ? and f.user_id = ? and f.revision >= ? order by f.revision limit 1),
		(select u.avatar from users u where u.tenant_id = ? and u.id = ?), '')`)
	err = q.rows(ctx, query, []any{tenant, userID, revision, tenant, userID}, func(rows *sql.Rows) error { return rows.Scan(&avatar) })
	return avatar, err
}
