// Package issuer is an OpenID issuer in the process: it serves its discovery document and its JWK Set over HTTP, signs
// real ID Tokens, rotates its keys, and can be taken down. The `dev` command ships it; tests use it to be an issuer
// and, with the methods of forge.go, to be an attacker.
//
// It is no login service: there is no authorization or token endpoint. An [Issuer] is safe for concurrent use.
package issuer
