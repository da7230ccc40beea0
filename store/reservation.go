package store

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
)

// A Reservation makes the addresses of users reserved who were there before their source could speak for them. Of users
// with one address the first gets it, and none does while it is reserved for another user.
type Reservation struct {
	Tenant    string
	Source    string   // that made the users
	Domains   []string // of the addresses, canonical; empty means any
	Proved    bool     // only addresses marked as verified, and also of users to whom the source was only linked
	Undecided bool     // only users from before reservations were kept
}

// step implements [Step].
func (r Reservation) step(ctx context.Context, tx *sqlx.Tx, postgres bool, _ string, _ time.Time) error {
	_, err := r.run(ctx, tx, postgres)
	return err
}

func (r Reservation) run(ctx context.Context, tx *sqlx.Tx, postgres bool) (int64, error) {
	tenant := strings.ToLower(r.Tenant)
	cond, args := `u.tenant_id = ?`, []any{tenant, tenant}
	add := func(c string, a ...any) { cond, args = cond+" and "+c, append(args, a...) }
	add(map[bool]string{true: `u.email_reserved is null`, false: `u.email_reserved is not true`}[r.Undecided])
	if r.Proved {
		add(`u.email_verified and (u.created_by = ? or exists (select 1 from identities d
			where d.tenant_id = u.tenant_id and d.user_id = u.id and d.source = ?))`, r.Source, r.Source)
	} else {
		add(`u.created_by = ?`, r.Source)
	}
	if len(r.Domains) > 0 {
		domain := `substr(u.email_key, instr(u.email_key, '@') + 1)`
		if postgres {
			domain = `split_part(u.email_key, '@', 2)`
		}
		domains := make([]any, len(r.Domains))
		for i, d := range r.Domains {
			domains[i] = d
		}
		add(domain+` in (?`+strings.Repeat(", ?", len(domains)-1)+`)`, domains...)
	}
	return changed(tx.ExecContext(ctx, tx.Rebind(`update users set email_reserved = true where tenant_id = ? and id in (select first.id from (
		select u.id, row_number() over (partition by u.email_key order by u.created_at, u.id) as nth from users u where `+cond+`
			and not exists (select 1 from users o where o.tenant_id = u.tenant_id and o.email_key = u.email_key and o.email_reserved)) first
		where first.nth = 1)`), args...))
}

// UserGroup is a number of users of one tenant who were made by one source.
type UserGroup struct {
	TenantID  string `db:"tenant_id"`
	CreatedBy string `db:"created_by"`
	Users     int64  `db:"users"`
}

// DecideReservations decides about the users from before reservations were kept: those of the reservations for their
// tenants are reserved, all others are not. It returns the latter, by tenant and source. When there is none to decide
// about, it costs one look.
func (s *Store) DecideReservations(ctx context.Context, reservations func(tenants []string) []Reservation) ([]UserGroup, error) {
	var some bool
	if err := s.get(ctx, &some, "users", `select exists (select 1 from users where email_reserved is null)`); err != nil || !some {
		return nil, err
	}
	var rest []UserGroup
	err := s.update(ctx, func(tx *sqlx.Tx) error {
		var tenants []string
		if err := tx.SelectContext(ctx, &tenants, `select distinct tenant_id from users where email_reserved is null order by tenant_id`); err != nil {
			return err
		}
		for _, r := range reservations(tenants) {
			r.Undecided = true
			if _, err := r.run(ctx, tx, s.postgres()); err != nil {
				return err
			}
		}
		rest = nil
		if err := tx.SelectContext(ctx, &rest, `select tenant_id, created_by, count(*) as users from users where email_reserved is null
			group by tenant_id, created_by order by tenant_id, created_by`); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `update users set email_reserved = false where email_reserved is null`)
		return err
	})
	return rest, err
}

// A NamedUser is a user with the identity name.
type NamedUser struct {
	TenantID string `db:"tenant_id"`
	ID       string `db:"id"`
	Name     string `db:"identity_name"`
}

// skeletonBatch is how many users get their skeleton in one transaction.
const skeletonBatch = 1000

// DecideSkeletons computes the skeletons of the identity names of users from before they were kept. Of names that look
// alike the first keeps the skeleton; the others are returned, and look like nobody from then on.
func (s *Store) DecideSkeletons(ctx context.Context, skeleton func(name string) string) ([]NamedUser, error) {
	var twins []NamedUser
	last := NamedUser{TenantID: uuid.Nil.String(), ID: uuid.Nil.String()}
	for {
		var users []NamedUser
		err := s.selectAll(ctx, &users, `select tenant_id, id, identity_name from users
			where name_skeleton is null and (tenant_id, id) > (?, ?) order by tenant_id, id limit ?`, last.TenantID, last.ID, skeletonBatch)
		if err != nil || len(users) == 0 {
			return twins, err
		}
		rows := make([]User, len(users)) // outside of the transaction, which takes the database from others
		for i, u := range users {
			rows[i].ID = u.ID
			if u.Name != "" {
				rows[i].NameSkeleton = skeleton(u.Name)
			}
		}
		last = users[len(users)-1]
		var found []NamedUser
		err = s.update(ctx, func(tx *sqlx.Tx) error {
			found, err = decideSkeletons(ctx, tx, users, rows)
			return err
		})
		if err != nil {
			return twins, err
		}
		twins = append(twins, found...)
	}
}

// decideSkeletons stores the skeletons of rows, which are those of users. One that another process has stored in the
// meantime stays as it is.
func decideSkeletons(ctx context.Context, tx *sqlx.Tx, users []NamedUser, rows []User) ([]NamedUser, error) {
	var twins []NamedUser
	taken := tx.Rebind(`select exists (select 1 from users where tenant_id = ? and name_skeleton = ? and id <> ?)`)
	set := tx.Rebind(`update users set name_skeleton = ? where tenant_id = ? and id = ? and name_skeleton is null`)
	for i, u := range users {
		row := rows[i]
		var there bool
		if err := tx.GetContext(ctx, &there, taken, u.TenantID, row.skeleton(), u.ID); err != nil {
			return nil, err
		}
		if there {
			row.NameSkeleton = ""
		}
		n, err := changed(tx.ExecContext(ctx, set, row.skeleton(), u.TenantID, u.ID))
		if err != nil {
			return nil, err
		}
		if there && n > 0 {
			twins = append(twins, u)
		}
	}
	return twins, nil
}
