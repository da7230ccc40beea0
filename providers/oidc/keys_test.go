package oidc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/providers/providertest"
)

// expect verifies e and compares the reason; "" means accepted.
func expect(t *testing.T, p providers.Provider, e providers.Envelope, want string) *providers.Error {
	t.Helper()
	_, err := p.Verify(t.Context(), e)
	if got := reason(err); got != want {
		t.Errorf("Verify = %v; want reason %q", err, want)
	}
	failure, _ := errors.AsType[*providers.Error](err)
	return failure
}

func TestIssuerIsAskedOnceForManyEvents(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	e := w.login(t, w.sign(t, w.claims(nil)))
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { expect(t, w.provider, e, "") })
	}
	wg.Wait()
	if got := w.issuer.Requests(); got != (issuer.Requests{Discovery: 1, JWKS: 1}) {
		t.Errorf("the requests are %+v, want one of discovery and one of keys", got)
	}
	reads := w.keys.Reads()
	for range 100 {
		expect(t, w.provider, e, "")
	}
	if w.keys.Reads() != reads {
		t.Errorf("the history was read %d times for events whose key is known, want none", w.keys.Reads()-reads)
	}
}

func TestUnknownKeyIDsDoNotFloodTheIssuer(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil))), "")
	verdicts := map[string]int{}
	for n := range 1000 {
		w.clock.Advance(time.Millisecond) // each is stored after the last answer
		token := w.sign(t, w.claims(nil), issuer.WithHeader("kid", fmt.Sprintf("kid-%d", n)))
		_, err := w.provider.Verify(t.Context(), w.login(t, token))
		verdicts[reason(err)]++
		if failure, ok := errors.AsType[*providers.Error](err); ok && failure.Class == providers.ErrUnavailable && (failure.RetryAfter <= 0 || failure.RetryAfter > 10*time.Second) {
			t.Fatalf("RetryAfter of an unknown key is %v, want more than 0 and at most 10s", failure.RetryAfter)
		}
	}
	if verdicts["unknown_key"]+verdicts["keys_refresh_pending"] != 1000 || verdicts["unknown_key"] == 0 {
		t.Errorf("the verdicts are %v, want unknown_key, some, and keys_refresh_pending alone", verdicts)
	}
	if got := w.issuer.Requests().JWKS; got > 4 {
		t.Errorf("the issuer was asked %d times, want at most 4", got)
	}
	if got := w.keys.Reads(); got > 20 {
		t.Errorf("the history was read %d times, want at most 20", got)
	}
	// One answer later settles all of them.
	stored := w.clock.Now()
	w.clock.Advance(11 * time.Second)
	asked := w.issuer.Requests().JWKS
	for n := range 1000 {
		e := w.login(t, w.sign(t, w.claims(nil), issuer.WithHeader("kid", fmt.Sprintf("kid-%d", n))))
		e.StoredAt = stored
		expect(t, w.provider, e, "unknown_key")
	}
	if got := w.issuer.Requests().JWKS - asked; got != 1 {
		t.Errorf("the issuer was asked %d times more, want once", got)
	}
}

func TestBadSignaturesDoNotFloodTheIssuer(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil))), "")
	forged, err := w.issuer.SignedByAnotherKey(w.claims(nil))
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		w.clock.Advance(time.Millisecond)
		expect(t, w.provider, w.login(t, forged), "signature")
	}
	if got := w.issuer.Requests().JWKS; got > 3 {
		t.Errorf("the issuer was asked %d times, want at most 3", got)
	}
}

func TestRotation(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	before := w.login(t, w.sign(t, w.claims(nil)))
	expect(t, w.provider, before, "")
	old := w.issuer.KeyID()
	w.clock.Advance(time.Minute)
	if err := w.issuer.Rotate(false); err != nil {
		t.Fatal(err)
	}
	expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil))), "") // the new key is found by asking
	expect(t, w.provider, before, "")                               // stored before the key was retired

	w.clock.Advance(time.Minute)
	late := w.login(t, w.sign(t, w.claims(nil), issuer.WithKeyID(old)))
	expect(t, w.provider, late, "retired_key")
	expect(t, w.open(t), before, "") // a restart forgets nothing
	expect(t, w.open(t), late, "retired_key")

	// A key that its issuer puts back is good again.
	w.clock.Advance(time.Hour)
	for _, key := range w.issuer.Keys() {
		if key.ID == old {
			w.issuer.Publish(key)
		}
	}
	expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil), issuer.WithKeyID(old))), "")
}

