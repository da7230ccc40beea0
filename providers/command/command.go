package command

import (
	"context"
	"errors"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/wire"
)

// A provider verifies the commands of one tenant.
type provider struct {
	tenant string
	env    providers.Environment
}

var (
	_ providers.Provider = (*provider)(nil)
	_ providers.Factory  = New
)

// New returns the provider of a tenant's built-in source. It is a [providers.Factory].
func New(src providers.Source, env providers.Environment) (providers.Provider, error) {
	if env.Credentials == nil {
		return nil, errors.New("commands need credentials to be proved by")
	}
	return &provider{tenant: src.Tenant, env: env}, nil
}

// Verify implements [providers.Provider]. The sender is proved before the body is looked at.
func (p *provider) Verify(ctx context.Context, e providers.Envelope) (providers.CreateUser, error) {
	principal, err := providers.OfCommands(p.env, e.Shape).Principal(ctx, e)
	if err != nil {
		return providers.CreateUser{}, err
	}
	r := providers.CreateUser{Principal: principal, Shape: e.Shape}
	if err := fill(e, &r); err != nil {
		return providers.CreateUser{}, failed(e.Trace, err)
	}
	e.Trace.Add(providers.Check{Step: "verify", Name: wire.ReasonJSON, OK: true})
	return r, nil
}

// fill reads the body strictly into the request.
func fill(e providers.Envelope, r *providers.CreateUser) error {
	switch e.Shape {
	case providers.ShapeTenant:
		u, err := wire.DecodeTenantUser(e.Payload, wire.Limits{})
		if err != nil {
			return err
		}
		u.Fill(r)
	case providers.ShapeOrganization:
		u, err := wire.DecodeOrganizationUser(e.Payload, wire.Limits{})
		if err != nil {
			return err
		}
		u.Fill(r)
		r.AuthProvider = wire.LocalAuth
	default:
		return &providers.Error{Class: providers.ErrMalformed, Reason: "shape", Message: "The event is not a command."}
	}
	return nil
}

func failed(t *providers.Trace, err error) error {
	if failure, ok := errors.AsType[*providers.Error](err); ok {
		t.Add(providers.Check{Step: "verify", Name: failure.Reason, Detail: failure.Message})
	}
	return err
}
