package main

import "testing"

// TestMissingEventsMayBeAmongThoseThatWait has two events of a list that nothing is known of.
func TestMissingEventsMayBeAmongThoseThatWait(t *testing.T) {
	for waiting, want := range map[uint64]struct{ unknown, residue int }{0: {0, 2}, 1: {0, 2}, 2: {2, 0}, 9: {2, 0}} {
		p := &proof{expected: map[string]bool{"t/okta/1": true, "t/okta/2": false, "t/okta/3": false}, account: &account{}}
		p.account.Events.Waiting = waiting
		p.checkExpected()
		if e := p.account.Expected; e.Events != 3 || e.Found != 1 || e.Unknown != want.unknown || len(p.account.Residue) != want.residue {
			t.Errorf("with %d events that wait, %d of %d are found, %d unknown and %d residue; want 1 of 3, %d and %d",
				waiting, e.Found, e.Events, e.Unknown, len(p.account.Residue), want.unknown, want.residue)
		}
	}
}
