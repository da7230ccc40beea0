package record_test

import (
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
)

// TestDeadLettersOfOlderVersionsCanBeRead leaves headers out, or has them in another form. A replay needs the time of the event
// and the number of its replays; the rest is for people.
func TestDeadLettersOfOlderVersionsCanBeRead(t *testing.T) {
	whole := providers.Header{
		record.DeadLetterTime: {"2026-11-28T01:02:03.000000004Z"}, record.DeadLetterFirstFailed: {"2026-11-28T01:02:04Z"},
		record.DeadLetterLastFailed: {"2026-11-28T01:02:05Z"}, record.DeadLetterAttempts: {"2"}, record.DeadLetterReplayCount: {"3"},
		record.DeadLetterParent: {"17"}, record.DeadLetterEventID: {"a%20b"}, record.DeadLetterOrigin: {"IDPSYNC_EVENTS/1/7"},
	}
	d, err := record.ReadDeadLetter(whole)
	if err != nil || d.Attempts != 2 || d.Replays != 3 || d.Parent != 17 || d.EventID != "a b" || d.Origin.Sequence != 7 ||
		!d.StoredAt.Equal(time.Date(2026, 11, 28, 1, 2, 3, 4, time.UTC)) || d.LastFailed.Sub(d.FirstFailed) != time.Second {
		t.Errorf("the whole record: got %+v and error %v, want all that its headers say", d, err)
	}
	for name, value := range map[string]string{
		record.DeadLetterFirstFailed: "", record.DeadLetterLastFailed: "yesterday", record.DeadLetterAttempts: "many", record.DeadLetterParent: "-1",
	} {
		h := maps.Clone(whole)
		h[name] = []string{value}
		if _, err := record.ReadDeadLetter(h); err != nil {
			t.Errorf("%s %q: got error %v, want a record that can be replayed", name, value, err)
		}
	}
	for name, value := range map[string]string{record.DeadLetterTime: "", record.DeadLetterReplayCount: "-1"} {
		h := maps.Clone(whole)
		h[name] = []string{value}
		if _, err := record.ReadDeadLetter(h); !errors.Is(err, record.ErrRecord) {
			t.Errorf("%s %q: got error %v, want one of class ErrRecord", name, value, err)
		}
	}
}
