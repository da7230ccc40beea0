package mapping_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/feed"
	"github.com/idpsync/idpsync/providers/mapping"
	"github.com/idpsync/idpsync/providers/oidc"
	"github.com/idpsync/idpsync/providers/saml"
	"github.com/idpsync/idpsync/providers/wire"
)

// kindOf returns one of the kinds that the tests map for; another has no mapping.
func kindOf(kind providers.Kind) *providers.Descriptor {
	d, _ := providers.Kinds{oidc.Kind(), saml.Kind(), feed.Kind()}.Of(kind)
	return d
}

func compile(t testing.TB, kind providers.Kind, exprs map[string]string) *mapping.Mapping {
	t.Helper()
	m, err := mapping.Compile(kindOf(kind), providers.Source{Kind: kind, Mapping: exprs})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func object(t testing.TB, raw string) map[string]any {
	t.Helper()
	m, err := wire.Claims([]byte(raw), wire.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func apply(t testing.TB, m *mapping.Mapping, vars *mapping.Vars) providers.CreateUser {
	t.Helper()
	var r providers.CreateUser
	if err := m.Apply(context.Background(), vars, &r, nil); err != nil {
		t.Fatal(err)
	}
	r.EmailUnproved, r.EmailMissing = "", "" // TestWordsNameWhatWasLookedFor is about them
	return r
}

func TestWordsNameWhatWasLookedFor(t *testing.T) {
	for name, c := range map[string]struct {
		claims            string
		mapping           map[string]string
		unproved, missing string
	}{
		"no address":         {claims: `{}`, unproved: "claims.email_verified is absent", missing: "nothing came from claims.email"},
		"a blank address":    {claims: `{"email":" ","email_verified":true}`, missing: "nothing came from claims.email"},
		"verified as text":   {claims: `{"email":"a@b.example","email_verified":"true"}`, unproved: "claims.email_verified is a string, and only the boolean true counts"},
		"not verified":       {claims: `{"email":"a@b.example","email_verified":false}`, unproved: "claims.email_verified is false"},
		"another claim":      {claims: `{"upn":"a@b.example"}`, mapping: map[string]string{"email": "claims.upn"}, unproved: notByDefault},
		"verified":           {claims: `{"email":"a@b.example","email_verified":true}`},
		"email switched off": {claims: `{}`, mapping: map[string]string{"email": ""}, unproved: "email is switched off, so that no login has an address", missing: "the source maps no email"},
	} {
		m := compile(t, providers.KindOIDC, c.mapping)
		var got providers.CreateUser
		if err := m.Apply(t.Context(), &mapping.Vars{Claims: object(t, c.claims)}, &got, nil); err != nil {
			t.Fatalf("%s: the mapping is applied with the error %v, want none", name, err)
		}
		if got.EmailUnproved != c.unproved || got.EmailMissing != c.missing {
			t.Errorf("%s: the words are %q and %q, want %q and %q", name, got.EmailUnproved, got.EmailMissing, c.unproved, c.missing)
		}
	}
}

const notByDefault = "the default email_verified speaks of claims.email as it is, and the address comes from claims.upn"

// list takes a string or a list alike, and nothing else: what is no list of names must not pass for one.
func TestListTakesAStringOrAListAlike(t *testing.T) {
	const admins = `list(claims.groups).filter(g, g == "CN=Admins,DC=acme,DC=example").map(g, "admin")`
	for claims, c := range map[string]struct {
		values []string
		says   string // of the fault
	}{
		`{"groups":["CN=Admins,DC=acme,DC=example","x"]}`: {values: []string{"admin"}},
		`{"groups":"CN=Admins,DC=acme,DC=example"}`:       {values: []string{"admin"}},
		`{"groups":"x"}`:  {values: []string{}},
		`{"groups":[]}`:   {values: []string{}},
		`{}`:              {},
		`{"groups":null}`: {says: "claims.groups is null"},
		`{"groups":{"CN=Admins,DC=acme,DC=example":true}}`: {says: "the mapping cannot be applied"},
		`{"groups":7}`: {says: "claims.groups is a number"},
	} {
		got := apply(t, compile(t, providers.KindOIDC, map[string]string{"roles": admins}), &mapping.Vars{Claims: object(t, claims)})
		if c.says != "" {
			if len(got.Faults) != 1 || !strings.Contains(got.Faults[0].Message, c.says) || got.Roles.Present {
				t.Errorf("%s: roles %+v with the faults %+v, want a fault that says %q", claims, got.Roles, got.Faults, c.says)
			}
			continue
		}
		if len(got.Faults) != 0 || got.Roles.Present != (c.values != nil) || !slices.Equal(got.Roles.Values, c.values) {
			t.Errorf("%s: roles %+v with the faults %+v, want %v", claims, got.Roles, got.Faults, c.values)
		}
	}
	got := apply(t, compile(t, providers.KindOIDC, map[string]string{"roles": strings.Replace(admins, "list(claims.groups)", "claims.groups", 1)}),
		&mapping.Vars{Claims: object(t, `{"groups":"x"}`)})
	if len(got.Faults) != 1 || !strings.Contains(got.Faults[0].Message, "write list(claims.groups)") {
		t.Errorf("a filter of a string gives the faults %+v, want the way out", got.Faults)
	}
}

// The name of a directory's group has commas, and is one name all the same.
func TestAGroupOfADirectoryIsOneName(t *testing.T) {
	got := apply(t, compile(t, providers.KindOIDC, map[string]string{"roles": "claims.groups"}), &mapping.Vars{Claims: object(t, `{"groups":"CN=Admins,DC=acme"}`)})
	if len(got.Faults) != 0 || !slices.Equal(got.Roles.Values, []string{"CN=Admins,DC=acme"}) {
		t.Errorf("roles %+v with the faults %+v, want that one name", got.Roles, got.Faults)
	}
}

func TestDefaults(t *testing.T) {
	for name, c := range map[string]struct {
		kind providers.Kind
		vars mapping.Vars
		want providers.CreateUser
	}{
		"oidc": {
			providers.KindOIDC,
			mapping.Vars{Claims: object(t, `{"email":"ada@acme.example","email_verified":true,"name":"Ada L","given_name":"Ada","family_name":"L","groups":["x"],"roles":["admin"],"preferred_username":"p"}`)},
			providers.CreateUser{Email: "ada@acme.example", EmailVerified: true, Name: "Ada L", FirstName: "Ada", LastName: "L"},
		},
		"oidc, nothing there": {providers.KindOIDC, mapping.Vars{Claims: map[string]any{}}, providers.CreateUser{}},
		"saml, short names": {
			providers.KindSAML,
			mapping.Vars{Attributes: map[string][]string{"mail": {"ada@acme.example", "other@acme.example"}, "displayName": {"Ada L"}, "givenName": {"Ada"}, "sn": {"L"}}, NameID: "n"},
			providers.CreateUser{Email: "ada@acme.example", Name: "Ada L", FirstName: "Ada", LastName: "L"},
		},
		"saml, URIs": {
			providers.KindSAML,
			mapping.Vars{Attributes: map[string][]string{
				"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress": {"ada@acme.example"},
				"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/givenname":    {"Ada"},
				"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/surname":      {"L"},
			}},
			providers.CreateUser{Email: "ada@acme.example", FirstName: "Ada", LastName: "L"},
		},
		"saml, NameID is the e-mail": {
			providers.KindSAML,
			mapping.Vars{Attributes: map[string][]string{"mail": {}}, NameID: "ada@acme.example", NameIDFormat: "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"},
			providers.CreateUser{Email: "ada@acme.example"},
		},
		"saml, NameID is something else": {
			providers.KindSAML, mapping.Vars{NameID: "n", NameIDFormat: "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"}, providers.CreateUser{},
		},
		"feed": {
			providers.KindFeed,
			mapping.Vars{Resource: object(t, `{"userName":"ada","displayName":"Ada L","name":{"givenName":"Ada","familyName":"L"},"emails":[{"value":"home@x.example"},{"value":"ada@acme.example","primary":true}],"roles":[{"value":"user"},{"value":"admin","primary":true}]}`)},
			providers.CreateUser{
				Email: "ada@acme.example", Name: "Ada L", IdentityName: "ada", DisplayName: "Ada L", FirstName: "Ada", LastName: "L",
				Roles: providers.Claim[string]{Present: true, Values: []string{"user", "admin"}},
			},
		},
		"feed, no primary e-mail": {
			providers.KindFeed,
			mapping.Vars{Resource: object(t, `{"name":{"formatted":"Ada L"},"emails":[{"value":"a@x.example"},{"value":"b@x.example"}]}`)},
			providers.CreateUser{Email: "a@x.example", Name: "Ada L"},
		},
		"feed, nothing there": {providers.KindFeed, mapping.Vars{Resource: map[string]any{"emails": []any{}}}, providers.CreateUser{}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := apply(t, compile(t, c.kind, nil), &c.vars); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestAnEmptyExpressionSwitchesTheDefaultOff(t *testing.T) {
	m := compile(t, providers.KindOIDC, map[string]string{"name": "", "email_verified": " "})
	if got := apply(t, m, &mapping.Vars{Claims: object(t, `{"name":"Ada","email":"a@b","email_verified":true}`)}); got.Name != "" || got.EmailVerified || got.Email != "a@b" {
		t.Errorf("the user is %+v, want the e-mail address alone", got)
	}
}

func TestRoleClaimStates(t *testing.T) {
	many := func(n int) string { return `["r` + strings.Repeat(`","r`, n-1) + `"]` }
	for name, c := range map[string]struct {
		claims, expr string
		present      bool
		values       []string
		fault, code  string
	}{
		"absent":              {claims: `{}`},
		"absent within":       {claims: `{}`, expr: `claims.realm_access.roles`},
		"absent, half-way":    {claims: `{"realm_access":{}}`, expr: `claims.realm_access.roles`},
		"absent in a filter":  {claims: `{}`, expr: `claims.groups.filter(g, g != "x")`},
		"absent, optional":    {claims: `{}`, expr: `claims.?groups`},
		"empty":               {claims: `{"groups":[]}`, present: true, values: []string{}},
		"empty by a filter":   {claims: `{"groups":["x"]}`, expr: `claims.groups.filter(g, g != "x")`, present: true, values: []string{}},
		"list":                {claims: `{"groups":["a","b"]}`, present: true, values: []string{"a", "b"}},
		"optional list":       {claims: `{"groups":["a"]}`, expr: `claims.?groups`, present: true, values: []string{"a"}},
		"list of names":       {claims: `{"groups":[{"name":"a"},{"name":"b"}]}`, expr: `claims.groups.map(g, g.name)`, present: true, values: []string{"a", "b"}},
		"one string":          {claims: `{"groups":"a"}`, present: true, values: []string{"a"}},
		"a comma in a list":   {claims: `{"groups":["CN=a,OU=b"]}`, present: true, values: []string{"CN=a,OU=b"}},
		"split by hand":       {claims: `{"groups":"a,b"}`, expr: `claims.groups.split(",")`, present: true, values: []string{"a", "b"}},
		"as many as allowed":  {claims: `{"groups":` + many(200) + `}`, present: true, values: strings.Split(strings.TrimSuffix(strings.Repeat("r,", 200), ","), ",")},
		"too many":            {claims: `{"groups":` + many(201) + `}`, fault: "roles", code: "too_long"},
		"comma-joined":        {claims: `{"groups":"a,b"}`, fault: "roles", code: "invalid"},
		"null":                {claims: `{"groups":null}`, fault: "roles", code: "invalid"},
		"number":              {claims: `{"groups":5}`, fault: "roles", code: "invalid"},
		"boolean":             {claims: `{"groups":true}`, fault: "roles", code: "invalid"},
		"object":              {claims: `{"groups":{"a":true}}`, fault: "roles", code: "invalid"},
		"mixed list":          {claims: `{"groups":["a",5]}`, fault: "roles[1]", code: "invalid"},
		"null in the list":    {claims: `{"groups":["a",null]}`, fault: "roles[1]", code: "invalid"},
		"list in the list":    {claims: `{"groups":[["a"]]}`, fault: "roles[0]", code: "invalid"},
		"empty string":        {claims: `{"groups":""}`, fault: "roles", code: "invalid"},
		"blank name":          {claims: `{"groups":["a"," "]}`, fault: "roles[1]", code: "invalid"},
		"long name":           {claims: `{"groups":["` + strings.Repeat("r", 257) + `"]}`, fault: "roles[0]", code: "too_long"},
		"an entry lacks name": {claims: `{"groups":[{"name":"a"},{}]}`, expr: `claims.groups.map(g, g.name)`, fault: "roles", code: "invalid"},
		"index out of bounds": {claims: `{"groups":[]}`, expr: `claims.groups[0]`, fault: "roles", code: "invalid"},
		"overage names":       {claims: `{"_claim_names":{"groups":"src1"},"_claim_sources":{"src1":{"endpoint":"https://graph.example"}}}`, fault: "roles", code: "invalid"},
		"overage, optional":   {claims: `{"_claim_names":{"groups":"src1"}}`, expr: `claims.?groups.orValue([])`, fault: "roles", code: "invalid"},
		"overage, index":      {claims: `{"_claim_names":{"groups":"src1"}}`, expr: `claims[?"groups"]`, fault: "roles", code: "invalid"},
		"hasgroups":           {claims: `{"hasgroups":true}`, fault: "roles", code: "invalid"},
		"hasgroups as text":   {claims: `{"hasgroups":"true"}`, fault: "roles", code: "invalid"},
		"hasgroups false":     {claims: `{"hasgroups":false}`},
		"overage of another":  {claims: `{"_claim_names":{"groups":"src1"},"roles":["a"]}`, expr: `claims.roles`, present: true, values: []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			expr := c.expr
			if expr == "" {
				expr = "claims.groups"
			}
			got := apply(t, compile(t, providers.KindOIDC, map[string]string{"roles": expr}), &mapping.Vars{Claims: object(t, c.claims)})
			if c.fault != "" {
				if len(got.Faults) != 1 || got.Faults[0].Field != c.fault || got.Faults[0].Code != c.code || got.Faults[0].Message == "" || got.Roles.Present {
					t.Errorf("faults = %+v, roles = %+v; want %s %s", got.Faults, got.Roles, c.fault, c.code)
				}
				return
			}
			if len(got.Faults) != 0 || got.Roles.Present != c.present || !reflect.DeepEqual(got.Roles.Values, c.values) {
				t.Errorf("roles = %+v, faults = %+v; want %v %v", got.Roles, got.Faults, c.present, c.values)
			}
		})
	}
}

func TestSAMLGroupsOverage(t *testing.T) {
	const groups = "http://schemas.microsoft.com/ws/2008/06/identity/claims/groups"
	m := compile(t, providers.KindSAML, map[string]string{"roles": `attributes["` + groups + `"]`})
	if got := apply(t, m, &mapping.Vars{Attributes: map[string][]string{groups: {"a", "b"}}}); !reflect.DeepEqual(got.Roles.Values, []string{"a", "b"}) {
		t.Errorf("a list of groups gives %+v, want the roles a and b", got)
	}
	if got := apply(t, m, &mapping.Vars{Attributes: map[string][]string{}}); got.Roles.Present || len(got.Faults) != 0 {
		t.Errorf("no groups give %+v, want no roles and no fault", got)
	}
	if got := apply(t, m, &mapping.Vars{Attributes: map[string][]string{groups + ".link": {"https://graph.example"}}}); len(got.Faults) != 1 {
		t.Errorf("groups that were left out give %+v, want one fault", got)
	}
}

func TestOrganizations(t *testing.T) {
	m := compile(t, providers.KindOIDC, map[string]string{"organizations": "claims.orgs"})
	for raw, want := range map[string]struct {
		values []providers.OrganizationRole
		fault  string
	}{
		`{}`:          {},
		`{"orgs":[]}`: {values: []providers.OrganizationRole{}},
		`{"orgs":[{"organizationId":"o","roleId":"r"}]}`:                        {values: []providers.OrganizationRole{{OrganizationID: "o", RoleID: "r"}}},
		`{"orgs":{"organizationId":"o","roleId":"r"}}`:                          {values: []providers.OrganizationRole{{OrganizationID: "o", RoleID: "r"}}},
		`{"orgs":[{"organizationId":"o","roleId":"r"},{"organizationId":"o"}]}`: {fault: "organizations[1].roleId"},
		`{"orgs":[{"organizationId":1,"roleId":"r"}]}`:                          {fault: "organizations[0].organizationId"},
		`{"orgs":[{"organizationId":"o","roleId":"r","x":1}]}`:                  {fault: "organizations[0]"},
		`{"orgs":["o"]}`: {fault: "organizations[0]"},
		`{"orgs":"o"}`:   {fault: "organizations"},
	} {
		got := apply(t, m, &mapping.Vars{Claims: object(t, raw)})
		if want.fault != "" {
			if len(got.Faults) != 1 || got.Faults[0].Field != want.fault || got.Organizations.Present {
				t.Errorf("%s gives %+v, want a fault of %s alone", raw, got, want.fault)
			}
			continue
		}
		if len(got.Faults) != 0 || got.Organizations.Present != (want.values != nil) || !reflect.DeepEqual(got.Organizations.Values, want.values) {
			t.Errorf("%s gives %+v, want the organizations %+v", raw, got, want.values)
		}
	}
	built := compile(t, providers.KindOIDC, map[string]string{"organizations": `claims.teams.map(x, {"organizationId": x, "roleId": claims.role})`})
	if got := apply(t, built, &mapping.Vars{Claims: object(t, `{"teams":["o1","o2"],"role":"r"}`)}); len(got.Organizations.Values) != 2 || got.Organizations.Values[1].OrganizationID != "o2" {
		t.Errorf("organizations built by an expression are %+v, want o1 and o2", got)
	}
}

func TestTextFields(t *testing.T) {
	for raw, want := range map[string]string{`{"n":5}`: "a number", `{"n":null}`: "null", `{"n":["a"]}`: "a list", `{"n":{"a":1}}`: "an object", `{"n":true}`: "a boolean"} {
		got := apply(t, compile(t, providers.KindOIDC, map[string]string{"name": "claims.n"}), &mapping.Vars{Claims: object(t, raw)})
		if len(got.Faults) != 1 || got.Faults[0].Field != "name" || !strings.HasSuffix(got.Faults[0].Message, "not "+want) {
			t.Errorf("%s gives the faults %+v, want that name is %s", raw, got.Faults, want)
		}
	}
	for expr, want := range map[string]string{
		`claims.first + " " + claims.last`:                        "Ada L",
		`claims.?nick.orValue(claims.first)`:                      "Ada",
		`claims["first"]`:                                         "Ada",
		`claims.first.lowerAscii()`:                               "ada",
		`has(claims.nick) ? claims.nick : claims.last`:            "L",
		`claims.list[0]`:                                          "x",
		`claims.list[7]`:                                          "",
		`claims.first + claims.nick`:                              "",
		`sets.contains(claims.list, ["x"]) ? "in" : "out"`:        "in",
		`claims.list.transformList(i, v, v + string(i))[1]`:       "y1",
		`claims.list.sort()[0].upperAscii() + claims.nested.deep`: "Xd",
	} {
		got := apply(t, compile(t, providers.KindOIDC, map[string]string{"name": expr}), &mapping.Vars{Claims: object(t, `{"first":"Ada","last":"L","list":["x","y"],"nested":{"deep":"d"}}`)})
		if got.Name != want || len(got.Faults) != 0 {
			t.Errorf("%s = %q, faults %+v; want %q", expr, got.Name, got.Faults, want)
		}
	}
}

func TestFaultsAreReportedTogetherAndQuoteNoValue(t *testing.T) {
	m := compile(t, providers.KindOIDC, map[string]string{"name": `string(int(claims.secret))`, "first_name": `claims.secret.x`, "last_name": `claims.secret.y[0]`, "roles": "claims.groups"})
	got := apply(t, m, &mapping.Vars{Claims: object(t, `{"secret":"hunter2-hunter2","email":5,"groups":"hunter2,hunter2"}`)})
	raw, err := json.Marshal(got.Faults)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Faults) != 5 || strings.Contains(string(raw), "hunter2") {
		t.Errorf("the faults are %s, want 5 without a value", raw)
	}
}

func TestEvaluationIsBounded(t *testing.T) {
	triple := `claims.l.map(a, claims.l.map(b, claims.l.map(c, a + b + c)))[0][0][0]`
	m := compile(t, providers.KindOIDC, map[string]string{"name": triple})
	vars := &mapping.Vars{Claims: object(t, `{"l":["`+strings.Repeat(`a","`, 300)+`b"]}`)}
	got := apply(t, m, vars)
	if len(got.Faults) != 1 || !strings.Contains(got.Faults[0].Message, "costs more") {
		t.Errorf("the faults are %+v, want one, of the cost", got.Faults)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var r providers.CreateUser
	m = compile(t, providers.KindOIDC, map[string]string{"name": `claims.l.exists(a, a == "z") ? "z" : "none"`}) // cheap, but long enough to be interrupted
	if got := apply(t, m, vars); got.Name != "none" {
		t.Errorf("before the context ends the user is %+v, want the name none", got)
	}
	err := m.Apply(ctx, vars, &r, nil)
	failure, ok := errors.AsType[*providers.Error](err)
	if !ok || !errors.Is(err, providers.ErrUnavailable) || !errors.Is(err, context.Canceled) || failure.Reason != mapping.ReasonCancelled {
		t.Errorf("an ended context gives the error %v, want it unavailable because of %s", err, mapping.ReasonCancelled)
	}
}

func TestTraceSaysNoValue(t *testing.T) {
	m := compile(t, providers.KindOIDC, map[string]string{"roles": "claims.groups"})
	trace := &providers.Trace{}
	var r providers.CreateUser
	if err := m.Apply(t.Context(), &mapping.Vars{Claims: object(t, `{"email":"hunter2","email_verified":"true","groups":"hunter2,a"}`)}, &r, trace); err != nil {
		t.Fatal(err)
	}
	if r.EmailVerified {
		t.Error("the string \"true\" verified an address")
	}
	want := map[string]struct {
		ok     bool
		detail string
	}{
		"email":          {true, "claims.email: a string"},
		"email_verified": {true, "not verified"},
		"name":           {true, "claims.name: absent"},
		"roles":          {false, "commas"},
	}
	for _, c := range trace.Checks() {
		if strings.Contains(c.Detail, "hunter2") || c.Step != "map" {
			t.Errorf("the trace has the check %+v, want one of the step map without a value", c)
		}
		if w, there := want[c.Name]; there {
			if c.OK != w.ok || !strings.Contains(c.Detail, w.detail) {
				t.Errorf("check %+v, want %+v", c, w)
			}
			delete(want, c.Name)
		}
	}
	if len(want) != 0 {
		t.Errorf("not recorded: %v", want)
	}
}

// The short way for plain selections answers as CEL does: the same selection inside a conditional goes through CEL.
func FuzzSelection(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":{}}`, `{"a":{"b":"x"}}`, `{"a":{"b":["x","y"]}}`, `{"a":null}`, `{"a":[1]}`, `{"a":{"b":null}}`, `{"a":"x"}`, `{"a":{"b":{"c":1}}}`, `{"a":{"b":1.5}}`, `{"a":{"b":true}}`, `{"a":{"b":["x",1]}}`} {
		f.Add([]byte(s))
	}
	plain, conditional := map[string]string{}, map[string]string{}
	for _, field := range []string{"email", "email_verified", "name", "identity_name", "roles", "organizations"} {
		plain[field], conditional[field] = `claims.a["b"]`, `true ? claims.a["b"] : claims.a["b"]`
	}
	short, long := compile(f, providers.KindOIDC, plain), compile(f, providers.KindOIDC, conditional)
	f.Fuzz(func(t *testing.T, raw []byte) {
		claims, err := wire.Claims(raw, wire.Limits{Size: 1 << 12})
		if err != nil {
			return
		}
		a, b := apply(t, short, &mapping.Vars{Claims: claims}), apply(t, long, &mapping.Vars{Claims: claims})
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s is mapped differently, want the same\nshort %+v\nlong  %+v", raw, a, b)
		}
	})
}

// The shortcuts of the defaults answer as CEL does, to which each default goes when it stands inside a conditional.
func FuzzDefaults(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"emails":[]}`, `{"emails":[{"value":"a"},{"value":"b","primary":true},{"value":"c","primary":true}]}`, `{"emails":[{"primary":true}]}`, `{"emails":["a"]}`,
		`{"emails":[{"value":"a","primary":"true"},{"value":"b","primary":false}]}`, `{"emails":null}`, `{"emails":{"value":"a"}}`, `{"emails":[{"value":null}]}`, `{"emails":[{"value":"a"},5]}`,
		`{"displayName":null}`, `{"displayName":"x","name":5}`, `{"name":5}`, `{"name":{}}`, `{"name":{"formatted":"x"}}`, `{"name":null}`,
		`{"roles":[{"value":"a"},{"value":"b"}]}`, `{"roles":[{}]}`, `{"roles":[{"value":5}]}`, `{"roles":"a"}`, `{"roles":[]}`, `{"roles":[["a"]]}`, `{"roles":null}`, `{"roles":{"a":{"value":"x"}}}`,
	} {
		f.Add([]byte(s), "mail", "", false)
	}
	for _, name := range []string{"email", "emailAddress", "cn", "name", "urn:oid:2.5.4.42", "sn", "lastName", "other"} {
		f.Add([]byte(`{}`), name, "x", true)
		f.Add([]byte(`{}`), name, "", false)
	}
	var short, long []*mapping.Mapping
	for _, kind := range []providers.Kind{providers.KindSAML, providers.KindFeed} {
		conditional := maps.Clone(kindOf(kind).Mapping.Defaults)
		for field, expr := range conditional {
			conditional[field] = "true ? (" + expr + ") : (" + expr + ")"
		}
		short, long = append(short, compile(f, kind, nil)), append(long, compile(f, kind, conditional))
	}
	f.Fuzz(func(t *testing.T, raw []byte, attribute, value string, emailFormat bool) {
		resource, err := wire.Resource(raw, wire.Limits{Size: 1 << 12})
		if err != nil {
			return
		}
		vars := &mapping.Vars{Resource: resource, NameID: "n", Attributes: map[string][]string{"sn": {}, "mail": {}, attribute: {value, "second"}}}
		if value == "" {
			vars.Attributes[attribute] = nil
		}
		if emailFormat {
			vars.NameIDFormat = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
		}
		for i := range short {
			if a, b := apply(t, short[i], vars), apply(t, long[i], vars); !reflect.DeepEqual(a, b) {
				t.Errorf("%s %q %q %v is mapped differently, want the same\nshort %+v\nlong  %+v", raw, attribute, value, emailFormat, a, b)
			}
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	m := compile(t, providers.KindOIDC, map[string]string{"roles": `claims.groups.filter(g, g.startsWith("r"))`})
	done := make(chan providers.CreateUser)
	for range 8 {
		go func() {
			var r providers.CreateUser
			for range 200 {
				r = providers.CreateUser{}
				if err := m.Apply(context.Background(), &mapping.Vars{Claims: map[string]any{"groups": []any{"r1", "x", "r2"}}}, &r, nil); err != nil {
					t.Error(err)
				}
			}
			done <- r
		}()
	}
	for range 8 {
		if r := <-done; !reflect.DeepEqual(r.Roles.Values, []string{"r1", "r2"}) {
			t.Errorf("the roles are %+v, want r1 and r2", r.Roles)
		}
	}
}
