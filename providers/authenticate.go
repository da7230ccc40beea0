package providers

import (
	"context"
	"crypto/subtle"
	"errors"
	"strings"
	"time"
)

// Headers by which commands and feeds prove themselves.
const (
	HeaderTenant        = "X-Tenant-ID"
	HeaderAuthorization = "Authorization" // Bearer <token>
	HeaderAPIKey        = "X-API-Key"
)

// Reasons of the checks of [Authentication].
const (
	ReasonTenantHeader        = "tenant_header"
	ReasonTenantMismatch      = "tenant_mismatch"
	ReasonCredentialMissing   = "credential_missing"
	ReasonCredentialAmbiguous = "credential_ambiguous"
	ReasonCredentialUnknown   = "credential_unknown" // no such credential, or not its secret: they look alike
	ReasonCredentialRevoked   = "credential_revoked"
	ReasonCredentialExpired   = "credential_expired"
	ReasonCredentialPurpose   = "credential_purpose" // it was made for something else
	ReasonCredentialStore     = "credential_store"   // the credentials cannot be read now
)

// Authentication proves who sent a command or a feed event, from its headers alone.
type Authentication struct {
	Credentials   Credentials
	Tokens        Tokens  // nil: only credentials are accepted
	Purpose       Purpose // what the sender wants to do; a JWT is good for commands alone
	RequireTenant bool    // X-Tenant-ID must be there
}

// OfCommands is how the senders of commands of the given shape are proved: by front doors before the body is there, and
// when a command is verified.
func OfCommands(env Environment, shape Shape) Authentication {
	return Authentication{Credentials: env.Credentials, Tokens: env.Tokens, Purpose: PurposeCommands, RequireTenant: shape == ShapeTenant}
}

// Principal makes these checks, in this order:
//
//  1. X-Tenant-ID names the tenant of the envelope, before anything is looked up.
//  2. There is one token, in Authorization or X-API-Key.
//  3. There is a credential of its id, and the secret is its secret. Both failures look alike.
//  4. It is not revoked. A revocation holds for commands stored before it and not yet processed too.
//  5. It had not expired when the event was stored.
//  6. It belongs to the tenant of the envelope.
//  7. It was made for the purpose, or before credentials had one.
//
// For commands, a token in the form of a JWT is proved by Tokens in place of 3 to 7.
func (a Authentication) Principal(ctx context.Context, e Envelope) (Principal, error) {
	if err := CheckTenant(e.Header, e.Tenant, a.RequireTenant); err != nil {
		return Principal{}, traced(e.Trace, err)
	}
	passed(e.Trace, ReasonTenantHeader)
	token, err := bearer(e.Header)
	if err != nil {
		return Principal{}, traced(e.Trace, err)
	}
	passed(e.Trace, ReasonCredentialMissing)
	if a.Tokens != nil && a.Purpose == PurposeCommands && looksLikeJWT(token) {
		p, err := a.Tokens.VerifyToken(ctx, e.Tenant, token, e.StoredAt, e.Trace)
		if err != nil {
			return Principal{}, traced(e.Trace, err)
		}
		return p, nil
	}
	c, err := prove(ctx, a.Credentials, token)
	if err != nil {
		return Principal{}, traced(e.Trace, err)
	}
	passed(e.Trace, ReasonCredentialUnknown)
	if err := standing(c, e.StoredAt); err != nil {
		return Principal{}, traced(e.Trace, err)
	}
	passed(e.Trace, ReasonCredentialRevoked)
	passed(e.Trace, ReasonCredentialExpired)
	if !sameUUID(c.Tenant, e.Tenant) {
		return Principal{}, traced(e.Trace, &Error{
			Class: ErrTenantMismatch, Reason: ReasonTenantMismatch,
			Message: "The credential belongs to another tenant.",
			Hint:    "Send the command to the tenant of its credential, or use a credential of this tenant.",
		})
	}
	passed(e.Trace, ReasonTenantMismatch)
	if !c.Purpose.serves(a.Purpose) {
		return Principal{}, traced(e.Trace, &Error{
			Class: ErrUnverified, Reason: ReasonCredentialPurpose,
			Message: "The credential was made for another purpose.",
			Hint:    "idpsync credential list shows what each is for; idpsync credential create --for " + string(a.Purpose) + " makes one for this. Have the event sent again with it.",
		})
	}
	passed(e.Trace, ReasonCredentialPurpose)
	a.Credentials.Used(c.ID, e.StoredAt)
	return Principal{Kind: PrincipalCredential, ID: c.ID, Tenant: c.Tenant, Name: c.Name, Grants: c.Grants}, nil
}

// Tenant returns the tenant that a request without a tenant of its own is meant for: the one of X-Tenant-ID, else the one
// of its credential, which must be proved. It is for front doors whose path names no tenant; the request is authenticated
// all the same afterwards.
func (a Authentication) Tenant(ctx context.Context, h Header) (string, error) {
	switch values := h.Values(HeaderTenant); {
	case len(values) == 1:
		id, ok := ParseUUID(values[0])
		if !ok {
			return "", errTenantForm()
		}
		return id, nil
	case len(values) > 1:
		return "", errTenantTwice()
	case a.RequireTenant:
		return "", errTenantMissing()
	}
	token, err := bearer(h)
	if err != nil {
		return "", err
	}
	if a.Tokens != nil && looksLikeJWT(token) {
		return "", errTenantMissing()
	}
	c, err := prove(ctx, a.Credentials, token)
	if err != nil {
		return "", err
	}
	return c.Tenant, nil
}

