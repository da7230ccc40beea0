package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/directory/manifest"
)

// appliedMove is a source whose trust anchor changes.
type appliedMove struct {
	Tenant     string   `json:"tenant"`
	Source     string   `json:"source"`
	From       string   `json:"from"`
	To         string   `json:"to"`
	Identities int64    `json:"identities"`
	Owners     int64    `json:"owners"`
	Refused    []string `json:"refused,omitempty"`  // subjects that stand under both, and stay as they are
	Decision   string   `json:"decision,omitempty"` // move or start-anew
}

// moves says what the plan means for the identities that there are, and decides about those of sources whose anchor changes
// as the flags say. The error undecided says which are left; the difference is to be shown before it.
func (v *applyVerb) moves(ctx context.Context, st *store.Store, plan manifest.Plan, report *applied) (steps []store.Step, undecided, err error) {
	steps, report.Moves = slices.Clone(plan.Steps), nil
	groups, err := st.IdentityGroups(ctx, false)
	if err != nil {
		return nil, nil, kit.Fail(kit.ExitFailure, "nothing was written; try again", "the identities cannot be counted: %w", err)
	}
	moved, adopted, orphaned := plan.Identities(groups)
	for _, a := range adopted {
		what := fmt.Sprintf("source %s: meets %s of issuer %s, made by source %s", a.Source, kit.Count(int(a.Identities), "identity"), a.Issuer, a.From)
		if !a.Written {
			return nil, nil, kit.Fail(kit.ExitUsage, "find out who runs this identity provider; if the users are really its own, write issuer: "+a.Issuer+" into source "+a.Source,
				"%s; its identity provider gave itself this name in its metadata", what)
		}
		fmt.Fprintln(v.app.stderr, what)
	}
	for _, o := range orphaned {
		fmt.Fprintf(v.app.stderr, "issuer %s: no source is left for %s, made by source %s; their users cannot log in until a source has it, or idpsync identities move gives them to one\n",
			o.Issuer, kit.Count(int(o.Identities), "identity"), o.Source)
	}
	unused := map[string]bool{}
	for _, name := range slices.Concat(v.move, v.anew) {
		unused[name] = name != everySource
	}
	open, planned := false, map[store.IdentityMove]bool{}
	for _, m := range moved {
		delete(unused, m.Source)
		step, undecided, err := v.decide(ctx, st, m, report)
		if err != nil {
			return nil, nil, err
		}
		open = open || undecided
		switch {
		case step == nil || planned[*step]:
		case planned[m.Move(!step.Anew)]:
			return nil, nil, kit.Fail(kit.ExitUsage, "choose one for all sources of the issuer, or change them one after the other",
				"source %s: the identities of issuer %s cannot both move and end", m.Source, m.From.Issuer)
		default:
			planned[*step], steps = true, append(steps, *step)
		}
	}
	maps.DeleteFunc(unused, func(_ string, is bool) bool { return !is })
	if len(unused) > 0 {
		return nil, nil, kit.Fail(kit.ExitUsage, "name sources whose issuer changes, or leave the flag out", "there are no identities to move or to end of %s",
			strings.Join(slices.Sorted(maps.Keys(unused)), ", "))
	}
	if open {
		undecided = kit.Fail(kit.ExitUsage, "--move-identities if the subjects stay the same, --start-anew if the new issuer has others; see idpsync help apply",
			"users would be locked out, as their identities belong to the old issuer; nothing was changed")
	}
	return steps, undecided, nil
}

// decide says what becomes of the identities of one source, and reports whether an operator has to say it.
func (v *applyVerb) decide(ctx context.Context, st *store.Store, m manifest.Moved, report *applied) (step *store.IdentityMove, open bool, err error) {
	move, anew := matches(v.move, m.Source), matches(v.anew, m.Source)
	s := m.Move(anew)
	n, err := st.CountIdentities(ctx, s)
	if err != nil {
		return nil, false, kit.Fail(kit.ExitFailure, "nothing was written; try again", "the identities of source %s cannot be counted: %w", m.Source, err)
	}
	r := appliedMove{
		Tenant: m.Tenant, Source: m.Source, From: m.From.Kind + " " + m.From.Issuer, To: m.To.Kind + " " + m.To.Issuer,
		Identities: n.Identities, Owners: n.Owners, Refused: n.Subjects,
	}
	what := fmt.Sprintf("source %s: issuer changes from %s to %s; %s under the old one", m.Source, r.From, r.To, kit.Count(int(n.Identities), "identity"))
	if !m.Changed {
		what = fmt.Sprintf("source %s: %s under the issuer %s, which no source has", m.Source, kit.Count(int(n.Identities), "identity"), r.From)
	}
	if n.Owners > 0 {
		what += ", the owner's among them"
	}
	if refused := refusedSubjects(n); refused != "" {
		what += "; " + refused
	}
	switch {
	case move && anew:
		return nil, false, kit.Fail(kit.ExitUsage, "choose one", "source %s: both --move-identities and --start-anew", m.Source)
	case n.Identities == 0:
	case move && m.From.Kind != m.To.Kind:
		return nil, false, kit.Fail(kit.ExitUsage, "use --start-anew; the subjects of two kinds are rarely the same", "source %s changes its kind, so its identities cannot be moved", m.Source)
	case move && len(m.Shared) > 0:
		return nil, false, kit.Fail(kit.ExitUsage, "change the issuer of all of them at once, or use --start-anew", "source %s: the identities of issuer %s are also those of %s, which would lose them", m.Source, m.From.Issuer, names(m.Shared))
	case anew && !m.Speaks:
		return nil, false, kit.Fail(kit.ExitUsage, "set domains and a proof of the address on the source, or use --move-identities", "source %s: its logins speak for no domain, so they could not take their users again", m.Source)
	case move || anew:
		step = &s
		r.Decision = map[bool]string{false: "move", true: "start-anew"}[anew]
		what += "; " + map[bool]string{false: "they move to the new one", true: "they end, and first logins link anew"}[anew]
	default:
		open = m.Changed
	}
	report.Moves = append(report.Moves, r)
	fmt.Fprintln(v.app.stderr, what)
	return step, open, nil
}

// matches reports whether a flag that takes names of sources means this one.
func matches(flag []string, source string) bool {
	return slices.Contains(flag, everySource) || slices.Contains(flag, source)
}
