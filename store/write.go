package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Write is all that a batch stores. Its rows must not contradict each other: two users with one key in the same Write
// fail with [ErrRaced] however often they are tried.
type Write struct {
	Users              []User
	Identities         []Identity // of new users, or of users with an entry in Updates, whose revision guards the link
	RoleGrants         []RoleGrant
	OrganizationGrants []OrganizationGrant
	Updates            []UserUpdate // at most one for a user
	Events             []Event
	Repeats            []Repeat // one that is there already stays as it is
	UsedIDs            []UsedID
	Outbox             []Outbox
}

// Write stores all of w or nothing. When a key of it is taken, or a user of w.Updates has changed, it fails with
// [ErrRaced]; return that from the batch's function, and the batch runs again. A bad row is a [*RowError] where the store
// can tell it, else an [ErrConstraint]; the transaction is then of no further use. A batch writes once.
func (tx *Tx) Write(ctx context.Context, w Write) error {
	if err := w.check(); err != nil {
		return err
	}
	if tx.s.postgres() {
		return classify(ctx, tx.writeArrays(ctx, w))
	}
	return classify(ctx, tx.writeRows(ctx, w))
}

// An insertion is the rows of one table.
type insertion struct {
	table, conflict string
	cols            *columns
}

// insertions are the inserts of w in an order that foreign keys allow. The rows are sorted by their unique key, so that
// two batches wait for each other instead of locking each other out.
func (w Write) insertions() []insertion {
	const idempotent = " on conflict do nothing"
	return []insertion{
		{"users", "", userColumns(sorted(w.Users, func(a, b *User) int {
			return cmp.Or(strings.Compare(a.TenantID, b.TenantID), strings.Compare(a.EmailKey, b.EmailKey))
		}))},
		{"identities", "", identityColumns(sorted(w.Identities, func(a, b *Identity) int {
			return cmp.Or(strings.Compare(a.TenantID, b.TenantID), strings.Compare(a.Issuer, b.Issuer), strings.Compare(a.Subject, b.Subject))
		}))},
		{"user_roles", idempotent, roleGrantColumns(sorted(w.RoleGrants, func(a, b *RoleGrant) int {
			return cmp.Or(strings.Compare(a.UserID, b.UserID), strings.Compare(a.RoleID, b.RoleID))
		}))},
		{"user_organizations", idempotent, organizationGrantColumns(sorted(w.OrganizationGrants, func(a, b *OrganizationGrant) int {
			return cmp.Or(strings.Compare(a.UserID, b.UserID), strings.Compare(a.OrganizationID, b.OrganizationID), strings.Compare(a.RoleID, b.RoleID))
		}))},
		{"events", "", eventInsertColumns(sorted(w.Events, func(a, b *Event) int {
			return cmp.Or(strings.Compare(a.TenantID, b.TenantID), strings.Compare(a.Source, b.Source), strings.Compare(a.EventID, b.EventID), strings.Compare(a.Scope, b.Scope))
		}))},
		{"repeats", idempotent, repeatColumns(sorted(w.Repeats, func(a, b *Repeat) int { return strings.Compare(a.Origin, b.Origin) }))},
		{"used_ids", "", usedIDColumns(sorted(w.UsedIDs, func(a, b *UsedID) int {
			return cmp.Or(strings.Compare(a.TenantID, b.TenantID), strings.Compare(a.Source, b.Source), strings.Compare(a.ID, b.ID))
		}))},
		{"outbox", "", outboxColumns(sorted(w.Outbox, func(a, b *Outbox) int { return strings.Compare(a.ID, b.ID) }))},
	}
}

// sorted returns the rows in order, without moving those of the caller.
func sorted[T any](rows []T, order func(a, b *T) int) []*T {
	out := make([]*T, len(rows))
	for i := range rows {
		out[i] = &rows[i]
	}
	slices.SortStableFunc(out, order)
	return out
}

