package stream

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/idpsync/idpsync/worker/record"
)

// How long a refusal is believed after which nobody has tried again. What was denied is tried at least with every pull; what
// could not be stored is tried by this worker or another within two minutes.
const (
	denialLasts  = 45 * time.Second
	refusalLasts = 2 * time.Minute
)

// What a missing permission is for.
const (
	publishTo   = "publish to "
	subscribeTo = "subscribe to "
)

// maxDenials bounds the subjects that are remembered.
const maxDenials = 16

// troubles are what the broker has refused lately to those who publish and ask over a connection.
type troubles struct {
	some atomic.Bool // so that a publisher without any pays nothing

	mu      sync.Mutex
	refused map[record.Branch]unstored
	denied  map[string]time.Time // by what permission is missing for
}

// An unstored is a message that a stream did not take.
type unstored struct {
	class error // nil: none fits
	size  int
	at    time.Time
}

// published notes what became of a batch.
func (t *troubles) published(b *batch) {
	if !b.failed && !t.some.Load() {
		return
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refused == nil {
		t.refused = map[record.Branch]unstored{}
	}
	for i, subject := range b.subjects { // first what was stored, as a batch may have both
		if branch := branchOf(subject); b.errs[i] == nil {
			delete(t.refused, branch)
			delete(t.denied, publishTo+branch.All())
		}
	}
	for i, subject := range b.subjects {
		if branch := branchOf(subject); branch != "" && b.errs[i] != nil && refuses(b.errs[i]) {
			t.refused[branch] = unstored{classAmong(b.errs[i]), b.sizes[i], now}
		}
	}
	t.some.Store(len(t.refused)+len(t.denied) > 0)
}

// refuses reports whether an error says that a stream takes no messages, and not that of a message, a caller who left, or a
// connection that is away.
func refuses(err error) bool {
	return !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrDisconnected) && !errors.Is(err, jetstream.ErrInvalidJSAck) &&
		!errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

func classAmong(err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return nil
}

// branchOf returns which of the branches that workers publish to a subject belongs to, or "".
func branchOf(subject string) record.Branch {
	for _, b := range []record.Branch{record.BranchResults, record.BranchDeadLetters, record.BranchArchive} {
		if b.Holds(subject) {
			return b
		}
	}
	return ""
}

var violation = regexp.MustCompile(`(?i)permissions violation for (publish|subscription) to "([^"]+)"`)

// violationOf reads what the broker does not permit, which the client library tells by text alone: to publish or to subscribe,
// and on which subject.
func violationOf(err error) (verb, subject string, ok bool) {
	m := violation.FindStringSubmatch(err.Error())
	if m == nil {
		return "", "", false
	}
	if strings.EqualFold(m[1], "subscription") {
		return subscribeTo, m[2], true
	}
	return publishTo, m[2], true
}

// deny notes a missing permission, unless it is one that a stranger asked for: whoever sends a request names the subject of
// its answer. What is noted names no tenant.
func (t *troubles) deny(verb, subject string) {
	switch branch := branchOf(subject); {
	case branch != "":
		subject = branch.All()
	case strings.HasPrefix(subject, "$JS.ACK."):
		subject = "$JS.ACK.>"
	case strings.HasSuffix(subject, ".STREAM.INFO."+StreamArchive), strings.HasSuffix(subject, ".STREAM.MSG.GET."+StreamResults):
		return // a worker does its part without these; whoever asked says what is missed
	case strings.HasPrefix(subject, "$JS."), strings.HasPrefix(subject, "$SRV."), verb == subscribeTo:
	default:
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.denied == nil {
		t.denied = map[string]time.Time{}
	}
	if _, known := t.denied[verb+subject]; known || len(t.denied) < maxDenials {
		t.denied[verb+subject] = time.Now()
		t.some.Store(true)
	}
}

// forgive forgets missing permissions, as a new connection may have others.
func (t *troubles) forgive() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.denied)
}

// standing returns what is still believed at a time, and forgets the rest.
func (t *troubles) standing(now time.Time) (refused map[record.Branch]unstored, denied []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	refused = map[record.Branch]unstored{}
	for branch, r := range t.refused {
		if now.Sub(r.at) > refusalLasts {
			delete(t.refused, branch)
			continue
		}
		refused[branch] = r
	}
	for what, at := range t.denied {
		if now.Sub(at) > denialLasts {
			delete(t.denied, what)
			continue
		}
		denied = append(denied, what)
	}
	return refused, denied
}
