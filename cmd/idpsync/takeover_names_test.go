package main

import (
	"strings"
	"testing"
	"time"
)

// named is a source of acme that names its people itself.
var named = oidcSource("named", ofAcme+", mapping: {identity_name: claims.preferred_username}"+onlyUser)

// called logs a subject in at the source named under a name.
func (s *story) called(subject, email, name string) reply {
	s.t.Helper()
	return s.oidc("named", subject, email, map[string]any{"preferred_username": name})
}

func TestTakeoverOfANameWithoutDomains(t *testing.T) {
	const ceo = "ceo@acme.example"
	rogue := oidcSource("rogue", onlyUser) // it speaks for no address
	for what, address := range map[string]string{"her own": ceo, "one that looks like it": "ceo@acrne.example"} {
		tell(t, "keep a command for the president out by "+what+" as the address", func(s *story) {
			s.declare(rogue)
			s.made("the squatter", s.oidc("rogue", "eve", address, nil))
			s.made("the president, by a command", s.command(s.credentialFor("admin", "viewer", "commands"), memberBodyOf(ceo, ceo)))
		})
		tell(t, "keep the president out by "+what+" as the address", func(s *story) {
			s.declare(rogue, named)
			s.made("the squatter", s.oidc("rogue", "eve", address, nil))
			s.made("the president", s.called("ceo", ceo, ceo))
		})
	}
}

func TestTakeoverOfALook(t *testing.T) {
	tell(t, "look like Alice", func(s *story) {
		s.declare(okta)
		admin := s.credentialFor("admin", "viewer", "commands")
		s.made("Alice", s.command(admin, memberBodyOf("Alice", "alice@acme.example")))
		for what, name := range map[string]string{
			"a joiner":                       "Ali\u200dce",
			"an accent that is not seen":     "Ali\u0307ce",
			"a circled letter":               "\u24d0lice",
			"a space at the end":             "Alice ",
			"a space at the start":           " Alice",
			"a no-break space":               "Alice\u00a0",
			"an ideographic space":           "Alice\u3000",
			"a capital I within":             "AIice",
			"a capital I after small letter": "aIice",
		} {
			s.refused("Alice with "+what, s.command(admin, memberBodyOf(name, "eve@acme.example")), "409 user_exists", "400 invalid_input")
		}
	})
	tell(t, "be called by nothing that can be seen", func(s *story) {
		s.declare(okta)
		admin := s.credentialFor("admin", "viewer", "commands")
		for what, name := range map[string]string{
			"a joiner": "\u200d", "two variation selectors": "\ufe0f\ufe0f", "a Hangul filler": "\u3164",
			"ligatures that grow beyond what can be kept": strings.Repeat("\ufdfa", 256),
		} {
			s.refused("a name of "+what, s.command(admin, memberBodyOf(name, "eve@acme.example")), "400 invalid_input")
		}
	})
}

// Whatever a token says, it has an answer, and who came in once comes in again.
func TestTakeoverByOddText(t *testing.T) {
	const bad, refused, ok = "400 invalid_input", "401 unauthenticated", "201 created"
	tell(t, "stop the worker by text that can't be kept", func(s *story) {
		s.declare(named)
		for _, c := range []struct{ what, subject, email, name, wanted string }{
			{"NUL in the subject", "a\x00b", "n1@acme.example", "n1", refused},
			{"NUL in the address", "n2", "n\x002@acme.example", "n2", bad},
			{"NUL in the name", "n3", "n3@acme.example", "n\x003", bad},
			{"a long subject", strings.Repeat("x", 255), "n4@acme.example", "n4", ok},
			{"a subject that is too long", strings.Repeat("x", 5000), "n5@acme.example", "n5", refused},
			{"a subject of wide characters", strings.Repeat("\U0001F600", 255), "n6@acme.example", "n6", refused},
			{"a long local part", "n7", strings.Repeat("l", 64) + "@acme.example", "n7", ok},
			{"a local part that is too long", "n8", strings.Repeat("l", 65) + "@acme.example", "n8", bad},
			{"a name that grows when it is compared", "n9", "n9@acme.example", strings.Repeat("\ufdfa", 256), bad},
			{"a name with a skeleton that grows", "n10", "n10@acme.example", strings.Repeat("\u1e9e", 256), ok},
			{"a name of many accents", "n11", "n11@acme.example", "e" + strings.Repeat("\u0301", 200), ok},
			{"a name that can't be seen", "n12", "n12@acme.example", "\u200d\u200c", bad},
			{"a name in the form of an address by a small at sign", "n16", "n16@acme.example", "president\ufe6bacme.example", bad},
			{"a name in the form of an address by a wide at sign", "n17", "n17@acme.example", "president\uff20acme.example", bad},
			{"a name with an at sign at the end", "n19", "n19@acme.example", "president@", ok},
			{"a domain in capitals", "n21", "n21@ACME.EXAMPLE", "n21", ok},
			{"a name that is the address in capitals", "n25", "n25@acme.example", "N25@ACME.EXAMPLE", ok},
			{"an apostrophe", "n26", "o'brien@acme.example", "o'brien@acme.example", ok},
			{"no name", "n29", "n29@acme.example", "", ok},
		} {
			login := func(when string) reply {
				got, answered := s.send("idpsync.login."+acme+".named", nil, s.token(s.t, "named", c.subject, c.email, map[string]any{"preferred_username": c.name, "name": "Person"}), 10*time.Second)
				if !answered {
					s.t.Fatalf("a login with %s%s: got no answer in 10 s, wanted %s", c.what, when, c.wanted)
				}
				return got
			}
			if c.wanted != ok {
				s.refused(c.what, login(""), c.wanted)
				continue
			}
			id := s.made(c.what, login(""))
			s.user(c.what+", again", login(", again"), id, "200 exists")
		}
	})
	tell(t, "keep Ada, who is known, out by a name that can't be kept", func(s *story) {
		s.declare(named)
		ada := s.made("Ada", s.called("ada", "ada@acme.example", "ada"))
		for what, name := range map[string]string{
			"with a NUL": "a\x00da", "that grows": strings.Repeat("\ufdfa", 256), "that is long": strings.Repeat("a", 20000), "that is empty": " ",
			"that is another's address": "owner@acme.example",
		} {
			s.user("Ada with a name "+what, s.called("ada", "ada@acme.example", name), ada, "200 exists")
		}
		s.refused("a token of more than 64 KiB", s.called("ada", "ada@acme.example", strings.Repeat("a", 100000)), "400 malformed")
	})
	tell(t, "nothing but to be met in whatever form her domain is written", func(s *story) {
		const domains = ", domains: ['BÜCHER.example', ACME.Example]"
		s.declare(strings.Replace(named, ofAcme, domains, 1), feedSource("trusted", trust+domains+onlyUser))
		hr := s.credentialFor("hr", "user", "feed:trusted")
		ida := s.made("HR", s.hr("trusted", hr, tenantBody("Ida@bücher.example", "oidc", "")))
		max := s.made("HR", s.hr("trusted", hr, tenantBody("Max@ACME.example", "oidc", "")))
		s.user("Ida", s.called("ida", "ida@xn--bcher-kva.example", "ida"), ida, "200 linked")
		s.user("Max", s.called("max", "mAx@acme.EXAMPLE", "max"), max, "200 linked")
		s.made("Udo, whose name is his address in its other form", s.called("udo", "udo@xn--bcher-kva.example", "udo@bücher.example"))
	})
}