// writeArrays writes everything in one statement, whose parts all see the same state.
func (tx *Tx) writeArrays(ctx context.Context, w Write) error {
	var parts []string
	var args []any
	for _, in := range w.insertions() {
		if in.cols.n > 0 {
			parts = append(parts, fmt.Sprintf("w%d as (insert into %s (%s) select %[3]s from %s r%s)",
				len(parts), in.table, in.cols.names(), in.cols.numbered(&args), in.conflict))
		}
	}
	changed := "0"
	if former := w.former(); former.n > 0 {
		parts = append(parts, "former as ("+fmt.Sprintf(keepFormer, former.numbered(&args))+")")
	}
	if len(w.Updates) > 0 {
		changed = "(select count(*) from changed)"
		// The row is found by index and updated by its place; if it has moved since, it was changed, and nothing matches.
		parts = append(parts, `changed as (update users as u set `+setColumns()+`
			from (select i.*, v.ctid as place from `+updateColumns(sorted(w.Updates, compareUpdates)).numbered(&args)+` i
				cross join lateral (select ctid from users v
					where v.tenant_id = i.tenant and v.id = i.id and v.revision = i.old limit 1) v) r
			where u.ctid = r.place returning 1)`)
	}
	if len(parts) == 0 {
		return nil
	}
	var n int
	if err := tx.tx.QueryRowContext(ctx, "with "+strings.Join(parts, ",\n")+"\nselect "+changed, args...).Scan(&n); err != nil {
		return err
	}
	return changedAll(n, len(w.Updates))
}

func changedAll(n, want int) error {
	if n != want {
		return fmt.Errorf("%w: a user has changed since it was read", ErrRaced)
	}
	return nil
}

// writeRows writes row by row with prepared statements.
func (tx *Tx) writeRows(ctx context.Context, w Write) error {
	for _, in := range w.insertions() {
		if in.cols.n == 0 {
			continue
		}
		st, err := tx.stmt(ctx, in.cols.insert(in.table, in.conflict))
		if err != nil {
			return err
		}
		for i := range in.cols.n {
			if _, err := st.ExecContext(ctx, in.cols.row(i)...); err != nil {
				return err
			}
		}
	}
	if err := tx.keepFormer(ctx, w.former()); err != nil {
		return err
	}
	if len(w.Updates) > 0 {
		st, err := tx.stmt(ctx, updateRow())
		if err != nil {
			return err
		}
		c, changed := updateColumns(sorted(w.Updates, compareUpdates)), 0
		for i := range c.n {
			res, err := st.ExecContext(ctx, c.row(i)...)
			if err != nil {
				return err
			}
			n, err := res.RowsAffected()
			if err != nil {
				return err
			}
			changed += int(n)
		}
		if err := changedAll(changed, c.n); err != nil {
			return err
		}
	}
	return nil
}

// stmt returns the prepared statement of query. All that a batch needs are prepared when it begins.
func (tx *Tx) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if st := tx.s.stmts.get(query); st != nil {
		return tx.tx.StmtContext(ctx, st), nil
	}
	return nil, errors.New("no prepared statement for: " + query)
}

// batchStatements are the statements that a batch of SQLite runs for each row.
func batchStatements() []string {
	q := querier{}
	all := []string{
		updateRow(),
		fmt.Sprintf(keepFormer, formerColumns(nil).single()),
		fmt.Sprintf(findKeys, lookupColumns(nil).single()),
		fmt.Sprintf(findUsersQuery(q), userRefColumns(nil).single()),
	}
	for _, in := range (Write{}).insertions() {
		all = append(all, in.cols.insert(in.table, in.conflict))
	}
	return all
}

func compareUpdates(a, b *UserUpdate) int {
	return cmp.Or(strings.Compare(a.TenantID, b.TenantID), strings.Compare(a.UserID, b.UserID))
}

// updateRow is SQLite's statement for one update.
func updateRow() string {
	return `update users as u set ` + setColumns() + ` from ` + updateColumns(nil).single() + ` r
		where u.tenant_id = r.tenant and u.id = r.id and u.revision = r.old`
}