func TestNewKeyUnderAnOldKeyID(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	first := w.login(t, w.sign(t, w.claims(nil)))
	expect(t, w.provider, first, "")
	w.clock.Advance(time.Minute)
	replacement, err := w.issuer.NewKey("EdDSA")
	if err != nil {
		t.Fatal(err)
	}
	replacement.ID = w.issuer.KeyID()
	w.issuer.Withdraw(replacement.ID)
	w.issuer.Publish(replacement)
	expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil), issuer.WithKey(replacement))), "")
	expect(t, w.provider, first, "")
}

func TestIssuerDown(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	w.issuer.SetDown(true)
	e := w.login(t, w.sign(t, w.claims(nil)))
	failure := expect(t, w.provider, e, "issuer_unreachable")
	if !errors.Is(failure, providers.ErrUnavailable) || failure.RetryAfter <= 0 || failure.Hint == "" || failure.Err == nil {
		t.Errorf("the failure is %+v, want unavailable with RetryAfter, a hint and a cause", failure)
	}
	w.issuer.SetDown(false)
	w.clock.Advance(11 * time.Second)
	expect(t, w.provider, e, "")

	// Known keys outlive an outage for a while.
	w.issuer.SetDown(true)
	w.clock.Advance(time.Hour)
	expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil))), "")
	unknown := w.login(t, w.sign(t, w.claims(nil), issuer.WithHeader("kid", "other")))
	expect(t, w.provider, unknown, "issuer_unreachable")
	forged, err := w.issuer.SignedByAnotherKey(w.claims(nil))
	if err != nil {
		t.Fatal(err)
	}
	expect(t, w.provider, w.login(t, forged), "signature")
	w.issuer.SetDown(false)
	w.clock.Advance(time.Minute)
	expect(t, w.provider, unknown, "unknown_key")
}

// A key is believed for as long after it was seen as key_staleness says, and then only when the issuer still publishes it.
func TestKeysThatWereNotSeenLatelyAreReadAgain(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	e := w.login(t, w.sign(t, w.claims(nil)))
	expect(t, w.provider, e, "")
	leaked := w.issuer.KeyID()
	if err := w.issuer.Rotate(false); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(providers.DefaultKeyStaleness)
	expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil), issuer.WithKeyID(leaked))), "") // it was seen ten minutes ago
	w.clock.Advance(time.Second)
	forged := w.login(t, w.sign(t, w.claims(nil), issuer.WithKeyID(leaked)))
	for name, p := range map[string]providers.Provider{"the worker": w.provider, "a restarted one": w.open(t)} {
		t.Run(name, func(t *testing.T) {
			failure := expect(t, p, forged, "retired_key")
			if failure != nil && !strings.Contains(failure.Message, forged.StoredAt.UTC().Format(time.RFC3339)) {
				t.Errorf("the failure says %q; want the time at which the event was stored in it", failure.Message)
			}
			expect(t, p, e, "") // stored while the key was published
		})
	}
	// When it was withdrawn, between the last time that it was seen and the first that it was missing, is not known.
	between := w.login(t, w.sign(t, w.claims(nil), issuer.WithKeyID(leaked)))
	between.StoredAt = w.clock.Now().Add(-time.Millisecond)
	w.source.KeyStaleness = time.Minute
	failure := expect(t, w.open(t), between, "key_not_seen")
	if failure != nil && (!strings.Contains(failure.Message, providertest.Epoch.Format(time.RFC3339)) || !strings.Contains(failure.Message, between.StoredAt.Format(time.RFC3339))) {
		t.Errorf("the failure says %q; want when the key was last seen and when the event was stored", failure.Message)
	}
}

