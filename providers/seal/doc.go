// Package seal encrypts what must rest somewhere for the workers of a deployment alone: passwords in commands that the
// broker stores, and dead letters. It fences nkeys, whose curve keys (X25519, XSalsa20-Poly1305 as in NaCl's box) it uses.
//
// Anybody who has the public key can seal; each sealed value has a sender key of its own, which is thrown away, so that
// the sender cannot open it again and equal values do not look alike. Only a holder of the key file can open.
//
// A sealed text says what it is: sealed:x1:<base64url without padding>. The bytes are the sender's public key in the
// text form of nkeys, then what nkeys writes. A binary value is the same bytes alone. One cannot be taken for the other,
// as what it is stands inside the sealed part too.
//
// A key file holds nkeys seeds (SX…), one in a line; lines that begin with # are comments. The first seals and signs,
// all of them open and verify: a new first line changes the key, and the old one stays until nothing sealed with it is
// left.
package seal
