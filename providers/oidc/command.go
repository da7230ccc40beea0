package oidc

import (
	"context"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/keyring"
	"github.com/idpsync/idpsync/providers/wire"
)

var _ providers.TokenVerifier = (*Provider)(nil)

// VerifyToken implements providers.TokenVerifier: a command may be proved by an ID Token of a source that has
// commands: true, with every check but that of our own document and those of nonce and access token.
func (p *Provider) VerifyToken(ctx context.Context, token string, at time.Time, trace *providers.Trace) (providers.Principal, error) {
	if err := ctx.Err(); err != nil {
		return providers.Principal{}, keyring.Cancelled(err)
	}
	v := verification{provider: p, event: &providers.Envelope{StoredAt: at, Trace: trace}}
	if !p.source.Commands {
		return providers.Principal{}, v.unverified(checkCommands, "tokens of this source may not carry commands", "set commands: true at the source if they may")
	}
	v.passed(checkCommands, "")
	if err := v.prove(ctx, wire.OIDCLogin{IDToken: token}); err != nil {
		return providers.Principal{}, err
	}
	return p.principal(v.subject), nil
}
