package oidc

import (
	"fmt"
	"slices"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/keyring"
)

// maxCandidates bounds the keys that are tried for one token.
const maxCandidates = 16

// A knownKey is a key of an issuer's history.
type knownKey = keyring.Key[*signingKey]

// judge looks for a key that verifies t, an event of the time at. The failure is the verdict as far as this history
// goes; a newer one may know better.
func judge(h *keyring.History[*signingKey], t *token, at time.Time, slack time.Duration) (*knownKey, keyring.Opinion) {
	candidates := candidatesFor(h, t.keyID)
	if len(candidates) == 0 {
		return nil, keyring.Opinion{Waits: true, Failure: unverified(checkKey.name, "the issuer has never published the key that the token names", t.says()+
			" If every login of the source fails so, its issuer has moved or has been changed in the directory; if few do, the tokens are another issuer's.")}
	}
	a := algorithmTable[t.algorithm]
	why, tried := "", 0
	var held []verdict
	var best *knownKey
	for _, k := range candidates {
		if unfit := k.Use.unfit(t.algorithm); unfit != "" {
			why = unfit
			continue
		}
		i := slices.IndexFunc(held, func(v verdict) bool { return v.publicKey == k.PublicKey })
		if i < 0 {
			if tried++; tried > maxCandidates {
				continue
			}
			i = len(held)
			held = append(held, verdict{k.PublicKey, a.verifies(k.Use.public, t.input, t.signature)})
		}
		if held[i].good && (best == nil || k.Standing(at, slack) < best.Standing(at, slack)) {
			best = k
		}
	}
	switch {
	case best != nil:
		return best, standing(best, at, slack)
	case tried == 0:
		return nil, keyring.Opinion{Failure: unverified(checkSuitable.name, why, "compare alg, kty and use in the issuer's JWK Set with the token's header")}
	}
	return nil, keyring.Opinion{Failure: unverified(checkSignature.name, "the signature does not hold", "")}
}

// A verdict says whether a signature holds by a public key, which may stand in several entries.
type verdict struct {
	publicKey string
	good      bool
}

// candidatesFor returns the entries whose key the issuer ever published under the kid, and all of them for a token without
// one: an issuer may name its key anew, or correct an entry, while tokens that name the old one are on their way.
func candidatesFor(h *keyring.History[*signingKey], kid string) []*knownKey {
	if kid == "" {
		return h.Keys
	}
	var out []*knownKey
	for _, named := range h.Keys {
		if named.Use.id != kid || slices.ContainsFunc(out, func(k *knownKey) bool { return k.PublicKey == named.PublicKey }) {
			continue
		}
		for _, k := range h.Keys {
			if k.PublicKey == named.PublicKey {
				out = append(out, k)
			}
		}
	}
	return out
}

// standing is what becomes of a token whose signature holds by the key.
func standing(k *knownKey, at time.Time, slack time.Duration) keyring.Opinion {
	switch k.Standing(at, slack) {
	case keyring.Banned:
		return keyring.Opinion{Final: true, Failure: unverified(checkBanned.name, "the token is signed by a key that an operator banned",
			"The ban is shown by idpsync keys list --json. What was signed by a leaked key has to be signed anew.")}
	case keyring.Retired:
		return keyring.Opinion{Failure: unverified(checkRetired.name, fmt.Sprintf("the token is signed by a key that its issuer retired; that was seen %s, and the event was stored %s",
			stamp(k.RetiredAt), stamp(at)), "a login must be published before its issuer withdraws the key")}
	case keyring.NotSeen:
		return keyring.Opinion{Waits: true, Failure: unverified(checkSeen.name, fmt.Sprintf("the token is signed by a key that its issuer was last seen publishing %s, and the event was stored %s",
			stamp(k.LastSeen), stamp(at)), "key_staleness of the source is how long before an event its key may have been seen last; idpsync keys list shows what was seen when")}
	}
	return keyring.Opinion{}
}

func unverified(reason, message, hint string) *providers.Error {
	return &providers.Error{Class: providers.ErrUnverified, Reason: reason, Message: message, Hint: hint}
}
