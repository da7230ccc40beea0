package saml

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/idpsync/idpsync/providers"
)

// When metadata is read again, and how.
const (
	refreshEvery   = time.Hour        // with success
	refreshAtLeast = 30 * time.Second // between attempts, whoever asks
	fetchTimeout   = 10 * time.Second
	expiryWarning  = 30 * 24 * time.Hour
	maxRedirects   = 3
)

// trust keeps the keyring of one source up to date. It runs no goroutine of its own: the event that finds metadata to
// be due reads it, while others go on with what is known.
type trust struct {
	src     providers.Source
	env     providers.Environment
	client  *http.Client
	initial *idpMetadata // from the source's document; nil when metadata comes by URL alone
	created time.Time

	ring atomic.Pointer[keyring]
	busy chan struct{} // holds one token while somebody reads; guards the fields below
	last time.Time     // the last attempt
}

func newTrust(src providers.Source, env providers.Environment) (*trust, error) {
	t := &trust{src: src, env: env, created: env.Now(), busy: make(chan struct{}, 1)}
	if src.Metadata == "" && src.MetadataURL == "" {
		return nil, errors.New("metadata_file or metadata_url is required")
	}
	if src.Metadata != "" {
		m, err := parseMetadata([]byte(src.Metadata), src.Issuer)
		if err != nil {
			return nil, err
		}
		t.initial = &m
	}
	if src.MetadataURL != "" {
		if err := checkURL(src.MetadataURL); err != nil {
			return nil, err
		}
		client := *env.HTTP
		client.CheckRedirect = sameHost
		t.client = &client
	}
	return t, nil
}

// sameHost follows a redirect only on the host that was asked, and never from https to http.
func sameHost(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return errors.New("too many redirects")
	}
	if req.URL.Host != via[0].URL.Host || req.URL.Scheme != via[0].URL.Scheme {
		return errors.New("redirect to another host or scheme")
	}
	return nil
}

// current returns the keyring, reading metadata first when it is due. Metadata that cannot be read now is an error
// only when none was ever read.
func (t *trust) current(ctx context.Context) (*keyring, error) {
	ring := t.ring.Load()
	if ring != nil && (t.client == nil || t.env.Now().Sub(ring.fetched) < refreshEvery) {
		return ring, nil
	}
	if ring != nil {
		select {
		case t.busy <- struct{}{}:
		default:
			return ring, nil // somebody reads already
		}
	} else if err := t.acquire(ctx); err != nil {
		return nil, err
	}
	defer func() { <-t.busy }()
	if newer := t.ring.Load(); newer != ring {
		return newer, nil
	}
	fresh, err := t.read(ctx)
	if err != nil && ring != nil {
		return ring, nil
	}
	return fresh, err
}

// newer returns a keyring whose metadata was read after the time at, for a message whose key is not known. It reports
// false when ring is such a one already: our clock and the broker's may differ by [Skew].
func (t *trust) newer(ctx context.Context, ring *keyring, at time.Time) (*keyring, bool, error) {
	if t.client == nil || ring.fetched.After(at.Add(Skew)) {
		return ring, false, nil
	}
	if err := t.acquire(ctx); err != nil {
		return nil, false, err
	}
	defer func() { <-t.busy }()
	if r := t.ring.Load(); r != ring {
		return r, true, nil
	}
	fresh, err := t.read(ctx)
	return fresh, err == nil, err
}

func (t *trust) acquire(ctx context.Context) error {
	select {
	case t.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return unavailable("cancelled", "the event was given up before the identity provider's metadata was read", 0, ctx.Err())
	}
}

// read reads metadata and history, and replaces the keyring. The caller holds busy.
func (t *trust) read(ctx context.Context) (*keyring, error) {
	now := t.env.Now()
	if wait := t.last.Add(refreshAtLeast).Sub(now); t.client != nil && !t.last.IsZero() && wait > 0 {
		return nil, unavailable("metadata", "the identity provider's metadata was asked for a moment ago", wait, nil)
	}
	t.last = now
	m, at := t.initial, t.created
	if t.client != nil {
		fetched, err := t.fetch(ctx)
		switch {
		case err == nil:
			m, at = fetched, now
		case t.ring.Load() == nil && t.known() != "":
			t.unread(ctx, err)
			return t.restore(ctx, err)
		default:
			t.unread(ctx, err)
			return nil, unavailable("metadata", "the identity provider's metadata cannot be read", refreshAtLeast, err)
		}
	}
	if err := t.env.Keys.Observe(ctx, t.src.Tenant, t.src.Name, m.entityID, keysOf(m.certificates), at); err != nil {
		t.last = time.Time{}
		return nil, unavailable("key_history", "the history of the identity provider's certificates cannot be written", 0, err)
	}
	t.warn(ctx, m, now)
	return t.load(ctx, m.entityID, now)
}