// A history of thirty days ago says nothing of today, whether the issuer answers or not.
func TestAnOldHistoryIsNoTrust(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil))), "")
	w.clock.Advance(30 * 24 * time.Hour)
	leaked := w.issuer.KeyID()
	w.issuer.SetDown(true)
	forged := w.login(t, w.sign(t, w.claims(nil), issuer.WithKeyID(leaked)))
	expect(t, w.provider, forged, "issuer_unreachable")
	expect(t, w.open(t), forged, "issuer_unreachable")
	w.issuer.SetDown(false)
	if err := w.issuer.Rotate(false); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(time.Minute)
	expect(t, w.open(t), forged, "key_not_seen")
}

// An issuer that is away is believed for key_grace beyond key_staleness.
func TestGrace(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	w.source.KeyStaleness, w.source.KeyGrace = 5*time.Minute, 20*time.Minute
	p := w.open(t)
	expect(t, p, w.login(t, w.sign(t, w.claims(nil))), "")
	w.issuer.SetDown(true)
	w.clock.Advance(25 * time.Minute)
	expect(t, p, w.login(t, w.sign(t, w.claims(nil))), "")
	w.clock.Advance(time.Second)
	late := w.login(t, w.sign(t, w.claims(nil)))
	if failure := expect(t, p, late, "issuer_unreachable"); failure != nil && !errors.Is(failure, providers.ErrUnavailable) {
		t.Errorf("the failure is of class %v; want that the event waits", failure.Class)
	}
	w.issuer.SetDown(false)
	w.clock.Advance(time.Minute)
	expect(t, p, late, "")
}

func TestBannedKeys(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	before := w.login(t, w.sign(t, w.claims(nil)))
	expect(t, w.provider, before, "")
	w.clock.Advance(time.Minute)
	since := w.clock.Now()
	after := w.login(t, w.sign(t, w.claims(nil)))
	history, err := w.keys.Keys(t.Context(), providertest.Tenant, "okta", w.server.URL)
	if err != nil || len(history.Keys) != 1 {
		t.Fatalf("the history has %d keys, %v; want one", len(history.Keys), err)
	}
	reload := func() {
		t.Helper()
		if err := w.provider.(providers.KeyHolder).ReloadKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.keys.Ban(w.server.URL, history.Keys[0].PublicKey, since)
	reload()
	expect(t, w.provider, before, "")
	expect(t, w.provider, after, "key_banned") // though the issuer still publishes it
	w.keys.Ban(w.server.URL, history.Keys[0].PublicKey, time.Time{})
	reload()
	expect(t, w.provider, before, "key_banned")
	// The same key under another kid, and to another source of the issuer.
	key := w.issuer.Keys()[0]
	w.issuer.Withdraw(key.ID)
	key.ID = "renamed"
	w.issuer.Publish(key)
	w.clock.Advance(time.Minute)
	expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil), issuer.WithKeyID("renamed"))), "key_banned")
	w.source.Name = "other"
	expect(t, w.open(t), w.login(t, w.sign(t, w.claims(nil))), "key_banned")
}

// A worker takes over what another one learned, without an event that makes it look.
func TestAnotherWorkersAnswerIsTakenOver(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	first, second := w.provider, w.open(t)
	leaked := w.issuer.KeyID()
	expect(t, first, w.login(t, w.sign(t, w.claims(nil))), "")
	expect(t, second, w.login(t, w.sign(t, w.claims(nil))), "")
	if err := w.issuer.Rotate(false); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(time.Minute)
	expect(t, first, w.login(t, w.sign(t, w.claims(nil))), "") // the new key: the first worker reads the set
	forged := w.login(t, w.sign(t, w.claims(nil), issuer.WithKeyID(leaked)))
	expect(t, second, forged, "")
	if err := second.(providers.KeyHolder).ReloadKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, second, forged, "retired_key")
	w.keys.Withdraw("okta")
	if err := second.(providers.KeyHolder).ReloadKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, second, forged, "unknown_key") // the source was withdrawn, and its history with it
}

