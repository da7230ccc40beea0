package saml_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/providertest"
	"github.com/idpsync/idpsync/providers/saml"
	"github.com/idpsync/idpsync/providers/saml/idp"
)

// A certificate that was replaced is good for what was stored before, and for nothing after.
func TestRollover(t *testing.T) {
	w := newWorld(t)
	before := w.provider(t)
	waiting := w.login(t, w.respond(t)) // stored before the change, still in the queue
	_, err := before.Verify(t.Context(), w.login(t, w.respond(t)))
	check(t, err)

	w.clock.Advance(time.Hour)
	old := w.respond(t, after(time.Minute)) // signed with the old key, stored after the change
	check(t, w.idp.Rotate(false))
	own(&w.src).Metadata = string(w.idp.Metadata())
	p := w.provider(t)
	w.clock.Advance(time.Minute)
	for name, c := range map[string]struct {
		e    providers.Envelope
		want string
	}{
		"stored before":   {waiting, ""},
		"new certificate": {w.login(t, w.respond(t)), ""},
		"stored after":    {w.login(t, old), "retired_key"},
		"never published": {w.login(t, mustRespond(t, newIdP(t, idpID, w.clock), w.ask())), "unknown_key"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := p.Verify(t.Context(), c.e)
			if got := reason(t, err); got != c.want {
				t.Errorf("reason %q, want %q: %v", got, c.want, err)
			}
		})
	}
}

// While an IdP announces a change, both certificates are good.
func TestOverlap(t *testing.T) {
	w := newWorld(t)
	old := w.respond(t, after(time.Minute))
	check(t, w.idp.Rotate(true))
	own(&w.src).Metadata = string(w.idp.Metadata())
	p := w.provider(t)
	w.clock.Advance(time.Minute)
	for _, doc := range [][]byte{old, w.respond(t)} {
		if _, err := w.verify(t, p, doc); err != nil {
			t.Errorf("Verify: %v", err)
		}
	}
}

func mustRespond(t testing.TB, p *idp.IdP, r idp.Request) []byte {
	t.Helper()
	doc, err := p.Respond(r)
	check(t, err)
	return doc
}

// served is a world whose metadata come by URL.
type served struct {
	*world
	server *httptest.Server
	hits   atomic.Int64
	answer atomic.Pointer[http.HandlerFunc] // nil: the IdP's own
}

func newServed(t *testing.T) *served {
	t.Helper()
	s := &served{world: newWorld(t)}
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hits.Add(1)
		if answer := s.answer.Load(); answer != nil {
			(*answer)(w, r)
			return
		}
		s.idp.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(s.server.Close)
	own(&s.src).Metadata, own(&s.src).MetadataURL = "", s.server.URL+"/metadata"
	return s
}

func (s *served) answers(h http.HandlerFunc) { s.answer.Store(&h) }

func broken(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusBadGateway) }

func (s *served) want(t *testing.T, p providers.Provider, doc []byte, want string) error {
	t.Helper()
	_, err := s.verify(t, p, doc)
	if got := reason(t, err); got != want {
		t.Errorf("reason %q, want %q: %v", got, want, err)
	}
	return err
}

