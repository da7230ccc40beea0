// Package saml verifies SAML 2.0 logins: a Response that an identity provider posted to our assertion consumer service,
// published as an event. It supports the web browser SSO profile with the HTTP-POST binding.
//
// # What is guaranteed
//
// A request that [Provider.Verify] returns holds only what the IdP of the source signed, within the time for which it
// signed it, for us, and in answer to the login it was published with. Values are read from the element that the
// signature library returns after it has checked the signature, which is the parse of the very bytes that were hashed;
// nothing is serialised and parsed again in between. The one exception is what a Response that is not signed itself
// says around its signed assertion (Destination, InResponseTo, IssueInstant, Issuer, Status): it can only lead to a
// refusal.
//
// # Order of checks
//
// Each check gives its name as the reason when it fails, and stands in the trace with its section of the standard.
//
//  1. The event: json, base64.
//  2. The document, before any parser: document_limits (size, depth, elements, attributes, namespaces in scope), encoding,
//     xml, namespace, duplicate_attribute, and no doctype, entity, comment, cdata or processing_instruction.
//  3. The shape: response, duplicate_id, exactly one assertion (assertion_count), signature_placement.
//  4. The Response's signature, if it has one: signature_shape, signature_reference, algorithm, transform, then signature,
//     unknown_key, retired_key, certificate_expired.
//  5. Version and status of the Response.
//  6. Decryption, if the assertion is encrypted: encryption_algorithm, decryption. The plaintext goes through 2 and 3.
//  7. The assertion's own signature, as in 4. Neither signed: signature_missing.
//  8. The Response: issuer, destination, issued_at, in_response_to.
//  9. The assertion: version, issuer, issued_at; a bearer subject_confirmation with recipient, not_yet_valid, expired and
//     in_response_to; Conditions with not_yet_valid, expired, condition and audience, where every restriction must hold;
//     authn_statement, session_expired; name_id, name_id_qualifier, name_id_format.
//  10. The mapping, and subject.
//
// Reasons of 1 and 2, response, and panic are malformed events; all others are events that could not be verified.
//
// # Time
//
// Every bound is judged at one moment, widened by the clock_skew of the source ([providers.Moment]): when the broker stored
// the event; or, for an assertion that begins later than that, when it begins. Such an event waits, after all other checks,
// under the reason not_yet_valid or issued_at; one that begins more than providers.MaxAhead later is refused at once. The
// clock of the process decides only how long an event waits, and when metadata are read again.
//
// # Keys
//
// Which certificates are the IdP's is the word of its metadata alone; a certificate inside the message serves as a hint
// which one to try first. Certificates are kept with the times at which they were published, so that a Response that
// was stored before a change still verifies; package keyring says for which events they are believed. The reasons differ:
// signature (the message was changed), unknown_key (no certificate ever published fits), retired_key (one fits that was
// withdrawn before the event was stored), key_not_seen (one fits that was last seen too long before), key_banned (an
// operator banned its key), metadata (transient: the URL is being read or cannot be, and a newer document might have the
// key) and metadata_expired (transient: the event was stored after the document's validUntil). Elements of other
// namespaces are no keys.
//
// # Encryption
//
// AES in CBC or GCM mode with 128 or 256 bits, under RSA-OAEP. Unless the Response is signed, everything that can go
// wrong with a CBC ciphertext, up to the signature inside, has the one reason decryption: any difference would let a
// sender learn the plaintext of an assertion it cannot read.
//
// # Identity
//
// The identity is (entityID of the IdP, NameID), byte for byte but for white space of XML around values, which is no part of
// them. SPNameQualifier must be absent or our entityID, and so must NameQualifier be the IdP's for a persistent NameID. With
// another format it may name another name space of the IdP's, which then is a part of the subject. An encrypted NameID is
// decrypted, and passed over when it cannot be and the source maps subject. A transient NameID is refused unless the
// source maps subject to a stable attribute; then that attribute is the subject for every format, and its absence is a
// refusal. An e-mail address counts as verified when the source says trust_email and the address lies in its domains,
// which are compared in ASCII form: an address with its domain in other letters does not count.
//
// # What is not supported
//
// The artifact and redirect bindings, encrypted attributes (left out), holder-of-key confirmation, several
// assertions in one Response, and assertions within an Advice (both refused). Signatures of metadata documents are not
// checked: a document is trusted for the file or the TLS connection it came from.
package saml
