package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

const keyIssuer = "https://issuer.example/keys"

func keyAt(minutes int) time.Time { return storetest.Time.Add(time.Duration(minutes) * time.Minute) }

func namedKey(name, variant string) store.SourceKey {
	return store.SourceKey{ID: "kid-" + name, Thumbprint: name, Variant: variant, PublicKey: "pub-" + name, Algorithm: "RS256", Material: []byte("{}")}
}

func observeKeys(t *testing.T, s *store.Store, minute int, keys ...store.SourceKey) {
	t.Helper()
	err := s.ObserveSourceKeys(t.Context(), storetest.Acme, storetest.SourceLogins, keyIssuer, store.KeyObservation{Keys: keys, At: keyAt(minute), ValidUntil: keyAt(1000)})
	if err != nil {
		t.Fatalf("observe keys at minute %d: %v", minute, err)
	}
}

func historyOf(t *testing.T, s *store.Store) store.KeyHistory {
	t.Helper()
	h, err := s.KeyHistory(t.Context(), storetest.Acme, storetest.SourceLogins, keyIssuer)
	if err != nil {
		t.Fatalf("read the key history: %v", err)
	}
	return h
}

func TestKeyHistoriesTellWhatChanged(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		revision := func() int64 {
			t.Helper()
			n, err := s.KeysRevision(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		before := revision()
		observeKeys(t, s, 1, namedKey("a", "1"), namedKey("a", "2"))
		h := historyOf(t, s)
		equal(t, "asked at", h.AskedAt, keyAt(1))
		equal(t, "valid until", h.ValidUntil, keyAt(1000))
		equal(t, "entries of one key", len(h.Keys), 2)
		equal(t, "revision of the history", h.Revision, revision())
		changed, err := s.ChangedKeyHistories(t.Context(), before)
		equal(t, "error of ChangedKeyHistories", err, nil)
		equal(t, "changed", changed, []store.KeyHistoryID{{Tenant: storetest.Acme, Source: storetest.SourceLogins, Issuer: keyIssuer}})
		changed, err = s.ChangedKeyHistories(t.Context(), revision())
		equal(t, "error of ChangedKeyHistories", err, nil)
		equal(t, "changed since", len(changed), 0)
	})
}

func TestBansBelongToTheIssuer(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		observeKeys(t, s, 1, namedKey("a", "1"))
		before := historyOf(t, s).Revision
		ban := store.KeyBan{Issuer: keyIssuer, PublicKey: "pub-a", From: keyAt(3), At: keyAt(4), Who: "ann", Why: "leaked"}
		other := store.KeyBan{Issuer: keyIssuer + "/other", PublicKey: "pub-a", At: keyAt(4), Who: "ann", Why: "leaked"}
		for _, b := range []store.KeyBan{ban, other} {
			if err := s.BanKey(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
		h := historyOf(t, s)
		equal(t, "bans of the issuer", h.Bans, []store.KeyBan{ban})
		if h.Revision <= before {
			t.Errorf("the history has revision %d after the ban, as before it; want a newer one, so that workers read it again", h.Revision)
		}
		all, err := s.KeyBans(t.Context())
		equal(t, "error of KeyBans", err, nil)
		equal(t, "all bans", all, []store.KeyBan{ban, other})
		if err := s.UnbanKey(t.Context(), keyIssuer, "pub-a", "ann", "was another key", keyAt(5)); err != nil {
			t.Fatal(err)
		}
		equal(t, "bans after unban", len(historyOf(t, s).Bans), 0)
		if err := s.UnbanKey(t.Context(), keyIssuer, "pub-a", "ann", "", keyAt(5)); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("to end a ban that does not exist gives %v; want ErrNotFound", err)
		}
		entries, err := s.AuditEntries(t.Context(), store.AuditFilter{Action: "key.ban"})
		equal(t, "error of AuditEntries", err, nil)
		equal(t, "audited bans", len(entries), 2)
	})
}

