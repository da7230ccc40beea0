package store_test

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

func TestMarksNeverGoBack(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		created := storetest.Time
		mark := func(stream string, created time.Time, last uint64) store.Mark {
			return store.Mark{Stream: stream, Created: created, Last: last}
		}
		for _, marks := range [][]store.Mark{
			nil,
			{mark("A", created, 5), mark("B", created, 1)},
			{mark("A", created, 4), mark("B", created, 2)}, // A was read earlier, and is written later
			{mark("B", created.Add(time.Second), 9)},       // another stream of that name
		} {
			if err := s.Mark(t.Context(), marks); err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.Marks(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if got[i].SeenAt.IsZero() {
				t.Errorf("the mark of %s says nothing of when it was seen, want the database's time", got[i].Stream)
			}
			got[i].SeenAt = time.Time{}
		}
		if want := []store.Mark{mark("A", created, 5), mark("B", created, 2)}; !slices.Equal(got, want) {
			t.Errorf("the marks are %v, want %v", got, want)
		}
	})
}

// A health check writes marks: what takes no writes must not look healthy.
func TestMarkingFailsWhereNothingCanBeWritten(t *testing.T) {
	t.Parallel()
	o := storetest.Migrated(t, store.Postgres)
	u, err := url.Parse(o.URL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("default_transaction_read_only", "on")
	u.RawQuery = q.Encode()
	o.URL = u.String()
	err = storetest.OpenOptions(t, o).Mark(t.Context(), []store.Mark{{Stream: "A", Created: storetest.Time, Last: 1}})
	if !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("marking ends with %v, want %v", err, store.ErrUnavailable)
	}
	if what, hint := store.Explain(err); what != "takes no writes" || !strings.Contains(hint, "standby") {
		t.Errorf("it is explained by %q and %q, want that it takes no writes and that it may be a standby", what, hint)
	}
}

func TestAcceptedMarksReplaceOthers(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		created := storetest.Time
		if err := s.Mark(t.Context(), []store.Mark{{Stream: "A", Created: created, Last: 9}, {Stream: "B", Created: created, Last: 3}}); err != nil {
			t.Fatal(err)
		}
		entry := store.AuditEntry{At: created, Who: "ann", Action: "gap.accept", Object: "A", Detail: []byte(`{}`)}
		if err := s.AcceptMarks(t.Context(), []store.Mark{{Stream: "A", Created: created.Add(time.Hour), Last: 2}}, entry); err != nil {
			t.Fatal(err)
		}
		if err := s.Mark(t.Context(), []store.Mark{{Stream: "A", Created: created.Add(time.Hour), Last: 4}}); err != nil {
			t.Fatal(err)
		}
		got, err := s.Marks(t.Context())
		if err != nil || len(got) != 2 {
			t.Fatalf("the marks are %v with the error %v, want two", got, err)
		}
		if a := got[0]; !a.Created.Equal(created.Add(time.Hour)) || a.Last != 4 || a.AcceptedAt.IsZero() {
			t.Errorf("the accepted mark that went on is %+v, want one of the new creation at 4 that was accepted", a)
		}
		if b := got[1]; b.Last != 3 || !b.AcceptedAt.IsZero() {
			t.Errorf("the other mark is %+v, want it at 3 and not accepted", b)
		}
		entries, err := s.AuditEntries(t.Context(), store.AuditFilter{Action: "gap.accept"})
		if err != nil || len(entries) != 1 || entries[0].Who != "ann" {
			t.Errorf("the audit has %v with the error %v, want one entry of ann", entries, err)
		}
	})
}
