package wire_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers/wire"
)

func TestClaims(t *testing.T) {
	got, err := wire.Claims([]byte(` {"s":"ü","n":null,"t":true,"f":false,"i":1793610000,"neg":-5,"big":123456789012345678901,"frac":1.5,"exp":1e3,"l":[1,"a",[]],"o":{"A":1,"a":2}} `), wire.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"s": "ü", "n": nil, "t": true, "f": false, "i": int64(1793610000), "neg": int64(-5), "big": 123456789012345678901.0, "frac": 1.5, "exp": 1000.0,
		"l": []any{int64(1), "a", []any{}}, "o": map[string]any{"A": int64(1), "a": int64(2)},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %#v\nwant %#v", got, want)
	}
}

func TestClaimsRefuses(t *testing.T) {
	for name, c := range map[string]struct{ body, reason, field string }{
		"twice":                 {`{"sub":"a","sub":"b"}`, wire.ReasonDuplicate, "sub"},
		"twice, escaped":        {`{"sub":"a","\u0073ub":"b"}`, wire.ReasonDuplicate, "sub"},
		"twice within":          {`{"a":[{"b":{"c":1,"c":2}}]}`, wire.ReasonDuplicate, "a[0].b.c"},
		"two cases":             {`{"sub":"a","Sub":"b"}`, wire.ReasonDuplicate, "sub"},
		"two cases, upper both": {`{"SUB":"a","Sub":"b"}`, wire.ReasonDuplicate, "sub"},
		"long s":                {`{"sub":"a","ſub":"b"}`, wire.ReasonDuplicate, "sub"},
		"kelvin sign":           {`{"K":"a","k":"b"}`, wire.ReasonDuplicate, "k"},
		"array":                 {`[]`, wire.ReasonJSON, ""},
		"string":                {`"a"`, wire.ReasonJSON, ""},
		"empty":                 {``, wire.ReasonJSON, ""},
		"blank":                 {`  `, wire.ReasonJSON, ""},
		"cut":                   {`{"a":1`, wire.ReasonJSON, ""},
		"cut in a list":         {`{"a":[1`, wire.ReasonJSON, ""},
		"trailing":              {`{}{}`, wire.ReasonJSON, ""},
		"bad UTF-8":             {"{\"a\":\"\xff\"}", wire.ReasonJSON, "a"},
		"bad UTF-8 in a name":   {"{\"\xff\":1}", wire.ReasonJSON, ""},
		"lone surrogate":        {`{"a":"\udc00"}`, wire.ReasonJSON, "a"},
		"number out of range":   {`{"a":1e999}`, wire.ReasonJSON, "a"},
		"no number":             {`{"a":01}`, wire.ReasonJSON, ""},
		"NaN":                   {`{"a":NaN}`, wire.ReasonJSON, ""},
		"deep":                  {strings.Repeat(`{"a":`, 33) + "1" + strings.Repeat("}", 33), wire.ReasonJSON, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := wire.Claims([]byte(c.body), wire.Limits{})
			if err == nil {
				t.Fatalf("accepted as %v", m)
			}
			if f := fault(t, err); f.Reason != c.reason || (c.field != "" && f.Field != c.field) {
				t.Errorf("failure = %+v; want %s at %q", f, c.reason, c.field)
			}
		})
	}
}

func TestResourceRefusesTwoCasesAtAnyDepth(t *testing.T) {
	body := []byte(`{"name":{"givenName":"a","givenname":"b"}}`)
	if _, err := wire.Claims(body, wire.Limits{}); err != nil {
		t.Errorf("Claims: %v", err)
	}
	_, err := wire.Resource(body, wire.Limits{})
	if f := fault(t, err); f.Reason != wire.ReasonDuplicate {
		t.Errorf("the fault of Resource is %+v, want the reason %s", f, wire.ReasonDuplicate)
	}
}

func FuzzFold(f *testing.F) {
	f.Add("sub", "ſUB")
	f.Add("K", "k")
	f.Add("ß", "ẞ")
	f.Add("\xff", "x")
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.ToValidUTF8(a, "") != a || strings.ToValidUTF8(b, "") != b {
			return
		}
		if (wire.Fold(a) == wire.Fold(b)) != strings.EqualFold(a, b) {
			t.Errorf("Fold(%q) = %q, Fold(%q) = %q, want them equal: %v", a, wire.Fold(a), b, wire.Fold(b), strings.EqualFold(a, b))
		}
	})
}
