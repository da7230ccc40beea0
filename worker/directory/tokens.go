package directory

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/wire"
)

var _ providers.Tokens = (*Cache)(nil)

// VerifyToken implements [providers.Tokens]: it hands the token to the tenant's OIDC source that has commands: true and
// issues tokens under the iss claim of this one. The claim is read unproved and only chooses who is asked, so that a
// foreign token makes no source fetch keys. Of several such sources, which differ in their audiences, the first that
// accepts the token wins.
func (d *Cache) VerifyToken(ctx context.Context, tenant, token string, at time.Time, trace *providers.Trace) (providers.Principal, error) {
	var err error = &providers.Error{
		Class: providers.ErrUnverified, Reason: providers.ReasonCredentialUnknown, Message: "The credential is not known.",
		Hint: "A JWT is a credential only when it comes from an OIDC source of the tenant that has commands: true.",
	}
	issuer, ok := issuerOf(token)
	if !ok {
		return providers.Principal{}, err
	}
	for _, src := range d.Current().Tenant(tenant).tokenSources(issuer) {
		verifier, ok := src.Provider.(providers.TokenVerifier)
		if !ok {
			return providers.Principal{}, &providers.Error{
				Class: providers.ErrUnavailable, Reason: "source_misconfigured", Message: "The source of the token cannot work at the moment.", Err: src.Err,
			}
		}
		p, failure := verifier.VerifyToken(ctx, token, at, trace)
		if failure == nil {
			return p, nil
		}
		if !errors.Is(err, providers.ErrUnavailable) { // one that has to wait may accept the token yet
			err = failure
		}
	}
	return providers.Principal{}, err
}

// tokenSources returns the sources whose tokens may carry commands and are issued under the given name, sorted by name.
func (t *Tenant) tokenSources(issuer string) []*Source {
	if t == nil {
		return nil
	}
	var out []*Source
	for _, s := range t.sources {
		if s.Kind == providers.KindOIDC && s.Commands && s.Issuer == issuer {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *Source) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// issuerOf reads the iss claim of a compact JWS, unproved.
func issuerOf(token string) (string, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", false
	}
	claims, err := wire.Claims(payload, wire.Limits{Size: 16 << 10})
	if err != nil {
		return "", false
	}
	iss, ok := claims["iss"].(string)
	return iss, ok && iss != ""
}
