package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"
)

const (
	probeAddress  = "probe@unowned.invalid" // no operator compares with it, and no issuer has vouched for it
	otherAddress  = "other@unowned.invalid" // of other claims, which may be verified
	probeCost     = 1_000_000               // of all evaluations for one source, in CEL's cost units
	probeLiterals = 8                       // strings of the expression that members of entries are tried with
	probeIndex    = 16                      // entries of a list that is made up
)

// A voice is what every claim that could vouch for the address says in a probe, none of which vouches for it.
type voice struct {
	says   string
	value  any
	absent bool
}

func voices() []voice {
	return []voice{
		{says: "absent", absent: true},
		{says: "false", value: false},
		{says: "null", value: nil},
		{says: `"false"`, value: "false"},
		{says: "0", value: int64(0)},
		{says: `""`, value: ""},
		{says: `"unknown"`, value: "unknown"},
	}
}

// Names of claims that hold an address or a name which people may choose, so that two of them may be alike.
var addressNames = []string{"email", "mail", "preferred_username", "upn", "unique_name", "username", "value", "address"}

// vouches reports whether a claim of this name could say that an address was verified.
func vouches(key string) bool {
	return key == "xms_edov" || strings.Contains(strings.ToLower(key), "verif")
}

// A prober evaluates email_verified on claims that are made up, in which nothing speaks for the address.
type prober struct {
	env      *cel.Env
	tree     *ast.AST // of email_verified
	of       []path   // where the address comes from
	read     []path   // by either expression
	keys     []string // that either expression names; entries of a list have them all
	programs map[int64]cel.Program
	cost     uint64

	// of the probe at hand
	voice  voice
	other  filling
	claims map[string]any
}

// unfounded says when email_verified is true although nothing speaks for the address; it is empty when there is no such
// case among those that are tried.
func unfounded(env *cel.Env, email, verified *ast.AST, of []path) string {
	p := &prober{env: env, tree: verified, of: of, programs: map[int64]cel.Program{}}
	p.read = append(reads(email.Expr()), reads(verified.Expr())...)
	p.keys = append(keysOf(email.Expr()), keysOf(verified.Expr())...)
	p.read = append(p.read, p.asked()...)
	witnesses, strangers := p.witnesses()
	said := voices()
	if len(witnesses) == 0 {
		said = said[:1]
	}
	addresses := []any{probeAddress}
	if _, whole := place(email.Expr(), nil, "claims"); !whole {
		addresses = append(addresses, []any{probeAddress}, nil) // nil stands for a list of objects
	}
	fillings := p.fillings(lists(email.Expr()) || lists(verified.Expr()))
	if len(strangers) > 0 {
		fillings = append(fillings, filling{value: otherAddress, elsewhere: true})
	}
	for _, v := range said {
		for _, address := range addresses {
			for _, other := range fillings {
				p.voice, p.other = v, other
				p.claims = p.madeUp(address)
				comes, err := p.may(verified.Expr(), true)
				switch {
				case err != nil:
					return "cannot be tried on claims that are made up: " + err.Error()
				case !comes:
				case other.elsewhere:
					return "is true when " + strings.Join(strangers, " and ") + ", of another address, says so"
				case len(witnesses) == 0 && other.value == probeAddress:
					return "is true when another claim holds the same address, which vouches for neither"
				case len(witnesses) == 0:
					return "is true of an address that no claim vouches for"
				case len(witnesses) == 1:
					return "is true when " + witnesses[0] + " is " + v.says
				default:
					return "is true when " + strings.Join(witnesses, " and ") + " are " + v.says
				}
			}
		}
	}
	return ""
}

// witnesses names the claims that could vouch for an address, and those of them that speak of another one.
func (p *prober) witnesses() (names, strangers []string) {
	for _, r := range reads(p.tree.Expr()) {
		if r.vouches() {
			names = append(names, r.String())
			if !p.own(r) {
				strangers = append(strangers, r.String())
			}
		}
	}
	if len(names) > 0 {
		return names, strangers
	}
	for _, key := range keysOf(p.tree.Expr()) {
		if vouches(key) && !slices.Contains(names, key) {
			names = append(names, key)
		}
	}
	return names, nil
}

