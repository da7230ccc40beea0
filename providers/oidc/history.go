package oidc

import (
	"fmt"
	"slices"
	"time"

	"github.com/idpsync/idpsync/providers"
)

// Bounds of a history in memory.
const (
	maxHistory    = 512 // keys, those seen last
	maxCandidates = 16  // keys that are tried for one token
)

// A history is what is known of an issuer's keys. It never changes; a newer one takes its place.
type history struct {
	keys    []*signingKey // published ones first, those seen last before others
	byID    map[string][]*signingKey
	askedAt time.Time // when the newest answer that it knows of was asked for; zero when none is known
}

// newHistory parses stored keys, taking over what former has parsed. A key that cannot be parsed is passed over: it
// was parsed before it was stored.
func newHistory(stored []providers.Key, former *history) *history {
	parsed := make(map[string]*signingKey)
	if former != nil {
		for _, k := range former.keys {
			parsed[k.thumbprint+" "+k.id] = k
		}
	}
	h := &history{byID: make(map[string][]*signingKey)}
	slices.SortFunc(stored, func(a, b providers.Key) int {
		if a.RetiredAt.IsZero() != b.RetiredAt.IsZero() {
			if a.RetiredAt.IsZero() {
				return -1
			}
			return 1
		}
		return b.LastSeen.Compare(a.LastSeen)
	})
	for _, s := range stored {
		if s.LastSeen.After(h.askedAt) {
			h.askedAt = s.LastSeen
		}
		if len(h.keys) == maxHistory {
			continue
		}
		var key *signingKey
		if known := parsed[s.Thumbprint+" "+s.ID]; known != nil {
			again := *known
			again.firstSeen, again.lastSeen, again.retiredAt = s.FirstSeen, s.LastSeen, s.RetiredAt
			key = &again
		} else {
			var err error
			if key, err = parseKey(s); err != nil {
				continue
			}
		}
		h.keys = append(h.keys, key)
		h.byID[key.id] = append(h.byID[key.id], key)
	}
	return h
}

// judge looks for a key that verifies t, an event of the time at. The failure is the verdict as far as this history
// goes; a newer one may know better.
func (h *history) judge(t *token, at time.Time) (*signingKey, *providers.Error) {
	candidates := h.keys
	if t.keyID != "" {
		candidates = h.byID[t.keyID]
	}
	if len(candidates) == 0 {
		return nil, unverified(checkKey.name, "the issuer has never published the key that the token names",
			"either the token is not this issuer's, or the key was published only after the event")
	}
	a := algorithmTable[t.algorithm]
	why, tried := "", 0
	// Keys that were valid come first, so that a key published again is not taken for its retired twin.
	for _, retired := range [...]bool{false, true} {
		for _, k := range candidates {
			if k.retired(at) != retired {
				continue
			}
			if unfit := k.unfit(t.algorithm); unfit != "" {
				why = unfit
				continue
			}
			if tried++; tried > maxCandidates {
				break
			}
			if !a.verifies(k.public, t.input, t.signature) {
				continue
			}
			if retired {
				return nil, unverified(checkRetired.name, fmt.Sprintf("the token is signed by a key that its issuer retired; that was seen %s, and the event was stored %s",
					stamp(k.retiredAt), stamp(at)), "a login must be published before its issuer withdraws the key")
			}
			return k, nil
		}
	}
	if tried == 0 {
		return nil, unverified(checkSuitable.name, why, "compare alg, kty and use in the issuer's JWK Set with the token's header")
	}
	return nil, unverified(checkSignature.name, "the signature does not hold", "")
}

func unverified(reason, message, hint string) *providers.Error {
	return &providers.Error{Class: providers.ErrUnverified, Reason: reason, Message: message, Hint: hint}
}
