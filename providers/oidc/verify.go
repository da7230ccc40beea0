package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"slices"
	"strconv"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/keyring"
	"github.com/idpsync/idpsync/providers/wire"
)

// A verification is the way of one event through the checks. It is the key set that go-oidc asks, too, so that what
// went wrong is told beside go-oidc's return value, which flattens errors to text.
type verification struct {
	provider *Provider
	event    *providers.Envelope
	token    token
	failure  error          // of VerifySignature
	claims   map[string]any // set once the signature holds and the payload is strict
	subject  string
	moment   providers.Moment
	command  bool // the token carries a command in place of a login
	access   bool // it says that it is an access token (RFC 9068)
}

var _ goidc.KeySet = (*verification)(nil)

func (v *verification) run(ctx context.Context) error {
	login, err := wire.DecodeOIDCLogin(v.event.Payload, wire.Limits{Size: maxEvent, Depth: maxDepth})
	if err != nil {
		if failure, ok := errors.AsType[*providers.Error](err); ok {
			return v.failed(checkJSON, failure)
		}
		return v.malformed(checkJSON, "the event cannot be read")
	}
	v.passed(checkJSON, "")
	return v.prove(ctx, login)
}

// prove does the checks from 2 on.
func (v *verification) prove(ctx context.Context, login wire.OIDCLogin) error {
	if err := v.read(login.IDToken); err != nil {
		return err
	}
	v.moment = providers.NewMoment(v.event.StoredAt, &v.provider.source)
	config := v.provider.config
	config.SkipClientIDCheck = config.SkipClientIDCheck || v.command // those of commands are others
	idToken, libraryErr := goidc.NewVerifier(v.provider.source.Issuer, v, &config).Verify(ctx, login.IDToken)
	if v.failure != nil {
		return v.failure
	}
	if v.claims == nil { // it had an objection before it asked for the signature
		return v.refused(libraryErr)
	}
	if err := v.claimedType(); err != nil {
		return err
	}
	if err := v.checkParties(); err != nil {
		return err
	}
	if err := v.checkTimes(); err != nil {
		return err
	}
	if err := v.checkSubject(); err != nil {
		return err
	}
	if login.Nonce != nil {
		nonce, ok := v.claims["nonce"].(string)
		if !ok || subtle.ConstantTimeCompare([]byte(nonce), []byte(*login.Nonce)) != 1 {
			return v.unverified(checkNonce, "nonce is not the one of the login", "")
		}
		v.passed(checkNonce, "")
	}
	if libraryErr != nil {
		return v.refused(libraryErr)
	}
	if login.AccessToken != nil {
		if _, ok := v.claims["at_hash"].(string); !ok {
			return v.unverified(checkTokenHash, "at_hash is required when the event has an access token", "leave access_token out of the event, or have the issuer send at_hash")
		}
		if err := idToken.VerifyAccessToken(*login.AccessToken); err != nil {
			return v.unverified(checkTokenHash, "at_hash is not that of the access token", "")
		}
		v.passed(checkTokenHash, "")
	}
	v.passed(checkLibrary, "")
	return v.moment.Wait(v.provider.now()) // last, so that nothing waits that is refused in the end
}

// refused is for what go-oidc alone objects to. Its text may quote claims, so it is not passed on.
func (v *verification) refused(error) error {
	return v.unverified(checkLibrary, "go-oidc refuses the ID token", "a claim of OpenID Connect has another type than its standard says")
}

// VerifySignature implements go-oidc's KeySet. The payload is scanned here, between the signature and the moment at
// which go-oidc decodes it with a decoder that lets the last of two equal names win.
func (v *verification) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	if jwt != v.token.raw {
		v.failure = v.malformed(checkForm, "the ID token has two readings")
		return nil, v.failure
	}
	if v.failure = v.checkKey(ctx); v.failure != nil {
		return nil, v.failure
	}
	claims, err := wire.ClaimsRead(v.token.payload, wire.Limits{Size: maxToken, Depth: maxDepth}, v.provider.reads)
	if err != nil {
		failure := &providers.Error{Class: providers.ErrMalformed, Message: "the payload of the ID token cannot be read"}
		c := checkClaims
		if e, ok := errors.AsType[*providers.Error](err); ok {
			failure.Field, failure.Message = e.Field, e.Message
			if e.Reason == wire.ReasonDuplicate {
				c = checkDuplicate
			}
		}
		v.failure = v.failed(c, failure)
		return nil, v.failure
	}
	v.passed(checkClaims, "")
	v.passed(checkDuplicate, "")
	v.claims = claims
	return v.token.payload, nil
}

// checkKey does checks 8 to 11.
func (v *verification) checkKey(ctx context.Context) error {
	key, err := v.provider.keys.verify(ctx, &v.token, keyring.Event{StoredAt: v.event.StoredAt, ByBroker: v.event.Door == providers.DoorStream})
	if failure, ok := errors.AsType[*providers.Error](err); ok {
		return v.failed(check{name: failure.Reason, spec: specOf(failure.Reason)}, failure)
	}
	if err != nil {
		return err
	}
	if v.event.Trace.Enabled() {
		v.passed(checkKey, "kid "+strconv.Quote(key.ID)+", first seen "+stamp(key.FirstSeen))
		v.passed(checkSuitable, "")
		v.passed(checkSignature, "")
		v.passed(checkBanned, "")
		detail := "still published when last asked"
		if !key.RetiredAt.IsZero() {
			detail = "retired " + stamp(key.RetiredAt) + ", after the event was stored"
		}
		v.passed(checkRetired, detail)
		v.passed(checkSeen, "last seen "+stamp(key.LastSeen)+", stored "+stamp(v.event.StoredAt))
	}
	return nil
}

