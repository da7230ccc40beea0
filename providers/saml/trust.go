package saml

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/keyring"
)

// How metadata is read, and when its ends are worth a warning.
const (
	fetchTimeout  = 10 * time.Second
	expiryWarning = 30 * 24 * time.Hour
	expiredRetry  = time.Minute // for what waits for metadata that are valid
	maxRedirects  = 3
)

// trust is where the certificates of one source's IdP come from: a document of the configuration, or a URL.
type trust struct {
	src    providers.Source
	own    Config
	env    providers.Environment
	client *http.Client // nil: metadata is part of the configuration
	ring   *keyring.Ring[*certificate]

	document *idpMetadata // of the configuration; nil when metadata come by URL
}

func newTrust(src providers.Source, env providers.Environment) (*trust, error) {
	t := &trust{src: src, own: *configOf(src), env: env}
	if t.own.Metadata == "" && t.own.MetadataURL == "" {
		return nil, errors.New("metadata_file or metadata_url is required")
	}
	c := keyring.Config[*certificate]{
		Source: src, Env: env, Issuer: src.Issuer, Asked: t.own.MetadataURL + " " + src.Issuer, // a federation has many at one address
		Parse: parseCertificate,
		Words: keyring.Words{Unreachable: "metadata", Reading: "metadata", Pending: "metadata", Document: "metadata"},
	}
	if t.own.Metadata != "" {
		m, err := parseMetadata([]byte(t.own.Metadata), src.Issuer)
		if err != nil {
			return nil, err
		}
		c.Issuer, c.Fixed = m.entityID, m.answer()
		if t.own.MetadataURL == "" {
			t.document = &m
			t.warn(&m)
		}
	}
	if t.own.MetadataURL != "" {
		if err := checkURL(t.own.MetadataURL); err != nil {
			return nil, err
		}
		client := *env.HTTP
		client.CheckRedirect = sameHost
		t.client = &client
		c.Fetch = t.fetch
	}
	t.ring = keyring.New(c)
	return t, nil
}

// answer is what the metadata say of keys.
func (m *idpMetadata) answer() keyring.Answer {
	return keyring.Answer{Issuer: m.entityID, Keys: keysOf(m.certificates), ValidUntil: m.validUntil}
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

// EntityID returns the entityID of a source's identity provider: that of its metadata document, or of the one behind its
// metadata URL, which client reads. A source that names its issuer has the document searched for it.
func EntityID(ctx context.Context, src providers.Source, client *http.Client) (string, error) {
	own := configOf(src)
	doc := []byte(own.Metadata)
	if len(doc) == 0 {
		if err := checkURL(own.MetadataURL); err != nil {
			return "", err
		}
		careful := *client
		careful.CheckRedirect = sameHost
		var err error
		if doc, err = fetchDocument(ctx, &careful, own.MetadataURL); err != nil {
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
func (t *trust) fetch(ctx context.Context, now time.Time) (keyring.Answer, error) {
	doc, err := fetchDocument(ctx, t.client, t.own.MetadataURL)
	if err != nil {
		return keyring.Answer{}, err
	}
	m, err := parseMetadata(doc, t.src.Issuer)
	if errors.Is(err, errOtherEntity) {
		t.env.Log.LogAttrs(ctx, slog.LevelError, "SAML metadata name another identity provider and are refused; apply the directory if it has really moved",
			slog.String("tenant", t.src.Tenant), slog.String("source", t.src.Name), slog.Any("error", err))
	}
	if err != nil {
		return keyring.Answer{}, err
	}
	if !m.validUntil.IsZero() && !now.Before(m.validUntil) {
		return keyring.Answer{}, fmt.Errorf("the metadata were valid until %s", m.validUntil.UTC().Format(time.RFC3339))
	}
	t.warn(&m)
	return m.answer(), nil
}

// warn logs what an operator should know of fresh metadata.
func (t *trust) warn(m *idpMetadata) {
	log := t.env.Log.With(slog.String("tenant", t.src.Tenant), slog.String("source", t.src.Name))
	for _, w := range m.warnings(&t.own, t.env.Now()) {
		log.Warn(w)
	}
	for _, why := range m.skipped {
		log.Warn("a SAML signing certificate of the metadata is not used", slog.String("why", why))
	}
}

// warnings say what has ended, or ends soon.
func (m *idpMetadata) warnings(own *Config, now time.Time) []string {
	var out []string
	say := func(what string, end time.Time) {
		switch left := end.Sub(now); {
		case end.IsZero() || left >= expiryWarning:
		case left <= 0:
			out = append(out, what+" has expired "+end.UTC().Format(time.RFC3339))
		default:
			out = append(out, what+" expires soon, "+end.UTC().Format(time.RFC3339))
		}
	}
	say("the SAML metadata document (validUntil)", m.validUntil)
	if !own.AllowExpiredCertificates {
		for _, c := range m.certificates {
			say("the SAML signing certificate "+thumbprint(c.Raw)[:16], c.NotAfter)
		}
	}
	return out
}

// Review implements providers.Reviewer.
func (p *Provider) Review(now time.Time) (warnings []string, err error) {
	m := p.trust.document
	if m == nil {
		return nil, nil
	}
	if !m.validUntil.IsZero() && !now.Before(m.validUntil) {
		return nil, fmt.Errorf("its metadata were valid until %s; get the current document from the identity provider", m.validUntil.UTC().Format(time.RFC3339))
	}
	warnings = m.warnings(&p.own, now)
	expired := func(c *x509.Certificate) bool { return now.After(c.NotAfter) }
	if !p.own.AllowExpiredCertificates && !slices.ContainsFunc(m.certificates, func(c *x509.Certificate) bool { return !expired(c) }) {
		warnings = append(warnings, "all signing certificates of its metadata have expired, so that every login is refused; get the current document from the identity provider, or set allow_expired_certificates: true")
	}
	return warnings, nil
}

// TrustExpires implements providers.Expirer.
func (p *Provider) TrustExpires() time.Time {
	var end time.Time
	if m := p.trust.document; m != nil {
		end = m.validUntil
		if !p.own.AllowExpiredCertificates {
			for _, c := range m.certificates {
				end = earlier(end, &c.NotAfter)
			}
		}
		return end
	}
	h := p.trust.ring.Known()
	if h == nil {
		return end
	}
	end = h.ValidUntil
	for _, k := range h.Keys {
		if k.RetiredAt.IsZero() && !p.own.AllowExpiredCertificates {
			end = earlier(end, &k.Use.x509.NotAfter)
		}
	}
	return end
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
