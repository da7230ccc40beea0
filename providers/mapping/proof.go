package mapping

import (
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"github.com/idpsync/idpsync/providers"
)

// A proof says whether an event of the source can prove the address that its mapping gives.
type proof struct {
	counts bool
	of     []path // where the address comes from
	plain  bool   // that is claims.email as it is
	source string // of an email_verified that the operator wrote
	field  string // that the problem is about
	why    string // when it does not count
	hint   string
}

const (
	trusted      = "trust_email: true proves the addresses of the source's domains"
	otherWays    = "set trust_email: true and domains, or set unverified_email: accept"
	notByDefault = "the default email_verified speaks of claims.email as it is"
)

// trusts reports whether the directory vouches for the source's addresses in its domains.
func trusts(src providers.Source) bool { return src.TrustEmail && len(src.Domains) > 0 }

// proofOf finds whether email_verified speaks of the claims that the address comes from: claims.email_verified says
// nothing of claims.preferred_username, which people may choose themselves.
func proofOf(env *cel.Env, kind *providers.Descriptor, src providers.Source, email, verified *entry) proof {
	if !kind.Mapping.Vouches {
		return proof{counts: trusts(src), field: "trust_email", why: "a " + kind.Title + " source proves addresses by trust_email and domains alone, which are not set", hint: otherWays}
	}
	own, written := src.Mapping["email_verified"]
	p := proof{source: strings.TrimSpace(own), field: "email_verified", hint: otherWays}
	if !written {
		p.field = "email"
	}
	switch {
	case email == nil:
		p.field, p.why = "email", "email is switched off, so that no login has an address"
		return p
	case verified == nil:
		p.why = "email_verified is switched off"
		return p
	}
	p.of = origins(email.tree.Expr())
	standard := path{{key: "email"}}
	whole, static := place(email.tree.Expr(), nil, "claims")
	p.plain = static && whole.equal(standard)
	for _, from := range p.of {
		if len(from) == 0 {
			p.field, p.why = "email", "which claim the address comes from cannot be told from the expression"
			return p
		}
	}
	if len(p.of) == 0 {
		p.field, p.why = "email", "the address comes from no claim"
		return p
	}
	if !written {
		if p.counts = p.plain; !p.plain {
			p.why = notByDefault + ", and the address comes from " + p.sources()
			p.hint = "write an email_verified that speaks of " + p.sources() + ", " + otherWays
			if len(p.of) == 1 && p.of[0].equal(standard) {
				p.why = notByDefault + ", and email changes it"
				p.hint = "write email_verified: claims.email_verified if it speaks of the changed address too, " + otherWays
			}
		}
		return p
	}
	read := reads(verified.tree.Expr())
	for _, from := range p.of {
		if !spokenOf(from, read) {
			p.why = "email_verified reads nothing that speaks of " + from.String() + ", which the address comes from"
			p.hint = "have it read " + from.String() + ", "
			if sibling, ok := from.sibling(); ok {
				p.hint += "or a claim about it such as " + sibling + ", "
			}
			p.hint += otherWays
			return p
		}
	}
	if !needs(verified.tree.Expr(), true, p.of) {
		p.why = "email_verified can be true without a claim that speaks of " + p.sources()
		p.hint = "join the other conditions with && in place of ||, " + otherWays
		return p
	}
	if when := unfounded(env, email.tree, verified.tree, p.of); when != "" {
		p.why, p.hint = "email_verified "+when, probeHint(p.of)
		return p
	}
	p.counts = true
	return p
}

// detail says for a trace why an address is not proved.
func (p *proof) detail() string {
	if p.source != "" {
		return p.source + ": not proved: " + p.why
	}
	return "not proved: " + p.why
}

// sources names the claims that the address comes from.
func (p *proof) sources() string {
	names := make([]string, len(p.of))
	for i, from := range p.of {
		names[i] = from.String()
	}
	return strings.Join(names, " and ")
}

// spokenOf reports whether one of the places that are read is from, the list that it is an entry of, or a sibling whose
// name says that it speaks of it.
func spokenOf(from path, read []path) bool {
	last := from[len(from)-1]
	for _, r := range read {
		n := len(r)
		switch {
		case n == 0:
			// All claims as one: it is about none of them.
		case r.equal(from), n < len(from) && from[n].list && r.equal(from[:n]):
			return true
		case n != len(from) || !r[:n-1].equal(from[:n-1]):
		case r[n-1].key == last.key+"_verified", r[n-1].key == last.key+"Verified", r[n-1].key == "verified_"+last.key:
			return true
		case last.key == "email" && r.equal(path{{key: "xms_edov"}}):
			return true // Microsoft Entra: the owner of the address's domain was verified
		}
	}
	return false
}

// needs reports whether the expression, where it comes to want, has read a claim that speaks of the address.
func needs(e ast.Expr, want bool, of []path) bool {
	if e.Kind() == ast.LiteralKind {
		return e.AsLiteral().Value() == !want
	}
	if e.Kind() == ast.CallKind {
		args := e.AsCall().Args()
		part := func(arg ast.Expr) bool { return needs(arg, want, of) }
		switch function := e.AsCall().FunctionName(); function {
		case operators.LogicalNot:
			return needs(args[0], !want, of)
		case operators.LogicalOr, operators.LogicalAnd:
			if want == (function == operators.LogicalAnd) { // all of the parts came to want, else one may have
				return slices.ContainsFunc(args, part)
			}
			return !slices.ContainsFunc(args, func(arg ast.Expr) bool { return !part(arg) })
		case operators.Conditional:
			return (needs(args[0], true, of) || part(args[1])) && part(args[2])
		}
	}
	read := reads(e)
	return slices.ContainsFunc(of, func(from path) bool { return spokenOf(from, read) })
}