func TestMetadataURL(t *testing.T) {
	s := newServed(t)
	p := s.provider(t)
	if s.hits.Load() != 0 {
		t.Error("New asked the IdP")
	}
	s.want(t, p, s.respond(t), "")
	s.want(t, p, s.respond(t), "")
	if n := s.hits.Load(); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
	// A new certificate is found when its first message comes, long before the next hourly reading.
	s.clock.Advance(10 * time.Minute)
	check(t, s.idp.Rotate(false))
	s.want(t, p, s.respond(t), "")
	if n := s.hits.Load(); n != 2 {
		t.Errorf("asked %d times, want twice", n)
	}
	// A stranger's message, stored after the reading, is worth one more question, and the next one only after a while.
	s.clock.Advance(time.Second)
	stranger := func() []byte { return mustRespond(t, newIdP(t, idpID, s.clock), s.ask()) }
	s.want(t, p, stranger(), "unknown_key")
	s.clock.Advance(time.Second)
	err := s.want(t, p, stranger(), "metadata")
	failure, _ := errors.AsType[*providers.Error](err)
	if !errors.Is(err, providers.ErrUnavailable) || failure.RetryAfter <= 0 {
		t.Errorf("%v, retry after %v; want unavailable, and when to try again", err, failure.RetryAfter)
	}
	s.clock.Advance(time.Minute)
	s.want(t, p, stranger(), "unknown_key")
	if n := s.hits.Load(); n != 4 {
		t.Errorf("asked %d times, want four times", n)
	}
	// Another issuer's message is not worth a question at all.
	s.clock.Advance(time.Minute)
	s.want(t, p, mustRespond(t, newIdP(t, "https://other.example", s.clock), s.ask()), "unknown_key")
	if n := s.hits.Load(); n != 4 {
		t.Errorf("asked %d times, want four times", n)
	}
	// What was read is believed for key_staleness.
	s.clock.Advance(providers.DefaultKeyStaleness)
	s.want(t, p, s.respond(t), "")
	if n := s.hits.Load(); n != 5 {
		t.Errorf("asked %d times, want five times", n)
	}
}

func TestMetadataURLDown(t *testing.T) {
	s := newServed(t)
	p := s.provider(t)
	s.answers(broken)
	if err := s.want(t, p, s.respond(t), "metadata"); !errors.Is(err, providers.ErrUnavailable) {
		t.Errorf("%v, want unavailable", err)
	}
	s.answer.Store(nil)
	s.clock.Advance(time.Minute)
	s.want(t, p, s.respond(t), "")

	// The last good document stays in use for a while when the IdP is down, and does not make a stranger's message permanent.
	s.answers(broken)
	s.clock.Advance(time.Hour)
	s.want(t, p, s.respond(t), "")
	s.clock.Advance(time.Minute)
	if err := s.want(t, p, mustRespond(t, newIdP(t, idpID, s.clock), s.ask()), "metadata"); !errors.Is(err, providers.ErrUnavailable) {
		t.Errorf("%v, want unavailable", err)
	}

	// A provider that starts while the IdP is down goes by the history, if it knows whose.
	s.clock.Advance(time.Minute)
	s.want(t, s.provider(t, func(src *providers.Source) { src.Issuer = idpID }), s.respond(t), "")
	s.want(t, s.provider(t), s.respond(t), "metadata")

	// Then its messages wait.
	s.clock.Advance(time.Hour)
	if err := s.want(t, p, s.respond(t), "metadata"); !errors.Is(err, providers.ErrUnavailable) {
		t.Errorf("%v, want unavailable", err)
	}
}

// A banned key is refused in whichever certificate it stands.
func TestBannedKey(t *testing.T) {
	s := newServed(t)
	p := s.provider(t)
	doc := s.respond(t)
	s.want(t, p, doc, "")
	history, err := s.keys.Keys(t.Context(), providertest.Tenant, "adfs", idpID)
	check(t, err)
	s.keys.Ban(idpID, history.Keys[0].PublicKey, time.Time{})
	check(t, p.(providers.KeyHolder).ReloadKeys(t.Context()))
	s.want(t, p, doc, "key_banned")
	s.clock.Advance(time.Minute)
	key, err := worldKey()
	check(t, err)
	s.idp, err = idp.New(idp.Options{EntityID: idpID, Now: s.clock.Now, Key: key}) // the same key in a new certificate
	check(t, err)
	s.want(t, p, s.respond(t), "key_banned")
	s.want(t, s.provider(t), s.respond(t), "key_banned")
}

