package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// rush publishes many events without waiting for any, and returns how often each answer came: "200 linked".
func (s *story) rush(publish func(send func(subject string, header map[string]string, body []byte))) map[string]int {
	s.t.Helper()
	js, err := jetstream.New(s.conn)
	if err != nil {
		s.t.Fatal(err)
	}
	var results *nats.Subscription
	if results, err = s.conn.SubscribeSync("idpsync.result.>"); err == nil {
		err = results.SetPendingLimits(-1, -1)
	}
	if err == nil {
		err = s.conn.Flush()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = results.Unsubscribe() }()
	sent := 0
	publish(func(subject string, header map[string]string, body []byte) {
		s.t.Helper()
		if _, err := js.PublishMsgAsync(natsMessage(subject, s.nextID(), header, string(body))); err != nil {
			s.t.Fatal(err)
		}
		sent++
	})
	answers := map[string]int{}
	for n := range sent {
		m, err := results.NextMsg(30 * time.Second)
		if err != nil {
			s.t.Fatalf("events all at once: got %d results, wanted %d: %v", n, sent, err)
		}
		r, err := natsReply(m)
		if err != nil {
			s.t.Fatal(err)
		}
		if r.status >= 500 {
			s.t.Errorf("one of many events at once: got %s, wanted no failure of the worker", words(r))
		}
		answer, _, _ := strings.Cut(words(r), ":")
		answers[answer]++
	}
	return answers
}

func TestTakeoverInARace(t *testing.T) {
	tell(t, "get two people into one account, or two owners, by many events at once", func(s *story) {
		const people, rounds = 12, 4
		s.declare(okta, lax, workday, trusted)
		untrusted, hr := s.credentialFor("untrusted", "user,admin", "feed:workday"), s.credentialFor("hr", "user,admin", "feed:trusted")
		s.rush(func(send func(string, map[string]string, []byte)) {
			for n := range people * rounds {
				person := n % people
				subject, email := fmt.Sprintf("s%d", person), fmt.Sprintf("p%d@acme.example", person)
				if n%3 == 0 {
					email = "P" + email[1:]
				}
				send("idpsync.feed."+acme+".workday", bearerOf(untrusted), []byte(tenantBody(email, "oidc", "")))
				send("idpsync.login."+acme+".okta", nil, s.token(s.t, "okta", subject, email, nil))
				send("idpsync.login."+acme+".lax", nil, s.token(s.t, "lax", subject, email, unproved))
				send("idpsync.feed."+acme+".trusted", bearerOf(hr), []byte(tenantBody(email, "oidc", "")))
				send("idpsync.login."+acme+".okta", nil, s.token(s.t, "okta", "other-"+subject, email, nil))
				send("idpsync.login."+acme+".okta", nil, s.token(s.t, "okta", fmt.Sprintf("owner%d", n%3), "owner@acme.example", nil))
			}
		})
		var identities []identityRow
		if err := json.Unmarshal([]byte(s.must("identities", "list", "--tenant", acme, "--json")), &identities); err != nil {
			s.t.Fatal(err)
		}
		users, proved := map[string]bool{}, 0
		for _, i := range identities {
			if users[i.UserID] {
				s.t.Errorf("user %s: got several identities, wanted one", i.UserID)
			}
			if users[i.UserID] = true; i.Issuer == s.base+"/okta" {
				proved++
			}
		}
		if proved != people+1 {
			s.t.Errorf("identities of those who proved one of %d addresses: got %d, wanted one for each address", people+1, proved)
		}
		owners := 0
		for _, u := range s.users(acme) {
			if u.IsOwner {
				owners++
			}
		}
		if owners != 1 {
			s.t.Errorf("owners after all of that: got %d, wanted 1", owners)
		}
	})
	tell(t, "nothing but to log in several times at once, after an untrusted feed has provisioned her", func(s *story) {
		const people, times = 60, 6
		s.declare(okta, workday)
		token := s.credentialFor("hr", "user,admin", "feed:workday")
		made := s.rush(func(send func(string, map[string]string, []byte)) {
			for n := range people {
				send("idpsync.feed."+acme+".workday", bearerOf(token), []byte(tenantBody(fmt.Sprintf("p%d@acme.example", n), "oidc", "")))
			}
		})
		if made["201 created"] != people {
			s.t.Fatalf("the feed: got %v, wanted %d times 201 created", made, people)
		}
		logins := s.rush(func(send func(string, map[string]string, []byte)) {
			for n := range people {
				for range times {
					send("idpsync.login."+acme+".okta", nil, s.token(s.t, "okta", fmt.Sprintf("s%d", n), fmt.Sprintf("p%d@acme.example", n), nil))
				}
			}
		})
		if logins["200 linked"] != people || logins["200 exists"] != people*(times-1) {
			s.t.Errorf("%d logins each of %d people: got %v, wanted %d times 200 linked and otherwise 200 exists", times, people, logins, people)
		}
	})
}
