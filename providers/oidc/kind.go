package oidc

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/idpsync/idpsync/providers"
)

// One issuer signs tokens of several kinds with one key: ID tokens, access tokens, logout tokens, refresh tokens. Only an
// ID token is a login, and only an ID token or an access token (RFC 9068) stands in place of a credential.

// headerType does check 7 as far as the header goes.
func (v *verification) headerType(typ string) error {
	switch typ = strings.TrimPrefix(strings.ToLower(typ), "application/"); {
	case typ == "" || typ == "jwt":
	case typ == "at+jwt" && v.command:
		v.access = true
	default:
		return v.unverified(checkType, "the token is not an ID token but of another type", "send the id_token of the token response")
	}
	return nil
}

// claimedType does the rest of check 7: what the claims say of the token's kind, where its header says nothing.
func (v *verification) claimedType() error {
	if events, ok := v.claims["events"]; ok && events != nil {
		return v.unverified(checkType, "the token is a security event or a logout token: it has the claim events", "send the id_token of the token response")
	}
	const hint = "send the id_token of the token response"
	if use, ok := v.claims["token_use"]; ok && use != nil && use != "id" { // Amazon Cognito
		return v.unverified(checkType, "the token is not an ID token: its claim token_use says so", hint)
	}
	for _, name := range [...]string{"typ", "token_type"} { // Keycloak and others
		if word, ok := v.claims[name].(string); ok && slices.Contains(otherKinds, strings.ToLower(word)) {
			return v.unverified(checkType, "the token is not an ID token: its claim "+name+" says so", hint)
		}
	}
	if v.access {
		for _, name := range [...]string{"client_id", "jti"} {
			if s, ok := v.claims[name].(string); !ok || s == "" {
				return v.unverified(checkType, "an access token must have the claim "+name+" (RFC 9068 section 2.2)", "let the issuer make access tokens in the form of RFC 9068")
			}
		}
	}
	v.passed(checkType, "")
	return nil
}

// otherKinds are words by which issuers call tokens in their claims that are no ID tokens.
var otherKinds = []string{"bearer", "dpop", "at+jwt", "access", "access_token", "refresh", "refresh_token", "offline", "logout", "logout+jwt"}

// audiences are those of which the token must be for one.
func (v *verification) audiences() []string {
	own := &v.provider.own
	switch {
	case !v.command:
		return own.Audiences
	case own.CommandsClaim == "": // then the audience alone tells a command's token from a login's
		return own.CommandAudiences
	}
	return slices.Concat(own.CommandAudiences, own.Audiences)
}

// checkCommandClaim asks a token that carries a command for the claim that the source names.
func (v *verification) checkCommandClaim() error {
	name, value, valued := strings.Cut(v.provider.own.CommandsClaim, "=")
	if name == "" {
		return nil
	}
	claim := v.claims[name]
	holds := claim == true
	if valued {
		holds = claim == value
		if list, ok := claim.([]any); ok {
			holds = slices.Contains(list, any(value))
		}
	}
	if !holds {
		return v.unverified(checkClaim, "the token lacks the claim that lets it carry commands", "commands_claim of the source says which claim its issuer must set, for administrators alone")
	}
	v.passed(checkClaim, "")
	return nil
}

// usedID makes the entry that keeps a token from being used by another event, for a source whose tokens are good for one.
// It is kept until no event that was stored within the token's life can come up for the first time.
func (v *verification) usedID() (*providers.UsedID, error) {
	src := &v.provider.source
	if !v.provider.own.SingleUse {
		return nil, nil
	}
	id, ok := v.claims["jti"].(string)
	if !ok || id == "" {
		return nil, v.unverified(checkTokenID, "the token has no jti, and the source accepts each token once", "let the issuer set jti, or take single_use from the source")
	}
	v.passed(checkTokenID, "")
	exp, _ := numericDate(v.claims["exp"]) // it was checked
	age := src.MaxEventAge
	if age == 0 {
		age = providers.DefaultMaxEventAge
	}
	sum := sha256.Sum256([]byte(src.Issuer + "\x00" + id))
	return &providers.UsedID{ID: "oidc:" + hex.EncodeToString(sum[:]), Until: exp.Add(providers.MaxClockSkew + age)}, nil
}
