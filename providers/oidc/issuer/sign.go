package issuer

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/go-jose/go-jose/v4"
)

// A SignOption changes how one token is signed.
type SignOption func(*signing)

type signing struct {
	key       *Key
	keyID     string
	algorithm string
	header    map[string]any
	drop      []string
}

// WithAlgorithm signs with the newest key of that algorithm.
func WithAlgorithm(algorithm string) SignOption {
	return func(s *signing) { s.algorithm = algorithm }
}

// WithKeyID signs with the key of that id, published or not.
func WithKeyID(id string) SignOption {
	return func(s *signing) { s.keyID = id }
}

// WithKey signs with any key, and that key's algorithm and id in the header.
func WithKey(key Key) SignOption {
	return func(s *signing) { s.key = &key }
}

// WithHeader sets a member of the protected header, kid and typ included.
func WithHeader(name string, value any) SignOption {
	return func(s *signing) { s.header[name] = value }
}

// WithoutHeader leaves out a member of the protected header: kid or typ.
func WithoutHeader(name string) SignOption {
	return func(s *signing) { s.drop = append(s.drop, name) }
}

// Claims returns the claims of a fresh token for subject and audience, issued now. The caller adds what else it wants.
func (i *Issuer) Claims(subject, audience string) map[string]any {
	now := i.options.Now()
	return map[string]any{
		"iss": i.URL(),
		"sub": subject,
		"aud": audience,
		"iat": now.Unix(),
		"exp": now.Add(i.options.Lifetime).Unix(),
	}
}

// Sign returns an ID Token in compact form that holds exactly these claims.
func (i *Issuer) Sign(claims map[string]any, options ...SignOption) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("issuer: encoding the claims: %w", err)
	}
	return i.SignPayload(payload, options...)
}

// SignPayload is Sign for a payload that no map could hold, as one with a claim twice.
func (i *Issuer) SignPayload(payload []byte, options ...SignOption) (string, error) {
	s := signing{header: map[string]any{}}
	for _, o := range options {
		o(&s)
	}
	if s.key == nil {
		key, err := i.key(s.algorithm, s.keyID)
		if err != nil {
			return "", err
		}
		s.key = &key
	}
	algorithm := s.key.Algorithm
	if s.algorithm != "" {
		algorithm = s.algorithm
	}
	header := map[string]any{"alg": algorithm, "kid": s.key.ID, "typ": "JWT"}
	maps.Copy(header, s.header)
	for _, name := range s.drop {
		delete(header, name)
	}
	o := &jose.SignerOptions{}
	for name, value := range header {
		if name != "alg" {
			o.WithHeader(jose.HeaderKey(name), value)
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: s.key.Private}, o)
	if err != nil {
		return "", fmt.Errorf("issuer: making a signer: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("issuer: signing: %w", err)
	}
	return signed.CompactSerialize()
}
