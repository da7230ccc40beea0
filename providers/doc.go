// Package providers declares what a source of identity events can prove and how it says so.
//
// Three words are kept apart throughout idpsync. Verified means cryptography: a provider checked a signature or a
// credential. Validated means rules on the data, and authorized means policy; they are worker/rules and worker/policy.
//
// A [Provider] turns one [Envelope] into one [CreateUser] request, or fails with an [*Error] of one of the classes in
// errors.go. It never reads the database: the look-ups it needs are contracts ([Keys], [Credentials]) that
// worker/directory implements over the store, and that are handed in. There is one provider for each wire format: oidc, saml, command and feed.
//
// Each of them exports its kind as a [Descriptor]: which keys its sources have in a declaration, what their mappings speak
// of, what they may send, and how a provider is made. A deployment is a list of [Kinds]. Nothing outside a provider's
// package names a kind to learn what it can do, so that a new one is a folder and a line; toytest shows it.
//
// Every check that a provider makes has a name. The name is the reason in the answer (`details.reason`), in the dead
// letter and in the [Trace] of an explanation, so that all of them speak of the same thing.
package providers