func TestWithdrawingASourceEndsItsKeyHistory(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		d := storetest.Seed(t, s)
		observeKeys(t, s, 1, namedKey("a", "1"))
		if err := s.BanKey(t.Context(), store.KeyBan{Issuer: keyIssuer, PublicKey: "pub-a", At: keyAt(2), Who: "ann"}); err != nil {
			t.Fatal(err)
		}
		before := historyOf(t, s).Revision
		without := d
		without.Sources = nil
		for _, source := range d.Sources {
			if source.Name != storetest.SourceLogins || source.TenantID != storetest.Acme {
				without.Sources = append(without.Sources, source)
			}
		}
		apply := func(d store.Directory) {
			t.Helper()
			current, err := s.DirectoryRevision(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.ApplyDirectory(t.Context(), current, d, "ann", keyAt(3)); err != nil {
				t.Fatal(err)
			}
		}
		apply(without)
		observeKeys(t, s, 3, namedKey("a", "1")) // an answer that comes late
		h := historyOf(t, s)
		if len(h.Keys) != 0 || !h.AskedAt.IsZero() || h.Revision <= before {
			t.Errorf("after the source was withdrawn its history has %d keys, asked at %v, revision %d; want none, and a revision after %d", len(h.Keys), h.AskedAt, h.Revision, before)
		}
		apply(d)
		h = historyOf(t, s)
		equal(t, "keys after the source is declared again", len(h.Keys), 0)
		equal(t, "bans after the source is declared again", len(h.Bans), 1)
	})
}

// An entry of an older version had no variant. It goes on under the variant that the issuer's next answer gives it.
func TestKeysOfAnOlderVersionGetTheirVariant(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		old := namedKey("a", "")
		old.PublicKey = ""
		observeKeys(t, s, 1, old)
		observeKeys(t, s, 5, namedKey("a", "1"))
		want := namedKey("a", "1")
		want.FirstSeen, want.LastSeen = keyAt(1), keyAt(5)
		equal(t, "keys", historyOf(t, s).Keys, []store.SourceKey{want})
	})
}

// An answer that comes late, from before the entry was last seen, must not remove it.
func TestLateAnswerKeepsTheKeysOfAnOlderVersion(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		old := namedKey("a", "")
		observeKeys(t, s, 1, old)
		observeKeys(t, s, 5, old)
		observeKeys(t, s, 3, namedKey("a", "1"))
		want := namedKey("a", "1")
		want.FirstSeen, want.LastSeen = keyAt(1), keyAt(5)
		equal(t, "keys after a late answer", historyOf(t, s).Keys, []store.SourceKey{want})
	})
}

// What a clock wrote that was fast, before it was set right, must not keep newer answers from counting.
func TestTimesThatAreStillToComeAreCorrected(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, open func() *store.Store) {
		s := open()
		storetest.Seed(t, s)
		now, err := s.Now(t.Context())
		if err != nil || time.Since(now).Abs() > time.Minute {
			t.Fatalf("the database's clock says %v, %v; want the time now", now, err)
		}
		observe := func(when time.Time, keys ...store.SourceKey) {
			t.Helper()
			err := s.ObserveSourceKeys(t.Context(), storetest.Acme, storetest.SourceLogins, keyIssuer, store.KeyObservation{Keys: keys, At: when})
			if err != nil {
				t.Fatal(err)
			}
		}
		observe(now.Add(time.Hour), namedKey("a", "1"))
		if now, err = s.Now(t.Context()); err != nil {
			t.Fatal(err)
		}
		observe(now.Add(time.Second), namedKey("b", "1")) // the database's clock goes on while this runs
		h := historyOf(t, s)
		if h.AskedAt.After(now.Add(time.Second)) {
			t.Errorf("the newest answer is of %v, which is still to come; want %v", h.AskedAt, now)
		}
		for _, k := range h.Keys {
			if k.LastSeen.After(now.Add(2*time.Second)) || k.Thumbprint == "a" && k.RetiredAt.IsZero() {
				t.Errorf("key %s was seen last %v and retired %v; want no time to come, and the one that is gone retired", k.Thumbprint, k.LastSeen, k.RetiredAt)
			}
		}
	})
}
