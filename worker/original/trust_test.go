package original_test

import (
	"testing"

	"github.com/idpsync/idpsync/worker/original"
)

func TestTrustIsForTheTenantsThatItNames(t *testing.T) {
	trust := original.Trust{"edge": {"a"}, "ours": {original.AllTenants}, "none": nil}
	for _, c := range []struct {
		domain, tenant string
		want           bool
	}{{"edge", "a", true}, {"edge", "b", false}, {"edge", original.AllTenants, false}, {"ours", "b", true}, {"none", "a", false}, {"other", "a", false}} {
		if got := trust.Trusts(c.domain, c.tenant); got != c.want {
			t.Errorf("the domain %s is trusted for the tenant %s: %v, want %v", c.domain, c.tenant, got, c.want)
		}
	}
}
