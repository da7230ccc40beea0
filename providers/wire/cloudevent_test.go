package wire_test

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/wire"
)

var update = flag.Bool("update", false, "write the golden files anew")

func binaryHeader(changes map[string][]string) providers.Header {
	h := providers.Header{"ce-specversion": {"1.0"}, "ce-id": {"e-1"}, "ce-source": {"/hr"}, "ce-type": {"user.hired"}}
	for name, v := range changes {
		delete(h, name)
		if v != nil {
			h[name] = v
		}
	}
	return h
}

func TestPlainMessagesPass(t *testing.T) {
	for name, h := range map[string]providers.Header{
		"no headers":    nil,
		"other headers": {"Nats-Msg-Id": {"x"}, "Content-Type": {"application/json"}, "Authorization": {"Bearer x"}},
		"like ce":       {"ce": {"x"}, "Cedar": {"x"}, "ce-": {"x"}},
		"text":          {"Content-Type": {"text/plain"}},
	} {
		got, err := wire.Unwrap(h, []byte(`{"specversion":"1.0"}`))
		if err != nil || got.CloudEvent || string(got.Data) != `{"specversion":"1.0"}` || !maps.EqualFunc(got.Header, h, func(a, b []string) bool { return reflect.DeepEqual(a, b) }) {
			t.Errorf("%s: the message becomes %+v with the error %v, want it as it was", name, got, err)
		}
	}
}

func TestBinaryMode(t *testing.T) {
	h := binaryHeader(map[string][]string{
		"CE-Time": {"2026-11-02T09:00:00.5Z"}, "Ce-Subject": {"ada"}, "ce-traceparent": {"00-1"}, "ce-datacontenttype": {"application/scim+json; charset=utf-8"},
		"Authorization": {"Bearer x"}, "ce-id": {"Euro%20%E2%82%AC%20%F0%9F%98%80"},
	})
	got, err := wire.Unwrap(h, []byte(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	want := wire.Event{
		CloudEvent: true, ID: "Euro € 😀", Source: "/hr", Type: "user.hired", Subject: "ada", Time: time.Date(2026, 11, 2, 9, 0, 0, 5e8, time.UTC),
		ContentType: "application/scim+json; charset=utf-8", Extensions: map[string]string{"traceparent": "00-1"}, Data: []byte(`{"a":1}`), Header: h,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for raw, id := range map[string]string{`"a \"b\""`: `a "b"`, "50%": "50%", "%zz": "%zz", "a%2fb": "a/b", "100%25": "100%"} {
		if got, err := wire.Unwrap(binaryHeader(map[string][]string{"ce-id": {raw}}), []byte(`{}`)); err != nil || got.ID != id {
			t.Errorf("ce-id %q: %q, %v; want %q", raw, got.ID, err, id)
		}
	}
}

func TestBinaryModeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change map[string][]string
		reason string
	}{
		"no specversion":     {map[string][]string{"ce-specversion": nil}, wire.ReasonCloudEvent},
		"no id":              {map[string][]string{"ce-id": nil}, wire.ReasonCloudEvent},
		"no source":          {map[string][]string{"ce-source": nil}, wire.ReasonCloudEvent},
		"no type":            {map[string][]string{"ce-type": nil}, wire.ReasonCloudEvent},
		"empty id":           {map[string][]string{"ce-id": {""}}, wire.ReasonCloudEvent},
		"version 0.3":        {map[string][]string{"ce-specversion": {"0.3"}}, wire.ReasonCloudEvent},
		"id twice":           {map[string][]string{"ce-id": {"a", "b"}}, wire.ReasonCloudEvent},
		"id in two cases":    {map[string][]string{"CE-ID": {"b"}}, wire.ReasonCloudEvent},
		"extension twice":    {map[string][]string{"ce-x": {"b"}, "Ce-X": {"b"}}, wire.ReasonCloudEvent},
		"time":               {map[string][]string{"ce-time": {"yesterday"}}, wire.ReasonCloudEvent},
		"attribute name":     {map[string][]string{"ce-my_ext": {"x"}}, wire.ReasonCloudEvent},
		"overlong UTF-8":     {map[string][]string{"ce-id": {"%C0%A0"}}, wire.ReasonCloudEvent},
		"raw bad UTF-8":      {map[string][]string{"ce-id": {"\xff"}}, wire.ReasonCloudEvent},
		"XML data":           {map[string][]string{"ce-datacontenttype": {"application/xml"}}, wire.ReasonContentType},
		"XML content type":   {map[string][]string{"Content-Type": {"text/xml"}}, wire.ReasonContentType},
		"content type twice": {map[string][]string{"Content-Type": {"application/json", "text/xml"}}, wire.ReasonCloudEvent},
		"batch":              {map[string][]string{"Content-Type": {"application/cloudevents-batch+json"}}, wire.ReasonContentType},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := wire.Unwrap(binaryHeader(c.change), []byte(`{}`))
			if err == nil {
				t.Fatalf("accepted as %+v", got)
			}
			if f := fault(t, err); f.Reason != c.reason {
				t.Errorf("failure = %+v, want %s", f, c.reason)
			}
		})
	}
}

