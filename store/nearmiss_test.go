package store_test

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

// A nearMiss is one lookup with the row that it is for. That row must be found, and one that differs from it in a single
// column that the lookup asks for must not: drop any condition of the lookup, and one of these rows is found.
type nearMiss struct {
	lookup string // in words
	row    row
	misses []miss
	beside []row // rows that are there in every case
	look   look
	want   string // what look says of the row
	none   string // what it says when the row is not there; "" is nothing
	// together has the row looked for among all of its misses too, for a lookup of one row by the key of its table: there a
	// first condition may hide a second one from a row that stands alone.
	together bool
}

// A look carries out a lookup and says in words what it found or did.
type look func(ctx context.Context, s *store.Store) (string, error)

// A miss is the value by which a row is not the one that is looked for.
type miss struct {
	column string
	value  any
	also   []row // rows that are there in this case only
}

// A row is what is inserted into a table. Times and booleans are stored as the kind of database does.
type row struct {
	table  string
	values map[string]any
}

// with returns the row with other values: column, value, column, value.
func (r row) with(pairs ...any) row {
	values := maps.Clone(r.values)
	for i := 0; i < len(pairs); i += 2 {
		values[pairs[i].(string)] = pairs[i+1]
	}
	return row{r.table, values}
}

// Ids around those of the rows that are looked for: of several rows that a lookup takes for one it may return the first or
// the last.
const (
	lowTenant  = "1489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
	nearTenant = storetest.Acme
	highTenant = storetest.Globex

	lowID  = "10000000-0000-7000-8000-000000000001"
	nearID = "20000000-0000-7000-8000-000000000002"
	highID = "30000000-0000-7000-8000-000000000003"
)

// around are two misses of one column, below and above the value that is looked for.
func around(column string, low, high any) []miss {
	return []miss{{column: column, value: low}, {column: column, value: high}}
}

func otherTenants() []miss { return around("tenant_id", lowTenant, highTenant) }

// The rows that are looked for, unless a lookup needs them otherwise.

func nearUser() row {
	return row{"users", map[string]any{
		"tenant_id": nearTenant, "id": nearID, "email": "m@x.example", "email_key": "m@x.example", "email_verified": true, "email_reserved": true,
		"identity_name": "m", "identity_name_key": "m", "name_skeleton": "m", "name": "M", "display_name": "", "first_name": "", "last_name": "",
		"auth_provider": "oidc", "avatar": "", "is_owner": false, "password_hash": "hash", "created_by": "m", "created_at": storetest.Time,
		"updated_at": storetest.Time, "revision": 5,
	}}
}

// namelessUser shares no unique key but the id with another user.
func namelessUser() row {
	return nearUser().with("email_reserved", false, "email_key", "nobody@x.example", "identity_name_key", nil, "name_skeleton", nil, "created_by", "nobody")
}

func nearIdentity() row {
	return row{"identities", map[string]any{
		"tenant_id": nearTenant, "kind": "oidc", "issuer": "m", "subject": "m", "user_id": nearID, "source": "m", "created_at": storetest.Time,
	}}
}

func nearEvent() row {
	return row{"events", map[string]any{
		"tenant_id": nearTenant, "source": "m", "event_id": "m", "scope": "m", "credential": "m", "payload_hash": []byte("h"), "outcome": "created",
		"status": 201, "code": "", "user_id": nearID, "result": []byte("r"), "result_headers": []byte("h"), "attempt": 1, "policies": "[]", "door": "stream",
		"origin": "m", "stored_at": storetest.Time, "at": storetest.Time,
	}}
}

func nearUsedID() row {
	return row{"used_ids", map[string]any{"tenant_id": nearTenant, "source": "m", "id": "m", "event_id": "e", "until": storetest.Time}}
}

func nearRole() row {
	return row{"roles", map[string]any{"tenant_id": nearTenant, "id": nearID, "name": "m", "scope": "tenant", "removed_at": nil}}
}

func nearOrganization() row {
	return row{"organizations", map[string]any{"tenant_id": nearTenant, "id": nearID, "name": "m", "removed_at": nil}}
}

