package stream

import (
	"context"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/worker/record"
)

// StreamState is what one stream holds.
type StreamState struct {
	Name     string    `json:"name"`
	Created  time.Time `json:"created"`
	Messages uint64    `json:"messages"`
	Bytes    uint64    `json:"bytes"`
	MaxBytes int64     `json:"max_bytes"`
	FirstSeq uint64    `json:"first_seq"`
	LastSeq  uint64    `json:"last_seq"`
	First    time.Time `json:"first"` // stored; zero when empty
	Last     time.Time `json:"last"`
	Replicas int       `json:"replicas"`
}

// LaneState is how far one durable consumer is.
type LaneState struct {
	Lane        string        `json:"lane"`
	Stream      string        `json:"stream"`
	Pending     uint64        `json:"pending"`     // never delivered
	AckPending  int           `json:"ack_pending"` // delivered, not acknowledged
	Redelivered int           `json:"redelivered"`
	Waiting     int           `json:"waiting"` // pull requests
	AckFloor    uint64        `json:"ack_floor"`
	Delivered   uint64        `json:"delivered"`  // stream sequence of the last delivery
	OldestAge   time.Duration `json:"oldest_age"` // of the oldest message that was never delivered; 0 when there is none
	Paused      bool          `json:"paused"`
	MaxPending  int           `json:"max_ack_pending"`
}

// State is what the broker holds.
type State struct {
	Streams []StreamState `json:"streams"`
	Lanes   []LaneState   `json:"lanes"`
	// Stranded is how many events are stored but neither pending nor delivered, and so will never be delivered. It must
	// be 0. While events flow its parts are not of one moment, and it is a lower estimate.
	Stranded uint64 `json:"stranded"`
}

// Lanes returns the state of the durable consumers.
func Lanes(ctx context.Context, c *Conn) ([]LaneState, error) {
	var all []LaneState
	for _, d := range consumers() {
		op := "read state of " + d.stream + "/" + d.config.Durable
		cons, err := c.js.Consumer(ctx, d.stream, d.config.Durable)
		if err != nil {
			return nil, wrap(op, err)
		}
		i := cons.CachedInfo()
		l := LaneState{
			Lane: d.config.Durable, Stream: d.stream, Pending: i.NumPending, AckPending: i.NumAckPending,
			Redelivered: i.NumRedelivered, Waiting: i.NumWaiting, AckFloor: i.AckFloor.Stream, Delivered: i.Delivered.Stream,
			Paused: i.Paused, MaxPending: i.Config.MaxAckPending,
		}
		if i.NumPending > 0 {
			at, err := oldest(ctx, c, d, i.Delivered.Stream+1)
			if err != nil {
				return nil, wrap(op, err)
			}
			if !at.IsZero() {
				l.OldestAge = max(i.TimeStamp.Sub(at), 0)
			}
		}
		all = append(all, l)
	}
	return all, nil
}

// oldest returns when the first message of a lane from seq on was stored; zero when there is none.
func oldest(ctx context.Context, c *Conn, d durable, seq uint64) (time.Time, error) {
	s, err := c.js.Stream(ctx, d.stream)
	if err != nil {
		return time.Time{}, err
	}
	var at time.Time
	for _, filter := range d.config.FilterSubjects {
		for m, err := range scan(ctx, s, []string{filter}, seq, s.CachedInfo().State.LastSeq) {
			if err != nil {
				return time.Time{}, err
			}
			if at.IsZero() || m.StoredAt.Before(at) {
				at = m.StoredAt
			}
			break
		}
	}
	return at, nil
}

// ReadState returns what all streams and lanes hold.
func ReadState(ctx context.Context, c *Conn) (State, error) {
	var st State
	for _, want := range (Topology{}).streams(0) {
		s, err := c.js.Stream(ctx, want.Name)
		if err != nil {
			return State{}, wrap("read state of "+want.Name, err)
		}
		st.Streams = append(st.Streams, streamState(s.CachedInfo()))
	}
	lanes, err := Lanes(ctx, c)
	if err != nil {
		return State{}, err
	}
	st.Lanes = lanes
	st.Stranded, err = countStranded(ctx, c)
	return st, err
}

func streamState(i *jetstream.StreamInfo) StreamState {
	return StreamState{
		Name: i.Config.Name, Created: i.Created, Messages: i.State.Msgs, Bytes: i.State.Bytes, MaxBytes: i.Config.MaxBytes,
		FirstSeq: i.State.FirstSeq, LastSeq: i.State.LastSeq, First: i.State.FirstTime, Last: i.State.LastTime,
		Replicas: i.Config.Replicas,
	}
}

