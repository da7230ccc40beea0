package worker_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with the file of testdata/golden.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file) //nolint:gosec // a file of this test
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; look at it, and accept it with go test -update\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

// headers writes a message's subject and headers, one line for each value, with what differs between runs replaced.
func headers(subject string, h providers.Header, replace func(name, value string) string) string {
	lines := []string{}
	for name, values := range h {
		for _, v := range values {
			lines = append(lines, name+": "+replace(name, v))
		}
	}
	slices.Sort(lines)
	return subject + "\n" + strings.Join(lines, "\n") + "\n"
}

var (
	uuids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)
	times = regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z`)
	stamp = regexp.MustCompile(`IDPSYNC_EVENTS/\d+/(\d+)/\d+`)
)

// message writes a result with its headers and its body, byte for byte but for what differs between runs.
func message(r workertest.Record) string {
	mask := func(s string) string {
		s = uuids.ReplaceAllString(s, "USER-ID")
		return stamp.ReplaceAllString(times.ReplaceAllString(s, "2026-01-02T03:04:05.678901Z"), "IDPSYNC_EVENTS/CREATED/$1/STORED")
	}
	return headers(r.Subject, r.Header, func(name, v string) string {
		if name == record.HeaderCredential {
			return "CREDENTIAL-ID"
		}
		return mask(v)
	}) + "\n" + mask(string(r.Data)) + "\n"
}

const noticedPolicies = `
@id("hello")
@notice("Welcome to acme.")
permit (principal, action == Action::"CreateUser", resource);

@id("no-eve")
@notice("Eve is not welcome; ask the security team.")
forbid (principal, action == Action::"CreateUser", resource) when { context.email_domain == "eve.example" };
`

func TestResultMessages(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{Directory: droppingDirectory})
	d.Start()
	var out strings.Builder
	show := func(title string, r workertest.Record) {
		fmt.Fprintf(&out, "# %s\n%s\n", title, message(r))
	}
	publish := func(id string, c workertest.Claims) workertest.Record {
		d.LogIn(id, c)
		return d.Await(id)
	}
	_, hr := d.CredentialFor(store.Credential{Tenant: acme, Name: "hr import/1", Purpose: "feed:trusted", Grants: []string{"user", "admin", "viewer", "astronaut"}})
	feed := func(id string, body any) workertest.Record {
		d.PublishWith(workertest.FeedSubject(acme, "trusted"), id, workertest.Payload(body), providers.Header{"Authorization": {"Bearer " + hr}})
		return d.Await(id)
	}
	show("a login of a new person", publish("login/1", d.Person("ada").With(workertest.Claims{"name": `Ada <"&'> Lovelace ☃`, "picture": "data:image/webp;base64," + oneWebP})))
	show("the same again", publish("login/2", d.Person("ada")))
	show("roles dropped", publish("login 3 %é", d.Person("grace").With(workertest.Claims{"groups": []string{"user", "astronaut"}})))
	show("a user of the organization shape", feed("feed/1", with(organizationUser("joan"), map[string]any{
		"identityName": "Joan Ünïcode/1", "organizations": []map[string]string{{"organizationId": strings.ToUpper(workertest.Sales), "roleId": workertest.Viewer}},
	})))
	show("their first login", publish("login/4", d.Person("joan")))
	show("another identity", publish("login/5", d.Person("eve").With(workertest.Claims{"email": "ada@acme.example"})))
	show("no address", publish("login/6", d.Person("nobody").With(workertest.Claims{"email": nil})))
	show("faulty fields", feed("feed/2", with(organizationUser("x"), map[string]any{"email": "nobody", "firstName": " "})))
	show("unknown organizations", feed("feed/3", with(organizationUser("y"), map[string]any{"organizations": []map[string]string{{"organizationId": workertest.Hangar, "roleId": workertest.Viewer}}})))
	show("another tenant's token", publish("login/7", d.Person("bob").With(workertest.Claims{"aud": "payroll"})))
	show("no source", func() workertest.Record {
		d.Publish(workertest.LoginSubject(acme, "nobody"), "login/8", []byte(`{}`))
		return d.Await("login/8")
	}())
	golden(t, "results.txt", out.String())
}

// Every code has one status, and a client may rely on both.
func TestStatusOfEveryCode(t *testing.T) {
	t.Parallel()
	statuses := map[record.Code]int{
		record.CodeMalformed: 400, record.CodeInvalidInput: 400, record.CodeUnauthenticated: 401, record.CodeTenantMismatch: 403, record.CodeForbidden: 403,
		record.CodeUnverifiedEmail: 403, record.CodeUnknownTenant: 404, record.CodeUnknownSource: 404, record.CodeUserExists: 409, record.CodeEventIDConflict: 409, record.CodeInvalidRoles: 422,
		record.CodeInvalidOrganizations: 422, record.CodeInternal: 500, record.CodeBusy: 429, record.CodeUnavailable: 503,
	}
	for code, status := range statuses {
		if got := code.Status(); got != status {
			t.Errorf("code %s: got the status %d, wanted %d", code, got, status)
		}
		if !slices.Contains(record.Codes(), code) {
			t.Errorf("Codes: got no %s, wanted every code", code)
		}
	}
	if got := len(record.Codes()); got != len(statuses) {
		t.Errorf("Codes: got %d codes, wanted %d", got, len(statuses))
	}
}
