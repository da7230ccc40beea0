package policy_test

import (
	"testing"

	"github.com/idpsync/idpsync/worker/policy"
)

func TestBuiltin(t *testing.T) {
	s, err := policy.Compile(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range s.Policies() {
		t.Log(p.ID, p.File, p.Line)
	}
}
