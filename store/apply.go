package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
)

// ApplyDirectory makes the directory equal to d and returns its new revision, which is base when nothing differs. It
// fails with [ErrStaleDirectory] unless base is the revision that is stored, so that of several callers at once one
// succeeds and the others read again.
//
// What d no longer declares is withdrawn, not deleted: its id and what users were granted stay, and come back when it is
// declared again. A policy has neither, and is deleted. An [ErrConstraint] says what contradicts itself in d.
//
// The steps are what the change means for rows that are there already. They are taken in the same transaction, and only
// when something differs.
func (s *Store) ApplyDirectory(ctx context.Context, base int64, d Directory, who string, at time.Time, steps ...Step) (int64, error) {
	d, err := d.normal()
	if err != nil {
		return 0, err
	}
	var revision int64
	err = s.update(ctx, func(tx *sqlx.Tx) error {
		query := `select revision from directory`
		if s.postgres() {
			query += ` for update`
		}
		if err := tx.GetContext(ctx, &revision, query); err != nil {
			return err
		}
		if revision != base {
			return fmt.Errorf("%w: it is at revision %d, not %d", ErrStaleDirectory, revision, base)
		}
		have, err := readDirectory(ctx, tx)
		if err != nil {
			return err
		}
		a := applier{ctx: ctx, tx: tx, at: at}
		if err := a.apply(have, d); err != nil || a.changes.none() {
			return err
		}
		if err := a.endKeyHistories(); err != nil {
			return err
		}
		for _, step := range steps {
			if err := step.step(ctx, tx, s.postgres(), who, at); err != nil {
				return err
			}
		}
		revision++
		if _, err := tx.ExecContext(ctx, tx.Rebind(`update directory set revision = ?`), revision); err != nil {
			return err
		}
		detail, err := json.Marshal(a.changes)
		if err != nil {
			return err
		}
		return audit(ctx, tx, AuditEntry{At: at, Who: who, Action: "directory.apply", Object: fmt.Sprintf("revision %d", revision), Detail: detail})
	})
	if err != nil {
		return 0, fmt.Errorf("apply the directory: %w", err)
	}
	return revision, nil
}

// A Step changes rows of users as part of a change of the directory: an [IdentityMove], or a [Reservation].
type Step interface {
	step(ctx context.Context, tx *sqlx.Tx, postgres bool, who string, when time.Time) error
}

// changes name what was changed, for the audit.
type changes struct {
	Added     []string `json:"added,omitempty"`
	Changed   []string `json:"changed,omitempty"`
	Withdrawn []string `json:"withdrawn,omitempty"`
}

func (c changes) none() bool { return len(c.Added)+len(c.Changed)+len(c.Withdrawn) == 0 }

type applier struct {
	ctx     context.Context
	tx      *sqlx.Tx
	at      time.Time
	changes changes
}

func (a *applier) exec(query string, args ...any) error {
	_, err := a.tx.ExecContext(a.ctx, a.tx.Rebind(query), args...)
	return err
}

// A table is how one kind of row is declared and withdrawn.
type table[T any] struct {
	key      func(T) []any  // primary key
	label    func(T) string // for the audit
	put      string         // inserts or updates, and ends a withdrawal
	args     func(T) []any  // of put
	withdraw string         // takes the time and the key
	delete   string         // in place of withdraw, for what has nothing to keep; takes the key
}

func (t table[T]) remove(a *applier, row T) error {
	if t.delete != "" {
		return a.exec(t.delete, t.key(row)...)
	}
	return a.exec(t.withdraw, append([]any{at(a.at)}, t.key(row)...)...)
}

