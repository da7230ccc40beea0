package main

import (
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
)

func TestALedgerThatForgetsTooSoonIsRefusedInFullSentences(t *testing.T) {
	const day = 24 * time.Hour
	err := ledgerCoversSources(3*day, store.Directory{})
	if err == nil || !strings.HasPrefix(err.Error(), "events may be 7d old") {
		t.Errorf("a ledger of 3 days without any source is answered with %v, want that events may be 7d old", err)
	}
	if err := ledgerCoversSources(7*day, store.Directory{}); err != nil {
		t.Errorf("a ledger of 7 days is refused: %v, want that it is taken", err)
	}
}
