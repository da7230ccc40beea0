// Package oidc verifies logins through OpenID Connect: an ID Token, and beside it the nonce and access token of the
// login, if the event has them.
//
// # Order of checks
//
// Each check has one name, which is the reason of its failure. The first that fails ends the verification. Nothing
// that a token says is believed before its signature holds. Times are judged at the time at which the event was
// stored, or its token begins; never at this process's own.
//
//	 1  json                our event is a strict document with an id_token
//	 2  token_size          the token is at most 64 KiB
//	 3  token_form          three parts in canonical base64url without padding          RFC 7515 section 7.1
//	 4  header              the header is one JSON object, no name twice                RFC 7515 section 4
//	 5  critical_header     no crit: there is no extension that we understand           RFC 7515 section 4.1.11
//	 6  algorithm           alg is one of the source's; never none, never HS*           RFC 8725 section 3.1
//	 7  token_type          typ does not name another kind of JWT                       RFC 8725 section 3.11
//	 8  unknown_key         the issuer has published a key of this kid                  OIDC Core section 10.1
//	 9  unsuitable_key      its alg, use, type and size fit                             RFC 8725 section 3.5
//	10  signature           the signature holds                                         RFC 7515 section 5.2
//	11  key_banned          no operator banned the key for the time of the event
//	    retired_key         the key was not withdrawn before the event was stored       OIDC Core section 10.1.1
//	    key_not_seen        its issuer was seen publishing it near that time            OIDC Core section 10.1.1
//	12  claims              the payload is a JSON object, within bounds                 RFC 7519 section 7.2
//	13  duplicate_claim     no claim twice, nor one that is read in two cases           RFC 7519 section 4
//	14  issuer              iss is exactly the source's issuer                          OIDC Core section 3.1.3.7 (2)
//	15  audience            aud has one of the source's audiences                       OIDC Core section 3.1.3.7 (3)
//	16  authorized_party    azp is one of them; several audiences need it               OIDC Core section 3.1.3.7 (4, 5)
//	17  expired             the moment is before exp                                    OIDC Core section 3.1.3.7 (9)
//	18  not_yet_valid       nbf is not far ahead                                        RFC 7519 section 4.1.5
//	19  issued_at           iat is there, and not far ahead                             OIDC Core section 2
//	20  subject             sub is 1 to 255 printable ASCII characters                  OIDC Core section 2
//	21  nonce               nonce is that of the login, if the event has it             OIDC Core section 3.1.3.7 (11)
//	22  access_token_hash   at_hash is there and fits, if the event has an access token OIDC Core section 3.1.3.8
//	23  id_token            go-oidc, which checks on its own, has no objection
//
// A token that carries a command in place of a login passes the same ones, but for 1, 21 and 22, after a check called
// commands: its source lets its tokens carry commands.
//
// 1 to 4 and 12, 13 are malformed (400), the others unauthenticated (401). jku, x5u, jwk and x5c of a token are never
// read.
//
// # Time
//
// exp, nbf and iat are judged at one moment, each with the clock_skew of the source ([providers.Moment]): when the event was
// stored; or, for a token that begins later than that, when it begins. Such an event waits, after all other checks, under
// the reason not_yet_valid or issued_at; one that begins more than providers.MaxAhead later is refused at once.
//
// # Keys
//
// An issuer's keys are kept with the times at which they were known (providers.Keys), so that an event that was signed
// before a rotation still verifies. Package keyring says for which events a key is believed, and when the issuer is asked
// again. A kid is a hint: it chooses the public keys that were ever published under it, and any fitting entry of such a
// key that is believed will do.
//
// unknown_key is given only when an answer of the issuer that was asked for at or after the event's time is without it;
// until there is one the failure is transient: issuer_unreachable, or keys_refresh_pending while the rate limit (one
// question in ten seconds for each source, two at first) forbids to ask. A signature that fails and a key that is
// retired have the issuer asked too, as far as the limit allows, since an issuer may put a key back or, against the
// rules, change one under its kid; but their verdict does not wait for it.
//
// The other transient reasons are key_history, when the history cannot be read or written, and cancelled.
//
// Metadata comes by https, or by http from loopback for an issuer on loopback. Redirects to another host are not
// followed, answers are bounded in size and time, and the discovery document must name exactly the issuer.
package oidc
