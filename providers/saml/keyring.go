package saml

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/keyring"
)

// maxCandidates bounds how many certificates are tried for one signature.
const maxCandidates = 16

// A certificate is one that the IdP published, now or once.
type certificate struct {
	id    string // hex SHA-256 of its DER form
	x509  *x509.Certificate
	roots []*x509.Certificate // itself, as the signature library wants it
}

type (
	// A history is what is known of an IdP's certificates at one moment.
	history = keyring.History[*certificate]
	// A knownCertificate is one with the times at which it was known.
	knownCertificate = keyring.Key[*certificate]
)

// parseCertificate makes a certificate of the history ready for use, and names its public key.
func parseCertificate(k providers.Key) (*certificate, string, error) {
	cert, err := x509.ParseCertificate(k.Material)
	if err != nil {
		return nil, "", err
	}
	if !strong(cert) {
		return nil, "", errors.New("the key of the certificate is too weak or of an unknown kind")
	}
	return &certificate{thumbprint(cert.Raw), cert, []*x509.Certificate{cert}}, PublicKey(cert), nil
}

// PublicKey names the public key of a certificate, which a new certificate may hold again: the SHA-256 of its
// SubjectPublicKeyInfo, in hex.
func PublicKey(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// candidates returns the certificates to try: the one that the message names, if it is one of ours, else all.
func candidates(h *history, embedded string, at time.Time, slack time.Duration) []*knownCertificate {
	for i, c := range h.Keys {
		if c.Use.id == embedded {
			return h.Keys[i : i+1]
		}
	}
	// Those that may have signed come first, so that a certificate that was renewed with its key is not taken for its
	// retired twin.
	all := slices.Clone(h.Keys)
	slices.SortStableFunc(all, func(a, b *knownCertificate) int { return int(a.Standing(at, slack) - b.Standing(at, slack)) })
	return all[:min(len(all), maxCandidates)]
}

func knows(h *history, id string) bool {
	return slices.ContainsFunc(h.Keys, func(c *knownCertificate) bool { return c.Use.id == id })
}

// keysOf makes the history's entries of published certificates.
func keysOf(certs []*x509.Certificate) []providers.Key {
	keys := make([]providers.Key, 0, len(certs))
	for _, c := range certs {
		id := thumbprint(c.Raw)
		if slices.ContainsFunc(keys, func(k providers.Key) bool { return k.ID == id }) {
			continue
		}
		keys = append(keys, providers.Key{ID: id, Thumbprint: id, PublicKey: PublicKey(c), Material: c.Raw})
	}
	return keys
}
