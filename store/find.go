package store

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// A Lookup says what to look for on behalf of one event. An empty field is not looked for.
type Lookup struct {
	Tenant          string
	Source          string
	EventID         string // ledger rows of (Tenant, Source, EventID): those of Scope, of no scope, and of Origin
	Scope           string // whose event id it is
	Origin          string // the stored message that the event came in, when it may have been processed before
	Issuer, Subject string // user of that identity
	EmailKey        string // user for whom that canonical e-mail is reserved
	OwnEmailKey     string // user whom Source made with that canonical e-mail, which is not reserved
	WaitingEmailKey string // the only user with that canonical e-mail, which is not reserved, who waits for a first login
	IdentityNameKey string // user of that canonical identity name
	NameSkeleton    string // user whose identity name has that skeleton
	UsedID          string // (Tenant, Source, UsedID)
	Owner           bool   // owner of the tenant
}

// Found is what there was for one [Lookup]; a field is nil when there was nothing. Lookups that find one user share it.
type Found struct {
	Event          *Event // of the lookup's scope
	Unscoped       *Event // when the lookup has a scope: the row under its event id that has none, from before scopes
	Brought        *Event // what the message of the lookup's origin brought, in whatever scope
	ByIdentity     *User
	Identity       FoundIdentity // that ByIdentity was found by
	ByEmail        *User
	ByOwnEmail     *User
	Waiting        *User // of WaitingEmailKey; nil when there are several
	ByIdentityName *User
	BySkeleton     *User
	Used           *UsedID
	OwnerID        string    // id of the tenant's owner, or ""
	Revision       int64     // of the directory, as of the look-up
	HistoryFrom    time.Time // from which on the ledger is whole, as of the look-up; zero: it always was
}

// A FoundIdentity says whose an identity is.
type FoundIdentity struct {
	Kind   string // of the source that it belongs to; "" when it is not pinned
	Source string // that made it
}

// findChunk bounds the lookups of one statement, which keeps PostgreSQL from thinking it worth compiling.
const findChunk = 500

// Find looks for what there is, one answer for each lookup and in their order. It takes a statement for the keys, and one
// more for each kind of row that was found.
func (tx *Tx) Find(ctx context.Context, lookups []Lookup) ([]Found, error) {
	found, err := find(ctx, tx.querier(), lookups)
	return found, classify(ctx, err)
}

// Find is [Tx.Find] on one state of the database, outside of any batch.
func (s *Store) Find(ctx context.Context, lookups []Lookup) ([]Found, error) {
	var found []Found
	err := s.view(ctx, func(tx *sqlx.Tx) (err error) {
		found, err = find(ctx, querier{postgres: s.postgres(), query: tx.QueryContext}, lookups)
		return err
	})
	return found, err
}

