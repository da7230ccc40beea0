package providertest

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/idpsync/idpsync/providers"
)

// maxRounds bounds how often a [Patient] comes again for one event.
const maxRounds = 20

// A Patient is a provider whose callers wait until the keys that their events need have been read, as a worker has its
// events do.
type Patient struct{ providers.Provider }

// Verify implements providers.Provider.
func (p Patient) Verify(ctx context.Context, e providers.Envelope) (providers.CreateUser, error) {
	return wait(ctx, func() (providers.CreateUser, error) {
		again := e
		if e.Trace != nil && len(e.Trace.Checks()) == 0 {
			again.Trace = &providers.Trace{}
		}
		user, err := p.Provider.Verify(ctx, again)
		if again.Trace != e.Trace && ready(err) == nil {
			for _, c := range again.Trace.Checks() {
				e.Trace.Add(c)
			}
		}
		return user, err
	})
}

// VerifyToken implements providers.TokenVerifier, for the providers that do.
func (p Patient) VerifyToken(ctx context.Context, token string, at time.Time, trace *providers.Trace) (providers.Principal, error) {
	return wait(ctx, func() (providers.Principal, error) {
		return p.Provider.(providers.TokenVerifier).VerifyToken(ctx, token, at, trace)
	})
}

// ReloadKeys implements providers.KeyHolder, for the providers that do; so do the next two.
func (p Patient) ReloadKeys(ctx context.Context) error {
	return p.Provider.(providers.KeyHolder).ReloadKeys(ctx)
}

// ReadKeys implements providers.KeyHolder.
func (p Patient) ReadKeys(ctx context.Context) error {
	return p.Provider.(providers.KeyHolder).ReadKeys(ctx)
}

// KeysReadAt implements providers.KeyHolder.
func (p Patient) KeysReadAt() (string, time.Time) {
	return p.Provider.(providers.KeyHolder).KeysReadAt()
}

// Close closes the provider, if it is to be closed.
func (p Patient) Close() error {
	if c, ok := p.Provider.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func ready(err error) <-chan struct{} {
	if failure, ok := errors.AsType[*providers.Error](err); ok {
		return failure.Ready
	}
	return nil
}

func wait[T any](ctx context.Context, verify func() (T, error)) (T, error) {
	for round := 0; ; round++ {
		out, err := verify()
		done := ready(err)
		if done == nil || round == maxRounds {
			return out, err
		}
		select {
		case <-done:
		case <-ctx.Done():
			return out, &providers.Error{Class: providers.ErrUnavailable, Reason: "cancelled", Err: ctx.Err()}
		}
	}
}
