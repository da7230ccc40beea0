// Package providers declares what a source of identity events can prove and how it says so.
//
// Three words are kept apart throughout idpsync. Verified means cryptography: a provider checked a signature or a
// credential. Validated means rules on the data, and authorized means policy; both belong to package worker.
//
// A [Provider] turns one [Envelope] into one [CreateUser] request, or fails with an [*Error] of one of the classes in
// errors.go. It never reads the database: the look-ups it needs are contracts ([Keys], [Credentials]) that the command
// implements over the store and hands in. There is one provider for each wire format: oidc, saml, command and feed.
//
// Every check that a provider makes has a name. The name is the reason in the answer (`details.reason`), in the dead
// letter and in the [Trace] of an explanation, so that all of them speak of the same thing.
package providers
