package oidc

import (
	"context"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/keyring"
	"github.com/idpsync/idpsync/providers/wire"
)

var _ providers.TokenVerifier = (*Provider)(nil)

// VerifyToken implements providers.TokenVerifier: a command may be proved by an access token or an ID token of a source
// that has commands: true, with every check but that of our own document and those of nonce and access token. A login's
// token is none: the token must be for one of the source's command_audiences, which no login has, or have the claim that
// the source names.
func (p *Provider) VerifyToken(ctx context.Context, token string, at time.Time, trace *providers.Trace) (providers.Principal, error) {
	if err := ctx.Err(); err != nil {
		return providers.Principal{}, keyring.Cancelled(err)
	}
	v := verification{provider: p, event: &providers.Envelope{StoredAt: at, Trace: trace}, command: true}
	if !p.own.Commands {
		return providers.Principal{}, v.unverified(checkCommands, "tokens of this source may not carry commands", "set commands: true at the source if they may")
	}
	if p.own.CommandsClaim == "" && len(p.own.CommandAudiences) == 0 {
		return providers.Principal{}, v.unverified(checkCommands, "nothing tells this source's tokens for commands from those of logins",
			"set command_audiences or commands_claim at the source, apply, and replay")
	}
	v.passed(checkCommands, "")
	if err := v.prove(ctx, wire.OIDCLogin{IDToken: token}); err != nil {
		return providers.Principal{}, err
	}
	if err := v.checkCommandClaim(); err != nil {
		return providers.Principal{}, err
	}
	return p.principal(v.subject), nil
}