// CheckTenant reports whether headers name another tenant than the given one, which is that of the subject. It needs no
// proof of anything, so that its answer tells an outsider nothing but what they wrote themselves.
func CheckTenant(h Header, tenant string, required bool) error {
	values := h.Values(HeaderTenant)
	switch {
	case len(values) > 1:
		return errTenantTwice()
	case len(values) == 0 && required:
		return errTenantMissing()
	case len(values) == 0:
		return nil
	}
	id, ok := ParseUUID(values[0])
	if !ok {
		return errTenantForm()
	}
	if !sameUUID(id, tenant) {
		return &Error{
			Class: ErrTenantMismatch, Reason: ReasonTenantMismatch, Field: HeaderTenant,
			Message: "The header X-Tenant-ID names another tenant than the one that the request was sent to.",
			Hint:    "Send it on the subject of the tenant that X-Tenant-ID names.",
		}
	}
	return nil
}

func errTenantMissing() error {
	return &Error{Class: ErrMalformed, Reason: ReasonTenantHeader, Field: HeaderTenant, Message: "The header X-Tenant-ID is required."}
}

func errTenantTwice() error {
	return &Error{Class: ErrMalformed, Reason: ReasonTenantHeader, Field: HeaderTenant, Message: "The header X-Tenant-ID appears twice."}
}

func errTenantForm() error {
	return &Error{Class: ErrMalformed, Reason: ReasonTenantHeader, Field: HeaderTenant, Message: "The header X-Tenant-ID is not a UUID of 36 characters."}
}

// bearer returns the only token that the headers hold. RFC 6750 section 2 allows one way of sending it at a time.
func bearer(h Header) (string, error) {
	authorization, keys := h.Values(HeaderAuthorization), h.Values(HeaderAPIKey)
	switch {
	case len(authorization)+len(keys) == 0:
		return "", errMissing("The request holds no credential: send Authorization: Bearer <token>, or X-API-Key.")
	case len(authorization)+len(keys) > 1:
		return "", &Error{Class: ErrMalformed, Reason: ReasonCredentialAmbiguous, Field: HeaderAuthorization, Message: "The request holds more than one credential; send one."}
	case len(keys) == 1:
		if keys[0] == "" {
			return "", errMissing("The header X-API-Key is empty.")
		}
		return keys[0], nil
	}
	scheme, token, _ := strings.Cut(authorization[0], " ")
	token = strings.TrimLeft(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", errMissing("The header Authorization must have the form Bearer <token>.")
	}
	return token, nil
}

// HoldsJWT reports whether the only token of the headers has the outward form of a JWT.
func HoldsJWT(h Header) bool {
	token, err := bearer(h)
	return err == nil && looksLikeJWT(token)
}

func errMissing(message string) error {
	return &Error{Class: ErrUnverified, Reason: ReasonCredentialMissing, Message: message}
}

// prove returns the credential that the token is the secret of.
func prove(ctx context.Context, credentials Credentials, token string) (Credential, error) {
	unknown := &Error{
		Class: ErrUnverified, Reason: ReasonCredentialUnknown, Message: "The credential is not known.",
		Hint: "idpsync credential list shows the credentials of a tenant; idpsync credential create makes one.",
	}
	id, hash, err := ParseToken(token)
	if err != nil {
		return Credential{}, unknown
	}
	c, err := credentials.Credential(ctx, id)
	if errors.Is(err, ErrNoCredential) {
		return Credential{}, unknown
	}
	if err != nil {
		return Credential{}, &Error{Class: ErrUnavailable, Reason: ReasonCredentialStore, Message: "The credentials cannot be read at the moment.", Err: err}
	}
	if subtle.ConstantTimeCompare(hash, c.SecretHash) != 1 {
		return Credential{}, unknown
	}
	return c, nil
}

// standing reports why a proved credential does not count any more.
func standing(c Credential, stored time.Time) error {
	if !c.RevokedAt.IsZero() {
		return &Error{
			Class: ErrUnverified, Reason: ReasonCredentialRevoked, Message: "The credential was revoked.",
			Hint: "Commands of a revoked credential never take effect; have them sent again with another one.",
		}
	}
	if !c.ExpiresAt.IsZero() && !stored.Before(c.ExpiresAt) {
		return &Error{
			Class: ErrUnverified, Reason: ReasonCredentialExpired, Message: "The credential had expired when the request was received.",
			Hint: "Make another one with idpsync credential create, and have the command sent again with it.",
		}
	}
	return nil
}

// looksLikeJWT reports whether token has the outward form of a compact JWS (RFC 7515 section 7.1), which no token of ours has.
func looksLikeJWT(token string) bool { return strings.Count(token, ".") == 2 }

func passed(t *Trace, name string) { t.Add(Check{Step: "verify", Name: name, OK: true}) }

// traced records the failed check of err, unless the one who failed has done so.
func traced(t *Trace, err error) error {
	failure, ok := errors.AsType[*Error](err)
	if !ok || !t.Enabled() {
		return err
	}
	for _, c := range t.Checks() {
		if c.Name == failure.Reason && !c.OK {
			return err
		}
	}
	t.Add(Check{Step: "verify", Name: failure.Reason, Detail: failure.Message})
	return err
}

// ParseUUID returns the lower-case form of a UUID in its text form of 36 characters; other forms are refused.
func ParseUUID(s string) (string, bool) {
	if len(s) != 36 {
		return "", false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return "", false
			}
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F':
		default:
			return "", false
		}
	}
	return strings.ToLower(s), true
}

func sameUUID(a, b string) bool {
	x, ok := ParseUUID(a)
	y, also := ParseUUID(b)
	return ok && also && x == y
}