// setColumns sets what an update r has, and leaves the rest of the user u.
func setColumns() string {
	var b strings.Builder
	b.WriteString("revision = r.old + 1, updated_at = r.updated_at")
	for _, col := range updateColumns(nil).cols {
		switch col.name {
		case "tenant", "id", "old", "updated_at":
		case "identity_name_key": // "" is NULL there
			b.WriteString(", identity_name_key = case when r.identity_name_key is null then u.identity_name_key else nullif(r.identity_name_key, '') end")
		default:
			fmt.Fprintf(&b, ", %s = coalesce(r.%[1]s, u.%[1]s)", col.name)
		}
	}
	return b.String()
}

func userColumns(rows []*User) *columns {
	c := newColumns(len(rows))
	c.uuid("tenant_id", func(i int) string { return rows[i].TenantID })
	c.uuid("id", func(i int) string { return rows[i].ID })
	c.text("email", func(i int) string { return rows[i].Email })
	c.text("email_key", func(i int) string { return rows[i].EmailKey })
	c.bool("email_verified", func(i int) bool { return rows[i].EmailVerified })
	c.bool("email_reserved", func(i int) bool { return rows[i].EmailReserved })
	c.text("identity_name", func(i int) string { return rows[i].IdentityName })
	c.optional("identity_name_key", func(i int) string { return rows[i].IdentityNameKey })
	c.text("name_skeleton", func(i int) string { return rows[i].skeleton() })
	c.text("name", func(i int) string { return rows[i].Name })
	c.text("display_name", func(i int) string { return rows[i].DisplayName })
	c.text("first_name", func(i int) string { return rows[i].FirstName })
	c.text("last_name", func(i int) string { return rows[i].LastName })
	c.text("auth_provider", func(i int) string { return rows[i].AuthProvider })
	c.text("avatar", func(i int) string { return rows[i].Avatar })
	c.bool("is_owner", func(i int) bool { return rows[i].IsOwner })
	c.text("password_hash", func(i int) string { return rows[i].PasswordHash })
	c.text("created_by", func(i int) string { return rows[i].CreatedBy })
	c.time("created_at", func(i int) time.Time { return rows[i].CreatedAt })
	c.time("updated_at", func(i int) time.Time { return rows[i].UpdatedAt })
	return c
}

func identityColumns(rows []*Identity) *columns {
	c := newColumns(len(rows))
	c.uuid("tenant_id", func(i int) string { return rows[i].TenantID })
	c.text("kind", func(i int) string { return rows[i].Kind })
	c.text("issuer", func(i int) string { return rows[i].Issuer })
	c.text("subject", func(i int) string { return rows[i].Subject })
	c.uuid("user_id", func(i int) string { return rows[i].UserID })
	c.text("source", func(i int) string { return rows[i].Source })
	c.time("created_at", func(i int) time.Time { return rows[i].CreatedAt })
	return c
}

func roleGrantColumns(rows []*RoleGrant) *columns {
	c := newColumns(len(rows))
	c.uuid("tenant_id", func(i int) string { return rows[i].TenantID })
	c.uuid("user_id", func(i int) string { return rows[i].UserID })
	c.uuid("role_id", func(i int) string { return rows[i].RoleID })
	c.text("source", func(i int) string { return rows[i].Source })
	c.text("event_id", func(i int) string { return rows[i].EventID })
	c.time("at", func(i int) time.Time { return rows[i].At })
	return c
}

func organizationGrantColumns(rows []*OrganizationGrant) *columns {
	c := newColumns(len(rows))
	c.uuid("tenant_id", func(i int) string { return rows[i].TenantID })
	c.uuid("user_id", func(i int) string { return rows[i].UserID })
	c.uuid("organization_id", func(i int) string { return rows[i].OrganizationID })
	c.uuid("role_id", func(i int) string { return rows[i].RoleID })
	c.text("source", func(i int) string { return rows[i].Source })
	c.text("event_id", func(i int) string { return rows[i].EventID })
	c.time("at", func(i int) time.Time { return rows[i].At })
	return c
}

