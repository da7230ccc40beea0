package rules

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/wire"
	"github.com/idpsync/idpsync/worker/record"
)

// The cost of our own hashes: argon2id as OWASP asks for, some 20 ms to 60 ms and 19 MiB for each.
const (
	argonMemory      = 19 << 10 // KiB
	argonTime        = 2
	argonThreads     = 1
	argonSaltLength  = 16
	argonOutputBytes = 32
)

// HashPassword replaces the password of the request's draft by its hash, and returns the hash of the event's payload that
// the ledger keeps in its place. Without a password it returns false. It takes some 20 ms to 60 ms and 19 MiB.
func (r *Request) HashPassword() (payload [sha256.Size]byte, ok bool) {
	d := &r.Draft
	if d.Password == "" {
		return payload, false
	}
	d.PasswordHash = hashPassword(d.Password, passwordSalt(r.Event, d.Email))
	d.Password = ""
	return passwordEventHash(r.Event.Payload, d.PasswordHash), true
}

// hashPassword returns the PHC string of a password.
func hashPassword(password providers.Secret, salt []byte) string {
	out := argon2.IDKey([]byte(password.Reveal()), salt, argonTime, argonMemory, argonThreads, argonOutputBytes)
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads, b64(salt), b64(out))
}

// passwordSalt returns the salt of an event's password. A salt must be unique, not secret, and (tenant, source, event id)
// is unique among all that the ledger records. Made from it, the salt is the same at each processing of the event, so
// that the hash can stand for the password in the ledger.
func passwordSalt(env *providers.Envelope, email Email) []byte {
	sum := sha256.Sum256([]byte(strings.Join([]string{"idpsync password salt 1", env.Tenant, env.Source, env.EventID, email.Key}, "\x00")))
	return sum[:argonSaltLength]
}

// passwordEventHash is the payload hash of an event with a plain password. A plain SHA-256 of the payload would let
// whoever reads the ledger try out passwords at the speed of SHA-256. So the password counts only in the form of its
// own slow hash, which the users table holds anyway; the rest counts as the document that it is.
func passwordEventHash(payload []byte, passwordHash string) [sha256.Size]byte {
	document, err := wire.Claims(payload, wire.Limits{})
	if err != nil { // cannot be: it was read before
		document = nil
	}
	delete(document, "password")
	return sha256.Sum256([]byte(string(record.Marshal(document)) + "\x00" + passwordHash))
}
