package demo

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"time"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/providers/saml/idp"
	"github.com/idpsync/idpsync/worker/record"
)

// What the demo's sources know each other by.
const (
	audience   = "idpsync"
	idpEntity  = "https://idp.acme.example/metadata"
	spEntity   = "https://sp.acme.example/saml"
	spConsumer = "https://sp.acme.example/saml/acs"
	requestID  = "_request-1" // id of the AuthnRequest that every sample answers
)

// scenes lists the demo's events in the order in which they are sent.
func (m *Demo) scenes() []scene {
	all := []scene{m.oidcScene(), m.samlScene()}
	if m.http != "" {
		all = append(all, m.httpScene())
	}
	return append(all, m.rpcScene(), m.commandScene(), m.feedScene(), m.provisionedScene(), m.policyScene())
}

// person returns the claims of a login at the demo's OpenID provider.
func (m *Demo) person(subject, name string, more map[string]any) map[string]any {
	claims := m.issuer.Claims(subject, audience)
	claims["email"], claims["email_verified"], claims["name"] = subject+"@acme.example", true, name
	for k, v := range more {
		if v == nil {
			delete(claims, k)
			continue
		}
		claims[k] = v
	}
	return claims
}

func (m *Demo) signed(claims map[string]any, options ...issuer.SignOption) func() ([]byte, error) {
	return func() ([]byte, error) { return kit.Login(m.issuer.Sign(claims, options...)) }
}

func loginAt(source string) record.Address {
	return record.Address{Shape: providers.ShapeLogin, Tenant: tenant, Source: source, Door: providers.DoorStream}
}

func oidcLogin(id, title string, body func() ([]byte, error), want string) sample {
	return sample{title: title, id: id, door: providers.DoorStream, to: loginAt("okta"), body: body, want: want}
}

func (m *Demo) oidcScene() scene {
	now := m.o.Now()
	ada := m.person("ada", "Ada Lovelace", nil)
	stray := oidcLogin("login-12", "A source that nobody declared", m.signed(ada), "unknown_source")
	stray.to = loginAt("unknown")
	return scene{"OIDC logins: source okta", "A login pipeline publishes the ID token of each login on " + record.EventSubject(loginAt("okta")) + ".", []sample{
		oidcLogin("login-1", "Ada logs in for the first time", m.signed(ada), "created"),
		oidcLogin("login-2", "Ada logs in again", m.signed(ada), "exists"),
		oidcLogin("login-1", "Ada's first event is delivered once more: the same result, not a second one", nil, "created"),
		oidcLogin("login-1", "Another event under an id that was used", m.signed(m.person("bob", "Bob", nil)), "event_id_conflict"),
		oidcLogin("login-3", "The owner whom the directory names logs in", m.signed(m.person("owner", "Olive Owner", nil)), "created"),
		oidcLogin("login-4", "Somebody else claims Ada's address", m.signed(m.person("eve", "Eve", map[string]any{"email": "ada@acme.example"})), "user_exists different_identity"),
		oidcLogin("login-5", "A token that had expired when it was sent", m.signed(m.person("late", "Late Larry", map[string]any{
			"iat": now.Add(-2 * time.Hour).Unix(), "exp": now.Add(-time.Hour).Unix(),
		})), "unauthenticated expired"),
		oidcLogin("login-6", "A forged token: a stranger's key under the provider's key id", func() ([]byte, error) {
			return kit.Login(m.issuer.SignedByAnotherKey(m.person("mallory", "Mallory", nil)))
		}, "unauthenticated signature"),
		oidcLogin("login-7", "A token with no signature at all (alg none)", func() ([]byte, error) {
			return kit.Login(m.issuer.Unsigned(m.person("mallory", "Mallory", nil)))
		}, "unauthenticated algorithm"),
		oidcLogin("login-8", "A token for another application", m.signed(m.person("bob", "Bob", map[string]any{"aud": "payroll"})), "unauthenticated audience"),
		oidcLogin("login-9", "A group that is no role: it is left out", m.signed(m.person("grace", "Grace Hopper", map[string]any{"groups": []string{"user", "astronaut"}})), "created"),
		oidcLogin("login-10", "A login without an e-mail address", m.signed(m.person("nobody", "Nobody", map[string]any{"email": nil})), "invalid_input"),
		oidcLogin("login-11", "Not a token", func() ([]byte, error) { return []byte(`{"id_token": 42}`), nil }, "malformed json"),
		stray,
	}}
}