func updateColumns(rows []*UserUpdate) *columns {
	c := newColumns(len(rows))
	c.uuid("tenant", func(i int) string { return rows[i].TenantID })
	c.uuid("id", func(i int) string { return rows[i].UserID })
	c.numbers("old", "bigint", func(i int) int64 { return rows[i].Revision })
	c.time("updated_at", func(i int) time.Time { return rows[i].UpdatedAt })
	c.nullBool("email_verified", func(i int) *bool { return rows[i].EmailVerified })
	c.nullBool("email_reserved", func(i int) *bool { return rows[i].EmailReserved })
	c.nullBool("is_owner", func(i int) *bool { return rows[i].IsOwner })
	c.nullText("name", func(i int) *string { return rows[i].Name })
	c.nullText("display_name", func(i int) *string { return rows[i].DisplayName })
	c.nullText("first_name", func(i int) *string { return rows[i].FirstName })
	c.nullText("last_name", func(i int) *string { return rows[i].LastName })
	c.nullText("identity_name", func(i int) *string { return rows[i].IdentityName })
	c.nullText("identity_name_key", func(i int) *string { return rows[i].IdentityNameKey })
	c.nullText("avatar", func(i int) *string { return rows[i].Avatar })
	c.nullText("auth_provider", func(i int) *string { return rows[i].AuthProvider })
	c.nullText("password_hash", func(i int) *string { return rows[i].PasswordHash })
	return c
}

func eventInsertColumns(rows []*Event) *columns {
	c := newColumns(len(rows))
	c.uuid("tenant_id", func(i int) string { return rows[i].TenantID })
	c.text("source", func(i int) string { return rows[i].Source })
	c.text("event_id", func(i int) string { return rows[i].EventID })
	c.text("scope", func(i int) string { return rows[i].Scope })
	c.text("credential", func(i int) string { return rows[i].Credential })
	c.blob("payload_hash", func(i int) []byte { return rows[i].PayloadHash })
	c.text("outcome", func(i int) string { return rows[i].Outcome })
	c.numbers("status", "smallint", func(i int) int64 { return int64(rows[i].Status) })
	// No rejected event is in the ledger, so it has no code. The column stays, as workers of earlier versions write it, and is
	// written, as it has no default.
	c.text("code", func(int) string { return "" })
	c.optionalUUID("user_id", func(i int) string { return rows[i].UserID })
	c.blob("result", func(i int) []byte { return rows[i].Result })
	c.blob("result_headers", func(i int) []byte { return rows[i].ResultHeaders })
	c.numbers("attempt", "integer", func(i int) int64 { return int64(rows[i].Attempt) })
	c.text("policies", func(i int) string { return list(rows[i].Policies).String() })
	c.text("door", func(i int) string { return rows[i].Door })
	c.text("origin", func(i int) string { return rows[i].Origin })
	c.time("stored_at", func(i int) time.Time { return rows[i].StoredAt })
	c.time("at", func(i int) time.Time { return rows[i].At })
	return c
}

func repeatColumns(rows []*Repeat) *columns {
	c := newColumns(len(rows))
	c.text("origin", func(i int) string { return rows[i].Origin })
	c.uuid("tenant_id", func(i int) string { return rows[i].TenantID })
	c.text("source", func(i int) string { return rows[i].Source })
	c.text("event_id", func(i int) string { return rows[i].EventID })
	c.text("scope", func(i int) string { return rows[i].Scope })
	c.time("at", func(i int) time.Time { return rows[i].At })
	return c
}

func usedIDColumns(rows []*UsedID) *columns {
	c := newColumns(len(rows))
	c.uuid("tenant_id", func(i int) string { return rows[i].TenantID })
	c.text("source", func(i int) string { return rows[i].Source })
	c.text("id", func(i int) string { return rows[i].ID })
	c.text("event_id", func(i int) string { return rows[i].EventID })
	c.time("until", func(i int) time.Time { return rows[i].Until })
	return c
}

func outboxColumns(rows []*Outbox) *columns {
	c := newColumns(len(rows))
	c.text("id", func(i int) string { return rows[i].ID })
	c.text("subject", func(i int) string { return rows[i].Subject })
	c.blob("headers", func(i int) []byte { return rows[i].Headers })
	c.blob("body", func(i int) []byte { return rows[i].Body })
	c.time("at", func(i int) time.Time { return rows[i].At })
	return c
}
