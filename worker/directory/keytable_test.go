package directory_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/oidc"
	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/providers/providertest"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
	"github.com/idpsync/idpsync/worker/directory"
)

// clocked is a store whose database has the time of the test.
type clocked struct {
	*store.Store
	clock *providertest.Clock
}

func (c clocked) Now(context.Context) (time.Time, error) { return c.clock.Now(), nil }

// A keyScene is one issuer, one source, and two workers that share a store.
type keyScene struct {
	t         *testing.T
	store     *store.Store
	directory store.Directory
	clock     *providertest.Clock // of broker and database
	wrong     time.Duration       // by which the first worker's clock is ahead
	issuer    *issuer.Issuer
	source    providers.Source
	workers   [2]providertest.Patient
	first     issuer.Key
}

func newKeyScene(t *testing.T, kind string, wrong time.Duration) *keyScene {
	t.Helper()
	s := &keyScene{t: t, store: storetest.Open(t, kind), clock: providertest.NewClock(), wrong: wrong}
	s.directory = storetest.Seed(t, s.store)
	var err error
	if s.issuer, err = issuer.New(issuer.Options{Algorithms: []string{"EdDSA"}, Now: s.clock.Now, Lifetime: time.Hour}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.issuer)
	t.Cleanup(server.Close)
	s.issuer.SetURL(server.URL)
	s.source = providers.Source{
		Tenant: storetest.Acme, Name: storetest.SourceLogins, Kind: providers.KindOIDC, Issuer: server.URL, Audiences: []string{"idpsync"},
		Algorithms: []string{"EdDSA"},
	}
	s.first = s.issuer.Keys()[0]
	s.restart()
	return s
}

// restart makes both workers anew, with nothing in memory.
func (s *keyScene) restart() {
	s.t.Helper()
	for i := range s.workers {
		env, _, _ := providertest.Environment(s.t, s.clock)
		env.Keys = directory.NewKeys(clocked{s.store, s.clock}, nil)
		if i == 0 {
			env.Now = func() time.Time { return s.clock.Now().Add(s.wrong) }
		}
		p, err := oidc.New(s.source, env)
		if err != nil {
			s.t.Fatal(err)
		}
		s.workers[i] = providertest.Patient{Provider: p}
		s.t.Cleanup(func() { _ = s.workers[i].Close() }) // it has no error
	}
}

// login is an event that is stored now, signed by the key.
func (s *keyScene) login(key issuer.Key) providers.Envelope {
	s.t.Helper()
	claims := s.issuer.Claims("00u1", "idpsync")
	claims["email"], claims["email_verified"], claims["name"] = "ada@acme.example", true, "Ada"
	token, err := s.issuer.Sign(claims, issuer.WithKey(key))
	if err != nil {
		s.t.Fatal(err)
	}
	e := providertest.OIDCLogin(s.t, s.source.Name, token, "", "", s.clock.Now())
	e.Tenant = s.source.Tenant
	return e
}

// verdict is what a worker makes of an event.
func (s *keyScene) verdict(w int, e providers.Envelope) string {
	s.t.Helper()
	if err := s.workers[w].ReloadKeys(s.t.Context()); err != nil { // as each worker does every second
		s.t.Fatal(err)
	}
	_, err := s.workers[w].Verify(s.t.Context(), e)
	failure, _ := errors.AsType[*providers.Error](err)
	switch {
	case err == nil:
		return "accepted"
	case failure == nil:
		s.t.Fatalf("Verify gives %v; want an error of a class", err)
	case errors.Is(err, providers.ErrUnavailable):
		return "waits: " + failure.Reason
	}
	return failure.Reason
}

func (s *keyScene) newest() issuer.Key { keys := s.issuer.Keys(); return keys[len(keys)-1] }

func (s *keyScene) rotate(keep bool) {
	s.t.Helper()
	if err := s.issuer.Rotate(keep); err != nil {
		s.t.Fatal(err)
	}
}