func TestMetadataURLAnswers(t *testing.T) {
	s := newServed(t)
	elsewhere := httptest.NewServer(s.idp.Handler())
	defer elsewhere.Close()
	document := string(s.idp.Metadata())
	for name, answer := range map[string]http.HandlerFunc{
		"redirect to another host": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
		},
		"redirects without end": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path+"x", http.StatusFound) },
		"too large": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(document + strings.Repeat(" ", 17<<20)))
		},
		"not metadata": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html/>")) },
		"past its validUntil": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(strings.Replace(document, "entityID=", `validUntil="2020-01-01T00:00:00Z" entityID=`, 1)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s.answers(answer)
			s.want(t, s.provider(t), s.respond(t), "metadata")
		})
	}
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metadata" {
			http.Redirect(w, r, "/here", http.StatusFound)
			return
		}
		_, _ = w.Write([]byte(document))
	})
	s.want(t, s.provider(t), s.respond(t), "")
}

// Many messages at once ask once.
func TestMetadataURLOnce(t *testing.T) {
	s := newServed(t)
	p := s.provider(t)
	doc := s.respond(t)
	e := s.login(t, doc)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			e := e
			e.Trace = nil
			if _, err := p.Verify(t.Context(), e); err != nil {
				t.Errorf("Verify: %v", err)
			}
		})
	}
	wg.Wait()
	if n := s.hits.Load(); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

func TestKeyHistoryDown(t *testing.T) {
	w := newWorld(t)
	p := w.provider(t)
	w.keys.Fail(errors.New("store is down"))
	_, err := w.verify(t, p, w.respond(t))
	if !errors.Is(err, providers.ErrUnavailable) || reason(t, err) != "key_history" {
		t.Errorf("Verify: %v, want unavailable, key_history", err)
	}
	w.keys.Fail(nil)
	w.clock.Advance(2 * time.Second)
	if _, err := w.verify(t, p, w.respond(t)); err != nil {
		t.Errorf("Verify, with the store back: %v", err)
	}
}

