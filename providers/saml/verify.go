package saml

import (
	"context"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/beevik/etree"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/keyring"
	"github.com/idpsync/idpsync/providers/mapping"
	"github.com/idpsync/idpsync/providers/wire"
)

// A verification is the way of one message through the checks.
type verification struct {
	p         *Provider
	e         providers.Envelope
	at        time.Time // when the broker stored the event
	moment    providers.Moment
	trace     *providers.Trace
	requestID string // ID of our AuthnRequest; "" for a login that the IdP began

	entityID string // the IdP's entityID, by the metadata that proved a signature
}

// run makes the checks in the order of the package comment.
func (v *verification) run(ctx context.Context) (providers.CreateUser, error) {
	root, form, err := v.read()
	if err != nil {
		return providers.CreateUser{}, err
	}
	proof, err := v.prove(ctx, root, form)
	if err != nil {
		return providers.CreateUser{}, err
	}
	if err := v.response(proof.response, proof.responseSigned); err != nil {
		return providers.CreateUser{}, err
	}
	a, err := v.assertion(proof.assertion)
	if err != nil {
		return providers.CreateUser{}, err
	}
	user, err := v.user(ctx, a)
	if err != nil {
		return providers.CreateUser{}, err
	}
	return user, v.moment.Wait(v.p.env.Now()) // last, so that nothing waits that is refused in the end
}

// read takes the Response out of the event and looks at its shape.
func (v *verification) read() (*etree.Element, *shape, error) {
	login, err := wire.DecodeSAMLLogin(v.e.Payload, wire.Limits{})
	if err != nil {
		if f, ok := errors.AsType[*providers.Error](err); ok {
			v.trace.Add(providers.Check{Step: "verify", Name: f.Reason, Detail: f.Message})
		}
		return nil, nil, err
	}
	if login.RequestID != nil {
		v.requestID = *login.RequestID
	}
	doc, err := base64.StdEncoding.DecodeString(login.SAMLResponse)
	if err != nil {
		return nil, nil, refuse(checkBase64, "saml_response is not base64")
	}
	root, err := scan(string(doc), messageLimits, nil)
	if err != nil {
		return nil, nil, err
	}
	pass(v.trace, checkXML, func() string { return strconv.Itoa(len(doc)) + " bytes" })
	if !is(root, nsProtocol, "Response") {
		return nil, nil, refuse(checkResponse, "the message is not a SAML 2.0 Response")
	}
	form := &shape{ids: make(map[string]struct{}, 4)}
	if err := form.walk(root, root); err != nil {
		return nil, nil, err
	}
	pass(v.trace, checkDuplicateID, nil)
	pass(v.trace, checkSignaturePlacement, nil)
	return root, form, nil
}

// A proof is what was signed: nothing else of a message is read.
type proof struct {
	response       *etree.Element // as it was signed if it was, else as it came
	responseSigned bool
	assertion      *etree.Element // as it was signed, by itself or within the Response
}

// prove checks the signatures, and decrypts.
func (v *verification) prove(ctx context.Context, root *etree.Element, form *shape) (proof, error) {
	p := proof{response: root}
	signed, err := v.signed(ctx, root)
	if err != nil {
		return proof{}, err
	}
	if signed != nil {
		p.response, p.responseSigned = signed, true
	}
	if err := v.status(p.response); err != nil {
		return proof{}, err
	}
	if form.assertion == nil {
		return proof{}, refuse(checkAssertionCount, "the Response has no assertion")
	}
	pass(v.trace, checkAssertionCount, nil)
	if form.encrypted {
		p.assertion, err = v.decrypt(ctx, p.response, form, p.responseSigned)
		return p, err
	}
	// The assertion's own signature is checked in the message as it came, since canonicalising the Response may have
	// dropped namespace declarations that it was signed with.
	if p.assertion, err = v.signed(ctx, detach(form.assertion)); err != nil || p.assertion != nil {
		return p, err
	}
	if !p.responseSigned {
		return proof{}, refuse(checkSignatureMissing, "neither the Response nor its assertion is signed")
	}
	if p.assertion, _ = only(p.response, nsAssertion, "Assertion"); p.assertion == nil {
		return proof{}, refuse(checkAssertionCount, "the signed Response has no assertion")
	}
	return p, nil
}

// signed checks the signature that el carries and returns what was signed, or nil when it carries none. When no known
// certificate fits and the IdP's metadata may have changed, they are read again.
func (v *verification) signed(ctx context.Context, el *etree.Element) (*etree.Element, error) {
	env, err := signatureOf(el, v.p.own.AllowSHA1)
	if env == nil || err != nil {
		return nil, err
	}
	pass(v.trace, checkAlgorithm, func() string { return el.Tag + ": " + env.method })
	var found signedBy
	err = v.p.trust.ring.Decide(ctx, v.stored(), func(h *history, slack time.Duration) keyring.Opinion {
		var opinion keyring.Opinion
		found, opinion = v.p.trust.verifyBy(h, el, env, v.at, slack)
		opinion.Final = opinion.Final || !claims(el, h.Issuer)
		v.entityID = h.Issuer
		return opinion
	})
	if err != nil {
		return nil, err
	}
	pass(v.trace, checkSignature, func() string { return el.Tag + ", certificate " + found.certificate.Use.id[:16] })
	return found.el, nil
}

