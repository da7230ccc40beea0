package store_test

import (
	"testing"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

func TestOneSealKeyStandsForAllWorkers(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		if key, err := s.SealKey(t.Context()); err != nil || key != "" {
			t.Fatalf("the seal key before anybody set one: got %q and the error %v, wanted none", key, err)
		}
		for _, c := range []struct{ old, next, want string }{
			{"", "XA", "XA"},   // the first worker
			{"", "XB", "XA"},   // another one with a key of its own
			{"XA", "XC", "XC"}, // a change of key
			{"XA", "XD", "XC"}, // one who did not hear of it
		} {
			if key, err := s.SetSealKey(t.Context(), c.old, c.next); err != nil || key != c.want {
				t.Errorf("the seal key after setting %q in place of %q: got %q and the error %v, wanted %q", c.next, c.old, key, err, c.want)
			}
		}
	})
}