var (
	tenantTable = table[Tenant]{
		key:   func(t Tenant) []any { return []any{t.ID} },
		label: func(t Tenant) string { return "tenant " + t.Name + " (" + t.ID + ")" },
		put: `insert into tenants (id, name, owner, owner_key, default_roles) values (?, ?, ?, ?, ?) on conflict (id) do update set
			name = excluded.name, owner = excluded.owner, owner_key = excluded.owner_key, default_roles = excluded.default_roles, removed_at = null`,
		args:     func(t Tenant) []any { return []any{t.ID, t.Name, t.Owner, t.OwnerKey, list(t.DefaultRoles)} },
		withdraw: `update tenants set removed_at = ? where id = ?`,
	}
	roleTable = table[Role]{
		key:   func(r Role) []any { return []any{r.TenantID, r.ID} },
		label: func(r Role) string { return "role " + r.Name + " (" + r.ID + ") of tenant " + r.TenantID },
		put: `insert into roles (id, tenant_id, name, scope) values (?, ?, ?, ?) on conflict (tenant_id, id) do update set
			name = excluded.name, scope = excluded.scope, removed_at = null`,
		args:     func(r Role) []any { return []any{r.ID, r.TenantID, r.Name, r.Scope} },
		withdraw: `update roles set removed_at = ? where tenant_id = ? and id = ?`,
	}
	organizationTable = table[Organization]{
		key: func(o Organization) []any { return []any{o.TenantID, o.ID} },
		label: func(o Organization) string {
			return "organization " + o.Name + " (" + o.ID + ") of tenant " + o.TenantID
		},
		put: `insert into organizations (id, tenant_id, name) values (?, ?, ?) on conflict (tenant_id, id) do update set
			name = excluded.name, removed_at = null`,
		args:     func(o Organization) []any { return []any{o.ID, o.TenantID, o.Name} },
		withdraw: `update organizations set removed_at = ? where tenant_id = ? and id = ?`,
	}
	sourceTable = table[Source]{
		key:   func(s Source) []any { return []any{s.TenantID, s.Name} },
		label: func(s Source) string { return "source " + s.Name + " of tenant " + s.TenantID },
		put: `insert into sources (tenant_id, name, kind, config) values (?, ?, ?, ?) on conflict (tenant_id, name) do update set
			kind = excluded.kind, config = excluded.config, removed_at = null`,
		args:     func(s Source) []any { return []any{s.TenantID, s.Name, s.Kind, blob(s.Config)} },
		withdraw: `update sources set removed_at = ? where tenant_id = ? and name = ?`,
	}
	policyTable = table[Policy]{
		key:    func(p Policy) []any { return []any{p.Name} },
		label:  func(p Policy) string { return "policy " + p.Name },
		put:    `insert into policies (name, text) values (?, ?) on conflict (name) do update set text = excluded.text`,
		args:   func(p Policy) []any { return []any{p.Name, p.Text} },
		delete: `delete from policies where name = ?`,
	}
)

// apply withdraws before it declares, so that the name of a role is free for another id.
func (a *applier) apply(have directoryRows, d Directory) error {
	resolveRoles(have.roles, d.Roles)
	policies := make([]kept[Policy], len(have.policies))
	for i, p := range have.policies {
		policies[i].row = p
	}
	return errors.Join(
		withdraw(a, roleTable, have.roles, d.Roles),
		withdraw(a, organizationTable, have.organizations, d.Organizations),
		withdraw(a, sourceTable, have.sources, d.Sources),
		withdraw(a, policyTable, policies, d.Policies),
		withdraw(a, tenantTable, have.tenants, d.Tenants),
		declare(a, tenantTable, have.tenants, d.Tenants),
		a.freeNames(have.roles, d.Roles),
		declare(a, roleTable, have.roles, d.Roles),
		declare(a, organizationTable, have.organizations, d.Organizations),
		declare(a, sourceTable, have.sources, d.Sources),
		declare(a, policyTable, policies, d.Policies),
	)
}

func keyed[T any](t table[T], rows []T) map[string]T {
	m := make(map[string]T, len(rows))
	for _, r := range rows {
		m[fmt.Sprint(t.key(r)...)] = r
	}
	return m
}

// withdraw withdraws what is no longer wanted.
func withdraw[T any](a *applier, t table[T], have []kept[T], want []T) error {
	wanted := keyed(t, want)
	for _, h := range have {
		if _, ok := wanted[fmt.Sprint(t.key(h.row)...)]; ok || h.removed {
			continue
		}
		a.changes.Withdrawn = append(a.changes.Withdrawn, t.label(h.row))
		if err := t.remove(a, h.row); err != nil {
			return err
		}
	}
	return nil
}

// declare writes what is new, changed or withdrawn.
func declare[T any](a *applier, t table[T], have []kept[T], want []T) error {
	current := keyed(t, active(have))
	for _, r := range want {
		c, ok := current[fmt.Sprint(t.key(r)...)]
		switch {
		case ok && reflect.DeepEqual(c, r):
			continue
		case ok:
			a.changes.Changed = append(a.changes.Changed, t.label(r))
		default:
			a.changes.Added = append(a.changes.Added, t.label(r))
		}
		if err := a.exec(t.put, t.args(r)...); err != nil {
			return err
		}
	}
	return nil
}

// endKeyHistories ends what was known of the keys of sources that are withdrawn: one that is declared again knows only what
// its issuer publishes then. The emptied history stays, for workers to see the change. Bans stay.
func (a *applier) endKeyHistories() error {
	const withdrawn = ` where not exists (select 1 from sources s where s.tenant_id = %[1]s.tenant_id and s.name = %[1]s.source and s.removed_at is null)`
	if err := a.exec(`delete from source_keys` + fmt.Sprintf(withdrawn, "source_keys")); err != nil {
		return err
	}
	revision, err := nextKeysRevision(a.ctx, a.tx)
	if err != nil {
		return err
	}
	return a.exec(`update key_histories set asked_at = null, valid_until = null, revision = ?`+fmt.Sprintf(withdrawn, "key_histories")+
		` and asked_at is not null`, revision)
}