// stored is the event as the keyring sees it.
func (v *verification) stored() keyring.Event {
	return keyring.Event{StoredAt: v.at, ByBroker: v.e.Door == providers.DoorStream}
}

// claims reports whether an element says that it comes from the issuer. It decides only whether metadata are worth
// reading again.
func claims(el *etree.Element, name string) bool {
	issuer, _ := only(el, nsAssertion, "Issuer")
	if issuer == nil {
		return true
	}
	said, _ := trimmed(issuer)
	return said == name
}

// decrypt opens the EncryptedAssertion of the Response and checks the signature inside, if there is one.
//
// A cipher in CBC mode tells its sender, by what happens to a changed ciphertext, what is in it. So unless the Response
// is signed, whatever goes wrong up to the signature inside has one answer.
func (v *verification) decrypt(ctx context.Context, response *etree.Element, form *shape, responseSigned bool) (*etree.Element, error) {
	el, single := only(response, nsAssertion, "EncryptedAssertion")
	if el == nil || !single {
		return nil, refuse(checkAssertionCount, "the Response has no assertion")
	}
	if v.p.key == nil {
		return nil, refuseHint(checkDecryption, "the assertion is encrypted, and the source has no key",
			"set key_file and certificate_file for this source, or let the identity provider send assertions unencrypted")
	}
	box, err := unseal(el)
	if err != nil {
		return nil, err
	}
	pass(v.trace, checkEncryption, func() string { return box.algorithm })
	opaque := !responseSigned && !box.authenticated()
	trace := v.trace
	if opaque {
		v.trace = nil
	}
	assertion, err := v.opened(ctx, box, scopeOf(el), form, responseSigned)
	v.trace = trace
	if err != nil {
		if opaque && !errors.Is(err, providers.ErrUnavailable) {
			return nil, v.opaque(ctx)
		}
		return nil, err
	}
	pass(v.trace, checkDecryption, nil)
	if opaque {
		pass(v.trace, checkSignature, func() string { return "Assertion" })
	}
	return assertion, nil
}

// opaque is the one answer to a CBC ciphertext that came to nothing. A certificate that is not known yet hides behind
// it too, so metadata that may be outdated are read again first.
func (v *verification) opaque(ctx context.Context) error {
	return v.p.trust.ring.Decide(ctx, v.stored(), func(*history, time.Duration) keyring.Opinion {
		return keyring.Opinion{Waits: true, Failure: refuse(checkDecryption, failedDecryption)}
	})
}

func (v *verification) opened(ctx context.Context, box *sealed, scope []declaration, form *shape, responseSigned bool) (*etree.Element, error) {
	plain, ok := box.open(v.p.key)
	if !ok {
		return nil, refuse(checkDecryption, failedDecryption)
	}
	root, err := scan(string(plain), messageLimits, scope)
	if err != nil {
		return nil, err
	}
	inner := &shape{ids: form.ids}
	if err := inner.walk(root, root); err != nil {
		return nil, err
	}
	if inner.assertion != root || inner.encrypted {
		return nil, refuse(checkAssertionCount, "what was encrypted is not one assertion")
	}
	signed, err := v.signed(ctx, root)
	if err != nil || signed != nil {
		return signed, err
	}
	if !responseSigned {
		return nil, refuse(checkSignatureMissing, "neither the Response nor its assertion is signed")
	}
	return root, nil
}

// user maps what was proved to a request.
func (v *verification) user(ctx context.Context, a *assertion) (providers.CreateUser, error) {
	src := &v.p.src
	issuer := v.entityID
	user := providers.CreateUser{
		Principal:    providers.Principal{Kind: providers.PrincipalSource, ID: src.Name, Name: src.Name, Grants: src.Grants},
		Shape:        providers.ShapeLogin,
		AuthProvider: "saml",
		Identity:     &providers.Identity{Issuer: issuer, Subject: a.subject},
		UsedID:       a.usedID(issuer, src.MaxEventAge),
	}
	if v.p.mappedSubject {
		user.Identity.Subject = ""
	}
	vars := &mapping.Vars{Attributes: a.attributes, NameID: a.nameID, NameIDFormat: a.format, SessionIndex: a.sessionIndex}
	if err := v.p.mapping.Apply(ctx, vars, &user, v.trace); err != nil {
		return providers.CreateUser{}, err
	}
	if v.p.mappedSubject && strings.TrimSpace(user.Identity.Subject) == "" {
		return providers.CreateUser{}, refuseHint(checkSubject, "the attribute that the source takes the subject from is absent or empty",
			"let the identity provider release that attribute for every user, or change mapping.subject")
	}
	user.EmailVerified = user.EmailVerified && v.p.speaksFor(user.Email)
	user.Attributes = make(map[string]any, len(a.attributes))
	for name, values := range a.attributes {
		user.Attributes[name] = values
	}
	return user, nil
}

// speaksFor reports whether the domain of an address is one of the source's.
func (p *Provider) speaksFor(email string) bool {
	at := strings.LastIndexByte(email, '@')
	return at > 0 && p.domains[strings.ToLower(email[at+1:])]
}
