package stream

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
)

// ReadStreams returns the state of every stream that a deployment must have, in the order of their names.
func ReadStreams(ctx context.Context, c *Conn) ([]StreamState, error) {
	var all []StreamState
	for _, want := range (Topology{}).streams(0) {
		s, err := c.js.Stream(ctx, want.Name)
		if err != nil {
			return nil, wrap("read state of "+want.Name, err)
		}
		all = append(all, streamState(s.CachedInfo()))
	}
	slices.SortFunc(all, func(a, b StreamState) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// lastTimeout bounds one read of a last message: whoever lacks the permission gets no answer.
const lastTimeout = 5 * time.Second

// LastEffects returns the last result of each outcome that is no rejection, of those behind a sequence of IDPSYNC_RESULTS.
// Messages that no worker wrote are passed over, as a publisher may have the broker write one.
func LastEffects(ctx context.Context, c *Conn, after uint64) ([]record.Stored, error) {
	var all []record.Stored
	for _, outcome := range []record.Outcome{record.OutcomeCreated, record.OutcomeExists, record.OutcomeLinked, record.OutcomeUpdated} {
		m, err := last(ctx, c, StreamResults, record.BranchResults.Of("*", "*", string(outcome)))
		switch {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return nil, err
		case m.Sequence > after && record.IsResult(m):
			all = append(all, m)
		}
	}
	return all, nil
}

// last returns the last message of a stream on a subject that may have wildcards. Those cannot stand in the subject by which
// the client library asks for it.
func last(ctx context.Context, c *Conn, name, subject string) (record.Stored, error) {
	op := "read the last message of " + name
	ctx, cancel := context.WithTimeout(ctx, lastTimeout)
	defer cancel()
	ask, err := json.Marshal(map[string]string{"last_by_subj": subject})
	if err != nil {
		return record.Stored{}, wrap(op, err)
	}
	return getMessage(ctx, c, op, c.api, name, ask)
}

// getMessage reads one message of a stream by a request as JetStream has it, through the API at a prefix. That there is none is an error
// that wraps the broker's.
func getMessage(ctx context.Context, c *Conn, op, api, name string, ask []byte) (record.Stored, error) {
	answer, err := c.nc.RequestWithContext(ctx, api+"STREAM.MSG.GET."+name, ask)
	if err != nil {
		return record.Stored{}, wrap(op, err)
	}
	var r struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(answer.Data, &r); err != nil {
		return record.Stored{}, wrap(op, err)
	}
	switch {
	case r.Error != nil:
		return record.Stored{}, wrap(op, r.Error)
	case r.Message == nil:
		return record.Stored{}, wrap(op, errors.New("the answer holds no message"))
	}
	m := record.Stored{
		Stream: name, Sequence: r.Message.Sequence, Subject: r.Message.Subject, Data: r.Message.Data, StoredAt: r.Message.Time,
		Header: providers.Header{},
	}
	if len(r.Message.Header) > 0 {
		header, err := nats.DecodeHeadersMsg(r.Message.Header)
		if err != nil {
			return record.Stored{}, wrap(op, err)
		}
		m.Header = providers.Header(header)
	}
	return m, nil
}
