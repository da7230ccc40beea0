package providers

import (
	"context"
	"time"
)

// A Key is one signing key or certificate that a source's issuer has published, with the times at which it was known.
// Thumbprint and Variant together are unique within an issuer.
type Key struct {
	ID         string // JWK kid, or "" ; for a certificate the hex SHA-256 of its DER form
	Thumbprint string // RFC 7638 thumbprint (base64url), or the certificate's SHA-256 (hex)
	Variant    string // tells the entries of one JWK apart: they differ in kid, alg, use or key_ops; "" for a certificate
	PublicKey  string // names the public key: RFC 7638 thumbprint, or SHA-256 (hex) of a certificate's SubjectPublicKeyInfo
	Algorithm  string // JWK alg, or ""
	Material   []byte // public JWK as JSON, or certificate in DER form
	FirstSeen  time.Time
	LastSeen   time.Time
	RetiredAt  time.Time // zero while published; else when it was first found missing from a successful answer
}

// A KeyBan ends the use of a public key of an issuer, for every source and tenant and whatever is published.
type KeyBan struct {
	PublicKey string
	From      time.Time // events stored before are not concerned; zero: all are
}

// A KeyHistory is what is known of the keys of one issuer by one source.
type KeyHistory struct {
	Keys       []Key
	Bans       []KeyBan
	AskedAt    time.Time // when the newest answer was asked for; zero: there is none
	ValidUntil time.Time // what the newest answer says of itself; zero: nothing
	Revision   int64     // grows with each change
}

// A KeyObservation is what an issuer answered.
type KeyObservation struct {
	Keys       []Key     // exactly these are published; their times are not looked at
	At         time.Time // when the issuer was asked, by Clock
	ValidUntil time.Time // zero: it does not say
}

// Keys is the history of the keys of every issuer, kept so that an event that was signed before a rotation still
// verifies. Implementations are safe for concurrent use.
type Keys interface {
	// Clock returns the time now by the clock that observations are stamped with, whichever worker makes them: one that is
	// not the worker's own, since one fast clock would have all workers refuse what is signed with keys published later.
	// It is not before atLeast, the time of an event that was stored already.
	Clock(ctx context.Context, atLeast time.Time) (time.Time, error)
	// Keys returns all that was ever observed for issuer by the source, and the issuer's bans. Nothing is not an error.
	Keys(ctx context.Context, tenant, source, issuer string) (KeyHistory, error)
	// Observe records that issuer published exactly these keys at the time At: unknown ones are added, known ones have
	// LastSeen moved to it and RetiredAt cleared, and those not among them have RetiredAt set to it unless it is set.
	// An observation older than the last one changes nothing that is newer. Workers may observe at the same time.
	Observe(ctx context.Context, tenant, source, issuer string, o KeyObservation) error
}

// A KeyHolder is a [Provider] that proves events by keys which its issuer publishes. Its methods are safe for concurrent
// use with Verify.
type KeyHolder interface {
	// ReloadKeys takes over what the history knows of the keys now, other workers' observations and bans included.
	ReloadKeys(ctx context.Context) error
	// ReadKeys asks the issuer now, unless it may not be asked yet, and waits for the answer.
	ReadKeys(ctx context.Context) error
	// KeysReadAt returns under which issuer the history is kept, and when the newest answer in it was asked for; the zero
	// time when there is none, or the issuer is never asked.
	KeysReadAt() (issuer string, at time.Time)
}

// Defaults of what a source believes of keys.
const (
	DefaultKeyStaleness = 10 * time.Minute // KeyStaleness of a [Source] that sets none
	DefaultKeyGrace     = time.Hour        // KeyGrace
)
