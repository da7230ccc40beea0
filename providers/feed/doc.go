// Package feed verifies the events of HR feeds: a credential in the headers, and in the body a user in the format that
// the source declares.
//
// Format user is either body of the API's two create operations, told apart by their members. A feed may grant what both
// its credential and its source list. Its e-mail addresses count as verified when the source says trust_email and the
// address lies in its domains; the worker, which knows the canonical form of a domain, decides the latter.
//
// JWTs are no credentials here: a source's commands: true speaks of commands alone.
package feed
