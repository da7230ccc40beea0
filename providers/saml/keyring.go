package saml

import (
	"cmp"
	"crypto/x509"
	"slices"
	"time"

	"github.com/idpsync/idpsync/providers"
)

// maxCandidates bounds how many certificates are tried for one signature.
const maxCandidates = 16

// A certificate is one that the IdP published, now or once.
type certificate struct {
	id      string // hex SHA-256 of its DER form
	x509    *x509.Certificate
	roots   []*x509.Certificate // itself, as the signature library wants it
	retired time.Time           // zero while published
}

// A keyring is what is known of an IdP's certificates at one moment. It is never changed.
type keyring struct {
	issuer  string    // the IdP's entityID
	fetched time.Time // when the metadata was last read with success
	certs   []certificate
}

// newKeyring orders the history: published ones first, then the most recently retired. Entries that cannot be parsed
// are left out.
func newKeyring(issuer string, history []providers.Key, fetched time.Time) *keyring {
	ring := &keyring{issuer: issuer, fetched: fetched}
	for _, k := range history {
		cert, err := x509.ParseCertificate(k.Material)
		if err != nil || !strong(cert) {
			continue
		}
		ring.certs = append(ring.certs, certificate{thumbprint(cert.Raw), cert, []*x509.Certificate{cert}, k.RetiredAt})
	}
	slices.SortFunc(ring.certs, func(a, b certificate) int {
		if a.retired.IsZero() != b.retired.IsZero() {
			if a.retired.IsZero() {
				return -1
			}
			return 1
		}
		return cmp.Or(b.retired.Compare(a.retired), cmp.Compare(a.id, b.id))
	})
	return ring
}

// candidates returns the certificates to try: the one that the message names, if it is one of ours, else all.
func (ring *keyring) candidates(embedded string) []certificate {
	for i, c := range ring.certs {
		if c.id == embedded {
			return ring.certs[i : i+1]
		}
	}
	return ring.certs[:min(len(ring.certs), maxCandidates)]
}

func (ring *keyring) knows(id string) bool {
	return slices.ContainsFunc(ring.certs, func(c certificate) bool { return c.id == id })
}

// keysOf makes the history's entries of published certificates.
func keysOf(certs []*x509.Certificate) []providers.Key {
	keys := make([]providers.Key, 0, len(certs))
	for _, c := range certs {
		id := thumbprint(c.Raw)
		if slices.ContainsFunc(keys, func(k providers.Key) bool { return k.ID == id }) {
			continue
		}
		keys = append(keys, providers.Key{ID: id, Thumbprint: id, Material: c.Raw})
	}
	return keys
}