// asked returns the places at which claims that could vouch may be asked for without being read: has(claims.x_verified),
// "x_verified" in claims.
func (p *prober) asked() []path {
	var places []path
	for _, key := range keysOf(p.tree.Expr()) {
		if !vouches(key) {
			continue
		}
		places = append(places, path{{key: key}})
		for _, from := range p.of {
			beside := append(slices.Clone(from[:len(from)-1]), step{key: key})
			places = append(places, beside)
		}
	}
	return places
}

// own reports whether a claim that vouches speaks of the address: by its name, or as a member of the object beside it.
func (p *prober) own(r path) bool {
	return slices.ContainsFunc(p.of, func(from path) bool {
		return spokenOf(from, []path{r}) || r.within(from) || len(r) > 1 && len(r) == len(from) && r[:len(r)-1].equal(from[:len(from)-1])
	})
}

func (p path) vouches() bool {
	return slices.ContainsFunc(p, func(s step) bool { return vouches(s.key) })
}

// A filling is what claims about other things are in a probe, and the members of entries about which nothing is known.
type filling struct {
	value  any  // nil stands for absent
	listed bool // the claims are lists of entries, whose members have the value

	elsewhere bool // the claims are of another address, which is verified
}

// fillings returns what to try; lists says that the expressions may read members of entries of a list.
func (p *prober) fillings(lists bool) []filling {
	all := []filling{{}, {value: true}, {value: false}, {value: probeAddress}}
	switch {
	case lists:
	case slices.ContainsFunc(p.read, func(r path) bool { return !p.known(r) }):
		return all
	default:
		return all[:1]
	}
	values := []any{nil, true, false}
	ast.PostOrderVisit(p.tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) { // as in e.type == "work"
		if s, ok := stringLiteral(e); ok && len(values) < 3+probeLiterals && !slices.Contains(values, any(s)) {
			values = append(values, s)
		}
	}))
	for _, value := range values {
		all = append(all, filling{value: value, listed: true})
	}
	return all
}

// lists reports whether an expression goes through the entries of a list, or names one.
func lists(e ast.Expr) bool {
	found := slices.ContainsFunc(reads(e), func(r path) bool {
		return slices.ContainsFunc(r, func(s step) bool { return s.list })
	})
	ast.PostOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) { found = found || e.Kind() == ast.ComprehensionKind }))
	return found
}

// madeUp returns the claims of a probe.
func (p *prober) madeUp(address any) map[string]any {
	claims := map[string]any{}
	for _, from := range p.of {
		value := address
		if value == nil {
			value = []any{p.entry()}
		}
		p.put(claims, from, value)
	}
	for _, r := range p.read {
		if len(r) == 0 || slices.ContainsFunc(p.of, func(from path) bool { return r.within(from) || from.within(r) }) {
			continue
		}
		named := slices.Contains(addressNames, r[len(r)-1].key)
		switch {
		case r.vouches() && p.other.elsewhere && !p.own(r):
			p.put(claims, r, true)
		case r.vouches():
			if !p.voice.absent {
				p.put(claims, r, p.voice.value)
			}
		case p.other.listed:
			p.put(claims, r, []any{p.entry()})
		case p.other.value == probeAddress || p.other.elsewhere:
			if named {
				p.put(claims, r, p.other.value)
			}
		case p.other.value != nil:
			p.put(claims, r, p.other.value)
		}
	}
	return claims
}

// within reports whether the place is that one or lies in it.
func (p path) within(outer path) bool { return len(p) >= len(outer) && p[:len(outer)].equal(outer) }

// entry makes an entry of a list, with every member that the expressions name.
func (p *prober) entry() map[string]any {
	entry := map[string]any{}
	for _, key := range p.keys {
		switch {
		case vouches(key):
			if !p.voice.absent {
				entry[key] = p.voice.value
			}
		case slices.Contains(addressNames, key):
			entry[key] = probeAddress
		case p.other.value != nil:
			entry[key] = p.other.value
		}
	}
	return entry
}

