package stream_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

var update = flag.Bool("update", false, "write deploy/asyncapi.yaml anew")

const (
	asyncAPI     = "../../deploy/asyncapi.yaml"
	schemaFolder = "../../deploy/schemas/"
)

// An object of the document has its members in the order in which they are read best.
type (
	object = yaml.MapSlice
	member = yaml.MapItem
)

// A document is a format of payloads, by the file of its schema. What has no schema has a description.
type document struct {
	name, schema string
	title, about string // of what has no schema
	headers      string // file of a schema, or a schema of the document itself
}

// documents says which payloads a route's format has. It is the one thing to add here for a new format.
var documents = map[providers.Shape][]document{
	providers.ShapeLogin: {
		{name: "oidc-login", schema: "oidc-login.json", headers: eventHeaders},
		{name: "saml-login", schema: "saml-login.json", headers: eventHeaders},
	},
	providers.ShapeFeed:         {{name: "feed-user", schema: "feed-user.json", headers: commandHeaders}},
	providers.ShapeTenant:       {{name: "tenant-user-request", schema: "tenant-user-request.json", headers: commandHeaders}},
	providers.ShapeOrganization: {{name: "organization-user", schema: "organization-user.json", headers: commandHeaders}},
}

const (
	eventHeaders   = "#/components/schemas/event-headers"
	commandHeaders = "#/components/schemas/command-headers"
)

var (
	resultDocument = document{name: "result", schema: "result.json", headers: "result-headers.json"}
	letterDocument = document{
		name: "dead-letter", title: "Dead letter", headers: "dead-letter-headers.json",
		about: "The body of the original, sealed for the key that Idpsync-Dl-Key-Id names; idpsync dlq show opens it.",
	}
	archiveDocument = document{
		name: "archived-event", title: "Archived event",
		about: "The body of an event that had its effect, sealed for the key that Idpsync-Dl-Key-Id names; idpsync recover opens it.",
	}
	orderDocument = document{name: "replay-order", schema: "replay-order.json"}
)

// A channel is a subject of the document.
type channel struct {
	id, subject, about string
	parameters         []string
	documents          []document
	receives           bool // idpsync receives what comes there
	replies            bool
}

// channels are those of the routes, and of what workers and operators write.
func channels(table record.Table) []channel {
	var all, requests []channel
	for _, r := range table {
		c := channel{
			id: strings.Split(r.Subject(), ".")[1], subject: r.Subject(), documents: documents[r.Shape], receives: true,
			about: fmt.Sprintf("Events with the action %s, stored in %s and read by the consumer %s.", r.Action, stream.StreamEvents, r.Lane),
		}
		if r.Name == "" {
			c.parameters = []string{"tenant", "source"}
			all = append(all, c)
			continue
		}
		c.parameters = []string{"tenant"}
		if r.Path != "" {
			c.about += " Over HTTP it is " + r.Method + " " + r.Path + "."
		}
		c.id += "." + r.Endpoint()
		all = append(all, c)
		c.id, c.subject, c.replies = "rpc."+r.Endpoint(), r.RequestSubject(), true
		c.about = fmt.Sprintf("The same as %s, answered at once: endpoint %s of the micro service %s. No stream holds it.", r.Subject(), r.Endpoint(), stream.ServiceName)
		requests = append(requests, c)
	}
	return append(append(all, requests...),
		channel{
			id: "result", subject: record.BranchResults.Of("*", "*", "*"), parameters: []string{"tenant", "source", "outcome"},
			about: "What became of each event, in " + stream.StreamResults + ".", documents: []document{resultDocument},
		},
		channel{
			id: "deadletter", subject: record.BranchDeadLetters.Of("*", "*", "*"), parameters: []string{"tenant", "source", "code"},
			about: "Events that could not be processed, in " + stream.StreamDeadLetters + ".", documents: []document{letterDocument},
		},
		channel{
			id: "archive", subject: record.BranchArchive.Of("*", "*", "*"), parameters: []string{"tenant", "source", "outcome"},
			about: "Events that had their effect, in " + stream.StreamArchive + " if there is one.", documents: []document{archiveDocument},
		},
		channel{
			id: "replay", subject: record.BranchReplays.Of("*", "*"), parameters: []string{"tenant", "operator"}, receives: true,
			about:     "Orders of operators, in " + stream.StreamReplays + " and read by the consumer " + record.LaneReplays + ".",
			documents: []document{orderDocument},
		})
}

