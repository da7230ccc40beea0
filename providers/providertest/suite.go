package providertest

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/idpsync/idpsync/providers"
)

// A Suite is what [Run] needs to know of a provider.
type Suite struct {
	// New returns the provider, ready to verify Accepted. It is called for each sub-test, so that none meets the
	// state of another. What it returns is closed if it is an io.Closer.
	New func(t *testing.T) providers.Provider
	// Accepted returns a fresh event that verifies, and verifies again.
	Accepted func(t *testing.T) providers.Envelope
	// Rejected returns events that never verify, by a name that says why.
	Rejected func(t *testing.T) map[string]providers.Envelope
	// Secrets are strings of the events that no error, trace or request may show.
	Secrets []string
}

// Run checks what the contract of providers.Provider promises to its callers.
func Run(t *testing.T, s Suite) {
	t.Run("AcceptedVerifiesWithoutTrace", func(t *testing.T) {
		p := s.open(t)
		e := s.Accepted(t)
		e.Trace = nil
		got, err := p.Verify(t.Context(), e)
		if err != nil {
			t.Fatalf("Verify: %v", err)
		}
		if got.Principal.ID == "" || got.Principal.Kind == "" {
			t.Errorf("the principal is %+v, want its id and kind", got.Principal)
		}
		if got.Shape == "" {
			t.Error("the request has no shape")
		}
	})
	t.Run("TraceChangesNothing", func(t *testing.T) {
		p := s.open(t)
		e := s.Accepted(t)
		plain, err := p.Verify(t.Context(), e)
		if err != nil {
			t.Fatalf("Verify: %v", err)
		}
		e.Trace = &providers.Trace{}
		traced, err := p.Verify(t.Context(), e)
		if err != nil {
			t.Fatalf("Verify with a trace: %v", err)
		}
		if !reflect.DeepEqual(plain, traced) {
			t.Errorf("the trace changes the request, want the same\nwith a trace: %+v\nwithout: %+v", traced, plain)
		}
		checks := e.Trace.Checks()
		if len(checks) == 0 {
			t.Error("nothing was recorded")
		}
		for _, c := range checks {
			if c.Name == "" || c.Step == "" {
				t.Errorf("a check has no name or step: %+v", c)
			}
			if !c.OK {
				t.Errorf("an accepted event failed a check: %+v", c)
			}
			s.noSecret(t, "trace", c)
		}
	})
	t.Run("PayloadStaysUnchanged", func(t *testing.T) {
		p := s.open(t)
		e := s.Accepted(t)
		before := string(e.Payload)
		if _, err := p.Verify(t.Context(), e); err != nil {
			t.Fatalf("Verify: %v", err)
		}
		if string(e.Payload) != before {
			t.Error("Verify changed the payload")
		}
	})
	t.Run("ConcurrentCallsAgree", func(t *testing.T) {
		p := s.open(t)
		e := s.Accepted(t)
		want, err := p.Verify(t.Context(), e)
		if err != nil {
			t.Fatalf("Verify: %v", err)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 20 {
					e := e
					e.Trace = &providers.Trace{}
					got, err := p.Verify(t.Context(), e)
					if err != nil || !reflect.DeepEqual(got, want) {
						t.Errorf("Verify = %+v, %v; want %+v", got, err, want)
						return
					}
				}
			})
		}
		wg.Wait()
	})
	t.Run("CancelledContextIsUnavailable", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.open(t).Verify(ctx, s.Accepted(t))
		if !errors.Is(err, providers.ErrUnavailable) {
			t.Errorf("Verify = %v, want class ErrUnavailable", err)
		}
		s.checkError(t, err)
	})
	t.Run("RejectedNamesItsReason", func(t *testing.T) {
		p := s.open(t)
		rejected := s.Rejected(t)
		if len(rejected) == 0 {
			t.Fatal("the suite has no event to reject")
		}
		for name, e := range rejected {
			e.Trace = &providers.Trace{}
			_, err := p.Verify(t.Context(), e)
			if err == nil {
				t.Errorf("%s: the event is accepted, want an error", name)
				continue
			}
			s.checkError(t, err)
			if errors.Is(err, providers.ErrUnavailable) {
				t.Errorf("%s: %v, want a permanent failure", name, err)
			}
			failure, _ := errors.AsType[*providers.Error](err)
			failed := false
			for _, c := range e.Trace.Checks() {
				s.noSecret(t, name+": trace", c)
				failed = failed || !c.OK && failure != nil && c.Name == failure.Reason
			}
			if !failed {
				t.Errorf("%s: the trace does not hold the failed check of %v: %+v", name, err, e.Trace.Checks())
			}
		}
	})
	t.Run("EmptyPayloadIsMalformed", func(t *testing.T) {
		e := s.Accepted(t)
		e.Payload = nil
		_, err := s.open(t).Verify(t.Context(), e)
		if !errors.Is(err, providers.ErrMalformed) {
			t.Errorf("Verify = %v, want class ErrMalformed", err)
		}
		s.checkError(t, err)
	})
}

func (s Suite) open(t *testing.T) providers.Provider {
	t.Helper()
	p := s.New(t)
	if c, ok := p.(interface{ Close() error }); ok {
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	return p
}

// checkError asks for an *Error with a class and a reason in snake case, whose texts hold no secret.
func (s Suite) checkError(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	failure, ok := errors.AsType[*providers.Error](err)
	if !ok {
		t.Errorf("%v is a %T, want *providers.Error", err, err)
		return
	}
	switch failure.Class {
	case providers.ErrMalformed, providers.ErrUnverified, providers.ErrTenantMismatch, providers.ErrUnavailable:
	default:
		t.Errorf("the error %v has the class %v, want one of the four of providers", err, failure.Class)
	}
	if failure.Reason == "" || strings.Trim(failure.Reason, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		t.Errorf("the reason is %q, want snake case", failure.Reason)
	}
	if failure.Message == "" {
		t.Errorf("%v has no message", err)
	}
	s.noSecret(t, "error", err.Error())
	s.noSecret(t, "hint", failure.Hint)
}

func (s Suite) noSecret(t *testing.T, where string, v any) {
	t.Helper()
	text, isString := v.(string)
	if !isString {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		text = string(raw)
	}
	for _, secret := range s.Secrets {
		if secret != "" && strings.Contains(text, secret) {
			t.Errorf("%s shows a secret: %s", where, text)
		}
	}
}