func TestAnotherWorkersAnswerIsUsed(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	first, second := w.provider, w.open(t)
	e := w.login(t, w.sign(t, w.claims(nil)))
	expect(t, first, e, "")
	expect(t, second, e, "")
	if err := w.issuer.Rotate(true); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(2 * time.Second)
	e = w.login(t, w.sign(t, w.claims(nil)))
	expect(t, first, e, "")
	asked := w.issuer.Requests().JWKS
	expect(t, second, e, "")
	expect(t, second, w.login(t, w.sign(t, w.claims(nil), issuer.WithHeader("kid", "other"))), "unknown_key")
	if got := w.issuer.Requests().JWKS; got != asked {
		t.Errorf("the second worker asked the issuer %d times, want never", got-asked)
	}
}

// The token is all that an operator has to go by, and a stranger can have written it.
func TestAnUnknownKeyIsNamedForTheOperator(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	claims := w.claims(nil)
	claims["iss"] = "https://moved.example/\x1b[2J"
	kid := "2026-11\n" + strings.Repeat("k", 240)
	failure := expect(t, w.provider, w.login(t, w.sign(t, claims, issuer.WithHeader("kid", kid))), "unknown_key")
	for _, want := range []string{`"2026-11\nkkk`, `"https://moved.example/\x1b[2J"`, "not verified"} {
		if !strings.Contains(failure.Hint, want) {
			t.Errorf("the hint lacks %s: %s", want, failure.Hint)
		}
	}
	if len(failure.Hint) > 1000 || strings.ContainsAny(failure.Hint, "\n\x1b") {
		t.Errorf("the hint has %d bytes, want at most 1000 and no control characters: %q", len(failure.Hint), failure.Hint)
	}
	if strings.Contains(failure.Message, "moved") || strings.Contains(failure.Message, "2026-11") {
		t.Errorf("the message, by which dead letters are grouped, has what a stranger wrote: %s", failure.Message)
	}
}

func TestKeyHistoryFails(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	w.keys.Fail(errors.New("database is gone"))
	e := w.login(t, w.sign(t, w.claims(nil)))
	if failure := expect(t, w.provider, e, "key_history"); !errors.Is(failure, providers.ErrUnavailable) {
		t.Errorf("a history that fails has the class %v, want %v", failure.Class, providers.ErrUnavailable)
	}
	w.keys.Fail(nil)
	w.clock.Advance(2 * time.Second)
	expect(t, w.provider, e, "")
	w.keys.Fail(errors.New("database is gone"))
	expect(t, w.provider, e, "")
}

// The broker's clock is ahead of the others: what it has stored was stored before the issuer is asked.
func TestBrokerClockAhead(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil))), "")
	e := w.login(t, w.sign(t, w.claims(nil), issuer.WithHeader("kid", "other")))
	e.StoredAt = w.clock.Now().Add(30 * time.Second)
	expect(t, w.provider, e, "unknown_key")
}

// A front door stamps by the clock of its own process, which says nothing of when the issuer was asked.
func TestFrontDoorClockAhead(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil))), "")
	e := w.login(t, w.sign(t, w.claims(nil), issuer.WithHeader("kid", "other")))
	e.StoredAt, e.Door = w.clock.Now().Add(30*time.Second), providers.DoorHTTP
	failure := expect(t, w.provider, e, "keys_refresh_pending") // no answer can be from after the event yet
	if failure != nil && failure.RetryAfter != 30*time.Second {
		t.Errorf("RetryAfter = %v; want 30 s", failure.RetryAfter)
	}
	w.clock.Advance(31 * time.Second)
	expect(t, w.provider, e, "unknown_key")
}

