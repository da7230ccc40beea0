package oidc

import (
	"context"
	"strings"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/keyring"
)

// A keySet verifies signatures with the history of one issuer's keys.
type keySet struct {
	ring *keyring.Ring[*signingKey]
}

func newKeySet(src providers.Source, env providers.Environment) *keySet {
	own := configOf(src)
	f := newFetcher(src.Issuer, own, env.HTTP)
	told := "" // of keys that are not used
	return &keySet{keyring.New(keyring.Config[*signingKey]{
		Source: src, Env: env, Issuer: src.Issuer, Asked: askedOf(src.Issuer, own),
		Fetch: func(ctx context.Context, now time.Time) (keyring.Answer, error) {
			answer, err := f.keys(ctx, now)
			if err != nil {
				return keyring.Answer{}, err
			}
			if why := strings.Join(answer.left, "; "); why != told { // once for each time that it changes
				if told = why; why != "" {
					env.Log.Warn("keys of an issuer are not used", "tenant", src.Tenant, "source", src.Name, "issuer", src.Issuer, "why", why)
				}
			}
			return keyring.Answer{Issuer: src.Issuer, Keys: answer.keys}, nil
		},
		Parse: func(k providers.Key) (*signingKey, string, error) {
			key, err := parseKey(k)
			if err != nil {
				return nil, "", err
			}
			return key, key.thumbprint, nil
		},
		Words: keyring.Words{Unreachable: "issuer_unreachable", Reading: "keys_reading", Pending: "keys_refresh_pending", Document: "keys"},
	})}
}

// askedOf names what is asked: the issuer, unless its source says where.
func askedOf(issuer string, own *Config) string {
	if own.JWKSURL == "" && own.DiscoveryURL == "" {
		return issuer
	}
	return asked(issuer, own) + " " + issuer
}

// verify returns the key that verifies t, the token of the event e.
func (s *keySet) verify(ctx context.Context, t *token, e keyring.Event) (*knownKey, error) {
	var found *knownKey
	err := s.ring.Decide(ctx, e, func(h *keyring.History[*signingKey], slack time.Duration) keyring.Opinion {
		key, opinion := judge(h, t, e.StoredAt, slack)
		found = key
		return opinion
	})
	return found, err
}
