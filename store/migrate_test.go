package store_test

import (
	"os"
	"testing"

	"github.com/pressly/goose/v3"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

// migrateTo brings an empty database to the given version of the schema.
func migrateTo(t *testing.T, kind string, o store.Options, version int64) {
	t.Helper()
	dialect := goose.DialectSQLite3
	if kind == store.Postgres {
		dialect = goose.DialectPostgres
	}
	p, err := goose.NewProvider(dialect, storetest.Database(t, o), os.DirFS("migrations/"+kind), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatalf("prepare an older schema: %v", err)
	}
	if _, err := p.UpTo(t.Context(), version); err != nil {
		t.Fatalf("make the schema of version %d: %v", version, err)
	}
}

func TestEventsAndCredentialsFromBeforeScopesAreKept(t *testing.T) {
	t.Parallel()
	for _, kind := range storetest.Kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			o := storetest.Empty(t, kind)
			migrateTo(t, kind, o, 2)
			db := storetest.Database(t, o)
			blob, at := `x'00ff'`, "1800000000000001"
			if kind == store.Postgres {
				blob, at = `'\x00ff'`, "'2027-01-15 08:00:00.000001Z'"
			}
			for _, statement := range []string{
				`insert into tenants (id, name) values ('` + storetest.Acme + `', 'acme')`,
				`insert into credentials (id, tenant_id, name, secret_hash, grants, created_at) values ('c1', '` + storetest.Acme + `', 'HR', ` + blob + `, '["user"]', ` + at + `)`,
				`insert into events (tenant_id, source, event_id, payload_hash, outcome, status, code, user_id, result, result_headers, attempt,
					policies, door, origin, stored_at, at) values ('` + storetest.Acme + `', 'admin', 'e1', ` + blob + `, 'created', 201, '', null, ` + blob + `, ` + blob + `, 2,
					'["p"]', 'http', 'IDPSYNC_EVENTS/1/1', ` + at + `, ` + at + `)`,
				`insert into repeats (origin, tenant_id, source, event_id, at) values ('IDPSYNC_EVENTS/1/2', '` + storetest.Acme + `', 'admin', 'e1', ` + at + `)`,
			} {
				if _, err := db.ExecContext(t.Context(), statement); err != nil {
					t.Fatalf("write what the older version would have: %v\n%s", err, statement)
				}
			}
			s := storetest.OpenOptions(t, o)
			if _, err := s.Migrate(t.Context()); err != nil {
				t.Fatalf("migrate: %v", err)
			}
			events, err := s.Events(t.Context(), store.EventFilter{})
			if err != nil || len(events) != 1 {
				t.Fatalf("the ledger has %d events after the migration, wanted 1: %v", len(events), err)
			}
			e := events[0]
			when := e.At
			equal(t, "event", e, store.Event{
				TenantID: storetest.Acme, Source: "admin", EventID: "e1", PayloadHash: []byte{0, 255}, Outcome: "created", Status: 201,
				Result: []byte{0, 255}, ResultHeaders: []byte{0, 255}, Attempt: 2, Policies: []string{"p"}, Door: "http", Origin: "IDPSYNC_EVENTS/1/1",
				StoredAt: when, At: when,
			})
			if when.UnixMicro() != 1800000000000001 {
				t.Errorf("time of the event after the migration: got %s, wanted 1800000000000001 microseconds since 1970", when)
			}
			c, err := s.Credential(t.Context(), "c1")
			if err != nil || c.Purpose != "" || c.Name != "HR" {
				t.Errorf("the credential is %q for the purpose %q, wanted HR for any: %v", c.Name, c.Purpose, err)
			}
			repeats, err := s.RepeatsAfter(t.Context(), when, "", 10)
			if err != nil || len(repeats) != 1 || repeats[0].Scope != "" {
				t.Errorf("there are %d repeats, wanted 1 without scope: %v", len(repeats), err)
			}
			scoped := e
			scoped.Scope = "credential/HR"
			mustWrite(t, s, store.Write{Events: []store.Event{scoped}}) // one event id, two scopes
		})
	}
}
