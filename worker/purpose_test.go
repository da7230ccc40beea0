package worker_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// twoFeeds is a directory with another feed and with commands by JWT.
var twoFeeds = strings.Replace(commanding, "      - {name: workday, kind: feed,", "      - {name: payroll, kind: feed, grants: [user]}\n      - {name: workday, kind: feed,", 1)

func TestACredentialServesItsPurposeAlone(t *testing.T) {
	workertest.Each(t, workertest.Options{Directory: twoFeeds}, func(t *testing.T, d *workertest.Deployment) {
		d.Start()
		people, tokens := 0, map[string]string{}
		for _, purpose := range []string{"", "commands", "feed:workday", "feed:payroll", "login:okta", "login:workday"} {
			_, tokens[purpose] = d.CredentialFor(store.Credential{Tenant: acme, Name: "for " + purpose, Purpose: purpose, Grants: []string{"user"}})
		}
		tokens["JWT"] = token(t, d, "ann")
		for subject, allowed := range map[string][]string{
			commandSubject:                          {"", "commands", "JWT"},
			workertest.FeedSubject(acme, "workday"): {"", "feed:workday"},
			workertest.FeedSubject(acme, "payroll"): {"", "feed:payroll"},
		} {
			for purpose, token := range tokens {
				id := subject + " with a credential for '" + purpose + "'"
				people++
				d.PublishWith(subject, id, workertest.Payload(tenantUser(fmt.Sprintf("p%d", people), "oidc")), bearer(token))
				r := d.Await(id)
				reason := providers.ReasonCredentialPurpose
				if purpose == "JWT" {
					reason = providers.ReasonCredentialUnknown // a feed knows of no JWTs
				}
				switch fine := slices.Contains(allowed, purpose); {
				case fine && r.Status != 201:
					t.Errorf("%s ends with status %d and %s, want 201", id, r.Status, r.Data)
				case !fine && (r.Status != 401 || r.Reason != reason):
					t.Errorf("%s: %d %s, wanted 401 for %s", id, r.Status, r.Data, reason)
				}
				if r.Status == 401 && (strings.Contains(string(r.Data), "workday") || strings.Contains(string(r.Data), "payroll") || strings.Contains(string(r.Data), token)) {
					t.Errorf("%s: the answer names a source or the token: %s", id, r.Data)
				}
			}
		}
		d.Settle()
	})
}

func TestARefusedPurposeIsADeadLetterWithAHint(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		p := d.Start()
		id, token := d.CredentialFor(store.Credential{Tenant: acme, Name: "hr", Purpose: "feed:workday", Grants: []string{"user"}})
		d.PublishWith(commandSubject, "order-1", workertest.Payload(tenantUser("ada", "oidc")), bearer(token))
		letter := d.AwaitLetter("order-1")
		if letter.Reason != providers.ReasonCredentialPurpose || !strings.Contains(letter.Header.Get(record.DeadLetterHint), "--for commands") {
			t.Errorf("the dead letter has the reason %q and the hint %q, wanted credential_purpose and how to make one", letter.Reason, letter.Header.Get(record.DeadLetterHint))
		}
		a, _ := p.Submit(d.Ctx, submission(token, "order-2", tenantUser("ada", "oidc")))
		answered(t, "a command by the front door", a, 401, record.CodeUnauthenticated)
		if err := p.Stop(); err != nil {
			t.Fatalf("stop the worker: %v", err)
		}
		c, err := d.Store.Credential(d.Ctx, id)
		if err != nil || !c.LastUsedAt.IsZero() {
			t.Errorf("the refused credential was last used %s, wanted never: %v", c.LastUsedAt.Format(time.RFC3339), err)
		}
	})
}