// A querier runs the statements of a batch. With PostgreSQL a statement takes all rows as arrays, with SQLite one row.
type querier struct {
	postgres bool
	query    func(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// querier uses prepared statements where there are some.
func (tx *Tx) querier() querier {
	q := querier{postgres: tx.s.postgres(), query: tx.tx.QueryContext}
	if !q.postgres {
		q.query = func(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
			if st := tx.s.stmts.get(query); st != nil {
				return tx.tx.StmtContext(ctx, st).QueryContext(ctx, args...)
			}
			return tx.tx.QueryContext(ctx, query, args...)
		}
	}
	return q
}

// each calls scan for every row that query gives for the rows of c. The query reads them as the table i, whose column n
// is the row's number; %s stands for that table.
func (q querier) each(ctx context.Context, query string, c *columns, scan func(*sql.Rows) error) error {
	if q.postgres {
		var args []any
		return q.rows(ctx, fmt.Sprintf(query, c.numbered(&args)), args, scan)
	}
	text := fmt.Sprintf(query, c.single())
	for i := range c.n {
		if err := q.rows(ctx, text, c.row(i), scan); err != nil {
			return err
		}
	}
	return nil
}

// join joins one row of the table, which PostgreSQL is made to look up row by row: it would rather read a table of middling
// size whole.
func (q querier) join(table, alias, on string) string { return q.joinUpTo(1, table, alias, on) }

// joinUpTo joins up to n rows of the table.
func (q querier) joinUpTo(n int, table, alias, on string) string {
	if q.postgres {
		return "join lateral (select * from " + table + " " + alias + " where " + on + " limit " + strconv.Itoa(n) + ") " + alias + " on true"
	}
	return "join " + table + " " + alias + " on " + on
}

func (q querier) rows(ctx context.Context, query string, args []any, scan func(*sql.Rows) error) (err error) {
	rows, err := q.query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() {
		if e := rows.Close(); err == nil {
			err = e
		}
	}()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Each key is a subquery of its own: that makes it an index probe whatever the planner believes of the tables' sizes. That of
// the event asks whether its id is known in any scope, which it hardly ever is.
const findKeys = `select i.n, (select revision from directory), (select history_from from retention),
  (select 1 from events e where e.tenant_id = i.tenant and e.source = i.source and e.event_id = i.event limit 1),
  (select cast(d.user_id as text) || d.kind || '/' || d.source from identities d where d.tenant_id = i.tenant and d.issuer = i.issuer and d.subject = i.subject),
  (select u.id from users u where u.tenant_id = i.tenant and u.email_key = i.email and u.email_reserved),
  (select min(cast(u.id as text)) from users u where u.tenant_id = i.tenant and u.email_key = i.own_email and not u.email_reserved and u.created_by = i.source),
  (select case when count(*) = 1 then min(w.id) end from (select cast(u.id as text) as id from users u where u.tenant_id = i.tenant and u.email_key = i.waiting_email
    and not u.email_reserved and (u.auth_provider <> 'local' or u.password_hash = '')
    and not exists (select 1 from identities d where d.tenant_id = u.tenant_id and d.user_id = u.id) limit 2) w),
  (select u.id from users u where u.tenant_id = i.tenant and u.identity_name_key = i.name),
  (select u.id from users u where u.tenant_id = i.tenant and u.name_skeleton = i.skeleton),
  (select u.id from users u where u.tenant_id = i.tenant and u.is_owner and i.owner),
  (select 1 from used_ids k where k.tenant_id = i.tenant and k.source = i.source and k.id = i.used)
from %s i`

// A hit is what the keys of one lookup led to, before the rows themselves are read.
type hit struct {
	n                                                              int
	event, used                                                    sql.NullInt64
	identity, email, ownEmail, waiting, name, skeleton, owner      sql.NullString
	byIdentity, byEmail, byOwnEmail, byWaiting, byName, bySkeleton *userRef
}

// A userRef names a user to be read.
type userRef struct {
	tenant, id string
	user       *User
}

func find(ctx context.Context, q querier, lookups []Lookup) ([]Found, error) {
	if err := checkLookups(lookups); err != nil {
		return nil, err
	}
	found := make([]Found, len(lookups))
	for start := 0; start < len(lookups); start += findChunk {
		end := min(start+findChunk, len(lookups))
		if err := findSome(ctx, q, lookups[start:end], found[start:end]); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func findSome(ctx context.Context, q querier, lookups []Lookup, found []Found) error {
	hits, err := findHits(ctx, q, lookups, found)
	if err != nil {
		return err
	}
	var refs []*userRef
	known := make(map[userRef]*userRef)
	ref := func(tenant string, id sql.NullString) *userRef {
		if !id.Valid {
			return nil
		}
		key := userRef{tenant: tenant, id: id.String}
		if known[key] == nil {
			known[key] = &userRef{tenant: tenant, id: id.String}
			refs = append(refs, known[key])
		}
		return known[key]
	}
	var events, used []int
	for i := range hits {
		h := &hits[i]
		tenant := strings.ToLower(lookups[h.n].Tenant)
		if s := h.identity.String; len(s) >= uuidLength {
			h.identity.String = s[:uuidLength]
			found[h.n].Identity.Kind, found[h.n].Identity.Source, _ = strings.Cut(s[uuidLength:], "/")
		}
		h.byIdentity, h.byEmail, h.byOwnEmail = ref(tenant, h.identity), ref(tenant, h.email), ref(tenant, h.ownEmail)
		h.byWaiting = ref(tenant, h.waiting)
		h.byName, h.bySkeleton = ref(tenant, h.name), ref(tenant, h.skeleton)
		if h.event.Valid {
			events = append(events, h.n)
		}
		if h.used.Valid {
			used = append(used, h.n)
		}
	}
	if err := findUsers(ctx, q, refs); err != nil {
		return err
	}
	for i := range hits {
		h, f := &hits[i], &found[hits[i].n]
		f.ByIdentity, f.ByEmail, f.ByOwnEmail = h.byIdentity.get(), h.byEmail.get(), h.byOwnEmail.get()
		f.Waiting = h.byWaiting.get()
		f.ByIdentityName, f.BySkeleton = h.byName.get(), h.bySkeleton.get()
		f.OwnerID = h.owner.String
	}
	if err := findEvents(ctx, q, lookups, events, found); err != nil {
		return err
	}
	return findUsed(ctx, q, lookups, used, found)
}

func (r *userRef) get() *User {
	if r == nil {
		return nil
	}
	return r.user
}

func lookupColumns(lookups []Lookup) *columns {
	c := newColumns(len(lookups))
	c.number("n", "integer")
	c.uuid("tenant", func(i int) string { return lookups[i].Tenant })
	c.text("source", func(i int) string { return lookups[i].Source })
	c.optional("event", func(i int) string { return lookups[i].EventID })
	c.optional("issuer", func(i int) string { return lookups[i].Issuer })
	c.text("subject", func(i int) string { return lookups[i].Subject })
	c.optional("email", func(i int) string { return lookups[i].EmailKey })
	c.optional("own_email", func(i int) string { return lookups[i].OwnEmailKey })
	c.optional("waiting_email", func(i int) string { return lookups[i].WaitingEmailKey })
	c.optional("name", func(i int) string { return lookups[i].IdentityNameKey })
	c.optional("skeleton", func(i int) string { return lookups[i].NameSkeleton })
	c.optional("used", func(i int) string { return lookups[i].UsedID })
	c.bool("owner", func(i int) bool { return lookups[i].Owner })
	return c
}

func findHits(ctx context.Context, q querier, lookups []Lookup, found []Found) ([]hit, error) {
	var hits []hit
	err := q.each(ctx, findKeys, lookupColumns(lookups), func(rows *sql.Rows) error {
		var h hit
		var revision int64
		var from stamp
		if err := rows.Scan(&h.n, &revision, &from, &h.event, &h.identity, &h.email, &h.ownEmail, &h.waiting, &h.name, &h.skeleton, &h.owner, &h.used); err != nil {
			return err
		}
		found[h.n].Revision, found[h.n].HistoryFrom = revision, from.Time
		if h.event.Valid || h.used.Valid || h.identity.Valid || h.email.Valid || h.ownEmail.Valid || h.waiting.Valid || h.name.Valid || h.skeleton.Valid || h.owner.Valid {
			hits = append(hits, h)
		}
		return nil
	})
	return hits, err
}

func findEvents(ctx context.Context, q querier, lookups []Lookup, ns []int, found []Found) error {
	if len(ns) == 0 {
		return nil
	}
	c := newColumns(len(ns))
	c.numbers("n", "integer", func(i int) int64 { return int64(ns[i]) })
	c.uuid("tenant", func(i int) string { return lookups[ns[i]].Tenant })
	c.text("source", func(i int) string { return lookups[ns[i]].Source })
	c.text("event", func(i int) string { return lookups[ns[i]].EventID })
	c.text("scope", func(i int) string { return lookups[ns[i]].Scope })
	c.optional("origin", func(i int) string { return lookups[ns[i]].Origin })
	// One of each: a message brings one event.
	join := q.joinUpTo(3, "events", "e", `e.tenant_id = i.tenant and e.source = i.source and e.event_id = i.event
		and (e.scope in (i.scope, '') or e.origin = i.origin)`)
	return q.each(ctx, `select i.n, `+eventColumns+` from %s i `+join, c, func(rows *sql.Rows) error {
		var n int
		e, err := scanEvent(rows, &n)
		if err != nil {
			return err
		}
		l, f := &lookups[n], &found[n]
		switch e.Scope {
		case l.Scope:
			f.Event = &e
		case "":
			f.Unscoped = &e
		}
		if l.Origin != "" && e.Origin == l.Origin {
			f.Brought = &e
		}
		return nil
	})
}

func findUsed(ctx context.Context, q querier, lookups []Lookup, ns []int, found []Found) error {
	if len(ns) == 0 {
		return nil
	}
	c := newColumns(len(ns))
	c.numbers("n", "integer", func(i int) int64 { return int64(ns[i]) })
	c.uuid("tenant", func(i int) string { return lookups[ns[i]].Tenant })
	c.text("source", func(i int) string { return lookups[ns[i]].Source })
	c.text("id", func(i int) string { return lookups[ns[i]].UsedID })
	join := q.join("used_ids", "k", "k.tenant_id = i.tenant and k.source = i.source and k.id = i.id")
	return q.each(ctx, `select i.n, k.tenant_id, k.source, k.id, k.event_id, k.until from %s i `+join, c, func(rows *sql.Rows) error {
		var n int
		var u UsedID
		var until stamp
		err := rows.Scan(&n, &u.TenantID, &u.Source, &u.ID, &u.EventID, &until)
		u.Until = until.Time
		found[n].Used = &u
		return err
	})
}