// assertion is what the demo's IdP says of a person.
func (m *Demo) assertion(subject, name string, mode idp.Mode) idp.Request {
	return idp.Request{
		EntityID: spEntity, ACSURL: spConsumer, InResponseTo: requestID, NameID: subject, Mode: mode,
		Attributes: []idp.Attribute{
			{Name: "mail", Values: []string{subject + "@acme.example"}}, {Name: "displayName", Values: []string{name}}, {Name: "groups", Values: []string{"user"}},
		},
	}
}

// response makes the payload of a login event with a SAML response.
func response(xml []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]string{"saml_response": base64.StdEncoding.EncodeToString(xml), "request_id": requestID})
}

func samlLogin(id, title string, body func() ([]byte, error), want string) sample {
	return sample{title: title, id: id, door: providers.DoorStream, to: loginAt("adfs"), body: body, want: want}
}

func (m *Demo) samlScene() scene {
	respond := func(r idp.Request) func() ([]byte, error) {
		return func() ([]byte, error) { return response(m.idp.Respond(r)) }
	}
	forged := func(r idp.Request, forge func([]byte) ([]byte, error)) func() ([]byte, error) {
		return func() ([]byte, error) {
			xml, err := m.idp.Respond(r)
			if err != nil {
				return nil, err
			}
			return response(forge(xml))
		}
	}
	var kept []byte // the response of saml-1, which a thief sends again
	return scene{"SAML logins: source adfs", "The same for the responses of a SAML identity provider, on " + record.EventSubject(loginAt("adfs")) + ".", []sample{
		samlLogin("saml-1", "Heidi logs in; the response is signed", func() (body []byte, err error) {
			kept, err = respond(m.assertion("heidi", "Heidi Keller", idp.SignResponse))()
			return kept, err
		}, "created"),
		samlLogin("saml-2", "Ivan logs in; the assertion is signed", respond(m.assertion("ivan", "Ivan Petrov", idp.SignAssertion)), "created"),
		samlLogin("saml-3", "Judy logs in; both are signed", respond(m.assertion("judy", "Judy Marsh", idp.SignBoth)), "created"),
		samlLogin("saml-4", "Ken logs in; the assertion is encrypted", func() ([]byte, error) {
			certificate, err := m.certificate()
			if err != nil {
				return nil, err
			}
			r := m.assertion("ken", "Ken Olson", idp.SignAssertion)
			r.Encrypt, r.Certificate = idp.AES256GCM, certificate
			return response(m.idp.Respond(r))
		}, "created"),
		samlLogin("saml-5", "Heidi logs in again, with a new assertion", respond(m.assertion("heidi", "Heidi Keller", idp.SignBoth)), "exists"),
		samlLogin("saml-6", "Somebody sends Heidi's first response again as a login of their own", func() ([]byte, error) { return kept, nil }, "unauthenticated assertion_replayed"),
		samlLogin("saml-7", "A response that was changed after it was signed", forged(m.assertion("ivan", "Ivan", idp.SignAssertion), func(xml []byte) ([]byte, error) {
			return idp.Tamper(xml, "ivan@acme.example", "owner@acme.example")
		}), "unauthenticated signature"),
		samlLogin("saml-8", "Signature wrapping: a forged assertion beside the signed one", forged(m.assertion("ivan", "Ivan", idp.SignAssertion), func(xml []byte) ([]byte, error) {
			return idp.Wrap(xml, idp.WrapAssertionBefore, "owner")
		}), "unauthenticated assertion_count"),
		samlLogin("saml-9", "A response without any signature", respond(m.assertion("mallory", "Mallory", idp.SignNothing)), "unauthenticated signature_missing"),
		samlLogin("saml-10", "A response of an hour ago", func() ([]byte, error) {
			r := m.assertion("late", "Late Larry", idp.SignBoth)
			r.At = m.o.Now().Add(-time.Hour)
			return response(m.idp.Respond(r))
		}, "unauthenticated expired"),
	}}
}

// certificate is the one that assertions are encrypted for.
func (m *Demo) certificate() (*x509.Certificate, error) {
	data, err := os.ReadFile(m.file("sp.crt"))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("the demo's certificate is not PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}
