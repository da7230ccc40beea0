package policy_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/idpsync/idpsync/worker/policy"
)

const frozen = `@id("frozen") @notice("Nobody is created today.") forbid (principal, action == Action::"CreateUser", resource);`

func TestHolderWithoutASetDenies(t *testing.T) {
	var h policy.Holder
	if d := h.Authorize(t.Context(), login()); policy.VerdictOf(d) != policy.VerdictError {
		t.Fatalf("without a set the decision is %+v, want an error", d)
	}
	if h.Swap(nil); h.Set() != nil {
		t.Error("a set came from nowhere")
	}
}

func TestReload(t *testing.T) {
	h := policy.NewHolder(compile(t))
	notices := func() []string { return h.Authorize(t.Context(), login()).Notices }

	changed, err := h.Reload([]policy.File{{Name: "a.cedar", Text: frozen}})
	if err != nil || !changed {
		t.Fatalf("the reload changed something: %v, with the error %v, want a change", changed, err)
	}
	if got := notices(); !slices.Equal(got, []string{"Nobody is created today."}) {
		t.Fatalf("the notices are %q, want that of the new policy", got)
	}
	before := h.Set()

	// A broken file is refused with its place, and what was in force stays.
	changed, err = h.Reload([]policy.File{{Name: "a.cedar", Text: "permit (principal, action, resource);\nforbid (principal, action);"}})
	if err == nil || changed || !strings.HasPrefix(err.Error(), "a.cedar:2:") {
		t.Fatalf("the reload of a broken file changed something: %v, with the error %v, want none and its place", changed, err)
	}
	if h.Set() != before {
		t.Fatal("the old set is not in force any more")
	}
	if got := notices(); !slices.Equal(got, []string{"Nobody is created today."}) {
		t.Fatalf("the notices are %q, want that of the policy in force", got)
	}

	if changed, err = h.Reload([]policy.File{{Name: "a.cedar", Text: frozen}}); err != nil || changed || h.Set() != before {
		t.Fatalf("the reload of the same files changed something: %v, with the error %v, want no change", changed, err)
	}
	if changed, err = h.Reload(nil); err != nil || !changed || len(notices()) != 0 {
		t.Fatalf("the reload of no files changed something: %v, with the error %v, want the policies taken away", changed, err)
	}
	if old := h.Swap(nil); old == nil || h.Set() != old {
		t.Error("swapping in nothing took the set away")
	}
}

// Requests are decided by one set or the other, never by a mixture, while sets change.
func TestSwapWhileDeciding(t *testing.T) {
	open, closed := compile(t, `@id("open") permit (principal, action, resource);`), compile(t, frozen)
	h := policy.NewHolder(open)
	var readers, writer sync.WaitGroup
	stop := make(chan struct{})
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				h.Swap([]*policy.Set{open, closed}[i%2])
			}
		}
	})
	allowed, frozenOnly := []string{"builtin.create-user", "builtin.grant-role", "open"}, []string{"frozen"}
	for range 4 {
		readers.Go(func() {
			for i := range 500 {
				req := login()
				req.Principal.Grants = append(slices.Clone(req.Principal.Grants), strings.Repeat("x", i%7))
				d := h.Authorize(t.Context(), req)
				if want := map[bool][]string{true: allowed, false: frozenOnly}[d.Allow]; !slices.Equal(d.Policies, want) {
					t.Errorf("the decision is %+v, want the policies %q of one set", d, want)
				}
			}
		})
	}
	readers.Wait()
	close(stop)
	writer.Wait()
}

// Entities are kept from request to request; a principal whose grants change must not keep the old ones.
func TestGrantsAreReadAnew(t *testing.T) {
	set := compile(t)
	for _, grants := range [][]string{{"user"}, {}, {"admin"}, {"admin", "user"}, {"admin\x00user"}, {"admin:user"}, {"admin4:user"}} {
		req := login()
		req.Principal.Grants = grants
		want := policy.VerdictPartial
		if slices.Contains(grants, "user") {
			want = policy.VerdictAllow
		}
		if got := policy.VerdictOf(set.Authorize(t.Context(), req)); got != want {
			t.Errorf("grants %q: %s, want %s", grants, got, want)
		}
	}
}

// More entities than are kept change nothing but the time it takes, and no memory.
func TestManyPrincipals(t *testing.T) {
	set := compile(t)
	for i := range 10_000 {
		req := login()
		req.Principal.ID = strings.Repeat("k", i%97) + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676))
		if d := set.Authorize(t.Context(), req); policy.VerdictOf(d) != policy.VerdictAllow {
			t.Fatalf("the decision for the principal %s is %+v, want allow", req.Principal.ID, d)
		}
	}
	if n := set.Known(); n > 4096 {
		t.Errorf("%d principals are kept, want at most 4096", n)
	}
}
