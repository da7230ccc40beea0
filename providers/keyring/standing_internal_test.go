package keyring

import (
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
)

// Each key of a history is judged right before and at the bounds that its dates draw.
func TestStandings(t *testing.T) {
	t.Parallel()
	const slack = time.Hour
	at := func(minute int) time.Time { return time.Date(2026, 11, 2, 9, minute, 0, 0, time.UTC) }
	var never time.Time
	for name, c := range map[string]struct {
		document bool // the key is one of the configuration
		retired  time.Time
		bans     []providers.KeyBan
		want     map[int]Standing // by minute after the key was last seen
	}{
		"seen":                   {false, never, nil, map[int]Standing{0: Good, 60: Good, 61: NotSeen}},
		"of a document":          {true, never, nil, map[int]Standing{0: Good, 61: Good, 10_000: Good}},
		"retired":                {false, at(10), nil, map[int]Standing{9: Good, 10: Retired, 100: Retired}},
		"retired of a document":  {true, at(100), nil, map[int]Standing{60: Good, 61: NotSeen, 100: Retired}},
		"banned":                 {false, never, []providers.KeyBan{{PublicKey: "public"}}, map[int]Standing{-100: Banned, 0: Banned}},
		"banned of a document":   {true, never, []providers.KeyBan{{PublicKey: "public"}}, map[int]Standing{0: Banned}},
		"banned from a time on":  {false, never, []providers.KeyBan{{PublicKey: "public", From: at(5)}}, map[int]Standing{4: Good, 5: Banned, 6: Banned}},
		"banned and retired":     {false, at(1), []providers.KeyBan{{PublicKey: "public"}}, map[int]Standing{2: Banned}},
		"a ban of another key":   {false, never, []providers.KeyBan{{PublicKey: "other"}}, map[int]Standing{0: Good}},
		"a ban of the key's kid": {false, never, []providers.KeyBan{{PublicKey: "kid"}}, map[int]Standing{0: Good}},
	} {
		stored := providers.KeyHistory{Keys: []providers.Key{{ID: "kid", Thumbprint: "k", LastSeen: at(0), RetiredAt: c.retired}}, Bans: c.bans}
		h := newHistory(stored, "issuer", nil, func(providers.Key) (string, string, error) { return "", "public", nil }, c.document)
		for minute, want := range c.want {
			if got := h.Keys[0].Standing(at(minute), slack); got != want {
				t.Errorf("%s, %d minutes after it was seen: the key stands at %d, wanted %d (0 good, 1 not seen, 2 retired, 3 banned)", name, minute, got, want)
			}
		}
	}
}
