package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

// neighbours are rows of the ledger of which each differs from the first in exactly one column of the key.
func neighbours() []store.Event {
	first := storetest.Event(storetest.User(storetest.Acme, 1), "e1")
	first.Scope, first.Credential, first.Origin = "credential/hr", "c1", "IDPSYNC_EVENTS/1/1"
	all := []store.Event{first, first, first, first, first}
	all[1].TenantID, all[1].Origin = storetest.Globex, "IDPSYNC_EVENTS/1/2"
	all[2].Source, all[2].Origin = "other", "IDPSYNC_EVENTS/1/3"
	all[3].EventID, all[3].Origin = "e2", "IDPSYNC_EVENTS/1/4"
	all[4].Scope, all[4].Credential, all[4].Origin = "credential/payroll", "c2", "IDPSYNC_EVENTS/1/5"
	return all
}

func lookupOf(e store.Event) store.Lookup {
	return store.Lookup{Tenant: e.TenantID, Source: e.Source, EventID: e.EventID, Scope: e.Scope}
}

// eventsOf says which rows were found, by their origins.
func eventsOf(f store.Found) map[string]string {
	found := map[string]string{}
	for name, e := range map[string]*store.Event{"event": f.Event, "unscoped": f.Unscoped, "brought": f.Brought} {
		if e != nil {
			found[name] = e.Origin
		}
	}
	return found
}

func TestAnEventIsFoundByItsWholeKey(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		all := neighbours()
		for i, absent := range all { // the neighbours alone do not stand for the one that is missing
			others := slices.Delete(slices.Clone(all), i, i+1)
			err := s.DryRun(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				if err := tx.Write(ctx, store.Write{Events: others}); err != nil {
					return err
				}
				found, err := tx.Find(ctx, []store.Lookup{lookupOf(absent), lookupOf(others[0])})
				if err != nil {
					return err
				}
				equal(t, "found for "+absent.Origin+", which is not there", eventsOf(found[0]), map[string]string{})
				equal(t, "found beside it", eventsOf(found[1]), map[string]string{"event": others[0].Origin})
				return nil
			})
			if err != nil {
				t.Fatalf("look for the neighbours of row %d: %v", i, err)
			}
		}
		for i := range 6 { // more senders of one event id than any lookup looks for
			another := all[0]
			another.Scope, another.Origin = fmt.Sprintf("credential/%d", i), fmt.Sprintf("IDPSYNC_EVENTS/2/%d", i)
			all = append(all, another)
		}
		mustWrite(t, s, store.Write{Events: all})
		lookups := make([]store.Lookup, len(all))
		for i, e := range all {
			lookups[i] = lookupOf(e)
		}
		for i, f := range find(t, s, lookups...) {
			equal(t, "found", f.Event, &all[i])
			got, err := s.Event(t.Context(), all[i].Key())
			equal(t, "error of Event", err, nil)
			equal(t, "Event", got, all[i])
		}
		again := all[0]
		again.Outcome = "exists"
		if err := write(t.Context(), s, store.Write{Events: []store.Event{again}}); !errors.Is(err, store.ErrRaced) {
			t.Errorf("a second row of one key: got the error %v, wanted a race that is lost", err)
		}
	})
}

func TestAnEventFromBeforeScopesIsFoundApart(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		all := neighbours()
		for i := range all {
			all[i].Scope, all[i].Credential = "", ""
		}
		all = all[:4]
		scoped := neighbours()[0]
		scoped.Origin = "IDPSYNC_EVENTS/1/9"
		mustWrite(t, s, store.Write{Events: append(slices.Clone(all), scoped)})

		other := lookupOf(scoped)
		other.Scope = "credential/payroll"
		none := lookupOf(scoped)
		none.Scope = ""
		for name, c := range map[string]struct {
			lookup store.Lookup
			origin string
			want   map[string]string
		}{
			"own scope":                        {lookupOf(scoped), "", map[string]string{"event": scoped.Origin, "unscoped": all[0].Origin}},
			"another scope":                    {other, "", map[string]string{"unscoped": all[0].Origin}},
			"no scope":                         {none, "", map[string]string{"event": all[0].Origin}},
			"no scope, by the message":         {none, scoped.Origin, map[string]string{"event": all[0].Origin, "brought": scoped.Origin}},
			"another scope, by the message":    {other, scoped.Origin, map[string]string{"unscoped": all[0].Origin, "brought": scoped.Origin}},
			"own scope, by an earlier message": {lookupOf(scoped), all[0].Origin, map[string]string{"event": scoped.Origin, "unscoped": all[0].Origin, "brought": all[0].Origin}},
			"the message of another event id":  {other, all[3].Origin, map[string]string{"unscoped": all[0].Origin}},
		} {
			c.lookup.Origin = c.origin
			equal(t, name, eventsOf(find(t, s, c.lookup)[0]), c.want)
		}
	})
}

func TestEventsAreListedByIDCredentialAndScope(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		all := neighbours()
		mustWrite(t, s, store.Write{Events: all})
		origins := func(f store.EventFilter) []string {
			t.Helper()
			events, err := s.Events(t.Context(), f)
			if err != nil {
				t.Fatalf("list events: %v", err)
			}
			var list []string
			for _, e := range events {
				list = append(list, e.Origin)
			}
			return list
		}
		equal(t, "of one id", origins(store.EventFilter{Tenant: storetest.Acme, Source: all[0].Source, EventID: "e1"}), []string{all[0].Origin, all[4].Origin})
		equal(t, "of one credential", origins(store.EventFilter{Credential: "c2"}), []string{all[4].Origin})
		equal(t, "behind the first scope", origins(store.EventFilter{Tenant: storetest.Acme, Source: all[0].Source, EventID: "e1", After: all[0].Key()}), []string{all[4].Origin})
		var walked []string
		f := store.EventFilter{Limit: 1}
		for {
			page, err := s.Events(t.Context(), f)
			if err != nil {
				t.Fatalf("list a page of events: %v", err)
			}
			if len(page) == 0 {
				break
			}
			walked = append(walked, page[0].Origin)
			f.After = page[0].Key()
		}
		if len(walked) != len(all) {
			t.Errorf("pages of one row gave %d rows, wanted %d: %q", len(walked), len(all), walked)
		}
	})
}
