package providertest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
)

// RunKeys checks an implementation of providers.Keys. open returns an empty one, in which [Tenant] has a source okta.
// Times are compared to the microsecond, as databases keep no finer ones.
func RunKeys(t *testing.T, open func(t *testing.T) providers.Keys) {
	const source, issuer = "okta", "https://issuer.example"
	at := func(minutes int) time.Time { return Epoch.Add(time.Duration(minutes) * time.Minute) }
	key := func(name string) providers.Key {
		return providers.Key{ID: "kid-" + name, Thumbprint: "print-" + name, Algorithm: "RS256", Material: []byte(`{"kid":"` + name + `"}`)}
	}
	observe := func(t *testing.T, k providers.Keys, when time.Time, published ...providers.Key) {
		t.Helper()
		if err := k.Observe(t.Context(), Tenant, source, issuer, providers.KeyObservation{Keys: published, At: when}); err != nil {
			t.Fatalf("Observe: %v", err)
		}
	}
	// history returns one line for each key: name, first seen, last seen, retired, in minutes; - for never.
	history := func(t *testing.T, k providers.Keys, issuer string) string {
		t.Helper()
		keys, err := k.Keys(t.Context(), Tenant, source, issuer)
		if err != nil {
			t.Fatalf("Keys: %v", err)
		}
		minute := func(t time.Time) string {
			if t.IsZero() {
				return "-"
			}
			return t.Sub(Epoch).Round(time.Microsecond).String()
		}
		var lines []string
		for _, key := range keys.Keys {
			lines = append(lines, strings.Join([]string{strings.TrimPrefix(key.Thumbprint, "print-"), minute(key.FirstSeen), minute(key.LastSeen), minute(key.RetiredAt)}, " "))
		}
		slices.Sort(lines)
		return strings.Join(lines, "; ")
	}
	expect := func(t *testing.T, k providers.Keys, want string) {
		t.Helper()
		if got := history(t, k, issuer); got != want {
			t.Errorf("history is %q, want %q", got, want)
		}
	}

	t.Run("NothingObservedIsNoError", func(t *testing.T) { expect(t, open(t), "") })
	t.Run("KeysComeBackAsObserved", func(t *testing.T) {
		k := open(t)
		observe(t, k, at(1), key("a"))
		keys, err := k.Keys(t.Context(), Tenant, source, issuer)
		if err != nil || len(keys.Keys) != 1 || keys.Keys[0].ID != "kid-a" || keys.Keys[0].Algorithm != "RS256" || string(keys.Keys[0].Material) != `{"kid":"a"}` {
			t.Errorf("the keys are %+v with the error %v, want kid-a as it was observed", keys, err)
		}
	})
	t.Run("LastSeenMoves", func(t *testing.T) {
		k := open(t)
		observe(t, k, at(1), key("a"), key("b"))
		observe(t, k, at(2), key("a"), key("b"))
		expect(t, k, "a 1m0s 2m0s -; b 1m0s 2m0s -")
	})
	t.Run("AMissingKeyRetiresOnce", func(t *testing.T) {
		k := open(t)
		observe(t, k, at(1), key("a"), key("b"))
		observe(t, k, at(2), key("b"))
		observe(t, k, at(3), key("b"))
		expect(t, k, "a 1m0s 1m0s 2m0s; b 1m0s 3m0s -")
	})
	t.Run("AKeyThatComesBackIsNotRetired", func(t *testing.T) {
		k := open(t)
		observe(t, k, at(1), key("a"))
		observe(t, k, at(2), key("b"))
		observe(t, k, at(3), key("a"), key("b"))
		expect(t, k, "a 1m0s 3m0s -; b 2m0s 3m0s -")
	})
	t.Run("AnOlderObservationChangesNothingNewer", func(t *testing.T) {
		k := open(t)
		observe(t, k, at(1), key("a"))
		observe(t, k, at(5), key("b"))
		observe(t, k, at(3), key("a"))
		if got := history(t, k, issuer); got != "a 1m0s 3m0s 5m0s; b 5m0s 5m0s -" {
			t.Errorf("the history is %q, want a in three observations and b in one", got)
		}
	})
	t.Run("AKeyOfAnOlderObservationIsKnownAsRetired", func(t *testing.T) {
		k := open(t)
		observe(t, k, at(5), key("b"))
		observe(t, k, at(3), key("a"))
		expect(t, k, "a 3m0s 3m0s 5m0s; b 5m0s 5m0s -")
	})
	t.Run("SourcesAndIssuersAreApart", func(t *testing.T) {
		k := open(t)
		observe(t, k, at(1), key("a"))
		if got := history(t, k, issuer+"/"); got != "" {
			t.Errorf("another issuer has the history %q, want none", got)
		}
		if err := k.Observe(t.Context(), Tenant, source, issuer+"/", providers.KeyObservation{Keys: []providers.Key{key("b")}, At: at(2)}); err != nil {
			t.Fatal(err)
		}
		expect(t, k, "a 1m0s 1m0s -")
	})
	t.Run("WorkersObserveAtTheSameTime", func(t *testing.T) {
		k := open(t)
		var wg sync.WaitGroup
		for n := range 8 {
			wg.Go(func() { observe(t, k, at(n), key("a"), key("b")) })
		}
		wg.Wait()
		expect(t, k, "a 0s 7m0s -; b 0s 7m0s -")
	})
	t.Run("CancelledContextIsAnError", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		k := open(t)
		if _, err := k.Keys(ctx, Tenant, source, issuer); !errors.Is(err, context.Canceled) {
			t.Errorf("Keys with an ended context gives the error %v, want %v", err, context.Canceled)
		}
		if err := k.Observe(ctx, Tenant, source, issuer, providers.KeyObservation{Keys: []providers.Key{key("a")}, At: at(1)}); !errors.Is(err, context.Canceled) {
			t.Errorf("Observe with an ended context gives the error %v, want %v", err, context.Canceled)
		}
	})
}
