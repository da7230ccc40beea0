package record_test

import (
	"bytes"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
)

func TestAKeptRefusalSaysTheSame(t *testing.T) {
	t.Parallel()
	invalid := record.Invalid([]providers.Fault{{Field: "email", Code: "invalid", Message: "is none"}, {Field: "roles[1]", Code: "unknown", Message: "is unknown"}})
	invalid.Notices, invalid.Policies = []string{"Ask the help desk."}, []string{"p1"}
	roles := record.Reject(record.CodeInvalidRoles, "", "Roles are refused.")
	roles.Details["roles"], roles.Details["most"] = []string{"root"}, uint64(1<<63+1)
	for name, r := range map[string]*record.Rejection{
		"faulty fields": invalid, "refused roles": roles, "a failed check": record.Reject(record.CodeUnauthenticated, "signature", "No <b>."),
	} {
		kept, err := record.ReadRefusal(record.Refusal{Rejection: r, Scope: "credential/hr", Credential: "c1"}.Write())
		if err != nil {
			t.Fatalf("%s: the refusal is not read: %v", name, err)
		}
		if a, b := record.Marshal(kept.ErrorBody), record.Marshal(r.ErrorBody); !bytes.Equal(a, b) {
			t.Errorf("%s: the kept refusal answers %s, want %s", name, a, b)
		}
		if a, b := record.Fingerprint("t", "s", kept.Rejection), record.Fingerprint("t", "s", r); a != b {
			t.Errorf("%s: the fingerprint of the kept refusal is %s, want %s", name, a, b)
		}
		if !kept.DeadLetter || kept.Reason != r.Reason || kept.Hint != r.Hint || len(kept.Policies) != len(r.Policies) || kept.Scope != "credential/hr" || kept.Credential != "c1" {
			t.Errorf("%s: the kept refusal is %+v, want what was kept of %+v", name, kept, r)
		}
	}
	if _, err := record.ReadRefusal([]byte(`{"details":{"roles":1}}`)); err == nil {
		t.Error("a refusal with roles that are a number is read without an error, want one")
	}
}
