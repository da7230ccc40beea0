package oidc

import (
	"context"
	"encoding/json"
	"time"

	"github.com/idpsync/idpsync/providers"
)

var _ providers.TokenVerifier = (*Provider)(nil)

// VerifyToken implements providers.TokenVerifier: the token passes the checks of a login's ID token. Whether the source
// has commands: true is for the caller to look at.
func (p *Provider) VerifyToken(ctx context.Context, token string, at time.Time, trace *providers.Trace) (providers.Principal, error) {
	if err := ctx.Err(); err != nil {
		return providers.Principal{}, cancelled(err)
	}
	payload, err := json.Marshal(map[string]string{"id_token": token})
	if err != nil {
		return providers.Principal{}, &providers.Error{Class: providers.ErrMalformed, Reason: checkJSON.name, Message: "the token is not text", Err: err}
	}
	e := providers.Envelope{Tenant: p.source.Tenant, Source: p.source.Name, Payload: payload, StoredAt: at, Trace: trace}
	v := verification{provider: p, event: &e}
	if err := v.run(ctx); err != nil {
		return providers.Principal{}, err
	}
	return providers.Principal{
		Kind: providers.PrincipalSource, ID: p.source.Name, Tenant: p.source.Tenant, Name: v.subject, Grants: p.source.Grants,
	}, nil
}