func nearRoleGrant() row {
	return row{"user_roles", map[string]any{"tenant_id": nearTenant, "user_id": nearID, "role_id": nearID, "source": "m", "event_id": "m", "at": storetest.Time}}
}

func nearOrganizationGrant() row {
	g := nearRoleGrant().with("organization_id", nearID)
	return row{"user_organizations", g.values}
}

func nearSource() row {
	return row{"sources", map[string]any{"tenant_id": nearTenant, "name": "m", "kind": "oidc", "config": []byte("{}"), "removed_at": nil}}
}

func nearKey() row {
	return row{"source_keys", map[string]any{
		"tenant_id": nearTenant, "source": "m", "issuer": "m", "thumbprint": "m", "variant": "", "public_key": "m", "key_id": "m", "algorithm": "m",
		"material": []byte("m"), "first_seen": storetest.Time, "last_seen": storetest.Time, "retired_at": nil,
	}}
}

func nearHistory() row {
	return row{"key_histories", map[string]any{
		"tenant_id": nearTenant, "source": "m", "issuer": "m", "asked_at": storetest.Time, "valid_until": nil, "revision": 0, "claimed_by": "", "claimed_until": nil,
	}}
}

func nearBan() row {
	return row{"key_bans", map[string]any{"issuer": "m", "public_key": "m", "banned_from": nil, "at": storetest.Time, "who": "m", "why": "m"}}
}

func nearCredential() row {
	return row{"credentials", map[string]any{
		"id": "m", "tenant_id": nearTenant, "name": "m", "purpose": "", "secret_hash": []byte("m"), "grants": "[]", "created_at": storetest.Time, "expires_at": nil,
		"revoked_at": nil, "last_used_at": nil,
	}}
}

func nearParked() row {
	return row{"parked", map[string]any{
		"id": 5, "key": "m", "tenant": "m", "source": "m", "subject": "m", "headers": []byte("{}"), "payload": []byte("{}"), "event_id": "m", "stored_at": storetest.Time,
		"sequence": 1, "attempts": 1, "first_failed": storetest.Time, "reason": "m", "not_before": storetest.Time, "parked_at": storetest.Time.Add(-time.Second),
		"claimed_by": "", "claimed_until": nil,
	}}
}

func nearOutbox() row {
	return row{"outbox", map[string]any{
		"id": "m", "subject": "m", "headers": []byte("{}"), "body": []byte("{}"), "at": storetest.Time, "claimed_by": "", "claimed_until": nil,
	}}
}

func nearDeadLetter() row {
	return row{"dead_letters", map[string]any{
		"sequence": 5, "tenant": "m", "source": "m", "event_id": "m", "code": "m", "reason": "m", "fingerprint": "m", "state": store.DeadLetterOpen, "who": "m", "why": "m",
		"campaign": "m", "outcome": "m", "parent": 0, "attempts": 0, "created_at": storetest.Time, "updated_at": storetest.Time,
	}}
}

func nearInFlight() row {
	return row{"in_flight_events", map[string]any{
		"event": "m", "run": "m", "worker": "m", "alone": true, "died": true, "tenant": "m", "source": "m", "event_id": "m", "at": storetest.Time,
	}}
}

func nearRepeat() row {
	return row{"repeats", map[string]any{"origin": "m", "tenant_id": nearTenant, "source": "m", "event_id": "m", "scope": "", "at": storetest.Time}}
}

func nearAudit() row {
	return row{"audit", map[string]any{"id": 5, "at": storetest.Time, "tenant": "m", "who": "m", "action": "m", "object": "m", "detail": []byte{}}}
}

// tablesOfRows are the tables that rows are put into.
var tablesOfRows = []string{
	"user_roles", "user_organizations", "identities", "users", "roles", "organizations", "sources", "source_keys", "key_histories", "key_bans", "credentials", "events",
	"used_ids", "outbox", "parked", "in_flight_events", "dead_letters", "audit", "repeats",
}

