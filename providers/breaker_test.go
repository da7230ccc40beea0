package providers_test

import (
	"errors"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
)

func TestBreaker(t *testing.T) {
	var all providers.Breakers
	b := all.Of("https://a.example")
	now := time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)
	failure := errors.New("no answer")
	if ok, _, _ := b.Allow(now); !ok {
		t.Fatal("a breaker that was told nothing is open")
	}
	for i, open := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute} {
		b.Done(now, failure)
		ok, wait, cause := all.Of("https://a.example").Allow(now)
		if ok || wait != open || !errors.Is(cause, failure) {
			t.Fatalf("after failure %d the issuer may be asked: %v, in %v, because of %v; want not before %v, because of the failure", i+1, ok, wait, cause, open)
		}
		if ok, _, _ := all.Of("https://b.example").Allow(now); !ok {
			t.Fatal("the breaker of another issuer is open")
		}
		now = now.Add(open)
		if ok, _, _ := b.Allow(now); !ok {
			t.Fatalf("after %v the issuer may not be asked", open)
		}
		if ok, _, _ := b.Allow(now); ok {
			t.Fatal("two questions find out at the same time whether the issuer is back; want one")
		}
	}
	b.Done(now, nil)
	if ok, _, cause := b.Allow(now); !ok || cause != nil {
		t.Errorf("after an answer the issuer may be asked: %v, cause %v; want it asked", ok, cause)
	}
}