func specOf(reason string) string {
	for _, c := range []check{checkKey, checkSuitable, checkSignature, checkRetired, checkSeen} {
		if c.name == reason {
			return c.spec
		}
	}
	return ""
}

// checkParties does checks 14 to 16: who issued the token, for whom.
func (v *verification) checkParties() error {
	src := &v.provider.source
	if iss, ok := v.claims["iss"].(string); !ok || iss != src.Issuer {
		return v.unverified(checkIssuerName, "iss is not the source's issuer", "compare it with the source's issuer letter by letter; a slash at the end counts")
	}
	v.passed(checkIssuerName, src.Issuer)
	wanted := v.audiences()
	aud, ok := audiences(v.claims["aud"])
	ours := slices.ContainsFunc(aud, func(a string) bool { return slices.Contains(wanted, a) })
	if !ok || !ours {
		return v.unverified(checkAudience, "aud has none of the source's audiences", "the source's audiences are the client ids that logins go through; those of commands are its command_audiences")
	}
	v.passed(checkAudience, "")
	if v.access { // its client is named by client_id, and other resources may be among its audiences
		return nil
	}
	azp, present := v.claims["azp"]
	switch {
	case present && azp != nil:
		if s, ok := azp.(string); !ok || !slices.Contains(wanted, s) {
			return v.unverified(checkParty, "azp names another client", "a client of the same issuer got this token; add it to the source's audiences if its logins are welcome")
		}
	case slices.ContainsFunc(aud, func(a string) bool { return !slices.Contains(wanted, a) }):
		return v.unverified(checkParty, "aud has other audiences too, and azp is missing", "")
	}
	v.passed(checkParty, "")
	return nil
}

// audiences reads aud: one string, or a list of strings (RFC 7519 section 4.1.3).
func audiences(v any) ([]string, bool) {
	switch v := v.(type) {
	case string:
		return []string{v}, true
	case []any:
		list := make([]string, len(v))
		for i, item := range v {
			s, ok := item.(string)
			if !ok {
				return nil, false
			}
			list[i] = s
		}
		return list, true
	}
	return nil, false
}

// checkTimes does checks 17 to 19 at the moment of the token.
func (v *verification) checkTimes() error {
	at := v.moment.Stored()
	exp, ok := numericDate(v.claims["exp"])
	if !ok {
		return v.unverified(checkExpiry, "exp must be there, as a number", "")
	}
	if !v.moment.Ends(exp) {
		return v.unverified(checkExpiry, "the token expired "+stamp(exp)+"; the event was stored "+stamp(at), "publish a login within the lifetime of its token")
	}
	trace := v.event.Trace.Enabled()
	if trace {
		v.passed(checkExpiry, "exp "+stamp(exp)+", stored "+stamp(at))
	}
	if nbf := v.claims["nbf"]; nbf != nil { // null is absent
		t, ok := numericDate(nbf)
		if !ok {
			return v.unverified(checkNotBefore, "nbf must be a number", "")
		}
		if !v.moment.Begins(t, checkNotBefore.name) {
			return v.unverified(checkNotBefore, "the token is valid from "+stamp(t)+"; the event was stored "+stamp(at), compareClocks)
		}
	}
	v.passed(checkNotBefore, "")
	iat, ok := numericDate(v.claims["iat"])
	if !ok {
		return v.unverified(checkIssuedAt, "iat must be there, as a number", "")
	}
	if !v.moment.Begins(iat, checkIssuedAt.name) {
		return v.unverified(checkIssuedAt, "the token was issued "+stamp(iat)+"; the event was stored "+stamp(at), compareClocks)
	}
	if trace {
		v.passed(checkIssuedAt, "iat "+stamp(iat))
	}
	if !v.moment.Reached() {
		return v.unverified(checkExpiry, "the token expires "+stamp(exp)+", before it is valid", "")
	}
	if life, most := exp.Sub(iat), v.provider.own.tokenLife(); life > most {
		return v.unverified(checkLife, "the token is good for "+life.String()+", which is longer than the source allows, "+most.String(),
			"let the issuer make tokens that end sooner, or raise max_token_life of the source")
	}
	v.passed(checkLife, "")
	return nil
}

const compareClocks = "compare the clocks of issuer and broker; clock_skew of the source is how far they may lie apart"

// numericDate reads seconds since 1970, possibly with a fraction (RFC 7519 section 2), up to the year 9999. Zero is a time in the past: old Keycloak writes it where it means none.
func numericDate(v any) (time.Time, bool) {
	const limit = 253402300800
	switch n := v.(type) {
	case int64:
		if n >= 0 && n < limit {
			return time.Unix(n, 0), true
		}
	case float64:
		if n >= 0 && n < limit {
			whole := int64(n)
			return time.Unix(whole, int64((n-float64(whole))*1e9)), true
		}
	}
	return time.Time{}, false
}

// checkSubject does check 20.
func (v *verification) checkSubject() error {
	const most = 255
	sub, ok := v.claims["sub"].(string)
	if !ok || sub == "" || len(sub) > most {
		return v.unverified(checkSubject, "sub must be a string of 1 to 255 characters", "")
	}
	for i := 0; i < len(sub); i++ {
		if sub[i] < 0x20 || sub[i] > 0x7e {
			return v.unverified(checkSubject, "sub must be printable ASCII",
				"have the issuer take sub from an id that never changes, not from a user name; authentik calls that the subject mode of a provider")
		}
	}
	v.passed(checkSubject, "")
	v.subject = sub
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
