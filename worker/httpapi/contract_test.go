package httpapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
)

const deploy = "../../deploy/"

// A contract is the published description of the API: deploy/openapi.yaml with the JSON Schemas beside it.
type contract struct {
	api     map[string]any
	schemas map[string]map[string]any // by file name
}

func readContract(t testing.TB) *contract {
	t.Helper()
	c := &contract{schemas: map[string]map[string]any{}}
	raw, err := os.ReadFile(deploy + "openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(raw, &c.api); err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	files, err := filepath.Glob(deploy + "schemas/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no schemas: %v", err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var s map[string]any
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		c.schemas[filepath.Base(f)] = s
	}
	return c
}

// at returns what stands at a path of openapi.yaml, following references on the way.
func (c *contract) at(path ...string) any {
	var v any = c.api
	for _, name := range path {
		m, ok := c.deref(v).(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return c.deref(v)
}

// deref follows references, into the components and into the schema files.
func (c *contract) deref(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	ref, ok := m["$ref"].(string)
	if !ok {
		return v
	}
	if file, ok := strings.CutPrefix(ref, "#/"); ok {
		return c.at(strings.Split(file, "/")...)
	}
	if s := c.schemas[filepath.Base(ref)]; s != nil {
		return s
	}
	return fmt.Sprintf("reference to nothing: %s", ref)
}

// checkResponse compares a response with what the contract says of it.
func (c *contract) checkResponse(t testing.TB, path string, res *http.Response, body []byte) {
	t.Helper()
	described, ok := c.at("paths", path, "post", "responses", strconv.Itoa(res.StatusCode)).(map[string]any)
	if !ok {
		t.Errorf("%s: status %d is not in openapi.yaml", path, res.StatusCode)
		return
	}
	headers, _ := c.deref(described["headers"]).(map[string]any)
	for name, h := range headers {
		header := c.deref(h).(map[string]any)
		if header["required"] != true && res.Header.Get(name) == "" {
			continue
		}
		for _, fault := range c.validate(header["schema"], any(res.Header.Get(name)), name) {
			t.Errorf("%s %d: header %s", path, res.StatusCode, fault)
		}
	}
	if got := res.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("%s %d: Content-Type %q", path, res.StatusCode, got)
	}
	schema := c.at("paths", path, "post", "responses", strconv.Itoa(res.StatusCode), "content", "application/json", "schema")
	if schema == nil {
		t.Errorf("%s %d has no schema", path, res.StatusCode)
		return
	}
	c.checkJSON(t, schema, body)
}

func (c *contract) checkJSON(t testing.TB, schema any, body []byte) {
	t.Helper()
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Errorf("%v in %s", err, body)
		return
	}
	for _, fault := range c.validate(schema, v, "$") {
		t.Errorf("%s in %s", fault, body)
	}
}

// keywords are those of JSON Schema 2020-12 that validate knows, and annotations. Any other is a fault of the schema, so
// that none is passed over in silence.
var keywords = []string{
	"$schema", "$id", "$ref", "title", "description", "default",
	"type", "const", "enum", "oneOf", "properties", "patternProperties", "required", "additionalProperties",
	"items", "minItems", "minLength", "maxLength", "pattern", "minimum",
}

// validate returns what is wrong with v by the schema.
func (c *contract) validate(schema, v any, at string) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, at+": "+fmt.Sprintf(format, args...)) }
	s, ok := c.deref(schema).(map[string]any)
	if !ok {
		fault("schema is %v", c.deref(schema))
		return faults
	}
	for name := range s {
		if !slices.Contains(keywords, name) {
			fault("the schema has %q, which this test does not know", name)
		}
	}
	if want, ok := s["const"]; ok && want != v {
		fault("is not %v", want)
	}
	if list, ok := s["enum"].([]any); ok && !slices.Contains(list, v) {
		fault("is none of %v", list)
	}
	if list, ok := s["oneOf"].([]any); ok {
		var fits int
		var why []string
		for _, one := range list {
			if f := c.validate(one, v, at); len(f) > 0 {
				why = append(why, f...)
			} else {
				fits++
			}
		}
		if fits != 1 {
			fault("fits %d of the schemas, not one: %s", fits, strings.Join(why, "; "))
		}
	}
	switch s["type"] {
	case nil:
	case "string":
		text, ok := v.(string)
		if !ok {
			fault("is a %T, not a string", v)
			break
		}
		n := float64(utf8.RuneCountInString(text))
		if least, ok := number(s["minLength"]); ok && n < least {
			fault("is shorter than %v", least)
		}
		if most, ok := number(s["maxLength"]); ok && n > most {
			fault("is longer than %v", most)
		}
		if pattern, ok := s["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(text) {
			fault("does not match %s", pattern)
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			fault("is a %T, not a boolean", v)
		}
	case "integer":
		n, ok := v.(float64)
		if !ok || n != float64(int64(n)) {
			fault("is not an integer")
		}
		if least, ok := number(s["minimum"]); ok && n < least {
			fault("is less than %v", least)
		}
	case "array":
		list, ok := v.([]any)
		if !ok {
			fault("is a %T, not an array", v)
			break
		}
		if least, ok := number(s["minItems"]); ok && float64(len(list)) < least {
			fault("has fewer than %v items", least)
		}
		for i, item := range list {
			faults = append(faults, c.validate(s["items"], item, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case "object":
		m, ok := v.(map[string]any)
		if !ok {
			fault("is a %T, not an object", v)
			break
		}
		faults = append(faults, c.members(s, m, at)...)
	default:
		fault("the schema has the type %v", s["type"])
	}
	return faults
}

func (c *contract) members(s, m map[string]any, at string) (faults []string) {
	properties, _ := s["properties"].(map[string]any)
	patterns, _ := s["patternProperties"].(map[string]any)
	required, _ := s["required"].([]any)
	for _, name := range required {
		if _, ok := m[name.(string)]; !ok {
			faults = append(faults, fmt.Sprintf("%s: %s is missing", at, name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		schema, known := properties[name]
		for pattern, other := range patterns {
			if !known && regexp.MustCompile(pattern).MatchString(name) {
				schema, known = other, true
			}
		}
		switch {
		case known:
			faults = append(faults, c.validate(schema, m[name], at+"."+name)...)
		case s["additionalProperties"] == false:
			faults = append(faults, fmt.Sprintf("%s: %s is not in the schema", at, name))
		}
	}
	return faults
}

func number(v any) (float64, bool) {
	switch n := v.(type) {
	case float64:
		return n, true
	case uint64:
		return float64(n), true
	case int64:
		return float64(n), true
	}
	return 0, false
}
