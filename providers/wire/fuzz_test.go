package wire_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/wire"
)

func seed(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"email":"a","name":"b","roles":["x"],"auth_provider":"local"}`, `{"email":"a","email":"b"}`, `{"a":[{"b":null}],"A":1}`,
		`{"identityName":"a","organizations":[{"organizationId":"x","roleId":"y"}]}`, `{"id_token":"a.b.c","nonce":null}`, "{\"\xff\":1}", `{"\ud800":1}`,
		`{"a":1e400,"b":-0,"c":1.0}`, `[[[[`, `"\"`, `{"a":"\\"}`, ` {"a" : [ ] } `, `{"n":9223372036854775808}`,
		`{"specversion":"1.0","id":"1","source":"/a","type":"t","data":{"a":1}}`, `{"specversion":"1.0","id":"1","source":"/a","type":"t","data_base64":"e30="}`,
	} {
		f.Add([]byte(s))
	}
}

// What Decode accepts is valid JSON that the standard library reads as the same thing, and nothing is written to.
func FuzzDecodeTenantUser(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		got, err := wire.DecodeTenantUser(data, wire.Limits{Size: 4096, Depth: 8})
		if !bytes.Equal(before, data) {
			t.Fatal("the document was changed")
		}
		if err != nil {
			fault(t, err)
			return
		}
		var tree any
		if err := json.Unmarshal(data, &tree); err != nil {
			t.Fatalf("accepted %q, which encoding/json refuses: %v", data, err)
		}
		if !utf8.Valid(data) || hasNull(tree) {
			t.Fatalf("the body %q is accepted, want UTF-8 without null", data)
		}
		var plain struct {
			Email string
			Name  string
			Roles *[]string
		}
		if err := json.Unmarshal(data, &plain); err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		if plain.Email != got.Email || plain.Name != got.Name || !reflect.DeepEqual(plain.Roles, got.Roles) {
			t.Fatalf("%q is read as %+v, and by encoding/json as %+v", data, got, plain)
		}
		var r providers.CreateUser
		got.Fill(&r)
	})
}

func hasNull(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case []any:
		return slices.ContainsFunc(v, hasNull)
	case map[string]any:
		return slices.ContainsFunc(slices.Collect(maps.Values(v)), hasNull)
	}
	return false
}

// What Claims accepts has one reading: encoding/json, which lets the last of two names win, sees the same members.
func FuzzClaims(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := wire.Claims(data, wire.Limits{Size: 4096, Depth: 8})
		if err != nil {
			fault(t, err)
			return
		}
		var plain map[string]any
		if err := json.Unmarshal(data, &plain); err != nil {
			t.Fatalf("accepted %q, which encoding/json refuses: %v", data, err)
		}
		if !reflect.DeepEqual(asFloats(got), any(plain)) {
			t.Fatalf("%q is read as %v, and by encoding/json as %v", data, got, plain)
		}
	})
}

// asFloats turns numbers into what encoding/json makes of them.
func asFloats(v any) any {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = asFloats(v[i])
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(v))
		for name := range v {
			m[name] = asFloats(v[name])
		}
		return m
	}
	return v
}

func FuzzUnwrap(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, h := range []providers.Header{
			{"Content-Type": {"application/cloudevents+json"}},
			{"ce-id": {string(data)}, "ce-specversion": {"1.0"}, "ce-type": {"t"}, "ce-source": {"s"}},
		} {
			e, err := wire.Unwrap(h, data)
			if err != nil {
				fault(t, err)
				continue
			}
			if e.ID == "" || e.Source == "" || e.Type == "" || !utf8.ValidString(e.ID) {
				t.Fatalf("the event %+v is accepted, want an id, source and type in UTF-8", e)
			}
		}
	})
}
