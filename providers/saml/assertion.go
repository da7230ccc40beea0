package saml

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/beevik/etree"

	"github.com/idpsync/idpsync/providers"
)

const (
	methodBearer     = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
	formatPersistent = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	formatTransient  = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"

	maxNameID = 1024 // bytes
	maxID     = 256  // bytes of an assertion's ID
)

// An assertion is what is read of the signed element.
type assertion struct {
	id           string
	nameID       string
	subject      string // of the identity, unless the source maps one: the NameID, with its name space if that is not the IdP's own
	format       string // of the NameID
	sessionIndex string
	attributes   map[string][]string // by Name, and by FriendlyName where that is no other's Name
	until        time.Time           // when it is good for nothing any more
}

// usedID makes the entry that keeps the assertion from being used twice. It is kept until no event that was stored
// within the assertion's window can come up for the first time. The hash binds the issuer and bounds the length.
func (a *assertion) usedID(issuer string, maxAge time.Duration) *providers.UsedID {
	if maxAge == 0 {
		maxAge = providers.DefaultMaxEventAge
	}
	sum := sha256.Sum256([]byte(issuer + "\x00" + a.id))
	return &providers.UsedID{ID: "saml:" + hex.EncodeToString(sum[:]), Until: a.until.Add(providers.MaxClockSkew + maxAge)}
}

// assertion checks what the assertion says, and reads it.
func (v *verification) assertion(el *etree.Element) (*assertion, error) {
	a := &assertion{id: attrValue(el, "ID")}
	if attrValue(el, "Version") != version2 {
		return nil, refuse(checkVersion, "the assertion is not of SAML version 2.0")
	}
	pass(v.trace, checkVersion, nil)
	if a.id == "" || len(a.id) > maxID {
		return nil, refuse(checkDuplicateID, "the assertion has no ID, or one that is too long")
	}
	for _, step := range []func(*etree.Element, *assertion) error{v.origin, v.confirmation, v.conditions, v.session, v.subject} {
		if err := step(el, a); err != nil {
			return nil, err
		}
	}
	if !v.moment.Reached() {
		return nil, refuse(checkExpired, "the assertion ends before it begins")
	}
	a.attributes = attributes(el)
	return a, nil
}

func (v *verification) origin(el *etree.Element, _ *assertion) error {
	if err := v.issuer(el, true); err != nil {
		return err
	}
	return v.issuedAt(el)
}

// confirmation looks for a bearer SubjectConfirmation that holds (SAML profiles 4.1.4.2 and 4.1.4.3). One that does is
// enough; when none does, the reason is that of the last.
func (v *verification) confirmation(el *etree.Element, a *assertion) error {
	subject, single := only(el, nsAssertion, "Subject")
	if subject == nil || !single {
		return refuse(checkSubjectConfirmation, "the assertion does not have one Subject")
	}
	failure := refuse(checkSubjectConfirmation, "the Subject has no SubjectConfirmation of the method bearer")
	for _, c := range children(subject, nsAssertion, "SubjectConfirmation") {
		if attrValue(c, "Method") != methodBearer {
			continue
		}
		// Only the checks of the confirmation that holds are worth recording.
		whole := v.trace
		if whole != nil {
			v.trace = &providers.Trace{}
		}
		own, before := v.trace, v.moment
		if failure = v.bearer(c, a); failure != nil {
			v.moment = before
		}
		v.trace = whole
		if failure == nil {
			for _, held := range own.Checks() {
				whole.Add(held)
			}
			pass(v.trace, checkSubjectConfirmation, func() string { return "bearer" })
			return nil
		}
	}
	return failure
}