var structuredHeader = providers.Header{"content-type": {"Application/CloudEvents+json; charset=utf-8"}}

func TestStructuredModeRefuses(t *testing.T) {
	const required = `"specversion":"1.0","id":"1","source":"/a","type":"t"`
	for name, body := range map[string]string{
		"no data":          `{` + required + `}`,
		"null data":        `{` + required + `,"data":null}`,
		"both datas":       `{` + required + `,"data":{},"data_base64":"e30="}`,
		"both datas again": `{` + required + `,"data_base64":"e30=","data":{}}`,
		"bad base64":       `{` + required + `,"data_base64":"e30"}`,
		"loose base64":     `{` + required + `,"data_base64":"e31="}`,
		"id twice":         `{` + required + `,"id":"2","data":{}}`,
		"data twice":       `{` + required + `,"data":{},"data":{}}`,
		"id in capitals":   `{` + required + `,"ID":"2","data":{}}`,
		"number id":        `{"specversion":"1.0","id":1,"source":"/a","type":"t","data":{}}`,
		"null id":          `{"specversion":"1.0","id":null,"source":"/a","type":"t","data":{}}`,
		"object extension": `{` + required + `,"x":{},"data":{}}`,
		"bad name":         `{` + required + `,"my-ext":"x","data":{}}`,
		"version 2":        `{"specversion":"2.0","id":"1","source":"/a","type":"t","data":{}}`,
		"trailing":         `{` + required + `,"data":{}}{}`,
		"array":            `[{` + required + `,"data":{}}]`,
		"cut":              `{` + required + `,"data":{`,
		"duplicate within": `{` + required + `,"data":{"a":1,"a":2}}`,
		"XML":              `{` + required + `,"datacontenttype":"text/xml","data":"<a/>"}`,
		"empty":            ``,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := wire.Unwrap(structuredHeader, []byte(body))
			if err == nil {
				t.Fatalf("accepted as %+v", got)
			}
			fault(t, err)
		})
	}
}

// The files hold structured CloudEvents and what is read from them.
func TestStructuredModeGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/cloudevents/*.in.json")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, in := range inputs {
		golden := in[:len(in)-len(".in.json")] + ".golden.json"
		body, err := os.ReadFile(in)
		if err != nil {
			t.Fatal(err)
		}
		for _, contentType := range []string{"application/cloudevents+json", "application/cloudevents"} {
			e, err := wire.Unwrap(providers.Header{"Content-Type": {contentType}}, body)
			if err != nil {
				t.Errorf("%s: %v", in, err)
				continue
			}
			raw, err := json.MarshalIndent(map[string]any{
				"id": e.ID, "source": e.Source, "type": e.Type, "subject": e.Subject, "time": e.Time, "contentType": e.ContentType,
				"extensions": e.Extensions, "data": string(e.Data),
			}, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got := string(raw) + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s: got %s\nwant %s", in, got, want)
			}
		}
	}
}
