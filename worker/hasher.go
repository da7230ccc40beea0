package worker

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

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

// Hashing happens between preparing and committing, on goroutines of its own: a batch of logins never waits for a
// password, and no more than a few hashes hold their memory at a time. Events with a password to hash leave their batch,
// and each is committed and delivered by itself.

// divert hands the events that have a password to hash to the hashing goroutines and returns the others. When these have
// more than they can take, a caller is told that the worker is busy, and a stored command waits.
func (w *Worker) divert(events []*event) []*event {
	var rest []*event
	for i, e := range events {
		// An order waits for its events, below the lanes; and one that is processed alone must not stand in a queue, where
		// its breadcrumb would accuse it of what others do.
		if e.replay != nil || e.crumbs {
			e.hashPassword()
		}
		if e.decided() || e.user.password == "" {
			if rest != nil {
				rest = append(rest, e)
			}
			continue
		}
		if rest == nil {
			rest = append(make([]*event, 0, len(events)), events[:i]...)
		}
		select {
		case w.hashing <- e:
			continue
		default:
		}
		if e.reply != nil {
			e.rejection = record.Reject(record.CodeBusy, "hashing_busy", "The worker has more passwords to hash than it can take; try again later.")
		} else {
			e.wait = &wait{reason: "hashing_busy"}
		}
		rest = append(rest, e)
	}
	if rest == nil {
		return events
	}
	return rest
}

// hash works on diverted events until stop is closed and none is left. Work ends at once when hard does.
func (w *Worker) hash(hard context.Context, stop <-chan struct{}) {
	for hard.Err() == nil {
		select {
		case e := <-w.hashing:
			w.hashOne(hard, e)
			continue
		case <-hard.Done():
			return
		case <-stop:
		}
		select {
		case e := <-w.hashing:
			w.hashOne(hard, e)
		default:
			return
		}
	}
}

func (w *Worker) hashOne(ctx context.Context, e *event) {
	e.hashPassword()
	w.finish(ctx, []*event{e})
}

// hashPassword replaces the password of an event by its hash, if it has one.
func (e *event) hashPassword() {
	if e.decided() || e.user.password == "" {
		return
	}
	e.user.passwordHash = hashPassword(e.user.password, passwordSalt(e))
	e.user.password = ""
	e.hash = passwordEventHash(e.env.Payload, e.user.passwordHash)
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
func passwordSalt(e *event) []byte {
	sum := sha256.Sum256([]byte(joinKey("idpsync password salt 1", e.env.Tenant, e.env.Source, e.env.EventID, e.user.email.Key)))
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
	return sha256.Sum256([]byte(joinKey(string(record.Marshal(document)), passwordHash)))
}