// strandedLooks is how often the invariant is looked at; the least value is the one least disturbed by traffic.
const strandedLooks = 3

// countStranded returns the messages of IDPSYNC_EVENTS that no lane accounts for.
func countStranded(ctx context.Context, c *Conn) (uint64, error) {
	least := ^uint64(0)
	for range strandedLooks {
		s, err := c.js.Stream(ctx, StreamEvents)
		if err != nil {
			return 0, wrap("read state of "+StreamEvents, err)
		}
		known := uint64(0)
		for _, d := range consumers() {
			if d.stream != StreamEvents {
				continue
			}
			cons, err := c.js.Consumer(ctx, d.stream, d.config.Durable)
			if err != nil {
				return 0, wrap("read state of "+d.stream+"/"+d.config.Durable, err)
			}
			i := cons.CachedInfo()
			known += i.NumPending + uint64(max(i.NumAckPending, 0)) //nolint:gosec // not negative
		}
		stranded := uint64(0)
		if msgs := s.CachedInfo().State.Msgs; msgs > known {
			stranded = msgs - known
		}
		if least = min(least, stranded); least == 0 {
			return 0, nil
		}
	}
	return least, nil
}

// StrandedSequences returns the sequences of events that are certainly stranded, without reading any: tokens wait there, and
// whoever looks after the broker need not see them. As it cannot tell to which lane a message belongs, it finds one behind
// the position of both lanes only; one that has nothing left to do is at the end.
func StrandedSequences(ctx context.Context, c *Conn) ([]uint64, error) {
	const op = "look for stranded events"
	s, err := c.js.Stream(ctx, StreamEvents)
	if err != nil {
		return nil, wrap(op, err)
	}
	bound := s.CachedInfo().State.LastSeq
	for _, d := range consumers() {
		if d.stream != StreamEvents {
			continue
		}
		cons, err := c.js.Consumer(ctx, d.stream, d.config.Durable)
		if err != nil {
			return nil, wrap(op, err)
		}
		if i := cons.CachedInfo(); i.NumAckPending > 0 {
			bound = min(bound, i.AckFloor.Stream)
		} else if i.NumPending > 0 {
			bound = min(bound, max(i.AckFloor.Stream, i.Delivered.Stream))
		}
	}
	h, err := ReadHolding(ctx, c, StreamEvents) // later, so that what was removed meanwhile is not found
	if err != nil {
		return nil, err
	}
	var all []uint64
	for seq := h.First; seq <= bound; seq++ {
		if h.Has(seq) {
			all = append(all, seq)
		}
	}
	return all, nil
}

// Stranded returns events that are certainly stranded: stored, but behind everything that their lane will deliver again.
// They are what reached [MaxDeliver]. At most limit are returned, 0 for all. Several workers may call it at the same
// time and then get the same events.
func Stranded(ctx context.Context, c *Conn, limit int) ([]record.Stored, error) {
	s, err := c.js.Stream(ctx, StreamEvents)
	if err != nil {
		return nil, wrap("look for stranded events", err)
	}
	var all []record.Stored
	for _, d := range consumers() {
		if d.stream != StreamEvents {
			continue
		}
		cons, err := c.js.Consumer(ctx, d.stream, d.config.Durable)
		if err != nil {
			return nil, wrap("look for stranded events", err)
		}
		// What is below the ack floor is done with. When nothing is unacknowledged, so is all that was ever delivered;
		// the floor may lag behind that.
		i := cons.CachedInfo()
		bound := i.AckFloor.Stream
		if i.NumAckPending == 0 {
			bound = max(bound, i.Delivered.Stream)
		}
		for m, err := range scan(ctx, s, d.config.FilterSubjects, 1, bound) {
			if err != nil {
				return nil, err
			}
			if all = append(all, m); limit > 0 && len(all) == limit {
				return all, nil
			}
		}
	}
	slices.SortFunc(all, func(a, b record.Stored) int { return int(a.Sequence) - int(b.Sequence) }) //nolint:gosec // order only
	return all, nil
}

// Pause stops a lane for all workers until the given time, also over restarts; a time that has passed ends the pause.
func Pause(ctx context.Context, c *Conn, lane string, until time.Time) error {
	d, ok := laneOf(lane)
	if !ok {
		return &Error{Op: "pause " + lane, Class: ErrOptions, Hint: "lanes are " + record.LaneLogins + ", " + record.LaneFeeds + " and " + record.LaneReplays}
	}
	_, err := c.js.PauseConsumer(ctx, d.stream, lane, until)
	return wrap("pause "+lane, err)
}