// stage replaces all rows by the given ones. Foreign keys are not checked, so that a row may differ from another one in a
// single column, whatever that column points at.
func stage(t *testing.T, db *sql.DB, kind string, rows []row) {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatalf("stage rows: %v", err)
	}
	defer func() { _ = tx.Rollback() }()
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := tx.ExecContext(t.Context(), query, args...); err != nil {
			t.Fatalf("stage rows with %q: %v", query, err)
		}
	}
	given := "" // ids that the store would give
	if kind == store.Postgres {
		exec(`set local session_replication_role = replica`)
		given = " overriding system value"
	}
	exec(`delete from ` + strings.Join(tablesOfRows, `; delete from `))
	for _, r := range rows {
		names := slices.Sorted(maps.Keys(r.values))
		args, places := make([]any, len(names)), make([]string, len(names))
		for i, name := range names {
			args[i], places[i] = r.values[name], fmt.Sprintf("$%d", i+1)
			if when, ok := args[i].(time.Time); ok && kind == store.SQLite {
				args[i] = when.UnixMicro()
			}
			if kind == store.SQLite {
				places[i] = "?"
			}
		}
		exec(`insert into `+r.table+` (`+strings.Join(names, ", ")+`)`+given+` values (`+strings.Join(places, ", ")+`)`, args...)
	}
	if err := tx.Commit(); err != nil {
		t.Fatalf("stage rows: %v", err)
	}
}

func runNearMisses(t *testing.T, cases []nearMiss) {
	t.Helper()
	t.Parallel()
	for _, kind := range storetest.Kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			o := storetest.Migrated(t, kind)
			o.Clock = func(time.Time) time.Time { return storetest.Time }
			s, db := storetest.OpenOptions(t, o), storetest.Database(t, o)
			declare := store.Directory{Tenants: []store.Tenant{{ID: lowTenant}, {ID: nearTenant}, {ID: highTenant}}}
			if _, err := s.ApplyDirectory(t.Context(), 0, declare, "ann", storetest.Time); err != nil {
				t.Fatalf("declare the tenants: %v", err)
			}
			for _, c := range cases {
				check := func(there string, rows []row, want string) {
					t.Helper()
					stage(t, db, kind, rows)
					got, err := c.look(t.Context(), s)
					if err != nil {
						t.Errorf("%s, when there is %s: got the error %v, wanted %s", c.lookup, there, err, orNothing(want))
					} else if got != want {
						t.Errorf("%s, when there is %s: got %s, wanted %s", c.lookup, there, orNothing(got), orNothing(want))
					}
				}
				exact := slices.Concat(c.beside, []row{c.row})
				check("the row of "+c.row.table+" that is looked for", exact, c.want)
				all := slices.Clone(c.beside)
				for _, m := range c.misses {
					if _, ok := c.row.values[m.column]; !ok {
						t.Fatalf("%s: there is no column %s in %s", c.lookup, m.column, c.row.table)
					}
					near := c.row.with(m.column, m.value)
					there := fmt.Sprintf("a row of %s that differs in %s alone, %v for %v", c.row.table, m.column, m.value, c.row.values[m.column])
					check(there, slices.Concat(c.beside, []row{near}, m.also), c.none)
					all = append(all, near)
				}
				if c.together { // inserted after the others, as a lookup may read a table in that order
					check("the row of "+c.row.table+" that is looked for among rows that differ in one column each", append(all, c.row), c.want)
				}
			}
		})
	}
}

func orNothing(s string) string { return cmp.Or(s, "nothing") }

// lookUp looks with [store.Store.Find] for a tenant's row, and has say put into words what there was.
func lookUp(l store.Lookup, say func(store.Found) string) look {
	l.Tenant = nearTenant
	return func(ctx context.Context, s *store.Store) (string, error) {
		found, err := s.Find(ctx, []store.Lookup{l})
		if err != nil {
			return "", err
		}
		return say(found[0]), nil
	}
}

func sayUser(u *store.User) string {
	if u == nil {
		return ""
	}
	return "user " + u.ID + " of tenant " + u.TenantID
}