func TestExpiryIsLogged(t *testing.T) {
	for name, c := range map[string]struct {
		lifetime time.Duration
		age      time.Duration
		logged   string
		reason   string
	}{
		"good":    {365 * 24 * time.Hour, 0, "", ""},
		"soon":    {20 * 24 * time.Hour, 0, "expires soon", ""},
		"expired": {time.Hour, 2 * time.Hour, "has expired", "certificate_expired"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var log bytes.Buffer
			w.env.Log = slog.New(slog.NewTextHandler(&log, nil))
			p, err := idp.New(idp.Options{EntityID: idpID, Now: w.clock.Now, Lifetime: c.lifetime})
			check(t, err)
			w.idp, own(&w.src).Metadata = p, string(p.Metadata())
			w.clock.Advance(c.age)
			_, err = w.verify(t, w.provider(t), w.respond(t))
			if got := reason(t, err); got != c.reason {
				t.Errorf("reason %q, want %q", got, c.reason)
			}
			if c.logged == "" && log.Len() > 0 || !strings.Contains(log.String(), c.logged) {
				t.Errorf("log is %q, want %q in it", log.String(), c.logged)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	w := newWorld(t)
	good := own(&w.src).Metadata
	for name, c := range map[string]struct {
		change func(*providers.Source)
		want   string
	}{
		"no metadata":      {func(s *providers.Source) { own(s).Metadata = "" }, "metadata_file or metadata_url"},
		"not metadata":     {func(s *providers.Source) { own(s).Metadata = "<html/>" }, "neither"},
		"our own metadata": {func(s *providers.Source) { own(s).Metadata = spMetadata(t) }, "no IDPSSODescriptor"},
		"doctype":          {func(s *providers.Source) { own(s).Metadata = "<!DOCTYPE x>" + good }, "document type"},
		"no certificate": {func(s *providers.Source) {
			own(s).Metadata = strings.ReplaceAll(good, `use="signing"`, `use="encryption"`)
		}, "no usable signing certificate"},
		"another issuer":   {func(s *providers.Source) { s.Issuer = "https://other.example" }, "https://other.example"},
		"http":             {func(s *providers.Source) { own(s).MetadataURL = "http://idp.example/metadata" }, "must be https"},
		"not a URL":        {func(s *providers.Source) { own(s).MetadataURL = "metadata.xml" }, "absolute URL"},
		"no entity_id":     {func(s *providers.Source) { own(s).EntityID = "" }, "entity_id"},
		"no acs_url":       {func(s *providers.Source) { own(s).ACSURL = "/saml/acs" }, "acs_url"},
		"no such key file": {func(s *providers.Source) { own(s).KeyFile = "testdata/none.key" }, "key_file"},
		"key file no key":  {func(s *providers.Source) { own(s).KeyFile = "testdata/sp.crt" }, "key_file"},
		"mapping":          {func(s *providers.Source) { s.Mapping = map[string]string{"email": "claims.x"} }, "claims"},
	} {
		t.Run(name, func(t *testing.T) {
			src := copyOf(w.src)
			c.change(&src)
			_, err := saml.New(src, w.env)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("New: %v, want %q in it", err, c.want)
			}
		})
	}
	// All faults at once.
	_, err := saml.New(providers.Source{Name: "x", Kind: providers.KindSAML}, w.env)
	for _, want := range []string{"entity_id", "acs_url", "metadata"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: %v, want %q in it", err, want)
		}
	}
}

func spMetadata(t testing.TB) string {
	t.Helper()
	m, err := saml.Metadata(providers.Source{Config: &saml.Config{EntityID: entityID, ACSURL: acsURL}})
	check(t, err)
	return string(m)
}

// A federation's document holds several IdPs; the source says which.
func TestFederation(t *testing.T) {
	w := newWorld(t)
	group := `<EntitiesDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata">`
	for _, m := range [][]byte{w.idp.Metadata(), newIdP(t, "https://other.example", w.clock).Metadata(), []byte(spMetadata(t))} {
		_, entity, _ := strings.Cut(string(m), "?>")
		group += entity
	}
	group += `</EntitiesDescriptor>`
	p := w.provider(t, func(s *providers.Source) { own(s).Metadata, s.Issuer = group, idpID })
	if _, err := w.verify(t, p, w.respond(t)); err != nil {
		t.Errorf("Verify: %v", err)
	}
	src := w.src
	own(&src).Metadata = group
	if _, err := saml.New(src, w.env); err == nil || !strings.Contains(err.Error(), "several") {
		t.Errorf("New: %v, want that there are several", err)
	}
}

// A source that is withdrawn and declared again with its document knows what the document says, in a worker that saw only
// the result too.
func TestDocumentOutlivesItsHistory(t *testing.T) {
	w := newWorld(t)
	p := w.provider(t)
	if _, err := w.verify(t, p, w.respond(t)); err != nil {
		t.Fatal(err)
	}
	w.keys.Withdraw("adfs")
	check(t, p.(providers.KeyHolder).ReloadKeys(t.Context()))
	if _, err := w.verify(t, p, w.respond(t)); err != nil {
		t.Errorf("after the history has ended: %v; want the certificates of the document believed", err)
	}
}

// Of two sources that read one document of a federation, the one whose identity provider left it does not keep the other
// from reading it.
func TestSourcesOfOneMetadataURLHaveBreakersOfTheirOwn(t *testing.T) {
	s := newServed(t)
	s.env.Breakers = &providers.Breakers{}
	gone := s.provider(t, func(src *providers.Source) { src.Name, src.Issuer = "gone", "https://gone.example" })
	there := s.provider(t, func(src *providers.Source) { src.Issuer = idpID })
	s.want(t, gone, mustRespond(t, newIdP(t, "https://gone.example", s.clock), s.ask()), "metadata")
	s.want(t, there, s.respond(t), "")
}
