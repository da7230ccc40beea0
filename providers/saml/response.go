package saml

import (
	"strings"
	"time"

	"github.com/beevik/etree"
)

// maxIssueAge is how long before the event was stored a Response or an assertion may have been issued, whatever window
// it gives itself.
const maxIssueAge = time.Hour

const (
	version2      = "2.0"
	statusSuccess = "urn:oasis:names:tc:SAML:2.0:status:Success"
	formatEntity  = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"
)

// status checks version and status of the Response (SAML core 3.2.2). It comes before the assertion is looked for,
// since a failed login has none.
func (v *verification) status(response *etree.Element) error {
	if attrValue(response, "Version") != version2 {
		return refuse(checkVersion, "the Response is not of SAML version 2.0")
	}
	status, single := only(response, nsProtocol, "Status")
	if status == nil || !single {
		return refuse(checkStatus, "the Response does not have one Status")
	}
	code, single := only(status, nsProtocol, "StatusCode")
	if code == nil || !single {
		return refuse(checkStatus, "the Status does not have one StatusCode")
	}
	if value := attrValue(code, "Value"); value != statusSuccess {
		return refuseHint(checkStatus, "the identity provider refused the login: "+statusName(code),
			"the reason is in the identity provider's own log")
	}
	pass(v.trace, checkStatus, func() string { return "Success" })
	return nil
}

// statusName gives the last words of the status codes, as in Responder/AuthnFailed. Only letters are repeated.
func statusName(code *etree.Element) string {
	name := lastWord(attrValue(code, "Value"))
	if inner, _ := only(code, nsProtocol, "StatusCode"); inner != nil {
		name += "/" + lastWord(attrValue(inner, "Value"))
	}
	return name
}

func lastWord(urn string) string {
	word := urn[strings.LastIndexByte(urn, ':')+1:]
	letters := func(r rune) bool { return r|0x20 < 'a' || r|0x20 > 'z' }
	if word == "" || len(word) > 40 || strings.ContainsFunc(word, letters) {
		return "unknown"
	}
	return word
}

// response checks what the Response says of itself. Unless it is signed, these are the sender's words, and serve to
// refuse messages that went astray.
func (v *verification) response(el *etree.Element, signed bool) error {
	if err := v.issuer(el, false); err != nil {
		return err
	}
	destination, present := attr(el, "Destination")
	if present && destination != v.p.own.ACSURL || signed && !present {
		return refuseSaid(checkDestination, "the Response is not for our assertion consumer service",
			"the Destination must be exactly acs_url, "+v.p.own.ACSURL, destination)
	}
	pass(v.trace, checkDestination, func() string {
		if !present {
			return "absent, and the Response is not signed"
		}
		return v.p.own.ACSURL
	})
	if err := v.issuedAt(el); err != nil {
		return err
	}
	inResponseTo, answers := attr(el, "InResponseTo")
	return v.inResponseTo(el.Tag, inResponseTo, answers)
}

// issuer checks the Issuer of a Response or an assertion (SAML core 2.2.5).
func (v *verification) issuer(el *etree.Element, required bool) error {
	issuer, single := only(el, nsAssertion, "Issuer")
	if issuer == nil && !required && single {
		return nil
	}
	if issuer == nil || !single {
		return refuse(checkIssuer, "the "+el.Tag+" does not have one Issuer")
	}
	name, plain := trimmed(issuer)
	format, given := attr(issuer, "Format")
	if !plain || name != v.entityID || given && format != formatEntity {
		return refuseSaid(checkIssuer, "the Issuer of the "+el.Tag+" is not the identity provider of this source",
			"the Issuer must be exactly the entityID of the metadata, "+v.entityID, name)
	}
	pass(v.trace, checkIssuer, func() string { return el.Tag + ": " + name })
	return nil
}

// issuedAt checks the IssueInstant of a Response or an assertion.
func (v *verification) issuedAt(el *etree.Element) error {
	instant, ok := instantOf(el, "IssueInstant")
	switch {
	case !ok || instant.IsZero():
		return refuse(checkIssuedAt, "the "+el.Tag+" has no valid IssueInstant")
	case !v.moment.Begins(instant, checkIssuedAt.name):
		return refuseHint(checkIssuedAt, "the "+el.Tag+" was issued "+instant.Sub(v.at).Round(time.Second).String()+" after the event was stored", checkClock)
	case instant.Before(v.at.Add(-maxIssueAge - v.moment.Skew())):
		return refuse(checkIssuedAt, "the "+el.Tag+" was issued "+v.at.Sub(instant).Round(time.Second).String()+" before the event was stored, which is more than "+maxIssueAge.String())
	}
	pass(v.trace, checkIssuedAt, func() string { return el.Tag + ": " + instant.Format(time.RFC3339) })
	return nil
}

// inResponseTo holds an InResponseTo against the request of the login. A login with a request must answer it, and one
// without must be permitted and answer none (SAML profiles 4.1.4.3 and 4.1.5).
func (v *verification) inResponseTo(where, value string, present bool) error {
	switch {
	case v.requestID != "" && value != v.requestID:
		return refuseSaid(checkInResponseTo, "the "+where+" does not answer the request that request_id names", "", value)
	case v.requestID == "" && present:
		return refuseHint(checkInResponseTo, "the "+where+" answers a request, and the event has no request_id",
			"publish the ID of the AuthnRequest as request_id")
	case v.requestID == "" && !v.p.own.IDPInitiated:
		return refuseHint(checkInResponseTo, "the "+where+" answers no request",
			"set idp_initiated: true for this source if logins may begin at the identity provider")
	}
	pass(v.trace, checkInResponseTo, func() string {
		if v.requestID == "" {
			return where + ": no request, as idp_initiated permits"
		}
		return where + ": request_id"
	})
	return nil
}

// instantOf reads an attribute of type xs:dateTime. It is zero when the attribute is absent, and not ok when it is
// malformed. A time without zone is UTC (SAML core 1.3.3).
func instantOf(el *etree.Element, name string) (time.Time, bool) {
	value, present := attr(el, name)
	if !present {
		return time.Time{}, true
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, value); err == nil && !t.IsZero() {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}
