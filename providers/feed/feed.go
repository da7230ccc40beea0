package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/wire"
)

// The formats of a feed's bodies.
const (
	FormatUser = "user" // either body of the API; the default
	FormatSCIM = "scim" // an RFC 7643 User
)

// A provider verifies the events of one feed.
type provider struct {
	source providers.Source
	auth   providers.Authentication
}

var (
	_ providers.Provider = (*provider)(nil)
	_ providers.Factory  = New
)

// New is the [providers.Factory] of feeds.
func New(src providers.Source, env providers.Environment) (providers.Provider, error) {
	if src.Kind != providers.KindFeed {
		return nil, fmt.Errorf("kind: %q is not feed", src.Kind)
	}
	if env.Credentials == nil {
		return nil, errors.New("feeds need credentials to be proved by")
	}
	switch format := configOf(src).Format; format {
	case "", FormatUser:
	case FormatSCIM:
		return nil, errors.New("format: scim cannot be read by this version; use format: user, whose body is that of POST /v1/users or POST /users")
	default:
		return nil, fmt.Errorf("format: %q is not known; use user", format)
	}
	return &provider{source: src, auth: providers.Authentication{Credentials: env.Credentials, Purpose: providers.FeedPurpose(src.Name)}}, nil
}

// Verify implements [providers.Provider]. The sender is proved before the body is looked at.
func (p *provider) Verify(ctx context.Context, e providers.Envelope) (providers.CreateUser, error) {
	principal, err := p.auth.Principal(ctx, e)
	if err != nil {
		return providers.CreateUser{}, err
	}
	principal.Grants = both(principal.Grants, p.source.Grants)
	r := providers.CreateUser{Principal: principal, EmailVerified: p.source.TrustEmail}
	if err := fill(e.Payload, &r); err != nil {
		if failure, ok := errors.AsType[*providers.Error](err); ok {
			e.Trace.Add(providers.Check{Step: "verify", Name: failure.Reason, Detail: failure.Message})
		}
		return providers.CreateUser{}, err
	}
	e.Trace.Add(providers.Check{Step: "verify", Name: wire.ReasonJSON, OK: true})
	return r, nil
}

// fill reads either body of the API strictly into the request.
func fill(payload []byte, r *providers.CreateUser) error {
	shape, err := wire.UserShape(payload, wire.Limits{})
	if err != nil {
		return err
	}
	r.Shape = shape
	if shape == providers.ShapeOrganization {
		u, err := wire.DecodeOrganizationUser(payload, wire.Limits{})
		if err != nil {
			return err
		}
		u.Fill(r)
		r.AuthProvider = wire.LocalAuth // without a password, so the first login of any source may take the user
		return nil
	}
	u, err := wire.DecodeTenantUser(payload, wire.Limits{})
	if err != nil {
		return err
	}
	u.Fill(r)
	return nil
}

// both returns what is in both lists, in the order of the first.
func both(a, b []string) []string {
	var out []string
	for _, name := range a {
		if slices.Contains(b, name) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}
