package policy_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/policy"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

// Whatever the text: it is refused with places, or it becomes a set that keeps the built-in rules and does not fail on
// requests, save for sums that overflow.
func FuzzCompile(f *testing.F) {
	for _, dir := range []string{"testdata/refused", deploy + "/examples", "builtin"} {
		files, err := policy.Load(os.DirFS(dir), ".")
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			f.Add(file.Text)
			for line := range strings.Lines(file.Text) {
				f.Add(line)
			}
		}
	}
	for _, file := range []policy.File{benchmarkPolicies(5)} {
		f.Add(file.Text)
	}
	f.Add(`permit (principal, action, resource) when { if context.replayed then context.age > duration("1d") else context.acr == "x" };`)
	f.Add(`forbid (principal, action, resource in Organization::"0a000000-0000-4000-8000-000000000001") unless { [1, 2].contains(3) || {a: 1}.a == 1 };`)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 8<<10 {
			return
		}
		set, err := policy.Compile([]policy.File{{Name: "fuzz.cedar", Text: text}})
		if err != nil {
			faults, ok := errors.AsType[strictyaml.Faults](err)
			if !ok {
				t.Fatalf("not faults: %v", err)
			}
			for _, fault := range faults {
				if fault.File != "fuzz.cedar" || fault.Line < 1 || fault.Column < 1 || fault.Message == "" || fault.Hint == "" {
					t.Errorf("the fault is %+v, want a place, a message and a hint", fault)
				}
				if lines := strings.Count(text, "\n") + 1; fault.Line > lines {
					t.Errorf("the fault is in line %d of a text of %d, want one of its lines: %v", fault.Line, lines, fault)
				}
			}
			return
		}
		requests := map[string]func(*record.AuthorizationRequest){
			"plain": func(*record.AuthorizationRequest) {},
			"bare": func(r *record.AuthorizationRequest) {
				r.Issuer, r.Attributes = "", nil
				r.Principal.Kind, r.Principal.ID, r.SourceKind = providers.PrincipalCredential, "k1", providers.KindCommand
				r.Organizations = []record.RequestedOrganization{inOrganization(tenantA, sales, "viewer")}
			},
			"link": func(r *record.AuthorizationRequest) {
				r.Existing, r.Linking, r.UserRoles = true, true, r.Roles
				r.UserOrganizations = []record.RequestedOrganization{inOrganization(tenantA, sales, "viewer")}
			},
			"replayed": func(r *record.AuthorizationRequest) { r.Replayed, r.Existing, r.EmailVerified = true, true, false },
		}
		for name, change := range requests {
			req := login()
			change(&req)
			for _, e := range set.Authorize(t.Context(), req).Errors {
				if !strings.Contains(e, "overflow") {
					t.Errorf("%s: passed the check and failed: %s", name, e)
				}
			}
			req.PrincipalTenant = tenantB
			if d := set.Authorize(t.Context(), req); d.Allow {
				t.Errorf("%s: another tenant's principal was allowed", name)
			}
			req.PrincipalTenant, req.Owner, req.EmailVerified = tenantA, true, false
			if d := set.Authorize(t.Context(), req); d.Allow {
				t.Errorf("%s: an owner was made", name)
			}
		}
	})
}
