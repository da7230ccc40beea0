package httpapi_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/wire"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
	"github.com/idpsync/idpsync/worker/workertest"
)

// TestSchemasNameTheMembersOfTheCode compares the schemas with the structs that the documents are read into.
func TestSchemasNameTheMembersOfTheCode(t *testing.T) {
	c := readContract(t)
	for name, pair := range map[string]struct {
		schema *jsonschema.Schema
		v      any
	}{
		"tenant user":       {c.schemas["tenant-user-request.json"], wire.TenantUser{}},
		"organization user": {c.schemas["organization-user.json"], wire.OrganizationUser{}},
		"organization role": {c.schemas["organization-user.json"].Properties["organizations"].Items2020, wire.OrganizationRole{}},
		"OIDC login":        {c.schemas["oidc-login.json"], wire.OIDCLogin{}},
		"SAML login":        {c.schemas["saml-login.json"], wire.SAMLLogin{}},
		"error":             {c.schemas["error.json"], record.ErrorBody{}},
		"replay order":      {c.schemas["replay-order.json"], record.Order{}},
	} {
		var code []string
		for i := range reflect.TypeOf(pair.v).NumField() {
			tag, _, _ := strings.Cut(reflect.TypeOf(pair.v).Field(i).Tag.Get("json"), ",")
			code = append(code, tag)
		}
		slices.Sort(code)
		if schema := slices.Sorted(maps.Keys(pair.schema.Properties)); !slices.Equal(schema, code) {
			t.Errorf("the schema of the %s has the members %v, wanted those of the code: %v", name, schema, code)
		}
	}
}

// TestSchemasNameTheCodesOfTheCode asks for every code in the schemas that list them.
func TestSchemasNameTheCodesOfTheCode(t *testing.T) {
	c := readContract(t)
	for schema, property := range map[string]string{"error.json": "code", "dead-letter-headers.json": "Idpsync-Dl-Code"} {
		codes := c.schemas[schema].Properties[property].Enum.Values
		for _, code := range record.Codes() {
			if !slices.Contains(codes, any(string(code))) {
				t.Errorf("%s: got no %s among the values of %s, wanted every code", schema, code, property)
			}
		}
	}
}

// TestExamplesAreGranted sends the examples of openapi.yaml; [TestOpenAPIIsValid] compares them with their schemas.
func TestExamplesAreGranted(t *testing.T) {
	a := newAPI(t)
	for _, path := range []string{"/v1/users", "/users"} {
		examples := a.contract.operation(path).Operation.RequestBody.Value.Content["application/json"].Examples
		if len(examples) == 0 {
			t.Errorf("POST %s has no examples in openapi.yaml, wanted at least one", path)
		}
		for name, example := range examples {
			body, err := json.Marshal(example.Value.Value)
			if err != nil {
				t.Fatal(err)
			}
			if r := a.post(path, strings.Replace(string(body), "ada", "ada."+name, 2), nil); r.status != 201 {
				t.Errorf("the example %s of %s was answered with %d %s, wanted 201", name, path, r.status, r.raw)
			}
		}
	}
}

// TestSchemasRefuseHostileBodies: what a schema can see, it must refuse as the code does.
func TestSchemasRefuseHostileBodies(t *testing.T) {
	c := readContract(t)
	invisible := []string{ // to a validator that works on parsed JSON
		"duplicate-name.json", "escaped-duplicate.json", "lone-surrogate.json",
	}
	files, err := filepath.Glob("../../providers/command/testdata/rejected/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if json.Unmarshal(raw, &v) != nil || slices.Contains(invisible, filepath.Base(f)) {
			continue
		}
		if c.fits("tenant-user-request.json", v) == nil {
			t.Errorf("the schema accepts %s, wanted it refused", filepath.Base(f))
		}
	}
}

// TestMessagesOfTheBrokerFitTheirSchemas takes events of each kind through the durable subjects and compares what comes
// out with the schemas.
func TestMessagesOfTheBrokerFitTheirSchemas(t *testing.T) {
	a := newAPI(t)
	login := a.d.Login(a.d.Person("eve"))
	auth := providers.Header{"Authorization": {"Bearer " + a.admin}, "X-Tenant-ID": {workertest.Acme}}
	for _, e := range []struct {
		id, subject, schema string
		header              providers.Header
		body                []byte
	}{
		{"login", "idpsync.login." + workertest.Acme + ".okta", "oidc-login.json", nil, login},
		{"login again", "idpsync.login." + workertest.Acme + ".okta", "oidc-login.json", nil, login},
		{"bad login", "idpsync.login." + workertest.Acme + ".okta", "", nil, []byte(`{"id_token":"a.b"}`)},
		{"command", "idpsync.command." + workertest.Acme + ".users.create", "organization-user.json", auth, []byte(organizationUser("ada"))},
		{"bare password", "idpsync.command." + workertest.Acme + ".v1.users.create", "tenant-user-request.json", auth, []byte(tenantUser("bob@acme.example"))},
		{"feed", "idpsync.feed." + workertest.Acme + ".workday", "feed-user.json", auth, []byte(`{"email":"cy@acme.example","name":"Cy","auth_provider":"saml"}`)},
		{"roles", "idpsync.feed." + workertest.Acme + ".workday", "feed-user.json", auth, []byte(`{"email":"di@acme.example","name":"Di","auth_provider":"saml","roles":["emperor"]}`)},
		{"unproved", "idpsync.login." + workertest.Acme + ".okta", "oidc-login.json", nil, a.d.Login(a.d.Person("fay").With(workertest.Claims{"email_verified": false}))},
		{"unknown source", "idpsync.feed." + workertest.Acme + ".nowhere", "feed-user.json", auth, []byte(`{"email":"di@acme.example","name":"Di"}`)},
	} {
		if e.schema != "" {
			a.contract.checkJSON(t, e.schema, e.body)
		}
		h := providers.Header{"traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}
		maps.Copy(h, e.header)
		h["Idpsync-Event-Id"] = []string{e.id}
		if _, err := stream.PublishEvent(a.d.Ctx, a.d.Conn, record.Outgoing{Subject: e.subject, Header: h, Data: e.body}); err != nil {
			t.Fatal(err)
		}
	}
	const events, letters = 9, 5
	all := func(workertest.Record) bool { return true }
	for _, r := range a.d.Results.Await(events, "results of all", all) {
		a.contract.checkJSON(t, "result.json", r.Data)
		a.checkHeaders("result-headers.json", r.Header)
	}
	for _, r := range a.d.Letters.Await(letters, "dead letters of the rejected", all) {
		a.checkHeaders("dead-letter-headers.json", r.Header)
	}
}

// checkHeaders validates headers that have one value each.
func (a *api) checkHeaders(schema string, h providers.Header) {
	a.t.Helper()
	flat := map[string]any{}
	for name, values := range h {
		if len(values) != 1 {
			a.t.Errorf("the header %s has the values %q, wanted one", name, values)
			continue
		}
		flat[name] = values[0]
	}
	if err := a.contract.fits(schema, flat); err != nil {
		a.t.Errorf("got the headers %v, wanted what %s says: %v", h, schema, err)
	}
}
