package record

import (
	"encoding/base64"
	"strings"
)

// IsResult reports whether a message has the form in which workers publish results. Others may lie in the stream too: the
// broker writes an acknowledgement to whatever reply subject a publisher names. Id, outcome, tenant and source have to
// agree with each other and with the subject, so that a result which was copied to another subject is none there.
func IsResult(m Stored) bool {
	h := m.Header
	id := h.Get("Nats-Msg-Id")
	tenant, source, ok := strings.Cut(strings.TrimPrefix(h.Get("ce-source"), ceSource), "/")
	return ok && id != "" && h.Get("ce-id") == percentEncode(id) && h.Get(HeaderStatus) != "" &&
		m.Subject == ResultSubject(tenant, source, Outcome(h.Get(HeaderOutcome)))
}

// IsDeadLetter reports whether a message has the form in which workers publish dead letters. Whether a worker of this
// deployment wrote it is for [Unseal] to say, which needs the key.
func IsDeadLetter(m Stored) bool {
	h := m.Header
	signature, err := base64.RawURLEncoding.DecodeString(h.Get(deadLetterSignature))
	return err == nil && len(signature) > 0 && h.Get(deadLetterKeyID) != "" && h.Get(DeadLetterOrigin) != "" && h.Get(DeadLetterTime) != "" &&
		m.Subject == DeadLetterSubject(h.Get(DeadLetterTenant), h.Get(DeadLetterSource), Code(h.Get(DeadLetterCode)))
}

// Authentic reports whether a dead letter was written by a worker of this deployment, as its signature shows. One that
// names another key than those of the vault is not known to be forged: the deployment may have lost that key.
func Authentic(v Sealer, m Stored) (authentic, otherKey bool) {
	signature, err := base64.RawURLEncoding.DecodeString(m.Header.Get(deadLetterSignature))
	if err == nil && v.Verify(recordDigest(m.Header, m.Data), signature) {
		return true, false
	}
	return false, !v.Holds(m.Header.Get(deadLetterKeyID))
}
