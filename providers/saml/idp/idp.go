// Package idp is a SAML identity provider within the process: it has keys and certificates, serves its metadata, and
// makes Responses that are really signed and really encrypted. `idpsync dev` ships it, and tests use it; it asks nobody
// for a password, so it is no identity provider for anything else.
//
// An [IdP] makes honest Responses ([IdP.Respond]). The functions of forge.go turn them into those that a service
// provider must refuse.
package idp

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Options says what kind of IdP to make. Only EntityID is required.
type Options struct {
	EntityID string
	SSOURL   string           // in the metadata; default is the EntityID
	Now      func() time.Time // default time.Now
	Random   io.Reader        // for IDs, keys of encryption and padding; default crypto/rand
	Key      crypto.Signer    // RSA or ECDSA; default a new RSA key of 2048 bits
	Lifetime time.Duration    // of certificates; default ten years
}

// An IdP signs Responses. It is safe for concurrent use.
type IdP struct {
	opts Options

	mu        sync.Mutex
	current   pair
	published []*x509.Certificate // in the metadata
	serial    int64
}

type pair struct {
	key  crypto.Signer
	cert *x509.Certificate
}

// New makes an IdP with one key and certificate.
func New(opts Options) (*IdP, error) {
	if opts.EntityID == "" {
		return nil, errors.New("an IdP needs an EntityID")
	}
	if opts.SSOURL == "" {
		opts.SSOURL = opts.EntityID
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Random == nil {
		opts.Random = rand.Reader
	}
	if opts.Lifetime == 0 {
		opts.Lifetime = 10 * 365 * 24 * time.Hour
	}
	p := &IdP{opts: opts}
	if err := p.renew(opts.Key); err != nil {
		return nil, err
	}
	p.published = []*x509.Certificate{p.current.cert}
	return p, nil
}

// EntityID returns the IdP's name.
func (p *IdP) EntityID() string { return p.opts.EntityID }

// Certificate returns the certificate whose key signs now.
func (p *IdP) Certificate() *x509.Certificate {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current.cert
}

// Rotate makes a new key and certificate of the same kind, which signs from now on. With overlap the metadata lists the
// old certificates beside the new one, as an IdP does while it announces a change; without, the new one alone.
func (p *IdP) Rotate(overlap bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.renew(nil); err != nil {
		return err
	}
	if overlap {
		p.published = append([]*x509.Certificate{p.current.cert}, p.published...)
	} else {
		p.published = []*x509.Certificate{p.current.cert}
	}
	return nil
}

// renew puts a new pair in place. A nil key means a new one of the kind that signs now.
func (p *IdP) renew(key crypto.Signer) error {
	if key == nil {
		var err error
		if _, ec := p.current.key.(*ecdsa.PrivateKey); ec {
			key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		} else {
			key, err = rsa.GenerateKey(rand.Reader, 2048)
		}
		if err != nil {
			return fmt.Errorf("make a key: %w", err)
		}
	}
	p.serial++
	cert, err := selfSigned(key, p.opts.EntityID, x509.KeyUsageDigitalSignature, p.serial, p.opts.Now(), p.opts.Lifetime)
	if err != nil {
		return err
	}
	p.current = pair{key, cert}
	return nil
}

func selfSigned(key crypto.Signer, name string, usage x509.KeyUsage, serial int64, now time.Time, lifetime time.Duration) (*x509.Certificate, error) {
	if len(name) > 64 { // the upper bound of a common name (RFC 5280 appendix A.1)
		name = name[:64]
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(lifetime), KeyUsage: usage,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the certificate made: %w", err)
	}
	return cert, nil
}

// Metadata returns the IdP's metadata document.
func (p *IdP) Metadata() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n" +
		`<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" xmlns:ds="http://www.w3.org/2000/09/xmldsig#" entityID="` + escape(p.opts.EntityID) + `">` + "\n" +
		`  <IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">` + "\n")
	for _, cert := range p.published {
		b.WriteString(`    <KeyDescriptor use="signing"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>` +
			base64.StdEncoding.EncodeToString(cert.Raw) + `</ds:X509Certificate></ds:X509Data></ds:KeyInfo></KeyDescriptor>` + "\n")
	}
	b.WriteString(`    <NameIDFormat>` + FormatPersistent + `</NameIDFormat>` + "\n" +
		`    <SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="` + escape(p.opts.SSOURL) + `"/>` + "\n" +
		`  </IDPSSODescriptor>` + "\n" + `</EntityDescriptor>` + "\n")
	return []byte(b.String())
}

// Handler serves the metadata at every path.
func (p *IdP) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "only GET", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "application/samlmetadata+xml")
		_, _ = w.Write(p.Metadata()) // a client that has gone away is no fault of ours
	})
}

// NewServiceProviderKey makes a key and certificate that assertions can be encrypted for, in PEM form.
func NewServiceProviderKey(name string, now time.Time) (keyPEM, certificatePEM []byte, err error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	cert, err := selfSigned(key, name, x509.KeyUsageKeyEncipherment, 1, now, 10*365*24*time.Hour)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("write a key: %w", err)
	}
	keyPEM = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return keyPEM, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), nil
}

func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(s)
}
