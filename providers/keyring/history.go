package keyring

import (
	"bytes"
	"slices"
	"time"

	"github.com/idpsync/idpsync/providers"
)

// maxHistory bounds the keys of a history in memory: those that are published, and the ones seen last.
const maxHistory = 512

// A Key is a key of a history, made ready for use by the provider.
type Key[K any] struct {
	providers.Key
	Use    K
	banned bool
	from   time.Time // of the ban
	fixed  bool      // part of the configuration, and so published as long as that is in force
}

// A History is what is known of an issuer's keys at one moment. It never changes; a newer one takes its place.
type History[K any] struct {
	Issuer     string
	Keys       []*Key[K] // published ones first, those seen last before others
	AskedAt    time.Time // when the newest answer that it knows of was asked for; zero when none is known
	ValidUntil time.Time // what that answer says of itself; zero: nothing

	revision int64
}

// A Standing is what a history says of a key for an event.
type Standing int

// The standings, best first.
const (
	Good    Standing = iota
	NotSeen          // last seen too long before the event
	Retired          // found missing before the event
	Banned
)

// Standing judges a key for an event stored at the time at; slack is how long before it the key may have been seen last.
func (k *Key[K]) Standing(at time.Time, slack time.Duration) Standing {
	switch {
	case k.banned && !at.Before(k.from):
		return Banned
	case !k.RetiredAt.IsZero() && !at.Before(k.RetiredAt):
		return Retired
	case k.fixed && k.RetiredAt.IsZero():
		return Good
	case k.LastSeen.Before(at.Add(-slack)):
		return NotSeen
	}
	return Good
}

// newHistory makes a stored history ready for use, taking over what former has parsed. Keys that cannot be parsed are
// left out: they were parsed before they were stored, or stem from a version that accepted more.
func newHistory[K any](stored providers.KeyHistory, issuer string, former *History[K], parse func(providers.Key) (K, string, error), fixed bool) *History[K] {
	type name struct{ thumbprint, variant string }
	parsed := make(map[name]*Key[K])
	if former != nil {
		for _, k := range former.Keys {
			parsed[name{k.Thumbprint, k.Variant}] = k
		}
	}
	bans := make(map[string]time.Time, len(stored.Bans))
	for _, b := range stored.Bans {
		bans[b.PublicKey] = b.From
	}
	h := &History[K]{Issuer: issuer, AskedAt: stored.AskedAt, ValidUntil: stored.ValidUntil, revision: stored.Revision}
	slices.SortStableFunc(stored.Keys, func(a, b providers.Key) int {
		if a.RetiredAt.IsZero() != b.RetiredAt.IsZero() {
			if a.RetiredAt.IsZero() {
				return -1
			}
			return 1
		}
		return b.LastSeen.Compare(a.LastSeen)
	})
	for _, s := range stored.Keys {
		if len(h.Keys) == maxHistory {
			break
		}
		key := &Key[K]{Key: s, fixed: fixed}
		if known := parsed[name{s.Thumbprint, s.Variant}]; known != nil && bytes.Equal(known.Material, s.Material) {
			key.Use, key.PublicKey = known.Use, known.PublicKey
		} else {
			var err error
			if key.Use, key.PublicKey, err = parse(s); err != nil {
				continue
			}
		}
		key.from, key.banned = bans[key.PublicKey]
		h.Keys = append(h.Keys, key)
	}
	return h
}
