// Package toytest is a kind of source that no deployment has: a forge, as GitHub is one, that signs a document about the
// user who logged in with a secret that it shares with us. It is here to be registered as any provider is, by its own
// folder and one line, and to be copied by whoever writes one. Only tests import it.
//
// An event is {"user": "<the document>", "signature": "sha256=<HMAC-SHA-256 of the document, in hex>"}. The checks, in
// their order: json, signature, document, client, expired.
package toytest

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/keyring"
	"github.com/idpsync/idpsync/providers/mapping"
	"github.com/idpsync/idpsync/providers/wire"
)

// Name is the name of the kind.
const Name providers.Kind = "forge"

// minSecret is the length of the shortest secret that is accepted, in bytes.
const minSecret = 16

// Config is what a source of this kind has of its own.
type Config struct {
	ClientID   string `json:"client_id,omitempty"`   // of our application at the forge
	SecretFile string `json:"secret_file,omitempty"` // absolute path of the secret that is shared with it
}

// Kind describes forges.
func Kind() providers.Descriptor {
	return providers.Descriptor{
		Kind: Name, Title: "forge", New: New, Shapes: []providers.Shape{providers.ShapeLogin},
		Config: func() any { return &Config{} },
		Settings: []providers.Setting{
			{Key: "issuer", Read: func(v providers.Value, s *providers.Source) { s.Issuer = v.URL("issuer") }},
			{Key: "client_id", Read: func(v providers.Value, s *providers.Source) { configOf(*s).ClientID = v.Text() }},
			{Key: "secret_file", Read: readSecretFile},
		},
		Check: func(f providers.Form, s *providers.Source) {
			for _, key := range []string{"issuer", "client_id", "secret_file"} {
				if !f.Has(key) {
					f.Fail("the forge shows it where our application is registered", "source %q has no %s", s.Name, key)
				}
			}
		},
		Apart:  apart,
		Origin: func(s providers.Source) string { return s.Issuer },
		Mapping: &providers.Vocabulary{
			Variables: []providers.Variable{{Name: "user", Type: providers.VariableObject}},
			Hint:      "the variable is user, as in user.login",
			Defaults:  map[string]string{"email": "user.email", "name": "user.name", "identity_name": "user.login"},
			Subject:   "an identity of a forge is always the user's number",
		},
	}
}

func configOf(s providers.Source) *Config {
	if c, ok := s.Config.(*Config); ok {
		return c
	}
	return &Config{}
}

func readSecretFile(v providers.Value, s *providers.Source) {
	f, ok := v.File(1 << 10)
	if !ok {
		return
	}
	if len(f.Data) < minSecret {
		v.Fail("have the forge make another", "the secret in %s is shorter than %d bytes", f.Name, minSecret)
	}
	configOf(*s).SecretFile = f.Path
}

// apart refuses two sources for one application, as a document would be good for both.
func apart(all []providers.Source) []providers.Conflict {
	var out []providers.Conflict
	for i, s := range all {
		for _, other := range all[:i] {
			if s.Issuer != "" && s.Issuer == other.Issuer && configOf(s).ClientID == configOf(other).ClientID {
				out = append(out, providers.Conflict{
					Source: i, Message: fmt.Sprintf("sources %q and %q are one application", other.Name, s.Name), Hint: "make them one",
				})
			}
		}
	}
	return out
}

type provider struct {
	source  providers.Source
	own     Config
	secret  []byte
	mapping *mapping.Mapping
}

var _ providers.Factory = New

// New is the providers.Factory of forges.
func New(src providers.Source, _ providers.Environment) (providers.Provider, error) {
	p := &provider{source: src, own: *configOf(src)}
	var faults []error
	if src.Issuer == "" || p.own.ClientID == "" {
		faults = append(faults, errors.New("issuer and client_id are required"))
	}
	var err error
	if p.secret, err = os.ReadFile(p.own.SecretFile); err != nil {
		faults = append(faults, fmt.Errorf("secret_file: %w", err))
	}
	kind := Kind()
	if p.mapping, err = mapping.Compile(&kind, src); err != nil {
		faults = append(faults, err)
	}
	return p, errors.Join(faults...)
}

// Sign returns the event of a login, as the forge sends it.
func Sign(secret []byte, document string) []byte {
	return fmt.Appendf(nil, `{"user": %q, "signature": %q}`, document, signature(secret, document))
}

func signature(secret []byte, document string) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(document))
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// Verify implements providers.Provider.
func (p *provider) Verify(ctx context.Context, e providers.Envelope) (providers.CreateUser, error) {
	if err := ctx.Err(); err != nil {
		return providers.CreateUser{}, keyring.Cancelled(err)
	}
	user, err := p.prove(e)
	if err != nil {
		e.Trace.Add(providers.Check{Step: "verify", Name: err.Reason, Detail: err.Message})
		return providers.CreateUser{}, err
	}
	r := providers.CreateUser{
		Principal: providers.Principal{Kind: providers.PrincipalSource, Tenant: p.source.Tenant, ID: p.source.Name, Name: p.source.Name, Grants: p.source.Grants},
		Shape:     providers.ShapeLogin, AuthProvider: "oidc", // the API knows local, oidc and saml
		Identity: &providers.Identity{Issuer: p.source.Issuer, Subject: strconv.FormatInt(user["id"].(int64), 10)},
	}
	if err := p.mapping.Apply(ctx, &mapping.Vars{Own: map[string]any{"user": user}}, &r, e.Trace); err != nil {
		return providers.CreateUser{}, err
	}
	return r, nil
}

// prove makes the checks and returns the document.
func (p *provider) prove(e providers.Envelope) (map[string]any, *providers.Error) {
	var event struct {
		User      string `json:"user"`
		Signature string `json:"signature"`
	}
	if err := wire.Decode(e.Payload, &event, wire.Limits{}); err != nil {
		failure, _ := errors.AsType[*providers.Error](err)
		return nil, failure
	}
	passed := func(name string) { e.Trace.Add(providers.Check{Step: "verify", Name: name, OK: true}) }
	passed(wire.ReasonJSON)
	if !hmac.Equal([]byte(event.Signature), []byte(signature(p.secret, event.User))) {
		return nil, &providers.Error{Class: providers.ErrUnverified, Reason: "signature", Message: "The document is not signed with the secret of the source."}
	}
	passed("signature")
	user, err := wire.Claims([]byte(event.User), wire.Limits{})
	_, numbered := user["id"].(int64)
	exp, ends := user["exp"].(int64)
	if err != nil || !numbered || !ends {
		return nil, &providers.Error{Class: providers.ErrMalformed, Reason: "document", Message: "The document is no object with the numbers id and exp."}
	}
	passed("document")
	if user["client_id"] != p.own.ClientID {
		return nil, &providers.Error{Class: providers.ErrUnverified, Reason: "client", Message: "The document was made for another application."}
	}
	passed("client")
	if !e.StoredAt.Before(time.Unix(exp, 0)) {
		return nil, &providers.Error{Class: providers.ErrUnverified, Reason: "expired", Message: "The document had ended when the event was stored."}
	}
	passed("expired")
	return user, nil
}
