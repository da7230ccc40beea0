package main

import (
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/stream"
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

func TestALedgerIsKeptForAsLongAsTheArchive(t *testing.T) {
	const day = 24 * time.Hour
	ages := stream.Ages{Results: day, DeadLetters: day, Archive: 30 * day}
	if err := ledgerCoversStreams(29*day, ages); err == nil || !strings.HasPrefix(err.Error(), "archived events are kept for 30d") {
		t.Errorf("a ledger of 29 days beside an archive of 30 is answered with %v, want that archived events are kept for 30d", err)
	}
	if err := ledgerCoversStreams(30*day, ages); err != nil {
		t.Errorf("a ledger of 30 days is refused: %v, want that it is taken", err)
	}
}