// address puts names into the places that a pattern leaves open.
func (c channel) address() string {
	s := c.subject
	for _, p := range c.parameters {
		s = strings.Replace(s, "*", "{"+p+"}", 1)
	}
	return s
}

// asyncAPIOf writes the document of a table of routes.
func asyncAPIOf(t *testing.T, table record.Table) []byte {
	t.Helper()
	shared, operations, messages := object{}, object{}, object{}
	known := map[string]bool{}
	content := func(c channel) object {
		o := object{}
		for _, d := range c.documents {
			o = append(o, member{Key: d.name, Value: reference("#/components/messages/" + d.name)})
			if !known[d.name] {
				known[d.name] = true
				messages = append(messages, member{Key: d.name, Value: d.message(t)})
			}
		}
		if len(o) == 0 {
			t.Errorf("the channel %s has no payload, want its format in the table documents", c.id)
		}
		return o
	}
	for _, c := range channels(table) {
		parameters := object{}
		for _, p := range c.parameters {
			parameters = append(parameters, member{Key: p, Value: reference("#/components/parameters/" + p)})
		}
		shared = append(shared, member{Key: c.id, Value: object{
			{Key: "address", Value: c.address()},
			{Key: "description", Value: c.about},
			{Key: "messages", Value: content(c)},
			{Key: "parameters", Value: parameters},
		}})
		action := "send"
		if c.receives {
			action = "receive"
		}
		operation := object{{Key: "action", Value: action}, {Key: "channel", Value: reference("#/channels/" + c.id)}}
		if c.replies {
			operation = append(operation,
				member{Key: "bindings", Value: object{{Key: "nats", Value: object{{Key: "queue", Value: stream.ServiceName}, {Key: "bindingVersion", Value: "0.1.0"}}}}},
				member{Key: "reply", Value: object{{Key: "channel", Value: reference("#/channels/reply")}}})
		}
		operations = append(operations, member{Key: action + "." + c.id, Value: operation})
	}
	reply := channel{id: "reply", documents: []document{resultDocument}}
	shared = append(shared, member{Key: reply.id, Value: object{
		{Key: "address", Value: nil},
		{Key: "description", Value: "The reply subject of a request, which must be an inbox. Body and headers are those of a result, without Nats-Msg-Id; an error has Nats-Service-Error and Nats-Service-Error-Code besides. " +
			"When a worker is too busy or stops (429, 503), its refusal has these two and Idpsync-Status alone."},
		{Key: "messages", Value: content(reply)},
	}})

	var b bytes.Buffer
	b.WriteString("# Made by go test ./worker/stream -run AsyncAPI -update, from the table of routes in worker/record and the schemas beside this file.\n")
	if err := yaml.NewEncoder(&b, yaml.Indent(2), yaml.IndentSequence(true)).Encode(object{
		{Key: "asyncapi", Value: "3.0.0"},
		{Key: "info", Value: object{
			{Key: "title", Value: "idpsync"},
			{Key: "version", Value: "1"},
			{Key: "description", Value: "The subjects of idpsync on NATS, as a worker sees them: it receives events, requests and orders, and sends results and dead letters. " +
				"Events may also be CloudEvents 1.0, in binary or structured mode; the payload is then their data. openapi.yaml describes the same commands over HTTP."},
			{Key: "license", Value: object{{Key: "name", Value: "Apache-2.0"}}},
		}},
		{Key: "defaultContentType", Value: "application/json"},
		{Key: "servers", Value: object{{Key: "embedded", Value: object{
			{Key: "host", Value: "127.0.0.1:4222"}, {Key: "protocol", Value: "nats"}, {Key: "description", Value: "Default of --nats-listen"},
		}}}},
		{Key: "channels", Value: shared},
		{Key: "operations", Value: operations},
		{Key: "components", Value: object{
			{Key: "messages", Value: messages},
			{Key: "parameters", Value: parameters()},
			{Key: "schemas", Value: object{
				{Key: "event-headers", Value: headersSchema(eventIDHeader)},
				{Key: "command-headers", Value: headersSchema(eventIDHeader,
					member{Key: providers.HeaderAuthorization, Value: "Bearer and the token of a credential, or a JWT where its source allows it. Or send X-API-Key."},
					member{Key: providers.HeaderAPIKey, Value: "The same token, without Bearer."},
					member{Key: providers.HeaderTenant, Value: "Id of the tenant, that of the subject. The tenant shape needs it."})},
			}},
		}},
	}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var eventIDHeader = member{Key: record.HeaderEventID, Value: "Id of the event; ce-id names it before, Idempotency-Key and Nats-Msg-Id after. Without any the event is known by its place in the stream."}

func headersSchema(headers ...member) object {
	properties := object{}
	for _, h := range headers {
		properties = append(properties, member{Key: h.Key, Value: object{{Key: "type", Value: "string"}, {Key: "description", Value: h.Value}}})
	}
	return object{{Key: "type", Value: "object"}, {Key: "properties", Value: properties}}
}

func parameters() object {
	all := object{}
	for _, p := range [][2]string{
		{"tenant", "Id of the tenant, a UUID. Results, dead letters and orders have it in lower case, and _ where there is none."},
		{"source", "Name of the source, 1 to 63 of a-z, 0-9 and hyphen; " + providers.AdminSource + " for commands, _ where there is none."},
		{"outcome", "What happened, as in the header Idpsync-Outcome."},
		{"code", "Code of the error object."},
		{"operator", "Name of the operator, 1 to 63 of a-z, 0-9 and hyphen, for which the broker's permissions vouch."},
	} {
		all = append(all, member{Key: p[0], Value: object{{Key: "description", Value: p[1]}}})
	}
	return all
}

func reference(to string) object { return object{{Key: "$ref", Value: to}} }

// foreign is a schema in a file of its own, which is of JSON Schema 2020-12.
func foreign(file string) object {
	return object{
		{Key: "schemaFormat", Value: "application/schema+json;version=2020-12"},
		{Key: "schema", Value: reference("schemas/" + file)},
	}
}

// message describes a document with the words of its schema.
func (d document) message(t *testing.T) object {
	t.Helper()
	m := object{}
	if d.schema == "" {
		m = append(m, member{Key: "title", Value: d.title}, member{Key: "description", Value: d.about}, member{Key: "contentType", Value: "application/octet-stream"})
	} else {
		raw, err := os.ReadFile(schemaFolder + d.schema)
		if err != nil {
			t.Fatal(err)
		}
		var words struct{ Title, Description string }
		if err := json.Unmarshal(raw, &words); err != nil {
			t.Fatalf("%s is no schema: %v", d.schema, err)
		}
		m = append(m, member{Key: "title", Value: words.Title}, member{Key: "description", Value: words.Description})
	}
	switch {
	case strings.HasPrefix(d.headers, "#"):
		m = append(m, member{Key: "headers", Value: reference(d.headers)})
	case d.headers != "":
		m = append(m, member{Key: "headers", Value: foreign(d.headers)})
	}
	if d.schema != "" {
		m = append(m, member{Key: "payload", Value: foreign(d.schema)})
	}
	return m
}

// TestAsyncAPIIsThatOfTheRoutes compares the shipped document with the table of routes and the schemas.
func TestAsyncAPIIsThatOfTheRoutes(t *testing.T) {
	got := asyncAPIOf(t, record.Routes())
	if *update {
		if err := os.WriteFile(asyncAPI, got, 0o644); err != nil { //nolint:gosec // it is shipped
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(asyncAPI)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from the table of routes and the schemas; look at it, and accept it with go test ./worker/stream -run AsyncAPI -update\ngot:\n%s\nwant:\n%s", asyncAPI, got, want)
	}
}

// TestAsyncAPIIsValid checks the shipped document with the schema of AsyncAPI, and what no schema can: that every reference
// leads somewhere, and that every schema of the deployment is used, here or by another schema or by openapi.yaml.
func TestAsyncAPIIsValid(t *testing.T) {
	raw, err := os.ReadFile(asyncAPI)
	if err != nil {
		t.Fatal(err)
	}
	if err := validAsyncAPI(t, raw); err != nil {
		t.Errorf("%s is faulty, want a valid document of AsyncAPI 3.0.0: %v", asyncAPI, err)
	}
	var root any
	if err := yaml.Unmarshal(raw, &root); err != nil {
		t.Fatal(err)
	}
	var references []string
	collect(root, &references)
	if len(references) == 0 {
		t.Fatal("the document has no references: the test looks in the wrong place")
	}
	for _, r := range references {
		if path, here := strings.CutPrefix(r, "#/"); here {
			if !leads(root, strings.Split(path, "/")) {
				t.Errorf("%s refers to %s, which is not there", asyncAPI, r)
			}
		} else if _, err := os.Stat(filepath.Join(filepath.Dir(asyncAPI), r)); err != nil {
			t.Errorf("%s refers to %s, which is not there: %v", asyncAPI, r, err)
		}
	}
	other, err := os.ReadFile("../../deploy/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(schemaFolder + "*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %d schemas (%v), want those of the deployment", len(files), err)
	}
	for _, f := range files {
		ref := "schemas/" + filepath.Base(f)
		if !slices.Contains(references, ref) && !bytes.Contains(other, []byte(ref)) {
			t.Errorf("%s is used neither by asyncapi.yaml nor by openapi.yaml, want it in one of them", ref)
		}
	}
}

// TestAsyncAPIHasAnotherAction adds a row and finds its channels in a document that is still valid.
func TestAsyncAPIHasAnotherAction(t *testing.T) {
	raw := asyncAPIOf(t, append(record.Routes(), record.Route{
		Action: "rename", Shape: providers.ShapeTenant, Branch: record.BranchCommands, Lane: record.LaneLogins,
		Name: "users.rename", Method: "POST", Path: "/v1/users/rename",
	}))
	for _, want := range []string{"address: idpsync.command.{tenant}.users.rename\n", "address: idpsync.rpc.{tenant}.users.rename\n", "receive.rpc.users-rename:\n", "POST /v1/users/rename"} {
		if !bytes.Contains(raw, []byte(want)) {
			t.Errorf("the document with one more route has no %q, want it among\n%s", want, raw)
		}
	}
	if err := validAsyncAPI(t, raw); err != nil {
		t.Errorf("the document with one more route is faulty, want a valid one: %v", err)
	}
}

// validAsyncAPI returns what the schema of AsyncAPI has against a document.
func validAsyncAPI(t *testing.T, raw []byte) error {
	t.Helper()
	packed, err := os.Open("testdata/asyncapi-3.0.0.schema.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	r, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	definition, err := jsonschema.UnmarshalJSON(r)
	if err != nil {
		t.Fatal(err)
	}
	const location = "http://asyncapi.com/definitions/3.0.0/asyncapi.json"
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(location, definition); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile(location)
	if err != nil {
		t.Fatalf("the schema of AsyncAPI cannot be read: %v", err)
	}
	asJSON, err := yaml.YAMLToJSON(raw)
	if err != nil {
		return err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		return err
	}
	return schema.Validate(document)
}

// collect finds the references of a document.
func collect(v any, into *[]string) {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if s, ok := value.(string); ok && name == "$ref" {
				*into = append(*into, s)
			}
			collect(value, into)
		}
	case []any:
		for _, value := range v {
			collect(value, into)
		}
	}
}

// leads reports whether there is something at the end of a path.
func leads(v any, path []string) bool {
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return false
		}
		if v, ok = m[name]; !ok {
			return false
		}
	}
	return true
}
