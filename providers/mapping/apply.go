package mapping

import (
	"context"
	"errors"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"

	"github.com/idpsync/idpsync/providers"
)

// Vars are the variables of one event; those of other vocabularies stay zero.
type Vars struct {
	Claims   map[string]any // values as wire.Claims makes them
	Resource map[string]any // likewise

	Attributes   map[string][]string
	NameID       string
	NameIDFormat string
	SessionIndex string

	Own map[string]any // the variables of a vocabulary that a kind brought along, by name
}

// ResolveName implements the variable look-up of CEL.
func (v *Vars) ResolveName(name string) (any, bool) {
	switch name {
	case "claims":
		return v.Claims, true
	case "resource":
		return v.Resource, true
	case "attributes":
		return v.Attributes, true
	case "name_id":
		return v.NameID, true
	case "name_id_format":
		return v.NameIDFormat, true
	case "session_index":
		return v.SessionIndex, true
	}
	own, ok := v.Own[name]
	return own, ok
}

// Parent implements the variable look-up of CEL.
func (v *Vars) Parent() interpreter.Activation { return nil }

var _ cel.Activation = (*Vars)(nil)

// ReasonCancelled is the reason of Apply's error.
const ReasonCancelled = "cancelled"

// Apply evaluates the mapping and fills the fields of r. Fields that cannot be mapped are appended to r.Faults; fields
// that are absent are left as they are. The only error is one of class ErrUnavailable, when ctx ends.
func (m *Mapping) Apply(ctx context.Context, vars *Vars, r *providers.CreateUser, trace *providers.Trace) error {
	for i := range m.entries {
		e := &m.entries[i]
		v, state, err := e.evaluate(ctx, vars)
		if err != nil {
			return err
		}
		if e.field == "roles" && state != failed {
			if marker := overage(e, vars); marker != "" {
				v, state = marker, failed
			}
		}
		var fault *providers.Fault
		switch state {
		case failed:
			fault = &providers.Fault{Field: e.field, Code: "invalid", Message: v.(string)}
			if e.want == boolean {
				fault = nil // not proved, which is all that this field can fail to be
			}
		case present:
			fault = e.assign(v, r)
		}
		if e.want == boolean && !r.EmailVerified {
			r.EmailUnproved = e.unproved(v, state)
		}
		if fault != nil {
			r.Faults = append(r.Faults, *fault)
		}
		if trace.Enabled() {
			detail := e.detail(v, state, fault)
			if e.want == boolean && !m.proof.plain && r.EmailVerified {
				detail += ", which speaks of " + m.proof.sources()
			}
			trace.Add(providers.Check{Step: "map", Name: e.field, OK: fault == nil, Detail: detail})
		}
	}
	if m.login && strings.TrimSpace(r.Email) == "" {
		r.EmailMissing = m.address
	}
	switch {
	case m.trusted:
		r.EmailVerified = r.Email != ""
		trace.Add(providers.Check{Step: "map", Name: "email_verified", OK: true, Detail: trusted})
	case !m.proof.counts && m.login:
		if r.EmailUnproved = m.proof.why; trace.Enabled() {
			trace.Add(providers.Check{Step: "map", Name: "email_verified", OK: true, Detail: m.proof.detail()})
		}
	}
	return nil
}

// detail says which expression gave what kind of thing; never the value.
func (e *entry) detail(v any, state state, fault *providers.Fault) string {
	what := "absent"
	switch {
	case fault != nil:
		what = fault.Message
	case state == failed:
		what = "not verified: " + v.(string)
	case state == present:
		what = kindOf(v)
		if b, ok := v.(bool); e.want == boolean {
			switch {
			case !ok:
				what += ", which is not the boolean true: not verified"
			case b:
				what = "true"
			default:
				what = "false"
			}
		}
	}
	return e.source + ": " + what
}

// A state says what an expression came to.
type state int

const (
	absent  state = iota
	present       // the value is native Go
	failed        // the value is a message
)

func (e *entry) evaluate(ctx context.Context, vars *Vars) (any, state, error) {
	if v, s, ok := e.selected(vars); ok {
		return v, s, nil
	}
	out, _, err := e.program.ContextEval(ctx, vars)
	if err != nil {
		return e.evaluationFault(ctx, vars, err)
	}
	if o, ok := out.(*types.Optional); ok {
		if !o.HasValue() {
			return nil, absent, nil
		}
		out = o.GetValue()
	}
	v, ok := native(out)
	if !ok {
		return "the expression gives a value of a type that no field has", failed, nil
	}
	return v, present, nil
}

