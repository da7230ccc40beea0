package stream

import (
	"context"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A Holding is which sequences a stream had given out and which of them it still stored, all at one moment.
type Holding struct {
	Created time.Time
	First   uint64    // the lowest that is stored; behind Last when there is none
	Last    uint64    // the highest that was ever given out
	FirstAt time.Time // when First was stored; zero when nothing is
	Gaps    []uint64  // between First and Last, not stored, in order
}

// ReadHolding returns what a stream holds.
func ReadHolding(ctx context.Context, c *Conn, name string) (Holding, error) {
	op := "read state of " + name
	s, err := c.js.Stream(ctx, name)
	if err != nil {
		return Holding{}, wrap(op, err)
	}
	info, err := s.Info(ctx, jetstream.WithDeletedDetails(true))
	if err != nil {
		return Holding{}, wrap(op, err)
	}
	h := Holding{Created: info.Created, First: info.State.FirstSeq, Last: info.State.LastSeq, FirstAt: info.State.FirstTime, Gaps: info.State.Deleted}
	if info.State.Msgs == 0 {
		h.First, h.FirstAt, h.Gaps = h.Last+1, time.Time{}, nil
	}
	slices.Sort(h.Gaps)
	return h, nil
}

// Has reports whether a sequence was stored.
func (h Holding) Has(seq uint64) bool {
	if seq < h.First || seq > h.Last {
		return false
	}
	_, gone := slices.BinarySearch(h.Gaps, seq)
	return !gone
}
