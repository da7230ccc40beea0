package oidc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/keyring"
	"github.com/idpsync/idpsync/providers/mapping"
	"github.com/idpsync/idpsync/providers/wire"
)

// A Provider verifies the logins of one OIDC source. Close ends its background refreshes.
type Provider struct {
	source  providers.Source
	own     Config
	mapping *mapping.Mapping
	mapped  map[string]bool // the claims that the mapping reads, folded; nil: it may read any
	keys    *keySet
	config  goidc.Config
	now     func() time.Time
}

var (
	_ providers.Provider  = (*Provider)(nil)
	_ providers.KeyHolder = (*Provider)(nil)
	_ providers.Factory   = New
)

// New is the providers.Factory of OIDC sources. Its error has every fault of the configuration.
func New(src providers.Source, env providers.Environment) (providers.Provider, error) {
	own := *configOf(src)
	var faults []error
	if src.Kind != providers.KindOIDC {
		faults = append(faults, fmt.Errorf("kind: %q is not oidc", src.Kind))
	}
	if err := checkIssuer(src.Issuer); err != nil {
		faults = append(faults, err)
	}
	if len(own.Audiences) == 0 && len(own.CommandAudiences) == 0 || slices.Contains(own.Audiences, "") || slices.Contains(own.CommandAudiences, "") {
		faults = append(faults, errors.New("audiences: name the client ids that tokens are issued to; none may be empty"))
	}
	algorithms := own.Algorithms
	if len(algorithms) == 0 {
		algorithms = []string{goidc.RS256}
	}
	for _, a := range algorithms {
		if _, ok := algorithmTable[a]; !ok {
			faults = append(faults, fmt.Errorf("algorithms: %q cannot be used; choose from %s", a, algorithmNames()))
		}
	}
	kind := Kind()
	m, err := mapping.Compile(&kind, src)
	if err != nil {
		faults = append(faults, err)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return &Provider{
		source:  src,
		own:     own,
		mapping: m,
		mapped:  mappedClaims(m),
		keys:    newKeySet(src, env),
		now:     env.Now,
		config: goidc.Config{
			SkipExpiryCheck:      true, // it knows no leeway for exp; checkTimes judges all bounds of time
			ClientID:             strings.Join(own.Audiences, " "),
			SkipClientIDCheck:    len(own.Audiences) != 1, // it knows one client only; our own check knows all
			SupportedSigningAlgs: algorithms,
		},
	}, nil
}

// checkIssuer asks for what OpenID Connect Discovery 1.0 section 4.3 does: https, no query, no fragment. http is for
// loopback.
func checkIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	switch {
	case err != nil || u.Host == "":
		return errors.New("issuer: must be a URL, exactly as in the iss claim")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.User != nil:
		return errors.New("issuer: must have no query, fragment or user")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return errors.New("issuer: must be https; http is for loopback only")
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("issuer: must be https")
	}
	return nil
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Close ends the refreshes that are under way and waits for them. Verify must not be called any more.
func (p *Provider) Close() error {
	p.keys.ring.Close()
	return nil
}

// ReloadKeys implements providers.KeyHolder.
func (p *Provider) ReloadKeys(ctx context.Context) error { return p.keys.ring.Reload(ctx) }

// ReadKeys implements providers.KeyHolder.
func (p *Provider) ReadKeys(ctx context.Context) error { return p.keys.ring.Read(ctx) }

// KeysReadAt implements providers.KeyHolder.
func (p *Provider) KeysReadAt() (issuer string, at time.Time) { return p.keys.ring.ReadAt() }

// Verify implements providers.Provider: see the package comment for the checks and their order.
func (p *Provider) Verify(ctx context.Context, e providers.Envelope) (providers.CreateUser, error) {
	if err := ctx.Err(); err != nil {
		return providers.CreateUser{}, keyring.Cancelled(err)
	}
	v := verification{provider: p, event: &e}
	if err := v.run(ctx); err != nil {
		return providers.CreateUser{}, err
	}
	r := providers.CreateUser{
		Principal:    p.principal(p.source.Name),
		Shape:        providers.ShapeLogin,
		AuthProvider: "oidc",
		Identity:     &providers.Identity{Issuer: p.source.Issuer, Subject: v.subject},
		Attributes:   attributes(v.claims),
	}
	var err error
	if r.UsedID, err = v.usedID(); err != nil {
		return providers.CreateUser{}, err
	}
	if err := p.mapping.Apply(ctx, &mapping.Vars{Claims: v.claims}, &r, e.Trace); err != nil {
		return providers.CreateUser{}, err
	}
	return r, nil
}

// mappedClaims are the claims that a mapping reads, by their folded names; nil: it may read any.
func mappedClaims(m *mapping.Mapping) map[string]bool {
	names, only := m.Reads()
	if !only {
		return nil
	}
	folded := make(map[string]bool, len(names))
	for _, name := range names {
		folded[wire.Fold(name)] = true
	}
	return folded
}

// reads reports whether anybody reads a claim of that name: these checks and go-oidc, policies, or the mapping. Commands read
// another one, which their source names.
func (p *Provider) reads(folded string) bool {
	switch folded {
	case "iss", "sub", "aud", "exp", "iat", "nbf", "azp", "nonce", "at_hash", "jti", "typ", "token_type", "token_use", "events", "client_id", "scope",
		"acr", "amr", "auth_time", "hd", "tid", "_claim_names", "_claim_sources", "hasgroups", "email_verified":
		return true
	}
	name, _, _ := strings.Cut(p.own.CommandsClaim, "=")
	return p.own.CommandsClaim != "" && folded == wire.Fold(name) || p.mapped == nil || p.mapped[folded]
}

func (p *Provider) principal(name string) providers.Principal {
	return providers.Principal{Kind: providers.PrincipalSource, Tenant: p.source.Tenant, ID: p.source.Name, Name: name, Grants: p.source.Grants}
}

// attributes are the claims that a policy may read: how the user logged in (acr, amr, auth_time), through which client
// (azp), and in which directory (hd of Google, tid of Microsoft). Each is there only if it has its proper type.
func attributes(claims map[string]any) map[string]any {
	out := make(map[string]any, 6)
	for _, name := range [...]string{"acr", "azp", "hd", "tid"} {
		if s, ok := claims[name].(string); ok {
			out[name] = s
		}
	}
	if n, ok := claims["auth_time"].(int64); ok {
		out["auth_time"] = n
	}
	if list, ok := claims["amr"].([]any); ok {
		amr := make([]string, 0, len(list))
		for _, v := range list {
			if s, ok := v.(string); ok {
				amr = append(amr, s)
			}
		}
		out["amr"] = amr
	}
	return out
}
