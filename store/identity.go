package store

import (
	"cmp"
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// An Anchor is what an identity belongs to beside its subject: the kind of source and the issuer that vouch for it.
type Anchor struct {
	Kind   string
	Issuer string
}

// An IdentityFilter selects identities of one tenant. Their order is that of their keys, so that After can walk through
// any number of them.
type IdentityFilter struct {
	Tenant   string // required
	UserID   string // "" means any
	Source   string // that made them; "" means any
	Issuer   string // "" means any
	Unpinned bool   // only those whose kind is not known
	Limit    int    // 0 means DefaultLimit
	After    Identity
}

const identityColumnNames = `tenant_id, kind, issuer, subject, user_id, source, created_at`

// Identities lists external identities, sorted by issuer and subject.
func (s *Store) Identities(ctx context.Context, f IdentityFilter) ([]Identity, error) {
	var w where
	w.uuid("tenant_id = ?", f.Tenant)
	if f.UserID != "" {
		w.uuid("user_id = ?", f.UserID)
	}
	w.eq("source", f.Source)
	w.eq("issuer", f.Issuer)
	if f.Unpinned {
		w.add("kind = ''")
	}
	if f.After.Subject != "" {
		w.add("(issuer > ? or issuer = ? and subject > ?)", f.After.Issuer, f.After.Issuer, f.After.Subject)
	}
	if w.bad {
		return nil, nil
	}
	var all []Identity
	query := s.read.Rebind(`select ` + identityColumnNames + ` from identities` + w.String() + ` order by issuer, subject limit ?`)
	err := querier{query: s.read.QueryContext}.rows(ctx, query, append(w.args, limit(f.Limit)), func(rows *sql.Rows) error {
		var d Identity
		var created stamp
		err := rows.Scan(&d.TenantID, &d.Kind, &d.Issuer, &d.Subject, &d.UserID, &d.Source, &created)
		d.CreatedAt = created.Time
		all = append(all, d)
		return err
	})
	return all, classify(ctx, err)
}

// IdentityGroups counts the identities of every tenant by kind, issuer and the source that made them, or only those whose
// kind is not known.
func (s *Store) IdentityGroups(ctx context.Context, unpinned bool) ([]IdentityGroup, error) {
	query := `select tenant_id, kind, issuer, source, count(*) as identities from identities`
	if unpinned {
		query += ` where kind = ''`
	}
	var groups []IdentityGroup
	err := s.selectAll(ctx, &groups, query+` group by tenant_id, kind, issuer, source order by tenant_id, issuer, kind, source`)
	return groups, err
}

// An IdentityGroup is a number of identities that have all but their subjects in common.
type IdentityGroup struct {
	TenantID   string `db:"tenant_id"`
	Kind       string `db:"kind"` // "" when it is not known
	Issuer     string `db:"issuer"`
	Source     string `db:"source"`
	Identities int64  `db:"identities"`
}

// PinIdentities gives the identities of the group, whose kind is not known, the given kind. Those that another process
// has pinned in the meantime stay as they are.
func (s *Store) PinIdentities(ctx context.Context, g IdentityGroup, kind, who string, when time.Time) error {
	return s.update(ctx, func(tx *sqlx.Tx) error {
		n, err := changed(tx.ExecContext(ctx, tx.Rebind(`update identities set kind = ? where tenant_id = ? and issuer = ? and source = ? and kind = ''`),
			kind, strings.ToLower(g.TenantID), g.Issuer, g.Source))
		if err != nil || n == 0 {
			return err
		}
		return audit(ctx, tx, AuditEntry{
			At: when, Tenant: g.TenantID, Who: who, Action: "identities.pin", Object: kind + " " + g.Issuer,
			Detail: detail(map[string]any{"source": g.Source, "identities": n}),
		})
	})
}

// An IdentityMove gives all identities of one trust anchor another one, or with Anew ends them, so that the next login of
// each of their users is a first one.
type IdentityMove struct {
	Tenant string
	From   Anchor // an empty kind is that of identities whose kind is not known
	To     Anchor
	Source string // with Anew: only those that this source made; "" means all
	Anew   bool
}

// An IdentityCount says what a move would do.
type IdentityCount struct {
	Identities int64    // that would be moved, or ended
	Owners     int64    // of those, identities of owners of a tenant
	Collisions int64    // that would stay: their subject has an identity under the new anchor already
	Subjects   []string // of the collisions, the first hundred, sorted
}

// MoveIdentities carries out a move and returns how many identities it had. An identity whose subject stands under both
// anchors stays as it is, since it may be another person's.
func (s *Store) MoveIdentities(ctx context.Context, m IdentityMove, who string, when time.Time) (int64, error) {
	var n int64
	err := s.update(ctx, func(tx *sqlx.Tx) (err error) {
		n, err = m.run(ctx, tx, who, when)
		return err
	})
	return n, err
}

// CountIdentities says what a move would do now.
func (s *Store) CountIdentities(ctx context.Context, m IdentityMove) (IdentityCount, error) {
	var c IdentityCount
	var row struct {
		Identities int64 `db:"identities"`
		Owners     int64 `db:"owners"`
	}
	cond, args := m.rows("d")
	err := s.view(ctx, func(tx *sqlx.Tx) error {
		if twins, with := m.twins(); twins != "" {
			those, all := cond+` and `+twins, append(append([]any{}, args...), with...)
			if err := tx.GetContext(ctx, &c.Collisions, tx.Rebind(`select count(*) from identities d where `+those), all...); err != nil {
				return err
			}
			if err := tx.SelectContext(ctx, &c.Subjects, tx.Rebind(`select d.subject from identities d where `+those+` order by d.subject limit 100`), all...); err != nil {
				return err
			}
			cond, args = cond+` and not `+twins, all
		}
		return tx.GetContext(ctx, &row, tx.Rebind(`select count(*) as identities, coalesce(sum(case when u.is_owner then 1 else 0 end), 0) as owners
			from identities d join users u on u.tenant_id = d.tenant_id and u.id = d.user_id where `+cond), args...)
	})
	c.Identities, c.Owners = row.Identities, row.Owners
	return c, err
}

// twins is the condition on the identities d whose subject stands under the new anchor too; "" when none can.
func (m IdentityMove) twins() (string, []any) {
	if m.Anew || m.From.Issuer == m.To.Issuer {
		return "", nil
	}
	return `exists (select 1 from identities o where o.tenant_id = d.tenant_id and o.issuer = ? and o.subject = d.subject)`, []any{m.To.Issuer}
}

// rows is the condition on the identities of that alias that the move is about.
func (m IdentityMove) rows(alias string) (string, []any) {
	cond, args := alias+`.tenant_id = ? and `+alias+`.kind = ? and `+alias+`.issuer = ?`, []any{strings.ToLower(m.Tenant), m.From.Kind, m.From.Issuer}
	if m.Source != "" {
		cond, args = cond+` and `+alias+`.source = ?`, append(args, m.Source)
	}
	return cond, args
}

// step implements [Step].
func (m IdentityMove) step(ctx context.Context, tx *sqlx.Tx, _ bool, who string, when time.Time) error {
	_, err := m.run(ctx, tx, who, when)
	return err
}

func (m IdentityMove) run(ctx context.Context, tx *sqlx.Tx, who string, when time.Time) (int64, error) {
	cond, args := m.rows("d")
	action, change := "identities.move", func() (int64, error) { return m.rename(ctx, tx, cond, args) }
	if m.Anew {
		action, change = "identities.end", func() (int64, error) { return m.end(ctx, tx, cond, args) }
	}
	n, err := change()
	if err != nil {
		return 0, err
	}
	return n, audit(ctx, tx, AuditEntry{
		At: when, Tenant: strings.ToLower(m.Tenant), Who: who, Action: action, Object: cmp.Or(m.From.Kind, "unknown") + " " + m.From.Issuer,
		Detail: detail(map[string]any{"to_kind": m.To.Kind, "to_issuer": m.To.Issuer, "source": m.Source, "identities": n}),
	})
}

// rename gives the identities their new anchor.
func (m IdentityMove) rename(ctx context.Context, tx *sqlx.Tx, cond string, args []any) (int64, error) {
	all := append([]any{m.To.Kind, m.To.Issuer}, args...)
	if twins, with := m.twins(); twins != "" {
		cond, all = cond+` and not `+twins, append(all, with...)
	}
	return changed(tx.ExecContext(ctx, tx.Rebind(`update identities as d set kind = ?, issuer = ? where `+cond), all...))
}

// end deletes the identities. Users who are left without any wait for a first login of the new kind, if the source has
// logins still.
func (m IdentityMove) end(ctx context.Context, tx *sqlx.Tx, cond string, args []any) (int64, error) {
	if m.From.Kind != m.To.Kind && m.To.Issuer != "" { // a feed has no issuer
		ended, with := m.rows("o")
		query := `update users set auth_provider = ?, revision = revision + 1 where tenant_id = ? and auth_provider = ? and id in (select d.user_id from identities d where ` + cond + `)
			and not exists (select 1 from identities o where o.tenant_id = users.tenant_id and o.user_id = users.id and not (` + ended + `))`
		all := append([]any{m.To.Kind, strings.ToLower(m.Tenant), m.From.Kind}, args...)
		if _, err := tx.ExecContext(ctx, tx.Rebind(query), append(all, with...)...); err != nil {
			return 0, err
		}
	}
	return changed(tx.ExecContext(ctx, tx.Rebind(`delete from identities as d where `+cond), args...))
}