func sayEvent(e *store.Event) string {
	if e == nil {
		return ""
	}
	return fmt.Sprintf("event %s of source %s in scope %q of tenant %s, from %q", e.EventID, e.Source, e.Scope, e.TenantID, e.Origin)
}

// say puts the error of what should have an effect into words: done, or that there was nothing to do it to.
func say(done string, err error) (string, error) {
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrRaced) || errors.Is(err, store.ErrStaleDirectory) {
		return "", nil
	}
	return done, err
}

// sayAll lists what was found in words.
func sayAll[T any](rows []T, err error, word func(T) string) (string, error) {
	words := make([]string, len(rows))
	for i, r := range rows {
		words[i] = word(r)
	}
	return strings.Join(words, ", "), err
}

const (
	theUser  = "user " + nearID + " of tenant " + nearTenant
	theEvent = `event m of source m in scope "m" of tenant ` + nearTenant + `, from "m"`
)

// otherTenantsOfUser also has a user of the same id, and of no other key, where the row is looked for: what is found is read by tenant
// and id.
func otherTenantsOfUser() []miss {
	misses := otherTenants()
	for i := range misses {
		misses[i].also = []row{namelessUser()}
	}
	return misses
}

// sendersOf are rows of the ledger under the event id that is looked for, of more senders than a lookup reads, all with
// scopes before the one that is looked for.
func sendersOf() []row {
	var rows []row
	for i := range 4 {
		rows = append(rows, nearEvent().with("scope", fmt.Sprint("a", i), "origin", fmt.Sprint("a", i)))
	}
	return rows
}

func TestFindMissesNearRowsOfTheLedger(t *testing.T) {
	byKey := func(scope, origin string) store.Lookup {
		return store.Lookup{Source: "m", EventID: "m", Scope: scope, Origin: origin}
	}
	key := slices.Concat(otherTenants(), around("source", "l", "n"), around("event_id", "l", "n"))
	runNearMisses(t, []nearMiss{
		{
			lookup: "an event by its key", row: nearEvent(), beside: sendersOf(), together: true, want: theEvent,
			misses: slices.Concat(key, around("scope", "l", "n")),
			look:   lookUp(byKey("m", ""), func(f store.Found) string { return sayEvent(f.Event) }),
		},
		{
			lookup: "an event of no scope", row: nearEvent().with("scope", ""), beside: sendersOf(), together: true,
			misses: slices.Concat(key, around("scope", "l", "n")),
			look:   lookUp(byKey("m", ""), func(f store.Found) string { return sayEvent(f.Unscoped) }),
			want:   `event m of source m in scope "" of tenant ` + nearTenant + `, from "m"`,
		},
		{
			lookup: "an event by its key, and by the message that brought it", row: nearEvent(), beside: sendersOf(), want: theEvent, misses: around("scope", "l", "n"),
			look: lookUp(byKey("m", "m"), func(f store.Found) string { return sayEvent(f.Event) }),
		},
		{
			lookup: "an event of no scope, and by the message that brought it", row: nearEvent().with("scope", ""), beside: sendersOf(), misses: around("scope", "l", "n"),
			look: lookUp(byKey("m", "m"), func(f store.Found) string { return sayEvent(f.Unscoped) }),
			want: `event m of source m in scope "" of tenant ` + nearTenant + `, from "m"`,
		},
		{
			lookup: "the event that a message brought, of another scope", row: nearEvent().with("scope", "n"), beside: sendersOf(),
			misses: slices.Concat(key, around("origin", "l", "n")),
			look:   lookUp(byKey("m", "m"), func(f store.Found) string { return sayEvent(f.Brought) }),
			want:   `event m of source m in scope "n" of tenant ` + nearTenant + `, from "m"`,
		},
		{
			lookup: "the event that a message brought, of the same scope", row: nearEvent(), misses: around("origin", "l", "n"), want: theEvent,
			look: lookUp(byKey("m", "m"), func(f store.Found) string { return sayEvent(f.Brought) }),
		},
		{
			lookup: "the event that no message brought", row: nearEvent().with("origin", ""), misses: []miss{{column: "origin", value: "m"}},
			look: lookUp(byKey("m", ""), func(f store.Found) string { return sayEvent(f.Brought) }),
		},
		{
			lookup: "a used id", row: nearUsedID(), together: true,
			misses: slices.Concat(otherTenants(), around("source", "l", "n"), around("id", "l", "n")),
			look: lookUp(store.Lookup{Source: "m", UsedID: "m"}, func(f store.Found) string {
				if f.Used == nil {
					return ""
				}
				return f.Used.ID + " of source " + f.Used.Source + " and tenant " + f.Used.TenantID
			}),
			want: "m of source m and tenant " + nearTenant,
		},
	})
}

