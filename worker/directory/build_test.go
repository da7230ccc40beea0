package directory_test

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
	"github.com/idpsync/idpsync/worker/directory"
)

// A worker that started without the operator's policies would let in whom they forbid.
func TestDirectoriesDoNotLoadAtFirstWithoutTheirPolicies(t *testing.T) {
	t.Parallel()
	st := storetest.Open(t, store.SQLite)
	broken := errors.New("line 3: not a policy")
	d := directory.NewCache(st, nil, providers.Environment{Now: time.Now, Log: slog.New(slog.DiscardHandler)}, func([]store.Policy) error { return broken })
	if err := d.Reload(t.Context()); !errors.Is(err, broken) {
		t.Errorf("loading ends with %v, want the error of the policies, %v", err, broken)
	}
	if d.Current().Revision >= 0 {
		t.Error("a directory is in force nevertheless")
	}
}