// put sets a value at a place, with the objects and lists around it. It leaves what does not fit.
func (p *prober) put(object map[string]any, at path, value any) {
	for i := 0; i < len(at); i++ {
		key, last := at[i].key, i == len(at)-1
		if at[i].list {
			return // of a list in a list, or of all claims
		}
		if last {
			object[key] = value
			return
		}
		if next := at[i+1]; next.list {
			if next.index < 0 || next.index >= probeIndex {
				return
			}
			list, ok := object[key].([]any)
			if _, there := object[key]; there && !ok {
				return
			}
			for len(list) <= int(next.index) {
				list = append(list, p.entry())
			}
			object[key] = list
			if i++; i == len(at)-1 {
				list[next.index] = value
				return
			}
			inner, ok := list[next.index].(map[string]any)
			if !ok {
				return
			}
			object = inner
			continue
		}
		if _, there := object[key]; !there {
			object[key] = map[string]any{}
		}
		inner, ok := object[key].(map[string]any)
		if !ok {
			return
		}
		object = inner
	}
}

// may reports whether the expression can come to want with the claims of the probe, whatever claims about other things
// say: what a conjunction asks of them does not hide what it makes of the address.
func (p *prober) may(e ast.Expr, want bool) (bool, error) {
	if e.Kind() == ast.LiteralKind {
		return e.AsLiteral().Value() == want, nil
	}
	if e.Kind() == ast.CallKind {
		args := e.AsCall().Args()
		switch function := e.AsCall().FunctionName(); function {
		case operators.LogicalNot:
			return p.may(args[0], !want)
		case operators.LogicalAnd, operators.LogicalOr:
			all := want == (function == operators.LogicalAnd)
			for _, arg := range args {
				if comes, err := p.may(arg, want); err != nil || comes != all {
					return comes, err
				}
			}
			return all, nil
		case operators.Conditional:
			for i, chosen := range []bool{true, false} {
				comes, err := p.may(args[0], chosen)
				if err != nil {
					return false, err
				}
				if comes {
					if comes, err = p.may(args[i+1], want); err != nil || comes {
						return comes, err
					}
				}
			}
			return false, nil
		}
	}
	if !p.settled(e) {
		return true, nil
	}
	return p.comes(e, want)
}

// settled reports whether the probe says what the expression reads: the address, or whether it was verified.
func (p *prober) settled(e ast.Expr) bool {
	other := false
	for _, r := range reads(e) {
		if len(r) == 0 {
			continue
		}
		other = true
		if p.known(r) {
			return true
		}
	}
	if other {
		return false
	}
	return slices.ContainsFunc(keysOf(e), func(key string) bool { // it asks whether one is there
		return vouches(key) || slices.ContainsFunc(p.of, func(from path) bool { return from[len(from)-1].key == key })
	})
}

func (p *prober) known(r path) bool {
	return r.vouches() ||
		slices.ContainsFunc(p.of, func(from path) bool { return r.within(from) || from.within(r) }) ||
		(p.other.value == probeAddress || p.other.elsewhere) && slices.Contains(addressNames, r[len(r)-1].key)
}

var errProbeCost = errors.New("it costs more than is allowed")

// comes evaluates a part of email_verified.
func (p *prober) comes(e ast.Expr, want bool) (bool, error) {
	program, ok := p.programs[e.ID()]
	if !ok {
		part := ast.NewCheckedAST(ast.NewAST(e, p.tree.SourceInfo()), p.tree.TypeMap(), p.tree.ReferenceMap())
		var err error
		if program, err = p.env.PlanProgram(part, cel.CostLimit(costLimit)); err != nil {
			return false, fmt.Errorf("planning a part of it: %w", err)
		}
		p.programs[e.ID()] = program
	}
	out, details, err := program.Eval(&Vars{Claims: p.claims})
	p.cost++
	if details != nil && details.ActualCost() != nil {
		p.cost += *details.ActualCost()
	}
	if cancelled, ok := errors.AsType[interpreter.EvalCancelledError](err); ok && cancelled.Cause == interpreter.CostLimitExceeded || p.cost > probeCost {
		return false, errProbeCost
	}
	if err != nil {
		return false, nil // at run time too it would be no more than not true
	}
	if o, ok := out.(*types.Optional); ok && o.HasValue() {
		out = o.GetValue()
	}
	return out == types.Bool(want), nil
}

// probeHint says what to write in place of an expression that is unfounded.
func probeHint(of []path) string {
	from := of[0]
	hint := "have it be true only when a claim says so"
	if sibling, ok := from.sibling(); ok {
		hint += ", as in " + sibling + " == true"
	}
	return hint + ", " + otherWays
}