func TestFindMissesNearUsers(t *testing.T) {
	identity := lookUp(store.Lookup{Issuer: "m", Subject: "m"}, func(f store.Found) string {
		return strings.TrimSpace(sayUser(f.ByIdentity) + " " + f.Identity.Kind + " " + f.Identity.Source)
	})
	waiting := lookUp(store.Lookup{WaitingEmailKey: "m@x.example"}, func(f store.Found) string { return sayUser(f.Waiting) })
	loose := nearUser().with("email_reserved", false)
	reservedOrUndecided := []miss{{column: "email_reserved", value: true}, {column: "email_reserved", value: nil}}
	email := around("email_key", "l@x.example", "n@x.example")
	runNearMisses(t, []nearMiss{
		{
			lookup: "the user of an identity", row: nearIdentity(), beside: []row{nearUser()}, look: identity, want: theUser + " oidc m",
			misses:   slices.Concat(otherTenants(), around("issuer", "l", "n"), around("subject", "l", "n"), []miss{{column: "issuer", value: "M"}, {column: "subject", value: "M"}}),
			together: true,
		},
		{
			lookup: "the user of an identity of kind saml", row: nearIdentity().with("kind", "saml"), beside: []row{nearUser()}, look: identity,
			want: theUser + " saml m", misses: otherTenants(),
		},
		{
			lookup: "the user that an identity leads to", row: namelessUser(), beside: []row{nearIdentity()}, together: true, want: theUser,
			misses: slices.Concat(otherTenants(), around("id", lowID, highID)),
			look:   lookUp(store.Lookup{Issuer: "m", Subject: "m"}, func(f store.Found) string { return sayUser(f.ByIdentity) }),
		},
		{
			lookup: "the user of a reserved address", row: nearUser(), want: theUser,
			misses: slices.Concat(otherTenantsOfUser(), email, []miss{{column: "email_reserved", value: false}, {column: "email_reserved", value: nil}}),
			look:   lookUp(store.Lookup{EmailKey: "m@x.example"}, func(f store.Found) string { return sayUser(f.ByEmail) }),
		},
		{
			lookup: "a source's own user of an address", row: loose, want: theUser,
			misses: slices.Concat(otherTenantsOfUser(), email, reservedOrUndecided, around("created_by", "l", "n")),
			look:   lookUp(store.Lookup{Source: "m", OwnEmailKey: "m@x.example"}, func(f store.Found) string { return sayUser(f.ByOwnEmail) }),
		},
		{
			lookup: "the user who waits for a first login", row: loose, look: waiting, want: theUser,
			misses: slices.Concat(otherTenantsOfUser(), email, reservedOrUndecided, []miss{{column: "auth_provider", value: "local"}}),
		},
		{
			lookup: "the user who waits for a first login, local without a password", row: loose.with("auth_provider", "local", "password_hash", ""), look: waiting,
			want: theUser, misses: []miss{{column: "password_hash", value: "hash"}},
		},
		{ // here what is looked for keeps the user from being found
			lookup: "the identity for which a user waits no more", row: nearIdentity(), beside: []row{loose}, look: waiting, none: theUser,
			misses: slices.Concat(otherTenants(), around("user_id", lowID, highID)),
		},
		{
			lookup: "another user who waits with the same address", row: loose.with("id", highID, "identity_name_key", nil, "name_skeleton", nil), beside: []row{loose},
			look: waiting, none: theUser, misses: slices.Concat(otherTenants(), email, reservedOrUndecided, []miss{{column: "auth_provider", value: "local"}}),
		},
		{
			lookup: "the user of an identity name", row: nearUser(), want: theUser,
			misses: slices.Concat(otherTenantsOfUser(), around("identity_name_key", "l", "n"), []miss{{column: "identity_name_key", value: nil}}),
			look:   lookUp(store.Lookup{IdentityNameKey: "m"}, func(f store.Found) string { return sayUser(f.ByIdentityName) }),
		},
		{
			lookup: "the user of a skeleton", row: nearUser(), want: theUser,
			misses: slices.Concat(otherTenantsOfUser(), around("name_skeleton", "l", "n"), []miss{{column: "name_skeleton", value: nil}}),
			look:   lookUp(store.Lookup{NameSkeleton: "m"}, func(f store.Found) string { return sayUser(f.BySkeleton) }),
		},
		{
			lookup: "the owner of a tenant", row: nearUser().with("is_owner", true), want: nearID, misses: append(otherTenants(), miss{column: "is_owner", value: false}),
			look: lookUp(store.Lookup{Owner: true}, func(f store.Found) string { return f.OwnerID }),
		},
		{
			lookup: "no owner of a tenant", row: nearUser().with("is_owner", true), misses: []miss{{column: "is_owner", value: false}},
			look: lookUp(store.Lookup{}, func(f store.Found) string { return f.OwnerID }),
		},
	})
}