// An event that is given up while the issuer is slow is unavailable, and the answer still comes for the others.
func TestGivenUpWhileTheIssuerIsSlow(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	asked, answer := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.issuer.Alter(func(_ string, body []byte) []byte {
		once.Do(func() { close(asked); <-answer })
		return body
	})
	ctx, cancel := context.WithCancel(t.Context())
	e := w.login(t, w.sign(t, w.claims(nil)))
	got := make(chan error, 1)
	go func() {
		_, err := w.provider.Verify(ctx, e)
		got <- err
	}()
	<-asked
	cancel()
	if err := <-got; reason(err) != "cancelled" || !errors.Is(err, providers.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("Verify ends with %v, want it unavailable because it was cancelled", err)
	}
	close(answer)
	expect(t, w.provider, e, "")
	if got := w.issuer.Requests().JWKS; got != 1 {
		t.Errorf("the issuer was asked %d times, want once", got)
	}
}

func TestCloseEndsARefresh(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	asked, answer := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.issuer.Alter(func(_ string, body []byte) []byte {
		once.Do(func() { close(asked); <-answer })
		return body
	})
	e := w.login(t, w.sign(t, w.claims(nil)))
	got := make(chan error, 1)
	go func() {
		_, err := w.provider.Verify(context.WithoutCancel(t.Context()), e)
		got <- err
	}()
	<-asked
	_ = w.provider.(io.Closer).Close() // it has no error
	if err := <-got; !errors.Is(err, providers.ErrUnavailable) {
		t.Errorf("Verify ends with %v, want %v", err, providers.ErrUnavailable)
	}
	close(answer)
	if _, err := w.provider.Verify(t.Context(), e); !errors.Is(err, providers.ErrUnavailable) {
		t.Errorf("Verify after Close ends with %v, want %v", err, providers.ErrUnavailable)
	}
}

// Answers that an issuer must not give. None may retire a key, and each is transient.
func TestBadAnswers(t *testing.T) {
	attacker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { t.Error("the other host was asked") }))
	defer attacker.Close()
	answers := map[string]struct {
		discovery, jwks string
		want            string
	}{
		"another issuer":       {discovery: `{"issuer":"https://other.example","jwks_uri":"%s/jwks.json"}`, want: "another issuer"},
		"issuer twice":         {discovery: `{"issuer":"x","issuer":"%[1]s","jwks_uri":"%[1]s/jwks.json"}`, want: "appears twice"},
		"no jwks_uri":          {discovery: `{"issuer":"%s"}`, want: "not a URL"},
		"file":                 {discovery: `{"issuer":"%s","jwks_uri":"file:///etc/passwd"}`, want: "not a URL"},
		"http to other host":   {discovery: `{"issuer":"%s","jwks_uri":"http://keys.example/jwks.json"}`, want: "not https"},
		"not JSON":             {discovery: `<html>%s`, want: "not valid JSON"},
		"no keys":              {jwks: `{"keys":[]}`, want: "no key that can be used"},
		"keys missing":         {jwks: `{}`, want: "no list of keys"},
		"not a set":            {jwks: `[]`, want: "not a JSON object"},
		"symmetric key only":   {jwks: `{"keys":[{"kty":"oct","k":"AAAA","kid":"a"}]}`, want: "no key that can be used"},
		"keys twice":           {jwks: `{"keys":[],"keys":[]}`, want: "appears twice"},
		"larger than a MiB":    {jwks: `{"keys":[],"x":"` + strings.Repeat("x", 1<<20) + `"}`, want: "larger than 1 MiB"},
		"point off the curve":  {jwks: `{"keys":[{"kty":"EC","crv":"P-256","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE","kid":"a"}]}`, want: "no key that can be used"},
		"trailing data in set": {jwks: `{"keys":[]}{}`, want: "goes on after its end"},
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, []string{"EdDSA"}, nil)
			expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil))), "")
			w.issuer.Alter(func(path string, body []byte) []byte {
				switch {
				case path == issuer.DiscoveryPath && answer.discovery != "":
					return fmt.Appendf(nil, answer.discovery, w.server.URL)
				case path == issuer.JWKSPath && answer.jwks != "":
					return []byte(answer.jwks)
				}
				return body
			})
			w.clock.Advance(time.Hour)
			p := w.open(t)
			unknown := w.login(t, w.sign(t, w.claims(nil), issuer.WithHeader("kid", "other")))
			reason := "issuer_unreachable"
			if strings.HasPrefix(answer.want, "no key") {
				reason = "no_usable_key"
			}
			failure := expect(t, p, unknown, reason)
			if failure != nil && !strings.Contains(failure.Error(), answer.want) {
				t.Errorf("failure = %v, want it to say %q", failure, answer.want)
			}
			expect(t, p, w.login(t, w.sign(t, w.claims(nil))), "")
		})
	}
}