// unread tells the operator that metadata are not used, and why.
func (t *trust) unread(ctx context.Context, err error) {
	level, message := slog.LevelWarn, "SAML metadata cannot be read; the last good ones stay in use"
	if errors.Is(err, errOtherEntity) {
		level, message = slog.LevelError, "SAML metadata name another identity provider and are refused; apply the directory if it has really moved"
	}
	t.env.Log.LogAttrs(ctx, level, message, slog.String("tenant", t.src.Tenant), slog.String("source", t.src.Name), slog.Any("error", err))
}

// known returns the entityID that is certain without reading the URL, or "".
func (t *trust) known() string {
	if t.initial != nil {
		return t.initial.entityID
	}
	return t.src.Issuer
}

// restore makes a keyring of the history alone, for a source that starts while its metadata cannot be read.
func (t *trust) restore(ctx context.Context, cause error) (*keyring, error) {
	ring, err := t.load(ctx, t.known(), time.Time{})
	if err != nil {
		return nil, err
	}
	if len(ring.certs) == 0 && t.initial != nil {
		ring = newKeyring(t.initial.entityID, keysOf(t.initial.certificates), time.Time{})
	}
	if len(ring.certs) == 0 {
		return nil, unavailable("metadata", "the identity provider's metadata cannot be read", refreshAtLeast, cause)
	}
	t.ring.Store(ring)
	return ring, nil
}

func (t *trust) load(ctx context.Context, issuer string, fetched time.Time) (*keyring, error) {
	history, err := t.env.Keys.Keys(ctx, t.src.Tenant, t.src.Name, issuer)
	if err != nil {
		t.last = time.Time{}
		return nil, unavailable("key_history", "the history of the identity provider's certificates cannot be read", 0, err)
	}
	ring := newKeyring(issuer, history, fetched)
	if !fetched.IsZero() {
		t.ring.Store(ring)
	}
	return ring, nil
}

// EntityID returns the entityID of a source's identity provider: that of its metadata document, or of the one behind its
// metadata URL, which client reads. A source that names its issuer has the document searched for it.
func EntityID(ctx context.Context, src providers.Source, client *http.Client) (string, error) {
	doc := []byte(src.Metadata)
	if len(doc) == 0 {
		if err := checkURL(src.MetadataURL); err != nil {
			return "", err
		}
		careful := *client
		careful.CheckRedirect = sameHost
		var err error
		if doc, err = fetchDocument(ctx, &careful, src.MetadataURL); err != nil {
			return "", err
		}
	}
	m, err := parseMetadata(doc, src.Issuer)
	return m.entityID, err
}

// fetchDocument reads a metadata URL.
func fetchDocument(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/samlmetadata+xml, application/xml, text/xml")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // read only
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the metadata URL answered %s", resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxMetadata+1))
}

// fetch reads the metadata of the source from its URL.
func (t *trust) fetch(ctx context.Context) (*idpMetadata, error) {
	doc, err := fetchDocument(ctx, t.client, t.src.MetadataURL)
	if err != nil {
		return nil, err
	}
	m, err := parseMetadata(doc, t.src.Issuer)
	if err != nil {
		return nil, err
	}
	if !m.validUntil.IsZero() && m.validUntil.Before(t.env.Now()) {
		return nil, fmt.Errorf("the metadata were valid until %s", m.validUntil.UTC().Format(time.RFC3339))
	}
	return &m, nil
}

// warn logs what an operator should know of fresh metadata.
func (t *trust) warn(ctx context.Context, m *idpMetadata, now time.Time) {
	log := t.env.Log.With(slog.String("tenant", t.src.Tenant), slog.String("source", t.src.Name))
	for _, c := range m.certificates {
		switch left := c.NotAfter.Sub(now); {
		case left <= 0:
			log.LogAttrs(ctx, slog.LevelWarn, "a SAML signing certificate has expired", slog.Time("not_after", c.NotAfter), slog.String("thumbprint", thumbprint(c.Raw)))
		case left < expiryWarning:
			log.LogAttrs(ctx, slog.LevelWarn, "a SAML signing certificate expires soon", slog.Time("not_after", c.NotAfter), slog.String("thumbprint", thumbprint(c.Raw)))
		}
	}
	for _, why := range m.skipped {
		log.LogAttrs(ctx, slog.LevelWarn, "a SAML signing certificate of the metadata is not used", slog.String("why", why))
	}
	if !m.validUntil.IsZero() && m.validUntil.Before(now) {
		log.LogAttrs(ctx, slog.LevelWarn, "the SAML metadata document is past its validUntil", slog.Time("valid_until", m.validUntil))
	}
}

func unavailable(reason, message string, after time.Duration, cause error) *providers.Error {
	return &providers.Error{
		Class: providers.ErrUnavailable, Reason: reason, Message: message, RetryAfter: after, Err: cause,
		Hint: "the event waits and is tried again; nothing is lost",
	}
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