func (s *keyScene) ban(from time.Time) {
	s.t.Helper()
	h, err := s.store.KeyHistory(s.t.Context(), s.source.Tenant, s.source.Name, s.source.Issuer)
	if err != nil || len(h.Keys) == 0 {
		s.t.Fatalf("the history has %d keys, %v; want the first one", len(h.Keys), err)
	}
	if err := s.store.BanKey(s.t.Context(), store.KeyBan{Issuer: s.source.Issuer, PublicKey: h.Keys[0].PublicKey, From: from, At: s.clock.Now(), Who: "ann"}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *keyScene) apply(d store.Directory) {
	s.t.Helper()
	revision, err := s.store.DirectoryRevision(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.store.ApplyDirectory(s.t.Context(), revision, d, "ann", s.clock.Now()); err != nil {
		s.t.Fatal(err)
	}
}

// look has the first worker judge a login with the newest key, as traffic does.
func (s *keyScene) look() { s.t.Helper(); s.verdict(0, s.login(s.newest())) }

// TestKeysOverTime prints what becomes of a login in each situation of its key: one that was stored before, one that was
// stored after, and one that is signed with the issuer's new key, if it has one.
func TestKeysOverTime(t *testing.T) {
	t.Parallel()
	const minute, day = time.Minute, 24 * time.Hour
	cases := []struct {
		name  string
		wrong time.Duration
		do    func(s *keyScene)

		before, after, newest string
	}{
		{"published", 0, func(s *keyScene) {}, "accepted", "accepted", "accepted"},
		{"published for long", 0, func(s *keyScene) { s.clock.Advance(30 * day) }, "accepted", "accepted", "accepted"},
		{"rotated with overlap", 0, func(s *keyScene) { s.rotate(true) }, "accepted", "accepted", "accepted"},
		{"rotated without overlap", 0, func(s *keyScene) { s.rotate(false); s.look() }, "accepted", "retired_key", "accepted"},
		{"withdrawn, seen 9 minutes ago", 0, func(s *keyScene) { s.rotate(false); s.clock.Advance(7 * minute) }, "accepted", "accepted", "accepted"},
		{"withdrawn, seen longer ago", 0, func(s *keyScene) { s.rotate(false); s.clock.Advance(10 * minute) }, "accepted", "key_not_seen", "accepted"},
		{"withdrawn a month ago", 0, func(s *keyScene) { s.rotate(false); s.clock.Advance(30 * day) }, "accepted", "key_not_seen", "accepted"},
		{"leaked and banned", 0, func(s *keyScene) { s.ban(time.Time{}) }, "key_banned", "key_banned", "key_banned"},
		{"banned from a time on", 0, func(s *keyScene) { s.ban(s.clock.Now()) }, "accepted", "key_banned", "key_banned"},
		{"banned, and rotated", 0, func(s *keyScene) { s.ban(time.Time{}); s.rotate(false) }, "key_banned", "key_banned", "accepted"},
		{"renamed", 0, func(s *keyScene) {
			key := s.first
			s.issuer.Withdraw(key.ID)
			key.ID = "renamed"
			s.issuer.Publish(key)
			s.look()
		}, "accepted", "accepted", "accepted"},
		{"corrected", 0, func(s *keyScene) {
			s.issuer.Alter(func(path string, body []byte) []byte {
				return []byte(strings.Replace(string(body), `"use":"sig"`, `"use":"enc"`, 1))
			})
			s.clock.Advance(11 * minute)
			s.look()
			s.issuer.Alter(nil)
			s.clock.Advance(minute)
		}, "accepted", "accepted", "accepted"},
		{"issuer away for an hour", 0, func(s *keyScene) { s.issuer.SetDown(true); s.clock.Advance(60 * minute) }, "accepted", "accepted", "accepted"},
		{"issuer away for two", 0, func(s *keyScene) { s.issuer.SetDown(true); s.clock.Advance(120 * minute) }, "accepted", "waits: issuer_unreachable", "waits: issuer_unreachable"},
		{"workers restarted", 0, func(s *keyScene) { s.restart() }, "accepted", "accepted", "accepted"},
		{"restarted, withdrawn a month ago", 0, func(s *keyScene) { s.rotate(false); s.clock.Advance(30 * day); s.restart() }, "accepted", "key_not_seen", "accepted"},
		{"restarted, issuer away", 0, func(s *keyScene) { s.issuer.SetDown(true); s.clock.Advance(30 * day); s.restart() }, "accepted", "waits: issuer_unreachable", "waits: issuer_unreachable"},
		{"source withdrawn and declared again", 0, func(s *keyScene) {
			s.rotate(false)
			without := s.directory
			without.Sources = nil
			s.apply(without)
			s.apply(s.directory)
		}, "unknown_key", "unknown_key", "accepted"},
		{"one worker's clock an hour fast", time.Hour, func(s *keyScene) { s.rotate(false); s.look() }, "accepted", "retired_key", "accepted"},
		{"one worker's clock an hour slow", -time.Hour, func(s *keyScene) { s.rotate(false); s.look() }, "accepted", "retired_key", "accepted"},
	}
	for _, kind := range storetest.Kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "the key\tstored before\tstored after\twith the newest key\tworker")
			for _, c := range cases {
				s := newKeyScene(t, kind, c.wrong)
				for w := range s.workers {
					if got := s.verdict(w, s.login(s.first)); got != "accepted" {
						t.Fatalf("%s: worker %d says %q of the first login; want accepted", c.name, w, got)
					}
				}
				s.clock.Advance(minute)
				before := s.login(s.first)
				s.clock.Advance(minute)
				c.do(s)
				s.clock.Advance(time.Second)
				after := s.login(s.first)
				s.clock.Advance(time.Millisecond)
				got := [2][3]string{}
				for _, w := range []int{1, 0} { // what the second one learns binds the first
					got[w][0], got[w][1] = s.verdict(w, before), s.verdict(w, after)
				}
				newest := s.login(s.newest())
				s.clock.Advance(time.Millisecond)
				for w := range got {
					got[w][2] = s.verdict(w, newest)
					fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\n", c.name, got[w][0], got[w][1], got[w][2], w+1)
					if want := [...]string{c.before, c.after, c.newest}; got[w] != want {
						t.Errorf("%s: worker %d says %q of a login stored before, one stored after, one with the newest key; want %q", c.name, w+1, got[w], want)
					}
				}
			}
			if err := table.Flush(); err != nil {
				t.Fatal(err)
			}
			t.Log("\n" + out.String())
		})
	}
}
