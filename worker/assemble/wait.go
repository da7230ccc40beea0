package assemble

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/stream"
)

// retryInterval is how often a start that waits tries again.
const retryInterval = time.Second

// NewWithin is [New] for a worker that may be started before what it needs: it tries again while a broker or a database of
// others is away or not migrated yet, for so long. It calls waits when what it waits for changes. Its error is that of the last
// attempt, or of the first when nothing is to be had by waiting.
func NewWithin(ctx context.Context, o Options, limit time.Duration, waits func(Failure, error)) (*Deployment, error) {
	if limit <= 0 {
		return New(ctx, o)
	}
	ends := time.NewTimer(limit)
	defer ends.Stop()
	again := time.NewTicker(retryInterval)
	defer again.Stop()
	var told Failure
	for {
		d, err := New(ctx, o)
		if err == nil {
			return d, nil
		}
		lacks, ok := o.lacks(err)
		if !ok {
			return nil, err
		}
		if lacks != told {
			told = lacks
			waits(lacks, err)
		}
		select {
		case <-again.C:
		case <-ends.C:
			return nil, err
		case <-ctx.Done():
			return nil, err
		}
	}
}

// lacks says what an error of New lacks that may come by itself. The embedded parts are not among it.
func (o Options) lacks(err error) (Failure, bool) {
	var step Step
	if stopped, ok := errors.AsType[*Error](err); ok {
		step = stopped.Step
	}
	switch {
	case step == StepOldSchema:
		return Failure{Name: "database", What: "has no schema, or an old one", Hint: "run: idpsync migrate --database-url …"}, true
	case errors.Is(err, store.ErrUnavailable) && strings.HasPrefix(o.Store.URL, "postgres"):
		what, hint := store.Explain(err)
		return Failure{Name: "database", What: what, Hint: hint}, true
	case o.Broker == nil:
	case errors.Is(err, stream.ErrNotMigrated), errors.Is(err, stream.ErrNoStream):
		return Failure{Name: "streams", What: "streams or consumers are missing", Hint: "run: idpsync migrate --nats-url …"}, true
	case errors.Is(err, stream.ErrRefused):
		return Failure{Name: "broker", What: "refuses the login", Hint: "check user and password, --nats-creds or --nats-nkey"}, true
	case stream.Transient(err):
		return Failure{Name: "broker", What: "does not answer", Hint: "check --nats-url and that the broker is running"}, true
	}
	return Failure{}, false
}
