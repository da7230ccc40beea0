// Package wire reads the JSON documents that events carry: logins, the API's two request shapes, CloudEvents, and the
// open objects of claims inside tokens and resources.
//
// Our own documents are read strictly ([Decode]). Refused are unknown members, a name that appears twice, a name in
// another case, bad UTF-8 and lone surrogates, anything after the document, a null anywhere, and documents larger or
// deeper than their limits, which are checked before anything is decoded. Decoders that let the last of two equal
// names win, or that match `ADMIN` to `admin`, let two readers of one signed document see two different things; that
// is why.
//
// Objects that may hold members we do not know ([Claims], [Resource], [DecodeOpen]) are read as strictly, except that
// unknown members are kept or passed over, and null is a value.
//
// Every error is a *providers.Error of class ErrMalformed whose Field is the path of the fault, as in
// organizations[1].roleId. An error never quotes a value of the document.
package wire
