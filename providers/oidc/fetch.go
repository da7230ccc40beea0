package oidc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/idpsync/idpsync/providers/wire"
)

// Bounds of one question to an issuer.
const (
	maxAnswer    = 1 << 20         // bytes of an answer
	maxKeys      = 256             // keys of a JWK Set, the first ones
	maxRedirects = 3               // on the same host
	fetchTimeout = 5 * time.Second // for discovery and key set together
	discoveryAge = time.Minute     // after which the discovery document is read again; an issuer that moves its keys may go on answering at the old address
)

// A fetcher asks one issuer for its keys. It is used by one goroutine at a time.
type fetcher struct {
	issuer   string
	own      *Config
	client   *http.Client
	loopback bool // it is asked on loopback, so plain http to loopback is allowed

	jwksURI string // from the discovery document; "" when it is not known
	foundAt time.Time
}

// asked is the address at which an issuer is asked first.
func asked(issuer string, own *Config) string {
	switch {
	case own.JWKSURL != "":
		return own.JWKSURL
	case own.DiscoveryURL != "":
		return own.DiscoveryURL
	default:
		return strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
	}
}

func newFetcher(issuer string, own *Config, client *http.Client) *fetcher {
	f := &fetcher{issuer: issuer, own: own}
	if u, err := url.Parse(asked(issuer, own)); err == nil {
		f.loopback = u.Scheme == "http" && isLoopback(u.Hostname())
	}
	c := *client
	c.Jar = nil
	c.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		if next.URL.Host != via[0].URL.Host || next.URL.Scheme != via[0].URL.Scheme {
			return errors.New("redirected to another host")
		}
		if len(via) > maxRedirects {
			return errors.New("redirected too often")
		}
		return nil
	}
	f.client = &c
	return f
}

// keys returns the keys that the issuer publishes now: discovery (OpenID Connect Discovery 1.0 section 4) if it is not
// known or old, then the JWK Set.
func (f *fetcher) keys(ctx context.Context, now time.Time) (keySetAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	if f.own.JWKSURL != "" {
		f.jwksURI, f.foundAt = f.own.JWKSURL, now
	}
	if f.jwksURI == "" || now.Sub(f.foundAt) > discoveryAge {
		uri, err := f.discover(ctx)
		if err != nil {
			return keySetAnswer{}, err
		}
		f.jwksURI, f.foundAt = uri, now
	}
	body, err := f.get(ctx, f.jwksURI)
	if err != nil {
		f.jwksURI = "" // it may have moved
		return keySetAnswer{}, fmt.Errorf("the JWK Set: %w", err)
	}
	return parseSet(body)
}

func (f *fetcher) discover(ctx context.Context) (string, error) {
	body, err := f.get(ctx, asked(f.issuer, f.own))
	if err != nil {
		return "", fmt.Errorf("the discovery document: %w", err)
	}
	var document struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := wire.DecodeOpen(body, &document, wire.Limits{Size: maxAnswer}); err != nil {
		return "", fmt.Errorf("the discovery document: %w", err)
	}
	if document.Issuer != f.issuer {
		return "", errors.New("the discovery document names another issuer than the source; they must be equal letter by letter")
	}
	return document.JWKSURI, nil
}

// get reads one document. The key set may be on another host than the issuer, but not over a weaker channel.
func (f *fetcher) get(ctx context.Context, address string) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, errors.New("its address is not a URL")
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && f.loopback && isLoopback(u.Hostname())) {
		return nil, errors.New("its address is not https")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("building the request: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	response, err := f.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // it was read, nothing is lost
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the issuer answered %s", response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if len(body) > maxAnswer {
		return nil, errors.New("the answer is larger than 1 MiB")
	}
	return body, nil
}
