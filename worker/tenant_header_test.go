package worker_test

import (
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

func TestAMessageThatNamesAnotherTenantIsRefused(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		p := d.Start()
		token := d.Credential(acme, "user")
		const unknown = "4489e9ad-2ee2-8e00-8ec9-32d5f69181c0"
		login := func(person string) []byte { return d.Login(d.Person(person)) }
		user := func(person string) []byte { return workertest.Payload(tenantUser(person, "oidc")) }
		okta, workday := workertest.LoginSubject(acme, "okta"), workertest.FeedSubject(acme, "workday")
		authorized := func(name string, values ...string) providers.Header {
			h := bearer(token)
			delete(h, "X-Tenant-ID")
			h[name] = values
			return h
		}
		for name, c := range map[string]struct {
			subject string
			header  providers.Header
			body    []byte
			status  int
			reason  string
		}{
			"login of the other tenant":      {okta, providers.Header{"X-Tenant-ID": {globex}}, login("a1"), 403, "tenant_mismatch"},
			"login, header in lower case":    {okta, providers.Header{"x-tenant-id": {globex}}, login("a2"), 403, "tenant_mismatch"},
			"login, two spellings":           {okta, providers.Header{"x-tenant-id": {acme}, "X-Tenant-ID": {globex}}, login("a3"), 400, "tenant_header"},
			"login, no UUID":                 {okta, providers.Header{"X-Tenant-ID": {"acme"}}, login("a4"), 400, "tenant_header"},
			"login, attribute":               {okta, providers.Header{"ce-xtenantid": {globex}}, login("a5"), 403, "tenant_mismatch"},
			"login, attribute with no UUID":  {okta, providers.Header{"ce-xtenantid": {"acme"}}, login("a6"), 400, "tenant_header"},
			"forged login":                   {okta, providers.Header{"X-Tenant-ID": {globex}}, []byte(`{"id_token":"a.b.c"}`), 403, "tenant_mismatch"},
			"login of an unknown tenant":     {workertest.LoginSubject(unknown, "okta"), providers.Header{"X-Tenant-ID": {acme}}, login("a7"), 403, "tenant_mismatch"},
			"login of an unknown source":     {workertest.LoginSubject(acme, "nosuch"), providers.Header{"X-Tenant-ID": {globex}}, login("a8"), 403, "tenant_mismatch"},
			"login of its tenant":            {okta, providers.Header{"X-Tenant-ID": {acme}}, login("a9"), 201, ""},
			"login of its tenant, attribute": {okta, providers.Header{"ce-xtenantid": {strings.ToUpper(acme)}}, login("b1"), 201, ""},
			"login, another extension":       {okta, providers.Header{"ce-tenantid": {globex}}, login("b2"), 201, ""}, // the identity provider's own
			"feed of the other tenant":       {workday, authorized("X-Tenant-ID", globex), user("b3"), 403, "tenant_mismatch"},
			"feed, attribute":                {workday, authorized("ce-xtenantid", globex), user("b4"), 403, "tenant_mismatch"},
			"feed without the header":        {workday, authorized("X-Note", "x"), user("b5"), 201, ""},
			"command of the other tenant":    {commandSubject, authorized("X-Tenant-ID", globex), user("b6"), 403, "tenant_mismatch"},
			"command without the header":     {commandSubject, authorized("X-Note", "x"), user("b7"), 400, "tenant_header"},
			"command, header twice":          {commandSubject, authorized("X-Tenant-ID", acme, acme), user("b8"), 400, "tenant_header"},
		} {
			d.PublishWith(c.subject, name, c.body, c.header)
			r := d.Await(name)
			if r.Status != c.status || r.Reason != c.reason {
				t.Errorf("%s: the event ends with status %d and %s, want %d with the reason %q", name, r.Status, r.Data, c.status, c.reason)
			}
		}
		a, _ := p.Submit(d.Ctx, worker.Submission{
			Subject: "idpsync.rpc." + acme + ".users.create", Door: providers.DoorRPC, Payload: workertest.Payload(organizationUser("c1")), Header: authorized("X-Tenant-ID", globex),
		})
		answered(t, "a request of the other tenant", a, 403, record.CodeTenantMismatch)
		d.Settle()
		if n := len(d.Users(globex)); n != 0 {
			t.Errorf("%d users of the other tenant, wanted none", n)
		}
	})
}

func TestAStructuredEventThatNamesAnotherTenantIsRefused(t *testing.T) {
	workertest.Each(t, workertest.Options{}, func(t *testing.T, d *workertest.Deployment) {
		d.Start()
		for tenant, status := range map[string]int{globex: 403, acme: 201} {
			body := workertest.Payload(map[string]any{
				"specversion": "1.0", "id": "of " + tenant, "source": "/test", "type": "test", "xtenantid": tenant,
				"data": map[string]string{"id_token": token(t, d, "s"+tenant[:4])},
			})
			d.PublishWith(workertest.LoginSubject(acme, "okta"), "", body, providers.Header{"Content-Type": {"application/cloudevents+json"}})
			if r := d.Await("of " + tenant); r.Status != status {
				t.Errorf("the attribute names %s: %d %s, wanted %d", tenant, r.Status, r.Data, status)
			}
		}
	})
}
