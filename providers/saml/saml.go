package saml

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"runtime/debug"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/keyring"
	"github.com/idpsync/idpsync/providers/mapping"
)

// A Provider verifies the logins of one SAML source. It is safe for concurrent use.
type Provider struct {
	src           providers.Source
	own           Config
	env           providers.Environment
	trust         *trust
	key           *rsa.PrivateKey // nil: encrypted assertions are refused
	mapping       *mapping.Mapping
	mappedSubject bool
	domains       map[string]bool
}

var (
	_ providers.Provider  = (*Provider)(nil)
	_ providers.KeyHolder = (*Provider)(nil)
	_ providers.Reviewer  = (*Provider)(nil)
	_ providers.Expirer   = (*Provider)(nil)
	_ providers.Factory   = New
)

// New makes the provider of a SAML source. It reads the key file and the metadata document, and contacts nobody.
// Metadata that are wrong, a key that cannot be used and a mapping that does not compile are errors, all reported
// together.
func New(src providers.Source, env providers.Environment) (providers.Provider, error) {
	p := &Provider{src: src, own: *configOf(src), env: env, domains: make(map[string]bool)}
	var faults []error
	if p.own.EntityID == "" {
		faults = append(faults, errors.New("entity_id is required: the name by which the identity provider knows us"))
	}
	if u, err := url.Parse(p.own.ACSURL); err != nil || !u.IsAbs() || u.Host == "" {
		faults = append(faults, errors.New("acs_url must be the absolute URL that the identity provider posts responses to"))
	}
	var err error
	if p.trust, err = newTrust(src, env); err != nil {
		faults = append(faults, err)
	}
	if p.own.KeyFile != "" {
		if p.key, err = readKey(p.own.KeyFile); err != nil {
			faults = append(faults, err)
		}
	}
	kind := Kind()
	if p.mapping, err = mapping.Compile(&kind, src); err != nil {
		faults = append(faults, err)
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("saml source %s: %w", src.Name, errors.Join(faults...))
	}
	p.mappedSubject = src.Mapping["subject"] != ""
	for _, d := range src.Domains {
		p.domains[d] = true
	}
	return p, nil
}

// Verify implements providers.Provider: see the package comment for what is checked, in which order.
func (p *Provider) Verify(ctx context.Context, e providers.Envelope) (user providers.CreateUser, err error) {
	defer func() {
		if r := recover(); r != nil {
			p.env.Log.LogAttrs(ctx, slog.LevelError, "a SAML message caused a panic", slog.String("tenant", p.src.Tenant),
				slog.String("source", p.src.Name), slog.String("event_id", e.EventID), slog.String("stack", string(debug.Stack())))
			user, err = p.refused(e, &refusal{check: checkPanic, message: "the message cannot be processed"})
		}
	}()
	if cause := ctx.Err(); cause != nil {
		return providers.CreateUser{}, keyring.Cancelled(cause)
	}
	v := verification{p: p, e: e, at: e.StoredAt, moment: providers.NewMoment(e.StoredAt, &p.src), trace: e.Trace}
	user, err = v.run(ctx)
	if r, ok := errors.AsType[*refusal](err); ok {
		return p.refused(e, r)
	}
	if err != nil {
		return providers.CreateUser{}, err
	}
	return user, nil
}

// ReloadKeys implements providers.KeyHolder.
func (p *Provider) ReloadKeys(ctx context.Context) error { return p.trust.ring.Reload(ctx) }

// ReadKeys implements providers.KeyHolder.
func (p *Provider) ReadKeys(ctx context.Context) error { return p.trust.ring.Read(ctx) }

// KeysReadAt implements providers.KeyHolder.
func (p *Provider) KeysReadAt() (issuer string, at time.Time) { return p.trust.ring.ReadAt() }

// Close ends the reading of metadata that is under way and waits for it. Verify must not be called any more.
func (p *Provider) Close() error {
	p.trust.ring.Close()
	return nil
}

func (p *Provider) refused(e providers.Envelope, r *refusal) (providers.CreateUser, error) {
	fail(e.Trace, r)
	return providers.CreateUser{}, r.answer()
}