// What a user is granted comes with the user, and must be the user's own.
func TestAUserComesWithoutNearGrants(t *testing.T) {
	user := func(say func(u store.User) string) look {
		return func(ctx context.Context, s *store.Store) (string, error) {
			u, err := s.User(ctx, nearTenant, nearID)
			return say(u), err
		}
	}
	roles := user(func(u store.User) string { return strings.Join(u.Roles, " ") })
	organizations := user(func(u store.User) string { return strings.Join(organizationsOf(u), " ") })
	identities := user(func(u store.User) string { return strings.Repeat("one", u.HasIdentity) })
	// A role and an organization of the same id in another tenant, and of another id in the same one.
	others := []row{
		nearUser(), nearRole().with("tenant_id", highTenant, "name", "of another tenant"), nearRole().with("id", highID, "name", "of another id"),
		nearOrganization().with("tenant_id", highTenant), nearOrganization().with("id", highID),
		nearRole().with("tenant_id", lowTenant, "name", "of another tenant"), nearOrganization().with("tenant_id", lowTenant),
	}
	with := func(rows ...row) []row { return slices.Concat(others, rows) }
	withdrawn := []miss{{column: "removed_at", value: storetest.Time}}
	grant := slices.Concat(otherTenants(), around("user_id", lowID, highID))
	runNearMisses(t, []nearMiss{
		{lookup: "the grant of a role", row: nearRoleGrant(), beside: with(nearRole()), look: roles, want: "m", misses: grant},
		{lookup: "the role that is granted", row: nearRole(), beside: with(nearRoleGrant()), look: roles, want: "m", misses: withdrawn},
		{
			lookup: "the grant in an organization", row: nearOrganizationGrant(), beside: with(nearRole(), nearOrganization()), look: organizations,
			want: nearID + "/" + nearID, misses: grant,
		},
		{
			lookup: "the organization of a grant", row: nearOrganization(), beside: with(nearRole(), nearOrganizationGrant()), look: organizations,
			want: nearID + "/" + nearID, misses: withdrawn,
		},
		{
			lookup: "the role of a grant in an organization", row: nearRole(), beside: with(nearOrganization(), nearOrganizationGrant()), look: organizations,
			want: nearID + "/" + nearID, misses: withdrawn,
		},
		{lookup: "the identities of a user", row: nearIdentity(), beside: []row{nearUser()}, look: identities, want: "one", misses: grant},
	})
}

func organizationsOf(u store.User) []string {
	var all []string
	for _, o := range u.Organizations {
		all = append(all, o.OrganizationID+"/"+o.RoleID)
	}
	return all
}
