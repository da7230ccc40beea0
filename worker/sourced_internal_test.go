package worker

import (
	"errors"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/original"
	"github.com/idpsync/idpsync/worker/record"
)

func TestWhichTimeIsBelieved(t *testing.T) {
	arrived := time.Unix(1_800_000_000, 500)
	first := arrived.Add(-10 * time.Minute)
	source := record.Source{Stream: "EDGE", Domain: "x", Sequence: 7, Subject: "a.b"}
	for name, c := range map[string]struct {
		change func(*original.Reading)
		by     string
	}{
		"the very message":    {func(*original.Reading) {}, byFirst},
		"stored on arrival":   {func(o *original.Reading) { o.Stored.StoredAt = arrived }, byFirst},
		"stored later":        {func(o *original.Reading) { o.Stored.StoredAt = arrived.Add(1) }, byLater},
		"another body":        {func(o *original.Reading) { o.Stored.Data = []byte("other") }, byAltered},
		"another message":     {func(o *original.Reading) { o.Stored.Sequence++ }, byAltered},
		"a copy itself":       {func(o *original.Reading) { o.Stored.Header = providers.Header{"Nats-Stream-Source": {"A 1 > > a.b"}} }, byChained},
		"no message any more": {func(o *original.Reading) { o.Err = errors.Join(record.ErrNoMessage) }, byGone},
	} {
		e := &event{message: message{origin: record.Origin{Stream: "S", Sequence: 1, At: arrived}, body: []byte("body")}}
		o := &original.Reading{Stored: record.Stored{Sequence: 7, Subject: "a.b", Data: []byte("body"), StoredAt: first}}
		c.change(o)
		want := arrived
		if c.by == byFirst {
			want = o.Stored.StoredAt
		}
		if at, by := e.firstTime(source, o); !at.Equal(want) || by != c.by {
			t.Errorf("%s: the event is judged by %v (%s), want %v (%s)", name, at, by, want, c.by)
		}
	}
}
