package saml

import (
	"strconv"

	"github.com/idpsync/idpsync/providers"
)

// A check has the name that it gives as reason when it fails, the section of the standard that asks for it, and the
// class of its error. Core, bindings, profiles and metadata are the SAML 2.0 documents of those names.
type check struct {
	name  string
	spec  string
	class error
}

// The checks of the document, made before anything in it is looked at.
var (
	checkBase64             = check{"base64", "SAML bindings 3.5.4", providers.ErrMalformed}
	checkLimits             = check{"document_limits", "", providers.ErrMalformed}
	checkEncoding           = check{"encoding", "XML 1.0 section 4.3.3", providers.ErrMalformed}
	checkDoctype            = check{"doctype", "XML 1.0 section 2.8", providers.ErrMalformed}
	checkEntity             = check{"entity", "XML 1.0 section 4.1", providers.ErrMalformed}
	checkProcInst           = check{"processing_instruction", "XML 1.0 section 2.6", providers.ErrMalformed}
	checkComment            = check{"comment", "XML 1.0 section 2.5", providers.ErrMalformed}
	checkCDATA              = check{"cdata", "XML 1.0 section 2.7", providers.ErrMalformed}
	checkXML                = check{"xml", "XML 1.0 section 2.1", providers.ErrMalformed}
	checkNamespace          = check{"namespace", "Namespaces in XML 1.0 section 5", providers.ErrMalformed}
	checkDuplicateAttribute = check{"duplicate_attribute", "XML 1.0 section 3.1", providers.ErrMalformed}
	checkResponse           = check{"response", "SAML core 3.3.3", providers.ErrMalformed}
	checkPanic              = check{"panic", "", providers.ErrMalformed}
)

// The checks of the message's shape, its signatures and its encryption.
var (
	checkDuplicateID        = check{"duplicate_id", "SAML core 1.3.4", providers.ErrUnverified}
	checkAssertionCount     = check{"assertion_count", "SAML profiles 4.1.4.2", providers.ErrUnverified}
	checkSignaturePlacement = check{"signature_placement", "SAML core 5.4.1", providers.ErrUnverified}
	checkSignatureMissing   = check{"signature_missing", "SAML profiles 4.1.4.5", providers.ErrUnverified}
	checkSignatureShape     = check{"signature_shape", "XML Signature section 4", providers.ErrUnverified}
	checkSignatureReference = check{"signature_reference", "SAML core 5.4.2", providers.ErrUnverified}
	checkTransform          = check{"transform", "SAML core 5.4.4", providers.ErrUnverified}
	checkAlgorithm          = check{"algorithm", "SAML core 5.4.3", providers.ErrUnverified}
	checkSignature          = check{"signature", "XML Signature section 3.2", providers.ErrUnverified}
	checkUnknownKey         = check{"unknown_key", "SAML metadata 2.4.1.1", providers.ErrUnverified}
	checkRetiredKey         = check{"retired_key", "SAML metadata 2.4.1.1", providers.ErrUnverified}
	checkKeySeen            = check{"key_not_seen", "SAML metadata 2.4.1.1", providers.ErrUnverified}
	checkBannedKey          = check{"key_banned", "", providers.ErrUnverified}
	checkCertificateExpired = check{"certificate_expired", "RFC 5280 section 4.1.2.5", providers.ErrUnverified}
	checkEncryption         = check{"encryption_algorithm", "XML Encryption 1.1 section 5", providers.ErrUnverified}
	checkDecryption         = check{"decryption", "XML Encryption 1.1 section 4.4", providers.ErrUnverified}
)

// The checks of what the message says, made on what was signed.
var (
	checkVersion             = check{"version", "SAML core 4.1", providers.ErrUnverified}
	checkStatus              = check{"status", "SAML core 3.2.2", providers.ErrUnverified}
	checkIssuer              = check{"issuer", "SAML profiles 4.1.4.2", providers.ErrUnverified}
	checkDestination         = check{"destination", "SAML bindings 3.5.5.2", providers.ErrUnverified}
	checkInResponseTo        = check{"in_response_to", "SAML profiles 4.1.4.3", providers.ErrUnverified}
	checkIssuedAt            = check{"issued_at", "SAML core 2.3.3", providers.ErrUnverified}
	checkSubjectConfirmation = check{"subject_confirmation", "SAML profiles 4.1.4.2", providers.ErrUnverified}
	checkRecipient           = check{"recipient", "SAML profiles 4.1.4.3", providers.ErrUnverified}
	checkNotYetValid         = check{"not_yet_valid", "SAML core 2.5.1.2", providers.ErrUnverified}
	checkExpired             = check{"expired", "SAML core 2.5.1.2", providers.ErrUnverified}
	checkCondition           = check{"condition", "SAML core 2.5.1.1", providers.ErrUnverified}
	checkAudience            = check{"audience", "SAML core 2.5.1.4", providers.ErrUnverified}
	checkAuthnStatement      = check{"authn_statement", "SAML profiles 4.1.4.2", providers.ErrUnverified}
	checkSessionExpired      = check{"session_expired", "SAML core 2.7.2", providers.ErrUnverified}
	checkNameID              = check{"name_id", "SAML core 2.2.3", providers.ErrUnverified}
	checkNameIDQualifier     = check{"name_id_qualifier", "SAML core 8.3.7", providers.ErrUnverified}
	checkSubject             = check{"subject", "SAML core 8.3.8", providers.ErrUnverified}
	checkNameIDFormat        = check{"name_id_format", "SAML core 8.3.8", providers.ErrUnverified}
)

// A refusal is a failed check, not yet an answer.
type refusal struct {
	check   check
	message string // for the sender; no personal data
	hint    string // for the operator
	said    string // what the message said, for the trace alone; no personal data
}

// Error implements error.
func (r *refusal) Error() string { return r.check.name + ": " + r.message }

func refuse(c check, message string) error { return &refusal{check: c, message: message} }

func refuseHint(c check, message, hint string) error {
	return &refusal{check: c, message: message, hint: hint}
}

// refuseSaid is refuseHint with the value at fault.
func refuseSaid(c check, message, hint, said string) error {
	return &refusal{check: c, message: message, hint: hint, said: said}
}

// answer makes the provider's error of a refusal.
func (r *refusal) answer() *providers.Error {
	return &providers.Error{Class: r.check.class, Reason: r.check.name, Field: "saml_response", Message: r.message, Hint: r.hint}
}

// pass records checks that held. Detail is built only when somebody reads it.
func pass(t *providers.Trace, c check, detail func() string) {
	if !t.Enabled() {
		return
	}
	record := providers.Check{Step: "verify", Name: c.name, OK: true, Spec: c.spec}
	if detail != nil {
		record.Detail = detail()
	}
	t.Add(record)
}

// maxSaid bounds what a trace repeats of a message, in bytes.
const maxSaid = 200

// fail records the check that did not hold.
func fail(t *providers.Trace, r *refusal) {
	detail := r.message
	if r.said != "" {
		detail += "; the message says " + strconv.Quote(r.said[:min(len(r.said), maxSaid)])
	}
	t.Add(providers.Check{Step: "verify", Name: r.check.name, Detail: detail, Spec: r.check.spec})
}
