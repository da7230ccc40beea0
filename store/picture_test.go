package store_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

func TestAPictureIsFoundByTheRevisionOfItsUser(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		u, other := storetest.User(storetest.Acme, 1), storetest.User(storetest.Acme, 2)
		u.Avatar, other.Avatar = "one", "other"
		mustWrite(t, s, store.Write{Users: []store.User{u, other}})
		name := "New"
		for i, avatar := range []any{"two", nil, "two", "", "five"} { // revisions 2 to 6
			up := store.UserUpdate{TenantID: u.TenantID, UserID: u.ID, Revision: int64(i + 1), UpdatedAt: storetest.Time, Name: &name}
			if text, ok := avatar.(string); ok {
				up.Avatar = &text
			}
			too := store.UserUpdate{TenantID: u.TenantID, UserID: other.ID, Revision: int64(i + 1), UpdatedAt: storetest.Time, Name: &name}
			mustWrite(t, s, store.Write{Updates: []store.UserUpdate{up, too}})
		}
		find := func(id string, revision int64) string {
			t.Helper()
			avatar, err := s.Avatar(t.Context(), strings.ToUpper(u.TenantID), id, revision)
			if err != nil {
				t.Fatalf("look for the picture of revision %d: %v", revision, err)
			}
			return avatar
		}
		for revision, want := range map[int64]string{0: "one", 1: "one", 2: "two", 3: "two", 4: "two", 6: "five", 9: "five"} {
			equal(t, fmt.Sprintf("the picture of revision %d", revision), find(u.ID, revision), want)
			equal(t, "the picture that never changed", find(other.ID, revision), "other")
		}
		equal(t, "the picture of nobody", find(storetest.User(storetest.Acme, 3).ID, 1), "")
		equal(t, "the picture of what is no id", find("x", 1), "")
		if _, err := s.Forget(t.Context(), u.TenantID, u.ID, "ops", time.Now()); err != nil {
			t.Fatalf("forget the user: %v", err)
		}
		equal(t, "a former picture of a user who was forgotten", find(u.ID, 1), "")
	})
}

func TestBytesComeBackAsTheyAre(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		bodies := [][]byte{nil, all, []byte(`\x00`), []byte("NULL"), []byte(`","\`), bytes.Repeat(all, 4096), {0}}
		for _, n := range []int{1, len(bodies)} { // PostgreSQL gets one row in another form than several
			var rows []store.Event
			for i, body := range bodies[:n] {
				row := storetest.Event(storetest.User(storetest.Acme, 1), fmt.Sprintf("%d of %d", i, n))
				row.Result, row.ResultHeaders = body, bodies[n-1-i]
				rows = append(rows, row)
			}
			mustWrite(t, s, store.Write{Events: rows})
			for _, want := range rows {
				got, err := s.Event(t.Context(), want.Key())
				if err != nil || !bytes.Equal(got.Result, want.Result) || !bytes.Equal(got.ResultHeaders, want.ResultHeaders) {
					t.Errorf("row %s comes back with %d and %d bytes and the error %v, wanted the %d and %d bytes that were written", want.EventID,
						len(got.Result), len(got.ResultHeaders), err, len(want.Result), len(want.ResultHeaders))
				}
			}
		}
	})
}

// PostgreSQL would try to compress each picture, to no avail.
func TestLargeBodiesAreStoredAsTheyAre(t *testing.T) {
	t.Parallel()
	db := storetest.Database(t, storetest.Migrated(t, store.Postgres))
	for _, column := range []string{"events.result", "outbox.body", "parked.payload", "users.avatar", "former_avatars.avatar"} {
		table, name, _ := strings.Cut(column, ".")
		var storage string
		err := db.QueryRowContext(t.Context(), `select attstorage::text from pg_attribute where attrelid = $1::regclass and attname = $2`, table, name).Scan(&storage)
		if err != nil || storage != "e" {
			t.Errorf("%s has the storage %q and the error %v, wanted e, which is external", column, storage, err)
		}
	}
}
