package manifest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
)

// Op is what happens to a thing.
type Op string

// The operations.
const (
	Add    Op = "add"
	Change Op = "change"
	Remove Op = "remove"
)

// What a [Difference] is about.
const (
	KindTenant       = "tenant"
	KindRole         = "role"
	KindOrganization = "organization"
	KindSource       = "source"
	KindPolicy       = "policy"
)

// A Difference is one thing that applying a directory adds, changes or removes.
type Difference struct {
	Op         Op      `json:"op"`
	Kind       string  `json:"kind"`
	Tenant     string  `json:"tenant,omitempty"`      // id; none for policies
	TenantName string  `json:"tenant_name,omitempty"` // as it will be, or as it was
	Name       string  `json:"name"`
	ID         string  `json:"id,omitempty"`    // of roles and organizations
	Scope      string  `json:"scope,omitempty"` // of roles
	Fields     []Field `json:"fields,omitempty"`
}

// A Field is a changed, added or removed value within a [Difference]. An absent value is "".
type Field struct {
	Name string `json:"name"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// Changes is all that applying a directory does: by tenant, then policies. Empty means that there is nothing to do.
type Changes []Difference

// Count returns the number of things that op happens to.
func (c Changes) Count(op Op) int {
	n := 0
	for _, d := range c {
		if d.Op == op {
			n++
		}
	}
	return n
}

// Diff says what turns have into want, which has been through [Complete]. The kinds say how configurations are shown.
func Diff(kinds providers.Kinds, have, want store.Directory) Changes {
	names := map[string]string{}
	for _, t := range slices.Concat(have.Tenants, want.Tenants) {
		names[t.ID] = t.Name
	}
	out := Changes{}
	add := func(d Difference) {
		d.TenantName = names[d.Tenant]
		if d.Op != Change || len(d.Fields) > 0 {
			out = append(out, d)
		}
	}
	pair(have.Tenants, want.Tenants, func(t store.Tenant) string { return t.ID }, func(op Op, a, b *store.Tenant) {
		t := either(a, b)
		add(Difference{Op: op, Kind: KindTenant, Tenant: t.ID, Name: t.Name, Fields: fields(tenantFields(a), tenantFields(b))})
	})
	pair(have.Roles, want.Roles, roleKey, func(op Op, a, b *store.Role) {
		r := either(a, b)
		add(Difference{Op: op, Kind: KindRole, Tenant: r.TenantID, Name: r.Name, ID: r.ID, Scope: r.Scope, Fields: fields(roleFields(a), roleFields(b))})
	})
	pair(have.Organizations, want.Organizations, func(o store.Organization) string { return o.TenantID + o.ID }, func(op Op, a, b *store.Organization) {
		o := either(a, b)
		add(Difference{Op: op, Kind: KindOrganization, Tenant: o.TenantID, Name: o.Name, ID: o.ID, Fields: fields(organizationFields(a), organizationFields(b))})
	})
	pair(have.Sources, want.Sources, func(s store.Source) string { return s.TenantID + s.Name }, func(op Op, a, b *store.Source) {
		s := either(a, b)
		add(Difference{Op: op, Kind: KindSource, Tenant: s.TenantID, Name: s.Name, Fields: fields(sourceFields(kinds, a), sourceFields(kinds, b))})
	})
	pair(have.Policies, want.Policies, func(p store.Policy) string { return p.Name }, func(op Op, a, b *store.Policy) {
		add(Difference{Op: op, Kind: KindPolicy, Name: either(a, b).Name, Fields: policyFields(a, b)})
	})
	order := []string{KindTenant, KindRole, KindOrganization, KindSource}
	slices.SortStableFunc(out, func(a, b Difference) int {
		if (a.Kind == KindPolicy) != (b.Kind == KindPolicy) {
			return cmp.Compare(btoi(a.Kind == KindPolicy), btoi(b.Kind == KindPolicy))
		}
		return cmp.Or(compare(a.TenantName, b.TenantName, a.Tenant, b.Tenant),
			cmp.Compare(slices.Index(order, a.Kind), slices.Index(order, b.Kind)), compare(b.Scope, a.Scope, a.Name, b.Name))
	})
	return out
}

// pair matches the items of two lists by key and calls f for each: with nil for the side that lacks it.
func pair[T any](have, want []T, key func(T) string, f func(op Op, a, b *T)) {
	left := make(map[string]*T, len(have))
	for i := range have {
		left[key(have[i])] = &have[i]
	}
	for i := range want {
		k := key(want[i])
		if a, ok := left[k]; ok {
			f(Change, a, &want[i])
			delete(left, k)
			continue
		}
		f(Add, nil, &want[i])
	}
	for i := range have {
		if _, ok := left[key(have[i])]; ok {
			f(Remove, &have[i], nil)
		}
	}
}

// roleKey is the id of a role, so that a role that has one can be renamed; else its name.
func roleKey(r store.Role) string {
	if r.ID != "" {
		return r.TenantID + r.ID
	}
	return r.TenantID + r.Scope + "/" + r.Name
}

// either returns what will be, or else what was.
func either[T any](a, b *T) T {
	if b != nil {
		return *b
	}
	return *a
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// fields compares the readable values of two things. What is added or removed as a whole shows those that are set.
func fields(a, b map[string]string) []Field {
	var out []Field
	for _, name := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(slices.Collect(maps.Keys(a)), slices.Collect(maps.Keys(b)))))) {
		if a[name] != b[name] {
			out = append(out, Field{name, a[name], b[name]})
		}
	}
	return out
}

func tenantFields(t *store.Tenant) map[string]string {
	if t == nil {
		return nil
	}
	return map[string]string{"name": t.Name, "owner": t.Owner, "default_roles": bracket(t.DefaultRoles)}
}

func roleFields(r *store.Role) map[string]string {
	if r == nil {
		return nil
	}
	return map[string]string{"name": r.Name, "scope": r.Scope}
}

func organizationFields(o *store.Organization) map[string]string {
	if o == nil {
		return nil
	}
	return map[string]string{"name": o.Name}
}

// sourceFields flattens a source's configuration: one value for each key, and for each expression of its mapping.
func sourceFields(kinds providers.Kinds, s *store.Source) map[string]string {
	if s == nil {
		return nil
	}
	out := map[string]string{"kind": s.Kind}
	var config map[string]json.RawMessage
	if err := json.Unmarshal(s.Config, &config); err != nil {
		out["config"] = fingerprint(s.Config)
		return out
	}
	kind, _ := kinds.Of(providers.Kind(s.Kind))
	for key, raw := range config {
		var texts []string
		var text string
		var exprs map[string]string
		switch shown := kind.Shown[key]; {
		case shown == providers.ShownDigest:
			out[key] = fingerprint(raw)
		case shown == providers.ShownDuration, key == "max_event_age", key == "key_staleness", key == "key_grace", key == "clock_skew":
			out[key] = age(raw)
		case json.Unmarshal(raw, &text) == nil:
			out[key] = text
		case json.Unmarshal(raw, &texts) == nil:
			out[key] = bracket(texts)
		case json.Unmarshal(raw, &exprs) == nil:
			for field, expr := range exprs {
				out[key+"."+field] = expr
			}
		default:
			out[key] = string(raw)
		}
	}
	return out
}

// policyFields names a policy's text by its size and digest, and shows a changed one line by line.
func policyFields(a, b *store.Policy) []Field {
	switch {
	case a == nil:
		return []Field{{Name: "text", To: fingerprint([]byte(b.Text))}}
	case b == nil:
		return []Field{{Name: "text", From: fingerprint([]byte(a.Text))}}
	case a.Text == b.Text:
		return nil
	}
	was, is := strings.Split(a.Text, "\n"), strings.Split(b.Text, "\n")
	start := 0
	for start < len(was) && start < len(is) && was[start] == is[start] {
		start++
	}
	tail := 0
	for tail < len(was)-start && tail < len(is)-start && was[len(was)-1-tail] == is[len(is)-1-tail] {
		tail++
	}
	return []Field{{
		Name: fmt.Sprintf("line %d", start+1),
		From: strings.Join(was[start:len(was)-tail], "\n"),
		To:   strings.Join(is[start:len(is)-tail], "\n"),
	}}
}
