package store

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
)

// why is the fault that an error tells of.
func why(err error) fault {
	if e, ok := errors.AsType[*classified](err); ok {
		return e.fault
	}
	return fault{}
}

// Those that a test can't bring about on a server that others use too. The others are in class_test.go.
func TestCodesOfPostgreSQLHaveAClassAndAHint(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]struct {
		class error
		why   fault
	}{
		"08006": {ErrUnavailable, faultUnreachable}, "08P01": {ErrUnavailable, faultUnreachable},
		"0A000": {ErrUnavailable, faultReadOnly}, "25006": {ErrUnavailable, faultReadOnly},
		"25P03": {ErrUnavailable, faultSlow}, "55P03": {ErrUnavailable, faultSlow}, "57014": {ErrUnavailable, faultSlow},
		"28000": {ErrUnavailable, faultRefusing}, "28P01": {ErrUnavailable, faultRefusing},
		"3D000": {ErrUnavailable, faultSchemaless}, "42501": {ErrUnavailable, faultDenying}, "42P01": {ErrUnavailable, faultSchemaless},
		"42703": {ErrUnavailable, faultSchemaless}, "57P04": {ErrUnavailable, faultSchemaless},
		"53000": {ErrUnavailable, faultSlow}, "53100": {ErrUnavailable, faultFull}, "53200": {ErrUnavailable, faultExhausted},
		"53300": {ErrUnavailable, faultCrowded}, "53400": {ErrUnavailable, faultSlow},
		"55000": {ErrUnavailable, faultStopping}, "57P01": {ErrUnavailable, faultStopping}, "57P02": {ErrUnavailable, faultStopping},
		"57P03": {ErrUnavailable, faultStopping}, "57P05": {ErrUnavailable, faultStopping},
		"58000": {ErrUnavailable, faultFailing}, "58030": {ErrUnavailable, faultFailing},
		"XX001": {ErrUnavailable, faultDamaged}, "XX002": {ErrUnavailable, faultDamaged},
		"23505": {ErrRaced, fault{}}, "40001": {ErrRaced, fault{}}, "40P01": {ErrRaced, fault{}},
		"22001": {ErrConstraint, fault{}}, "23503": {ErrConstraint, fault{}}, "54000": {ErrConstraint, fault{}},
		"XX000": {nil, fault{}}, "42601": {nil, fault{}}, "": {nil, fault{}},
	} {
		err := classify(context.Background(), &pq.Error{Code: pqerror.Code(code)})
		if want.class != nil && !errors.Is(err, want.class) || why(err) != want.why {
			t.Errorf("SQLSTATE %s: got the error %v, because %+v, wanted class %v and %+v", code, err, why(err), want.class, want.why)
		}
		if want.class == nil && (errors.Is(err, ErrUnavailable) || errors.Is(err, ErrRaced) || errors.Is(err, ErrConstraint)) {
			t.Errorf("SQLSTATE %s: got the error %v, wanted one without class", code, err)
		}
	}
}

// sqliteStore returns a store in a file, with a schema and something in it.
func sqliteStore(t *testing.T, path string, o Options) *Store {
	t.Helper()
	o.Path = path
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // that of a damaged database may fail
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSQLiteThatCannotServeIsUnavailable(t *testing.T) {
	t.Parallel()
	pragma := func(t *testing.T, s *Store, text string) {
		t.Helper()
		if _, err := s.write.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		why  fault
		harm func(t *testing.T, s *Store, path string)
	}{
		"full":      {faultFull, func(t *testing.T, s *Store, _ string) { pragma(t, s, `pragma max_page_count = 1`) }},
		"read-only": {faultGuarded, func(t *testing.T, s *Store, _ string) { pragma(t, s, `pragma query_only = 1`) }},
		"busy": {faultBusy, func(t *testing.T, s *Store, path string) {
			pragma(t, s, `pragma busy_timeout = 0`)
			other, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = other.Close() })
			if _, err := other.BeginTx(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "idpsync.db")
			s := sqliteStore(t, path, Options{})
			test.harm(t, s, path)
			err := s.Audit(t.Context(), AuditEntry{Who: "x", Action: "x", Detail: make([]byte, 1<<20)})
			if !errors.Is(err, ErrUnavailable) || why(err) != test.why {
				t.Errorf("writing to a database that is %s: got the error %v, because %+v, wanted that it is unavailable because %+v", name, err, why(err), test.why)
			}
		})
	}
}

// damage overwrites a part of a file.
func damage(t *testing.T, path string, from, length int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	garbage := make([]byte, length)
	for i := range garbage {
		garbage[i] = 0xA5
	}
	if _, err := f.WriteAt(garbage, from); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedSQLiteSaysSoAndWhatToDo(t *testing.T) {
	t.Parallel()
	const header, pages = 100, 1 << 14
	for name, test := range map[string]struct {
		from, length int64
		journal      bool // is left behind, as a crash does
		check        bool
	}{
		"no database at all":               {from: 0, length: header},
		"damaged pages, after a crash":     {from: pages, length: 1 << 15, journal: true, check: true},
		"damaged pages, found when in use": {from: header, length: 1 << 16},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "idpsync.db")
			if err := sqliteStore(t, path, Options{}).Close(); err != nil {
				t.Fatal(err)
			}
			damage(t, path, test.from, test.length)
			if test.journal {
				if err := os.WriteFile(path+"-wal", []byte("x"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s, err := Open(t.Context(), Options{Path: path, Check: test.check})
			if err == nil {
				t.Cleanup(func() { _ = s.Close() })
				if test.check {
					t.Fatal("a damaged database that was not closed was opened, wanted that it is checked and refused")
				}
				_, err = s.Users(t.Context(), UserFilter{})
			}
			if !errors.Is(err, ErrUnavailable) || why(err) != faultDamaged {
				t.Errorf("a damaged database: got the error %v, because %+v, wanted that it is unavailable because it is damaged", err, why(err))
			}
		})
	}
}

func TestSQLiteThatWasNotClosedIsCheckedAndServes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "idpsync.db")
	first := sqliteStore(t, path, Options{}) // as if its process had died
	s := sqliteStore(t, path, Options{Check: true})
	if !s.unclean {
		t.Error("the database of a process that did not close it: got none that is checked, wanted that it is")
	}
	if err := s.TryWrite(t.Context()); err != nil {
		t.Errorf("writing to a sound database after its check: got the error %v, wanted none", err)
	}
	if err := errors.Join(s.Close(), first.Close()); err != nil {
		t.Fatal(err)
	}
	if again := sqliteStore(t, path, Options{Check: true}); again.unclean {
		t.Error("a database that was closed: got one that is checked, wanted that it is not")
	}
}
