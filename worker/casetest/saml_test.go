package casetest

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/idpsync/idpsync/providers/saml/idp"
	"github.com/idpsync/idpsync/worker/workertest"
)

const (
	entityID = "https://sp.acme.example/saml"
	acsURL   = "https://sp.acme.example/saml/acs"
	idpName  = "https://idp.uni.example/metadata"
)

// An assertionCase is a file that says what an assertion has.
type assertionCase struct {
	Mapping       map[string]string `json:"mapping"`
	NameID        string            `json:"name_id"`
	Format        string            `json:"format"`
	NameQualifier string            `json:"name_qualifier"`
	ShiftSeconds  int               `json:"shift_seconds"`
	Attributes    []idp.Attribute   `json:"attributes"`
	Values        [][]string        `json:"values"`
	Pad           []string          `json:"pad"`

	Cases []struct {
		IDPInitiated bool    `json:"idp_initiated"`
		InResponseTo string  `json:"in_response_to"`
		RequestID    *string `json:"request_id"`
	} `json:"cases"`
}

// A samlRun is a case in a deployment of its own, with a worker and an identity provider.
type samlRun struct {
	*workertest.Deployment
	idp  *idp.IdP
	file assertionCase
}

// runSAML starts a deployment with a SAML source. Changes are made to the declared source first.
func runSAML(t *testing.T, name string, o idp.Options, changes ...func(source map[string]any)) *samlRun {
	t.Helper()
	t.Parallel()
	o.EntityID = idpName
	p, err := idp.New(o)
	if err != nil {
		t.Fatalf("make an identity provider: %v", err)
	}
	r := &samlRun{Deployment: workertest.New(t, workertest.Options{Unapplied: true}), idp: p}
	if filepath.Ext(name) == ".json" {
		readCase(t, name, &r.file)
	}
	metadata := filepath.Join(r.Folder(), "idp.xml")
	if err := os.WriteFile(metadata, p.Metadata(), 0o600); err != nil {
		t.Fatalf("write the metadata: %v", err)
	}
	declared := samlSource(metadata)
	if r.file.Mapping != nil {
		declared["mapping"] = r.file.Mapping
	}
	for _, change := range changes {
		change(declared)
	}
	r.Apply(directory(t, declared))
	r.Start()
	return r
}

func (r *samlRun) awaitParked() { awaitParked(r.Deployment) }

func samlSource(metadata string) map[string]any {
	return map[string]any{
		"name": source, "kind": "saml", "metadata_file": metadata, "entity_id": entityID, "acs_url": acsURL,
		"trust_email": true, "domains": []string{"uni.example", "corp.example"}, "default_roles": []string{"user"}, "grants": []string{"user", "admin", "auditor"},
	}
}

// request is what an honest assertion of the case has. One without attributes gets an address.
func (r *samlRun) request() idp.Request {
	q := idp.Request{
		EntityID: entityID, ACSURL: acsURL, InResponseTo: "_request", NameID: r.file.NameID, NameIDFormat: r.file.Format, Mode: idp.SignAssertion,
		Attributes: r.file.Attributes,
	}
	if q.NameID == "" {
		q.NameID = "p1"
	}
	if q.Attributes == nil {
		q.Attributes = []idp.Attribute{{Name: "mail", Values: []string{q.NameID + "@uni.example"}}}
	}
	if shift := time.Duration(r.file.ShiftSeconds) * time.Second; shift != 0 {
		q.At = time.Now().Add(shift)
	}
	if r.file.NameQualifier != "" {
		q.Edit = func(_, assertion *etree.Element) {
			assertion.FindElement("./Subject/NameID").CreateAttr("NameQualifier", r.file.NameQualifier)
		}
	}
	return q
}

// publish publishes a login. requestID is that of the request that it answers; "" for none.
func (r *samlRun) publish(id string, q idp.Request, requestID string) []byte {
	r.T.Helper()
	xml, err := r.idp.Respond(q)
	if err != nil {
		r.T.Fatalf("make the response of %s: %v", id, err)
	}
	members := map[string]string{"saml_response": base64.StdEncoding.EncodeToString(xml)}
	if requestID != "" {
		members["request_id"] = requestID
	}
	body := workertest.Payload(members)
	r.Publish(workertest.LoginSubject(workertest.Acme, source), id, body)
	return body
}

func (r *samlRun) logIn(id string, q idp.Request) workertest.Record {
	r.T.Helper()
	r.publish(id, q, q.InResponseTo)
	return r.Await(id)
}

// element finds the element that a case speaks of, in the assertion.
func element(assertion *etree.Element, tag string) *etree.Element {
	return assertion.FindElement(".//" + tag)
}
