package rules

import (
	"testing"

	"github.com/idpsync/idpsync/worker/record"
)

// What a route brings must have rules, and a name that policies know it by.
func TestEveryActionOfTheRoutesHasRules(t *testing.T) {
	for _, route := range record.Routes() {
		if got := actionOf(route.Action); got == nil {
			t.Errorf("rules of action %s of %s: got none, want some", route.Action, route.Subject())
		}
		if route.Action.Cedar() == "" {
			t.Errorf("name of action %s in policies: got none, want one", route.Action)
		}
	}
}
