package record

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/idpsync/idpsync/providers/wire"
)

// What an order asks for.
const (
	OrderReplay  = "replay"
	OrderDiscard = "discard"
)

// MaxOrder bounds the dead letters that one order names.
const MaxOrder = 500

// An Order is an operator's pointer to dead letters: the payload on idpsync.replay.<tenant>.<operator>. It never holds an event, so
// nothing can be forged by it.
type Order struct {
	Action    string   `json:"action"`    // replay or discard
	Sequences []uint64 `json:"sequences"` // in IDPSYNC_DEADLETTERS
	Campaign  string   `json:"campaign"`  // what belongs together
	Who       string   `json:"who"`       // as the sender says; see [Operator]
	Why       string   `json:"why"`
}

// Headers of the result of a replay.
const (
	HeaderReplayOf = "Idpsync-Replay-Of" // sequence of the dead letter
	HeaderCampaign = "Idpsync-Campaign"
	HeaderOperator = "Idpsync-Replayed-By" // see [Operator]
)

// An Operator is who gave an order. The broker vouches for the name in the order's subject, on which its permissions let that
// operator alone publish; whatever the order says itself is no more than said.
type Operator struct {
	Vouched string // "" when the broker vouches for none
	Said    string // "" when nothing is said, or the same as vouched
}

// String is how the operator is recorded: alice; or, of what is only said, "said …". A vouched name holds no space, so that
// nothing said can pass for one.
func (o Operator) String() string {
	switch {
	case o.Said == "" || o.Said == o.Vouched:
		return o.Vouched
	case o.Vouched == "":
		return "said " + o.Said
	}
	return o.Vouched + ", said " + o.Said
}

// Bounds of the texts of an order, in bytes.
const (
	maxOrderName = 256
	maxOrderWhy  = 2048
	maxOrderSize = 64 << 10
)

// ReadOrder reads an order strictly: it is a document of ours, and what it means must not depend on who reads it.
func ReadOrder(subject string, data []byte, vouches bool) (o Order, tenant string, by Operator, err error) {
	tenant, operator, err := ParseReplaySubject(subject)
	if err != nil {
		return o, "", by, err
	}
	if err := wire.Decode(data, &o, wire.Limits{Size: maxOrderSize, Depth: 4}); err != nil {
		return o, "", by, err
	}
	switch {
	case o.Action != OrderReplay && o.Action != OrderDiscard:
		return o, "", by, fmt.Errorf("its action is neither %s nor %s", OrderReplay, OrderDiscard)
	case len(o.Sequences) == 0 || len(o.Sequences) > MaxOrder:
		return o, "", by, fmt.Errorf("it names %d dead letters, not 1 to %d", len(o.Sequences), MaxOrder)
	}
	for _, f := range []struct {
		name, text string
		most       int
	}{{"who", o.Who, maxOrderName}, {"campaign", o.Campaign, maxOrderName}, {"why", o.Why, maxOrderWhy}} {
		if len(f.text) > f.most || !utf8.ValidString(f.text) || strings.ContainsFunc(f.text, unicode.IsControl) {
			return o, "", by, fmt.Errorf("its %s is longer than %d bytes or holds control characters", f.name, f.most)
		}
	}
	by.Said = o.Who
	if vouches {
		by.Vouched = operator
	} else if by.Said == "" {
		by.Said = operator
	}
	if by.String() == "" {
		return o, "", by, errors.New("neither its subject nor its who says whose it is")
	}
	return o, tenant, by, nil
}
