package worker_test

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"

	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// Addresses that fold to one are one name, and for that not one mailbox: its owner must not be given another's account.
func TestAddressThatOnlyFoldsToAnotherTakesNobody(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		s := newScene(t, d)
		for i, c := range []struct {
			there, login string
			want         record.Outcome
		}{
			{"kim", "\u212aim", record.OutcomeRejected},           // Kelvin sign
			{"susan", "\u017fusan", record.OutcomeRejected},       // long s, which is refused by itself
			{"strasse", "straße", record.OutcomeRejected},         // one letter for two
			{"office", "o\ufb03ce", record.OutcomeRejected},       // a ligature for three
			{"ada.l", "Ada.L", record.OutcomeLinked},              // case
			{"zoë", norm.NFD.String("ZOË"), record.OutcomeLinked}, // case and composition
		} {
			s.provision("trusted", with(tenantUser(fmt.Sprintf("there%d", i), "oidc"), map[string]any{"email": c.there + "@acme.example"}))
			r := s.login(acme, "okta", d.Person(fmt.Sprintf("login%d", i)).With(workertest.Claims{"email": c.login + "@acme.example"}))
			if r.Outcome != c.want {
				t.Errorf("a login as %q where %q exists is %s with %s, want %s", c.login, c.there, r.Outcome, r.Data, c.want)
			}
		}
	})
}

func TestAddressThatOnlyFoldsToTheOwnersOwnsNothing(t *testing.T) {
	workertest.Each(t, workertest.Options{Directory: strings.Replace(workertest.Directory, "Owner@", "Boss@", 1)}, func(t *testing.T, d *workertest.Deployment) {
		s := newScene(t, d)
		if r := s.login(acme, "okta", d.Person("eve").With(workertest.Claims{"email": "bo\u017f\u017f@acme.example"})); r.Code != record.CodeInvalidInput {
			t.Errorf("long s in place of s: got %d %s, wanted 400 invalid_input", r.Status, r.Data)
		}
		if r := s.login(acme, "okta", d.Person("fay").With(workertest.Claims{"email": "bo\u00df@acme.example"})); r.Status != 201 || r.Body["is_owner"] != false {
			t.Errorf("sharp s in place of two s: got %d %s, wanted 201 and no owner", r.Status, r.Data)
		}
	})
}