func TestRedirects(t *testing.T) {
	other := newWorld(t, []string{"EdDSA"}, nil)
	for name, c := range map[string]struct {
		to   func(self string) string
		want string
	}{
		"to another host":   {func(string) string { return other.server.URL + issuer.JWKSPath }, "issuer_unreachable"},
		"on the same host":  {func(self string) string { return self + "/moved" + issuer.JWKSPath }, ""},
		"round and round":   {func(self string) string { return self + issuer.JWKSPath }, "issuer_unreachable"},
		"to another scheme": {func(self string) string { return "https" + strings.TrimPrefix(self, "http") + "/x" + issuer.JWKSPath }, "issuer_unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, []string{"EdDSA"}, nil)
			w.server.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.URL.Path == issuer.JWKSPath {
					http.Redirect(rw, r, c.to(w.server.URL), http.StatusFound)
					return
				}
				w.issuer.ServeHTTP(rw, r)
			})
			expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil))), c.want)
		})
	}
	if got := other.issuer.Requests().JWKS; got != 0 {
		t.Errorf("the other host was asked %d times, want never", got)
	}
}

// A JWK Set of the real world: certificates in it, unknown members, keys of kinds that we do not know.
func TestForeignMembersInTheKeySet(t *testing.T) {
	w := newWorld(t, []string{"RS256"}, nil)
	w.issuer.Alter(func(path string, body []byte) []byte {
		if path != issuer.JWKSPath {
			return body
		}
		s := strings.Replace(string(body), `{"use":`, `{"x5c":["bm90IGEgY2VydGlmaWNhdGU="],"x5t":"!","issuer":"x","use":`, 1)
		return []byte(strings.Replace(s, `"keys":[`, `"keys":[{"kty":"LMS","kid":"q"},"x",null,`, 1))
	})
	expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil))), "")
	keys, err := w.keys.Keys(t.Context(), providertest.Tenant, "okta", w.server.URL)
	if err != nil || len(keys.Keys) != 1 || strings.Contains(string(keys.Keys[0].Material), "x5c") || keys.Keys[0].Thumbprint == "" || !keys.Keys[0].FirstSeen.Equal(w.clock.Now()) {
		t.Errorf("the history is %+v with the error %v, want one key without x5c, seen now", keys, err)
	}
}

// Two sources of one issuer share nothing that could carry a verdict from one to the other.
func TestSourcesAreJudgedApart(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	e := w.login(t, w.sign(t, w.claims(nil)))
	expect(t, w.provider, e, "")
	w.source.Name, own(&w.source).Audiences = "other", []string{"other"}
	expect(t, w.open(t), e, "audience")
	expect(t, w.provider, e, "")
}

// While an issuer that is away is asked whether it is back, logins within the grace do not wait for its answer.
func TestGraceWaitsForNoAnswer(t *testing.T) {
	w := newWorld(t, []string{"EdDSA"}, nil)
	expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil))), "")
	w.issuer.SetDown(true)
	w.clock.Advance(20 * time.Minute)
	expect(t, w.provider, w.login(t, w.sign(t, w.claims(nil))), "")
	answer := make(chan struct{})
	w.issuer.SetDown(false)
	w.issuer.Alter(func(_ string, body []byte) []byte { <-answer; return body })
	w.clock.Advance(time.Minute) // the breaker lets one question through, which hangs
	hung := w.provider.(providertest.Patient).Provider
	for range 3 {
		if _, err := hung.Verify(t.Context(), w.login(t, w.sign(t, w.claims(nil)))); err != nil {
			t.Errorf("a login within the grace: %v; want it accepted without waiting", err)
		}
	}
	close(answer)
}
