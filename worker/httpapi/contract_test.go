package httpapi_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/idpsync/idpsync/worker/record"
)

const deploy = "../../deploy/"

// A contract is the published description of the API: deploy/openapi.yaml with the JSON Schemas beside it.
type contract struct {
	api     *openapi3.T
	schemas map[string]*jsonschema.Schema // by file name
}

func readContract(t testing.TB) *contract {
	t.Helper()
	loader := openapi3.NewLoader()
	loader.IsExternalRefsAllowed = true // to the schemas
	api, err := loader.LoadFromFile(deploy + "openapi.yaml")
	if err != nil {
		t.Fatalf("read openapi.yaml: %v", err)
	}
	c := &contract{api: api, schemas: map[string]*jsonschema.Schema{}}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat() // what a schema says of formats and encodings must hold too
	compiler.AssertContent()
	for _, file := range schemaFiles(t) {
		schema, err := compiler.Compile(file)
		if err != nil {
			t.Fatalf("read the schema %s: %v", file, err)
		}
		c.schemas[filepath.Base(file)] = schema
	}
	return c
}

func schemaFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(deploy + "schemas/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %d schemas (%v), wanted those of the deployment", len(files), err)
	}
	return files
}

// operation returns what the contract says of POST to a path, or nil.
func (c *contract) operation(path string) *routers.Route {
	item := c.api.Paths.Value(path)
	if item == nil || item.Post == nil {
		return nil
	}
	return &routers.Route{Spec: c.api, Path: path, PathItem: item, Method: http.MethodPost, Operation: item.Post}
}

// checkExchange compares a response with what the contract says of it, and the request too if it was granted: the API must
// not take what its contract refuses.
func (c *contract) checkExchange(t testing.TB, path string, res *http.Response, body []byte) {
	t.Helper()
	route := c.operation(path)
	if route == nil {
		t.Errorf("openapi.yaml has no POST to %s, which was answered with status %d", path, res.StatusCode)
		return
	}
	options := &openapi3filter.Options{
		MultiError: true, IncludeResponseStatus: true, SkipSettingDefaults: true,
		AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, // the API authenticates, and openapi.yaml can't
	}
	options.WithCustomSchemaErrorFunc(func(err *openapi3.SchemaError) string { return err.Reason }) // else it prints the schema
	request := &openapi3filter.RequestValidationInput{Request: res.Request, Route: route, Options: options}
	response := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: request, Status: res.StatusCode, Header: res.Header, Body: io.NopCloser(bytes.NewReader(body)), Options: options,
	}
	if err := openapi3filter.ValidateResponse(t.Context(), response); err != nil {
		t.Errorf("%s answered %d with %s, wanted what openapi.yaml says: %v", path, res.StatusCode, body, err)
	}
	// Of a media type the contract means all forms, but the API has one.
	if got := res.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("%s answered %d with Content-Type %q, wanted application/json", path, res.StatusCode, got)
	}
	if res.StatusCode != http.StatusCreated {
		return
	}
	sent, err := res.Request.GetBody()
	if err != nil {
		t.Error(err)
		return
	}
	request.Request = res.Request.Clone(t.Context())
	request.Request.Body = sent
	if err := openapi3filter.ValidateRequest(t.Context(), request); err != nil {
		t.Errorf("%s answered 201 to a request that openapi.yaml refuses, wanted a refusal: %v", path, err)
	}
}

// checkJSON compares a document with the schema of a file.
func (c *contract) checkJSON(t testing.TB, file string, body []byte) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Errorf("got %s, wanted a JSON document that fits %s: %v", body, file, err)
		return
	}
	if err := c.fits(file, v); err != nil {
		t.Errorf("got %s, wanted what %s says: %v", body, file, err)
	}
}

// fits returns what the schema of a file has against a value.
func (c *contract) fits(file string, v any) error {
	schema := c.schemas[file]
	if schema == nil {
		return fmt.Errorf("there is no schema %s", file)
	}
	return schema.Validate(v)
}

// TestOpenAPIIsValid validates the document, its examples included.
func TestOpenAPIIsValid(t *testing.T) {
	c := readContract(t)
	if err := c.api.Validate(t.Context(), openapi3.EnableMultiError(), openapi3.EnableExamplesValidation()); err != nil {
		t.Errorf("openapi.yaml is faulty, wanted a valid document: %v", err)
	}
	for path := range c.api.Paths.Map() {
		route := c.operation(path)
		if route == nil {
			t.Errorf("%s has no POST, wanted one, as every path of the API has", path)
			continue
		}
		for status, response := range route.Operation.Responses.Map() {
			if content := response.Value.Content["application/json"]; len(response.Value.Content) != 1 || content == nil || content.Schema == nil {
				t.Errorf("status %s of %s has the content %v, wanted application/json with a schema", status, path, response.Value.Content)
			}
		}
	}
}

// TestOpenAPIHasTheRoutes compares the paths and methods with those that are served.
func TestOpenAPIHasTheRoutes(t *testing.T) {
	var got, want []string
	for path, item := range readContract(t).api.Paths.Map() {
		for method := range item.Operations() {
			got = append(got, method+" "+path)
		}
	}
	for _, r := range record.Routes() {
		if r.Path != "" {
			want = append(want, r.Method+" "+r.Path)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("openapi.yaml describes %q, want what the table of routes has: %q", got, want)
	}
}

// strictly describes JSON Schemas that have no keywords but those of JSON Schema 2020-12. A validator passes over any other,
// so that a slip of the pen would be a rule that nobody checks.
const strictly = `{
	"$schema": "https://json-schema.org/draft/2020-12/schema",
	"$dynamicAnchor": "meta",
	"$ref": "https://json-schema.org/draft/2020-12/schema",
	"unevaluatedProperties": false
}`

func TestSchemasHaveOnlyKeywordsOfTheStandard(t *testing.T) {
	const location = "https://idpsync.example/strictly"
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(strictly))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(location, document); err != nil {
		t.Fatal(err)
	}
	meta, err := compiler.Compile(location)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range schemaFiles(t) {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			t.Errorf("%s is no JSON: %v", file, err)
			continue
		}
		if err := meta.Validate(schema); err != nil {
			t.Errorf("%s is faulty, wanted a schema of JSON Schema 2020-12 and no other keywords: %v", filepath.Base(file), err)
		}
		if name := schema.(map[string]any)["$schema"]; name != jsonschema.Draft2020.String() {
			t.Errorf("%s has the $schema %v, wanted %s", filepath.Base(file), name, jsonschema.Draft2020)
		}
	}
}