// bearer checks one SubjectConfirmationData. Its Address is not compared: the broker does not know the user's.
func (v *verification) bearer(confirmation *etree.Element, a *assertion) error {
	data, single := only(confirmation, nsAssertion, "SubjectConfirmationData")
	if data == nil || !single {
		return refuse(checkSubjectConfirmation, "the SubjectConfirmation has no SubjectConfirmationData")
	}
	if recipient := attrValue(data, "Recipient"); recipient != v.p.own.ACSURL {
		return refuseSaid(checkRecipient, "the assertion is for another assertion consumer service",
			"the Recipient must be exactly acs_url, "+v.p.own.ACSURL, recipient)
	}
	pass(v.trace, checkRecipient, func() string { return v.p.own.ACSURL })
	if _, ok := attr(data, "NotOnOrAfter"); !ok {
		return refuse(checkExpired, "the SubjectConfirmationData has no NotOnOrAfter")
	}
	until, err := v.window(data)
	if err != nil {
		return err
	}
	inResponseTo, present := attr(data, "InResponseTo")
	if err := v.inResponseTo("SubjectConfirmationData", inResponseTo, present); err != nil {
		return err
	}
	a.until = until
	return nil
}

const checkClock = "check the clock of the identity provider; clock_skew of the source is how far it and the broker's may lie apart"

// window judges NotBefore and NotOnOrAfter at the moment of the assertion, and returns the latter.
func (v *verification) window(el *etree.Element) (time.Time, error) {
	from, okFrom := instantOf(el, "NotBefore")
	until, okUntil := instantOf(el, "NotOnOrAfter")
	switch {
	case !okFrom:
		return until, refuse(checkNotYetValid, "the "+el.Tag+" has a NotBefore that is not a time")
	case !okUntil:
		return until, refuse(checkExpired, "the "+el.Tag+" has a NotOnOrAfter that is not a time")
	case !from.IsZero() && !v.moment.Begins(from, checkNotYetValid.name):
		return until, refuseHint(checkNotYetValid, "the "+el.Tag+" is valid only from "+from.Sub(v.at).Round(time.Second).String()+" after the event was stored", checkClock)
	case !until.IsZero() && !v.moment.Ends(until):
		return until, refuse(checkExpired, "the "+el.Tag+" had expired "+v.at.Sub(until).Round(time.Second).String()+" before the event was stored")
	}
	pass(v.trace, checkNotYetValid, func() string { return el.Tag })
	pass(v.trace, checkExpired, func() string { return el.Tag + ": until " + until.Format(time.RFC3339) })
	return until, nil
}

// conditions checks every condition (SAML core 2.5.1). All of them must hold, of several audience restrictions too.
func (v *verification) conditions(el *etree.Element, a *assertion) error {
	conditions, single := only(el, nsAssertion, "Conditions")
	if conditions == nil || !single {
		return refuse(checkAudience, "the assertion does not have one Conditions element, and so no audience")
	}
	until, err := v.window(conditions)
	if err != nil {
		return err
	}
	if !until.IsZero() && until.Before(a.until) {
		a.until = until
	}
	restricted := false
	for _, c := range conditions.ChildElements() {
		switch {
		case is(c, nsAssertion, "AudienceRestriction"):
			if names := audiences(c); !slices.Contains(names, v.p.own.EntityID) {
				return refuseSaid(checkAudience, "the assertion is for another audience",
					"the Audience must be exactly entity_id, "+v.p.own.EntityID, strings.Join(names, " "))
			}
			restricted = true
		case is(c, nsAssertion, "OneTimeUse"), is(c, nsAssertion, "ProxyRestriction"):
			// Every assertion is good for one event, and none is passed on.
		default:
			return refuseSaid(checkCondition, "the assertion has a condition that is not known", "", c.FullTag())
		}
	}
	if !restricted {
		return refuse(checkAudience, "the assertion has no AudienceRestriction")
	}
	pass(v.trace, checkCondition, nil)
	pass(v.trace, checkAudience, func() string { return v.p.own.EntityID })
	return nil
}

func audiences(restriction *etree.Element) []string {
	var names []string
	for _, audience := range children(restriction, nsAssertion, "Audience") {
		if name, plain := trimmed(audience); plain {
			names = append(names, name)
		}
	}
	return names
}

