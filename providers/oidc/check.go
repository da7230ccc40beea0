package oidc

import (
	"github.com/idpsync/idpsync/providers"
)

// A check is one step of the verification: the reason of its failure, and what asks for it.
type check struct {
	name string
	spec string
}

// The checks, in their order.
var (
	checkJSON       = check{"json", ""}
	checkCommands   = check{"commands", ""}
	checkClaim      = check{"commands_claim", ""}
	checkSize       = check{"token_size", ""}
	checkForm       = check{"token_form", "RFC 7515 section 7.1"}
	checkHeader     = check{"header", "RFC 7515 section 4"}
	checkCritical   = check{"critical_header", "RFC 7515 section 4.1.11"}
	checkAlgorithm  = check{"algorithm", "RFC 8725 section 3.1"}
	checkType       = check{"token_type", "RFC 8725 section 3.11"}
	checkKey        = check{"unknown_key", "OpenID Connect Core 1.0 section 10.1"}
	checkSuitable   = check{"unsuitable_key", "RFC 8725 section 3.5"}
	checkSignature  = check{"signature", "RFC 7515 section 5.2"}
	checkRetired    = check{"retired_key", "OpenID Connect Core 1.0 section 10.1.1"}
	checkSeen       = check{"key_not_seen", "OpenID Connect Core 1.0 section 10.1.1"}
	checkBanned     = check{"key_banned", ""}
	checkClaims     = check{"claims", "RFC 7519 section 7.2"}
	checkDuplicate  = check{"duplicate_claim", "RFC 7519 section 4"}
	checkIssuerName = check{"issuer", "OpenID Connect Core 1.0 section 3.1.3.7 (2)"}
	checkAudience   = check{"audience", "OpenID Connect Core 1.0 section 3.1.3.7 (3)"}
	checkParty      = check{"authorized_party", "OpenID Connect Core 1.0 section 3.1.3.7 (4, 5)"}
	checkExpiry     = check{"expired", "OpenID Connect Core 1.0 section 3.1.3.7 (9)"}
	checkNotBefore  = check{"not_yet_valid", "RFC 7519 section 4.1.5"}
	checkIssuedAt   = check{"issued_at", "OpenID Connect Core 1.0 section 2"}
	checkLife       = check{"token_life", ""}
	checkTokenID    = check{"token_id", "RFC 7519 section 4.1.7"}
	checkSubject    = check{"subject", "OpenID Connect Core 1.0 section 2"}
	checkNonce      = check{"nonce", "OpenID Connect Core 1.0 section 3.1.3.7 (11)"}
	checkTokenHash  = check{"access_token_hash", "OpenID Connect Core 1.0 section 3.1.3.8"}
	checkLibrary    = check{"id_token", "OpenID Connect Core 1.0 section 3.1.3.7"}
)

const stepVerify = "verify"

// passed records that c held.
func (v *verification) passed(c check, detail string) {
	v.event.Trace.Add(providers.Check{Step: stepVerify, Name: c.name, OK: true, Detail: detail, Spec: c.spec})
}

// failed records that c did not hold, and returns err with the reason of c unless it has its own.
func (v *verification) failed(c check, err *providers.Error) *providers.Error {
	if err.Reason == "" {
		err.Reason = c.name
	}
	v.event.Trace.Add(providers.Check{Step: stepVerify, Name: err.Reason, OK: false, Detail: err.Message, Spec: c.spec})
	return err
}

// malformed and unverified make the failure of c.
func (v *verification) malformed(c check, message string) *providers.Error {
	return v.failed(c, &providers.Error{Class: providers.ErrMalformed, Message: message})
}

func (v *verification) unverified(c check, message, hint string) *providers.Error {
	return v.failed(c, &providers.Error{Class: providers.ErrUnverified, Message: message, Hint: hint})
}
