package record_test

import (
	"testing"
	"time"

	"github.com/idpsync/idpsync/worker/record"
)

func TestOriginsOfThisAndOfEarlierVersionsAreRead(t *testing.T) {
	created, at := time.Unix(1_700_000_000, 0).UTC(), time.Unix(1_700_000_009, 123_456_789).UTC()
	for text, want := range map[string]struct {
		origin record.Origin
		id     string
	}{
		"IDPSYNC_EVENTS/1700000000/9":                     {record.Origin{Stream: "IDPSYNC_EVENTS", Created: created, Sequence: 9}, "1700000000-9"},
		"IDPSYNC_EVENTS/1700000000/9/1700000009123456789": {record.Origin{Stream: "IDPSYNC_EVENTS", Created: created, Sequence: 9, At: at}, "1700000000-9-1700000009123456789"},
	} {
		got := record.ParseOrigin(text)
		if got != want.origin || got.String() != text || got.EventID() != want.id {
			t.Errorf("%s is read as %+v, written as %s with the id %s; want %+v and the id %s", text, got, got, got.EventID(), want.origin, want.id)
		}
		if former := got.Former().String(); former != "IDPSYNC_EVENTS/1700000000/9" {
			t.Errorf("the former origin of %s is %s, want it without the stored time", text, former)
		}
	}
	for _, text := range []string{"", "x", "a/b/c/d", "a/1/2/3/4"} {
		if got := record.ParseOrigin(text); got.Stored() {
			t.Errorf("%q is read as the stored message %+v, want none", text, got)
		}
	}
}