// evaluationFault keeps apart the context's end, a key that is not there, and everything else. CEL's own text may quote
// a value, so it is not passed on.
func (e *entry) evaluationFault(ctx context.Context, vars *Vars, err error) (any, state, error) {
	if cause := ctx.Err(); cause != nil {
		return nil, failed, &providers.Error{Class: providers.ErrUnavailable, Reason: ReasonCancelled, Message: "the event was given up before its mapping was done", Err: cause}
	}
	said := err.Error()
	switch {
	case strings.HasPrefix(said, "no such key"):
		switch missing, wrong := e.look(vars); {
		case wrong != "":
			return wrong, failed, nil
		case !missing && (e.want == names || e.want == roleObjects):
			return "an entry lacks a member that the mapping reads", failed, nil
		}
		return nil, absent, nil
	case strings.HasPrefix(said, "index out of bounds") && e.want == text:
		return nil, absent, nil
	}
	if cancelled, ok := errors.AsType[interpreter.EvalCancelledError](err); ok && cancelled.Cause == interpreter.CostLimitExceeded {
		return "the mapping costs more than is allowed for this value", failed, nil
	}
	return "the mapping cannot be applied to this value" + e.kinds(vars), failed, nil
}

// look says whether a claim that the expression reads is missing, and which one is selected from that is no object.
// When neither is so, a missing key must be one inside a list's entries. A list that is there but malformed must not
// pass for an absent one, which has default roles.
func (e *entry) look(vars *Vars) (missing bool, wrong string) {
	for _, chain := range e.chains {
		v, _ := vars.ResolveName(chain.root)
		for i, key := range chain.path {
			var next any
			var ok bool
			switch object := v.(type) {
			case map[string]any:
				next, ok = object[key]
			case map[string][]string:
				next, ok = object[key]
			default:
				return missing, chain.until(i).String() + " is " + kindOf(v) + ", and the mapping reads " + chain.String()
			}
			if !ok {
				missing = true
				break
			}
			v = next
		}
	}
	return missing, ""
}

// kinds says of which kind the claims are that the expression reads; never a value.
func (e *entry) kinds(vars *Vars) string {
	for _, chain := range e.chains {
		v, ok := vars.ResolveName(chain.root)
		for i, key := range chain.path {
			object, isObject := v.(map[string]any)
			if !isObject {
				chain = chain.until(i)
				break
			}
			if v, ok = object[key]; !ok {
				break
			}
		}
		if !ok || len(chain.path) == 0 {
			continue
		}
		if _, isText := v.(string); isText && e.want == names {
			return "; " + chain.String() + " is a string: write list(" + chain.String() + "), which takes a string or a list alike"
		}
		if _, isObject := v.(map[string]any); !isObject || e.want != names {
			return "; " + chain.String() + " is " + kindOf(v) + ", is that what the expression expects?"
		}
	}
	return "; is a claim of another type than the expression expects?"
}

// unproved says why the expression did not come to the boolean true.
func (e *entry) unproved(v any, state state) string {
	what := e.source
	switch state {
	case absent:
		return what + " is absent"
	case failed:
		return what + ": " + v.(string)
	}
	if v == false {
		return what + " is false"
	}
	return what + " is " + kindOf(v) + ", and only the boolean true counts"
}

// selected answers for a default expression, or walks a plain selection, without CEL. It answers only where it is certain to answer as CEL would: every step
// is into an object, and the last value is of a kind that native leaves as it is.
func (e *entry) selected(vars *Vars) (any, state, bool) {
	if e.short != nil {
		return e.short(vars)
	}
	if !e.plain {
		return nil, absent, false
	}
	root, _ := vars.ResolveName(e.chains[0].root)
	object, ok := root.(map[string]any)
	if !ok {
		return nil, absent, false
	}
	path := e.chains[0].path
	for _, key := range path[:len(path)-1] {
		next, ok := object[key]
		if !ok {
			return nil, absent, true
		}
		if object, ok = next.(map[string]any); !ok {
			return nil, absent, false
		}
	}
	v, ok := object[path[len(path)-1]]
	if !ok {
		return nil, absent, true
	}
	return v, present, true
}

// native returns v as wire.Claims would have made it.
func native(v ref.Val) (any, bool) {
	switch v := v.(type) {
	case types.Null:
		return nil, true
	case types.Bool:
		return bool(v), true
	case types.String:
		return string(v), true
	case types.Int:
		return int64(v), true
	case types.Double:
		return float64(v), true
	case *types.Optional:
		if !v.HasValue() {
			return nil, true
		}
		return native(v.GetValue())
	case traits.Lister:
		size, ok := v.Size().(types.Int)
		if !ok {
			return nil, false
		}
		list := make([]any, 0, size)
		for it := v.Iterator(); it.HasNext() == types.True; {
			item, ok := native(it.Next())
			if !ok {
				return nil, false
			}
			list = append(list, item)
		}
		return list, true
	case traits.Mapper:
		m := make(map[string]any)
		for it := v.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			name, ok := key.(types.String)
			if !ok {
				return nil, false
			}
			value, ok := native(v.Get(key))
			if !ok {
				return nil, false
			}
			m[string(name)] = value
		}
		return m, true
	}
	return nil, false
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case string:
		return "a string"
	case int64, float64:
		return "a number"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	}
	return "of an unknown type"
}
