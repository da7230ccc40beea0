package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/saml/idp"
)

// newSAML makes the identity provider of the SAML source.
func newSAML() (*idp.IdP, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return idp.New(idp.Options{EntityID: "https://idp.corp.example/metadata", Key: key})
}

// assertion makes a login with a SAML response.
func (s *script) assertion(p *person) *event {
	p.login = true
	e := s.event(p, effect, "")
	e.source, e.subject = p.source, subject(providers.ShapeLogin, p.tenant, p.source)
	e.make = func() ([]byte, error) {
		xml, err := s.w.saml.Respond(idp.Request{
			EntityID: "https://sp.corp.example", ACSURL: "https://sp.corp.example/acs", InResponseTo: "_" + p.email, NameID: p.email, Mode: idp.SignBoth,
			Attributes: []idp.Attribute{{Name: "mail", Values: []string{p.email}}, {Name: "name", Values: []string{"Person " + p.email}}},
			Validity:   time.Hour, // it may be sent again much later
		})
		if err != nil {
			return nil, err
		}
		return json.Marshal(map[string]string{"saml_response": base64.StdEncoding.EncodeToString(xml), "request_id": "_" + p.email})
	}
	return e
}
