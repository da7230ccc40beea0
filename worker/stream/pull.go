package stream

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// pullExpiry is how long the broker keeps a pull.
	pullExpiry = 30 * time.Second
	// pullHeartbeat is how often the broker says that it still has an idle pull; after pullSilence it has not.
	pullHeartbeat = 2 * time.Second
	pullSilence   = 5 * time.Second
	// pullSlack is how much longer than its expiry a pull is waited for.
	pullSlack = time.Second
	// minPullBytes is what one pull asks for at most, in bytes, unless messages may be larger. The broker throws a client
	// out for which more than 64 MiB wait; a worker has two pulls for each lane.
	minPullBytes = 4 << 20
)

// pullBytes is the limit of one pull. A limit below the largest message would block the lane for ever: the broker counts
// subject and reply with it, and so there is room for two.
func pullBytes(maxMsgSize, maxPayload int) int {
	largest := maxPayload
	if maxMsgSize > 0 {
		largest = min(largest, maxMsgSize)
	}
	return max(minPullBytes, 2*largest)
}

// A pull is one request for messages of a durable consumer (JetStream's CONSUMER.MSG.NEXT). Each has an inbox of its own, so
// that what comes is known to be its answer.
type pull struct {
	sub     *nats.Subscription
	left    int       // messages that it may still bring
	epoch   uint64    // losses of the connection before it was sent
	created time.Time // of the stream
	heard   time.Time // when the broker last wrote to it
	got     time.Time // when the last message came; zero when none did
	ends    time.Time // when the broker has forgotten it for certain
}

// pull asks the broker for one batch.
func (l *consumer) pull(now time.Time) (*pull, error) {
	inbox := l.conn.nc.NewInbox()
	sub, err := l.conn.nc.ChanSubscribe(inbox, l.in)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(struct {
		Batch     int           `json:"batch"`
		MaxBytes  int           `json:"max_bytes"`
		Expires   time.Duration `json:"expires"`
		Heartbeat time.Duration `json:"idle_heartbeat"`
	}{l.batch, l.bytes, pullExpiry, pullHeartbeat})
	if err == nil {
		err = l.conn.nc.PublishRequest(l.conn.api+"CONSUMER.MSG.NEXT."+l.stream+"."+l.lane, inbox, body)
	}
	if err != nil {
		_ = sub.Unsubscribe()
		return nil, err
	}
	return &pull{sub: sub, left: l.batch, epoch: l.epoch, created: l.created, heard: now, ends: now.Add(pullExpiry + pullSlack)}, nil
}

// A status is what the broker says of a pull, as in HTTP.
type status struct{ code, text string }

// statusOf returns the status that a message carries in place of content.
func statusOf(m *nats.Msg) (status, bool) {
	if len(m.Data) > 0 || len(m.Header) == 0 {
		return status{}, false
	}
	s := status{m.Header.Get("Status"), m.Header.Get("Description")}
	// A stored message is told apart by the reply subject that it is acknowledged on: a sender may write any header.
	if s.code == "" || strings.HasPrefix(m.Reply, "$JS.ACK.") {
		return status{}, false
	}
	return s, true
}

// heartbeat reports whether the pull goes on.
func (s status) heartbeat() bool { return s.code == "100" }

// ended reports whether a pull ended as pulls do: it expired (408), nothing waited (404), its bytes were used up, or its
// server handed the consumer over (409).
func (s status) ended() bool {
	switch s.code {
	case "404", "408":
		return true
	case "409":
		return s.says("exceeds maxbytes") || s.says("batch completed") || s.says("leadership change") || s.says("server shutdown")
	}
	return false
}

// gone reports whether there may be no such consumer any more: it was deleted (409), or nobody answers for it (503).
func (s status) gone() bool { return s.code == "503" || s.code == "409" && s.says("consumer deleted") }

func (s status) says(text string) bool { return strings.Contains(strings.ToLower(s.text), text) }
