package fault

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/record"
)

// What a process is told by its environment.
const (
	// CrashVariable is a crash and how often the process passes its place alive, as in "after-commit:17".
	CrashVariable = "CHAOS_POINT"
	// PoisonVariable is the id of an event whose verification ends the process.
	PoisonVariable = "CHAOS_POISON"
	// SabotageVariable is the name of a [Sabotage].
	SabotageVariable = "CHAOS_SABOTAGE"
	// SkewVariable is how far the process's clock is ahead, as in "1h" or "-1h".
	SkewVariable = "CHAOS_SKEW"
)

// A Crash is a place at which a process ends as by kill -9: some of the passages of one point.
type Crash struct {
	Name string // as the environment and the tally of a run have it
	What string // the state that the crash leaves behind
	Each bool   // it is passed for each event, not for each batch
	Rare bool   // it is passed a few times in the life of a process

	point Point
	when  func(c Call) bool // nil: always
}

// AfterAck is the name of the crash at which late results show.
const AfterAck = "after-ack"

// Crashes lists all crashes.
func Crashes() []Crash {
	method := func(name string) func(Call) bool { return func(c Call) bool { return c.Method == name } }
	letters := func(c Call) bool { return deadLetters(c.Outgoing) }
	results := func(c Call) bool { return !letters(c) }
	lastAck := func(c Call) bool { return c.Waits }
	return []Crash{
		{Name: "after-pull", What: "the message is in hand, and nothing of it is read", Each: true, point: AfterDelivery},
		{Name: "in-verify", What: "the provider is at work", Each: true, point: BeforeVerify},
		{Name: "in-transaction", What: "all of a batch is written, and nothing is committed", point: InTransaction},
		{Name: "after-commit", What: "a batch is committed, and nothing of it is published", point: AfterStore, when: method("Batch")},
		{Name: inPublish, What: "the broker has half of a batch of results or dead letters", point: BeforePublish},
		{Name: "after-letters", What: "dead letters are stored, and their results are not", point: AfterPublish, when: letters},
		{Name: "after-results", What: "results are stored, and nothing is acknowledged", point: AfterPublish, when: results},
		{Name: "before-term", What: "dead letter and result are stored, and the event still waits", point: BeforeTell, when: method("term")},
		{Name: "before-last-ack", What: "all of a batch but the last event is acknowledged", point: BeforeTell, when: lastAck},
		{Name: AfterAck, What: "a batch is acknowledged", point: AfterTell, when: lastAck},
		{Name: "after-park", What: "the event is parked, and with the broker as well", Rare: true, point: AfterStore, when: method("Park")},
		{Name: "before-unpark", What: "the parked event is done, and still parked", Rare: true, point: BeforeStore, when: method("DeleteParked")},
		{Name: inDrain, What: "the process was told to stop, and is at the first work after that", Rare: true, point: BeforeStore, when: method("Batch")},
	}
}

// deadLetters reports whether these are dead letters and not results: a publish holds one sort.
func deadLetters(msgs []record.Outgoing) bool {
	return len(msgs) > 0 && record.BranchDeadLetters.Holds(msgs[0].Subject)
}

const (
	inPublish = "in-publish" // the hook stores the half itself
	inDrain   = "in-drain"   // counts from the first drained lane on
)

// FromEnvironment returns what goes around the parts of a worker by the variables of its environment.
func FromEnvironment(environ map[string]string) (assemble.Around, error) {
	k := &killer{poison: environ[PoisonVariable]}
	if text := environ[CrashVariable]; text != "" {
		name, times, _ := strings.Cut(text, ":")
		all := Crashes()
		i := slices.IndexFunc(all, func(c Crash) bool { return c.Name == name })
		n, err := strconv.ParseInt(times, 10, 64)
		if i < 0 || err != nil {
			return assemble.Around{}, fmt.Errorf("%s is %q, want the name of a crash and a number, as in after-commit:17", CrashVariable, text)
		}
		k.crash = &all[i]
		k.left.Store(n + 1)
	}
	around := Around(k.at)
	if name := environ[SabotageVariable]; name != "" {
		s, err := sabotageNamed(name)
		if err != nil {
			return assemble.Around{}, err
		}
		around = s.outside(around)
	}
	return around, nil
}

// Clock returns the clock of a process by the variables of its environment: the one given, or one that is ahead or behind.
func Clock(environ map[string]string, now func() time.Time) (func() time.Time, error) {
	text := environ[SkewVariable]
	if text == "" {
		return now, nil
	}
	skew, err := time.ParseDuration(text)
	if err != nil {
		return nil, fmt.Errorf("%s is %q, want a duration, as in 1h or -1h", SkewVariable, text)
	}
	return func() time.Time { return now().Add(skew) }, nil
}

// A killer is a hook that ends the process.
type killer struct {
	crash    *Crash
	left     atomic.Int64
	poison   string
	draining atomic.Bool
}

func (k *killer) at(ctx context.Context, c Call) error {
	if c.Point == BeforeDrain {
		k.draining.Store(true)
	}
	if c.Point == BeforeVerify && k.poison != "" && c.Envelope.EventID == k.poison {
		die()
	}
	if k.due(c) {
		if k.crash.Name == inPublish {
			_ = c.Publisher.Publish(ctx, c.Outgoing[:(len(c.Outgoing)+1)/2]) // nobody is left to be told
		}
		die()
	}
	return nil
}

// due reports whether the process is to end at this passage.
func (k *killer) due(c Call) bool {
	switch {
	case k.crash == nil, c.Point != k.crash.point, k.crash.when != nil && !k.crash.when(c):
		return false
	case k.crash.Name == inDrain && !k.draining.Load():
		return false
	default:
		return k.left.Add(-1) == 0
	}
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // it takes a moment
}
