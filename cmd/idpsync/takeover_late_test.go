package main

import "testing"

// A worker may have verified a login by the directory that was in force just before an apply.
func TestTakeoverByALateLogin(t *testing.T) {
	tell(t, "be locked out by a login of the old issuer right after a new start", func(s *story) {
		s.declare(oktaAt("before"))
		ida := s.made("Ida", s.oktaOf("before", "ida", "ida@acme.example", asAdmin))
		s.issuerAt(s.t, "after")
		late := s.token(s.t, "before", "ida", "ida@acme.example", nil)
		s.acceptedApply("a new start", s.try([]string{"--start-anew"}, oktaAt("after")))
		s.refused("a login of the old issuer right after the new start", s.loginAt("okta", late), "401 unauthenticated")
		s.user("Ida's first login under the new issuer", s.oktaOf("after", "new-ida", "ida@acme.example", nil), ida, "200 linked")
	})
	tell(t, "be made twice by a login of the old issuer right after a move", func(s *story) {
		s.declare(bareOkta("before"))
		ida := s.made("Ida", s.oktaOf("before", "ida", "ida@acme.example", asAdmin))
		s.issuerAt(s.t, "after")
		late := s.token(s.t, "before", "ida", "ida@acme.example", nil)
		s.acceptedApply("a move", s.try([]string{"--move-identities"}, bareOkta("after")))
		s.refused("a login of the old issuer right after the move", s.loginAt("okta", late), "401 unauthenticated")
		if n := len(s.at("ida@acme.example")); n != 1 {
			s.t.Errorf("users with Ida's address after the move: got %d, wanted 1", n)
		}
		s.user("Ida under the new issuer", s.oktaOf("after", "ida", "ida@acme.example", nil), ida, "200 exists")
	})
}
