package workertest

import (
	"encoding/json"
	"maps"

	"github.com/idpsync/idpsync/providers/oidc/issuer"
)

// Claims are those of an ID token.
type Claims map[string]any

// With returns the claims with some changed; nil removes one.
func (c Claims) With(changes Claims) Claims {
	out := maps.Clone(c)
	for name, value := range changes {
		if value == nil {
			delete(out, name)
			continue
		}
		out[name] = value
	}
	return out
}

// Person returns the claims of a fresh login at the first issuer: subject@acme.example, verified.
func (d *Deployment) Person(subject string) Claims { return d.PersonAt(d.Issuer, subject) }

// PersonAt is Person at another issuer.
func (d *Deployment) PersonAt(i *issuer.Issuer, subject string) Claims {
	return Claims(i.Claims(subject, Audience)).With(Claims{"email": subject + "@acme.example", "email_verified": true, "name": "Person " + subject})
}

// Login returns the payload of a login with a token of the first issuer.
func (d *Deployment) Login(c Claims, options ...issuer.SignOption) []byte {
	d.T.Helper()
	return d.LoginAt(d.Issuer, c, options...)
}

// LoginAt is Login at another issuer.
func (d *Deployment) LoginAt(i *issuer.Issuer, c Claims, options ...issuer.SignOption) []byte {
	d.T.Helper()
	return d.Token(i.Sign(c, options...))
}

// Token returns the payload of a login with a token of any making.
func (d *Deployment) Token(token string, err error) []byte {
	d.T.Helper()
	if err != nil {
		d.T.Fatal(err)
	}
	return Payload(map[string]string{"id_token": token})
}

// Payload is the JSON form of a value.
func Payload(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// LogIn publishes a login of the person at okta of Acme.
func (d *Deployment) LogIn(id string, c Claims) {
	d.T.Helper()
	d.Publish(LoginSubject(Acme, "okta"), id, d.Login(c))
}
