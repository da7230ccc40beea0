package store_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

func TestWhatIsOwedAndRepeatedIsListedPageByPage(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		var w store.Write
		var parked []store.Parked
		for i := range 5 {
			w.Repeats = append(w.Repeats, store.Repeat{
				Origin: fmt.Sprintf("IDPSYNC_EVENTS/1/%d", i), TenantID: storetest.Acme, Source: "okta", EventID: "e", Scope: "credential/hr", At: storetest.Time.Add(time.Duration(i) * time.Second),
			})
			w.Outbox = append(w.Outbox, store.Outbox{ID: fmt.Sprintf("result/%d", i), At: storetest.Time})
			parked = append(parked, store.Parked{
				Key: fmt.Sprintf("IDPSYNC_EVENTS/2/%d", i), Tenant: storetest.Acme, Source: "okta", EventID: fmt.Sprint(i),
				StoredAt: storetest.Time,
			})
		}
		mustWrite(t, s, w)
		mustWrite(t, s, store.Write{Repeats: w.Repeats[:2]}) // again changes nothing
		if err := s.Park(t.Context(), parked); err != nil {
			t.Fatal(err)
		}

		repeats := pages(t, func(ctx context.Context, last *store.Repeat) ([]store.Repeat, error) {
			if last == nil {
				last = &store.Repeat{}
			}
			return s.RepeatsAfter(ctx, storetest.Time.Add(time.Second), last.Origin, 2)
		})
		if !slices.Equal(repeats, w.Repeats[1:]) {
			t.Errorf("repeats, page by page: got %+v, wanted %+v", repeats, w.Repeats[1:])
		}
		owed := pages(t, func(ctx context.Context, last *string) ([]string, error) {
			if last == nil {
				last = new(string)
			}
			return s.OutboxAfter(ctx, *last, 2)
		})
		if want := []string{"result/0", "result/1", "result/2", "result/3", "result/4"}; !slices.Equal(owed, want) {
			t.Errorf("ids of results that are owed, page by page: got %q, wanted %q", owed, want)
		}
		waiting := pages(t, func(ctx context.Context, last *store.Waiting) ([]store.Waiting, error) {
			if last == nil {
				last = &store.Waiting{}
			}
			return s.ParkedAfter(ctx, last.ID, 2)
		})
		if len(waiting) != 5 {
			t.Fatalf("parked events, page by page: got %d, wanted 5: %+v", len(waiting), waiting)
		}
		for key, want := range map[string]bool{"IDPSYNC_EVENTS/2/3": true, "IDPSYNC_EVENTS/2/5": false} {
			if got, err := s.IsParked(t.Context(), key, "another", storetest.Time); err != nil || got != want {
				t.Errorf("the event %s is parked: got %v and the error %v, wanted %v", key, got, err, want)
			}
		}
		for i, p := range waiting {
			if want := parked[i]; p.Key != want.Key || p.Tenant != want.Tenant || p.Source != want.Source || p.EventID != want.EventID {
				t.Errorf("parked event %d: got %+v, wanted key, tenant, source and event id of %+v", i, p, want)
			}
		}
	})
}

// pages reads a list to its end.
func pages[T any](t *testing.T, read func(ctx context.Context, last *T) ([]T, error)) []T {
	t.Helper()
	var all []T
	for last := (*T)(nil); ; last = &all[len(all)-1] {
		page, err := read(t.Context(), last)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
	}
}
