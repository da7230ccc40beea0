// Package mapping turns what a source says into the fields of a create-user request, by expressions in CEL.
//
// A source's mapping gives an expression for a field; a field without one has the default of the vocabulary that its kind
// speaks ([Claims], [Attributes], [Resource], or one that the kind brings along), and an
// expression that is empty switches the default off. The fields are subject, email, email_verified, name, identity_name,
// display_name, first_name, last_name, roles, organizations and avatar. subject is for SAML alone: a stable attribute
// in place of a transient NameID. An owner is never taken from a claim, so there
// is no field for it.
//
// # Variables
//
//   - oidc: claims, the payload of the ID Token.
//   - saml: attributes (name to list of values), name_id, name_id_format, session_index.
//   - feed: resource, the SCIM resource. Attribute names are spelt as in RFC 7643; the reader puts them so.
//
// # Defaults
//
//	field          oidc                    saml                                         feed
//	email          claims.email            email, mail, their URI and OID names,        primary e-mail, else the first
//	                                       else an e-mail NameID
//	email_verified claims.email_verified   -                                            -
//	name           claims.name             displayName, name, cn and their URI names    displayName, else name.formatted
//	first_name     claims.given_name       givenName, firstName and their URI names     name.givenName
//	last_name      claims.family_name      sn, surname, lastName and their URI names    name.familyName
//	identity_name  -                       -                                            userName
//	display_name   -                       -                                            displayName
//	roles          -                       -                                            value of each of roles
//
// The others are absent. SAML and feeds prove an e-mail address by `trust_email` alone, so email_verified cannot be
// mapped for them.
//
// # Proof of an address
//
// An address is proved when email_verified is true and speaks of the claims that the address comes from. The default
// speaks of claims.email as it is, and of no other address. An expression that the operator wrote speaks of a claim when
// it reads that claim, or one beside it that is named after it: X_verified, XVerified or verified_X, and for claims.email
// also xms_edov, which Microsoft Entra sends. An address from one of several claims needs all of them spoken of; an
// expression that can be true by other claims alone, or by a claim's being there, is no proof. Nor is one that is true
// although nothing speaks for the address: it is tried on claims that are made up, with an address of a domain that
// does not exist, and with each claim that could vouch for it absent, false, null, "false", 0, "" or an unknown string. An
// email_verified that is no proof is never evaluated at run time. A source with trust_email needs none of this.
//
// [Compile] compiles all the same, so that a source in force goes on working; [Mapping.Lint] tells who applies it.
//
// # What an expression may answer
//
// A key that is not there, or an optional without a value, means that the field is absent. A value of another type
// than the field's is a fault of that field; all faults of a request are reported at once. email_verified is the one
// exception: whatever is not the boolean true counts as not verified, the string "true" too.
//
// roles has four states: absent, empty, a list (or one string, which is a list of one), and malformed, which is a
// fault: strings joined by commas, a list of mixed types, an empty name, more than [MaxRoles] entries, and a groups
// claim that Microsoft Entra left out for its size (`_claim_names`, `hasgroups`, the `groups.link` attribute).
//
// Expressions use the standard library of CEL with optionals and the strings, sets, lists and two-variable
// comprehension extensions. What one evaluation may cost is bounded, and it ends with its context.
package mapping
