package policy_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/idpsync/idpsync/worker/policy"
)

const deploy = "../../deploy/policies"

func TestShippedSchemaIsTheEmbeddedOne(t *testing.T) {
	shipped, err := os.ReadFile(filepath.Join(deploy, "idpsync.cedarschema"))
	if err != nil {
		t.Fatal(err)
	}
	if string(shipped) != policy.Schema() {
		t.Error("deploy/policies/idpsync.cedarschema differs from worker/policy/idpsync.cedarschema; copy it over")
	}
}

func TestShippedExamples(t *testing.T) {
	files, err := policy.Load(os.DirFS(deploy), "examples")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("there are no example policies")
	}
	set, err := policy.Compile(files)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(deploy, "examples/cases.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	cases, err := policy.ReadCases("cases.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	report := policy.RunCases(set, cases)
	for _, r := range report.Results {
		if !r.OK {
			t.Errorf("cases.yaml:%d: %s: %q %q", r.Line, r.Name, r.Differences, r.Errors)
		}
	}
	// Each example policy decides one of the cases, so none of them is there for show.
	decided := map[string]bool{}
	for _, r := range report.Results {
		for _, id := range r.Policies {
			decided[id] = true
		}
	}
	for _, p := range set.Policies() {
		if !p.Builtin && !decided[p.ID] {
			t.Errorf("no case shows what %s does", p.ID)
		}
	}
}
