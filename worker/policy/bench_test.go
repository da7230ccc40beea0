package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/worker/policy"
	"github.com/idpsync/idpsync/worker/record"
)

// benchmarkPolicies are n policies of the kinds that operators write; none of them applies to the benchmark's request.
func benchmarkPolicies(n int) policy.File {
	kinds := []string{
		`@id("p%d") @notice("no") forbid (principal is Source, action == Action::"CreateUser", resource) when { context.email_domain == "evil%d.example" };`,
		`@id("p%d") @notice("no") forbid (principal, action == Action::"GrantRole", resource) when { resource.name == "admin%d" && context.door == Door::"http" };`,
		`@id("p%d") forbid (principal, action, resource) when { context.replayed && context.age > duration("%dd") };`,
		`@id("p%d") forbid (principal, action == Action::"CreateUser", resource) when { context.attributes.hasTag("groups") && context.attributes.getTag("groups").contains("g%d") };`,
		`@id("p%d") forbid (principal, action == Action::"GrantRole", resource) when { context has issuer && context.issuer like "*.bad%d.example" };`,
	}
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, kinds[i%len(kinds)]+"\n", i, i+1)
	}
	return policy.File{Name: "bench.cedar", Text: b.String()}
}

func BenchmarkAuthorize(b *testing.B) {
	plain := login()
	plain.Attributes = nil
	organization := login()
	organization.Organizations = []record.RequestedOrganization{{
		Tenant: tenantA, OrganizationID: sales, OrganizationName: "Sales", RoleID: viewerID, RoleName: "viewer",
	}}
	for _, c := range []struct {
		name     string
		policies int
		request  record.AuthorizationRequest
	}{
		{"built-in,one role", 0, plain},
		{"20 policies,one role", 20, plain},
		{"20 policies,one role,attributes", 20, login()},
		{"20 policies,one role,organization,attributes", 20, organization},
		{"200 policies,one role,attributes", 200, login()},
	} {
		b.Run(c.name, func(b *testing.B) {
			set, err := policy.Compile([]policy.File{benchmarkPolicies(c.policies)})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if d := set.Authorize(b.Context(), c.request); policy.VerdictOf(d) != policy.VerdictAllow {
					b.Fatalf("the decision is %+v, want allow", d)
				}
			}
		})
	}
}