// freeNames takes roles that change their name out of the way, so that two may swap theirs.
func (a *applier) freeNames(have []kept[Role], want []Role) error {
	wanted := keyed(roleTable, want)
	for _, r := range active(have) {
		w, ok := wanted[fmt.Sprint(roleTable.key(r)...)]
		if !ok || w == r {
			continue
		}
		if err := roleTable.remove(a, r); err != nil {
			return err
		}
	}
	return nil
}

// resolveRoles gives an id to the roles that have none: that of the role of this name, withdrawn ones last, else one that
// follows from tenant, scope and name, so that it is the same wherever it is made.
func resolveRoles(have []kept[Role], want []Role) {
	byName, taken := make(map[Role]string), make(map[Role]bool)
	for _, removed := range []bool{false, true} {
		for _, h := range have {
			name := Role{TenantID: h.row.TenantID, Scope: h.row.Scope, Name: h.row.Name}
			if h.removed == removed && byName[name] == "" {
				byName[name] = h.row.ID
			}
		}
	}
	for _, r := range want {
		taken[Role{TenantID: r.TenantID, ID: r.ID}] = true
	}
	for i := range want {
		r := &want[i]
		if r.ID != "" {
			continue
		}
		id := byName[*r]
		if id == "" || taken[Role{TenantID: r.TenantID, ID: id}] {
			id = uuid.NewSHA1(uuid.MustParse(r.TenantID), []byte("idpsync role\x00"+r.Scope+"\x00"+r.Name)).String()
		}
		r.ID = id
	}
}

// normal returns a sorted copy of d with lower-case ids, or what contradicts itself.
func (d Directory) normal() (Directory, error) {
	d.Tenants, d.Roles, d.Organizations = slices.Clone(d.Tenants), slices.Clone(d.Roles), slices.Clone(d.Organizations)
	d.Sources, d.Policies = slices.Clone(d.Sources), slices.Clone(d.Policies)
	var c directoryChecker
	c.seen = make(map[string]bool)
	for i := range d.Tenants {
		t := &d.Tenants[i]
		c.id(&t.ID, "tenant "+t.Name)
		c.once("tenant " + t.ID)
		c.plain("tenant "+t.ID, append([]string{t.Name, t.Owner, t.OwnerKey}, t.DefaultRoles...)...)
		if len(t.DefaultRoles) == 0 {
			t.DefaultRoles = nil
		}
	}
	for i := range d.Roles {
		r := &d.Roles[i]
		if r.Scope == "" {
			r.Scope = ScopeTenant
		}
		c.tenant(&r.TenantID, "role "+r.Name)
		if r.ID != "" {
			c.id(&r.ID, "role "+r.Name)
			c.once("role " + r.ID + " of tenant " + r.TenantID)
		}
		c.once(r.Scope + " role " + r.Name + " of tenant " + r.TenantID)
		c.plain("role "+r.ID, r.Name)
		if r.Scope != ScopeTenant && r.Scope != ScopeOrganization {
			c.fail("role " + r.Name + " has neither scope tenant nor organization")
		}
	}
	for i := range d.Organizations {
		o := &d.Organizations[i]
		c.tenant(&o.TenantID, "organization "+o.Name)
		c.id(&o.ID, "organization "+o.Name)
		c.once("organization " + o.ID + " of tenant " + o.TenantID)
		c.plain("organization "+o.ID, o.Name)
	}
	for i := range d.Sources {
		s := &d.Sources[i]
		c.tenant(&s.TenantID, "source "+s.Name)
		c.once("source " + s.Name + " of tenant " + s.TenantID)
		c.plain("source "+s.Name, s.Name, s.Kind)
		if len(s.Config) == 0 {
			s.Config = nil
		}
	}
	for _, p := range d.Policies {
		c.once("policy " + p.Name)
		c.plain("policy "+p.Name, p.Name, p.Text)
	}
	d.sort()
	return d, errors.Join(c.errs...)
}

// A directoryChecker collects what is wrong with a directory.
type directoryChecker struct {
	seen map[string]bool
	errs []error
}

func (c *directoryChecker) fail(what string) {
	c.errs = append(c.errs, fmt.Errorf("%w: %s", ErrConstraint, what))
}

func (c *directoryChecker) id(id *string, what string) {
	*id = strings.ToLower(*id)
	if !isUUID(*id) {
		c.fail("the id of " + what + " is not a UUID")
	}
}

func (c *directoryChecker) tenant(id *string, what string) {
	*id = strings.ToLower(*id)
	if !c.seen["tenant "+*id] {
		c.fail(what + " is of a tenant that is not declared")
	}
}

func (c *directoryChecker) once(what string) {
	if c.seen[what] {
		c.fail(what + " is declared twice")
	}
	c.seen[what] = true
}

func (c *directoryChecker) plain(what string, vs ...string) {
	var k checker
	if k.text("", 0, "", vs...); k.err != nil {
		c.fail(what + " has text with bad UTF-8 or a NUL")
	}
}
