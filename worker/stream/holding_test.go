package stream_test

import (
	"slices"
	"testing"

	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

func TestHoldingTellsWhatIsStored(t *testing.T) {
	c := migrated(t)
	stored := func() (stream.Holding, []uint64) {
		t.Helper()
		h, err := stream.ReadHolding(t.Context(), c, stream.StreamEvents)
		if err != nil {
			t.Fatal(err)
		}
		var has []uint64
		for seq := range uint64(10) {
			if h.Has(seq) {
				has = append(has, seq)
			}
		}
		return h, has
	}
	if h, has := stored(); h.Last != 0 || has != nil || !h.FirstAt.IsZero() || h.Created.IsZero() {
		t.Errorf("an empty stream is said to hold %+v, and of it %v, want nothing but when it was created", h, has)
	}
	for range 6 {
		if _, err := stream.PublishEvent(t.Context(), c, record.Outgoing{Subject: "idpsync.login." + tenantA + ".okta"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, seq := range []uint64{1, 3, 4, 6} {
		if err := stream.SecureDelete(t.Context(), c, seq); err != nil {
			t.Fatal(err)
		}
	}
	if h, has := stored(); h.Last != 6 || h.First != 2 || !slices.Equal(has, []uint64{2, 5}) {
		t.Errorf("the stream is said to hold %+v, and of it %v, want 2 and 5 between 2 and 6", h, has)
	}
	for _, seq := range []uint64{2, 5} {
		if err := stream.SecureDelete(t.Context(), c, seq); err != nil {
			t.Fatal(err)
		}
	}
	if h, has := stored(); h.Last != 6 || has != nil || !h.FirstAt.IsZero() {
		t.Errorf("an emptied stream is said to hold %+v, and of it %v, want nothing up to 6", h, has)
	}
}