// session checks the AuthnStatements; the SessionIndex is that of the first.
func (v *verification) session(el *etree.Element, a *assertion) error {
	statements := children(el, nsAssertion, "AuthnStatement")
	if len(statements) == 0 {
		return refuse(checkAuthnStatement, "the assertion has no AuthnStatement: nobody logged in")
	}
	for i, s := range statements {
		if i == 0 {
			a.sessionIndex = attrValue(s, "SessionIndex")
		}
		until, ok := instantOf(s, "SessionNotOnOrAfter")
		if !ok || !until.IsZero() && !v.moment.Ends(until) {
			return refuse(checkSessionExpired, "the session at the identity provider had ended before the event was stored")
		}
	}
	pass(v.trace, checkAuthnStatement, nil)
	pass(v.trace, checkSessionExpired, nil)
	return nil
}

// subject reads the NameID (SAML core 2.2.3), and finds the subject of the identity, unless the source maps one.
func (v *verification) subject(el *etree.Element, a *assertion) error {
	subject, _ := only(el, nsAssertion, "Subject")
	nameID, err := v.identifier(subject)
	if err != nil {
		return err
	}
	if nameID == nil {
		pass(v.trace, checkNameID, func() string { return "encrypted, and passed over: the subject is mapped" })
		return nil
	}
	value, plain := trimmed(nameID)
	switch {
	case !plain || value == "":
		return refuse(checkNameID, "the NameID is empty or holds other elements")
	case !nameable(value, maxNameID) || strings.TrimSpace(value) != value:
		return refuse(checkNameID, "the NameID is too long, or has control characters or unusual white space around it")
	}
	a.nameID, a.subject, a.format = value, value, attrValue(nameID, "Format")
	pass(v.trace, checkNameID, nil)
	if v.p.mappedSubject { // the NameID and its name space do not matter
		return nil
	}
	if err := v.qualified(nameID, a); err != nil {
		return err
	}
	pass(v.trace, checkNameIDQualifier, nil)
	if a.format == formatTransient {
		return refuseHint(checkNameIDFormat, "the NameID is transient, so it does not identify the user at the next login",
			"let the identity provider send a persistent NameID, or set mapping.subject to an attribute that never changes")
	}
	pass(v.trace, checkNameIDFormat, func() string { return a.format })
	return nil
}

// nameable reports whether text can be part of the key of an identity.
func nameable(s string, most int) bool {
	return len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// qualified takes the qualifiers of a NameID into account, which say in whose name space it is unique.
//
// For persistent identifiers they are the names of the two parties or absent (SAML core 8.3.7). With another format the
// NameQualifier may be any name space of the identity provider's. Since two of them may hold one name for two people, one
// that is not the provider's own name becomes a part of the subject, in a form that no NameID has: those never begin with
// a space.
func (v *verification) qualified(nameID *etree.Element, a *assertion) error {
	if q, given := attr(nameID, "SPNameQualifier"); given && q != v.p.own.EntityID {
		return refuseSaid(checkNameIDQualifier, "the SPNameQualifier of the NameID is not our entity_id", mapSubject, q)
	}
	q, given := attr(nameID, "NameQualifier")
	switch {
	case !given || q == v.entityID:
		return nil
	case a.format == formatPersistent || a.format == formatTransient:
		return refuseSaid(checkNameIDQualifier, "the NameQualifier of the persistent NameID is not the identity provider's entityID", mapSubject, q)
	case q == "" || !nameable(q, maxNameID) || strings.ContainsFunc(q, unicode.IsSpace):
		return refuseSaid(checkNameIDQualifier, "the NameQualifier of the NameID is empty, too long, or has control characters or white space", mapSubject, q)
	}
	a.subject = " " + q + " " + a.nameID
	return nil
}

const mapSubject = "let the identity provider leave it out, or set mapping.subject to an attribute that never changes"
